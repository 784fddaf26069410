/* The coinpaprika plugin: one request a pair, the record, and answers that are no price. */
#include "support_web.h"

static stub *host;

static int open_host(void **state)
{
    (void)state;
    host = stub_open("coinpaprika", STUB_SOURCE);
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

static const char good[] = "{\"id\":\"btc-bitcoin\",\"last_updated\":\"2025-12-31T23:58:00Z\",\"quotes\":{\"USD\":"
                           "{\"price\":107077.69661924685,\"volume_24h\":17846325321.70}}}";

static void each_pair_is_an_item(void **state)
{
    (void)state;
    stub_create(host, "{ pairs: [ETH-USD, BTC-USD], every: 30s }");
    assert_int_equal(host->component->poller->count(host->self), 2);
    assert_int_equal(host->component->poller->every_ns(host->self), INT64_C(30000000000));
    web_answer(good);
    assert_int_equal(stub_poll(host, 1), PL_OK);
    assert_string_equal(web_asked(0)->url, "https://api.coinpaprika.com/v1/tickers/btc-bitcoin?quotes=USD");
    assert_string_equal(web_asked(0)->headers, "");
    assert_int_equal(host->emitted_count, 1);
    assert_string_equal(stub_json(host, 0),
                        "{\"kind\":\"api\",\"schema\":1,\"source\":\"coinpaprika\",\"pair\":\"BTC-USD\","
                        "\"price\":\"107077.69661924685\",\"source_ts\":\"2025-12-31T23:58:00Z\","
                        "\"fetched_at\":\"2026-01-01T00:00:00Z\",\"changed_at\":\"2026-01-01T00:00:00Z\","
                        "\"volume_24h\":\"17846325321.70\"}");
    assert_memory_equal(host->emitted[0].envelope.key.ptr, "BTC-USD", 7);
}

static void the_key_goes_raw_to_the_paid_host(void **state)
{
    (void)state;
    stub_create(host, "{ pairs: [BTC-USD], api_key: k }");
    web_answer(good);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_string_equal(web_asked(0)->url, "https://api-pro.coinpaprika.com/v1/tickers/btc-bitcoin?quotes=USD");
    assert_string_equal(web_asked(0)->headers, "Authorization: k\n");
}

static void other_coins_by_their_id(void **state)
{
    (void)state;
    stub_create(host, "{ pairs: [SOL-EUR], ids: { SOL-EUR: sol-solana }, base_url: \"http://127.0.0.1:1/\" }");
    web_answer(
        "{\"id\":\"sol-solana\",\"last_updated\":\"2025-12-31T23:58:00.250Z\",\"quotes\":{\"EUR\":{\"price\":99}}}");
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_string_equal(web_asked(0)->url, "http://127.0.0.1:1/v1/tickers/sol-solana?quotes=EUR");
    assert_non_null(strstr(stub_json(host, 0), "\"price\":\"99\",\"source_ts\":\"2025-12-31T23:58:00.250Z\""));
    assert_null(strstr(stub_json(host, 0), "volume"));
}

static void what_is_no_price_gives_no_record(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"<html></html>", "BTC-USD: the answer is HTML"},
        {"{\"id\":\"btc-bitcoin\",\"quotes\":{\"USD\":{\"pri", "BTC-USD: the answer: not JSON"},
        {"{\"error\":\"id not found\"}", "id not found"},
        {"{\"id\":\"eth-ethereum\",\"last_updated\":\"2025-12-31T23:58:00Z\",\"quotes\":{\"USD\":{\"price\":1}}}",
         "not about btc-bitcoin"},
        {"{\"id\":\"btc-bitcoin\",\"last_updated\":\"2025-12-31T23:58:00Z\",\"quotes\":{}}", "is missing"},
        {"{\"id\":\"btc-bitcoin\",\"last_updated\":\"2025-12-31T23:58:00Z\",\"quotes\":{\"USD\":{\"price\":0}}}",
         "is zero"},
        {"{\"id\":\"btc-bitcoin\",\"last_updated\":\"2025-12-31T23:58:00Z\",\"quotes\":{\"USD\":{\"price\":null}}}",
         "is null"},
        {"{\"id\":\"btc-bitcoin\",\"last_updated\":\"2025-12-31T23:58:00Z\",\"quotes\":{\"USD\":{\"price\":-3}}}",
         "is negative"},
        {"{\"id\":\"btc-bitcoin\",\"last_updated\":\"yesterday\",\"quotes\":{\"USD\":{\"price\":1}}}", "last_updated"},
        {"{\"id\":\"btc-bitcoin\",\"quotes\":{\"USD\":{\"price\":1}}}", "last_updated"},
    };
    stub_create(host, "{ pairs: [BTC-USD] }");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        web_answer(cases[i][0]);
        assert_int_equal(stub_poll(host, 0), PL_FAILED);
        assert_int_equal(host->error.error_class, PL_REJECT);
        if (!strstr(host->error.message, cases[i][1]))
            fail_msg("case %zu: %s", i, host->error.message);
    }
    web_fail(PL_RETRY, 402, "127.0.0.1 answered 402 Payment Required");
    assert_int_equal(stub_poll(host, 0), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_RETRY);
    assert_string_equal(host->error.message, "BTC-USD: 127.0.0.1 answered 402 Payment Required");
    assert_int_equal(host->emitted_count, 0);
}

static void impossible_options_are_refused(void **state)
{
    (void)state;
    stub_refuses(host, "{ pairs: [SOL-USD] }", "pairs[0]", "");
    stub_refuses(host, "{ pairs: [BTC-USD], base_url: x }", "base_url", "");
}

#define WITH_HOST(test) cmocka_unit_test_setup_teardown(test, open_host, close_host)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HOST(each_pair_is_an_item),           WITH_HOST(the_key_goes_raw_to_the_paid_host),
        WITH_HOST(other_coins_by_their_id),        WITH_HOST(what_is_no_price_gives_no_record),
        WITH_HOST(impossible_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
