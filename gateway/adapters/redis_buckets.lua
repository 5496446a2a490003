-- Spend a token for each reading of every message that finds all of its tokens; oracle: wire.token_bucket.
-- KEYS: a bucket a sensor and message. ARGV: now in ms (-1: the server's), cost ms, slack ms, how long
-- a full bucket is kept, then for each message how many buckets it needs and how many tokens of each.
-- Returns for each message 0, or how many ms to wait.
local at = tonumber(ARGV[1])
local cost, slack, kept = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if at < 0 then
  local now = redis.call('TIME')
  at = now[1] * 1000 + math.floor(now[2] / 1000)
end
local waits, key, arg = {}, 1, 5
while arg <= #ARGV do
  local needs, wait, due = tonumber(ARGV[arg]), 0, {}
  for n = 1, needs do
    local tokens = tonumber(ARGV[arg + n])
    local begins = math.max(tonumber(redis.call('GET', KEYS[key + n - 1]) or 0), at)
    wait = math.max(wait, begins + (tokens - 1) * cost - slack - at)
    due[n] = begins + tokens * cost
  end
  if wait == 0 then
    for n = 1, needs do
      local left = string.format('%d', due[n] - at + kept)
      redis.call('SET', KEYS[key + n - 1], string.format('%d', due[n]), 'PX', left)
    end
  end
  waits[#waits + 1] = wait
  key, arg = key + needs, arg + needs + 1
end
return waits
