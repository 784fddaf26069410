-- The reference work: how far a price is from what its pair is expected to cost, in percent. Reads two fields, adds one,
-- drops one, and filters the lowest hundredth (prices are spread evenly from 1000 to 5000).
local expected = { ["ETH-USD"] = decimal "3000", ["BTC-USD"] = decimal "2900", ["LINK-USD"] = decimal "3100" }
local other, lowest = decimal "3050", decimal "1040"

function on_record(r)
  local price = decimal(r.price)
  if price < lowest then return end
  local reference = expected[r.pair] or other
  r.deviation_pct = ((price - reference) * 100):div(reference, 4)
  r.debug = nil
  return r
end
