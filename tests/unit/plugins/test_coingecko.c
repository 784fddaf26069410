/* The coingecko plugin: what it asks, the record it makes, and what it does with answers that are no price. */
#include "support_web.h"

static stub *host;

static int open_host(void **state)
{
    (void)state;
    host = stub_open("coingecko", STUB_SOURCE);
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

static void create(const char *with)
{
    stub_create(host, with);
    assert_int_equal(host->component->poller->count(host->self), 1);
}

static const char good[] =
    "{\"ethereum\":{\"usd\":2415.4099999999999999,\"usd_24h_vol\":13000000000.5,\"last_updated_at\":1767225590},"
    "\"bitcoin\":{\"usd\":76975,\"usd_24h_vol\":3.2e10,\"last_updated_at\":1767225591}}";

static void one_request_gives_a_record_a_pair(void **state)
{
    (void)state;
    create("{ pairs: [ETH-USD, BTC-USD], timeout: 3s }");
    assert_int_equal(host->component->poller->every_ns(host->self), INT64_C(60000000000));
    web_answer(good);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(web_count(), 1);
    assert_string_equal(web_asked(0)->method, "GET");
    assert_string_equal(web_asked(0)->url,
                        "https://api.coingecko.com/api/v3/simple/price?ids=ethereum,bitcoin&vs_currencies=usd"
                        "&include_last_updated_at=true&include_24hr_vol=true&precision=full");
    assert_string_equal(web_asked(0)->headers, "");
    assert_true(web_asked(0)->timeout_ns == INT64_C(3000000000));
    assert_int_equal(host->emitted_count, 2);
    assert_string_equal(stub_json(host, 0),
                        "{\"kind\":\"api\",\"schema\":1,\"source\":\"coingecko\",\"pair\":\"ETH-USD\","
                        "\"price\":\"2415.4099999999999999\",\"source_ts\":\"2025-12-31T23:59:50Z\","
                        "\"fetched_at\":\"2026-01-01T00:00:00Z\",\"changed_at\":\"2026-01-01T00:00:00Z\","
                        "\"volume_24h\":\"13000000000.5\"}");
    assert_non_null(strstr(stub_json(host, 1), "\"price\":\"76975\""));
    assert_non_null(strstr(stub_json(host, 1), "\"volume_24h\":\"3.2e10\""));
    const pl_emission *envelope = &host->emitted[1].envelope;
    assert_memory_equal(envelope->key.ptr, "BTC-USD", 7);
    assert_memory_equal(envelope->stream.ptr, "coingecko", 9);
    assert_true(envelope->time_unix_ns == host->unix_now);
}

static void changed_at_marks_a_new_price(void **state)
{
    (void)state;
    create("{ pairs: [ETH-USD] }");
    stub_advance(host, 1234567); /* only the milliseconds are kept */
    for (int i = 0; i < 2; i++)
        web_answer(good);
    web_answer("{\"ethereum\":{\"usd\":2416,\"last_updated_at\":1767225690}}");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(stub_poll(host, 0), PL_OK);
        stub_advance(host, INT64_C(60000000000));
    }
    assert_non_null(strstr(stub_json(host, 1),
                           "\"fetched_at\":\"2026-01-01T00:01:00.001Z\",\"changed_at\":\"2026-01-01T00:00:00.001Z\""));
    assert_non_null(strstr(stub_json(host, 2), "\"changed_at\":\"2026-01-01T00:02:00.001Z\"}"));
    assert_null(strstr(stub_json(host, 2), "volume"));
}

static void ids_and_quotes_are_named_once(void **state)
{
    (void)state;
    create("{ pairs: [ETH-USD, ETH-EUR, USDC-USD], ids: { USDC-USD: usd-coin }, base_url: \"http://127.0.0.1:1/\" }");
    web_answer(
        "{\"ethereum\":{\"usd\":2,\"eur\":1,\"last_updated_at\":1767225690},\"usd-coin\":{\"usd\":1.0,\"eur\":0.9,"
        "\"last_updated_at\":1767225690}}");
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_non_null(strstr(web_asked(0)->url,
                           "http://127.0.0.1:1/api/v3/simple/price?ids=ethereum,usd-coin&vs_currencies=usd,eur&"));
    assert_int_equal(host->emitted_count, 3);
    assert_non_null(strstr(stub_json(host, 1), "\"pair\":\"ETH-EUR\",\"price\":\"1\""));
    assert_non_null(strstr(stub_json(host, 2), "\"pair\":\"USDC-USD\",\"price\":\"1.0\""));
}

static void the_key_chooses_header_and_host(void **state)
{
    (void)state;
    create("{ pairs: [ETH-USD], api_key: k1 }");
    web_answer(good);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_string_equal(web_asked(0)->headers, "x-cg-demo-api-key: k1\n");
    stub_restart(host, "{ pairs: [ETH-USD], api_key: k2, plan: pro }");
    web_answer(good);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_string_equal(web_asked(1)->headers, "x-cg-pro-api-key: k2\n");
    assert_non_null(strstr(web_asked(1)->url, "https://pro-api.coingecko.com/api/v3/"));
}

