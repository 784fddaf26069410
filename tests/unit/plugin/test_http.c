/* pl_http_client against real sockets on loopback: a small server whose behaviour is chosen by the path asked for. */
#include "support_server.h"

#include <arpa/inet.h>
#include <base/clock.h>
#include <base/mem.h>
#include <netinet/in.h>
#include <plugin/http.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const int64_t second = 1000000000;

/* ---- Helpers ------------------------------------------------------------ */

static int64_t fixed_unix_ns(const pl_clock *clock)
{
    (void)clock;
    return 1650189600 * second + 1; /* 2022-04-17T10:00:00.000000001Z */
}
static int64_t fixed_now_ns(const pl_clock *clock)
{
    (void)clock;
    return 1;
}
static const pl_clock fixed_clock = {fixed_now_ns, fixed_unix_ns};
static int64_t monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * second + now.tv_nsec;
}

static pl_http_client *client;
static pl_error error;
static pl_str reply;

static int make_client(void **state)
{
    (void)state;
    client = pl_http_client_new(&fixed_clock);
    error = (pl_error){.struct_size = sizeof error};
    reply = (pl_str){0};
    return client ? 0 : 1;
}
static int drop_client(void **state)
{
    (void)state;
    pl_http_client_free(&client);
    assert_null(client);
    pl_http_client_free(&client); /* and again: allowed */
    return 0;
}

static pl_status get_from(uint16_t port, const char *path, int64_t timeout_ns)
{
    char url[512];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u%s", port, path);
    return pl_http_request(client, PL_S("GET"), PL_S(url), NULL, 0, (pl_str){0}, timeout_ns, &reply, &error);
}
static pl_status get(const char *path)
{
    return get_from(server_port(), path, 5 * second);
}
static void assert_message(const char *part)
{
    if (!strstr(error.message, part))
        fail_msg("'%s' is not in the message: %s", part, error.message);
}
static void assert_no_message(const char *part)
{
    if (strstr(error.message, part))
        fail_msg("'%s' is in the message: %s", part, error.message);
}
static bool reply_has(const char *part)
{
    return memmem(reply.ptr, reply.len, part, strlen(part)) != NULL;
}

/* ---- Tests -------------------------------------------------------------- */

static void sends_the_request_as_told(void **state)
{
    (void)state;
    pl_field headers[] = {{PL_S("X-Key"), {.type = PL_STR, .as.s = PL_S("abc")}},
                          {PL_S("X-Empty"), {.type = PL_STR, .as.s = PL_S("")}}};
    char url[128];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/echo?a=b", server_port());
    assert_int_equal(
        pl_http_request(client, PL_S("POST"), PL_S(url), headers, 2, PL_S("{\"id\":1}"), second, &reply, &error),
        PL_OK);
    assert_true(reply_has("POST /echo?a=b HTTP/1.1\r\n"));
    assert_true(reply_has("X-Key: abc\r\n"));
    assert_true(reply_has("X-Empty:\r\n"));
    assert_true(reply_has("User-Agent: plumbline/"));
    assert_true(reply_has("\r\n\r\n{\"id\":1}"));
    assert_false(reply_has("Expect"));
}

static void keeps_its_connection_and_its_answers(void **state)
{
    (void)state;
    int before = server_accepted();
    assert_int_equal(get("/echo?first"), PL_OK);
    pl_str first = reply;
    assert_int_equal(get("/status/404"), PL_FAILED);
    assert_int_equal(get("/echo?second"), PL_OK);
    assert_int_equal(server_accepted(), before + 1);
    assert_memory_equal(first.ptr, "GET /echo?first", 15);
    assert_memory_equal(reply.ptr, "GET /echo?second", 16);
    pl_http_client_release_answers(client);
    assert_int_equal(get("/empty"), PL_OK);
    assert_non_null(reply.ptr);
    assert_int_equal(reply.len, 0);
}

static void status_decides_the_class(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        int32_t code, error_class;
    } cases[] = {{"/status/429", 429, PL_RETRY},  {"/status/402", 402, PL_RETRY},  {"/status/408", 408, PL_RETRY},
                 {"/status/500", 500, PL_RETRY},  {"/status/503", 503, PL_RETRY},  {"/status/401", 401, PL_HALT},
                 {"/status/403", 403, PL_HALT},   {"/status/404", 404, PL_REJECT}, {"/status/422", 422, PL_REJECT},
                 {"/status/301", 301, PL_REJECT}, {"/status/308", 308, PL_REJECT}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(get(cases[i].path), PL_FAILED);
        assert_int_equal(error.code, cases[i].code);
        assert_int_equal(error.error_class, cases[i].error_class);
        assert_int_equal(error.retry_after_ms, 0);
        assert_null(reply.ptr);
    }
    assert_int_equal(get("/status/404"), PL_FAILED);
    assert_message("answered 404 Not Found: {\"error\":\"id not found\"}");
    assert_int_equal(get("/html"), PL_FAILED);
    assert_message("answered 503 Service Unavailable");
    assert_no_message("<");
    assert_int_equal(get("/status/301"), PL_FAILED);
    assert_message("a redirect to https://elsewhere.example; redirects are not followed");
}

