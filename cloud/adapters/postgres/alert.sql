-- Findings settled into alerts. Every statement runs in one transaction that begins with ``alone``.

-- name: alone
-- Findings of one key are settled in the order they were found: one worker at a time.
select pg_advisory_xact_lock(hashtext('headgate.alert'));

-- name: patience
-- A worker that hangs inside loses its turn; one that waits too long tries again later.
set local idle_in_transaction_session_timeout = '5s';
set local lock_timeout = '10s';

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
    severity_level = given.severity,
    historical = given.historical,
    findings = given.findings,
    last_observed_at = given.last_observed_at,
    resolved = contamination_alerts.resolved or given.resolved_observed_at is not null,
    resolved_at = case when given.resolved_observed_at is not null
                       then coalesce(contamination_alerts.resolved_at, clock_timestamp()) end,
    resolved_observed_at = given.resolved_observed_at
from unnest($1::bigint[], $2::int[], $3::boolean[], $4::int[], $5::timestamptz[], $6::timestamptz[])
     as given (alert_id, severity, historical, findings, last_observed_at, resolved_observed_at)
where contamination_alerts.alert_id = given.alert_id;

-- name: open
insert into contamination_alerts (sensor_id, timestamp, contaminant_type, metric, severity_level, kind,
                                  historical, resolved, opened_by, explanation, findings,
                                  last_observed_at, resolved_at, resolved_observed_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb, $11, $12,
        case when $8 then clock_timestamp() end, $13)
returning alert_id;

-- name: settle
update findings set settled_at = clock_timestamp() where finding_id = any($1::uuid[]);

-- name: tell
select pg_notify('alerts', body) from unnest($1::text[]) as body;
