--- Values over time: series of { at, v }, ordered by time and bounded; plain tables, so that they can live in `state`.
local asof = {}

-- The place of the newest entry not after t; 0: none. What is asked for is mostly at the end.
local function place(s, t)
  local low, high = 0, #s
  if high > 0 and s[high].at <= t then return high end
  while low < high do
    local middle = (low + high + 1) // 2
    if s[middle].at <= t then low = middle else high = middle - 1 end
  end
  return low
end

--- Puts v into series s as of `at`, and forgets what is older than `keep` before the newest, except the value that was
--- in force then. Late values find their place; a second value as of the same time replaces the first.
function asof.put(s, at, v, keep)
  local i = place(s, at)
  if i > 0 and s[i].at == at then
    s[i].v = v
  else
    table.insert(s, i + 1, { at = at, v = v })
  end
  while s[2] and s[2].at <= s[#s].at - keep do table.remove(s, 1) end
end

--- The value in force at t and the time since when; nothing if there was none.
function asof.at(s, t)
  local i = place(s, t)
  if i > 0 then return s[i].v, s[i].at end
end

--- The value in force at t of those for which `is_known(v)` is true.
function asof.known(s, t, is_known)
  for i = place(s, t), 1, -1 do
    if is_known(s[i].v) then return s[i].v end
  end
end

--- The first time of s that is not before t; nothing if there is none.
function asof.after(s, t)
  local i = place(s, t)
  if i > 0 and s[i].at == t then return t end
  return s[i + 1] and s[i + 1].at
end

return asof
