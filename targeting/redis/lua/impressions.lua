-- Counts impressions of one user.
--
-- KEYS[1]  views of the user: a hash of "<ad group id>:<day>" to a count, and "swept" to the oldest day that is left
-- ARGV[1]  the oldest day to keep, in days since 1970-01-01 UTC
-- ARGV[2]  seconds after which the whole hash may go
-- ARGV[3…] pairs: field, how many to add
-- Returns  how many old fields were dropped
local dropped = 0
if redis.call('HGET', KEYS[1], 'swept') ~= ARGV[1] then
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    local day = string.match(field, ':(%-?%d+)$')
    if day and tonumber(day) < tonumber(ARGV[1]) then
      dropped = dropped + redis.call('HDEL', KEYS[1], field)
    end
  end
  redis.call('HSET', KEYS[1], 'swept', ARGV[1])
end
for i = 3, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return dropped
