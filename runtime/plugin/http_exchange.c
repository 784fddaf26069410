#include <ctype.h>
#include <plugin/http.h>
#include <plugin/http_exchange.h>
#include <stdlib.h>

#define NS_PER_S 1000000000
#define MS_PER_S 1000u

enum {
    EXCERPT_MAX = 96,
    TOKEN_MIN = 6, /* shorter parts of a URL or header are words rather than keys */
    TOKEN_MAX = 1024
};

/* host[:port] of a parsed URL; the rest of a URL may hold keys and is never shown. */
static bool host_and_port(CURLU *parsed, char out[PL_HTTP_PLACE_MAX])
{
    char *host = NULL, *port = NULL;
    bool found = libcurl.url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK && host[0];
    if (found) {
        bool ported = libcurl.url_get(parsed, CURLUPART_PORT, &port, 0) == CURLUE_OK;
        (void)snprintf(out, PL_HTTP_PLACE_MAX, "%.100s%s%s", host, ported ? ":" : "", ported ? port : "");
    }
    libcurl.free(host);
    libcurl.free(port);
    return found;
}

pl_status pl_http_locate(pl_http_exchange *exchange, pl_error *error)
{
    CURLU *parsed = libcurl.url();
    if (!parsed)
        return pl_fail(error, PL_RETRY, "no memory for an HTTP request");
    char *scheme = NULL;
    CURLUcode code = libcurl.url_set(parsed, CURLUPART_URL, exchange->url, 0);
    bool web = code == CURLUE_OK && libcurl.url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
               (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) && host_and_port(parsed, exchange->place);
    libcurl.free(scheme);
    libcurl.url_cleanup(parsed);
    if (web)
        return PL_OK;
    return pl_fail(error, PL_BAD_CONFIG, "not an http:// or https:// URL%s%s", code != CURLUE_OK ? ": " : "",
                   code != CURLUE_OK ? libcurl.url_strerror(code) : "");
}

