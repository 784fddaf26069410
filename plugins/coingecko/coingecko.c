/* CoinGecko's simple/price: one request for all pairs (https://docs.coingecko.com/reference/simple-price).
 * Every pair whose price is good is emitted; when one is not, the poll then ends with PL_REJECT, which the core counts
 * as one gap and warns about once. */
#include "../price/price.h"

#include <stdlib.h>

#define DEMO_URL "https://api.coingecko.com"
#define PRO_URL "https://pro-api.coingecko.com"
#define NS_PER_S 1000000000
#define LATEST_S 4102444800 /* 2100-01-01 */

enum { PATH_MAX_BYTES = PRICE_ID_MAX + PRICE_NAME_MAX + 32 };

typedef struct config {
    pl_array pairs; /* const char * */
    pl_array ids;   /* price_id */
    int64_t every, timeout;
    const char *api_key, *plan, *base_url;
} config;

typedef struct coingecko {
    const pl_host *host;
    const config *config;
    const pl_http *http;
    const pl_json *json;
    price_feed *feeds;
    char *url;
    pl_field header; /* the key, when there is one */
} coingecko;

static const price_id known_ids[] = {{"ETH", "ethereum"}, {"LINK", "chainlink"}, {"BTC", "bitcoin"}, {NULL, NULL}};

static bool has_key(const config *c)
{
    return c->api_key && c->api_key[0];
}

static bool is_pro(const config *c)
{
    return strcmp(c->plan, "pro") == 0;
}

static pl_status check(const void *config_, pl_error *error)
{
    const config *c = config_;
    if (is_pro(c) && !has_key(c)) {
        (void)snprintf(error->option, sizeof error->option, "plan");
        return pl_fail(error, PL_BAD_CONFIG, "plan pro needs an api_key");
    }
    return price_check(&c->pairs, &c->ids, known_ids, c->base_url, error);
}

/* Whether feed i is the first with its id (or quote), so that the URL names each once. */
static bool first_id(const price_feed *feeds, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(feeds[k].id, feeds[i].id) == 0)
            return false;
    return true;
}
static bool first_quote(const price_feed *feeds, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(feeds[k].quote, feeds[i].quote) == 0)
            return false;
    return true;
}

/* Without precision=full BTC comes rounded to a dollar. NULL: no memory. */
static char *make_url(const config *c, const price_feed *feeds)
{
    const char *base = c->base_url ? c->base_url : is_pro(c) ? PRO_URL : DEMO_URL;
    int base_len = (int)strlen(base);
    while (base_len > 0 && base[base_len - 1] == '/')
        base_len--;
    char *url = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&url, &size);
    if (!out)
        return NULL;
    (void)fprintf(out, "%.*s/api/v3/simple/price?ids=", base_len, base);
    for (size_t i = 0; i < c->pairs.count; i++)
        if (first_id(feeds, i))
            (void)fprintf(out, "%s%s", i ? "," : "", feeds[i].id);
    (void)fputs("&vs_currencies=", out);
    for (size_t i = 0; i < c->pairs.count; i++)
        if (first_quote(feeds, i))
            (void)fprintf(out, "%s%s", i ? "," : "", feeds[i].quote);
    (void)fputs("&include_last_updated_at=true&include_24hr_vol=true&precision=full", out);
    bool written = !ferror(out);
    if (fclose(out) != 0 || !written) {
        free(url);
        return NULL;
    }
    return url;
}

static void destroy(void *self_)
{
    coingecko *self = self_;
    if (!self)
        return;
    free(self->feeds);
    free(self->url);
    free(self);
}

static pl_status create(const pl_host *host, const void *config_, void **out, pl_error *error)
{
    const config *c = config_;
    coingecko *self = calloc(1, sizeof *self);
    if (!self)
        return pl_fail(error, PL_HALT, "no memory");
    self->host = host;
    self->config = c;
    self->feeds = price_feeds(&c->pairs, &c->ids, known_ids);
    self->url = self->feeds ? make_url(c, self->feeds) : NULL;
    pl_status status =
        self->url ? price_extensions(host, &self->http, &self->json, error) : pl_fail(error, PL_HALT, "no memory");
    if (status != PL_OK) {
        destroy(self);
        return status;
    }
    if (has_key(c))
        self->header = (pl_field){PL_S(is_pro(c) ? "x-cg-pro-api-key" : "x-cg-demo-api-key"),
                                  {.type = PL_STR, .as.s = PL_S(c->api_key)}};
    *out = self;
    return PL_OK;
}

static size_t count(const void *self)
{
    (void)self;
    return 1;
}

static int64_t every_ns(const void *self)
{
    return ((const coingecko *)self)->config->every;
}

/* A member of the pair's coin: its name is prefix and suffix together. */
static bool get(const coingecko *self, const pl_doc *doc, const price_feed *feed, const char *prefix,
                const char *suffix, pl_value *value)
{
    char path[PATH_MAX_BYTES];
    (void)snprintf(path, sizeof path, "[\"%s\"].%s%s", feed->id, prefix, suffix);
    return self->json->get(doc, PL_S(path), value);
}

