/* One request and its answer, inside pl_http_client: what came back, and how a failure is told. */
#ifndef PL_PLUGIN_HTTP_EXCHANGE_H
#define PL_PLUGIN_HTTP_EXCHANGE_H
#include <base/buf.h>
#include <base/clock.h>
#include <plugin/libcurl.h>

enum { PL_HTTP_PLACE_MAX = 128 };

typedef struct pl_http_exchange {
    CURL *easy;
    const char *url; /* NUL-ended */
    const pl_field *headers;
    uint32_t header_count;
    int64_t timeout_ns;
    pl_buf answer;
    size_t header_bytes;           /* of the answer, all lines */
    bool too_large;                /* the answer, or its header, went over the limit */
    bool interrupted;              /* stopped before it was done; result means nothing then */
    CURLcode result;               /* of the transfer */
    long status;                   /* HTTP status, 0: none came */
    char place[PL_HTTP_PLACE_MAX]; /* "host" or "host:port" */
    char reason[CURL_ERROR_SIZE];  /* libcurl's own words */
} pl_http_exchange;

/* [worker] Checks the scheme and the host of exchange->url and fills exchange->place; PL_BAD_CONFIG. */
pl_status pl_http_locate(pl_http_exchange *exchange, pl_error *error);

/* [worker] After the transfer, while exchange->easy still holds it: PL_OK for a whole 2xx answer, else PL_FAILED with
 * the class, code, Retry-After and message. */
pl_status pl_http_judge(const pl_http_exchange *exchange, const pl_clock *clock, pl_error *error);
#endif
