--- How far each price feed is from the market.
---
--- Reads api and contract records and gives out two kinds of comparison, both as-of joins on event time, so that the
--- order of arrival changes nothing:
---   basis "now":    at each API value's fetched_at, the contract value in force then against the newest API values;
---   basis "update": each new round of the contract, as of its updated_at, against the API values of then.
--- One row a (basis, pair, feed, phase_id, agg_round, at): giving a record twice gives the same row again.
options {
  max_age     = duration { "20m", doc = "an API value older than this does not count" },
  min_sources = integer  { 2, min = 1, doc = "fewer values give the verdict inconclusive, and no number" },
  history     = duration { "3h", doc = "how far back a late round is still compared" },
  settle      = duration { "15s", doc = "how long a value waits for the first look at the contract after it; longer than a poll" },
  grace       = duration { "5m", doc = "on top of a feed's heartbeat before it is stale" },
  heartbeat   = duration { "1h", doc = "of feeds whose records carry none" },
  band        = percent  { "0.5%", doc = "of feeds whose records carry none" },
}
emits {
  "kind", "basis", "pair", "feed", "phase_id", "agg_round", "at", "contract_price", "ref_price", "deviation_pct",
  "ref_spread_pct", "ref_age_s", "n_sources", "verdict", "schema",
}

local asof = require "asof"

state.api      = state.api or {}       -- [pair][source]: series of prices
state.contract = state.contract or {}  -- [pair][feed]: series of rounds
-- [pair]: times of API values not yet compared. Not in `state`: after a restart the records that wait come again.
local waiting_of = {}

local function sub(t, key)
  t[key] = t[key] or {}
  return t[key]
end

-- A field that may be absent or null.
local function given(value)
  if value ~= null then return value end
end

--- The newest value of each API as of `at`: how many, their sum, the lowest, the highest, the time of the oldest.
local function reference(pair, at)
  local n, sum, low, high, oldest = 0, decimal(0)
  for _, series in sorted(sub(state.api, pair)) do
    local price, since = asof.at(series, at)
    if price and at - since <= with.max_age then
      n, sum = n + 1, sum + price
      low, high = decimal.min(low or price, price), decimal.max(high or price, price)
      oldest = math.min(oldest or since, since)
    end
  end
  return n, sum, low, high, oldest
end

local function compare(basis, pair, round, at)
  local n, sum, low, high, oldest = reference(pair, at)
  local out = {
    kind = "deviation", schema = 1, basis = basis, pair = pair, feed = round.feed, phase_id = round.phase_id,
    agg_round = round.agg_round, at = time.format(at), contract_price = round.price, n_sources = n,
  }
  local over = false
  if n >= with.min_sources then
    out.ref_price      = sum:div(n)
    out.deviation_pct  = ((round.price * n - sum) * 100):div(sum, 6)  -- rounded once: no mean in between
    out.ref_spread_pct = ((high - low) * (100 * n)):div(sum, 6)
    out.ref_age_s      = (at - oldest) // time.second
    over = out.deviation_pct:abs() > round.band
  end
  out.verdict = at - round.updated_at > round.heartbeat + with.grace and "stale"
             or n < with.min_sources and "inconclusive"
             or over and "over_band"
             or "ok"
  return out
end

--- Compares what waits, up to and with `upto`, with each feed of the pair.
local function compare_waiting(pair, upto)
  local waiting, out = sub(waiting_of, pair), {}
  while waiting[1] and waiting[1] <= upto do
    local at = table.remove(waiting, 1)
    for _, series in sorted(sub(state.contract, pair)) do
      local round = asof.at(series, at)
      if round then table.insert(out, compare("now", pair, round, at)) end
    end
  end
  return out
end

local function on_api(r)
  local pair, at = r.pair, time(r.fetched_at)
  local waiting = sub(waiting_of, pair)
  local i = #waiting
  asof.put(sub(sub(state.api, pair), r.source), at, decimal(r.price), with.history)
  while i > 0 and waiting[i] > at do i = i - 1 end
  if waiting[i] ~= at then table.insert(waiting, i + 1, at) end
  -- A round that began before `at` may be seen only by the next poll. That poll, or the end of the wait, compares.
  defer(at + with.settle, "now " .. pair, function() return compare_waiting(pair, at) end)
end

local function on_contract(r, m)
  local pair, at, seen = r.pair, time(r.updated_at), m.time
  local series = sub(sub(state.contract, pair), r.feed)
  local round = asof.at(series, at)
  if not round or round.agg_round ~= r.agg_round or round.phase_id ~= r.phase_id then
    local heartbeat, band = given(r.heartbeat_s), given(r.band_pct)
    round = {
      feed = r.feed, phase_id = r.phase_id, agg_round = r.agg_round, price = decimal(r.price), updated_at = at, seen = seen,
      heartbeat = heartbeat and heartbeat * time.second or with.heartbeat,
      band = band and decimal(band) or with.band,
    }
    asof.put(series, at, round, with.history)
  end
  defer(seen, "seen " .. pair, function() return compare_waiting(pair, seen) end)
  -- The poll that first saw the round asks for its comparison. Should it be delivered again, it asks again.
  if round.seen == seen then
    defer(at, "update " .. pair .. " " .. r.feed .. " " .. round.phase_id .. " " .. round.agg_round, function()
      return compare("update", pair, round, at)
    end)
  end
end

function on_record(r, m)
  if r.kind == "api" then
    on_api(r)
  elseif r.kind == "contract" then
    on_contract(r, m)
  end  -- gaps and other kinds: filtered
end
