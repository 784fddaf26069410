local function api(source, price, at)
  return { kind = "api", source = source, pair = "ETH-USD", price = price, fetched_at = "2022-05-01T" .. at .. "Z", schema = 1 }
end

local function round(n, price, updated_at, observed_at)
  return {
    kind = "contract", chain_id = 1, pair = "ETH-USD", feed = "ETH / USD", phase_id = 5, agg_round = n, price = price,
    updated_at = "2022-05-01T" .. updated_at .. "Z", observed_at = "2022-05-01T" .. (observed_at or updated_at) .. "Z",
  }
end

local now, update = { where = { basis = "now" } }, { where = { basis = "update" } }

test("a round is joined backwards, whatever the order of arrival", function()
  local out = feed {
    round("7", "2020", "10:00:00"), api("b", "2001", "09:59:00"), api("a", "1999", "09:59:30"), api("a", "9999", "10:00:01"),
  }
  expect(out, update):equals { {
    kind = "deviation", schema = 1, basis = "update", pair = "ETH-USD", feed = "ETH / USD", phase_id = 5, agg_round = "7",
    at = "2022-05-01T10:00:00Z", contract_price = "2020", ref_price = "2000", deviation_pct = "1.000000",
    ref_spread_pct = "0.100000", ref_age_s = 60, n_sources = 2, verdict = "over_band",
  } }
end)

test("the mean is exact and the deviation is rounded once, half to even", function()
  expect(feed { api("a", "3040.0814242677975", "10:00:32"), api("b", "3043.5188150917966", "10:00:32"),
                round("1", "3043.59857420", "10:00:32") }, update)
    :has { ref_price = "3041.80011967979705", deviation_pct = "0.059125", contract_price = "3043.59857420" }
  -- 0.0000005 and 0.0000015 lie in the middle between two numbers of 6 digits
  expect(feed { api("a", "1", "10:00:00"), api("b", "1", "10:00:00"), round("1", "1.000000005", "10:00:00") }, update)
    :has { deviation_pct = "0.000000", verdict = "ok" }
  expect(feed { api("a", "1", "10:00:00"), api("b", "1", "10:00:00"), round("1", "1.000000015", "10:00:00") }, update)
    :has { deviation_pct = "0.000002" }
end)

test("too few or too old: inconclusive, no number", function()
  expect(feed { api("a", "2000", "09:59:00"), api("b", "2000", "08:00:00"), round("8", "2020", "10:00:00") }, update)
    :has { verdict = "inconclusive", n_sources = 1, deviation_pct = absent, ref_price = absent, ref_age_s = absent }
end)

test("a silent feed goes stale on basis now, and that comes before all else", function()
  local out = feed { round("9", "2000", "08:00:00"), api("a", "2000", "09:30:00"), api("b", "2000", "09:30:00") }
  expect(out, now):has { verdict = "stale", deviation_pct = decimal "0.000000" }
  out = feed { round("9", "2000", "08:00:00"), api("a", "2000", "09:30:00") }
  expect(out, now):has { verdict = "stale", n_sources = 1, deviation_pct = absent }
end)

test("exactly heartbeat and grace is not stale yet", function()
  local out = feed { round("9", "2000", "08:00:00"), api("a", "2000", "09:05:00"), api("b", "2000", "09:05:00"),
                     api("a", "2000", "09:05:01") }
  expect(out, now):has { at = "2022-05-01T09:05:00Z", verdict = "ok" }
  expect(out, now):has { at = "2022-05-01T09:05:01Z", verdict = "stale" }
end)

test("a feed's own heartbeat and band win over the options", function()
  local r = round("9", "2009", "08:00:00")
  r.heartbeat_s, r.band_pct = 86400, "0.4"
  expect(feed { r, api("a", "2000", "10:30:00"), api("b", "2000", "10:30:00") }, now)
    :has { verdict = "over_band", deviation_pct = "0.450000" }
end)

test("null is as good as absent", function()
  local r = round("9", "2009", "10:00:00")
  r.heartbeat_s, r.band_pct = null, null
  expect(feed { r, api("a", "2000", "10:30:00"), api("b", "2000", "10:30:00") }, now):has { verdict = "ok" }
end)

test("all values as of one time make one comparison", function()
  expect(feed { round("1", "2000", "09:59:00"), api("a", "2000", "10:00:00"), api("b", "2000", "10:00:00") }, now):count(1)
end)

test("a round that is first seen late counts from its own time", function()
  -- round 2 began at 10:00:05; the value of 10:00:08 comes before the poll that shows it
  local out = feed {
    round("1", "2000", "09:50:00", "10:00:00"), api("a", "2040", "10:00:03"), api("b", "2040", "10:00:03"),
    api("a", "2040", "10:00:08"), round("2", "2040", "10:00:05", "10:00:12"),
  }
  expect(out, now):has { at = "2022-05-01T10:00:03Z", agg_round = "1" }
  expect(out, now):has { at = "2022-05-01T10:00:08Z", agg_round = "2", verdict = "ok" }
  expect(out, now):count(2)
end)

