-- Deletes the log of a generation that is not published.
--
-- KEYS[1]  meta
-- KEYS[2]  generations
-- KEYS[3]  log of the generation
-- ARGV[1]  epoch of the caller
-- ARGV[2]  the generation
-- Returns  how many keys are gone
-- Errors   see fence.lua; GENERATION it is the published one
local refused = fence(KEYS[1], ARGV[1])
if refused then
  return refused
end
if redis.call('HGET', KEYS[1], 'generation') == ARGV[2] then
  return redis.error_reply('GENERATION ' .. ARGV[2] .. ' is published')
end
redis.call('SREM', KEYS[2], ARGV[2])
return redis.call('UNLINK', KEYS[3])
