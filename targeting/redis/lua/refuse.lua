-- Notes which ads cannot be served and why.
--
-- KEYS[1]  meta
-- KEYS[2]  refused: a hash of ad ids to reasons
-- ARGV[1]  epoch of the caller
-- ARGV[2]  "1" forgets all that was noted before
-- ARGV[3…] pairs: ad id, reason ("" = it is not refused any more)
-- Returns  how many ads are refused
-- Errors   see fence.lua
local refused = fence(KEYS[1], ARGV[1])
if refused then
  return refused
end
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[2])
end
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[2], ARGV[i])
  else
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
return redis.call('HLEN', KEYS[2])
