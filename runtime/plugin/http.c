#include <base/mem.h>
#include <plugin/http.h>
#include <plugin/http_exchange.h>
#include <plumbline/version.h>
#include <pthread.h>
#include <stdatomic.h>

#define MAGIC 0x48545450u /* "HTTP" */
#define NS_PER_MS 1000000

enum {
    TIMEOUT_DEFAULT_MS = 30000,
    TIMEOUT_MAX_MS = 24 * 60 * 60 * 1000,
    LOW_SPEED_BYTES_PER_S = 64,
    LOW_SPEED_S = 30,
    ANSWER_HEADER_MAX = 256 << 10, /* libcurl 7.88 bounds one line but not their number */
    FAILED_ANSWER_MAX = 16 << 10,  /* of an answer that is not 2xx no more than this is read */
    HEADER_LINE_MAX = 16 << 10,
    URL_MAX = 16 << 10,
    KEPT_CONNECTIONS = 4,
    POLL_MS = 1000
};

typedef struct held_answer {
    struct held_answer *next;
    pl_buf bytes;
} held_answer;

struct pl_http_client {
    uint32_t magic;
    const pl_clock *clock;
    pthread_mutex_t lock; /* of `multi` being born against interrupt */
    atomic_bool interrupted;
    CURLM *multi;
    CURL *easy;
    held_answer *held;
    size_t held_bytes;
};

pl_http_client *pl_http_client_new(const pl_clock *clock)
{
    pl_http_client *client = pl_calloc(1, sizeof *client);
    if (!client)
        return NULL;
    client->magic = MAGIC;
    client->clock = clock;
    atomic_init(&client->interrupted, false);
    if (pthread_mutex_init(&client->lock, NULL) != 0) {
        pl_free(client);
        return NULL;
    }
    return client;
}

void pl_http_client_interrupt(pl_http_client *client)
{
    pthread_mutex_lock(&client->lock);
    atomic_store(&client->interrupted, true);
    if (client->multi)
        (void)libcurl.multi_wakeup(client->multi); /* also ends the curl_multi_poll that has not begun yet */
    pthread_mutex_unlock(&client->lock);
}

void pl_http_client_release_answers(pl_http_client *client)
{
    while (client->held) {
        held_answer *first = client->held;
        client->held = first->next;
        pl_buf_release(&first->bytes);
        pl_free(first);
    }
    client->held_bytes = 0;
}

void pl_http_client_free(pl_http_client **client)
{
    if (!client || !*client)
        return;
    pl_http_client_release_answers(*client);
    if ((*client)->easy)
        libcurl.easy_cleanup((*client)->easy);
    if ((*client)->multi)
        (void)libcurl.multi_cleanup((*client)->multi);
    pthread_mutex_destroy(&(*client)->lock);
    (*client)->magic = 0;
    pl_free(*client);
    *client = NULL;
}

/* The handles are made by the first request: loading and starting libcurl and OpenSSL take 15 ms, which a pipeline
 * without HTTP, and `check`, need not pay. */
static pl_status open_handles(pl_http_client *client, pl_error *error)
{
    if (pl_libcurl_load(error) != PL_OK)
        return PL_FAILED;
    pthread_mutex_lock(&client->lock);
    if (!client->multi && (client->multi = libcurl.multi_init()))
        (void)libcurl.multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS);
    pthread_mutex_unlock(&client->lock);
    if (!client->easy)
        client->easy = libcurl.easy_init();
    if (!client->multi || !client->easy)
        return pl_fail(error, PL_RETRY, "no memory for an HTTP request");
    return PL_OK;
}

/* CURLOPT_MAXFILESIZE bounds neither chunked nor compressed answers: what arrives, decoded, is counted here. */
static size_t take_answer(char *bytes, size_t size, size_t count, void *context)
{
    pl_http_exchange *exchange = context;
    size_t len = size * count;
    long status = 0;
    (void)libcurl.easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
    size_t limit = status >= 200 && status < 300 ? PL_HTTP_ANSWER_MAX : FAILED_ANSWER_MAX;
    if (len > limit - exchange->answer.len) {
        exchange->too_large = true;
        return 0; /* not len: libcurl stops */
    }
    pl_buf_add(&exchange->answer, bytes, len);
    return pl_buf_failed(&exchange->answer) ? 0 : len;
}

static size_t take_header(char *bytes, size_t size, size_t count, void *context)
{
    (void)bytes;
    pl_http_exchange *exchange = context;
    size_t len = size * count;
    exchange->header_bytes += len;
    if (exchange->header_bytes > ANSWER_HEADER_MAX) {
        exchange->too_large = true;
        return 0;
    }
    return len;
}

/* A line break inside a header would let a value add headers of its own. */
static bool one_line(pl_str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == '\r' || text.ptr[i] == '\n' || text.ptr[i] == '\0')
            return false;
    return true;
}

