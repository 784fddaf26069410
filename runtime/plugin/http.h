/* HTTP for plugins: what stands behind "pl.http/1" in plumbline/plugin.h, whose comment on pl_http is the contract of
 * pl_http_request. One client an instance; it keeps its connections alive between requests. */
#ifndef PL_PLUGIN_HTTP_H
#define PL_PLUGIN_HTTP_H
#include <base/clock.h>
#include <plumbline/plugin.h>

enum {
    PL_HTTP_ANSWER_MAX = 4 << 20, /* bytes of one answer, after decoding */
    PL_HTTP_HELD_MAX = 32 << 20,  /* bytes of all answers that await release */
    PL_HTTP_HEADERS_MAX = 64,     /* header lines a request may add */
    PL_HTTP_RETRY_AFTER_MAX_S = 24 * 60 * 60
};

typedef struct pl_http_client pl_http_client;

/* [any] Cheap: libcurl is first touched by the first request. clock is borrowed and dates Retry-After. NULL: no memory.
 * Free with pl_http_client_free. */
pl_http_client *pl_http_client_new(const pl_clock *clock);

/* [worker] One request at a time a client. method "GET" or "POST"; a GET has no body. timeout_ns covers the whole
 * exchange; 0 or less: 30 s. On PL_OK *answer, never null, lives until the next release; *answer is untouched
 * otherwise. Beyond the classes of pl_http: a URL that is not http or https, and a header that is not one line, are
 * PL_BAD_CONFIG; an answer that redirects is PL_REJECT; an interrupted request is PL_RETRY. Messages name the host and
 * never hold the rest of the URL, a header, or an answer that repeats a part of either. */
pl_status pl_http_request(pl_http_client *client, pl_str method, pl_str url, const pl_field *headers,
                          uint32_t header_count, pl_str body, int64_t timeout_ns, pl_str *answer, pl_error *error);

/* [any] Sticky: the request that runs, and all later ones, return within 200 ms. */
void pl_http_client_interrupt(pl_http_client *client);

/* [worker] Frees the answers given so far; for the host, when next or poll returned. */
void pl_http_client_release_answers(pl_http_client *client);

/* [main] After the last request returned. Frees all that the client holds and sets *client to NULL; NULL is allowed. */
void pl_http_client_free(pl_http_client **client);
#endif
