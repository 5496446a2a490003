-- name: alone
-- Two replays that begin at once in one database.
select pg_advisory_xact_lock(hashtext('headgate.replay'));

-- name: create_mark
-- Only replays make this table: what is stored where it is was replayed.
create table if not exists replay_scratch (
    begun_at timestamptz not null default now(),
    one boolean primary key default true check (one)
);

-- name: mark
insert into replay_scratch default values on conflict do nothing;

-- name: marked
select to_regclass('replay_scratch') is not null;

-- name: migrated
select to_regclass('hub_ledger') is not null;

-- name: used
select exists (select from hub_ledger) or exists (select from sensor_readings)
    or exists (select from sensors) or exists (select from dead_letters);

-- name: speakers_from
select sensor_id, hub_id, region from sensors where sensor_id > $1 order by sensor_id limit $2;

-- name: adopt
insert into sensors (sensor_id, hub_id, region)
select * from unnest($1::bigint[], $2::text[], $3::text[])
on conflict (sensor_id) do nothing;
