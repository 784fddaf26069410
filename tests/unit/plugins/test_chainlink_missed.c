/* The chainlink plugin reading the rounds that it missed, from a small Ethereum node in the test. */
#include "support_chain.h"

#include <stdlib.h>

static void set_eth_round_of(uint64_t phase, uint64_t round, long age)
{
    char id[2 * 32 + 1];
    (void)snprintf(id, sizeof id, "%044d%04x%016llx", 0, (unsigned)phase, (unsigned long long)round);
    chain_make_round(node.eth_round, id, "0000000000000000000000000000000000000000000000000000000000000007",
                     TIME_S - 90, TIME_S - age);
}

static void set_eth_round(uint64_t phase, uint64_t round)
{
    set_eth_round_of(phase, round, 60);
}

/* The newest round is what getRoundData() says of it, too. */
static int open_host(void **state)
{
    int failed = chain_open_host(state);
    set_eth_round(5, 13078);
    return failed;
}

/* The rounds of ETH-USD that were emitted, caught-up ones with a '+'. */
static const char *eth_rounds(void)
{
    static char text[16384];
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < host->emitted_count; i++) {
        const char *json = stub_json(host, i), *round = strstr(json, "\"agg_round\":\"");
        if (strstr(json, "\"pair\":\"ETH-USD\""))
            len += (size_t)snprintf(text + len, sizeof text - len, "%s%.*s%s", len ? " " : "",
                                    (int)strcspn(round + 13, "\""), round + 13,
                                    strstr(json, "\"caught_up\":true") ? "+" : "");
    }
    stub_clear(host);
    return text;
}

static void poll_gives(const char *rounds)
{
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_string_equal(eth_rounds(), rounds);
}

static void rounds_between_two_polls_are_read(void **state)
{
    (void)state;
    stub_create(host, chain_two_feeds);
    poll_gives("13078");
    set_eth_round(5, 13079);
    poll_gives("13079");
    set_eth_round(5, 13083);
    node.no_round = 13081;
    poll_gives("13080+ 13082+ 13083");
    assert_true(stub_metric(host, "rounds_caught_up") == 2);
    poll_gives("13083");
    set_eth_round(6, 3); /* the old phase's aggregator is gone */
    poll_gives("1+ 2+ 3");
    node.missed_age = 61; /* published before the old phase's round that was in force at the last look */
    set_eth_round(7, 3);
    poll_gives("3");
}

static void trouble_with_missed_rounds_costs_no_sample(void **state)
{
    (void)state;
    stub_create(host, chain_two_feeds);
    poll_gives("13078");
    set_eth_round(5, 13081);
    node.missed_error = LIMITED;
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(stub_logged_count(host, "can't be read yet: the node limits its rate"), 1);
    assert_string_equal(eth_rounds(), "13081 13081");
    node.missed_error = NULL;
    poll_gives("13079+ 13080+ 13081");
}

static void restart_after(int64_t tick, bool settled)
{
    pl_error error = {.struct_size = sizeof error};
    if (settled)
        assert_int_equal(host->component->poller->commit(host->self, tick, &error), PL_OK);
    stub_restart(host, chain_two_feeds);
}

static void what_was_settled_is_where_a_restart_goes_on(void **state)
{
    (void)state;
    stub_create(host, chain_two_feeds);
    poll_gives("13078");
    int64_t first = host->unix_now;
    stub_advance(host, 12000000000);
    set_eth_round(5, 13080);
    poll_gives("13079+ 13080");
    restart_after(first, true); /* the second poll's records got lost */
    set_eth_round(5, 13082);
    poll_gives("13079+ 13080+ 13081+ 13082");
    restart_after(host->unix_now, true);
    poll_gives("13082");
    set_eth_round(5, 13084);
    poll_gives("13083+ 13084");
    restart_after(0, false);
    poll_gives("13083+ 13084");
}

static void a_gap_beyond_the_bound_is_told_once(void **state)
{
    (void)state;
    stub_create(host, chain_two_feeds);
    poll_gives("13078");
    set_eth_round(5, 15000);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_true(stub_logged(host, "warn: ETH-USD missed 1921 rounds; the oldest 921 are beyond catch_up"));
    for (int i = 0; i < 10; i++)
        assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(stub_logged_count(host, "missed 1921"), 1);
    assert_int_equal(stub_logged_count(host, "beyond catch_up"), 1);
    assert_true(stub_metric(host, "rounds_given_up") == 921);
    assert_true(stub_metric(host, "rounds_caught_up") == 1000);
    assert_true(strncmp(eth_rounds(), "14000+ 14001+", 13) == 0);
    poll_gives("15000");
    assert_true(node.max_batch <= 50);
}

/* All rounds have another time now: those that were handed over come again, each once. */
static void rounds_before_a_replaced_one_are_looked_at(void **state)
{
    (void)state;
    stub_create(host, chain_two_feeds);
    for (uint64_t round = 13078; round <= 13080; round++) {
        set_eth_round(5, round);
        assert_int_equal(stub_poll(host, 0), PL_OK);
    }
    assert_string_equal(eth_rounds(), "13078 13079 13080");
    node.missed_age = 50;
    node.missed_error = LIMITED;
    set_eth_round_of(5, 13080, 50); /* nothing went back: as many rounds as before */
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_int_equal(stub_logged_count(host, "can't be read yet"), 1);
    node.missed_error = NULL;
    assert_int_equal(stub_poll(host, 0), PL_OK);
    assert_true(stub_logged(host, "warn: ETH-USD has 2 other rounds before 13080 now: blocks were replaced"));
    assert_string_equal(eth_rounds(), "13080 13080 13078+ 13079+ 13080");
    poll_gives("13080");
    node.missed_age = 40;
    set_eth_round_of(5, 13082, 40); /* and further ones */
    poll_gives("13080+ 13081+ 13078+ 13079+ 13082");
    poll_gives("13082");
}

#define WITH_HOST(test) cmocka_unit_test_setup_teardown(test, open_host, chain_close_host)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HOST(rounds_between_two_polls_are_read),           WITH_HOST(trouble_with_missed_rounds_costs_no_sample),
        WITH_HOST(what_was_settled_is_where_a_restart_goes_on), WITH_HOST(a_gap_beyond_the_bound_is_told_once),
        WITH_HOST(rounds_before_a_replaced_one_are_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
