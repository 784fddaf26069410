/* Coinpaprika's tickers/{id}: one request a pair (https://api.coinpaprika.com), since /tickers is megabytes. Each pair
 * is an item of its own to the core: one that fails leaves the others alone. */
#include "../common/text.h"
#include "../price/price.h"

#include <stdlib.h>

#define FREE_URL "https://api.coinpaprika.com"
#define PRO_URL "https://api-pro.coinpaprika.com"

enum { URL_MAX_BYTES = 1024, PATH_MAX_BYTES = 64 };

typedef struct config {
    pl_array pairs; /* const char * */
    pl_array ids;   /* price_id */
    int64_t every, timeout;
    const char *api_key, *base_url;
} config;

typedef struct coinpaprika {
    const pl_host *host;
    const config *config;
    const pl_http *http;
    const pl_json *json;
    price_feed *feeds;
    pl_field header; /* the key, when there is one */
} coinpaprika;

static const price_id known_ids[] = {
    {"ETH", "eth-ethereum"}, {"LINK", "link-chainlink"}, {"BTC", "btc-bitcoin"}, {NULL, NULL}};

static bool has_key(const config *c)
{
    return c->api_key && c->api_key[0];
}

static pl_status check(const void *config_, pl_error *error)
{
    const config *c = config_;
    if (c->base_url && strlen(c->base_url) > URL_MAX_BYTES / 2) {
        (void)snprintf(error->option, sizeof error->option, "base_url");
        return pl_fail(error, PL_BAD_CONFIG, "base_url is longer than %d bytes", URL_MAX_BYTES / 2);
    }
    return price_check(&c->pairs, &c->ids, known_ids, c->base_url, error);
}

static void destroy(void *self_)
{
    coinpaprika *self = self_;
    if (!self)
        return;
    free(self->feeds);
    free(self);
}

static pl_status create(const pl_host *host, const void *config_, void **out, pl_error *error)
{
    const config *c = config_;
    coinpaprika *self = calloc(1, sizeof *self);
    if (!self)
        return pl_fail(error, PL_HALT, "no memory");
    self->host = host;
    self->config = c;
    self->feeds = price_feeds(&c->pairs, &c->ids, known_ids);
    pl_status status =
        self->feeds ? price_extensions(host, &self->http, &self->json, error) : pl_fail(error, PL_HALT, "no memory");
    if (status != PL_OK) {
        destroy(self);
        return status;
    }
    if (has_key(c)) /* the raw key: no "Bearer" */
        self->header = (pl_field){PL_S("Authorization"), {.type = PL_STR, .as.s = PL_S(c->api_key)}};
    *out = self;
    return PL_OK;
}

static size_t count(const void *self)
{
    return ((const coinpaprika *)self)->config->pairs.count;
}

static int64_t every_ns(const void *self)
{
    return ((const coinpaprika *)self)->config->every;
}

/* quotes.USD.MEMBER; the API's quotes are in capitals. */
static bool get_quote(const coinpaprika *self, const pl_doc *doc, const char *quote, const char *member,
                      pl_value *value)
{
    char path[PATH_MAX_BYTES];
    (void)snprintf(path, sizeof path, "quotes.%s.%s", quote, member);
    return self->json->get(doc, PL_S(path), value);
}

static pl_status read_answer(coinpaprika *self, const pl_doc *doc, price_feed *feed, int64_t fetched_unix_ns,
                             pl_error *error)
{
    pl_value value;
    price_sample sample = {.source = "coinpaprika", .fetched_unix_ns = fetched_unix_ns};
    const char *quote = strchr(feed->pair, '-') + 1;
    if (self->json->get(doc, PL_S("error"), &value) && value.type == PL_STR)
        return pl_fail(error, PL_REJECT, "the answer is an error: %.*s",
                       value.as.s.len < 120 ? (int)value.as.s.len : 120, value.as.s.ptr);
    if (!self->json->get(doc, PL_S("id"), &value) || value.type != PL_STR || value.as.s.len != strlen(feed->id) ||
        memcmp(value.as.s.ptr, feed->id, value.as.s.len) != 0)
        return pl_fail(error, PL_REJECT, "the answer is not about %s", feed->id);
    const char *wrong = number_positive(get_quote(self, doc, quote, "price", &value), &value, 0, sample.price);
    if (wrong)
        return pl_fail(error, PL_REJECT, "the price of %s in %s is %s", feed->id, quote, wrong);
    if (!self->json->get(doc, PL_S("last_updated"), &value) || value.type != PL_STR ||
        !text_time_parse(value.as.s, &sample.source_unix_ns))
        return pl_fail(error, PL_REJECT, "the answer about %s has no valid last_updated", feed->id);
    if (number_positive(get_quote(self, doc, quote, "volume_24h", &value), &value, NUMBER_OR_ZERO, sample.volume))
        sample.volume[0] = '\0';
    price_emit(self->host, feed, &sample);
    return PL_OK;
}

