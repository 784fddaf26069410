/* r and m: reading, editing, building; what stays byte for byte and what a script may not keep. */
#include "support.h"

static void test_reading(void **state)
{
    (void)state;
    kit k;
    kit_open(&k, "function on_record(r)\n"
                 "  assert(r.i == 42 and math.type(r.i) == 'integer' and r.big == 9007199254740993)\n"
                 "  assert(type(r.d) == 'decimal' and tostring(r.d) == '1.50' and tostring(r.huge) == "
                 "'123456789012345678901234567890')\n"
                 "  assert(r.s == 'h\\xc3\\xa9\"' and r.t == true and r.f == false and r.n == null and r.none == nil "
                 "and r[1] == nil)\n"
                 "  assert(r.q.USD.price == decimal '2.5' and r.q.EUR == nil and r['a.b'] == 1)\n"
                 "  assert(#r.l == 3 and r.l[1] == 10 and r.l[3].x == 1 and r.l[4] == nil and r.l[0] == nil)\n"
                 "  assert(type(r) == 'record' and type(r.q) == 'object' and type(r.l) == 'array')\n"
                 "  local keys = {} for key, v in pairs(r.q) do keys[#keys + 1] = key .. type(v) end\n"
                 "  assert(table.concat(keys) == 'USDobject')\n"
                 "  local sum = 0 for i, v in ipairs(r.l) do if i < 3 then sum = sum + v end end assert(sum == 30)\n"
                 "  local n = 0 for key, v in pairs(r) do n = n + 1 end assert(n == 12)\n"
                 "  assert(tostring(r.q) == '{\"USD\":{\"price\":2.5}}')\n"
                 "end");
    kit_expect(&k,
               "{\"i\":42,\"big\":9007199254740993,\"d\":1.50,\"huge\":123456789012345678901234567890,\"s\":"
               "\"h\\u00e9\\\"\",\"t\":true,"
               "\"f\":false,\"n\":null,\"q\":{\"USD\":{\"price\":2.5}},\"a.b\":1,\"l\":[10,20,{\"x\":1}],\"e\":[]}",
               NULL);
    kit_close(&k);
}

static void test_untouched(void **state)
{
    (void)state;
    kit k;
    const char *odd = " { \"a\" : 1.0,\"b\":[ ] , \"a\":1e2,\n\"u\":\"\\u0041\" } ";
    kit_open(&k, "function on_record(r) local x = r.a return r end");
    pl_record record = {.payload = pl_arena_str(k.arena, PL_S(odd))};
    assert_int_equal(pl_script_record(k.script, &record, k.arena, &k.error), PL_OK);
    assert_ptr_equal(k.outputs[0].record.payload.ptr, record.payload.ptr); /* the very bytes, not a copy */
    kit_close(&k);
}

static void test_edits(void **state)
{
    (void)state;
    body_gives("r.b = r.a + 1 r.a = nil return r", "{\"a\": 1, \"c\": 1.50}", "{\"c\": 1.50, \"b\": 2}");
    body_gives("r.d = decimal '2.50' return r", "{\"a\":1}", "{\"a\":1,\"d\":\"2.50\"}");
    body_gives("r.x = r.d return r", "{\"d\":1.50}", "{\"d\":1.50,\"x\":1.50}");
    body_gives("r.d = r.d + 0 return r", "{\"d\":1.50}", "{\"d\":\"1.50\"}");
    body_gives("r.d = (r.d * 2):number() return r", "{\"d\":1.50}", "{\"d\":3.00}");
    body_gives("r.q.USD.price = 3 r.q.n = null return r", "{\"q\":{\"USD\":{\"price\":2.5}},\"z\":1}",
               "{\"q\":{\"USD\":{\"price\":3},\"n\":null},\"z\":1}");
    body_gives("r.l[2] = 'x' r.l[#r.l + 1] = { b = 1, a = array {} } return r", "{\"l\":[1,2]}",
               "{\"l\":[1,\"x\",{\"a\":[],\"b\":1}]}");
    body_gives("r.t = { 1, 2 } r.o = {} r.e = array {} r.copy = r.q return r", "{\"q\":{\"x\":[1, 2]}}",
               "{\"q\":{\"x\":[1, 2]},\"t\":[1,2],\"o\":{},\"e\":[],\"copy\":{\"x\":[1, 2]}}");
    body_gives("r.f = 0.5 r.b = true r.s = 'a\\n\"' return r", "{}", "{\"f\":0.5,\"b\":true,\"s\":\"a\\n\\\"\"}");
    body_gives("for key, v in pairs(r) do r[key] = v + 1 end return r", "{\"a\":1,\"b\":2}", "{\"a\":2,\"b\":3}");
}

