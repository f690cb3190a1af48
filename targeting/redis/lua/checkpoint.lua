-- Gives the published generation another manifest, whose segments hold more of its log.
--
-- KEYS[1]  meta
-- KEYS[2]  manifest
-- ARGV[1]  epoch of the caller
-- ARGV[2]  the generation
-- ARGV[3]  the last change that the present manifest holds
-- ARGV[4]  the last change that the new one holds
-- ARGV[5]  the new manifest
-- ARGV[6]  about how many bytes of the log the new one holds more than the present
-- Returns  1
-- Errors   see fence.lua; GENERATION another generation or manifest is published, or the log does not reach so far
local refused = fence(KEYS[1], ARGV[1])
if refused then
  return refused
end
local meta = redis.call('HMGET', KEYS[1], 'generation', 'base_seq', 'seq', 'log_bytes')
if meta[1] ~= ARGV[2] or meta[2] ~= ARGV[3] or tonumber(meta[3]) < tonumber(ARGV[4]) then
  return redis.error_reply('GENERATION ' .. ARGV[2] .. ' with manifest ' .. ARGV[3] .. ' is not published')
end
redis.call('SET', KEYS[2], ARGV[5])
local bytes = math.max(0, tonumber(meta[4] or '0') - tonumber(ARGV[6]))
redis.call('HSET', KEYS[1], 'base_seq', ARGV[4], 'log_bytes', string.format('%.0f', bytes))
return 1
