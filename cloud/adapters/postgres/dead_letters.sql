-- Dead letters: taken up one at a time, and read for people.

-- name: letter
-- Where an older program kept no topic, the ledger knows the hub's region; of a claim it does not.
select letter.dead_letter_id, letter.hub_id, letter.epoch, letter.sequence, letter.crc, letter.kind,
       letter.state, letter.reason, letter.body, letter.first_at,
       coalesce(
           letter.topic,
           case when letter.kind <> 'claim' then (
               select 'headgate/1/' || region || '/' || hub_id || '/batch' from hub_ledger ledger
               where ledger.hub_id = letter.hub_id and ledger.epoch = letter.epoch)
           end,
           '') as topic
from dead_letters letter
where letter.dead_letter_id = $1;

-- name: lock_letter
select from dead_letters where dead_letter_id = $1 for update;

-- name: reopen
update hub_ledger
set received = received - int8multirange(int8range($3::bigint, $3 + 1)),
    refused = refused - int8multirange(int8range($3::bigint, $3 + 1))
where hub_id = $1 and epoch = $2 and refused @> $3::bigint;

-- name: unlog
-- Ingest writes it anew, with the rows that it has now.
delete from batch_log where hub_id = $1 and epoch = $2 and sequence = $3;

-- name: fail
update dead_letters set attempts = attempts + 1, last_at = now(), reason = $2
where dead_letter_id = $1;

-- name: decide
update dead_letters set state = $2, decided_at = now(), decided_by = $3
where dead_letter_id = $1;

-- name: page
-- $1 hub or null, $2 how the reason begins, $3 state or null, $4 ids below, $5 limit.
select dead_letter_id, hub_id, epoch, sequence, crc, kind, reason, topic, flags, state, attempts,
       first_at, last_at, decided_at, decided_by, octet_length(body) as bytes
from dead_letters
where ($1::text is null or hub_id = $1) and starts_with(reason, $2)
  and ($3::text is null or state = $3) and dead_letter_id < $4
order by dead_letter_id desc limit $5;

-- name: one
select dead_letter_id, hub_id, epoch, sequence, crc, kind, reason, topic, flags, state, attempts,
       first_at, last_at, decided_at, decided_by, octet_length(body) as bytes, body
from dead_letters
where dead_letter_id = $1;