test("without a further poll the comparison waits no longer than settle", function()
  local records = { round("1", "2000", "10:00:00"), api("a", "2000", "10:00:01"), api("b", "2000", "10:00:01"),
                    api("a", "2000", "10:00:20") }
  expect(feed(records, { with = { settle = "10s" } }), now):has { at = "2022-05-01T10:00:01Z", verdict = "ok" }
end)

test("polls that see no new round ask for nothing more", function()
  local out = feed { api("a", "2000", "09:59:00"), api("b", "2000", "09:59:00"), round("1", "2000", "10:00:00", "10:00:10"),
                     round("1", "2000", "10:00:00", "10:00:20"), round("1", "2000", "10:00:00", "10:00:30") }
  expect(out, update):count(1)
end)

test("a record that is delivered again gives the same rows again", function()
  local first = round("1", "2000", "10:00:00", "10:00:10")
  local out = feed { api("a", "2000", "09:59:00"), api("b", "2000", "09:59:00"), first, first,
                     round("2", "2002", "10:01:00"), round("1", "2000", "10:00:00", "10:00:10") }
  expect(out, update):has { agg_round = "1", deviation_pct = "0.000000" }
  expect(out, update):has { agg_round = "2", deviation_pct = "0.100000" }
end)

test("rounds may go back: an older answer is joined at its own time", function()
  local out = feed { api("a", "2000", "09:00:00"), api("b", "2000", "09:00:00"), round("2", "2020", "09:10:00", "09:20:00"),
                     round("1", "2010", "09:05:00", "09:21:00") }
  expect(out, update):has { agg_round = "2", deviation_pct = "1.000000" }
  expect(out, update):has { agg_round = "1", deviation_pct = "0.500000" }
end)

local function missed(n, price, updated_at, observed_at)
  local r = round(n, price, updated_at, observed_at)
  r.caught_up = true
  return r
end

test("a round that was caught up corrects what was compared without it", function()
  local out = feed {
    api("a", "2000", "10:00:00"), api("b", "2000", "10:00:00"), round("1", "2000", "09:59:00", "10:00:02"),
    api("a", "2020", "10:10:00"), api("b", "2020", "10:10:00"),       -- compared with round 1, by the end of the wait
    missed("2", "2020", "10:05:00", "10:20:00"), round("3", "2040", "10:15:00", "10:20:00"),
  }
  expect(out, now):count(4)
  expect(out, now):has { agg_round = "1", at = "2022-05-01T10:00:00Z", deviation_pct = "0.000000", revision = absent }
  expect(out, now):has { agg_round = "1", at = "2022-05-01T10:10:00Z", deviation_pct = "-0.990099", revision = absent }
  expect(out, now):has { agg_round = "1", at = "2022-05-01T10:10:00Z", verdict = "superseded", deviation_pct = absent, revision = 1 }
  expect(out, now):has { agg_round = "2", at = "2022-05-01T10:10:00Z", deviation_pct = "0.000000", verdict = "ok", revision = absent }
end)

test("a round that was caught up is compared once as of its own time, however often it comes", function()
  local out = feed {
    api("a", "2000", "10:00:00"), api("b", "2000", "10:00:00"), round("1", "2000", "09:59:00", "10:00:02"),
    missed("2", "2020", "10:05:00", "10:20:00"), round("3", "2040", "10:15:00", "10:20:00"),
    missed("2", "2020", "10:05:00", "10:20:12"), round("3", "2040", "10:15:00", "10:20:12"),
  }
  expect(out, update):count(3)
  expect(out, update):has { agg_round = "2", at = "2022-05-01T10:05:00Z", deviation_pct = "1.000000", ref_age_s = 300 }
end)

test("what was missed for longer than history corrects nothing", function()
  local out = feed({
    round("1", "2000", "06:59:00", "07:00:02"), api("a", "2000", "07:00:00"), api("b", "2000", "07:00:00"),
    api("a", "2020", "07:10:00"), api("a", "2020", "10:30:00"), missed("2", "2020", "07:05:00", "10:30:10"),
  }, { with = { history = "1h" } })
  expect(out, now):lacks { verdict = "superseded" }
end)

test("two feeds of one pair are compared each on its own", function()
  local other = round("70", "1990", "10:00:00")
  other.feed = "ETH / USD (test)"
  local out = feed { api("a", "2000", "10:00:01"), api("b", "2000", "10:00:01"), round("7", "2010", "10:00:00"), other }
  expect(out, now):count(2)
  expect(out, now):has { feed = "ETH / USD", deviation_pct = "0.500000", verdict = "ok" }
  expect(out, now):has { feed = "ETH / USD (test)", deviation_pct = "-0.500000" }
end)

test("gaps and other kinds are filtered", function()
  expect(feed { { kind = "gap", source = "a" }, { kind = "news" }, {} }):is_empty()
end)

test("a price that is no number is that record's error", function()
  local out = feed { api("a", "abc", "10:00:00"), api("b", "2000", "10:00:00") }
  expect(out):rejects("\"abc\" is not a number")
  expect(out):rejects(1)
end)
