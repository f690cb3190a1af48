-- Lists every blob that was begun, with the manifest of the same moment. Being fenced it names no blob of a later epoch: what is in
-- the list and not in the manifest may be deleted by whoever gets the list, also after it has been succeeded.
--
-- KEYS[1]  meta
-- KEYS[2]  blobs
-- KEYS[3]  manifest
-- ARGV[1]  epoch of the caller
-- Returns  {manifest or "", name, number of chunks, name, …}
-- Errors   see fence.lua
local refused = fence(KEYS[1], ARGV[1])
if refused then
  return refused
end
local list = redis.call('HGETALL', KEYS[2])
table.insert(list, 1, redis.call('GET', KEYS[3]) or '')
return list
