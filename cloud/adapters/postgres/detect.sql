-- What detection keeps and reads again.

-- name: begin
begin isolation level read committed;

-- name: begin_calm
-- Nothing was found: a crash of the server may undo this commit, and the sweep evaluates it again.
begin isolation level read committed;
set local synchronous_commit = off;

-- name: bands
select site_id, metric, low, high, dead_band, severity, jurisdiction, source, verified, version
from bands;

-- name: sites
-- Only sensors whose site has a band of its own.
select sensor_id, site_id from sensors
where site_id in (select site_id from bands where site_id is not null);

-- name: state
select state, updated_at from detect_state where hub_id = $1;

-- name: evaluated
select epoch, evaluated from detect_ledger where hub_id = $1;

-- name: foreign
select sensor_id from sensors where sensor_id = any($2::bigint[]) and hub_id <> $1;

-- name: move_states
-- A state moves on only from the one it was built on.
update detect_state set state = given.state, updated_at = clock_timestamp()
from unnest($1::text[], $2::bytea[], $3::timestamptz[]) as given (hub_id, state, version)
where detect_state.hub_id = given.hub_id and detect_state.updated_at = given.version
returning detect_state.hub_id, detect_state.updated_at;

-- name: first_states
insert into detect_state (hub_id, state, updated_at)
select hub_id, state, clock_timestamp() from unnest($1::text[], $2::bytea[]) as given (hub_id, state)
on conflict do nothing
returning hub_id, updated_at;

-- name: add_evaluated
insert into detect_ledger (hub_id, epoch, evaluated)
select hub_id, epoch, evaluated::int8multirange
from unnest($1::text[], $2::bigint[], $3::text[]) as given (hub_id, epoch, evaluated)
on conflict (hub_id, epoch) do update
set evaluated = detect_ledger.evaluated + excluded.evaluated, updated_at = now();

-- name: add_findings
-- A finding found again is the finding we have.
insert into findings (finding_id, sensor_id, cause, metric, severity, observed_at, historical, ended,
                      evidence, hub_id, epoch, sequence)
select finding_id, sensor_id, cause, metric, severity, observed_at, historical, ended,
       evidence::jsonb, hub_id, epoch, sequence
from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::smallint[], $6::timestamptz[],
            $7::boolean[], $8::boolean[], $9::text[], $10::text[], $11::bigint[], $12::bigint[])
     as given (finding_id, sensor_id, cause, metric, severity, observed_at, historical, ended,
               evidence, hub_id, epoch, sequence)
on conflict do nothing;

-- name: due
select hub_id, epoch, sequences from (
    select hub_id, epoch, received - refused - shed - coalesce(evaluated, '{}') as sequences
    from hub_ledger left join detect_ledger using (hub_id, epoch)
) due
where not isempty(sequences) order by hub_id, epoch;

-- name: logged
-- Of hub $1 and epoch $2, the sequences in $3; overdue when stored more than $5 ms ago.
select sequence, lane, flags, observed_from, observed_to, received_at,
       stored_at < clock_timestamp() - $5 * interval '1 millisecond' as overdue
from batch_log
join unnest($3::text::int8multirange) as due on sequence >= lower(due) and sequence < upper(due)
where hub_id = $1 and epoch = $2
order by sequence limit $4;

-- name: readings
-- Every row of hub $1's sensors in [$2, $3], after (sensor $4, time $5), at most $6.
select reading.sensor_id, reading.timestamp, reading.quality, reading.samples,
       array[{columns}]::real[] as metrics
from sensors join {table} reading using (sensor_id)
where sensors.hub_id = $1 and reading.timestamp between $2 and $3
  and (reading.sensor_id, reading.timestamp) > ($4::bigint, $5::timestamptz)
order by reading.sensor_id, reading.timestamp limit $6;
