-- Sequences without readings: from each life's ledger, with what its hub last said of it.

-- name: gaps
-- $1 hub or null for all; $2, $3, $4 the hub, epoch and sequence after which to go on; $5 limit;
-- $6 how many lives one health can name.
with holed as (
    select ledger.hub_id, ledger.region, ledger.epoch, ledger.first_seen, ledger.updated_at,
           part.settled, part.ranges
    from hub_ledger ledger
    cross join lateral (values
        (null, int8multirange(int8range(0, greatest(ledger.next_sequence, upper(ledger.received))))
               - ledger.received),
        ('refused', ledger.refused),
        ('shed', ledger.shed)
    ) part (settled, ranges)
    where (ledger.received <> int8multirange(int8range(0, ledger.next_sequence))
           or ledger.refused <> '{}' or ledger.shed <> '{}')
      and ($1::text is null or ledger.hub_id = $1)
      and (ledger.hub_id, ledger.epoch) >= ($2::text, $3::bigint)
),
holes as (
    select holed.*, lower(hole) as low, upper(hole) as high
    from holed cross join lateral unnest(ranges) hole
    where (hub_id, epoch, lower(hole)) > ($2, $3, $4::bigint)
    order by hub_id, epoch, lower(hole)
    limit $5
)
select holes.hub_id, holes.region, holes.epoch, holes.low, holes.high, holes.settled,
       coalesce(before.stored_at, holes.first_seen) as since,
       before.observed_to as observed_after,
       case holes.settled
           when 'refused' then array(
               select distinct reason from dead_letters letter
               where letter.hub_id = holes.hub_id and letter.epoch = holes.epoch
                 and letter.sequence >= holes.low and letter.sequence < holes.high
               order by reason limit 3)
           when 'shed' then array(
               select distinct reason from sheds
               where sheds.hub_id = holes.hub_id and sheds.epoch = holes.epoch
                 and sheds.low < holes.high and sheds.high > holes.low
               order by reason limit 3)
           else '{}'
       end as reasons,
       hubs.hub_id is not null as heard,
       (hubs.epochs ->> holes.epoch::text)::bigint as heard_next_sequence,
       (hubs.gauges ->> 'spool_batches')::bigint as heard_spool_batches,
       -- A hub lists at most $6 lives: of a full list, what is not on it says nothing.
       hubs.updated_at >= holes.updated_at
           and (select count(*) from jsonb_object_keys(hubs.epochs)) < $6 as heard_after_ledger
from holes
left join hubs using (hub_id)
left join lateral (
    select stored_at, observed_to from batch_log
    where batch_log.hub_id = holes.hub_id and batch_log.epoch = holes.epoch
      and batch_log.sequence < holes.low
    order by sequence desc limit 1
) before on true
order by holes.hub_id, holes.epoch, holes.low;
