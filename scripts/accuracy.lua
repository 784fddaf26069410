--- How far each price feed is from the market.
---
--- Reads api and contract records and gives out two kinds of comparison, both as-of joins on event time, so that the
--- order of arrival changes nothing:
---   basis "now":    at each API value's fetched_at, the contract value in force then against the newest API values;
---   basis "update": each new round of the contract, as of its updated_at, against the API values of then.
--- One row a (basis, pair, feed, phase_id, agg_round, at): giving a record twice gives the same row again.
---
--- What comes late, when comparisons that it belongs into were given out already, gives those out again that it changes,
--- with `revision` 1, 2 and so on; so every order of arrival ends in the same rows. Where another round than the compared
--- one turns out to have been in force, the old row is given out once more with the verdict "superseded".
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
  "ref_spread_pct", "ref_age_s", "n_sources", "verdict", "revision", "schema",
}

local asof = require "asof"

state.api      = state.api or {}       -- [pair][source]: series of prices
state.contract = state.contract or {}  -- [pair][feed]: series of rounds
state.looks    = state.looks or {}     -- [pair]: series of the times at which the contract was looked at
state.again    = state.again or {}     -- [pair][row]: how often it was given out again
-- A value that waits is compared by a look at the contract, and given out with that: it may be settled before its
-- comparison is. So it waits across a restart, too, until the look comes again or another does.
state.waiting  = state.waiting or {}   -- [pair]: times of API values not yet compared
-- Not in `state`: after a restart the records that ask come again.
local asked_of = {}    -- [pair][row]: comparisons on basis "update" still to come
local passed_of = {}   -- [pair]: up to here all was compared; a record of before is late

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

--- When the values of `at` are compared: at the first look at the contract from then on, but no later than settle.
local function due(pair, at)
  local look = asof.after(sub(state.looks, pair), at)
  return math.min(look or math.maxinteger, at + with.settle)
end

--- The round in force at `at`, as far as it was known when that was compared.
local function in_force(pair, series, at)
  local known = due(pair, at)
  return asof.known(series, at, function(round) return round.seen <= known end)
end

local function name_of(basis, round, at)
  return basis .. " " .. round.feed .. " " .. round.phase_id .. " " .. round.agg_round .. " " .. at
end

