/* The http plugin: what it asks, and how options alone make records of any JSON. */
#include "support_web.h"

static stub *host;

static int open_host(void **state)
{
    (void)state;
    host = stub_open("http", STUB_SOURCE);
    web_install(host);
    return 0;
}
static int close_host(void **state)
{
    (void)state;
    stub_close(&host);
    web_clear();
    return 0;
}

static void poll_gives(const char *answer, const char *json)
{
    size_t before = host->emitted_count;
    web_answer(answer);
    if (stub_poll(host, 0) != PL_OK)
        fail_msg("%s: %s", answer, host->error.message);
    assert_int_equal(host->emitted_count, before + 1);
    assert_string_equal(stub_json(host, before), json);
}

static void poll_fails(size_t index, const char *answer, const char *part)
{
    web_answer(answer);
    assert_int_equal(stub_poll(host, index), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_REJECT);
    if (!strstr(host->error.message, part))
        fail_msg("'%s' is not in: %s", part, host->error.message);
}

/* The example of docs/plugins/http.md: a fourth price API without C. */
static void a_price_api_by_options_alone(void **state)
{
    (void)state;
    stub_create(host, "url: http://127.0.0.1:1/products/{value}/ticker\n"
                      "each: { ETH-USD: ETHUSD, BTC-USD: BTCUSD }\n"
                      "every: 20s\n"
                      "timeout: 2s\n"
                      "headers: { X-Key: k }\n"
                      "query: { apikey: \"a b&c\", x: \"~é\" }\n"
                      "constants: { kind: api, schema: 1, source: example, pair: \"{name}\" }\n"
                      "fields: { price: \"data.{value}.last[0]\", source_ts: data.time, volume_24h: data.volume }\n"
                      "types: { price: positive, source_ts: unix_ms, volume_24h: text }\n"
                      "optional: [volume_24h]\n"
                      "received_as: fetched_at\n"
                      "key: pair\n"
                      "stream: example\n");
    assert_int_equal(host->component->poller->count(host->self), 2);
    assert_int_equal(host->component->poller->every_ns(host->self), INT64_C(20000000000));
    web_answer("{\"data\":{\"time\":1767225590123,\"volume\":12.50,\"BTCUSD\":{\"last\":[\"76975.10\",1]}}}");
    assert_int_equal(stub_poll(host, 1), PL_OK);
    assert_string_equal(web_asked(0)->method, "GET");
    assert_string_equal(web_asked(0)->url, "http://127.0.0.1:1/products/BTCUSD/ticker?apikey=a%20b%26c&x=~%C3%A9");
    assert_string_equal(web_asked(0)->headers, "X-Key: k\n");
    assert_true(web_asked(0)->timeout_ns == INT64_C(2000000000));
    assert_string_equal(
        stub_json(host, 0),
        "{\"kind\":\"api\",\"schema\":1,\"source\":\"example\",\"pair\":\"BTC-USD\",\"price\":\"76975.10\","
        "\"source_ts\":\"2025-12-31T23:59:50.123Z\",\"volume_24h\":\"12.50\","
        "\"fetched_at\":\"2026-01-01T00:00:00Z\"}");
    const pl_emission *envelope = &host->emitted[0].envelope;
    assert_memory_equal(envelope->key.ptr, "BTC-USD", 7);
    assert_memory_equal(envelope->stream.ptr, "example", 7);
    assert_true(envelope->time_unix_ns == host->unix_now);

    web_answer("{\"data\":{\"time\":1767225590,\"ETHUSD\":{\"last\":[2415.41]}}}");
    assert_int_equal(stub_poll(host, 0), PL_OK); /* no volume: optional */
    assert_non_null(strstr(stub_json(host, 1), "\"pair\":\"ETH-USD\",\"price\":\"2415.41\",\"source_ts\":"));
    assert_null(strstr(stub_json(host, 1), "volume"));

    poll_fails(1, "{\"data\":{\"time\":1767225590,\"BTCUSD\":{\"last\":[0]}}}", "BTC-USD: price is zero");
    poll_fails(1, "{\"data\":{\"time\":1767225590,\"BTCUSD\":{\"last\":[\"NaN\"]}}}", "BTC-USD: price is not a number");
    poll_fails(1, "{\"data\":{\"time\":1767225590,\"BTCUSD\":{\"last\":[\"0x1p3\"]}}}", "price is not a number");
    poll_fails(1, "{\"data\":{\"time\":1767225590,\"BTCUSD\":{\"last\":[\"\"]}}}", "price is not a number");
    poll_fails(1, "{\"data\":{\"time\":1767225590,\"BTCUSD\":{\"last\":[\"1e999\"]}}}", "price is not finite");
    poll_fails(1, "{\"data\":{\"time\":1767225590,\"BTCUSD\":{\"last\":[null]}}}", "price is null");
    poll_fails(1, "{\"data\":{\"time\":1767225590,\"BTCUSD\":{\"last\":[]}}}", "price is missing");
    poll_fails(1, "{\"data\":{\"BTCUSD\":{\"last\":[1]}}}", "source_ts is missing");
    poll_fails(1, "<html>", "BTC-USD: the answer is HTML");
    poll_fails(1, "", "BTC-USD: the answer is empty");
    poll_fails(1, "{\"data\":", "BTC-USD: the answer: not JSON");
    assert_int_equal(host->emitted_count, 2);
}

