-- Stands before every script that writes the index.
--
-- fence(meta, epoch) returns nil if the index belongs to the epoch, else the error to answer with: STALE if a later epoch has
-- claimed it, GENERATION if nobody has, or an earlier one did after Redis was emptied.
local function fence(meta, epoch)
  local stored = redis.call('HGET', meta, 'epoch')
  if stored == epoch then
    return nil
  end
  if stored and tonumber(stored) > tonumber(epoch) then
    return redis.error_reply('STALE epoch ' .. epoch .. ', the index belongs to epoch ' .. stored)
  end
  return redis.error_reply('GENERATION the index is not claimed by epoch ' .. epoch)
end
