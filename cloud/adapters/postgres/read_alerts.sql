-- Alerts with where they are and when each hop was taken. Each is ``select`` and one of the ends.

-- name: select
select alert.alert_id, alert.sensor_id, sensor.region, sensor.hub_id, site.site_id, site.name as site,
       alert.contaminant_type as cause, alert.metric, alert.severity_level as severity, alert.kind,
       alert.historical, alert.resolved, alert.findings, alert.explanation,
       alert.timestamp as observed_at, alert.last_observed_at, alert.opened_at,
       alert.acknowledged_at, alert.resolved_at, alert.resolved_observed_at,
       batch.received_at, batch.stored_at, finding.found_at
from contamination_alerts alert
join findings finding on finding.finding_id = alert.opened_by
left join sensors sensor on sensor.sensor_id = alert.sensor_id
left join sites site on site.site_id = sensor.site_id
left join lateral (
    select received_at, stored_at from batch_log
    where batch_log.hub_id = finding.hub_id and batch_log.epoch = finding.epoch
      and batch_log.sequence = finding.sequence
    limit 1
) batch on true

-- name: these
where alert.alert_id = any($1::bigint[])
order by alert.alert_id desc

-- name: active
-- In region $1 or anywhere, older than alert $2, at most $3; newest first.
where not alert.resolved and ($1::text is null or sensor.region = $1) and alert.alert_id < $2
order by alert.alert_id desc limit $3

-- name: all
-- As active, resolved ones too.
where ($1::text is null or sensor.region = $1) and alert.alert_id < $2
order by alert.alert_id desc limit $3

-- name: changed
-- Opened, acknowledged or resolved since $1, at most $2; newest first.
where greatest(alert.opened_at, alert.acknowledged_at, alert.resolved_at) >= $1
order by alert.alert_id desc limit $2