static pl_status ask(coinpaprika *self, price_feed *feed, pl_error *error)
{
    char url[URL_MAX_BYTES];
    const config *c = self->config;
    const char *base = c->base_url ? c->base_url : has_key(c) ? PRO_URL : FREE_URL;
    int base_len = (int)strlen(base);
    while (base_len > 0 && base[base_len - 1] == '/')
        base_len--;
    (void)snprintf(url, sizeof url, "%.*s/v1/tickers/%s?quotes=%s", base_len, base, feed->id,
                   strchr(feed->pair, '-') + 1);
    pl_str answer;
    pl_doc *doc = NULL;
    pl_status status = self->http->request(self->host, PL_S("GET"), PL_S(url), &self->header,
                                           self->header.name.ptr ? 1 : 0, (pl_str){0}, c->timeout, &answer, error);
    int64_t fetched_unix_ns = price_now(self->host);
    if (status == PL_OK)
        status = price_parse(self->host, self->json, answer, &doc, error);
    if (status == PL_OK)
        status = read_answer(self, doc, feed, fetched_unix_ns, error);
    return status;
}

static pl_status poll(void *self_, size_t index, int64_t tick_unix_ns, pl_error *error)
{
    coinpaprika *self = self_;
    (void)tick_unix_ns;
    price_feed *feed = &self->feeds[index];
    if (ask(self, feed, error) == PL_OK)
        return PL_OK;
    price_blame(error, feed->pair);
    return PL_FAILED;
}

static const pl_option pair_option = {.doc = "two currencies in capitals", .type = PL_OPT_STR};
static const pl_option id_option = {.doc = "Coinpaprika's id", .type = PL_OPT_STR, .offset = offsetof(price_id, id)};
static const pl_option options[] = {
    {PL_OPTION(config, pairs, LIST, NULL, "which prices: BASE-QUOTE; one request each"),
     .example = "[ETH-USD, LINK-USD, BTC-USD]", .flags = PL_OPT_REQUIRED, .fields = &pair_option, .field_count = 1,
     .element_size = sizeof(const char *)},
    {PL_OPTION(config, ids, MAP, NULL, "Coinpaprika's id of a pair's base; built in for ETH, LINK and BTC"),
     .example = "{ SOL-USD: sol-solana }", .fields = &id_option, .field_count = 1, .element_size = sizeof(price_id)},
    {PL_OPTION(config, every, DURATION_NS, "60s", "time between two polls of a pair; the price moves about every 70 s"),
     .min = 1e8, .max = 8.64e13},
    {PL_OPTION(config, api_key, SECRET, NULL, "key of a paid plan; it also chooses the paid host"),
     .example = "${COINPAPRIKA_API_KEY:-}"},
    {PL_OPTION(config, base_url, STR, NULL, "scheme and host instead of the plan's own"), .example = FREE_URL},
    {PL_OPTION(config, timeout, DURATION_NS, "10s", "for one whole request"), .min = 1e7, .max = 3e11},
};

static const pl_poller poller = {.struct_size = sizeof poller, .count = count, .every_ns = every_ns, .poll = poll};
static const pl_component source = {.struct_size = sizeof source,
                                    .option_size = sizeof(pl_option),
                                    .name = "coinpaprika",
                                    .summary = "prices of Coinpaprika's API, one record a pair and poll",
                                    .options = options,
                                    .option_count = sizeof options / sizeof options[0],
                                    .config_size = sizeof(config),
                                    .check = check,
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
                                     .name = "coinpaprika",
                                     .version = PLUGIN_VERSION,
                                     .components = components};
    return &plugin;
}
