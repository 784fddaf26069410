/* Chainlink price feeds over an Ethereum node's JSON-RPC. At each tick: the newest block, then latestRoundData() of
 * every feed as of that very block (EIP-1898, by hash), one record a feed: what the contract said at the block's time,
 * so that "no change" and "nobody looked" differ; and the rounds between this look and the last one. The first poll
 * also checks the chain's id and what each contract says of itself, since wrong addresses circulate. */
#include "known.h"
#include "missed.h"

#include <inttypes.h>
#include <stdlib.h>

enum { FEEDS_MAX = 100, CALLS_A_FEED = 2 /* description, decimals */ };

typedef struct config {
    const char *rpc;
    pl_array feeds; /* feed_config */
    int64_t every, timeout, chain_id, catch_up;
} config;

typedef struct chainlink {
    const pl_host *host;
    const config *config;
    rpc_node node;
    feed *feeds;
    size_t count;
    rpc_call *calls;    /* room for 1 + CALLS_A_FEED a feed */
    rpc_reply *replies; /* the same */
    feed_round *rounds;
    missed missed;
    known known;
    char at[128];   /* JSON: the block of this poll, as a parameter */
    bool restored;  /* what is known of the rounds was read from the store */
    bool verified;  /* the first poll's checks have passed */
    bool by_number; /* the node does not know EIP-1898 */
} chainlink;

static pl_status check(const void *config_, pl_error *error)
{
    const config *c = config_;
    const feed_config *feeds = c->feeds.items;
    (void)snprintf(error->option, sizeof error->option, "rpc");
    if (strncmp(c->rpc, "http://", 7) != 0 && strncmp(c->rpc, "https://", 8) != 0)
        return pl_fail(error, PL_BAD_CONFIG, "rpc begins with http:// or https://");
    (void)snprintf(error->option, sizeof error->option, "feeds");
    if (c->feeds.count == 0 || c->feeds.count > FEEDS_MAX)
        return pl_fail(error, PL_BAD_CONFIG, "%zu feeds; expected 1 to %d", c->feeds.count, FEEDS_MAX);
    for (size_t i = 0; i < c->feeds.count; i++) {
        if (feed_check(&feeds[i], error) != PL_OK) {
            char inner[sizeof error->option];
            (void)snprintf(inner, sizeof inner, "%.32s", error->option);
            (void)snprintf(error->option, sizeof error->option, "feeds[%zu].%.32s", i, inner);
            return PL_FAILED;
        }
        for (size_t k = 0; k < i; k++)
            if (strcasecmp(feeds[k].proxy, feeds[i].proxy) == 0) {
                (void)snprintf(error->option, sizeof error->option, "feeds[%zu].proxy", i);
                return pl_fail(error, PL_BAD_CONFIG, "%s is the proxy of feeds[%zu] already", feeds[i].proxy, k);
            }
    }
    error->option[0] = '\0';
    return PL_OK;
}

static void destroy(void *self_)
{
    chainlink *self = self_;
    if (!self)
        return;
    known_release(&self->known);
    free(self->feeds);
    free(self->calls);
    free(self->replies);
    free(self->rounds);
    free(self);
}

static bool make_room(chainlink *self)
{
    size_t calls = 1 + CALLS_A_FEED * self->count;
    self->feeds = calloc(self->count, sizeof *self->feeds);
    self->rounds = calloc(self->count, sizeof *self->rounds);
    self->calls = calloc(calls, sizeof *self->calls);
    self->replies = calloc(calls, sizeof *self->replies);
    return self->feeds && self->rounds && self->calls && self->replies;
}