/* RFC 9110, 10.2.3: seconds, or a date. 0 when there is none, or when it has passed. */
static uint32_t retry_after_ms(CURL *easy, const pl_clock *clock)
{
    struct curl_header *header = NULL;
    if (libcurl.easy_header(easy, "Retry-After", 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return 0;
    int64_t seconds;
    size_t digits = strspn(header->value, "0123456789");
    if (digits > 0 && header->value[digits] == '\0') {
        seconds = digits > 9 ? PL_HTTP_RETRY_AFTER_MAX_S : strtol(header->value, NULL, 10);
    } else {
        time_t date = libcurl.getdate(header->value, NULL);
        if (date == -1)
            return 0;
        /* Rounded up: a request a moment too early is refused again. */
        seconds = (int64_t)date - (clock->unix_ns(clock) / NS_PER_S);
    }
    if (seconds <= 0)
        return 0;
    return (uint32_t)(seconds < PL_HTTP_RETRY_AFTER_MAX_S ? seconds : PL_HTTP_RETRY_AFTER_MAX_S) * MS_PER_S;
}

static const char *status_name(long status)
{
    switch (status) {
    case 400:
        return " Bad Request";
    case 401:
        return " Unauthorized";
    case 402:
        return " Payment Required";
    case 403:
        return " Forbidden";
    case 404:
        return " Not Found";
    case 405:
        return " Method Not Allowed";
    case 408:
        return " Request Timeout";
    case 429:
        return " Too Many Requests";
    case 500:
        return " Internal Server Error";
    case 502:
        return " Bad Gateway";
    case 503:
        return " Service Unavailable";
    case 504:
        return " Gateway Timeout";
    default:
        return "";
    }
}

static int32_t status_class(long status)
{
    if (status == 401 || status == 403)
        return PL_HALT;
    if (status == 402 || status == 408 || status == 429 || status >= 500)
        return PL_RETRY;
    return PL_REJECT;
}

/* Whether the answer repeats a part of `text` that is long enough to be a key, as sent or percent-decoded. */
static bool repeats_part(pl_str answer, const char *text, size_t len)
{
    const char *separators = " /?&=:;,@#";
    for (size_t at = 0; at < len;) {
        size_t end = at;
        while (end < len && !strchr(separators, text[end]))
            end++;
        if (end - at > TOKEN_MAX)
            return true; /* too long to look for: assume the worst */
        if (end - at >= TOKEN_MIN) {
            int decoded_len = 0;
            char *decoded = libcurl.easy_unescape(NULL, text + at, (int)(end - at), &decoded_len);
            bool found = memmem(answer.ptr, answer.len, text + at, end - at) || !decoded ||
                         memmem(answer.ptr, answer.len, decoded, (size_t)decoded_len);
            libcurl.free(decoded);
            if (found)
                return true;
        }
        at = end + 1;
    }
    return false;
}

static bool repeats_a_secret(const pl_http_exchange *exchange, pl_str answer)
{
    const char *host = strstr(exchange->url, "://");
    const char *tail = host ? strpbrk(host + 3, "/?#") : NULL;
    const char *at_sign = host ? memchr(host, '@', tail ? (size_t)(tail - host) : strlen(host)) : NULL;
    if (tail && repeats_part(answer, tail, strlen(tail)))
        return true;
    if (at_sign && repeats_part(answer, host + 3, (size_t)(at_sign - host - 3)))
        return true;
    for (uint32_t i = 0; i < exchange->header_count; i++) {
        pl_str value = exchange->headers[i].value.as.s;
        if (repeats_part(answer, value.ptr, value.len))
            return true;
    }
    return false;
}

/* ": " and the beginning of an error's text on one line; "" for HTML, for nothing, and where it might tell a key. */
static void excerpt(const pl_http_exchange *exchange, char out[EXCERPT_MAX + 8])
{
    pl_str answer = pl_buf_str(&exchange->answer);
    size_t at = 0, len = 0;
    out[0] = '\0';
    while (at < answer.len && isspace((unsigned char)answer.ptr[at]))
        at++;
    if (at == answer.len || answer.ptr[at] == '<' || repeats_a_secret(exchange, answer))
        return;
    out[len++] = ':';
    out[len++] = ' ';
    for (; at < answer.len && len < EXCERPT_MAX; at++) {
        unsigned char byte = (unsigned char)answer.ptr[at];
        out[len++] = byte < 0x20 ? ' ' : byte < 0x7f ? (char)byte : '?';
    }
    while (out[len - 1] == ' ')
        len--;
    (void)snprintf(out + len, 8, "%s", at < answer.len ? "..." : "");
}

static pl_status judge_redirect(const pl_http_exchange *exchange, pl_error *error)
{
    char *target = NULL;
    char place[PL_HTTP_PLACE_MAX] = "";
    (void)libcurl.easy_getinfo(exchange->easy, CURLINFO_REDIRECT_URL, &target);
    CURLU *parsed = target ? libcurl.url() : NULL;
    bool known =
        parsed && libcurl.url_set(parsed, CURLUPART_URL, target, 0) == CURLUE_OK && host_and_port(parsed, place);
    libcurl.url_cleanup(parsed);
    return pl_fail(error, PL_REJECT,
                   "%s answered %ld, a redirect%s%s%s; redirects are not followed: give the final URL", exchange->place,
                   exchange->status, known ? " to " : "",
                   known ? (strncmp(target, "https", 5) == 0 ? "https://" : "http://") : "", place);
}

static pl_status judge_status(const pl_http_exchange *exchange, const pl_clock *clock, pl_error *error)
{
    char words[EXCERPT_MAX + 8], pause[48] = "";
    error->code = (int32_t)exchange->status;
    if (exchange->status >= 300 && exchange->status < 400)
        return judge_redirect(exchange, error);
    int32_t error_class = status_class(exchange->status);
    if (error_class == PL_RETRY)
        error->retry_after_ms = retry_after_ms(exchange->easy, clock);
    if (error->retry_after_ms)
        (void)snprintf(pause, sizeof pause, ", again in %u s", error->retry_after_ms / MS_PER_S);
    excerpt(exchange, words);
    return pl_fail(error, error_class, "%s answered %ld%s%s%s", exchange->place, exchange->status,
                   status_name(exchange->status), pause, words);
}

/* Everything that is not an HTTP status. libcurl's words are shown only where they hold no URL. */
static pl_status judge_transfer(const pl_http_exchange *exchange, pl_error *error)
{
    const char *words = exchange->reason[0] ? exchange->reason : libcurl.easy_strerror(exchange->result);
    switch (exchange->result) {
    case CURLE_OPERATION_TIMEDOUT:
        return pl_fail(error, PL_RETRY, "%s did not answer in time: %s", exchange->place, words);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return pl_fail(error, PL_RETRY, "%s: %s", exchange->place, words);
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
        return pl_fail(error, PL_RETRY, "%s broke the connection off: %s", exchange->place, words);
    case CURLE_BAD_CONTENT_ENCODING:
        return pl_fail(error, PL_REJECT, "%s sent an answer that does not decompress", exchange->place);
    case CURLE_UNSUPPORTED_PROTOCOL: /* pl_http_locate saw to the URL: this is a server that speaks something else */
    case CURLE_WEIRD_SERVER_REPLY:
        return pl_fail(error, PL_REJECT, "%s did not answer in HTTP", exchange->place);
    case CURLE_URL_MALFORMAT:
        return pl_fail(error, PL_BAD_CONFIG, "not an http:// or https:// URL");
    default:
        return pl_fail(error, PL_RETRY, "%s: %s", exchange->place, libcurl.easy_strerror(exchange->result));
    }
}

pl_status pl_http_judge(const pl_http_exchange *exchange, const pl_clock *clock, pl_error *error)
{
    if (exchange->interrupted)
        return pl_fail(error, PL_RETRY, "stopped while waiting for %s", exchange->place);
    /* A status other than 2xx says more than how its body broke off. */
    if (exchange->status != 0 && (exchange->status < 200 || exchange->status >= 300))
        return judge_status(exchange, clock, error);
    if (exchange->result == CURLE_OK && !exchange->too_large)
        return PL_OK;
    error->code = (int32_t)exchange->status;
    if (exchange->too_large)
        return pl_fail(error, PL_REJECT, "%s sent more than %d MiB", exchange->place, PL_HTTP_ANSWER_MAX >> 20);
    if (pl_buf_failed(&exchange->answer))
        return pl_fail(error, PL_RETRY, "no memory for the answer of %s", exchange->place);
    return judge_transfer(exchange, error);
}
