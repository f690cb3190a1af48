-- Checks impressions of one user against their frequency caps and counts them, in one step. An impression that was over its cap
-- has happened all the same and is counted too; one that was counted before is not counted again.
--
-- KEYS[1]  views of the user: a hash of an ad group (8 bytes, big endian) to its impressions, 8 bytes each and sorted: 6 of the
--          time in ms since 1970, big endian, and 2 that tell two of one millisecond apart
-- ARGV[1]  now, ms
-- ARGV[2]  the window: an impression counts while it is less than this old, ms
-- ARGV[3]  how much longer it is kept, because clocks differ and step back, ms
-- ARGV[4]  the most ad groups of a user; the one that was not seen for longest is forgotten first
-- ARGV[5…] quadruples: ad group, impression, cap (0 = count without a check), the most impressions to keep
-- Returns  one number per quadruple: 0 within the cap, 1 over it, 2 counted before, 3 too old to count
-- Errors   DAMAGED what is stored is not what was written
local now, window, keep, groups = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

-- at is the time of the impression that begins at byte i, and what tells it from others of that time.
local function at(list, i)
  local a, b, c, d, e, f, g, h = string.byte(list, i, i + 7)
  return ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f, g * 256 + h
end

-- after is the first byte of the impressions later than a time.
local function after(list, time)
  local i = 1
  while i <= #list and at(list, i) <= time do
    i = i + 8
  end
  return i
end

-- place is where an impression belongs in a sorted list, and whether it is there already.
local function place(list, impression)
  local time, rest = at(impression, 1)
  local i = #list + 1
  while i > 1 do
    local t, r = at(list, i - 8)
    if t == time and r == rest then
      return i, true
    end
    if t < time or (t == time and r < rest) then
      break
    end
    i = i - 8
  end
  return i, false
end

-- sweep forgets ad groups whose impressions are all too old, and the oldest if there are still too many.
local function sweep()
  local all = redis.call('HGETALL', KEYS[1])
  local left = {}
  for i = 1, #all, 2 do
    local newest = at(all[i + 1], #all[i + 1] - 7)
    if newest <= now - window - keep then
      redis.call('HDEL', KEYS[1], all[i])
    else
      left[#left + 1] = { newest, all[i] }
    end
  end
  if #left > groups then
    table.sort(left, function(x, y) return x[1] < y[1] end)
    for i = 1, #left - groups do
      redis.call('HDEL', KEYS[1], left[i][2])
    end
  end
end

local answers, newest = {}, 0
for i = 5, #ARGV, 4 do
  local group, impression, cap, most = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local stored = redis.call('HGET', KEYS[1], group)
  local list = stored or ''
  if #list % 8 ~= 0 then
    return redis.error_reply('DAMAGED views of a user')
  end
  local time = at(impression, 1)
  list = string.sub(list, after(list, now - window - keep))
  local here, known = place(list, impression)
  if known then
    answers[#answers + 1] = 2
  elseif time <= now - window then
    answers[#answers + 1] = 3
  else
    local seen = (#list - after(list, now - window) + 1) / 8
    answers[#answers + 1] = (cap > 0 and seen >= cap) and 1 or 0
    list = string.sub(list, 1, here - 1) .. impression .. string.sub(list, here)
    if #list > most * 8 then
      list = string.sub(list, -most * 8)
    end
    newest = math.max(newest, time)
  end
  if list == '' then
    if stored then
      redis.call('HDEL', KEYS[1], group)
    end
  elseif list ~= stored then
    redis.call('HSET', KEYS[1], group, list)
    if not stored then
      local n = redis.call('HLEN', KEYS[1])
      if n % 16 == 0 or n > groups then
        sweep()
      end
    end
  end
end
if newest > 0 then
  local lives = newest + window + keep - now
  if lives > redis.call('PTTL', KEYS[1]) then
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', lives))
  end
end
return answers
