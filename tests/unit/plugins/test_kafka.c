/* The kafka plugin without a broker: its options, and what it does while nobody answers.
 * tests/integration/test_kafka.py has the rest, on a real one. */
#include "support_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A port on which nothing listens. */
#define NOBODY "brokers: \"127.0.0.1:1\""

/* librdkafka starts its threads by C11's thrd_create, which ThreadSanitizer does not know: they crash in its allocator
 * (gcc 12 and clang 14). */
#if defined(__SANITIZE_THREAD__)
#define STARTS_CLIENT skip()
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STARTS_CLIENT skip()
#endif
#endif
#ifndef STARTS_CLIENT
#define STARTS_CLIENT (void)0
#endif

static int64_t elapsed_ms(const struct timespec *since)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000;
}

static void refused(stub_side side, const char *with, const char *option, const char *message)
{
    stub *host = stub_open("kafka", side);
    stub_refuses(host, with, option, message);
    stub_close(&host);
}

static void accepted(stub_side side, const char *with)
{
    stub *host = stub_open("kafka", side);
    stub_create(host, with);
    stub_close(&host);
}

static void unknown_property_names_the_nearest(void **state)
{
    (void)state;
    refused(STUB_SINK, "{ " NOBODY ", topic: t, librdkafka: { linger.msec: \"5\" } }", "librdkafka[\"linger.msec\"]",
            "has no property linger.msec; did you mean linger.ms?");
    refused(STUB_SOURCE, "{ " NOBODY ", topics: [t], group: g, librdkafka: { sesion.timeout.ms: \"5\" } }",
            "librdkafka[\"sesion.timeout.ms\"]", "did you mean session.timeout.ms?");
    refused(STUB_SINK, "{ " NOBODY ", topic: t, librdkafka: { qwertzuiop: \"5\" } }", "librdkafka[\"qwertzuiop\"]",
            "has no property qwertzuiop");
    refused(STUB_SINK, "{ " NOBODY ", topic: t, librdkafka: { linger.ms: soon } }", "librdkafka[\"linger.ms\"]",
            "Invalid value");
}

static void what_delivery_rests_on_cannot_be_changed(void **state)
{
    (void)state;
    refused(STUB_SINK, "{ " NOBODY ", topic: t, librdkafka: { enable.idempotence: \"false\" } }",
            "librdkafka[\"enable.idempotence\"]", "a lost acknowledgement writes records twice");
    refused(STUB_SINK, "{ " NOBODY ", topic: t, librdkafka: { acks: \"1\" } }", "librdkafka[\"acks\"]",
            "cannot be set here");
    refused(STUB_SINK, "{ " NOBODY ", topic: t, librdkafka: { delivery.timeout.ms: \"30000\" } }",
            "librdkafka[\"delivery.timeout.ms\"]", "records are never given up on");
    refused(STUB_SOURCE, "{ " NOBODY ", topics: [t], group: g, librdkafka: { enable.auto.commit: \"true\" } }",
            "librdkafka[\"enable.auto.commit\"]", "committed once their records are delivered");
    refused(STUB_SOURCE, "{ " NOBODY ", topics: [t], group: g, librdkafka: { group.id: x } }",
            "librdkafka[\"group.id\"]", "use the option group");
}

static void settings_that_change_nothing_are_accepted(void **state)
{
    (void)state;
    accepted(STUB_SINK, "{ " NOBODY ", topic: t, librdkafka: { acks: all, enable.idempotence: \"true\" } }");
    accepted(STUB_SOURCE, "{ " NOBODY ", topics: [t], group: g, librdkafka: { enable.auto.commit: \"false\" } }");
    /* `defaults` are shared: a property of the other side is nobody's mistake. */
    accepted(STUB_SOURCE, "{ " NOBODY ", topics: [t], group: g, librdkafka: { linger.ms: \"5\", acks: \"1\" } }");
    accepted(STUB_SINK, "{ " NOBODY ", topic: t, librdkafka: { session.timeout.ms: \"6000\" } }");
}

static void names_of_topics_are_checked(void **state)
{
    (void)state;
    refused(STUB_SINK, "{ " NOBODY ", topic: \"a b\" }", "topic", "'a b' cannot be the name of a topic");
    refused(STUB_SOURCE, "{ " NOBODY ", topics: [good, \"b/d\"], group: g }", "topics[1]", "'b/d' cannot be");
    refused(STUB_SOURCE, "{ " NOBODY ", topics: [..], group: g }", "topics[0]", "'..' cannot be");
    accepted(STUB_SOURCE, "{ " NOBODY ", topics: [\"^price[.].*\", a.b_c-1], group: g }");
    accepted(STUB_SINK, "{ " NOBODY ", topic: \"price.{pair}\" }");
    refused(STUB_SINK, "{ brokers: [\"a:1\", \"\"], topic: t }", "brokers[1]", "an empty broker");
}

static void scram_is_warned_of_by_version(void **state)
{
    (void)state;
    stub *host = stub_open("kafka", STUB_SINK);
    stub_create(host, "{ " NOBODY ", topic: t, librdkafka: { security.protocol: SASL_PLAINTEXT, "
                      "sasl.mechanisms: SCRAM-SHA-512, sasl.username: u, sasl.password: geheim } }");
    /* Whether it applies depends on the librdkafka this runs with; the password is never in a log either way. */
    for (size_t i = 0; i < host->log_count; i++)
        assert_null(strstr(host->logs[i], "geheim"));
    stub_close(&host);
}