static void without_fields_an_item_goes_on_as_it_came(void **state)
{
    (void)state;
    stub_create(host, "{ url: \"http://127.0.0.1:1/\", key: id }");
    poll_gives("{\"a\":1.0,  \"id\":7}", "{\"a\":1.0,  \"id\":7}");
    assert_int_equal(host->emitted[0].envelope.key.len, 1);
    assert_memory_equal(host->emitted[0].envelope.key.ptr, "7", 1);
    assert_true(host->emitted[0].envelope.time_unix_ns == 0);
    web_answer("[{\"id\":\"x\"}, {\"b\":2}]");
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(host->emitted_count, 3);
    assert_string_equal(stub_json(host, 1), "{\"id\":\"x\"}");
    assert_memory_equal(host->emitted[1].envelope.key.ptr, "x", 1);
    assert_string_equal(stub_json(host, 2), "{\"b\":2}");
    assert_null(host->emitted[2].envelope.key.ptr);
    web_answer("[]");
    assert_int_equal(stub_poll(host, 0), PL_OK);
    poll_fails(0, "[1,{}]", "item 0: item is not an object or array; 1 of 2 items are good");
    assert_int_equal(host->emitted_count, 4);
    poll_fails(0, "17", "item is not an object or array");
}

static void items_are_found_by_path(void **state)
{
    (void)state;
    stub_create(host, "{ url: \"http://127.0.0.1:1/\", items: d.list, fields: { n: \"[1].v\" } }");
    web_answer("{\"d\":{\"list\":[[0,{\"v\":1}],[0,{\"v\":2.50}],[0]]}}");
    assert_int_equal(stub_poll(host, 0), PL_FAILED);
    assert_string_equal(host->error.message, "item 2: n is missing; 2 of 3 items are good");
    assert_string_equal(stub_json(host, 0), "{\"n\":1}");
    assert_string_equal(stub_json(host, 1), "{\"n\":2.50}");
    poll_fails(0, "{\"d\":{\"list\":{}}}", "no array at d.list");
}

static void types_check_and_write(void **state)
{
    (void)state;
    stub_create(host, "url: http://127.0.0.1:1/\n"
                      "fields: { any: a, text: t, at: r }\n"
                      "types: { text: text, at: rfc3339 }\n"
                      "optional: [any]\n"
                      "constants: { n: -3, b: true, s: \"007\", t: 1e3 }\n");
    poll_gives("{\"a\":{\"x\":[1, 2]},\"t\":12345678901234567890.10,\"r\":\"2026-01-01T01:00:00+01:00\"}",
               "{\"n\":-3,\"b\":true,\"s\":\"007\",\"t\":\"1e3\",\"any\":{\"x\":[1, 2]},"
               "\"text\":\"12345678901234567890.10\",\"at\":\"2026-01-01T00:00:00Z\"}");
    poll_gives("{\"a\":null,\"t\":5,\"r\":\"2026-01-01T00:00:00Z\"}",
               "{\"n\":-3,\"b\":true,\"s\":\"007\",\"t\":\"1e3\",\"any\":null,\"text\":\"5\",\"at\":\"2026-01-01T00:00:"
               "00Z\"}");
    poll_fails(0, "{\"t\":5,\"r\":\"yesterday\"}", "at is not an RFC 3339 time");
    poll_fails(0, "{\"t\":[],\"r\":\"2026-01-01T00:00:00Z\"}", "text is not a text");
}

