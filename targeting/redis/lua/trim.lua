-- Takes a bounded number of entries from the beginning of the log.
--
-- KEYS[1]  meta
-- KEYS[2]  log of the generation
-- ARGV[1]  epoch of the caller
-- ARGV[2]  the generation
-- ARGV[3]  the first change to keep; a few before it may stay
-- ARGV[4]  about how many to take at most
-- Returns  how many are gone
-- Errors   see fence.lua; GENERATION another generation is published, or the change is needed with the manifest
local refused = fence(KEYS[1], ARGV[1])
if refused then
  return refused
end
local meta = redis.call('HMGET', KEYS[1], 'generation', 'base_seq')
if meta[1] ~= ARGV[2] or tonumber(meta[2]) + 1 < tonumber(ARGV[3]) then
  return redis.error_reply('GENERATION ' .. ARGV[2] .. ' is not published, or its log is needed')
end
return redis.call('XTRIM', KEYS[2], 'MINID', '~', ARGV[3] .. '-0', 'LIMIT', ARGV[4])
