-- Begins or completes the memberships of all users.
--
-- While none are complete, nobody's audiences are known. Redis may be emptied between the two calls: then what was begun is
-- forgotten and cannot be completed.
--
-- KEYS[1]  meta
-- KEYS[2]  users: the generation of memberships that is complete
-- ARGV[1]  epoch of the caller
-- ARGV[2]  "begin" or "complete"
-- ARGV[3]  the generation of memberships
-- Returns  1
-- Errors   see fence.lua; GENERATION to complete what was not begun
local refused = fence(KEYS[1], ARGV[1])
if refused then
  return refused
end
if ARGV[2] == 'begin' then
  redis.call('HSET', KEYS[1], 'users_begun', ARGV[3])
  redis.call('DEL', KEYS[2])
  return 1
end
if redis.call('HGET', KEYS[1], 'users_begun') ~= ARGV[3] then
  return redis.error_reply('GENERATION ' .. ARGV[3] .. ' of memberships was not begun')
end
redis.call('SET', KEYS[2], ARGV[3])
return 1