static void nobody_answers_and_that_is_said_once(void **state)
{
    (void)state;
    STARTS_CLIENT;
    struct timespec begun;
    stub *host = stub_open("kafka", STUB_SINK);
    host->real_time = true;
    stub_create(host, "{ " NOBODY ", topic: t }");
    assert_int_equal(stub_write(host, (const char *[]){"{\"n\":1}", "{\"n\":2}", NULL}), PL_OK);
    (void)clock_gettime(CLOCK_MONOTONIC, &begun);
    while (elapsed_ms(&begun) < 1500)
        assert_int_equal(stub_flush(host), PL_AGAIN);
    assert_int_equal(stub_count(host, STUB_OUT), 2);
    assert_int_equal(stub_logged_count(host, "no broker of 127.0.0.1:1 answers"), 1);
    (void)clock_gettime(CLOCK_MONOTONIC, &begun);
    stub_destroy(host);
    assert_true(elapsed_ms(&begun) < 5000);
    assert_int_equal(stub_count(host, STUB_OUT), 2);
    stub_close(&host);
}

static void source_waits_for_a_broker_and_ends_when_told(void **state)
{
    (void)state;
    STARTS_CLIENT;
    struct timespec begun;
    stub *host = stub_open("kafka", STUB_SOURCE);
    host->real_time = true;
    stub_create(host, "{ " NOBODY ", topics: [t], group: g, create_topic: { partitions: 2 } }");
    (void)clock_gettime(CLOCK_MONOTONIC, &begun);
    while (elapsed_ms(&begun) < 1500) {
        struct timespec call;
        (void)clock_gettime(CLOCK_MONOTONIC, &call);
        assert_int_not_equal(stub_next(host), PL_FAILED);
        assert_true(elapsed_ms(&call) < 5000);
    }
    assert_int_equal(host->emitted_count, 0);
    assert_int_equal(stub_logged_count(host, "no broker of 127.0.0.1:1 answers"), 1);
    stub_close(&host);
}

static void joined_topics_want_the_strategy_that_keeps_a_key_together(void **state)
{
    (void)state;
    const char *const parted = "librdkafka: { partition.assignment.strategy: roundrobin }";
    char with[256];
    (void)snprintf(with, sizeof with, "{ " NOBODY ", topics: [a, b], group: g, copartitioned: true, %s }", parted);
    refused(STUB_SOURCE, with, "librdkafka[\"partition.assignment.strategy\"]", "strategy range");
    (void)snprintf(with, sizeof with, "{ " NOBODY ", topics: [a], group: g, copartitioned: true, %s }", parted);
    accepted(STUB_SOURCE, with);
    (void)snprintf(with, sizeof with, "{ " NOBODY ", topics: [a, b], group: g, %s }", parted);
    accepted(STUB_SOURCE, with); /* auto: until a state is to be rebuilt */
}

/* ---- "pl.provision/1" -------------------------------------------------------------- */

/* A line a resource: flags, name, and properties with the option they come from. */
static void note(void *to, const pl_resource *said)
{
    char *text = to;
    size_t used = strlen(text);
    used += (size_t)snprintf(text + used, 1024 - used, "%u %s %s %s %s:", said->flags, said->kind, said->place,
                             said->name, said->relies ? said->relies : "-");
    for (uint32_t i = 0; i < said->property_count; i++) {
        const pl_property *p = &said->properties[i];
        used += (size_t)snprintf(text + used, 1024 - used, " %s=%s@%s/%u", p->name, p->value, p->option, p->flags);
    }
    (void)snprintf(text + used, 1024 - used, "\n");
}

static void lists(stub_side side, const char *with, const char *expected)
{
    char text[1024] = "";
    stub *host = stub_open("kafka", side);
    stub_create(host, with);
    const pl_provision *provision = host->component->extension(NULL, "pl.provision/1");
    assert_non_null(provision);
    assert_int_equal(provision->list(host->config, note, text, &host->error), PL_OK);
    assert_string_equal(text, expected);
    stub_close(&host);
}

static void topics_are_listed_as_the_config_declares_them(void **state)
{
    (void)state;
    lists(STUB_SOURCE,
          "{ brokers: [a:1, b:2], topics: [x, ^y], group: g, create_topic: { partitions: 3, config: { r.ms: 5 } } }",
          "1 topic a:1,b:2 x -: partitions=3@create_topic.partitions/1 replication=1@create_topic.replication/0 "
          "r.ms=5@create_topic.config[\"r.ms\"]/0\n"
          "2 topic a:1,b:2 ^y -: partitions=3@create_topic.partitions/1 replication=1@create_topic.replication/0 "
          "r.ms=5@create_topic.config[\"r.ms\"]/0\n");
    lists(STUB_SOURCE, "{ " NOBODY ", topics: [x], group: g, copartitioned: false }", "4 topic 127.0.0.1:1 x -:\n");
    lists(STUB_SINK, "{ " NOBODY ", topic: x, key: pair }",
          "0 topic 127.0.0.1:1 x key: pair: partitioner=murmur2_random@partitioner/9\n");
    lists(STUB_SINK, "{ " NOBODY ", topic: \"x.{pair}\", create_topic: {} }",
          "2 topic 127.0.0.1:1 x.{pair} -: partitions=1@create_topic.partitions/1 "
          "replication=1@create_topic.replication/0 partitioner=murmur2_random@partitioner/9\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_property_names_the_nearest),
        cmocka_unit_test(what_delivery_rests_on_cannot_be_changed),
        cmocka_unit_test(settings_that_change_nothing_are_accepted),
        cmocka_unit_test(names_of_topics_are_checked),
        cmocka_unit_test(joined_topics_want_the_strategy_that_keeps_a_key_together),
        cmocka_unit_test(topics_are_listed_as_the_config_declares_them),
        cmocka_unit_test(scram_is_warned_of_by_version),
        cmocka_unit_test(nobody_answers_and_that_is_said_once),
        cmocka_unit_test(source_waits_for_a_broker_and_ends_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
