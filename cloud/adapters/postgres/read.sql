-- What people ask of the store. Every statement goes by key and is bounded.

-- name: latest
-- The newest reading of a sensor; columns: timestamp, each metric in Metric's order, quality, score, samples.
select timestamp, {metrics}, quality, score, samples
from sensor_readings where sensor_id = $1
order by timestamp desc limit 1;

-- name: readings
-- The same columns, oldest first, of [$2, $3), at most $4.
select timestamp, {metrics}, quality, score, samples
from sensor_readings where sensor_id = $1 and timestamp >= $2 and timestamp < $3
order by timestamp limit $4;

-- name: knows
select exists (select from sensors where sensor_id = $1);

-- name: sites
-- With how many sensors stand there and the worst of their open alerts; after site $1, at most $2.
select site.site_id, site.name, site.location, site.region, site.kind, site.lat, site.lon,
       (select count(*) from sensors where sensors.site_id = site.site_id) as sensors,
       worst.alert_id, worst.severity_level, worst.kind as alert_kind, worst.contaminant_type,
       worst.metric, worst.timestamp as alert_timestamp
from (select * from sites where site_id > $1 order by site_id limit $2) site
left join lateral (
    select alert.* from sensors
    join contamination_alerts alert using (sensor_id)
    where sensors.site_id = site.site_id and not alert.resolved
    order by alert.severity_level desc, alert.kind, alert.alert_id limit 1
) worst on true
order by site.site_id;

-- name: ping
select 1;

-- name: workers
-- The stages at work, and for how many seconds the store has not heard of each: their connections
-- carry their names, and a stage that moves says a word every two seconds.
select application_name as name,
       greatest(0, extract(epoch from clock_timestamp() - max(state_change)))::float8 as silent_s
from pg_stat_activity
where datname = current_database() and application_name like 'headgate-%'
group by application_name;

-- name: figures
-- Name, labels and value of every gauge only the database knows.
select 'database_up' as name, '{}'::jsonb as labels, 1::float8 as value
union all
select 'hubs', jsonb_build_object('online', online::text, 'region', region), count(*)
from hubs group by online, region
union all
select 'hub_gauge', jsonb_build_object('region', region, 'gauge', gauge.key), sum(gauge.value::float8)
from hubs, jsonb_each_text(gauges) gauge group by region, gauge.key
union all
select 'hub_gauge_max', jsonb_build_object('region', region, 'gauge', gauge.key), max(gauge.value::float8)
from hubs, jsonb_each_text(gauges) gauge group by region, gauge.key
union all
select 'stage_silent_seconds', jsonb_build_object('worker', substr(application_name, 10)),
       greatest(0, extract(epoch from clock_timestamp() - max(state_change)))
from pg_stat_activity
where datname = current_database() and application_name ~ '^headgate-[a-z]+-[0-9]+$'
group by application_name
union all
select 'missing_batches', jsonb_build_object('region', region), coalesce(sum(
    (select sum(upper(hole) - lower(hole))
     from unnest(int8multirange(int8range(0, greatest(next_sequence, upper(received)))) - received) hole)
), 0)
from hub_ledger group by region
union all
select 'dead_letters', jsonb_build_object('reason', left(reason, 64)), count(*)
from dead_letters where state = 'kept' group by left(reason, 64)
union all
select 'open_alerts', jsonb_build_object('kind', kind, 'severity', severity_level::text), count(*)
from contamination_alerts where not resolved group by kind, severity_level
union all
select 'unsettled_findings', '{}', count(*) from findings where settled_at is null
union all
select 'oldest_unsettled_finding_seconds', '{}',
       coalesce(extract(epoch from clock_timestamp() - min(found_at)), 0)
from findings where settled_at is null;
