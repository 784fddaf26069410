/* A stand-in for "pl.http/1" in plugin unit tests: it keeps what was asked and gives the answers a test queued. What
 * HTTP itself does is tested in tests/unit/plugin/test_http.c and by the scenarios on the simulated market. */
#ifndef PL_TEST_SUPPORT_WEB_H
#define PL_TEST_SUPPORT_WEB_H
#include "support_host.h"

enum { WEB_MAX = 64 };
typedef struct web_request {
    char *method, *url, *headers /* "name: value\n" each */, *body;
    int64_t timeout_ns;
} web_request;

/* Takes the place of the host's "pl.http/1"; call before stub_create. Forgets what was queued and asked. */
void web_install(stub *host);
/* Queues the next answer (copied). Answers come in the order of the requests; one too few fails the test. */
void web_answer(const char *body);
/* Queues a failure. */
void web_fail(int32_t error_class, int32_t code, const char *message);
/* Instead of the queue: makes an answer (malloc'ed) for each request. NULL: back to the queue. */
void web_serve(char *(*make)(const web_request *request));
size_t web_count(void);
const web_request *web_asked(size_t i);
/* Frees all; in the test's teardown, after stub_close. */
void web_clear(void);
#endif