static void test_bad_edits(void **state)
{
    (void)state;
    body_fails("r.x = function() end", "{}", "a function can't be a value of a record");
    body_fails("r.x = 0/0", "{}", "x: ");
    body_fails("r.x = '\\xff'", "{}", "x: ");
    body_fails("r.x = { a = { '\\xff' } }", "{}", "a[1]: the text is not UTF-8");
    body_fails("r.x = { 1, nil, 3 }", "{}", "gaps");
    body_fails("r.x = { a = 1, [1] = 2 }", "{}", "a list has gaps or text keys");
    body_fails("r[{}] = 1", "{}", "a field's name is text");
    body_fails("r.l[1] = nil", "{\"l\":[1]}", "an element can't be removed in place");
    body_fails("r.a.b = 1", "{\"a\":1}", "attempt to index a number value (field 'a')");
    body_fails("local t = {} t.t = t r.x = t", "{}", "nested deeper than 64 (does a table contain itself?)");
    body_fails("return #r", "{}", "# counts a list's elements");
    body_fails("return { x = r.a }", "{\"a\":tru}", "JSON");
}

static void test_building(void **state)
{
    (void)state;
    kit k;
    kit_open(&k, "emits { 'z', 'b', 'gone' } function on_record(r) return { a = r.d, b = { 2, 1 }, z = decimal '1.10', "
                 "y = null, "
                 "q = r.q, c = { z = 1, a = 2 }, n = 1 << 60 } end");
    kit_expect(&k, "{\"d\":1.50,\"q\":{\"k\":[ 1]}}",
               "{\"z\":\"1.10\",\"b\":[2,1],\"a\":1.50,\"c\":{\"a\":2,\"z\":1},\"n\":1152921504606846976,\"q\":{\"k\":["
               " 1]},\"y\":null}",
               NULL);
    assert_string_equal(pl_script_emits(k.script)[2], "gone");
    assert_null(pl_script_emits(k.script)[3]);
    kit_close(&k);
    body_gives("return { d = decimal(r.d), e = r.d }", "{\"d\":1.50}", "{\"d\":\"1.50\",\"e\":1.50}");
    body_gives("local t = record.totable(r) t.x.y[2] = nil t.a = 5 return t",
               "{\"x\":{\"y\":[1,2],\"e\":[],\"o\":{}},\"d\":2.0}",
               "{\"a\":5,\"d\":2.0,\"x\":{\"e\":[],\"o\":{},\"y\":[1]}}");
    body_gives("return record.totable(r.x)", "{\"x\":{\"y\":[]}}", "{\"y\":[]}");
    body_gives("return 'plain text'", "{}", "plain text");
    body_fails("return { a = { b = { 1, { c = print } } } }", "{}", "a.b[2].c: a function can't be part of a record");
    body_fails("return { [true] = 1 }", "{}", "a key is a boolean");
    body_fails("return 5", "{}", "a record to give out is r, a table, or text; this is a number");
    body_fails("return { 5 }", "{}", "this is a number");
    body_fails("return r, r", "{}", "2 values were returned: return one record, or a list of them");
}

static void test_expired(void **state)
{
    (void)state;
    kit k;
    kit_open(&k, "local kept, inner, env function on_record(r, m)\n"
                 "  if r.what == 'keep' then kept, inner, env = r, r.q, m return end\n"
                 "  if r.what == 'root' then return { x = kept.what } end\n"
                 "  if r.what == 'inner' then return { x = inner.x } end\n"
                 "  if r.what == 'walk' then for _ in pairs(kept) do end end\n"
                 "  if r.what == 'give' then return kept end\n"
                 "  if r.what == 'env' then return { x = env.time } end\n"
                 "  if r.what == 'show' then return { x = tostring(kept) } end\n"
                 "end");
    kit_expect(&k, "{\"what\":\"keep\",\"q\":{\"x\":1}}", NULL);
    kit_fails(&k, "{\"what\":\"root\"}", "t.lua:3: this record has expired: it was of an earlier call");
    kit_fails(&k, "{\"what\":\"inner\"}", "this record has expired");
    kit_fails(&k, "{\"what\":\"walk\"}", "this record has expired");
    kit_fails(&k, "{\"what\":\"give\"}", "this record has expired");
    kit_fails(&k, "{\"what\":\"env\"}", "this envelope has expired");
    kit_expect(&k, "{\"what\":\"show\"}", "{\"x\":\"record (expired)\"}", NULL);
    kit_close(&k);
}