static void retry_after_is_seconds_or_a_date(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        uint32_t ms;
    } cases[] = {{"/retry/30", 30000},
                 {"/retry/0", 0},
                 {"/retry/soon", 0},
                 {"/retry/99999999999999999999", 86400000},
                 {"/retry/Sun,+17+Apr+2022+10:02:00+GMT", 120000},
                 {"/retry/Sun,+17+Apr+2022+09:59:00+GMT", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(get(cases[i].path), PL_FAILED);
        assert_int_equal(error.error_class, PL_RETRY);
        assert_int_equal(error.retry_after_ms, cases[i].ms);
    }
    assert_int_equal(get("/retry/30"), PL_FAILED);
    assert_message("again in 30 s: Throttled");
    assert_int_equal(get("/status/429"), PL_FAILED);
    assert_int_equal(error.retry_after_ms, 0); /* not what the request before left there */
}

static void messages_hold_no_secret(void **state)
{
    (void)state;
    pl_field header = {PL_S("x-key"), {.type = PL_STR, .as.s = PL_S("Bearer s3cret-key-in-header")}};
    char url[128];
    (void)snprintf(url, sizeof url, "http://user:passw0rd@127.0.0.1:%u/leak/path-key?api_key=query-key", server_port());
    assert_int_equal(pl_http_request(client, PL_S("GET"), PL_S(url), &header, 1, (pl_str){0}, second, &reply, &error),
                     PL_FAILED);
    assert_message("answered 404 Not Found");
    static const char *const secrets[] = {"s3cret", "passw0rd", "path-key", "query-key", "user"};
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
        assert_no_message(secrets[i]);
    assert_int_equal(get("/status/404?found%20it"), PL_FAILED);
    assert_message("id not found"); /* no part of the URL that could be a key */
}

static void refuses_what_is_no_request(void **state)
{
    (void)state;
    static const char *const urls[] = {"",        "file:///etc/passwd", "ftp://127.0.0.1/", "127.0.0.1/x",
                                       "http://", "http://a b/"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        assert_int_equal(
            pl_http_request(client, PL_S("GET"), PL_S(urls[i]), NULL, 0, (pl_str){0}, second, &reply, &error),
            PL_FAILED);
        assert_int_equal(error.error_class, PL_BAD_CONFIG);
    }
    pl_field header = {PL_S("x-key"), {.type = PL_STR, .as.s = PL_S("a\r\nHost: b")}};
    assert_int_equal(
        pl_http_request(client, PL_S("GET"), PL_S("http://127.0.0.1"), &header, 1, (pl_str){0}, second, &reply, &error),
        PL_FAILED);
    assert_int_equal(error.error_class, PL_BAD_CONFIG);
    assert_int_equal(
        pl_http_request(client, PL_S("PUT"), PL_S("http://127.0.0.1"), NULL, 0, (pl_str){0}, second, &reply, &error),
        PL_FAILED);
    assert_int_equal(error.error_class, PL_BAD_CONFIG);
}

static void bounds_what_it_reads(void **state)
{
    (void)state;
    static const char *const paths[] = {"/endless", "/gzip-bomb", "/headers"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        assert_int_equal(get(paths[i]), PL_FAILED);
        assert_int_equal(error.error_class, PL_REJECT);
        assert_message("sent more than 4 MiB");
    }
    assert_int_equal(get("/cap"), PL_OK);
    assert_int_equal(reply.len, PL_HTTP_ANSWER_MAX);
    for (int i = 1; i < PL_HTTP_HELD_MAX / PL_HTTP_ANSWER_MAX; i++)
        assert_int_equal(get("/cap"), PL_OK);
    assert_int_equal(get("/cap"), PL_FAILED);
    assert_message("32 MiB of answers at once");
    pl_http_client_release_answers(client);
    assert_int_equal(get("/cap"), PL_OK);
}

static void decompresses(void **state)
{
    (void)state;
    assert_int_equal(get("/gzip-small"), PL_OK);
    assert_int_equal(reply.len, 2581);
    assert_int_equal(reply.ptr[2580], ' ');
    assert_int_equal(get("/gzip-broken"), PL_FAILED);
    assert_int_equal(error.error_class, PL_REJECT);
    assert_message("does not decompress");
}

