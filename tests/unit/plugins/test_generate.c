#include "support_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static stub *made(const char *with)
{
    stub *host = stub_open("generate", STUB_SOURCE);
    stub_create(host, with);
    return host;
}

static void a_count_ends(void **state)
{
    (void)state;
    stub *host = made("{ count: 5 }");
    assert_int_equal(stub_drain(host, 100), PL_END);
    assert_int_equal(host->emitted_count, 5);
    assert_int_equal(host->lane_count, 1);
    assert_int_equal(host->emitted[4].envelope.position, 5);
    stub_close(&host);
}

/* What the benchmarks are stated for: 242 bytes, a round id that a double cannot hold, an exact price, a debug field.
 */
static void reference_record(void **state)
{
    (void)state;
    stub *host = made("{ count: 1000 }");
    (void)stub_drain(host, 1000);
    for (size_t i = 0; i < host->emitted_count; i++) {
        const char *json = stub_json(host, i);
        assert_int_equal(strlen(json), 242);
        unsigned long long round;
        assert_int_equal(sscanf(strstr(json, "\"round_id\":") + 11, "%llu", &round), 1);
        assert_true(round > UINT64_C(1) << 53);
        assert_non_null(strstr(json, "\"debug\":\"a"));
        const pl_json *parser = host->host.extension(&host->host, "pl.json/1");
        pl_doc *doc;
        assert_int_equal(parser->parse(&host->host, PL_S(json), &doc, &host->error), PL_OK);
        pl_value value;
        assert_true(parser->get(doc, PL_S("price"), &value));
        assert_int_equal(value.type, PL_STR);
        assert_true(parser->get(doc, PL_S("seq"), &value));
        assert_int_equal(value.as.i, i);
    }
    stub_close(&host);
}

static void same_seed_same_bytes(void **state)
{
    (void)state;
    stub *a = made("{ count: 200, seed: 7, keys: 50, lanes: 4 }");
    stub *b = made("{ count: 200, seed: 7, keys: 50, lanes: 4 }");
    stub *c = made("{ count: 200, seed: 8, keys: 50, lanes: 4 }");
    (void)stub_drain(a, 200);
    (void)stub_drain(b, 200);
    (void)stub_drain(c, 200);
    size_t different = 0;
    for (size_t i = 0; i < 200; i++) {
        assert_string_equal(stub_json(a, i), stub_json(b, i));
        assert_int_equal(a->emitted[i].envelope.lane, b->emitted[i].envelope.lane);
        different += strcmp(stub_json(a, i), stub_json(c, i)) != 0;
    }
    assert_true(different > 190);
    stub_close(&a);
    stub_close(&b);
    stub_close(&c);
}

static void keys_keep_to_a_lane_and_positions_grow(void **state)
{
    (void)state;
    stub *host = made("{ count: 500, keys: 9, lanes: 3 }");
    (void)stub_drain(host, 500);
    assert_int_equal(host->lane_count, 3);
    uint64_t last[3] = {0};
    size_t used[3] = {0};
    for (size_t i = 0; i < 500; i++) {
        const pl_emission *given = &host->emitted[i].envelope;
        assert_true(given->position > last[given->lane]);
        last[given->lane] = given->position;
        used[given->lane]++;
        for (size_t k = 0; k < i; k++) {
            const pl_emission *other = &host->emitted[k].envelope;
            if (other->key.len == given->key.len && memcmp(other->key.ptr, given->key.ptr, given->key.len) == 0) {
                assert_int_equal(other->lane, given->lane);
            }
        }
    }
    assert_true(used[0] > 50 && used[1] > 50 && used[2] > 50);
    stub_close(&host);
}

static void a_template_of_ones_own(void **state)
{
    (void)state;
    stub *host = made(
        "{ count: 300, seed: 3, start: 2022-04-01T00:00:00Z, step: 90s, template: "
        "'{\"n\":{n},\"at\":\"{time}\",\"p\":{rand:-1.50..2},\"w\":\"{pick:a|bb|}\",\"h\":\"{hex:3}\",\"o\":{}}' }");
    (void)stub_drain(host, 300);
    bool negative = false, positive = false;
    for (size_t i = 0; i < 300; i++) {
        unsigned n;
        char at[40], w[8], h[8];
        double p;
        assert_int_equal(sscanf(stub_json(host, i), "{\"n\":%u,\"at\":\"%39[^\"]\",\"p\":%lf,", &n, at, &p), 3);
        assert_int_equal(n, i);
        assert_true(p >= -1.5 && p <= 2);
        negative = negative || p < 0;
        positive = positive || p > 0;
        const char *word = strstr(stub_json(host, i), "\"w\":");
        if (strncmp(word, "\"w\":\"\"", 6) != 0) {
            assert_int_equal(sscanf(word, "\"w\":\"%7[ab]\",\"h\":\"%7[0-9a-f]\"", w, h), 2);
            assert_int_equal(strlen(h), 3);
        }
        assert_non_null(strstr(stub_json(host, i), "\"o\":{}}"));
    }
    assert_true(negative && positive);
    assert_non_null(strstr(stub_json(host, 1), "2022-04-01T00:01:30Z"));
    assert_int_equal(host->emitted[1].envelope.time_unix_ns, (INT64_C(1648771200) + 90) * 1000000000);
    stub_close(&host);
}

