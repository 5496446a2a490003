-- Trials of what died with who read it.

-- name: begin
insert into trials (digest, begun) values ($1, 1)
on conflict (digest) do update set begun = trials.begun + 1, last_at = now()
returning begun;

-- name: spare
update trials set begun = begun - 1 where digest = $1 and begun > 0;

-- name: forget
-- Copies of what was refused may still come from a hub that was away.
delete from trials where last_at < now() - interval '30 days';