static pl_status add_header(struct curl_slist **list, const pl_field *header, uint32_t number, pl_error *error)
{
    pl_str name = header->name, value = header->value.as.s;
    if (header->value.type != PL_STR || name.len == 0 || memchr(name.ptr, ':', name.len) || !one_line(name) ||
        !one_line(value))
        return pl_fail(error, PL_BAD_CONFIG, "header %u is not a name and one line of text", number + 1);
    if (name.len + value.len > HEADER_LINE_MAX)
        return pl_fail(error, PL_BAD_CONFIG, "header %u is longer than %d bytes", number + 1, HEADER_LINE_MAX);
    pl_buf line = PL_BUF(HEADER_LINE_MAX + 8);
    pl_buf_add(&line, name.ptr, name.len);
    pl_buf_adds(&line, value.len ? ": " : ";"); /* libcurl's way to write a header without a value */
    pl_buf_add(&line, value.ptr, value.len);
    struct curl_slist *longer = pl_buf_failed(&line) ? NULL : libcurl.slist_append(*list, line.data);
    pl_buf_release(&line);
    if (!longer)
        return pl_fail(error, PL_RETRY, "no memory for an HTTP request");
    *list = longer;
    return PL_OK;
}

static pl_status make_headers(const pl_http_exchange *exchange, struct curl_slist **list, pl_error *error)
{
    if (exchange->header_count > PL_HTTP_HEADERS_MAX)
        return pl_fail(error, PL_BAD_CONFIG, "%u headers; at most %d are sent", exchange->header_count,
                       PL_HTTP_HEADERS_MAX);
    /* Without this a body above 1 MB waits a second for "100 Continue". */
    *list = libcurl.slist_append(NULL, "Expect:");
    if (!*list)
        return pl_fail(error, PL_RETRY, "no memory for an HTTP request");
    for (uint32_t i = 0; i < exchange->header_count; i++)
        if (add_header(list, &exchange->headers[i], i, error) != PL_OK)
            return PL_FAILED;
    return PL_OK;
}

static long timeout_ms(int64_t timeout_ns)
{
    if (timeout_ns <= 0)
        return TIMEOUT_DEFAULT_MS;
    int64_t ms = timeout_ns / NS_PER_MS;
    return ms < 1 ? 1 : ms > TIMEOUT_MAX_MS ? TIMEOUT_MAX_MS : (long)ms;
}

static CURLcode set_limits(CURL *easy, const pl_http_exchange *exchange)
{
    CURLcode code = libcurl.easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    if (code == CURLE_OK)
        code = libcurl.easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    if (code == CURLE_OK)
        code = libcurl.easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    if (code == CURLE_OK)
        code = libcurl.easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms(exchange->timeout_ns));
    if (code == CURLE_OK)
        code = libcurl.easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)LOW_SPEED_BYTES_PER_S);
    if (code == CURLE_OK)
        code = libcurl.easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)LOW_SPEED_S);
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Else removing a request that still resolves its name waits for the resolver's thread, for seconds. */
    if (code == CURLE_OK)
        code = libcurl.easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    return code;
}

static CURLcode set_request(CURL *easy, pl_http_exchange *exchange, bool post, pl_str body, struct curl_slist *headers)
{
    CURLcode code = libcurl.easy_setopt(easy, CURLOPT_URL, exchange->url);
    if (code == CURLE_OK)
        code = libcurl.easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    if (code == CURLE_OK)
        code = libcurl.easy_setopt(easy, CURLOPT_USERAGENT, "plumbline/" PL_VERSION);
    if (code == CURLE_OK)
        code = libcurl.easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
    if (code == CURLE_OK && post)
        code = libcurl.easy_setopt(easy, CURLOPT_POST, 1L);
    if (code == CURLE_OK && post)
        code = libcurl.easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    if (code == CURLE_OK && post)
        code = libcurl.easy_setopt(easy, CURLOPT_POSTFIELDS, body.ptr ? body.ptr : "");
    return code;
}

static CURLcode set_outlets(CURL *easy, pl_http_exchange *exchange)
{
    CURLcode code = libcurl.easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_answer);
    if (code == CURLE_OK)
        code = libcurl.easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    if (code == CURLE_OK)
        code = libcurl.easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    if (code == CURLE_OK)
        code = libcurl.easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
    if (code == CURLE_OK)
        code = libcurl.easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->reason);
    return code;
}

