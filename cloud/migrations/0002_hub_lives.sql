-- What a hub last said of its lives: tells a batch it still holds from one that is lost.
alter table hubs
    add column epochs jsonb not null default '{}',  -- epoch (text) to its next sequence; unlisted: holds nothing of it
    add column born_at timestamptz;                 -- at of its last birth: an older last will is stale
