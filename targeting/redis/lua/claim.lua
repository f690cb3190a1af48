-- Makes an indexer the writer of the index, and refuses whoever has been succeeded.
--
-- KEYS[1]  meta
-- KEYS[2]  users
-- ARGV[1]  epoch of the caller, a positive integer
-- ARGV[2]  source: which database the caller reads
-- Returns  1
-- Errors   STALE a later epoch of the same source has claimed the index
local stored = redis.call('HMGET', KEYS[1], 'epoch', 'source')
if stored[1] and stored[2] == ARGV[2] and tonumber(stored[1]) > tonumber(ARGV[1]) then
  return redis.error_reply('STALE epoch ' .. ARGV[1] .. ', the index belongs to epoch ' .. stored[1])
end
if stored[2] and stored[2] ~= ARGV[2] then
  -- Another database's ads: nothing of it may be adopted.
  redis.call('HDEL', KEYS[1], 'generation', 'seq', 'base_seq', 'users_begun')
  redis.call('DEL', KEYS[2])
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'source', ARGV[2])
return 1
