-- What the store shows of the river. One row a question; times are Unix milliseconds.

-- name: seen
select
    (select coalesce(json_object_agg(hub_id, at), '{}') from (
        select hub_id, (extract(epoch from max(received_at)) * 1000)::bigint as at
        from batch_log group by hub_id
    ) as received) as received_ms,
    (select coalesce(json_object_agg(hub_id, at), '{}') from (
        select hub_id, (extract(epoch from max(first_seen)) * 1000)::bigint as at
        from hub_ledger where not isempty(received) group by hub_id
    ) as born) as born_ms,
    (select (extract(epoch from max(updated_at)) * 1000)::bigint from detect_ledger) as evaluated_ms,
    (select (extract(epoch from min(found_at)) * 1000)::bigint
     from findings where settled_at is null) as unsettled_ms,
    (extract(epoch from clock_timestamp()) * 1000)::bigint as at_ms;

-- name: open
-- What is still on its way: lives of hubs with gaps or with batches not evaluated, and findings.
-- $1: hubs that are away and known to be.
select
    (select count(*) from hub_ledger
     where received <> int8multirange(int8range(0, next_sequence))
       and hub_id <> all ($1::text [])) as gaps,
    (select count(*) from hub_ledger left join detect_ledger using (hub_id, epoch)
     where not isempty(received - refused - shed - coalesce(evaluated, '{}'))) as unevaluated,
    (select count(*) from findings where settled_at is null) as unsettled;

-- name: stored
-- When batches of each hub were newly stored.
select coalesce(json_object_agg(hub_id, times), '{}') as stored_ms from (
    select hub_id, json_agg(at order by at) as times from (
        select distinct hub_id, (extract(epoch from stored_at) * 1000)::bigint as at from batch_log
    ) as commits group by hub_id
) as hubs;
