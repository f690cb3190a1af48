-- Makes a complete generation the one that nodes load, with an empty log.
--
-- KEYS[1]  meta
-- ARGV[1]  epoch of the caller
-- ARGV[2]  the generation
-- ARGV[3]  schema of the records
-- ARGV[4]  how many ads it holds
-- ARGV[5]  when it was built, Unix ms
-- ARGV[6]  run_id of this Redis, "" if it has none
-- Returns  1
-- Errors   see fence.lua
local refused = fence(KEYS[1], ARGV[1])
if refused then
  return refused
end
redis.call('HSET', KEYS[1], 'generation', ARGV[2], 'schema', ARGV[3], 'ads', ARGV[4], 'built_ms', ARGV[5], 'run_id', ARGV[6],
  'seq', '0')
return 1
