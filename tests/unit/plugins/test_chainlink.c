/* The chainlink plugin against a small Ethereum node in the test. */
#include "support_chain.h"

#include <stdlib.h>

static void assert_failed(pl_status status, int32_t error_class, const char *part)
{
    assert_int_equal(status, PL_FAILED);
    if (!strstr(host->error.message, part))
        fail_msg("'%s' is not in: %s", part, host->error.message);
    if (strstr(host->error.message, "secret"))
        fail_msg("a part of the URL is in: %s", host->error.message);
    assert_int_equal(host->error.error_class, error_class);
}

static void poll_fails(int32_t error_class, const char *part)
{
    assert_failed(stub_poll(host, 0), error_class, part);
}

/* ---- Tests ----------------------------------------------------------------- */

static void a_poll_gives_a_record_a_feed_at_one_block(void **state)
{
    (void)state;
    stub_create(host, chain_two_feeds);
    assert_int_equal(host->component->poller->count(host->self), 1);
    assert_int_equal(host->component->poller->every_ns(host->self), INT64_C(12000000000));
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(web_count(), 3); /* the checks, the block, the feeds */
    assert_string_equal(web_asked(0)->url, "http://127.0.0.1:1/secret");
    assert_non_null(strstr(web_asked(2)->body, "{\"blockHash\":\"" HASH "\",\"requireCanonical\":true}"));
    assert_int_equal(host->emitted_count, 2);
    assert_string_equal(
        stub_json(host, 0),
        "{\"kind\":\"contract\",\"schema\":1,\"chain_id\":1,\"feed\":\"ETH / USD\",\"pair\":\"ETH-USD\","
        "\"phase_id\":5,\"agg_round\":\"13078\",\"answer_raw\":\"304359857420\",\"decimals\":8,"
        "\"price\":\"3043.59857420\",\"started_at\":\"2025-12-31T23:58:30Z\","
        "\"updated_at\":\"2025-12-31T23:59:00Z\",\"block_number\":24000000,\"block_hash\":\"" HASH
        "\",\"observed_at\":\"2026-01-01T00:00:00Z\",\"heartbeat_s\":3600,\"band_pct\":\"0.5\"}");
    assert_non_null(strstr(stub_json(host, 1), "\"pair\":\"BTC-USD\""));
    assert_non_null(strstr(stub_json(host, 1), "\"price\":\"0.00000001\""));
    assert_non_null(
        strstr(stub_json(host, 1), "\"observed_at\":\"2026-01-01T00:00:00Z\"}")); /* no band, no heartbeat */
    const pl_emission *envelope = &host->emitted[0].envelope;
    assert_memory_equal(envelope->key.ptr, "ETH-USD", 7);
    assert_memory_equal(envelope->stream.ptr, "chainlink", 9);
    assert_true(envelope->time_unix_ns == (int64_t)TIME_S * 1000000000);

    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(web_count(), 5); /* no checks again */
    assert_int_equal(host->emitted_count, 4);
    assert_int_equal(host->log_count, 0);
}

static void answers_are_matched_by_id(void **state)
{
    (void)state;
    node.backwards = true;
    stub_create(host, chain_two_feeds);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_non_null(strstr(stub_json(host, 0), "\"pair\":\"ETH-USD\""));
    assert_non_null(strstr(stub_json(host, 0), "\"answer_raw\":\"304359857420\""));
}

static void integers_are_exact_to_256_bits(void **state)
{
    (void)state;
    static const struct {
        const char *word, *decimal;
    } cases[] = {
        {"0000000000000000000000000000000000000000000000000000000000000001", "1"},
        {"000000000000000000000000000000000000000000000000ffffffffffffffff", "18446744073709551615"},
        {"0000000000000000000000000000000000000000000000010000000000000000", "18446744073709551616"},
        {"0000000000000000000000000000000100000000000000000000000000000000", "340282366920938463463374607431768211456"},
        {"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
         "57896044618658097711785492504343953926634992332820282019728792003956564819967"},
        {"0000000000000000000000000000000000000000000000000de0b6b3a7640000", "1000000000000000000"},
    };
    static const struct {
        const char *word, *decimal;
    } refused[] = {
        {"0000000000000000000000000000000000000000000000000000000000000000", "answer is 0;"},
        {"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", "answer is -1;"},
        {"ffffffffffffffffffffffffffffffffffffffffffffffff0000000000000000", "answer is -18446744073709551616;"},
        {"8000000000000000000000000000000000000000000000000000000000000000",
         "answer is -57896044618658097711785492504343953926634992332820282019728792003956564819968;"},
    };
    stub_create(host, "{ rpc: \"http://127.0.0.1:1\", feeds: [ { pair: ETH-USD, proxy: \"" ETH_PROXY "\" } ] }");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char expected[200];
        chain_make_round(node.eth_round, ETH_ROUND, cases[i].word, TIME_S, TIME_S);
        assert_int_equal(stub_poll(host, 0), PL_OK);
        (void)snprintf(expected, sizeof expected, "\"answer_raw\":\"%s\"", cases[i].decimal);
        assert_non_null(strstr(stub_json(host, i), expected));
        size_t len = strlen(cases[i].decimal);
        if (len > 8)
            (void)snprintf(expected, sizeof expected, "\"price\":\"%.*s.%s\"", (int)len - 8, cases[i].decimal,
                           cases[i].decimal + len - 8);
        else
            (void)snprintf(expected, sizeof expected, "\"price\":\"0.%08ld\"", strtol(cases[i].decimal, NULL, 10));
        assert_non_null(strstr(stub_json(host, i), expected));
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        chain_make_round(node.eth_round, ETH_ROUND, refused[i].word, TIME_S, TIME_S);
        poll_fails(PL_REJECT, refused[i].decimal);
    }
    assert_int_equal(host->emitted_count, sizeof cases / sizeof cases[0]);
}

