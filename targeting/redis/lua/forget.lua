-- Takes blobs that were deleted from the list.
--
-- KEYS[1]  meta
-- KEYS[2]  blobs
-- ARGV[1]  epoch of the caller
-- ARGV[2…] names
-- Returns  how many were in the list
-- Errors   see fence.lua
local refused = fence(KEYS[1], ARGV[1])
if refused then
  return refused
end
local gone = 0
for i = 2, #ARGV do
  gone = gone + redis.call('HDEL', KEYS[2], ARGV[i])
end
return gone
