-- name: digests
-- What was measured in [$1, $2), one row a sensor and day, whatever the order it came in: a value
-- and what contradicts it count alike, since which of the two came first is no part of it.
with said as (
    select sensor_id, timestamp, array[{columns}] as metrics
    from sensor_readings where timestamp >= $1 and timestamp < $2
    union all
    select sensor_id, timestamp, metrics
    from reading_conflicts where timestamp >= $1 and timestamp < $2
)
select sensor_id, date_trunc('day', timestamp, 'UTC') as day, count(*) as rows,
       sum(hash_record_extended(row(timestamp, metrics), 0)) as digest
from said
group by 1, 2
order by 1, 2;

-- name: said
-- The same of one sensor, row by row.
select timestamp, array[{columns}] as metrics
from sensor_readings where sensor_id = $3 and timestamp >= $1 and timestamp < $2
union
select timestamp, metrics
from reading_conflicts where sensor_id = $3 and timestamp >= $1 and timestamp < $2;
