-- Appends a change to the log of the published generation.
--
-- KEYS[1]  meta
-- KEYS[2]  log of the generation
-- ARGV[1]  epoch of the caller
-- ARGV[2]  the generation
-- ARGV[3]  the change
-- Returns  the number of the change
-- Errors   see fence.lua; GENERATION another generation is published, or none
local refused = fence(KEYS[1], ARGV[1])
if refused then
  return refused
end
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[2] then
  return redis.error_reply('GENERATION ' .. ARGV[2] .. ' is not published')
end
local seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
redis.call('HINCRBY', KEYS[1], 'log_bytes', #ARGV[3])
redis.call('XADD', KEYS[2], seq .. '-0', 'change', ARGV[3])
return seq