/* Runs the transfer to its end, or until interrupted; CURLOPT_TIMEOUT_MS bounds the loop. */
static pl_status transfer(pl_http_client *client, pl_http_exchange *exchange, pl_error *error)
{
    CURLMcode code = libcurl.multi_add_handle(client->multi, client->easy);
    int running = 1;
    while (code == CURLM_OK && running) {
        exchange->interrupted = atomic_load(&client->interrupted);
        if (exchange->interrupted)
            break;
        code = libcurl.multi_perform(client->multi, &running);
        if (code == CURLM_OK && running)
            code = libcurl.multi_poll(client->multi, NULL, 0, POLL_MS, NULL);
    }
    int left = 0;
    for (CURLMsg *message = libcurl.multi_info_read(client->multi, &left); message;
         message = libcurl.multi_info_read(client->multi, &left))
        if (message->msg == CURLMSG_DONE)
            exchange->result = message->data.result;
    (void)libcurl.easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &exchange->status);
    (void)libcurl.multi_remove_handle(client->multi, client->easy);
    if (code != CURLM_OK)
        return pl_fail(error, PL_RETRY, "%s: %s", exchange->place, libcurl.multi_strerror(code));
    return PL_OK;
}

static pl_status run(pl_http_client *client, pl_http_exchange *exchange, bool post, pl_str body, pl_error *error)
{
    struct curl_slist *headers = NULL;
    pl_status status = make_headers(exchange, &headers, error);
    if (status == PL_OK) {
        CURLcode code = set_limits(client->easy, exchange);
        if (code == CURLE_OK)
            code = set_request(client->easy, exchange, post, body, headers);
        if (code == CURLE_OK)
            code = set_outlets(client->easy, exchange);
        if (code != CURLE_OK)
            status = pl_fail(error, PL_RETRY, "%s: %s", exchange->place, libcurl.easy_strerror(code));
    }
    if (status == PL_OK)
        status = transfer(client, exchange, error);
    if (status == PL_OK)
        status = pl_http_judge(exchange, client->clock, error);
    libcurl.easy_reset(client->easy); /* connections stay: they belong to the multi handle */
    libcurl.slist_free_all(headers);
    return status;
}

static pl_status hold(pl_http_client *client, pl_http_exchange *exchange, pl_str *answer, pl_error *error)
{
    held_answer *node = NULL;
    if (client->held_bytes + exchange->answer.len > PL_HTTP_HELD_MAX)
        return pl_fail(error, PL_REJECT, "more than %d MiB of answers at once", PL_HTTP_HELD_MAX >> 20);
    node = pl_calloc(1, sizeof *node);
    if (!node)
        return pl_fail(error, PL_RETRY, "no memory for an HTTP answer");
    node->bytes = exchange->answer;
    exchange->answer = PL_BUF(0);
    node->next = client->held;
    client->held = node;
    client->held_bytes += node->bytes.len;
    *answer = pl_buf_str(&node->bytes);
    return PL_OK;
}

static pl_status check_method(pl_str method, pl_str body, bool *post, pl_error *error)
{
    bool get = method.len == 3 && memcmp(method.ptr, "GET", 3) == 0;
    *post = method.len == 4 && memcmp(method.ptr, "POST", 4) == 0;
    if (!get && !*post)
        return pl_fail(error, PL_BAD_CONFIG, "method must be GET or POST");
    if (get && body.len)
        return pl_fail(error, PL_BAD_CONFIG, "a GET request has no body: use POST");
    return PL_OK;
}

pl_status pl_http_request(pl_http_client *client, pl_str method, pl_str url, const pl_field *headers,
                          uint32_t header_count, pl_str body, int64_t timeout_ns, pl_str *answer, pl_error *error)
{
    bool post;
    error->code = 0;
    error->retry_after_ms = 0;
    if (client->magic != MAGIC)
        return pl_fail(error, PL_HALT, "not an HTTP client");
    if (check_method(method, body, &post, error) != PL_OK)
        return PL_FAILED;
    if (url.len == 0 || url.len > URL_MAX || memchr(url.ptr, '\0', url.len))
        return pl_fail(error, PL_BAD_CONFIG, "a URL has 1 to %d bytes of text", URL_MAX);
    if (open_handles(client, error) != PL_OK)
        return PL_FAILED;
    char *url_text = pl_strndup(url.ptr, url.len);
    if (!url_text)
        return pl_fail(error, PL_RETRY, "no memory for an HTTP request");
    pl_http_exchange exchange = {.easy = client->easy,
                                 .url = url_text,
                                 .headers = headers,
                                 .header_count = header_count,
                                 .timeout_ns = timeout_ns,
                                 .answer = PL_BUF(PL_HTTP_ANSWER_MAX + 1)};
    pl_status status = pl_http_locate(&exchange, error);
    if (status == PL_OK)
        status = run(client, &exchange, post, body, error);
    if (status == PL_OK)
        status = hold(client, &exchange, answer, error);
    pl_buf_release(&exchange.answer);
    pl_free(url_text);
    return status;
}
