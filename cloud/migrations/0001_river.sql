-- The river's tables: who speaks, what was measured, what became of every batch, what was found.

create table store (
    -- One row: the name of this store, pinned by hubs. Receipts of any other store mean nothing.
    store_id uuid not null default gen_random_uuid(),
    created_at timestamptz not null default now(),
    one boolean primary key default true check (one)
);
insert into store default values;

create table sites (
    site_id bigint generated always as identity primary key,
    name text not null unique,
    location text not null,
    region text not null,
    entity_id text,
    kind text not null default 'municipal' check (kind in ('municipal', 'industrial', 'natural')),
    lat double precision check (lat between -90 and 90),
    lon double precision check (lon between -180 and 180)
);

create table sensors (
    -- The first hub to claim a sensor speaks for it; a foreign claim is refused row by row.
    sensor_id bigint primary key check (sensor_id >= 0),
    hub_id text not null,
    region text not null,
    site_id bigint references sites,
    first_seen timestamptz not null default now()
);
create index sensors_by_hub on sensors (hub_id);
create index sensors_by_site on sensors (site_id);

create table hubs (
    hub_id text primary key,
    region text not null,
    online boolean not null,
    version text not null,
    clock_trusted boolean not null,
    gauges jsonb not null,
    at timestamptz not null,
    updated_at timestamptz not null default now()
);

create table bands (
    -- What is healthy: the closed band of a metric, platform-wide or for one site.
    band_id bigint generated always as identity primary key,
    site_id bigint references sites,
    metric text not null,
    low real,
    high real,
    dead_band real not null check (dead_band >= 0),
    severity smallint not null check (severity between 1 and 5),
    jurisdiction text not null,
    source text not null,
    verified boolean not null default false,
    version integer not null default 1,
    check (low is not null or high is not null),
    check (low is null or high is null or low < high)
);
-- Before PostgreSQL 15 two nulls are always distinct; site ids begin at 1.
create unique index one_band on bands (coalesce(site_id, 0), metric);

create table sensor_readings (
    sensor_id bigint not null,
    timestamp timestamptz not null,
    ph_level real,
    turbidity real,
    dissolved_oxygen real,
    temperature real,
    conductivity real,
    orp real,
    free_chlorine real,
    chlorine_dioxide real,
    nitrate real,
    phosphate real,
    lead real,
    arsenic real,
    flow real,
    water_level real,
    quality smallint not null,
    score real,
    samples integer not null,
    primary key (sensor_id, timestamp),
    -- NaN is greater than every number here, so it fails these too. The bounds are real like the
    -- columns: an integer or a numeric bound would cost a conversion a value.
    constraint possible check (
        ph_level between 0::real and 14::real and turbidity between 0::real and 4000::real
        and dissolved_oxygen between 0::real and 60::real
        and temperature between (-5)::real and 60::real
        and conductivity between 0::real and 200000::real
        and orp between (-2000)::real and 2000::real
        and free_chlorine between 0::real and 20::real
        and chlorine_dioxide between 0::real and 20::real
        and nitrate between 0::real and 500::real and phosphate between 0::real and 100::real
        and lead between 0::real and 10000::real and arsenic between 0::real and 10000::real
        and flow between (-100000)::real and 500000::real
        and water_level between (-20)::real and 1000::real
        and score between 0::real and 1::real and samples > 0
    )
) partition by hash (sensor_id);

-- Raw copies around something suspicious: never added up, the routine series has each reading once.
create table evidence_readings (like sensor_readings including constraints including indexes)
partition by hash (sensor_id);

create table reading_conflicts (
    -- Another value for an instant already stored: the first is kept there, this one here.
    sensor_id bigint not null,
    timestamp timestamptz not null,
    hub_id text not null,
    epoch bigint not null,
    sequence bigint not null,
    metrics real[] not null,
    quality smallint not null,
    samples integer not null,
    found_at timestamptz not null default now(),
    primary key (sensor_id, timestamp, hub_id, epoch, sequence)
);

create table refused_readings (
    -- Rows refused one by one, their batch's other rows being stored.
    hub_id text not null,
    epoch bigint not null,
    sequence bigint not null,
    sensor_id bigint not null,
    timestamp timestamptz not null,
    reason text not null,
    metrics real[] not null,
    quality smallint not null,
    samples integer not null,
    refused_at timestamptz not null default now(),
    primary key (hub_id, epoch, sequence, sensor_id, timestamp)
);

create table dead_letters (
    -- Messages no retry can help, kept with the reason. One row a batch, refused or reusing a key.
    dead_letter_id bigint generated always as identity primary key,
    hub_id text not null,
    epoch bigint not null,
    sequence bigint not null,
    crc bigint not null,
    reason text not null,
    body bytea not null,
    first_at timestamptz not null default now(),
    last_at timestamptz not null default now(),
    attempts integer not null default 1,
    unique (hub_id, epoch, sequence, crc)
);

