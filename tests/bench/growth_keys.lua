-- A script that holds something for every key it has seen: the last price, and how often it changed.
local last, changes = {}, {}

function on_record(r)
  local pair, price = r.pair, r.price
  if last[pair] ~= price then
    changes[pair] = (changes[pair] or 0) + 1
    last[pair] = price
  end
  r.changes = changes[pair]
  return r
end
