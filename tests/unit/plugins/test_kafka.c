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
    assert_int_equal(stub_try_create(host, with), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_BAD_CONFIG);
    assert_string_equal(host->error.option, option);
    if (!strstr(host->error.message, message))
        fail_msg("'%s' expected in '%s'", message, host->error.message);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_property_names_the_nearest),
        cmocka_unit_test(what_delivery_rests_on_cannot_be_changed),
        cmocka_unit_test(settings_that_change_nothing_are_accepted),
        cmocka_unit_test(names_of_topics_are_checked),
        cmocka_unit_test(scram_is_warned_of_by_version),
        cmocka_unit_test(nobody_answers_and_that_is_said_once),
        cmocka_unit_test(source_waits_for_a_broker_and_ends_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
