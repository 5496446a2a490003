-- Dead letters for people: where each came from, what it is, and what was decided about it.
-- Older code goes on writing key, crc, reason and body.

alter table dead_letters
    add column topic text,                          -- null: an older program kept it
    add column flags smallint not null default 0,   -- wire.batch.Flag of its header
    -- refused: it took its key with it; reused: another content has the key; claim: another's name.
    add column kind text not null generated always as (
        case when reason = 'key reuse' then 'reused'
             when starts_with(reason, 'claims to be ') then 'claim'
             else 'refused' end
    ) stored,
    add column state text not null default 'kept' check (state in ('kept', 'replayed', 'dropped')),
    add column decided_at timestamptz,
    add column decided_by text,
    add constraint body_bounded check (octet_length(body) <= 262144),  -- wire.limits.BATCH_BYTES_MAX
    add constraint decided check (
        (state = 'kept') = (decided_at is null) and (state = 'kept') = (decided_by is null)
    );
create index dead_letters_kept on dead_letters (hub_id) where state = 'kept';

update dead_letters
set flags = batch_log.flags
from batch_log
where batch_log.hub_id = dead_letters.hub_id and batch_log.epoch = dead_letters.epoch
  and batch_log.sequence = dead_letters.sequence and batch_log.crc = dead_letters.crc
  and batch_log.flags <> 0;
