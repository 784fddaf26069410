--- Values over time: series of { at, v }, ordered by time and bounded; plain tables, so that they can live in `state`.
local asof = {}

--- Puts v into series s as of `at`, and forgets what is older than `keep` before the newest, except the value that was
--- in force then. Late values find their place; a second value as of the same time replaces the first.
function asof.put(s, at, v, keep)
  local i = #s
  while i > 0 and s[i].at > at do i = i - 1 end
  if i > 0 and s[i].at == at then
    s[i].v = v
  else
    table.insert(s, i + 1, { at = at, v = v })
  end
  while s[2] and s[2].at <= s[#s].at - keep do table.remove(s, 1) end
end

--- The value in force at t and the time since when; nothing if there was none.
function asof.at(s, t)
  for i = #s, 1, -1 do
    if s[i].at <= t then return s[i].v, s[i].at end
  end
end

--- The first time of s that is not before t; nothing if there is none.
function asof.after(s, t)
  local found
  for i = #s, 1, -1 do
    if s[i].at < t then break end
    found = s[i].at
  end
  return found
end

return asof
