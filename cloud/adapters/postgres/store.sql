-- name: ensure_month
select ensure_month($1::timestamptz);

-- name: ensure_log_months
-- Batches are logged by the server's clock, which is not ours.
select ensure_month(now()), ensure_month(now() + interval '2 days');

-- name: claim
-- $4: how many sensors a hub may speak for; $5: who may for any number.
with fresh as (
    select c.*, row_number() over (partition by hub_id order by sensor_id) as place
    from unnest($1::bigint[], $2::text[], $3::text[]) as c (sensor_id, hub_id, region)
    where not exists (select from sensors known where known.sensor_id = c.sensor_id)
),
held as (
    select hub_id, count(*) as sensors from sensors
    where hub_id = any($2) and hub_id <> $5 group by hub_id
)
insert into sensors (sensor_id, hub_id, region)
select sensor_id, hub_id, region
from fresh left join held using (hub_id)
where place + coalesce(sensors, 0) <= $4::bigint or hub_id = $5
order by sensor_id
on conflict do nothing;

-- name: speakers
select sensor_id, hub_id from sensors where sensor_id = any($1::bigint[]);

-- name: stored
-- Rows at given instants: a lateral limit makes it a probe of the key per instant, whatever the
-- planner believes about the number of instants.
select r.*
from unnest($1::bigint[], $2::timestamptz[]) as k (sensor_id, timestamp)
cross join lateral (
    select * from sensor_readings
    where sensor_id = k.sensor_id and timestamp = k.timestamp
    limit 1
) as r
order by r.sensor_id, r.timestamp;

-- name: stage_evidence
create temporary table if not exists evidence_stage (like evidence_readings) on commit delete rows;

-- name: add_evidence
insert into evidence_readings
select * from evidence_stage order by sensor_id, timestamp
on conflict do nothing;

-- name: clear_stage
truncate evidence_stage;

-- name: now
select now();

-- name: savepoint
savepoint flush;

-- name: roll_back
rollback to savepoint flush;
