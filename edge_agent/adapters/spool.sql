-- The hub's durable memory. One file, one connection, one thread.

-- name: schema
-- Everything the spool holds; safe to run at every start.
create table if not exists hub (hub_id text primary key) strict, without rowid;
-- One life of the agent: its sequence is advanced here, in the transaction of the batch that takes it.
create table if not exists lives (
    life integer primary key autoincrement,
    epoch integer not null unique,
    next_sequence integer not null default 0
) strict;
create table if not exists intake (
    sensor_id integer not null,
    observed_at_ms integer not null,
    quality integer not null,
    stamped integer not null,
    measured blob not null,
    primary key (sensor_id, observed_at_ms)
) strict, without rowid;
create table if not exists undated (
    number integer primary key autoincrement,
    boot text not null,
    sensor_id integer not null,
    steady_ms integer not null,
    quality integer not null,
    measured blob not null
) strict;
-- The instants of one sealing, so that a resend is known as a duplicate and a late reading as late.
create table if not exists emitted (number integer primary key autoincrement, instants blob not null) strict;
create table if not exists floors (sensor_id integer primary key, floor_ms integer not null) strict;
-- thin: 1 when thinning can win nothing more.
create table if not exists batches (
    number integer primary key autoincrement,
    epoch integer not null,
    sequence integer not null,
    kind integer not null,
    thin integer not null,
    rows integer not null,
    observed_from_ms integer not null,
    observed_to_ms integer not null,
    size integer not null,
    body blob not null,
    unique (epoch, sequence)
) strict;
create index if not exists batches_urgent on batches (number) where kind = 1;
create index if not exists batches_raw on batches (number) where kind = 0 and thin = 0;
-- A tombstone is kept twice: nothing else remembers what it stands for, and disks rot.
create table if not exists graves (
    epoch integer not null,
    sequence integer not null,
    body blob not null,
    primary key (epoch, sequence)
) strict, without rowid;
create trigger if not exists graves_follow after delete on batches when old.kind = 2
begin
    delete from graves where epoch = old.epoch and sequence = old.sequence;
end;
create table if not exists quarantine (
    number integer primary key autoincrement,
    epoch integer not null,
    sequence integer not null,
    body blob not null
) strict;

-- name: begin_life
insert into lives (epoch) values (?);

-- name: forget_lives
-- Lives that hold nothing any more have nothing to announce.
delete from lives where epoch <> ? and epoch not in (select epoch from batches);

-- name: next_sequence
select next_sequence from lives where epoch = ?;

-- name: advance
update lives set next_sequence = ? where epoch = ?;

-- name: lives
-- The present one first, then the oldest.
select epoch, next_sequence from lives order by epoch <> ?, life limit ?;

-- name: held
select min(sequence), max(sequence) + 1
from (
    select sequence, sequence - row_number() over (order by sequence) as run
    from batches where epoch = ?
)
group by run order by 1 limit ?;

-- name: take
insert into intake values (?, ?, ?, ?, ?);

-- name: keep_undated
insert into undated (boot, sensor_id, steady_ms, quality, measured) values (?, ?, ?, ?, ?);

-- name: undated
select number, boot, sensor_id, steady_ms, quality, measured from undated order by number limit ?;

-- name: boots
select boot, max(steady_ms) from undated group by boot;

-- name: dated
delete from undated where number <= ?;

-- name: suspect
update intake set quality = quality | ? where stamped = 1;

-- name: intake
select sensor_id, observed_at_ms, quality, stamped, measured from intake;

-- name: clear
delete from intake where sensor_id = ? and observed_at_ms = ?;

-- name: emit
insert into emitted (instants) values (?);

-- name: emitted
select number, instants from emitted order by number;

-- name: forget_emitted
delete from emitted where number <= ?;

-- name: floors
select sensor_id, floor_ms from floors;

-- name: floor
insert into floors values (?, ?)
on conflict do update set floor_ms = max(floor_ms, excluded.floor_ms);

-- name: seal
insert into batches (epoch, sequence, kind, thin, rows, observed_from_ms, observed_to_ms, size, body)
values (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: urgent
select epoch, sequence, size from batches where kind = 1 order by number limit ?;

-- name: live
select epoch, sequence, size from batches where number >= ? and kind <> 1 order by number desc limit ?;

-- name: backlog
select epoch, sequence, size from batches where number < ? and kind <> 1 order by number limit ?;

-- name: body
-- Twice, if it is a tombstone.
select body from batches where epoch = ?1 and sequence = ?2
union all
select body from graves where epoch = ?1 and sequence = ?2;

-- name: quarantine
insert into quarantine (epoch, sequence, body)
select epoch, sequence, body from batches where epoch = ? and sequence >= ? and sequence < ? order by sequence;

-- name: bound_quarantine
delete from quarantine where number <= (select max(number) from quarantine) - ?;

-- name: forget
delete from batches where epoch = ? and sequence >= ? and sequence < ?;

-- name: raw
select number, body from batches where kind = 0 and thin = 0 order by number limit ?;

-- name: thin
update batches set thin = 1, rows = ?, size = ?, body = ? where number = ?;

-- name: leave_raw
update batches set thin = 1 where number = ?;

-- name: oldest
-- What may be shed: everything but tombstones, and but evidence from some number on.
select epoch, sequence, rows, observed_from_ms, observed_to_ms
from batches where kind = 0 or (kind = 1 and number < ?) order by number limit ?;

-- name: graves
select count(*) from graves;

-- name: keep_twice
insert into graves values (?, ?, ?) on conflict do update set body = excluded.body;

-- name: named
select rows, observed_from_ms, observed_to_ms, kind from batches where epoch = ? and sequence = ?;

-- name: widen
update batches set rows = ?, observed_from_ms = ?, observed_to_ms = ?, size = ?, body = ?
where epoch = ? and sequence = ?;

-- name: depths
select (select count(*) from batches), (select count(*) from intake),
       (select count(*) from undated), (select count(*) from quarantine);
