#include "feed.h"

#include <inttypes.h>

#define NS_PER_S 1000000000
#define SECONDS_MAX 9000000000u /* year 2255: nanoseconds of later times do not fit */

/* Where the words of latestRoundData() begin, after the round id. */
enum { ANSWER = ABI_WORD, STARTED_AT = 2 * ABI_WORD, UPDATED_AT = 3 * ABI_WORD };
enum { ANSWER_MAX = 1024, FIELDS_MAX = 20, ADDRESS_BYTES = 20 };

static pl_status bad(pl_error *error, const char *option)
{
    (void)snprintf(error->option, sizeof error->option, "%s", option);
    return PL_FAILED;
}

static pl_status check_proxy(const char *proxy, pl_error *error)
{
    uint8_t address[ADDRESS_BYTES];
    size_t len = 0;
    (void)bad(error, "proxy");
    if (strncmp(proxy, "0x", 2) != 0)
        return pl_fail(error, PL_BAD_CONFIG, "'%.50s' is not an address: 0x and 40 hex digits", proxy);
    if (strlen(proxy) != 2 + 2 * ADDRESS_BYTES)
        return pl_fail(error, PL_BAD_CONFIG, "an address has 40 hex digits after 0x; this has %zu", strlen(proxy) - 2);
    if (!abi_from_hex(PL_S(proxy), address, sizeof address, &len))
        return pl_fail(error, PL_BAD_CONFIG, "'%s' has a character that is no hex digit", proxy);
    return PL_OK;
}

pl_status feed_check(const feed_config *config, pl_error *error)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.";
    size_t base = strspn(config->pair, letters);
    size_t quote = config->pair[base] == '-' ? strspn(config->pair + base + 1, letters) : 0;
    (void)bad(error, "pair");
    if (base == 0 || quote == 0 || config->pair[base + 1 + quote] != '\0' || base + quote + 2 > FEED_PAIR_MAX)
        return pl_fail(error, PL_BAD_CONFIG, "'%.40s' is not a pair: two names with a dash, as in ETH-USD",
                       config->pair);
    if (check_proxy(config->proxy, error) != PL_OK)
        return PL_FAILED;
    (void)bad(error, "description");
    if (config->description && strlen(config->description) >= FEED_DESCRIPTION_MAX)
        return pl_fail(error, PL_BAD_CONFIG, "a description has at most %d bytes", FEED_DESCRIPTION_MAX - 1);
    (void)bad(error, "deviation");
    if (config->deviation && config->deviation[0] == '-')
        return pl_fail(error, PL_BAD_CONFIG, "a deviation threshold is not negative");
    error->option[0] = '\0';
    return PL_OK;
}

void feed_init(feed *self, const feed_config *config)
{
    *self = (feed){.config = config};
    int base = (int)strcspn(config->pair, "-");
    if (config->description)
        (void)snprintf(self->description, sizeof self->description, "%s", config->description);
    else
        (void)snprintf(self->description, sizeof self->description, "%.*s / %s", base, config->pair,
                       config->pair + base + 1);
}

/* Bytes of a call's result. An address without code answers "0x", which is no error to the node. */
static bool result_bytes(const rpc_reply *reply, uint8_t bytes[ANSWER_MAX], size_t *len)
{
    return reply->result.type == PL_STR && abi_from_hex(reply->result.as.s, bytes, ANSWER_MAX, len);
}

static pl_status call_failed(const feed *self, const char *call, const rpc_reply *reply, pl_error *error)
{
    char what[128];
    (void)snprintf(what, sizeof what, "%s of %s (%s)", call, self->config->pair, self->config->proxy);
    return rpc_fail(reply, what, error);
}

static pl_status verify_failed(const feed *self, const char *call, const rpc_reply *reply, pl_error *error)
{
    (void)call_failed(self, call, reply, error);
    if (reply->reverted)
        return pl_fail(error, PL_HALT, "%s: %s reverts at %s: not a price feed; expected one for %s",
                       self->config->pair, call, self->config->proxy, self->description);
    return PL_FAILED;
}

