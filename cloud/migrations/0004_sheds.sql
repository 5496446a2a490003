-- What hubs said they lost on purpose, as their tombstones tell it.

create table sheds (
    hub_id text not null,
    told_epoch bigint not null,
    told_sequence bigint not null,
    epoch bigint not null,             -- whose sequences: may be an earlier life of the hub
    low bigint not null,
    high bigint not null check (low < high),
    observed_from timestamptz not null,
    observed_to timestamptz not null,
    rows bigint not null,              -- in all of [low, high), those included that did arrive
    reason text not null,
    told_at timestamptz not null default now(),
    primary key (hub_id, told_epoch, told_sequence)
);
create index sheds_by_sequence on sheds (hub_id, epoch, low);
