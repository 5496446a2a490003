-- Findings settled into alerts, in one transaction that begins with ``begin_alone``: few statements,
-- since on a busy machine each costs two processes their turn on a core.

-- name: begin_alone
-- Findings of one key are settled in the order they were found: one worker at a time.
-- A worker that hangs inside loses its turn; one that waits too long tries again later.
begin isolation level read committed;
set local idle_in_transaction_session_timeout = '5s';
set local lock_timeout = '10s';
select pg_advisory_xact_lock(hashtext('headgate.alert'));

-- name: unsettled
select finding_id, sensor_id, cause, metric, severity, observed_at, ended, historical, evidence, found_at
from findings where settled_at is null
order by found_at, observed_at, finding_id limit $1;

-- name: alerts
-- Of each key the open alert and the one resolved last.
select alert.* from unnest($1::bigint[], $2::text[], $3::text[]) as key (sensor_id, cause, metric)
cross join lateral (
    (select * from contamination_alerts a
     where a.sensor_id = key.sensor_id and a.contaminant_type = key.cause and a.metric = key.metric
       and not a.resolved)
    union all
    (select * from contamination_alerts a
     where a.sensor_id = key.sensor_id and a.contaminant_type = key.cause and a.metric = key.metric
       and a.resolved
     order by coalesce(a.resolved_observed_at, a.resolved_at) desc limit 1)
) alert;

-- name: change
update contamination_alerts set
    timestamp = given.opened_observed_at,
    severity_level = given.severity,
    historical = given.historical,
    findings = given.findings,
    last_observed_at = given.last_observed_at,
    resolved = contamination_alerts.resolved or given.resolved_observed_at is not null,
    resolved_at = case when given.resolved_observed_at is not null
                       then coalesce(contamination_alerts.resolved_at, clock_timestamp()) end,
    resolved_observed_at = given.resolved_observed_at
from unnest($1::bigint[], $2::int[], $3::boolean[], $4::int[], $5::timestamptz[], $6::timestamptz[],
            $7::timestamptz[])
     as given (alert_id, severity, historical, findings, last_observed_at, resolved_observed_at,
               opened_observed_at)
where contamination_alerts.alert_id = given.alert_id;

-- name: write
-- Alerts $1..$13 opened, findings $14 settled, and word of these alerts and of the changed ones $15.
with opened as (
    insert into contamination_alerts (sensor_id, timestamp, contaminant_type, metric, severity_level,
                                      kind, historical, resolved, opened_by, explanation, findings,
                                      last_observed_at, resolved_at, resolved_observed_at)
    select sensor_id, opened_at, cause, metric, severity, kind, historical, resolved, opened_by,
           explanation::jsonb, findings, last_observed_at,
           case when resolved then clock_timestamp() end, resolved_observed_at
    from unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::int[], $6::text[],
                $7::boolean[], $8::boolean[], $9::uuid[], $10::text[], $11::int[],
                $12::timestamptz[], $13::timestamptz[])
         as given (sensor_id, opened_at, cause, metric, severity, kind, historical, resolved,
                   opened_by, explanation, findings, last_observed_at, resolved_observed_at)
    returning alert_id, kind, severity_level, historical, resolved
), settled as (
    update findings set settled_at = clock_timestamp() where finding_id = any($14::uuid[])
)
select pg_notify('alerts', word) from (
    select unnest($15::text[]) as word
    union all
    select json_build_object('alert_id', alert_id,
                             'change', case when resolved then 'resolved' else 'opened' end,
                             'kind', kind, 'severity', severity_level, 'historical', historical)::text
    from opened
) words;
