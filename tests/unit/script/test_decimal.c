/* decimal, time, sorted, null as scripts see them. */
#include "support.h"

static void test_arithmetic(void **state)
{
    (void)state;
    lua_passes(
        "local d = decimal\n"
        "assert(d '0.1' + d '0.2' == d '0.3')\n"
        "assert(tostring(d '1.50' + 1) == '2.50' and tostring(1 - d '0.5') == '0.5' and tostring(-d '1.5') == '-1.5')\n"
        "assert(tostring(d '1.5' * d '1.5') == '2.25' and tostring(d '7' // 2) == '3' and tostring(d '-7' // 2) == "
        "'-4')\n"
        "assert(tostring(d '7.5' % 2) == '1.5')\n"
        "assert(d '92233720368547758080' > 9223372036854775807)\n"
        "assert(tostring(d '3040.0814242677975' + d '3043.5188150917966') == '6083.6002393595941')");
    lua_passes(
        "local d = decimal\n"
        "assert(tostring(d '6083.6002393595941':div(2)) == '3041.80011967979705')\n"
        "assert(tostring(d '1':div(3)) == '0.333333333333333333' and tostring(d '1.00':div(4)) == '0.25')\n"
        "assert(tostring(d '1':div(3, 2)) == '0.33' and tostring(d '0.125':div(1, 2)) == '0.12')\n"
        "assert(tostring(d '2.5':round()) == '2' and tostring(d '3.5':round()) == '4' and tostring(d '1.005':round(2)) "
        "== '1.00')\n"
        "assert(tostring(d '-1.5':abs()) == '1.5' and tostring(d '1.500':trim()) == '1.5' and d '1.500':scale() == 3)\n"
        "assert(tostring(d.min(d '2', 1, d '3')) == '1' and tostring(d.max(d '2', 1, d '3')) == '3')");
}

static void test_comparison(void **state)
{
    (void)state;
    lua_passes("local d = decimal\n"
               "assert(d '1.0' == d '1.00' and d '1' < 2 and 2 > d '1' and d '1' <= 1 and not (d '1' ~= d '1.0'))\n"
               "assert(d '0.00':is(0) and d '1.0':is(1) and not d '0.1':is(0) and d '0.5':is(0.5))\n"
               "assert(d '0.1' >= 0.1 and d '0.1' <= 0.1 and d '0.11' > 0.1 and 0.09 < d '0.1')\n"
               "assert((d '0' == 0) == false)"); /* different types: why there is :is */
    lua_fails("return decimal '1' < 'x'", "comparison with a decimal on the text \"x\": write decimal(x)");
    lua_fails("return decimal '1' < nil", "comparison with a decimal: a decimal or an integer was expected, got nil");
    lua_fails("return decimal '1' < 0/0", "comparison of a decimal with a float");
}

static void test_refusals(void **state)
{
    (void)state;
    lua_fails("return decimal '1' / 2", "t.lua:1: decimal /: say how to round: a:div(b)");
    lua_fails("return decimal '1' + 0.5", "decimal +: the float 0.5 is not exact: write it as text");
    lua_fails("return 0.5 * decimal '2'", "decimal *: the float 0.5 is not exact");
    lua_fails("return decimal '1' ^ 2", "decimal ^: not available");
    lua_fails("return decimal '1':div(0)", "decimal:div: division by zero");
    lua_fails("return decimal '1' // 0", "decimal //: division by zero");
    lua_fails("return decimal 'abc'", "decimal: \"abc\" is not a number");
    lua_fails("return decimal(0.1)", "decimal: the float 0.1 is not exact");
    lua_fails("return decimal(nil)", "decimal: a decimal or an integer was expected, got nil");
    lua_fails("return decimal '1':foo()", "a decimal has no 'foo'");
    lua_fails("return decimal '1':round(-1)", "places are 0 to 150");
    lua_fails("local x = decimal '1' for i = 1, 20 do x = (x + 1) * (x + 1) * 1000000007 end",
              "decimal *: the result has more than 150 digits");
    lua_fails("return decimal '1' & 1", "attempt to perform bitwise operation on a decimal value");
    lua_passes("assert(decimal.parse 'abc' == nil and decimal.parse(nil) == nil and decimal.parse(0.5) == nil and "
               "decimal.parse '1.50' == decimal '1.5' and decimal.parse(null) == nil)");
    lua_passes("assert(type(decimal '1') == 'decimal' and type(null) == 'null' and type {} == 'table' and type(1) == "
               "'number')");
    lua_passes("assert('x' .. decimal '1.50' .. 'y' == 'x1.50y' and getmetatable(decimal '1') == 'decimal')");
}

static void test_time(void **state)
{
    (void)state;
    lua_passes(
        "assert(time '1970-01-01T00:00:01Z' == time.second and time '1970-01-01T01:00:00+01:00' == 0)\n"
        "assert(time.format(0) == '1970-01-01T00:00:00Z' and time.format(time.second * 3 // 2) == "
        "'1970-01-01T00:00:01.500Z')\n"
        "assert(time.minute == 60 * time.second and time.hour == 60 * time.minute and time.day == 24 * time.hour)\n"
        "assert(time.now() == 1651399200000000000 and time.format(time.now()) == '2022-05-01T10:00:00Z')\n"
        "assert(time.parse 'soon' == nil and time.parse(5) == nil and time.parse '1970-01-01T00:00:00Z' == 0)");
    lua_fails("return time 'yesterday'",
              "t.lua:1: time: \"yesterday\" is not a time: 2022-05-01T10:00:00Z was expected");
    lua_fails("return time(nil)", "time: text like 2022-05-01T10:00:00Z was expected, got nil");
}

static void test_sorted(void **state)
{
    (void)state;
    lua_passes(
        "local out = {} for k, v in sorted { b = 1, a = 2, [3] = 3, [1] = 4, ['10'] = 5, ['9'] = 6 } do "
        "out[#out + 1] = k .. '=' .. v end assert(table.concat(out, ' ') == '1=4 3=3 10=5 9=6 a=2 b=1')\n"
        "for k in sorted {} do error 'none' end\n"
        "local n = 0 local t = { a = 1, b = 2, c = 3 } for k in sorted(t) do t[k] = nil n = n + 1 end assert(n == 3)");
    lua_fails("sorted { [{}] = 1 }", "sorted: a key is a table; text or an integer was expected");
    lua_fails("sorted(null)", "table expected");
}

static void test_null(void **state)
{
    (void)state;
    lua_passes("assert(null ~= nil and null == null and tostring(null) == 'null')");
    lua_fails("return null.x", "null has no fields");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_comparison),
                                       cmocka_unit_test(test_refusals),   cmocka_unit_test(test_time),
                                       cmocka_unit_test(test_sorted),     cmocka_unit_test(test_null)};
    return cmocka_run_group_tests_name("decimal", tests, NULL, NULL);
}
