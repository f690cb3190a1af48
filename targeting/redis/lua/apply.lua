-- Changes ads of the published generation and says so in its log, in one step: no reader sees one without the other.
--
-- KEYS[1]  meta
-- KEYS[2]  log of the generation
-- KEYS[3…] the segments that are written
-- ARGV[1]  epoch of the caller
-- ARGV[2]  the generation
-- ARGV[3]  about how many entries the log keeps
-- ARGV[4]  the ids of the ads, comma-separated, for the log
-- ARGV[5…] triples: index into KEYS, ad id, record ("" removes the ad)
-- Returns  {seq of the log entry, number of ads}
-- Errors   see fence.lua; GENERATION another generation is published, or none
local refused = fence(KEYS[1], ARGV[1])
if refused then
  return refused
end
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[2] then
  return redis.error_reply('GENERATION ' .. ARGV[2] .. ' is not published')
end
local delta = 0
for i = 5, #ARGV, 3 do
  local segment = KEYS[tonumber(ARGV[i])]
  if ARGV[i + 2] == '' then
    delta = delta - redis.call('HDEL', segment, ARGV[i + 1])
  else
    delta = delta + redis.call('HSET', segment, ARGV[i + 1], ARGV[i + 2])
  end
end
local ads = redis.call('HINCRBY', KEYS[1], 'ads', delta)
local seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], seq .. '-0', 'ads', ARGV[4])
return { seq, ads }
