-- What died with who read it is tried alone: that a trial begins is noted before it does, so that
-- whatever ends the process cannot make it forget.

create table trials (
    digest bytea primary key check (octet_length(digest) = 32),  -- SHA-256 of topic and body
    begun integer not null check (begun >= 0),
    last_at timestamptz not null default now()
);
create index trials_last_at on trials (last_at);
