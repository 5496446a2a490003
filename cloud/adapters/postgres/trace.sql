-- Everything the store knows of one sensor at one instant. $1 sensor.

-- name: sensor
select sensor.hub_id, sensor.region, site.name as site,
       hubs.online, hubs.at as heard_at, hubs.clock_trusted
from sensors sensor
left join sites site using (site_id)
left join hubs on hubs.hub_id = sensor.hub_id
where sensor.sensor_id = $1

-- name: row
-- The newest row not later than $2, newer than $3.
select timestamp, {metrics}, quality, score, samples
from sensor_readings where sensor_id = $1 and timestamp <= $2 and timestamp > $3
order by timestamp desc limit 1

-- name: evidence
select exists (select from evidence_readings where sensor_id = $1 and timestamp = $2)

-- name: batches
-- Of hub $1, those whose readings span [$2, $3], tombstones too, with their fates.
select log.epoch, log.sequence, log.lane, log.flags, coalesce(sheds.rows, log.rows) as rows,
       coalesce(sheds.reason, 'no reason kept') as reason, log.observed_from, log.observed_to,
       log.received_at, log.stored_at,
       coalesce(ledger.received @> log.sequence, false) as received,
       coalesce(ledger.refused @> log.sequence, false) as refused,
       coalesce(detect.evaluated @> log.sequence, false) as evaluated,
       detect.updated_at as evaluated_at
from batch_log log
left join hub_ledger ledger using (hub_id, epoch)
left join detect_ledger detect using (hub_id, epoch)
left join sheds on sheds.hub_id = log.hub_id and sheds.told_epoch = log.epoch
               and sheds.told_sequence = log.sequence
where log.hub_id = $1 and log.observed_from <= $3 and log.observed_to >= $2
  and log.stored_at >= $2 - interval '2 days'
order by log.stored_at limit 20

-- name: refused
-- Rows refused of that sensor within [$2, $3].
select hub_id, epoch, sequence, timestamp, reason, refused_at
from refused_readings where sensor_id = $1 and timestamp between $2 and $3
order by timestamp limit 5

-- name: conflicts
select hub_id, epoch, sequence, timestamp, found_at
from reading_conflicts where sensor_id = $1 and timestamp between $2 and $3
order by timestamp limit 5

-- name: dead
-- Batches of hub $1 that were refused whole from $2 on: what was in them, nobody could read.
select epoch, sequence, reason, first_at from dead_letters
where hub_id = $1 and first_at >= $2 and state <> 'replayed'
order by first_at limit 5

-- name: findings
select finding.finding_id, finding.cause, finding.metric, finding.severity, finding.found_at,
       finding.ended, alert.alert_id, alert.opened_at, alert.resolved_at
from findings finding
left join lateral (
    select * from contamination_alerts alert
    where alert.sensor_id = finding.sensor_id and alert.contaminant_type = finding.cause
      and alert.metric = finding.metric and alert.timestamp <= finding.observed_at
    order by (alert.opened_by = finding.finding_id) desc, alert.timestamp desc limit 1
) alert on true
where finding.sensor_id = $1 and finding.observed_at between $2 and $3
order by finding.found_at limit 20