pl_status feed_verify(const feed *self, const rpc_reply *description, const rpc_reply *decimals, pl_error *error)
{
    const feed_config *c = self->config;
    uint8_t bytes[ANSWER_MAX];
    size_t len = 0;
    char found[FEED_DESCRIPTION_MAX];
    uint64_t places = 0;
    if (description->failed)
        return verify_failed(self, "description()", description, error);
    if (decimals->failed)
        return verify_failed(self, "decimals()", decimals, error);
    bool readable = result_bytes(description, bytes, &len);
    if (readable && len == 0)
        return pl_fail(error, PL_HALT, "%s: at %s there is no contract code on this chain; expected the feed %s",
                       c->pair, c->proxy, self->description);
    if (!readable || !abi_string(bytes, len, found, sizeof found))
        return pl_fail(error, PL_HALT, "%s: description() at %s gives no text; expected '%s'", c->pair, c->proxy,
                       self->description);
    if (strcmp(found, self->description) != 0)
        return pl_fail(error, PL_HALT, "%s: the feed at %s is '%s'; expected '%s'", c->pair, c->proxy, found,
                       self->description);
    if (!result_bytes(decimals, bytes, &len) || len != ABI_WORD || !abi_u64(bytes, &places))
        return pl_fail(error, PL_HALT, "%s: decimals() at %s gives no number; expected %" PRId64, c->pair, c->proxy,
                       c->decimals);
    if (places != (uint64_t)c->decimals)
        return pl_fail(error, PL_HALT, "%s: the feed at %s has %" PRIu64 " decimals; expected %" PRId64, c->pair,
                       c->proxy, places, c->decimals);
    return PL_OK;
}

/* A round id is phase << 64 | round of that phase's aggregator, a uint80. */
static bool split_round_id(const uint8_t word[ABI_WORD], feed_round *out)
{
    for (size_t i = 0; i < ABI_WORD - 10; i++)
        if (word[i] != 0)
            return false;
    out->phase = (uint64_t)word[ABI_WORD - 10] << 8 | word[ABI_WORD - 9];
    out->round = 0;
    for (size_t i = ABI_WORD - 8; i < ABI_WORD; i++)
        out->round = out->round << 8 | word[i];
    return true;
}

pl_status feed_read(const feed *self, const char *call, const rpc_reply *reply, const feed_block *block,
                    feed_round *round, pl_error *error)
{
    const char *pair = self->config->pair;
    uint8_t bytes[ANSWER_MAX];
    size_t len = 0;
    feed_round read;
    if (reply->failed)
        return call_failed(self, call, reply, error);
    if (!result_bytes(reply, bytes, &len))
        return pl_fail(error, PL_REJECT, "%s: %s gave no hex; expected %d bytes", pair, call, FEED_ROUND_BYTES);
    if (len != FEED_ROUND_BYTES)
        return pl_fail(error, PL_REJECT, "%s: %s gave %zu bytes; expected %d", pair, call, len, FEED_ROUND_BYTES);
    abi_int_text(bytes + ANSWER, read.answer);
    if (!split_round_id(bytes, &read))
        return pl_fail(error, PL_REJECT, "%s: the round id is above 80 bits", pair);
    if (read.round == 0)
        return pl_fail(error, PL_REJECT, "%s: phase %" PRIu64 " has no round yet", pair, read.phase);
    if (read.answer[0] == '-' || read.answer[0] == '0')
        return pl_fail(error, PL_REJECT, "%s: the answer is %s; expected one above 0", pair, read.answer);
    if (!abi_u64(bytes + STARTED_AT, &read.started_s) || read.started_s > SECONDS_MAX ||
        !abi_u64(bytes + UPDATED_AT, &read.updated_s) || read.updated_s > SECONDS_MAX)
        return pl_fail(error, PL_REJECT, "%s: startedAt or updatedAt is no time", pair);
    if (read.updated_s == 0)
        return pl_fail(error, PL_REJECT, "%s: updatedAt is 0: the round is not complete", pair);
    if ((int64_t)read.updated_s > block->time_s + FEED_FUTURE_S)
        return pl_fail(error, PL_REJECT, "%s: updatedAt is %" PRId64 " s after its block %" PRIu64, pair,
                       (int64_t)read.updated_s - block->time_s, block->number);
    *round = read;
    return PL_OK;
}

bool feed_absent(const rpc_reply *reply)
{
    uint8_t bytes[ANSWER_MAX];
    size_t len = 0;
    uint64_t updated_s;
    if (reply->failed)
        return reply->reverted;
    return result_bytes(reply, bytes, &len) && len == FEED_ROUND_BYTES && abi_u64(bytes + UPDATED_AT, &updated_s) &&
           updated_s == 0;
}

uint64_t feed_newest_round(const rpc_reply *reply)
{
    uint8_t bytes[ANSWER_MAX];
    size_t len = 0;
    feed_round read;
    if (reply->failed || !result_bytes(reply, bytes, &len) || len != FEED_ROUND_BYTES || !split_round_id(bytes, &read))
        return 0;
    return read.round;
}

bool feed_address(const rpc_reply *reply, char address[FEED_ADDRESS_TEXT])
{
    uint8_t bytes[ANSWER_MAX], any = 0;
    size_t len = 0;
    if (reply->failed || !result_bytes(reply, bytes, &len) || len != ABI_WORD)
        return false;
    for (size_t i = ABI_WORD - ADDRESS_BYTES; i < ABI_WORD; i++)
        any |= bytes[i];
    (void)snprintf(address, FEED_ADDRESS_TEXT, "0x%.40s", reply->result.as.s.ptr + 2 + 2 * (ABI_WORD - ADDRESS_BYTES));
    return any != 0;
}

