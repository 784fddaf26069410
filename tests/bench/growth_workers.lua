-- Many times the work of deviation.lua: the price against each of 48 references instead of one, exactly, and the widest
-- deviation is kept. So the script is what costs, and reading and writing are little beside it.
local references, lowest = {}, decimal "1040"
for i = 1, 48 do references[i] = decimal(2000 + 40 * i) end

function on_record(r)
  local price = decimal(r.price)
  if price < lowest then return end
  local widest = decimal "0"
  for _, reference in ipairs(references) do
    local deviation = ((price - reference) * 100):div(reference, 4)
    if deviation > widest then widest = deviation end
  end
  r.deviation_pct = widest
  r.debug = nil
  return r
end