static void decimals_scale_the_price(void **state)
{
    (void)state;
    node.decimals = "0";
    stub_create(host,
                "{ rpc: \"http://127.0.0.1:1\", feeds: [ { pair: ETH-USD, proxy: \"" ETH_PROXY "\", decimals: 0 } ] }");
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_non_null(strstr(stub_json(host, 0), "\"price\":\"304359857420\""));
    node.decimals = "18";
    stub_restart(host, "{ rpc: \"http://127.0.0.1:1\", feeds: [ { pair: ETH-USD, proxy: \"" ETH_PROXY
                       "\", decimals: 18 } ] }");
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_non_null(strstr(stub_json(host, 0), "\"decimals\":18,\"price\":\"0.000000304359857420\""));
}

static void a_bad_round_costs_only_its_feed(void **state)
{
    (void)state;
    static const struct {
        const char *round_id, *answer;
        long started, updated;
        const char *part;
    } cases[] = {
        {ETH_ROUND, "0000000000000000000000000000000000000000000000000000000000000001", TIME_S, 0, "updatedAt is 0"},
        {ETH_ROUND, "0000000000000000000000000000000000000000000000000000000000000001", TIME_S, TIME_S + 86400,
         "updatedAt is 86400 s after its block 24000000"},
        {ETH_ROUND, "0000000000000000000000000000000000000000000000000000000000000001", TIME_S, 0x7fffffffffffffff,
         "no time"},
        {"0000000000000000000000000000000000000000000000050000000000000000",
         "0000000000000000000000000000000000000000000000000000000000000001", TIME_S, TIME_S,
         "phase 5 has no round yet"},
        {"0000000000000000000000000000000000000000000100050000000000000001",
         "0000000000000000000000000000000000000000000000000000000000000001", TIME_S, TIME_S,
         "the round id is above 80 bits"},
    };
    stub_create(host, chain_two_feeds);
    size_t expected = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        chain_make_round(node.eth_round, cases[i].round_id, cases[i].answer, cases[i].started, cases[i].updated);
        poll_fails(PL_REJECT, cases[i].part);
        assert_failed(PL_FAILED, PL_REJECT, "1 of 2 feeds are good");
        assert_int_equal(host->emitted_count, ++expected);
        assert_non_null(strstr(stub_json(host, i), "BTC-USD"));
    }
    chain_reset();
    node.eth_round[66] = '\0';
    poll_fails(PL_REJECT, "ETH-USD: latestRoundData() gave 32 bytes; expected 160");
    (void)strncpy(node.eth_round, "0x", 3);
    poll_fails(PL_REJECT, "gave 0 bytes; expected 160");
    (void)strncpy(node.eth_round, "0xzz", 5);
    poll_fails(PL_REJECT, "no hex");
    node.eth_error = REVERTED;
    poll_fails(PL_REJECT, "latestRoundData() of ETH-USD (" ETH_PROXY ") reverted: execution reverted: no access");
    node.eth_error = "{\"code\":-32000,\"message\":\"execution reverted\"}";
    poll_fails(PL_REJECT, "reverted");
    assert_int_equal(host->emitted_count, expected + 5);
    chain_reset();
    node.forgets_last = true;
    poll_fails(PL_REJECT, "left latestRoundData() of BTC-USD");
    assert_int_equal(host->emitted_count, expected + 6);
}