static void times_of_epochs_are_exact(void **state)
{
    (void)state;
    stub_create(host, "{ url: \"http://127.0.0.1:1/\", fields: { at: t }, types: { at: unix_s } }");
    poll_gives("{\"t\":1767225590}", "{\"at\":\"2025-12-31T23:59:50Z\"}");
    poll_gives("{\"t\":\"1767225590\"}", "{\"at\":\"2025-12-31T23:59:50Z\"}");
    poll_gives("{\"t\":1767225590.123456789123}", "{\"at\":\"2025-12-31T23:59:50.123456789Z\"}");
    poll_fails(0, "{\"t\":0}", "no time since 1970");
    poll_fails(0, "{\"t\":-5}", "no time since 1970");
    poll_fails(0, "{\"t\":1e9}", "no time since 1970");
    poll_fails(0, "{\"t\":1767225590123}", "nanoseconds can hold");
    poll_fails(0, "{\"t\":99999999999999999999}", "nanoseconds can hold");
    poll_fails(0, "{\"t\":9223372036.9}", "nanoseconds can hold");
}

static void a_post_sends_its_body(void **state)
{
    (void)state;
    stub_create(host, "url: http://127.0.0.1:1/q?a=1\n"
                      "method: POST\n"
                      "query: { b: \"2\" }\n"
                      "each: { x: y }\n"
                      "body: '{\"s\":\"{value}\",\"n\":\"{name}\",\"o\":{\"u\":1}}'\n");
    web_answer("{}");
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_string_equal(web_asked(0)->method, "POST");
    assert_string_equal(web_asked(0)->url, "http://127.0.0.1:1/q?a=1&b=2");
    assert_string_equal(web_asked(0)->body, "{\"s\":\"y\",\"n\":\"x\",\"o\":{\"u\":1}}");
    assert_string_equal(web_asked(0)->headers, "Content-Type: application/json\n");
    stub_restart(host,
                 "{ url: \"http://127.0.0.1:1/\", method: POST, body: q, headers: { content-type: text/plain } }");
    web_fail(PL_RETRY, 503, "127.0.0.1 answered 503");
    assert_int_equal(stub_poll(host, 0), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_RETRY);
    assert_string_equal(web_asked(1)->headers, "content-type: text/plain\n");
}

static void impossible_options_are_refused(void **state)
{
    (void)state;
    stub_refuses(host, "{ url: \"ftp://a\" }", "url", "http://");
    stub_refuses(host, "{ url: \"http://a/#b\" }", "url", "# part");
    stub_refuses(host, "{ url: \"http://a\", body: x }", "body", "method: POST");
    stub_refuses(host, "{ url: \"http://a\", each: { a: b, c: d } }", "each", "all requests would be the same");
    stub_refuses(host, "{ url: \"http://a\", received_as: t }", "constants", "need fields");
    stub_refuses(host, "{ url: \"http://a\", fields: { a: b }, types: { c: text } }", "types.c", "not one of fields");
    stub_refuses(host, "{ url: \"http://a\", fields: { a: b }, optional: [a, c] }", "optional[1]", "not one of fields");
    stub_refuses(host, "{ url: \"http://a\", fields: { a: b }, constants: { a: x } }", "constants.a", "already");
    stub_refuses(host, "{ url: \"http://a\", fields: { a: b }, received_as: a }", "received_as", "already");
    stub_refuses(host, "{ url: \"http://a\", fields: { a: b }, key: c }", "key", "not a field");
}

#define WITH_HOST(test) cmocka_unit_test_setup_teardown(test, open_host, close_host)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HOST(a_price_api_by_options_alone),   WITH_HOST(without_fields_an_item_goes_on_as_it_came),
        WITH_HOST(items_are_found_by_path),        WITH_HOST(types_check_and_write),
        WITH_HOST(times_of_epochs_are_exact),      WITH_HOST(a_post_sends_its_body),
        WITH_HOST(impossible_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