/* NULL: emitted; else what is wrong with the pair's part of the answer. */
static const char *emit_pair(coingecko *self, const pl_doc *doc, price_feed *feed, int64_t fetched_unix_ns)
{
    pl_value value;
    price_sample sample = {.source = "coingecko", .fetched_unix_ns = fetched_unix_ns};
    const char *wrong = number_positive(get(self, doc, feed, feed->quote, "", &value), &value, 0, sample.price);
    if (wrong)
        return wrong;
    if (!get(self, doc, feed, "", "last_updated_at", &value) || value.type != PL_INT || value.as.i <= 0 ||
        value.as.i > LATEST_S)
        return "without a valid last_updated_at";
    sample.source_unix_ns = value.as.i * NS_PER_S;
    if (number_positive(get(self, doc, feed, feed->quote, "_24h_vol", &value), &value, NUMBER_OR_ZERO, sample.volume))
        sample.volume[0] = '\0';
    price_emit(self->host, feed, &sample);
    return NULL;
}

/* The error shapes seen with status 200, too: {"status":{"error_code":429}} and {"error":...}. */
static pl_status check_refusal(const coingecko *self, const pl_doc *doc, pl_error *error)
{
    pl_value value;
    if (self->json->get(doc, PL_S("status.error_code"), &value) ||
        self->json->get(doc, PL_S("error.status.error_code"), &value)) {
        error->code = value.type == PL_INT && value.as.i > 0 && value.as.i < 100000 ? (int32_t)value.as.i : 0;
        return pl_fail(error, error->code == 429 ? PL_RETRY : PL_REJECT, "the answer is an error: code %d",
                       error->code);
    }
    if (self->json->get(doc, PL_S("error"), &value) && value.type == PL_STR)
        return pl_fail(error, PL_REJECT, "the answer is an error: %.*s",
                       value.as.s.len < 120 ? (int)value.as.s.len : 120, value.as.s.ptr);
    return PL_OK;
}

static pl_status poll(void *self_, size_t index, int64_t tick_unix_ns, pl_error *error)
{
    coingecko *self = self_;
    (void)index;
    (void)tick_unix_ns;
    pl_str answer;
    pl_doc *doc = NULL;
    pl_status status =
        self->http->request(self->host, PL_S("GET"), PL_S(self->url), &self->header, self->header.name.ptr ? 1 : 0,
                            (pl_str){0}, self->config->timeout, &answer, error);
    int64_t fetched_unix_ns = price_now(self->host);
    if (status != PL_OK || price_parse(self->host, self->json, answer, &doc, error) != PL_OK ||
        check_refusal(self, doc, error) != PL_OK)
        return PL_FAILED;
    size_t bad = 0, first_bad = 0;
    const char *first_wrong = NULL;
    for (size_t i = 0; i < self->config->pairs.count; i++) {
        const char *wrong = emit_pair(self, doc, &self->feeds[i], fetched_unix_ns);
        if (wrong && bad++ == 0) {
            first_bad = i;
            first_wrong = wrong;
        }
    }
    if (bad == 0)
        return PL_OK;
    return pl_fail(error, PL_REJECT, "%s: the price of %s in %s is %s; %zu of %zu pairs are good",
                   self->feeds[first_bad].pair, self->feeds[first_bad].id, self->feeds[first_bad].quote, first_wrong,
                   self->config->pairs.count - bad, self->config->pairs.count);
}

static const char *const plans[] = {"demo", "pro", NULL};
static const pl_option pair_option = {.doc = "two currencies in capitals", .type = PL_OPT_STR};
static const pl_option id_option = {.doc = "CoinGecko's id", .type = PL_OPT_STR, .offset = offsetof(price_id, id)};
static const pl_option options[] = {
    {PL_OPTION(config, pairs, LIST, NULL, "which prices: BASE-QUOTE; all of them in one request"),
     .example = "[ETH-USD, LINK-USD, BTC-USD]", .flags = PL_OPT_REQUIRED, .fields = &pair_option, .field_count = 1,
     .element_size = sizeof(const char *)},
    {PL_OPTION(config, ids, MAP, NULL, "CoinGecko's id of a pair's base; built in for ETH, LINK and BTC"),
     .example = "{ SOL-USD: solana }", .fields = &id_option, .field_count = 1, .element_size = sizeof(price_id)},
    {PL_OPTION(config, every, DURATION_NS, "60s",
               "time between two polls; the API's own cache lives 60 s (demo) or 20 s (pro)"),
     .min = 1e8, .max = 8.64e13},
    {PL_OPTION(config, api_key, SECRET, NULL, "key of the demo or pro plan; without one the public limits hold"),
     .example = "${COINGECKO_API_KEY:-}"},
    {PL_OPTION(config, plan, ENUM, "demo", "which plan the key is of: it decides host and header"), .choices = plans},
    {PL_OPTION(config, base_url, STR, NULL, "scheme and host instead of the plan's own"), .example = DEMO_URL},
    {PL_OPTION(config, timeout, DURATION_NS, "10s", "for one whole request"), .min = 1e7, .max = 3e11},
};

static const pl_poller poller = {.struct_size = sizeof poller, .count = count, .every_ns = every_ns, .poll = poll};
static const pl_component source = {.struct_size = sizeof source,
                                    .option_size = sizeof(pl_option),
                                    .name = "coingecko",
                                    .summary = "prices of CoinGecko's API, one record a pair and poll",
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
                                     .name = "coingecko",
                                     .version = PLUGIN_VERSION,
                                     .components = components};
    return &plugin;
}
