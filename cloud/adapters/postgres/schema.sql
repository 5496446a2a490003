-- name: lock_migrations
-- One migration at a time in one database; the lock goes with the connection.
select pg_advisory_lock(hashtext('headgate.migrate'));

-- name: unlock_migrations
select pg_advisory_unlock(hashtext('headgate.migrate'));

-- name: create_migrations
create table if not exists schema_migrations (
    number integer primary key,
    name text not null,
    sha256 text not null,
    applied_at timestamptz not null default now()
);

-- name: applied_migrations
select number, sha256 from schema_migrations order by number;

-- name: record_migration
insert into schema_migrations (number, name, sha256) values ($1, $2, $3);

-- name: store_id
select store_id from store;