static pl_status create(const pl_host *host, const void *config_, void **out, pl_error *error)
{
    const config *c = config_;
    const pl_http *http = host->extension(host, "pl.http/1");
    const pl_json *json = host->extension(host, "pl.json/1");
    if (!http || !json)
        return pl_fail(error, PL_HALT, "this host does not offer %s", http ? "pl.json/1" : "pl.http/1");
    chainlink *self = calloc(1, sizeof *self);
    if (!self)
        return pl_fail(error, PL_HALT, "no memory");
    self->host = host;
    self->config = c;
    self->node = (rpc_node){.host = host, .http = http, .json = json, .url = c->rpc, .timeout_ns = c->timeout};
    self->count = c->feeds.count;
    if (!make_room(self)) {
        destroy(self);
        return pl_fail(error, PL_HALT, "no memory for %zu feeds", c->feeds.count);
    }
    for (size_t i = 0; i < self->count; i++)
        feed_init(&self->feeds[i], (const feed_config *)c->feeds.items + i);
    missed_init(&self->missed, host, &self->node, c->catch_up, c->chain_id);
    if (!known_init(&self->known, host, self->feeds, self->count, c->chain_id)) {
        destroy(self);
        return pl_fail(error, PL_HALT, "no memory for %zu feeds", c->feeds.count);
    }
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
    return ((const chainlink *)self)->config->every;
}

static void set_call(rpc_call *call, const char *method, const char *params)
{
    call->method = method;
    (void)snprintf(call->params, sizeof call->params, "%s", params);
}

/* block: the JSON of a block parameter. */
static void set_contract_call(rpc_call *call, const feed *feed, const char *selector, const char *block)
{
    call->method = "eth_call";
    (void)snprintf(call->params, sizeof call->params, "[{\"to\":\"%s\",\"data\":\"0x%s\"},%s]", feed->config->proxy,
                   selector, block);
}

static pl_status verify_chain(const chainlink *self, const rpc_reply *reply, pl_error *error)
{
    uint64_t found = 0;
    if (reply->failed)
        return rpc_fail(reply, "eth_chainId", error);
    if (reply->result.type != PL_STR || !abi_quantity(reply->result.as.s, &found))
        return pl_fail(error, PL_REJECT, "the node's eth_chainId is no number");
    if (found != (uint64_t)self->config->chain_id) {
        (void)snprintf(error->option, sizeof error->option, "chain_id");
        return pl_fail(error, PL_HALT, "the node is on chain %" PRIu64 "; expected chain %" PRId64, found,
                       self->config->chain_id);
    }
    return PL_OK;
}

static pl_status verify(chainlink *self, pl_error *error)
{
    set_call(&self->calls[0], "eth_chainId", "[]");
    for (size_t i = 0; i < self->count; i++) {
        set_contract_call(&self->calls[1 + 2 * i], &self->feeds[i], "7284e416", "\"latest\"");
        set_contract_call(&self->calls[2 + 2 * i], &self->feeds[i], "313ce567", "\"latest\"");
    }
    if (rpc_batch(&self->node, self->calls, self->replies, 1 + 2 * self->count, error) != PL_OK ||
        verify_chain(self, &self->replies[0], error) != PL_OK)
        return PL_FAILED;
    for (size_t i = 0; i < self->count; i++)
        if (feed_verify(&self->feeds[i], &self->replies[1 + 2 * i], &self->replies[2 + 2 * i], error) != PL_OK) {
            if (error->error_class == PL_HALT)
                (void)snprintf(error->option, sizeof error->option, "feeds[%zu].proxy", i);
            return PL_FAILED;
        }
    self->verified = true;
    return PL_OK;
}

static bool read_block_fields(const chainlink *self, pl_str text, feed_block *block, pl_error *error)
{
    pl_doc *doc = NULL;
    pl_value number, hash, stamp;
    uint8_t bytes[ABI_WORD];
    size_t len = 0;
    uint64_t time_s = 0;
    const pl_json *json = self->node.json;
    if (json->parse(self->host, text, &doc, error) != PL_OK || !json->get(doc, PL_S("number"), &number) ||
        !json->get(doc, PL_S("hash"), &hash) || !json->get(doc, PL_S("timestamp"), &stamp) || number.type != PL_STR ||
        hash.type != PL_STR || stamp.type != PL_STR)
        return false;
    if (!abi_quantity(number.as.s, &block->number) || block->number > INT64_MAX || !abi_quantity(stamp.as.s, &time_s) ||
        time_s == 0 || time_s > INT64_MAX / 1000000000 || !abi_from_hex(hash.as.s, bytes, sizeof bytes, &len) ||
        len != sizeof bytes)
        return false;
    block->time_s = (int64_t)time_s;
    memcpy(block->hash, hash.as.s.ptr, sizeof block->hash - 1);
    block->hash[sizeof block->hash - 1] = '\0';
    return true;
}