static void broken_exchanges_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(get("/truncated"), PL_FAILED);
    assert_int_equal(error.error_class, PL_RETRY);
    assert_message("broke the connection off");
    assert_int_equal(get("/reset"), PL_FAILED);
    assert_int_equal(error.error_class, PL_RETRY);
    assert_int_equal(get("/garbage"), PL_FAILED);
    assert_int_equal(error.error_class, PL_REJECT);
    assert_message("did not answer in HTTP");
    assert_int_equal(get_from(server_port(), "/slow", second / 4), PL_FAILED);
    assert_int_equal(error.error_class, PL_RETRY);
    assert_message("did not answer in time");
    assert_int_equal(get_from(server_port(), "/never", second / 4), PL_FAILED);
    assert_int_equal(error.error_class, PL_RETRY);
    uint16_t port;
    int listener = server_listen(1, &port);
    (void)close(listener); /* nobody listens there now */
    assert_int_equal(get_from(port, "/", second), PL_FAILED);
    assert_int_equal(error.error_class, PL_RETRY);
    assert_int_equal(error.code, 0);
    assert_int_equal(get("/echo"), PL_OK); /* the client works on */
}

static void *interrupt_soon(void *context)
{
    (void)context;
    (void)poll(NULL, 0, 100);
    pl_http_client_interrupt(client);
    return NULL;
}

/* Generous: the promise is 200 ms, a busy test machine gets 3 s; without interrupt it would take 60 s. */
static void assert_interrupted(uint16_t port, const char *path)
{
    pthread_t thread;
    int64_t start = monotonic_ns();
    assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, NULL), 0);
    assert_int_equal(get_from(port, path, 60 * second), PL_FAILED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(monotonic_ns() - start < 3 * second);
    assert_int_equal(error.error_class, PL_RETRY);
    assert_message("stopped while waiting for 127.0.0.1");
    assert_int_equal(get("/echo"), PL_FAILED); /* sticky */
    assert_message("stopped while waiting");
}

static void interrupt_ends_a_silent_request(void **state)
{
    (void)state;
    assert_interrupted(server_port(), "/never");
}

static void interrupt_ends_an_answer_in_the_middle(void **state)
{
    (void)state;
    assert_interrupted(server_port(), "/slow");
}

/* A listener that never accepts: first connections wait in its queue, then the kernel drops the SYN. */
static void interrupt_ends_a_connect(void **state)
{
    (void)state;
    uint16_t port;
    int listener = server_listen(0, &port), fillers[3];
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < 3; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        assert_true(fillers[i] >= 0);
        (void)connect(fillers[i], (struct sockaddr *)&address, sizeof address);
    }
    assert_interrupted(port, "/");
    for (int i = 0; i < 3; i++)
        (void)close(fillers[i]);
    (void)close(listener);
}

static void interrupt_before_the_first_request_holds(void **state)
{
    (void)state;
    pl_http_client_interrupt(client);
    pl_http_client_interrupt(client);
    assert_int_equal(get("/never"), PL_FAILED);
    assert_message("stopped while waiting");
}

/* Each allocation of a request fails in turn: an error that may be tried again, and no leak (ASan looks). */
static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    pl_field header = {PL_S("X-Key"), {.type = PL_STR, .as.s = PL_S("abc")}};
    char url[128];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/echo", server_port());
    pl_status status = PL_FAILED;
    int failures = 0;
    for (long after = 0; status != PL_OK && after < 50; after++) {
        pl_mem_fail_after(after);
        status = pl_http_request(client, PL_S("GET"), PL_S(url), &header, 1, (pl_str){0}, 5 * second, &reply, &error);
        pl_mem_fail_after(-1);
        failures += status != PL_OK;
        if (status != PL_OK)
            assert_int_equal(error.error_class, PL_RETRY);
    }
    assert_int_equal(status, PL_OK);
    assert_true(failures >= 3); /* the URL's copy, a header line, the answer and its place in the list */
    assert_true(reply_has("X-Key: abc"));
}

#define WITH_CLIENT(test) cmocka_unit_test_setup_teardown(test, make_client, drop_client)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CLIENT(sends_the_request_as_told),
        WITH_CLIENT(keeps_its_connection_and_its_answers),
        WITH_CLIENT(status_decides_the_class),
        WITH_CLIENT(retry_after_is_seconds_or_a_date),
        WITH_CLIENT(messages_hold_no_secret),
        WITH_CLIENT(refuses_what_is_no_request),
        WITH_CLIENT(bounds_what_it_reads),
        WITH_CLIENT(decompresses),
        WITH_CLIENT(broken_exchanges_are_told_apart),
        WITH_CLIENT(interrupt_ends_a_silent_request),
        WITH_CLIENT(interrupt_ends_an_answer_in_the_middle),
        WITH_CLIENT(interrupt_ends_a_connect),
        WITH_CLIENT(interrupt_before_the_first_request_holds),
        WITH_CLIENT(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, server_start, server_stop);
}
