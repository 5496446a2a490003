-- What hubs last said. A hub's clock may have been wrong: what was said by an untrusted clock, or
-- comes from the future, does not outrank what is said now.

-- name: announce
-- Sequences below $4 were sealed in epochs $3. Of unknown epochs at most $5 an hour are believed.
insert into hub_ledger (hub_id, epoch, region, next_sequence)
select $1, life.epoch, $2, life.next_sequence
from unnest($3::bigint[], $4::bigint[]) life (epoch, next_sequence)
where exists (select from hub_ledger known where known.hub_id = $1 and known.epoch = life.epoch)
   or (select count(*) from hub_ledger known
       where known.hub_id = $1 and known.first_seen > now() - interval '1 hour') < $5
order by life.epoch
on conflict (hub_id, epoch) do update
set next_sequence = excluded.next_sequence, updated_at = now()
where hub_ledger.next_sequence < excluded.next_sequence;

-- name: report
insert into hubs as known
    (hub_id, region, online, version, clock_trusted, gauges, epochs, at, updated_at)
values ($1, $2, true, $3, $4, $5, $6, $7, now())
on conflict (hub_id) do update
set region = excluded.region, version = excluded.version, clock_trusted = excluded.clock_trusted,
    gauges = excluded.gauges, epochs = excluded.epochs, at = excluded.at, updated_at = now()
where excluded.at >= known.at or not known.clock_trusted
   or known.at > now() + interval '1 minute';

-- name: bear
update hubs set online = true, born_at = $2
where hub_id = $1
  and (born_at is null or $2 >= born_at or not $3 or born_at > now() + interval '1 minute');

-- name: bury
-- A hub we meet by its last will only is noted as gone.
insert into hubs as known
    (hub_id, region, online, version, clock_trusted, gauges, epochs, at, born_at)
values ($1, $2, false, $3, $4, $5, $6, $7, $7)
on conflict (hub_id) do update set online = false
where known.born_at is null or excluded.at >= known.born_at;