static pl_status read_block(const chainlink *self, const rpc_reply *reply, feed_block *block, pl_error *error)
{
    if (reply->failed)
        return rpc_fail(reply, "eth_getBlockByNumber", error);
    if (reply->result.type == PL_NIL)
        return pl_fail(error, PL_RETRY, "the node has no block yet");
    if (reply->result.type != PL_JSON || !read_block_fields(self, reply->result.as.s, block, error))
        return pl_fail(error, PL_REJECT, "the node's block has no number, hash and timestamp");
    return PL_OK;
}

/* One eth_call a feed at the block; replies[0..count-1]. */
static pl_status call_feeds(chainlink *self, const feed_block *block, pl_error *error)
{
    char again[64];
    if (self->by_number)
        (void)snprintf(self->at, sizeof self->at, "\"0x%" PRIx64 "\"", block->number);
    else
        (void)snprintf(self->at, sizeof self->at, "{\"blockHash\":\"%s\",\"requireCanonical\":true}", block->hash);
    for (size_t i = 0; i < self->count; i++)
        set_contract_call(&self->calls[i], &self->feeds[i], "feaf968c", self->at);
    (void)snprintf(again, sizeof again, "[\"0x%" PRIx64 "\",false]", block->number);
    set_call(&self->calls[self->count], "eth_getBlockByNumber", again);
    size_t calls = self->by_number ? self->count + 1 : self->count;
    if (rpc_batch(&self->node, self->calls, self->replies, calls, error) != PL_OK)
        return PL_FAILED;
    if (!self->by_number)
        return PL_OK;
    /* A number may come to mean another block between two requests; a hash may not. */
    feed_block now = {.number = 0};
    if (read_block(self, &self->replies[self->count], &now, error) != PL_OK)
        return PL_FAILED;
    if (strcmp(now.hash, block->hash) != 0)
        return pl_fail(error, PL_RETRY, "block %" PRIu64 " was replaced while it was read", block->number);
    return PL_OK;
}

static bool refused_params(const chainlink *self)
{
    for (size_t i = 0; i < self->count; i++)
        if (self->replies[i].failed && self->replies[i].code == RPC_BAD_PARAMS)
            return true;
    return false;
}

/* Decodes all replies before anything is emitted, so that a poll that is tried again has handed over nothing. */
static pl_status emit_rounds(chainlink *self, const feed_block *block, int64_t tick_unix_ns, pl_error *error)
{
    pl_error worst = {.struct_size = sizeof worst};
    size_t good = 0;
    bool failed = false, limited = false;
    for (size_t i = 0; i < self->count; i++) {
        pl_error one = {.struct_size = sizeof one};
        self->rounds[i].round = 0; /* none */
        if (feed_read(&self->feeds[i], "latestRoundData()", &self->replies[i], block, &self->rounds[i], &one) ==
            PL_OK) {
            good++;
            continue;
        }
        limited = limited || one.code == RPC_LIMITED || one.error_class == PL_HALT;
        /* The first is told; but trouble of the node before a feed's own: it decides whether trying again helps. */
        if (!failed || (worst.error_class == PL_REJECT && one.error_class != PL_REJECT))
            worst = one;
        failed = true;
    }
    if (failed) {
        error->error_class = worst.error_class;
        error->code = worst.code;
        error->retry_after_ms = worst.retry_after_ms;
        memcpy(error->message, worst.message, sizeof error->message);
    }
    if (limited || (good == 0 && error->error_class != PL_REJECT))
        return PL_FAILED;
    missed_begin(&self->missed);
    for (size_t i = 0; i < self->count; i++) {
        if (self->rounds[i].round == 0)
            continue;
        missed_catch_up(&self->missed, &self->feeds[i], block, self->at, &self->rounds[i]);
        feed_emit(&self->feeds[i], self->host, self->config->chain_id, block, &self->rounds[i]);
    }
    known_note(&self->known, tick_unix_ns);
    if (!failed)
        return PL_OK;
    char message[160];
    (void)snprintf(message, sizeof message, "%.150s", error->message);
    return pl_fail(error, PL_REJECT, "%s; %zu of %zu feeds are good", message, good, self->count);
}