static void trouble_of_the_node_is_tried_again(void **state)
{
    (void)state;
    stub_create(host, chain_two_feeds);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    stub_clear(host);
    node.btc_error = LIMITED; /* nothing is emitted: the poll is going to be repeated */
    poll_fails(PL_RETRY, "limits its rate");
    assert_int_equal(host->error.retry_after_ms, 7000);
    node.btc_error = node.eth_error = "{\"code\":-32603,\"message\":\"internal error\"}";
    poll_fails(PL_RETRY, "internal error (code -32603)");
    node.btc_error = node.eth_error = "{\"code\":-32000,\"message\":\"header not found\"}";
    poll_fails(PL_RETRY, "header not found");
    node.btc_error = node.eth_error = "{\"code\":-32601,\"message\":\"the method eth_call is not available\"}";
    poll_fails(PL_HALT, "not available");
    node.block_error = LIMITED;
    poll_fails(PL_RETRY, "limits its rate");
    node.block_error = NULL;
    node.null_block = true;
    poll_fails(PL_RETRY, "no block yet");
    assert_int_equal(host->emitted_count, 0);
}

static char *answer_text;
static char *serve_text(const web_request *request)
{
    (void)request;
    return strdup(answer_text);
}

static void what_is_no_batch_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t error_class;
        const char *part;
    } cases[] = {
        {"<html>", PL_REJECT, "HTML"},
        {"", PL_REJECT, "the node's answer: not JSON"},
        {"[{\"jsonrpc\":\"2.0\",\"id\":1,\"resul", PL_REJECT, "the node's answer: not JSON"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"0x1\"}", PL_REJECT, "not a list"},
        {"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"no batches\"}}", PL_RETRY,
         "no batches"},
        {"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":" LIMITED "}", PL_RETRY, "limits its rate"},
        {"[]", PL_RETRY, "left eth_chainId unanswered"},
        {"[1,{\"id\":\"x\"},{\"id\":99,\"result\":1},{\"id\":1}]", PL_RETRY, "left eth_chainId unanswered"},
        {"[{\"id\":1,\"result\":17}]", PL_REJECT, "eth_chainId is no number"},
        {"[{\"id\":1,\"result\":\"0xfffffffffffffffff\"}]", PL_REJECT, "eth_chainId is no number"},
    };
    stub_create(host, chain_two_feeds);
    web_serve(serve_text);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        answer_text = (char *)(uintptr_t)cases[i].text;
        poll_fails(cases[i].error_class, cases[i].part);
    }
    assert_int_equal(host->emitted_count, 0);
}

static void start_halts(const char *part, const char *option)
{
    poll_fails(PL_HALT, part);
    assert_string_equal(host->error.option, option);
    stub_restart(host, chain_two_feeds);
    chain_reset();
}

static void the_first_poll_checks_the_contracts(void **state)
{
    (void)state;
    stub_create(host, chain_two_feeds);
    node.chain_id = "0x5";
    start_halts("the node is on chain 5; expected chain 1", "chain_id");
    node.btc_description = "DOGE / USD";
    start_halts("BTC-USD: the feed at " BTC_PROXY " is 'DOGE / USD'; expected 'BTC / USD'", "feeds[1].proxy");
    node.eth_description = "0x";
    start_halts("ETH-USD: at " ETH_PROXY " there is no contract code on this chain; expected the feed ETH / USD",
                "feeds[0].proxy");
    node.eth_description = "0x1234";
    start_halts("gives no text", "feeds[0].proxy");
    node.decimals = "18";
    start_halts("has 18 decimals; expected 8", "feeds[0].proxy");
    node.decimals = "0x";
    start_halts("gives no number; expected 8", "feeds[0].proxy");
    node.verify_error = REVERTED;
    start_halts("description() reverts at " ETH_PROXY ": not a price feed", "feeds[0].proxy");
    node.verify_error = LIMITED;
    poll_fails(PL_RETRY, "limits its rate");
    chain_reset();
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(host->emitted_count, 2);
}

static void a_description_may_be_given(void **state)
{
    (void)state;
    node.eth_description = "Ether in dollars";
    stub_create(host, "{ rpc: \"http://127.0.0.1:1\", feeds: [ { pair: ETH-USD, proxy: \"" ETH_PROXY
                      "\", description: Ether in dollars } ] }");
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_non_null(strstr(stub_json(host, 0), "\"feed\":\"Ether in dollars\""));
}

