/* The http source: polls any URL that answers JSON and makes records of it by options alone. */
#include "config.h"
#include "mapping.h"

#include <ctype.h>
#include <stdlib.h>

#include "../common/text.h"

typedef struct request { /* of one entry of `each` */
    const char *name;    /* NULL: there is no `each` */
    char *url, *body;
    mapping mapping;
} request;

typedef struct http {
    const pl_host *host;
    const http_config *config;
    const pl_http *http;
    const pl_json *json;
    request *requests;
    size_t count;
    pl_field headers[HTTP_HEADERS_MAX + 1];
    uint32_t header_count;
} http;

/* RFC 3986: unreserved characters stay, all others become %XX. */
static void add_encoded(text_buf *out, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x80 && (isalnum(byte) || strchr("-._~", byte))) {
            text_addc(out, *text);
            continue;
        }
        const char escaped[3] = {'%', hex[byte >> 4], hex[byte & 15]};
        text_add(out, escaped, sizeof escaped);
    }
}

static char *make_url(const http_config *c, const http_entry *each)
{
    const http_entry *query = c->query.items;
    char *url = http_fill(c->url, each);
    if (!url || c->query.count == 0)
        return url;
    text_buf out = {0};
    bool first = !strchr(url, '?');
    text_adds(&out, url);
    free(url);
    for (size_t i = 0; i < c->query.count; i++) {
        text_addc(&out, first ? '?' : '&');
        add_encoded(&out, query[i].key);
        text_addc(&out, '=');
        add_encoded(&out, query[i].text);
        first = false;
    }
    if (text_end(&out))
        return out.data;
    text_release(&out);
    return NULL;
}

static void destroy(void *self_)
{
    http *self = self_;
    if (!self)
        return;
    for (size_t i = 0; self->requests && i < self->count; i++) {
        free(self->requests[i].url);
        free(self->requests[i].body);
        mapping_release(&self->requests[i].mapping);
    }
    free(self->requests);
    free(self);
}

static void set_headers(http *self)
{
    const http_entry *headers = self->config->headers.items;
    bool typed = false;
    for (size_t i = 0; i < self->config->headers.count; i++) {
        typed = typed || strcasecmp(headers[i].key, "Content-Type") == 0;
        self->headers[self->header_count++] =
            (pl_field){PL_S(headers[i].key), {.type = PL_STR, .as.s = PL_S(headers[i].text)}};
    }
    if (self->config->body && !typed)
        self->headers[self->header_count++] =
            (pl_field){PL_S("Content-Type"), {.type = PL_STR, .as.s = PL_S("application/json")}};
}

static pl_status set_requests(http *self, pl_error *error)
{
    const http_config *c = self->config;
    const http_entry *each = c->each.items;
    for (size_t i = 0; i < self->count; i++) {
        const http_entry *entry = c->each.count ? &each[i] : NULL;
        request *r = &self->requests[i];
        r->name = entry ? entry->key : NULL;
        r->url = make_url(c, entry);
        r->body = c->body ? http_fill(c->body, entry) : NULL;
        if (!r->url || (c->body && !r->body))
            return pl_fail(error, PL_BAD_CONFIG, "url or body is longer than %d bytes", HTTP_TEXT_MAX);
        if (mapping_init(&r->mapping, self->host, self->json, c, entry, error) != PL_OK)
            return PL_FAILED;
    }
    return PL_OK;
}

static pl_status create(const pl_host *host, const void *config, void **out, pl_error *error)
{
    http *self = calloc(1, sizeof *self);
    if (!self)
        return pl_fail(error, PL_HALT, "no memory");
    self->host = host;
    self->config = config;
    self->http = host->extension(host, "pl.http/1");
    self->json = host->extension(host, "pl.json/1");
    self->count = self->config->each.count ? self->config->each.count : 1;
    self->requests = calloc(self->count, sizeof *self->requests);
    pl_status status = PL_OK;
    if (!self->http || !self->json)
        status = pl_fail(error, PL_HALT, "this host does not offer %s", self->http ? "pl.json/1" : "pl.http/1");
    else if (!self->requests)
        status = pl_fail(error, PL_HALT, "no memory");
    else
        status = set_requests(self, error);
    if (status != PL_OK) {
        destroy(self);
        return status;
    }
    set_headers(self);
    *out = self;
    return PL_OK;
}

static size_t count(const void *self)
{
    return ((const http *)self)->count;
}

static int64_t every_ns(const void *self)
{
    return ((const http *)self)->config->every;
}

static pl_status ask(const http *self, const request *r, pl_error *error)
{
    const http_config *c = self->config;
    pl_str answer, body = r->body ? PL_S(r->body) : (pl_str){0};
    pl_doc *doc = NULL;
    size_t at = 0;
    if (self->http->request(self->host, PL_S(c->method), PL_S(r->url), self->headers, self->header_count, body,
                            c->timeout, &answer, error) != PL_OK)
        return PL_FAILED;
    /* Cut to milliseconds, which every store keeps exactly. */
    int64_t received_unix_ns = self->host->unix_ns(self->host) / 1000000 * 1000000;
    while (at < answer.len && isspace((unsigned char)answer.ptr[at]))
        at++;
    if (at == answer.len)
        return pl_fail(error, PL_REJECT, "the answer is empty");
    if (answer.ptr[at] == '<')
        return pl_fail(error, PL_REJECT, "the answer is HTML or XML, not JSON");
    if (self->json->parse(self->host, answer, &doc, error) != PL_OK) {
        char reason[160];
        (void)snprintf(reason, sizeof reason, "%.150s", error->message);
        return pl_fail(error, error->error_class, "the answer: %s", reason);
    }
    return mapping_run(&r->mapping, doc, received_unix_ns, error);
}

static pl_status poll(void *self_, size_t index, int64_t tick_unix_ns, pl_error *error)
{
    const http *self = self_;
    const request *r = &self->requests[index];
    (void)tick_unix_ns;
    if (ask(self, r, error) == PL_OK)
        return PL_OK;
    if (r->name) {
        char reason[sizeof error->message];
        memcpy(reason, error->message, sizeof reason);
        (void)snprintf(error->message, sizeof error->message, "%.64s: %.180s", r->name, reason);
    }
    return PL_FAILED;
}

static const pl_poller poller = {.struct_size = sizeof poller, .count = count, .every_ns = every_ns, .poll = poll};

static const pl_component source = {.struct_size = sizeof source,
                                    .option_size = sizeof(pl_option),
                                    .name = "http",
                                    .summary = "records from any URL that answers JSON",
                                    .options = http_options,
                                    .option_count = HTTP_OPTION_COUNT,
                                    .config_size = sizeof(http_config),
                                    .check = http_check,
                                    .create = create,
                                    .destroy = destroy,
                                    .poller = &poller};

const pl_plugin *pl_plugin_entry(void)
{
    static const pl_component *const components[] = {&source, NULL};
    static const pl_plugin plugin = {.magic = PL_MAGIC,
                                     .abi_major = PL_ABI_MAJOR,
                                     .abi_minor = PL_ABI_MINOR,
                                     .struct_size = sizeof plugin,
                                     .name = "http",
                                     .version = PLUGIN_VERSION,
                                     .components = components};
    return &plugin;
}