typedef struct field_list {
    pl_field fields[FIELDS_MAX];
    uint32_t count;
} field_list;

static void add(field_list *list, const char *name, pl_value value)
{
    list->fields[list->count++] = (pl_field){PL_S(name), value};
}
static void add_text(field_list *list, const char *name, const char *text)
{
    add(list, name, (pl_value){.type = PL_STR, .as.s = PL_S(text)});
}
static void add_int(field_list *list, const char *name, int64_t number)
{
    add(list, name, (pl_value){.type = PL_INT, .as.i = number});
}
static void add_time(field_list *list, const char *name, int64_t seconds)
{
    add(list, name, seconds ? (pl_value){.type = PL_TIME, .as.i = seconds * NS_PER_S} : (pl_value){.type = PL_NIL});
}

static void warn_when_going_back(const feed *self, const pl_host *host, const feed_round *round)
{
    char text[200];
    if (!self->seen || round->phase > self->phase || (round->phase == self->phase && round->round >= self->round))
        return;
    (void)snprintf(text, sizeof text,
                   "%s went back from round %" PRIu64 "/%" PRIu64 " to %" PRIu64 "/%" PRIu64
                   ": the node lags behind another one, or blocks were replaced",
                   self->config->pair, self->phase, self->round, round->phase, round->round);
    host->log(host, PL_WARN, text);
}

const feed_round *feed_handed(const feed *self, uint64_t phase, uint64_t round)
{
    for (size_t i = 0; i < FEED_HANDED_MAX && round > 0; i++)
        if (self->handed[i].round == round && self->handed[i].phase == phase)
            return &self->handed[i];
    return NULL;
}

bool feed_differs(const feed *self, const feed_round *round)
{
    const feed_round *then = feed_handed(self, round->phase, round->round);
    return then && (then->updated_s != round->updated_s || strcmp(then->answer, round->answer) != 0);
}

static void remember(feed *self, const feed_round *round)
{
    const feed_round *then = feed_handed(self, round->phase, round->round);
    size_t at = then ? (size_t)(then - self->handed) : self->handed_next;
    self->handed[at] = *round;
    if (!then)
        self->handed_next = (at + 1) % FEED_HANDED_MAX;
}

static void emit(feed *self, const pl_host *host, int64_t chain_id, const feed_block *block, const feed_round *round,
                 bool missed)
{
    const feed_config *c = self->config;
    char agg_round[24], price[ABI_SCALED_TEXT];
    field_list list = {.count = 0};
    remember(self, round);
    (void)snprintf(agg_round, sizeof agg_round, "%" PRIu64, round->round);
    abi_scale(round->answer, (unsigned)c->decimals, price);
    add_text(&list, "kind", "contract");
    add_int(&list, "schema", 1);
    add_int(&list, "chain_id", chain_id);
    add_text(&list, "feed", self->description);
    add_text(&list, "pair", c->pair);
    add_int(&list, "phase_id", (int64_t)round->phase);
    add_text(&list, "agg_round", agg_round);
    add_text(&list, "answer_raw", round->answer);
    add_int(&list, "decimals", c->decimals);
    add_text(&list, "price", price);
    add_time(&list, "started_at", (int64_t)round->started_s);
    add_time(&list, "updated_at", (int64_t)round->updated_s);
    add_int(&list, "block_number", (int64_t)block->number);
    add_text(&list, "block_hash", block->hash);
    add_time(&list, "observed_at", block->time_s);
    if (c->heartbeat > 0)
        add_int(&list, "heartbeat_s", c->heartbeat / NS_PER_S);
    if (c->deviation)
        add_text(&list, "band_pct", c->deviation);
    if (missed)
        add(&list, "caught_up", (pl_value){.type = PL_BOOL, .as.b = true});
    const pl_emission emission = {.struct_size = sizeof emission,
                                  .time_unix_ns = block->time_s * NS_PER_S,
                                  .stream = PL_S("chainlink"),
                                  .key = PL_S(c->pair),
                                  .fields = list.fields,
                                  .field_count = list.count};
    /* emit takes the record even when it asks to stop, and a block's rounds belong together: go on. */
    (void)host->emit(host, &emission);
}

void feed_emit(feed *self, const pl_host *host, int64_t chain_id, const feed_block *block, const feed_round *round)
{
    warn_when_going_back(self, host, round);
    self->seen = true;
    self->phase = round->phase;
    self->round = round->round;
    emit(self, host, chain_id, block, round, false);
}

void feed_emit_missed(feed *self, const pl_host *host, int64_t chain_id, const feed_block *block,
                      const feed_round *round)
{
    emit(self, host, chain_id, block, round, true);
}
