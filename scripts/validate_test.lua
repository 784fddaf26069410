local function changed(record, changes)
  for field, value in pairs(changes) do record[field] = value ~= absent and value or nil end
  return record
end

local function api(changes)
  return changed({
    kind = "api", schema = 1, source = "coingecko", pair = "ETH-USD", price = "3041.8001",
    source_ts = "2022-05-01T09:59:58Z", fetched_at = "2022-05-01T10:00:00Z",
  }, changes or {})
end

local function contract(changes)
  return changed({
    kind = "contract", schema = 1, chain_id = 1, feed = "ETH / USD", pair = "ETH-USD", phase_id = 5, agg_round = "92233720368547771158",
    answer_raw = "304359857420", decimals = 8, price = "3043.59857420", started_at = "2022-05-01T10:00:00Z",
    updated_at = "2022-05-01T10:00:00Z", observed_at = "2022-05-01T10:00:12Z",
  }, changes or {})
end

local function deviation(changes)
  return changed({
    kind = "deviation", schema = 1, basis = "now", pair = "ETH-USD", feed = "ETH / USD", phase_id = 5, agg_round = "1",
    at = "2022-05-01T10:00:00Z", contract_price = "2000", n_sources = 2, verdict = "ok", ref_price = "2001",
    deviation_pct = "-0.049975", ref_spread_pct = "0", ref_age_s = 0,
  }, changes or {})
end

local function passes(record) expect(feed { record }):equals { record } end

local function fails(record, ...)
  local out = feed { record }
  expect(out):is_empty()
  expect(out):rejects { ... }
end

test("good records of each kind pass as they came", function()
  passes(api())
  passes(contract())
  passes(deviation())
  passes { kind = "gap", schema = 1, source = "coingecko", item = 0, at = "2022-05-01T10:00:00Z", reason = "HTTP 503" }
  passes { kind = "gap", schema = 1, source = "coingecko", item = 0, at = "2022-05-01T10:00:00Z", reason = "nothing ran at this tick", ticks = 86 }
end)

test("an untouched record keeps its very bytes", function()
  local payload = '{ "kind":"gap", "source":"x",  "at":"2022-05-01T10:00:00Z", "x": 1.50, "y": 1e3,"z":[ ] }'
  local out = feed { payload }
  expect(out):count(1)
  expect(tostring(out.outputs[1].payload)):equals(payload)
end)

test("fields nobody asked for pass through", function() passes(api { note = "hello", nested = { a = array { 1, 2 } } }) end)
test("optional fields may be absent or null", function()
  passes(api { source_ts = absent })
  passes(contract { block_number = null, band_pct = null })
  passes(deviation { ref_price = absent, deviation_pct = absent, ref_spread_pct = absent, ref_age_s = absent })
end)
test("a record without schema is of the first one; any other is refused", function()
  passes(api { schema = absent })
  fails(api { schema = 2 }, "schema: 1 was expected, got 2")
end)

test("the kind is known", function()
  fails({ kind = "news" }, 'kind: one of api, contract, deviation, gap was expected, got "news"')
  fails({ price = "1" }, "kind: one of api, contract, deviation, gap was expected, got nil")
end)

test("every reason is told, not only the first", function()
  fails(api { source = absent, price = "0", fetched_at = "yesterday" }, table.concat({
    "source: is missing", 'price: a number above 0 was expected, got "0"',
    'fetched_at: a time like 2022-05-01T10:00:00Z was expected, got "yesterday"' }, "; "))
end)

test("prices are numbers above 0", function()
  for _, price in ipairs { "0", "-1", "", "NaN", "Infinity", "1e999", "12,5", "0x10", true } do
    fails(api { price = price }, "price: a number above 0 was expected")
  end
  passes(api { price = decimal("3041.25"):number() })
  passes(api { price = 3041 })
  passes(api { price = "0.000000000000000001" })
end)

test("times are not in the future, give or take", function()
  local ahead = api { fetched_at = "2022-05-01T10:04:00Z" }
  expect(feed({ ahead }, { now = "2022-05-01T10:00:00Z" })):count(1)
  expect(feed({ ahead }, { now = "2022-05-01T09:58:59Z" })):rejects("fetched_at: a time that is not in the future was expected")
  expect(feed({ ahead }, { now = "2022-05-01T10:00:00Z", with = { ahead = "1m" } })):rejects("fetched_at")
end)

test("contract records: whole numbers, hashes, ranges", function()
  fails(contract { chain_id = 0 }, "chain_id: an integer, at least 1 was expected, got 0")
  fails(contract { decimals = 78 }, "decimals: an integer from 0 to 77 was expected, got 78")
  fails(contract { agg_round = "12.5" }, 'agg_round: a whole number was expected, got "12.5"')
  fails(contract { block_hash = "0x12" }, "block_hash: 0x and 64 hexadecimal digits was expected")
  fails(contract { heartbeat_s = "3600" }, 'heartbeat_s: an integer, at least 1 was expected, got "3600"')
  passes(contract { block_hash = "0x" .. ("ab"):rep(32), block_number = 14690000, heartbeat_s = 3600, band_pct = "0.5" })
end)

test("the price follows from the raw answer", function()
  fails(contract { price = "3043.6" }, 'price: "3043.6" is not answer_raw "304359857420" with 8 decimals')
  passes(contract { price = "3043.5985742" })
end)

test("deviations: known words", function()
  passes(deviation { verdict = "superseded", revision = 1, deviation_pct = absent })
  fails(deviation { revision = 0 }, "revision: an integer, at least 1 was expected, got 0")
  fails(deviation { verdict = "fine", basis = "then" }, "verdict: one of ok, over_band, stale, inconclusive, superseded was expected",
    'basis: one of now, update was expected, got "then"')
end)

test("what is not JSON is refused", function() expect(feed { '{"kind":"api",' }):rejects(1) end)
