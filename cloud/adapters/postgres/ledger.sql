-- name: entries
-- What the ledger has of some lives; no lock.
select l.hub_id, l.epoch, l.received, l.refused, l.shed, l.next_sequence
from unnest($1::text[], $2::bigint[]) as k (hub_id, epoch)
join hub_ledger l on l.hub_id = k.hub_id and l.epoch = k.epoch;

-- name: opened
-- How many lives each hub has opened within the last hour.
select hub_id, count(*) as lives
from hub_ledger
where hub_id = any($1::text[]) and first_seen > now() - interval '1 hour'
group by hub_id;

-- name: open
-- A separate statement from the lock: what another worker inserts meanwhile must be seen after.
insert into hub_ledger (hub_id, epoch, region)
select hub_id, epoch, region
from unnest($1::text[], $2::bigint[], $3::text[]) as k (hub_id, epoch, region)
order by hub_id, epoch
on conflict do nothing;

-- name: lock
-- In one order everywhere, so that two workers never wait for each other.
select l.hub_id, l.epoch, l.received, l.refused, l.shed, l.next_sequence
from hub_ledger l
where (l.hub_id, l.epoch) in (select * from unnest($1::text[], $2::bigint[]))
order by l.hub_id, l.epoch
for update;

-- name: settle
update hub_ledger l
set received = u.received::int8multirange,
    refused = u.refused::int8multirange,
    shed = u.shed::int8multirange,
    next_sequence = greatest(l.next_sequence, u.next_sequence),
    updated_at = now()
from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[])
    as u (hub_id, epoch, received, refused, shed, next_sequence)
where l.hub_id = u.hub_id and l.epoch = u.epoch;

-- name: contents
-- Every content known under some keys: what was settled, and what was kept as a dead letter.
select k.hub_id, k.epoch, k.sequence, b.crc, b.flags
from unnest($1::text[], $2::bigint[], $3::bigint[]) as k (hub_id, epoch, sequence)
cross join lateral (
    select crc, flags from batch_log
    where hub_id = k.hub_id and epoch = k.epoch and sequence = k.sequence
    union all
    select crc, flags from dead_letters
    where hub_id = k.hub_id and epoch = k.epoch and sequence = k.sequence
) as b;

-- name: add_dead_letters
-- $10: how many a hub may have that nobody has decided; those kept already are no news.
with asked as (
    select k.*, exists (
        select from dead_letters d
        where d.hub_id = k.hub_id and d.epoch = k.epoch
          and d.sequence = k.sequence and d.crc = k.crc
    ) as known
    from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bytea[],
                $7::text[], $8::smallint[], $9::integer[])
        as k (hub_id, epoch, sequence, crc, reason, body, topic, flags, attempts)
),
placed as (
    select *, row_number() over (partition by hub_id, known order by epoch, sequence, crc) as place
    from asked
),
held as (
    select hub_id, count(*) as letters from dead_letters
    where hub_id = any($1) and state = 'kept' group by hub_id
)
insert into dead_letters (hub_id, epoch, sequence, crc, reason, body, topic, flags, attempts)
select hub_id, epoch, sequence, crc, reason, body, topic, flags, attempts
from placed left join held using (hub_id)
where known or place + coalesce(letters, 0) <= $10::bigint
order by hub_id, epoch, sequence, crc
on conflict (hub_id, epoch, sequence, crc)
do update set attempts = dead_letters.attempts + excluded.attempts, last_at = now(),
              reason = case excluded.reason when 'key reuse' then dead_letters.reason
                                            else excluded.reason end,
              topic = excluded.topic, flags = excluded.flags;

-- name: add_sheds
insert into sheds (hub_id, told_epoch, told_sequence, epoch, low, high, observed_from, observed_to,
                   rows, reason)
select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
                     $6::bigint[], $7::timestamptz[], $8::timestamptz[], $9::bigint[], $10::text[])
order by 1, 2, 3
on conflict do nothing;
