local asof = require "asof"

local function series(...)
  local s = {}
  for _, e in ipairs { ... } do asof.put(s, e[1], e[2], 100) end
  return s
end

test("the value in force is the newest one not after t", function()
  local s = series({ 10, "a" }, { 20, "b" })
  expect(asof.at(s, 9)):equals(nil)
  expect(asof.at(s, 10)):equals("a")
  expect(asof.at(s, 19)):equals("a")
  expect(asof.at(s, 25)):equals("b")
  local _, since = asof.at(s, 25)
  expect(since):equals(20)
end)

test("late values find their place", function()
  expect(series({ 30, "c" }, { 10, "a" }, { 20, "b" }))
    :equals { { at = 10, v = "a" }, { at = 20, v = "b" }, { at = 30, v = "c" } }
end)

test("a second value as of the same time replaces the first", function()
  expect(series({ 10, "a" }, { 10, "b" })):equals { { at = 10, v = "b" } }
end)

test("what is older than the horizon goes, except the value in force there", function()
  local s = series({ 0, "a" }, { 50, "b" }, { 160, "c" })
  expect(s):equals { { at = 50, v = "b" }, { at = 160, v = "c" } }
  expect(asof.at(s, 60)):equals("b")
end)

test("values that nobody knew yet are passed over", function()
  local s = series({ 10, "a" }, { 20, "b" }, { 30, "c" })
  local function not_b(v) return v ~= "b" end
  expect(asof.known(s, 25, not_b)):equals("a")
  expect(asof.known(s, 30, not_b)):equals("c")
  expect(asof.known(s, 9, not_b)):equals(nil)
end)

test("any place of a long series is found", function()
  local s = {}
  for i = 1, 100 do asof.put(s, i * 10, i, 10000) end
  for t = 1, 1010 do
    expect(asof.at(s, t)):equals(t >= 10 and math.min(t // 10, 100) or nil)
    expect(asof.after(s, t)):equals(t <= 1000 and (t + 9) // 10 * 10 or nil)
  end
end)

test("the first time that is not before t", function()
  local s = series({ 10, "a" }, { 20, "b" }, { 30, "c" })
  expect(asof.after(s, 5)):equals(10)
  expect(asof.after(s, 20)):equals(20)
  expect(asof.after(s, 21)):equals(30)
  expect(asof.after(s, 31)):equals(nil)
  expect(asof.after({}, 1)):equals(nil)
end)