/* The good pair is emitted, the bad one named: never a zero, never a made-up number. */
static void a_bad_price_costs_only_its_pair(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "is missing"},
        {"\"ethereum\":{},", "is missing"},
        {"\"ethereum\":{\"usd\":null,\"last_updated_at\":1767225690},", "is null"},
        {"\"ethereum\":{\"usd\":0,\"last_updated_at\":1767225690},", "is zero"},
        {"\"ethereum\":{\"usd\":0.000,\"last_updated_at\":1767225690},", "is zero"},
        {"\"ethereum\":{\"usd\":-1.5,\"last_updated_at\":1767225690},", "is negative"},
        {"\"ethereum\":{\"usd\":-2,\"last_updated_at\":1767225690},", "is negative"},
        {"\"ethereum\":{\"usd\":\"abc\",\"last_updated_at\":1767225690},", "is not a number"},
        {"\"ethereum\":{\"usd\":true,\"last_updated_at\":1767225690},", "is not a number"},
        {"\"ethereum\":{\"usd\":{},\"last_updated_at\":1767225690},", "is not a number"},
        {"\"ethereum\":[],", "is missing"},
        {"\"ethereum\":{\"usd\":1},", "is without a valid last_updated_at"},
        {"\"ethereum\":{\"usd\":1,\"last_updated_at\":1e300},", "is without a valid last_updated_at"},
    };
    create("{ pairs: [ETH-USD, BTC-USD] }");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        (void)snprintf(text, sizeof text, "{%s\"bitcoin\":{\"usd\":76975,\"last_updated_at\":1767225591}}",
                       cases[i][0]);
        web_answer(text);
        assert_int_equal(stub_poll(host, 0), PL_FAILED);
        assert_int_equal(host->error.error_class, PL_REJECT);
        if (!strstr(host->error.message, cases[i][1]) ||
            !strstr(host->error.message, "ETH-USD: the price of ethereum in usd") ||
            !strstr(host->error.message, "1 of 2 pairs are good"))
            fail_msg("case %zu: %s", i, host->error.message);
        assert_int_equal(host->emitted_count, i + 1);
        assert_non_null(strstr(stub_json(host, i), "\"pair\":\"BTC-USD\""));
    }
}

static void an_answer_that_is_no_price_list_gives_no_record(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t error_class;
        const char *part;
    } cases[] = {
        {"<!DOCTYPE html><html></html>", PL_REJECT, "HTML"},
        {"", PL_REJECT, "empty"},
        {" \n", PL_REJECT, "empty"},
        {"Throttled", PL_REJECT, "not JSON"},
        {"{\"ethereum\":{\"usd\":24", PL_REJECT, "not JSON"},
        {"{\"ethereum\":{\"usd\":NaN,\"last_updated_at\":1767225690}}", PL_REJECT, "not JSON"},
        {"{\"ethereum\":{\"usd\":1e999,\"last_updated_at\":1767225690}}", PL_REJECT, ""},
        {"[1,2,3]", PL_REJECT, "not a JSON object"},
        {"12", PL_REJECT, "not a JSON object"},
        {"{\"status\":{\"error_code\":429,\"error_message\":\"x\"}}", PL_RETRY, "code 429"},
        {"{\"error\":{\"status\":{\"error_code\":10005}}}", PL_REJECT, "code 10005"},
        {"{\"error\":\"coin not found\"}", PL_REJECT, "coin not found"},
    };
    create("{ pairs: [ETH-USD] }");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        web_answer(cases[i].text);
        assert_int_equal(stub_poll(host, 0), PL_FAILED);
        assert_int_equal(host->error.error_class, cases[i].error_class);
        if (!strstr(host->error.message, cases[i].part))
            fail_msg("case %zu: %s", i, host->error.message);
    }
    web_fail(PL_RETRY, 429, "slow down");
    assert_int_equal(stub_poll(host, 0), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_RETRY);
    assert_int_equal(host->emitted_count, 0);
    web_answer(good);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(host->emitted_count, 1);
}

static void a_full_host_still_gets_the_whole_answer(void **state)
{
    (void)state;
    create("{ pairs: [ETH-USD, BTC-USD] }");
    host->emit_limit = 1;
    web_answer(good);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(host->emitted_count, 2);
}

static void impossible_options_are_refused(void **state)
{
    (void)state;
    stub_refuses(host, "{ pairs: [eth-usd] }", "pairs[0]", "'eth-usd' is not a pair");
    stub_refuses(host, "{ pairs: [ETH-USD, ETHUSD] }", "pairs[1]", "'ETHUSD' is not a pair");
    stub_refuses(host, "{ pairs: [ETH-USD, ETH-USD] }", "pairs[1]", "listed twice");
    stub_refuses(host, "{ pairs: [ETH-USD, SOL-USD] }", "pairs[1]", "ids: { SOL-USD: its-id }");
    stub_refuses(host, "{ pairs: [ETH-USD], ids: { SOL-USD: solana } }", "ids.SOL-USD", "not one of pairs");
    stub_refuses(host, "{ pairs: [SOL-USD], ids: { SOL-USD: \"a&b\" } }", "ids.SOL-USD", "not an id");
    stub_refuses(host, "{ pairs: [ETH-USD], base_url: api.coingecko.com }", "base_url", "http://");
    stub_refuses(host, "{ pairs: [ETH-USD], plan: pro }", "plan", "api_key");
    stub_refuses(host, "{ pairs: [] }", "pairs", "expected 1 to 100");
}

#define WITH_HOST(test) cmocka_unit_test_setup_teardown(test, open_host, close_host)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HOST(one_request_gives_a_record_a_pair),       WITH_HOST(changed_at_marks_a_new_price),
        WITH_HOST(ids_and_quotes_are_named_once),           WITH_HOST(the_key_chooses_header_and_host),
        WITH_HOST(a_bad_price_costs_only_its_pair),         WITH_HOST(an_answer_that_is_no_price_list_gives_no_record),
        WITH_HOST(a_full_host_still_gets_the_whole_answer), WITH_HOST(impossible_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
