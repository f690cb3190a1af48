-- Replaces the lists of users who share a bucket.
--
-- KEYS[1]  the bucket: a hash of a user's 6 bytes to the user's lists, and "g" to <4 bytes of the source><6 bytes of the
--          generation><epoch in decimal digits> of the memberships that are in it
-- ARGV[1]  epoch of the caller
-- ARGV[2]  the caller's source and generation, 10 bytes as in "g"
-- ARGV[3]  seconds to remember "g" in a bucket without users: an indexer that was succeeded must not bring users back
-- ARGV[4…] pairs: a user's 6 bytes, the lists ("" removes the user)
-- Returns  1
-- Errors   STALE a later epoch of the same source has written the bucket
local stored = redis.call('HGET', KEYS[1], 'g')
if stored and string.sub(stored, 1, 4) == string.sub(ARGV[2], 1, 4) and (tonumber(string.sub(stored, 11)) or 0) > tonumber(ARGV[1]) then
  return redis.error_reply('STALE epoch ' .. ARGV[1] .. ', the bucket was written in epoch ' .. string.sub(stored, 11))
end
if stored and string.sub(stored, 1, 10) ~= ARGV[2] then
  redis.call('DEL', KEYS[1]) -- nothing of another generation counts
  stored = nil
end
local set, gone = {}, {}
if stored ~= ARGV[2] .. ARGV[1] then
  set[1], set[2] = 'g', ARGV[2] .. ARGV[1]
end
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    gone[#gone + 1] = ARGV[i]
  else
    set[#set + 1] = ARGV[i]
    set[#set + 1] = ARGV[i + 1]
  end
end
if #set > 0 then
  redis.call('HSET', KEYS[1], unpack(set))
end
if #gone > 0 then
  redis.call('HDEL', KEYS[1], unpack(gone))
end
if #gone > 0 and redis.call('HLEN', KEYS[1]) == 1 then
  redis.call('EXPIRE', KEYS[1], ARGV[3])
elseif stored then
  redis.call('PERSIST', KEYS[1])
end
return 1
