-- Writes ads into a generation that is not published yet.
--
-- KEYS[1]  meta
-- KEYS[2]  generations
-- KEYS[3…] the segments that are written
-- ARGV[1]  epoch of the caller
-- ARGV[2]  the generation
-- ARGV[3…] triples: index into KEYS, ad id, record
-- Returns  how many of the ads were new to the generation
-- Errors   see fence.lua
local refused = fence(KEYS[1], ARGV[1])
if refused then
  return refused
end
redis.call('SADD', KEYS[2], ARGV[2])
local new = 0
for i = 3, #ARGV, 3 do
  new = new + redis.call('HSET', KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2])
end
return new