static pl_status poll(void *self_, size_t index, int64_t tick_unix_ns, pl_error *error)
{
    chainlink *self = self_;
    feed_block block = {.number = 0};
    (void)index;
    if (!self->restored)
        known_restore(&self->known);
    self->restored = true;
    if (!self->verified && verify(self, error) != PL_OK)
        return PL_FAILED;
    set_call(&self->calls[0], "eth_getBlockByNumber", "[\"latest\",false]");
    if (rpc_batch(&self->node, self->calls, self->replies, 1, error) != PL_OK ||
        read_block(self, &self->replies[0], &block, error) != PL_OK || call_feeds(self, &block, error) != PL_OK)
        return PL_FAILED;
    if (!self->by_number && refused_params(self)) {
        self->by_number = true;
        self->host->log(self->host, PL_INFO,
                        "the node takes no block hash (EIP-1898): asking by number, and checking the hash");
        if (call_feeds(self, &block, error) != PL_OK)
            return PL_FAILED;
    }
    return emit_rounds(self, &block, tick_unix_ns, error);
}

static pl_status commit(void *self, int64_t tick_unix_ns, pl_error *error)
{
    return known_commit(&((chainlink *)self)->known, tick_unix_ns, error);
}

static const pl_option feed_options[] = {
    {PL_OPTION(feed_config, pair, STR, NULL, "name of the feed in the records, and their key"), .example = "ETH-USD",
     .flags = PL_OPT_REQUIRED},
    {PL_OPTION(feed_config, proxy, STR, NULL, "address of the feed's proxy contract, in quotes"),
     .example = "\"0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419\"", .flags = PL_OPT_REQUIRED},
    {PL_OPTION(feed_config, heartbeat, DURATION_NS, NULL,
               "the longest time between two rounds, as published; heartbeat_s"),
     .example = "1h", .min = 1e9, .max = 3.1536e16},
    {PL_OPTION(feed_config, deviation, PERCENT, NULL, "the move that makes a new round, as published; band_pct"),
     .example = "0.5%"},
    {PL_OPTION(feed_config, description, STR, NULL, "what description() must say; from the pair when not given"),
     .example = "ETH / USD"},
    {PL_OPTION(feed_config, decimals, INT, "8", "what decimals() must say"), .max = ABI_DECIMALS_MAX},
};
static const pl_option feed_option = {.doc = "one price feed",
                                      .type = PL_OPT_OBJECT,
                                      .fields = feed_options,
                                      .field_count = sizeof feed_options / sizeof feed_options[0],
                                      .element_size = sizeof(feed_config)};
static const pl_option options[] = {
    {PL_OPTION(config, rpc, SECRET, NULL, "URL of an Ethereum node's JSON-RPC; may hold a key"),
     .example = "${ETH_RPC_URL}", .flags = PL_OPT_REQUIRED},
    {PL_OPTION(config, feeds, LIST, NULL, "the price feeds to read, all at one block"), .flags = PL_OPT_REQUIRED,
     .fields = &feed_option, .field_count = 1, .element_size = sizeof(feed_config)},
    {PL_OPTION(config, every, DURATION_NS, "12s", "time between two polls; a block takes 12 s on the main network"),
     .min = 1e8, .max = 8.64e13},
    {PL_OPTION(config, chain_id, INT, "1", "the chain that the node must be on; 1: Ethereum's main network"), .min = 1,
     .max = 999999999999.0},
    {PL_OPTION(config, catch_up, INT, "1000",
               "after a gap, how many missed rounds of a feed are read, the newest of them; 0: none"),
     .max = 100000},
    {PL_OPTION(config, timeout, DURATION_NS, "10s", "for one whole request"), .min = 1e7, .max = 3e11},
};

static const pl_poller poller = {
    .struct_size = sizeof poller, .count = count, .every_ns = every_ns, .poll = poll, .commit = commit};
static const pl_component source = {.struct_size = sizeof source,
                                    .option_size = sizeof(pl_option),
                                    .name = "chainlink",
                                    .summary = "price feeds of Chainlink, one record a feed and poll",
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
                                     .name = "chainlink",
                                     .version = PLUGIN_VERSION,
                                     .components = components};
    return &plugin;
}