static void test_expired_in_deferred(void **state)
{
    (void)state;
    kit k;
    pl_record envelope = {.time_unix_ns = 5};
    kit_open(&k, "function on_record(r) defer(5, 'k', function(m) return { at = m.time, x = r.x } end) end");
    kit_expect(&k, "{\"x\":1}", NULL);
    assert_int_equal(pl_script_deferred(k.script, k.defers[0].ref, &envelope, k.arena, &k.error), PL_FAILED);
    assert_non_null(strstr(k.error.message, "this record has expired"));
    kit_close(&k);
}

static void test_not_json(void **state)
{
    (void)state;
    body_fails("return { x = r.a }", "{\"a\":", "JSON");
    body_fails("return { x = r.a }", "not json", "JSON");
    body_gives("return { x = r.a, l = r[1] }", "[7,8]", "{\"l\":7}");
    kit k;
    pl_record tombstone = {.key = PL_S("k")};
    kit_open(&k, "function on_record(r, m) if m.payload == nil and r.a == nil then return r end end");
    assert_int_equal(pl_script_record(k.script, &tombstone, k.arena, &k.error), PL_OK);
    assert_int_equal(k.output_count, 1);
    assert_null(k.outputs[0].record.payload.ptr);
    kit_close(&k);
    assert_true(kit_try(&k, "function on_record(r, m) return m.payload:upper() end",
                        (pl_script_setup){.codec = PL_CODEC_TEXT}));
    kit_expect(&k, "hello", "HELLO", NULL);
    kit_close(&k);
}

static void test_envelope(void **state)
{
    (void)state;
    kit k;
    pl_field headers[] = {{PL_S("a"), {.type = PL_STR, .as.s = PL_S("1")}},
                          {PL_S("a"), {.type = PL_STR, .as.s = PL_S("2")}},
                          {PL_S("b"), {.type = PL_STR, .as.s = PL_S("3")}}};
    pl_record record = {
        .time_unix_ns = 1000, .stream = PL_S("topic"), .key = PL_S("k"), .headers = headers, .header_count = 3};
    kit_open(&k, "function on_record(r, m)\n"
                 "  assert(m.time == 1000 and m.key == 'k' and m.stream == 'topic' and m.headers.a == '2' and "
                 "m.headers.z == nil)\n"
                 "  local n = 0 for name, value in pairs(m.headers) do n = n + 1 end assert(n == 3)\n"
                 "  emit(r) m.key = 'x' m.time = 2000 m.stream = nil m.headers.a = 'new' m.headers.c = 'more' "
                 "m.headers.b = nil emit(r)\n"
                 "  m.headers = { z = '9' } m.key = nil emit(r) m.headers = nil emit { a = 1 }\n"
                 "end");
    record.payload = pl_arena_str(k.arena, PL_S("{}"));
    if (pl_script_record(k.script, &record, k.arena, &k.error) != PL_OK)
        fail_msg("%s", k.error.message);
    assert_int_equal(k.output_count, 4);
    assert_int_equal(k.outputs[0].record.header_count, 3);
    assert_ptr_equal(k.outputs[0].record.headers, headers);
    assert_string_equal(k.outputs[1].key, "x");
    assert_int_equal(k.outputs[1].record.time_unix_ns, 2000);
    assert_null(k.outputs[1].record.stream.ptr);
    assert_int_equal(k.outputs[1].record.header_count, 2);
    assert_memory_equal(k.outputs[1].record.headers[0].value.as.s.ptr, "new", 3);
    assert_int_equal(k.outputs[2].record.header_count, 1);
    assert_null(k.outputs[2].record.key.ptr);
    assert_int_equal(k.outputs[3].record.header_count, 0);
    assert_string_equal(k.outputs[3].payload, "{\"a\":1}");
    kit_close(&k);
    body_fails("m.payload = 'x'", "{}", "m.payload can't be set: only time, key, stream and headers can");
    body_fails("return m.topic", "{}", "the envelope has no 'topic'");
    body_fails("m.time = 'x'", "{}", "number expected");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_untouched),
        cmocka_unit_test(test_edits),
        cmocka_unit_test(test_bad_edits),
        cmocka_unit_test(test_building),
        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_expired_in_deferred),
        cmocka_unit_test(test_not_json),
        cmocka_unit_test(test_envelope),
    };
    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
