-- Makes a generation whose blobs are all written the one that nodes load, with an empty log.
--
-- KEYS[1]  meta
-- KEYS[2]  manifest
-- KEYS[3]  generations
-- ARGV[1]  epoch of the caller
-- ARGV[2]  the generation
-- ARGV[3]  schema of the layout
-- ARGV[4]  the manifest
-- ARGV[5]  when the generation was built, Unix ms
-- ARGV[6]  run_id of the servers when writing began, "" if they have none
-- Returns  1
-- Errors   see fence.lua
local refused = fence(KEYS[1], ARGV[1])
if refused then
  return refused
end
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('SET', KEYS[2], ARGV[4])
redis.call('HSET', KEYS[1], 'generation', ARGV[2], 'schema', ARGV[3], 'built_ms', ARGV[5], 'run_id', ARGV[6],
  'seq', '0', 'base_seq', '0', 'log_bytes', '0')
return 1