create table hub_ledger (
    -- The fate of every sequence of every life of every hub: the source of receipts.
    hub_id text not null,
    epoch bigint not null,
    region text not null,
    received int8multirange not null default '{}',
    refused int8multirange not null default '{}',
    shed int8multirange not null default '{}',
    next_sequence bigint not null default 0,
    first_seen timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (hub_id, epoch)
) with (fillfactor = 50);

create table batch_log (
    hub_id text not null,
    epoch bigint not null,
    sequence bigint not null,
    lane smallint not null,        -- wire.batch.Kind
    flags smallint not null,       -- wire.batch.Flag
    rows integer not null,
    observed_from timestamptz not null,
    observed_to timestamptz not null,
    received_at timestamptz not null,
    stored_at timestamptz not null,
    crc bigint not null
) partition by range (stored_at);
create index batch_log_by_key on batch_log (hub_id, epoch, sequence);

create table detect_ledger (
    -- What detection has evaluated; the sweep evaluates what the hub ledger has beyond this.
    hub_id text not null,
    epoch bigint not null,
    evaluated int8multirange not null default '{}',
    updated_at timestamptz not null default now(),
    primary key (hub_id, epoch)
) with (fillfactor = 50);

create table detect_state (
    -- What detection remembers of one hub's sensors, as it stood at its last commit.
    hub_id text primary key,
    state bytea not null,
    updated_at timestamptz not null default now()
);

create table findings (
    -- The outbox between detection and alerts; the high lane only says that there is something.
    finding_id uuid primary key,
    sensor_id bigint not null,
    cause text not null,
    metric text not null,
    severity smallint not null,
    observed_at timestamptz not null,
    historical boolean not null,
    ended boolean not null,        -- a recovery: resolves the alert instead of opening it
    evidence jsonb not null,
    hub_id text not null,
    epoch bigint not null,
    sequence bigint not null,
    found_at timestamptz not null default clock_timestamp(),
    settled_at timestamptz
);
create index findings_unsettled on findings (found_at) where settled_at is null;

create table contamination_alerts (
    alert_id bigint generated always as identity primary key,
    sensor_id bigint not null,
    timestamp timestamptz not null,              -- observed_at of the finding that opened it
    contaminant_type varchar(50) not null,       -- the cause
    metric text not null,
    severity_level int not null,
    kind text not null check (kind in ('contamination', 'sensor_fault')),
    historical boolean not null default false,   -- opened by late data: wakes nobody
    resolved boolean not null default false,
    opened_by uuid not null unique references findings,
    explanation jsonb not null,
    findings integer not null default 1,
    last_observed_at timestamptz not null,
    opened_at timestamptz not null default clock_timestamp(),
    acknowledged_at timestamptz,
    resolved_at timestamptz,
    resolved_observed_at timestamptz             -- event time of the recovery
);
create unique index one_open_alert on contamination_alerts (sensor_id, contaminant_type, metric)
where not resolved;
create index alerts_by_sensor on contamination_alerts (sensor_id, timestamp desc);

do $$
begin
    for leaf in 0..7 loop
        execute format('create table sensor_readings_%s partition of sensor_readings '
                       'for values with (modulus 8, remainder %s) partition by range (timestamp)', leaf, leaf);
        execute format('create table evidence_readings_%s partition of evidence_readings '
                       'for values with (modulus 8, remainder %s) partition by range (timestamp)', leaf, leaf);
    end loop;
end $$;

-- Make the partitions of the month that holds an instant. Idempotent; safe among workers.
create function ensure_month(instant timestamptz) returns void language plpgsql as $$
declare
    month_start timestamptz := date_trunc('month', instant, 'UTC');
    month_end timestamptz := date_trunc('month', month_start + interval '32 days', 'UTC');
    suffix text := to_char(month_start at time zone 'UTC', 'YYYY_MM');
begin
    if to_regclass(format('sensor_readings_7_%s', suffix)) is not null
       and to_regclass(format('batch_log_%s', suffix)) is not null then
        return;
    end if;
    perform pg_advisory_xact_lock(hashtext('ensure_month'));
    for leaf in 0..7 loop
        execute format('create table if not exists sensor_readings_%s_%s partition of sensor_readings_%s '
                       'for values from (%L) to (%L)', leaf, suffix, leaf, month_start, month_end);
        execute format('create table if not exists evidence_readings_%s_%s partition of evidence_readings_%s '
                       'for values from (%L) to (%L)', leaf, suffix, leaf, month_start, month_end);
    end loop;
    execute format('create table if not exists batch_log_%s partition of batch_log '
                   'for values from (%L) to (%L)', suffix, month_start, month_end);
end $$;
