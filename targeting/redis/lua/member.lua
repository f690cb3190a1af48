-- Replaces the audiences of one user.
--
-- KEYS[1]  audiences of the user: "<generation> <epoch> <ids, comma-separated>"; a generation begins with its source and "-"
-- ARGV[1]  epoch of the caller
-- ARGV[2]  the new value
-- ARGV[3]  seconds to keep it, 0 = for good
-- Returns  1
-- Errors   STALE a later epoch of the same source has written the user
local stored = redis.call('GET', KEYS[1]) or ''
local source, epoch = string.match(stored, '^([^- ]*)%S* (%d+) ')
if source == string.match(ARGV[2], '^[^- ]*') and tonumber(epoch) > tonumber(ARGV[1]) then
  return redis.error_reply('STALE epoch ' .. ARGV[1] .. ', the user was written in epoch ' .. epoch)
end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
return 1
