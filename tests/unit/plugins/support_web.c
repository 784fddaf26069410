#include "support_web.h"

#include <stdlib.h>

typedef struct web_reply {
    char *body; /* NULL: a failure */
    pl_error error;
} web_reply;

static struct {
    web_reply replies[WEB_MAX];
    web_request asked[WEB_MAX];
    char *given[WEB_MAX]; /* by web_serve; kept until web_clear */
    size_t reply_count, asked_count;
    char *(*make)(const web_request *request);
} web;

static char *copy(pl_str text)
{
    char *made = malloc(text.len + 1);
    assert_non_null(made);
    if (text.len)
        memcpy(made, text.ptr, text.len);
    made[text.len] = '\0';
    return made;
}

static char *copy_headers(const pl_field *headers, uint32_t count)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(headers[i].value.type, PL_STR);
        (void)fprintf(out, "%.*s: %.*s\n", (int)headers[i].name.len, headers[i].name.ptr,
                      (int)headers[i].value.as.s.len, headers[i].value.as.s.ptr);
    }
    assert_int_equal(fclose(out), 0);
    return text;
}

static pl_status request(const pl_host *host, pl_str method, pl_str url, const pl_field *headers, uint32_t header_count,
                         pl_str body, int64_t timeout_ns, pl_str *answer, pl_error *error)
{
    (void)host;
    size_t index = web.asked_count;
    assert_true(index < WEB_MAX);
    web.asked[index] =
        (web_request){copy(method), copy(url), copy_headers(headers, header_count), copy(body), timeout_ns};
    web.asked_count++;
    if (web.make) {
        web.given[index] = web.make(&web.asked[index]);
        *answer = PL_S(web.given[index]);
        return PL_OK;
    }
    if (index >= web.reply_count)
        fail_msg("request %zu was not expected: %s", index + 1, web.asked[index].url);
    const web_reply *reply = &web.replies[index];
    if (reply->body) {
        *answer = PL_S(reply->body);
        return PL_OK;
    }
    error->code = reply->error.code;
    return pl_fail(error, reply->error.error_class, "%s", reply->error.message);
}

void web_install(stub *host)
{
    static const pl_http http = {sizeof http, request};
    web_clear();
    stub_extension(host, "pl.http/1", &http);
}

void web_answer(const char *body)
{
    assert_true(web.reply_count < WEB_MAX);
    web.replies[web.reply_count++].body = copy(PL_S(body));
}

void web_fail(int32_t error_class, int32_t code, const char *message)
{
    assert_true(web.reply_count < WEB_MAX);
    pl_error *error = &web.replies[web.reply_count++].error;
    error->code = code;
    (void)pl_fail(error, error_class, "%s", message);
}

void web_serve(char *(*make)(const web_request *request))
{
    web.make = make;
}

size_t web_count(void)
{
    return web.asked_count;
}

const web_request *web_asked(size_t i)
{
    assert_true(i < web.asked_count);
    return &web.asked[i];
}

void web_clear(void)
{
    for (size_t i = 0; i < web.asked_count; i++) {
        free(web.asked[i].method);
        free(web.asked[i].url);
        free(web.asked[i].headers);
        free(web.asked[i].body);
        free(web.given[i]);
    }
    for (size_t i = 0; i < web.reply_count; i++)
        free(web.replies[i].body);
    memset(&web, 0, sizeof web);
}