--- Asked before a record is put into `state`: what is restored there was compared before the restart.
local function is_late(pair, at)
  if not passed_of[pair] then
    local until_now = math.mininteger
    for _, series in pairs(sub(state.api, pair)) do
      if series[1] then until_now = math.max(until_now, series[#series].at + with.settle) end
    end
    local looks = sub(state.looks, pair)
    passed_of[pair] = looks[1] and math.max(until_now, looks[#looks].at) or until_now
  end
  return at <= passed_of[pair]
end

local function passed(pair, at)
  passed_of[pair] = math.max(passed_of[pair], at)
end

local function compare(basis, pair, round, at)
  local n, sum, low, high, oldest = reference(pair, at)
  local out = {
    kind = "deviation", schema = 1, basis = basis, pair = pair, feed = round.feed, phase_id = round.phase_id,
    agg_round = round.agg_round, at = time.format(at), contract_price = round.price, n_sources = n,
  }
  local again, over = sub(state.again, pair)[name_of(basis, round, at)], false
  out.revision = again and again.count
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
  local waiting, out = sub(state.waiting, pair), {}
  while waiting[1] and waiting[1] <= upto do
    local at = table.remove(waiting, 1)
    for _, series in sorted(sub(state.contract, pair)) do
      local round = in_force(pair, series, at)
      if round then table.insert(out, compare("now", pair, round, at)) end
    end
  end
  return out
end

-- ---- late records

--- The times from..to of API values that were compared already, as keys.
local function compared_times(pair, from, to)
  local times = {}
  for _, series in pairs(sub(state.api, pair)) do
    for i = #series, 1, -1 do
      local at = series[i].at
      if at < from then break end
      if at <= to then times[at] = true end
    end
  end
  for _, at in ipairs(sub(state.waiting, pair)) do times[at] = nil end
  return times
end

--- Late records are compared as far back as this.
local function horizon(pair)
  local newest = math.mininteger
  for _, by in ipairs { state.api, state.contract } do
    for _, series in pairs(sub(by, pair)) do
      if series[1] then newest = math.max(newest, series[#series].at) end
    end
  end
  return newest == math.mininteger and newest or newest - with.history
end

--- The comparisons of from..to that were given out, as they come out now: { basis, round, at, row } by what must stay
--- one row; row only `with_rows`.
local function outcome(pair, from, to, with_rows)
  local found, times, asked = {}, compared_times(pair, from, to), sub(asked_of, pair)
  local function add(key, basis, round, at)
    found[key] = { basis = basis, round = round, at = at, row = with_rows and compare(basis, pair, round, at) }
  end
  for feed, series in sorted(sub(state.contract, pair)) do
    for at in pairs(times) do
      local round = in_force(pair, series, at)
      if round then add("now " .. feed .. " " .. at, "now", round, at) end
    end
    for i = #series, 1, -1 do
      local at, round = series[i].at, series[i].v
      if at < from then break end
      local name = name_of("update", round, at)
      if at <= to and not asked[name] then add(name, "update", round, at) end
    end
  end
  return found
end

--- Gives out a row that was, or may have been, given out before.
local function give_again(pair, row, name, at, before)
  local again = sub(state.again, pair)
  if before or again[name] then
    row.revision = (again[name] and again[name].count or 0) + 1
    again[name] = { count = row.revision, at = at }
  end
  emit(row)
end

local function withdraw(pair, made)
  local round, n = made.round, reference(pair, made.at)
  give_again(pair, {
    kind = "deviation", schema = 1, basis = made.basis, pair = pair, feed = round.feed, phase_id = round.phase_id,
    agg_round = round.agg_round, at = time.format(made.at), contract_price = round.price, n_sources = n, verdict = "superseded",
  }, name_of(made.basis, round, made.at), made.at, true)
end

local function same(a, b)
  for _, field in ipairs { "ref_price", "deviation_pct", "ref_spread_pct", "ref_age_s", "n_sources", "verdict" } do
    if tostring(a[field]) ~= tostring(b[field]) then return false end
  end
  return true
end

--- Does what `change` does. Comparisons of from..to that were given out and come out otherwise then are given out again:
--- with another round, or, where `prices` change, with another reference.
local function revise(pair, from, to, prices, change)
  local oldest, again = horizon(pair), sub(state.again, pair)
  for name, entry in pairs(again) do
    if entry.at < oldest then again[name] = nil end
  end
  from = math.max(from, oldest)
  local before = outcome(pair, from, to, prices)
  change()
  for key, new in sorted(outcome(pair, from, to, prices)) do
    local old = before[key]
    local other = old and old.round ~= new.round
    if other then withdraw(pair, old) end
    if not old or other or prices and not same(old.row, new.row) then
      local row = new.row or compare(new.basis, pair, new.round, new.at)
      give_again(pair, row, name_of(new.basis, new.round, new.at), new.at, old and not other)
    end
  end
end

-- ---- records

local function on_api(r)
  local pair, at, price, source = r.pair, time(r.fetched_at), decimal(r.price), r.source
  local waiting, late = sub(state.waiting, pair), is_late(pair, at)
  local compared = late and compared_times(pair, at, at)[at]
  local function put()
    asof.put(sub(sub(state.api, pair), source), at, price, with.history)
    local i = #waiting
    while i > 0 and waiting[i] > at do i = i - 1 end
    if waiting[i] ~= at and not compared then table.insert(waiting, i + 1, at) end
  end
  if late then
    revise(pair, at, at + with.max_age, true, put)
  else
    put()
  end
  if compared then return end
  -- A round that began before `at` may be seen only by the next poll. That poll, or the end of the wait, compares.
  defer(at + with.settle, "now " .. pair, function()
    passed(pair, at + with.settle)
    return compare_waiting(pair, at)
  end)
end

local function is_newer(a, b)
  if a.phase_id ~= b.phase_id then return a.phase_id > b.phase_id end
  return decimal(a.agg_round) > decimal(b.agg_round)
end

local function on_contract(r, m)
  local pair, at, look = r.pair, time(r.updated_at), m.time
  -- A round that was caught up would have been seen when it was published, had somebody looked.
  local seen = r.caught_up == true and at >= horizon(pair) and math.min(at, look) or look
  local series = sub(sub(state.contract, pair), r.feed)
  local round, since = asof.at(series, at)
  local known = since == at and round.agg_round == r.agg_round and round.phase_id == r.phase_id
  if not known then
    local heartbeat, band = given(r.heartbeat_s), given(r.band_pct)
    local new = {
      feed = r.feed, phase_id = r.phase_id, agg_round = r.agg_round, price = decimal(r.price), updated_at = at, seen = seen,
      asked = look,
      heartbeat = heartbeat and heartbeat * time.second or with.heartbeat,
      band = band and decimal(band) or with.band,
    }
    known, round = since == at and is_newer(round, new), new
  end
  local name = name_of("update", round, at)
  local function put()
    asof.put(sub(state.looks, pair), look, true, with.history)
    round.seen = math.min(round.seen, seen)
    if not known then asof.put(series, at, round, with.history) end
    if round.asked == look then sub(asked_of, pair)[name] = true end
  end
  if is_late(pair, seen) then
    local from = is_late(pair, look) and math.min(at, look - with.settle) or at
    revise(pair, from, math.maxinteger, false, put)
  else
    put()
  end
  defer(look, "seen " .. pair, function()
    passed(pair, look)
    return compare_waiting(pair, look)
  end)
  -- The record that first showed the round asks for its comparison. Should it be delivered again, it asks again.
  if round.asked == look then
    defer(at, "update " .. pair .. " " .. round.feed .. " " .. round.phase_id .. " " .. round.agg_round, function()
      passed(pair, at)
      sub(asked_of, pair)[name] = nil
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
