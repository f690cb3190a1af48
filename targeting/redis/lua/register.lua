-- Notes that a blob is going to be written, so that it is found and deleted if it never belongs to a manifest.
--
-- KEYS[1]  meta
-- KEYS[2]  blobs: a hash of names to numbers of chunks
-- ARGV[1]  epoch of the caller
-- ARGV[2]  name of the blob
-- ARGV[3]  its number of chunks
-- Returns  1
-- Errors   see fence.lua
local refused = fence(KEYS[1], ARGV[1])
if refused then
  return refused
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
