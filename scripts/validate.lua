--- Lets good records through as they came; a bad one goes to the dead letter with every reason at once.
--- Kinds: api, contract, deviation, gap. Fields that are not named here pass through.
options {
  ahead = duration { "5m", min = "0s", doc = "a time may be so far in the future: clocks differ" },
}

-- A check takes a value and tells what was expected, or nothing when it is fine. It is never given nil or null.

local function text(v)
  if type(v) ~= "string" or v == "" then return "text" end
end

local function one_of(...)
  local words, list = {}, table.concat({ ... }, ", ")
  for _, word in ipairs { ... } do words[word] = true end
  return function(v)
    if not words[v] then return "one of " .. list end
  end
end

local function integer_from(low, high)
  return function(v)
    if math.type(v) ~= "integer" or v < low or high and v > high then
      return high and "an integer from " .. low .. " to " .. high or "an integer, at least " .. low
    end
  end
end

-- Round ids and raw answers exceed 64 bits: digits in text, or an integer.
local function whole(v)
  if math.type(v) ~= "integer" and not (type(v) == "string" and v:find("^%-?%d+$")) then return "a whole number" end
end

local function number(v)
  if not decimal.parse(v) then return "a number" end
end

local function not_negative(v)
  local d = decimal.parse(v)
  if not d or d < 0 then return "a number, at least 0" end
end

local function positive(v)
  local d = decimal.parse(v)
  if not d or d <= 0 then return "a number above 0" end
end

local function hash(v)
  if type(v) ~= "string" or #v ~= 66 or not v:find("^0x%x+$") then return "0x and 64 hexadecimal digits" end
end

local function instant(v)
  local at = time.parse(v)
  if not at then return "a time like 2022-05-01T10:00:00Z" end
  if at > time.now() + with.ahead then return "a time that is not in the future" end
end

-- Per kind, in the order in which reasons are given: { field, check, optional }.
local kinds = {
  api = {
    { "source", text }, { "pair", text }, { "price", positive }, { "fetched_at", instant },
    { "source_ts", instant, true }, { "volume_24h", not_negative, true },
  },
  contract = {
    { "chain_id", integer_from(1) }, { "feed", text }, { "pair", text }, { "phase_id", integer_from(0) }, { "agg_round", whole },
    { "answer_raw", whole }, { "decimals", integer_from(0, 77) }, { "price", positive },
    { "started_at", instant }, { "updated_at", instant }, { "observed_at", instant },
    { "block_number", integer_from(0), true }, { "block_hash", hash, true },
    { "heartbeat_s", integer_from(1), true }, { "band_pct", positive, true },
  },
  deviation = {
    { "basis", one_of("now", "update") }, { "pair", text }, { "feed", text }, { "phase_id", integer_from(0) }, { "agg_round", whole },
    { "at", instant }, { "contract_price", positive }, { "n_sources", integer_from(0) },
    { "verdict", one_of("ok", "over_band", "stale", "inconclusive", "superseded") },
    { "ref_price", positive, true }, { "deviation_pct", number, true }, { "ref_spread_pct", not_negative, true },
    { "ref_age_s", integer_from(0), true }, { "revision", integer_from(1), true },
  },
  gap = { { "source", text }, { "at", instant }, { "reason", text, true }, { "ticks", integer_from(1), true } },  -- no sample
}

local function show(v)
  if type(v) ~= "string" then return tostring(v) end
  return '"' .. (#v > 40 and v:sub(1, 40) .. "..." or v) .. '"'
end

-- A contract's price is its raw answer moved by its decimals, and nothing else.
local function check_answer(r, reasons)
  local raw, price = decimal.parse(r.answer_raw), decimal.parse(r.price)
  if raw and price and raw ~= price * decimal("1" .. ("0"):rep(r.decimals)) then
    table.insert(reasons, "price: " .. show(r.price) .. " is not answer_raw " .. show(r.answer_raw) .. " with " .. r.decimals .. " decimals")
  end
end

function on_record(r)
  local rules, reasons = kinds[r.kind], {}
  if not rules then
    reject("kind: one of api, contract, deviation, gap was expected, got " .. show(r.kind))
  end
  if r.schema ~= nil and r.schema ~= 1 then
    table.insert(reasons, "schema: 1 was expected, got " .. show(r.schema))
  end
  for _, rule in ipairs(rules) do
    local field, check, optional = rule[1], rule[2], rule[3]
    local v = r[field]
    if v == nil or v == null then
      if not optional then table.insert(reasons, field .. ": is missing") end
    else
      local expected = check(v)
      if expected then table.insert(reasons, field .. ": " .. expected .. " was expected, got " .. show(v)) end
    end
  end
  if #reasons == 0 and r.kind == "contract" then check_answer(r, reasons) end
  reject(reasons)  -- an empty list rejects nothing
  return r
end