static void without_block_hashes_the_number_is_checked(void **state)
{
    (void)state;
    node.no_hashes = true;
    stub_create(host, chain_two_feeds);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_true(stub_logged(host, "EIP-1898"));
    assert_int_equal(host->emitted_count, 2);
    assert_non_null(strstr(web_asked(web_count() - 1)->body, "\"0x16e3600\"]"));
    size_t before = web_count();
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(web_count(), before + 2); /* the hash is not tried again */
    assert_int_equal(stub_logged_count(host, "EIP-1898"), 1);
    node.second_hash = OTHER_HASH;
    poll_fails(PL_RETRY, "block 24000000 was replaced while it was read");
    assert_int_equal(host->emitted_count, 4);
}

static void a_round_that_goes_back_is_told(void **state)
{
    (void)state;
    stub_create(host, chain_two_feeds);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    chain_make_round(node.eth_round, "0000000000000000000000000000000000000000000000050000000000003315",
                     "0000000000000000000000000000000000000000000000000000000000000001", TIME_S, TIME_S);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_true(stub_logged(host, "warn: ETH-USD went back from round 5/13078 to 5/13077"));
    chain_make_round(node.eth_round, "0000000000000000000000000000000000000000000000060000000000000001",
                     "0000000000000000000000000000000000000000000000000000000000000001", TIME_S, TIME_S);
    assert_int_equal(stub_poll(host, 0), PL_OK); /* a new phase starts again at 1: not back */
    assert_int_equal(host->log_count, 1);
    assert_int_equal(host->emitted_count, 6);
}

static void many_feeds_go_in_several_batches(void **state)
{
    (void)state;
    char *with = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&with, &size);
    (void)fprintf(out, "{ rpc: \"http://127.0.0.1:1\", feeds: [");
    for (int i = 0; i < 60; i++)
        (void)fprintf(out, "{ pair: BTC-USD, proxy: \"0x%040x\" },", i + 1);
    (void)fprintf(out, "] }");
    assert_int_equal(fclose(out), 0);
    stub_create(host, with);
    free(with);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(host->emitted_count, 60);
    assert_int_equal(node.max_batch, 50);
    assert_int_equal(web_count(), 3 + 1 + 2);
}

static void impossible_options_are_refused(void **state)
{
    (void)state;
    stub_refuses(host, "{ rpc: \"ws://127.0.0.1\", feeds: [ { pair: ETH-USD, proxy: \"" ETH_PROXY "\" } ] }", "rpc",
                 "http://");
    stub_refuses(host, "{ rpc: \"http://a\", feeds: [] }", "feeds", "expected 1 to 100");
    stub_refuses(host, "{ rpc: \"http://a\", feeds: [ { pair: ETHUSD, proxy: \"" ETH_PROXY "\" } ] }", "feeds[0].pair",
                 "not a pair");
    stub_refuses(host, "{ rpc: \"http://a\", feeds: [ { pair: ETH-USD, proxy: \"5f4e\" } ] }", "feeds[0].proxy",
                 "not an address");
    stub_refuses(host, "{ rpc: \"http://a\", feeds: [ { pair: ETH-USD, proxy: \"0x5f4e\" } ] }", "feeds[0].proxy",
                 "this has 4");
    stub_refuses(
        host,
        "{ rpc: \"http://a\", feeds: [ { pair: ETH-USD, proxy: \"0xGf4eC3Df9cbd43714FE2740f5E3616155c5b8419\" } ] }",
        "feeds[0].proxy", "no hex digit");
    stub_refuses(host,
                 "{ rpc: \"http://a\", feeds: [ { pair: ETH-USD, proxy: \"" ETH_PROXY
                 "\" }, { pair: BTC-USD, proxy: \"" ETH_PROXY "\" } ] }",
                 "feeds[1].proxy", "already");
    stub_refuses(host, "{ rpc: \"http://a\", feeds: [ { pair: ETH-USD, proxy: \"" ETH_PROXY "\", deviation: -1% } ] }",
                 "feeds[0].deviation", "not negative");
}

#define WITH_HOST(test) cmocka_unit_test_setup_teardown(test, chain_open_host, chain_close_host)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HOST(a_poll_gives_a_record_a_feed_at_one_block),
        WITH_HOST(answers_are_matched_by_id),
        WITH_HOST(integers_are_exact_to_256_bits),
        WITH_HOST(decimals_scale_the_price),
        WITH_HOST(a_bad_round_costs_only_its_feed),
        WITH_HOST(trouble_of_the_node_is_tried_again),
        WITH_HOST(what_is_no_batch_is_refused),
        WITH_HOST(the_first_poll_checks_the_contracts),
        WITH_HOST(a_description_may_be_given),
        WITH_HOST(without_block_hashes_the_number_is_checked),
        WITH_HOST(a_round_that_goes_back_is_told),
        WITH_HOST(many_feeds_go_in_several_batches),
        WITH_HOST(impossible_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