static void bad_templates_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{ template: '{nope}' }",      "{ template: '{n' }",      "{ template: '{rand:5..1}' }",
        "{ template: '{rand:a..b}' }", "{ template: '{hex:0}' }", "{ template: '{n:1}' }",
        "{ start: yesterday }",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        stub *host = stub_open("generate", STUB_SOURCE);
        stub_refuses(host, bad[i], i == 6 ? "start" : "template", "");
        stub_close(&host);
    }
}

static void the_rate_holds(void **state)
{
    (void)state;
    stub *host = made("{ rate: 50 }");
    int64_t began = host->now;
    (void)stub_drain(host, 101);
    assert_int_equal(host->emitted_count, 101);
    int64_t took = host->now - began;
    assert_true(took >= INT64_C(1990000000) && took <= INT64_C(2100000000));
    stub_close(&host);
}

static void after_a_restart_it_goes_on_behind_what_was_settled(void **state)
{
    (void)state;
    static const char with[] = "{ count: 100, lanes: 2, keys: 10, resume: true }";
    stub *host = made(with);
    (void)stub_drain(host, 100);
    char *all[100];
    uint64_t settled[2] = {0};
    for (size_t i = 0; i < 100; i++) {
        const pl_emission *given = &host->emitted[i].envelope;
        all[i] = strdup(stub_json(host, i));
        if (i < 60 && given->lane == 0) {
            settled[0] = given->position;
        } else if (i < 30 && given->lane == 1) {
            settled[1] = given->position;
        }
    }
    assert_int_equal(stub_commit(host, 0, settled[0]), PL_OK);
    assert_int_equal(stub_commit(host, 1, settled[1]), PL_OK);
    stub_restart(host, with);
    assert_int_equal(stub_drain(host, 100), PL_END);
    for (size_t i = 0; i < host->emitted_count; i++) {
        const pl_emission *given = &host->emitted[i].envelope;
        assert_true(given->position > settled[given->lane]);
        assert_string_equal(stub_json(host, i), all[given->position - 1]);
    }
    size_t expected = 0;
    stub *fresh = made("{ count: 100, lanes: 2, keys: 10 }");
    (void)stub_drain(fresh, 100);
    for (size_t i = 0; i < 100; i++) {
        expected += fresh->emitted[i].envelope.position > settled[fresh->emitted[i].envelope.lane];
        free(all[i]);
    }
    assert_int_equal(host->emitted_count, expected);
    stub_close(&fresh);
    stub_close(&host);
}

static void a_rewind_gives_again_the_span_that_was_asked_for(void **state)
{
    (void)state;
    static const char with[] = "{ count: 100, step: 1s, resume: true }";
    stub *host = made(with);
    (void)stub_drain(host, 100);
    assert_int_equal(stub_commit(host, 0, 60), PL_OK);
    stub_restart(host, with);
    const pl_rewind *rewind = host->component->extension(host->self, "pl.rewind/1");
    assert_int_equal(rewind->rewind(host->self, INT64_C(10) * 1000000000, &host->error), PL_OK);
    assert_int_equal(stub_drain(host, 100), PL_END);
    assert_int_equal(host->emitted_count, 50);
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(host->emitted[i].envelope.position, 51 + i);
        assert_int_equal(host->emitted[i].envelope.flags, i < 10 ? PL_EMIT_REPLAY : 0);
    }
    stub_close(&host);
}

static void a_full_host_is_obeyed_and_an_interrupt_is_sticky(void **state)
{
    (void)state;
    stub *host = made("{ count: 100 }");
    host->emit_limit = 10;
    assert_int_equal(stub_next(host), PL_OK);
    assert_int_equal(host->emitted_count, 10);
    host->emit_limit = 0;
    host->component->interrupt(host->self);
    assert_int_equal(stub_next(host), PL_AGAIN);
    assert_int_equal(stub_next(host), PL_AGAIN);
    assert_int_equal(host->emitted_count, 10);
    stub_close(&host);
}

static void price_records_are_those_of_the_price_sources(void **state)
{
    (void)state;
    stub *host = made("{ count: 10, shape: price }");
    (void)stub_drain(host, 10);
    for (size_t i = 0; i < 10; i++) {
        assert_non_null(strstr(stub_json(host, i), "\"kind\":\"api\""));
        assert_non_null(strstr(stub_json(host, i), "\"fetched_at\":\"2026-01-01T00:00:00"));
    }
    stub_close(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_count_ends),
        cmocka_unit_test(reference_record),
        cmocka_unit_test(same_seed_same_bytes),
        cmocka_unit_test(keys_keep_to_a_lane_and_positions_grow),
        cmocka_unit_test(a_template_of_ones_own),
        cmocka_unit_test(bad_templates_are_refused),
        cmocka_unit_test(the_rate_holds),
        cmocka_unit_test(after_a_restart_it_goes_on_behind_what_was_settled),
        cmocka_unit_test(a_rewind_gives_again_the_span_that_was_asked_for),
        cmocka_unit_test(a_full_host_is_obeyed_and_an_interrupt_is_sticky),
        cmocka_unit_test(price_records_are_those_of_the_price_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
