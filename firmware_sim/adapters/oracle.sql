-- What the oracle asks. Questions are named; $1 and $2 are the first and the last sensor.

-- stored: the routine series; every field present, so that every row has the same width
select sensor_id, timestamp, {metrics}, samples::bigint
from sensor_readings
where sensor_id between $1 and $2;

-- refused: rows turned away one by one
select sensor_id, timestamp, samples::bigint
from refused_readings
where sensor_id between $1 and $2;

-- dead_letters: whole batches turned away, bytes and all
select body
from dead_letters
join hub_ledger using (hub_id, epoch)
where hub_ledger.refused @> dead_letters.sequence;

-- conflicts: other values for an instant already stored
select count(*)
from reading_conflicts
where sensor_id between $1 and $2;

-- sheds: what hubs said they lost on purpose
select hub_id, observed_from, observed_to, rows
from sheds
order by observed_to;

-- shedders: the sensors of those hubs
select sensor_id, hub_id
from sensors
where hub_id in (select hub_id from sheds)
order by sensor_id;

-- alerts: everything ever alerted, about the water and about probes
select alert_id, sensor_id, metric, timestamp, last_observed_at, kind = 'contamination'
from contamination_alerts
where sensor_id between $1 and $2;
