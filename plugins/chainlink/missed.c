#include "missed.h"

#include <inttypes.h>

typedef struct span { /* rounds of one phase, both ends included; from > to: none */
    uint64_t phase, from, to;
} span;

typedef struct plan { /* oldest first */
    span spans[MISSED_PHASES_MAX + 2];
    size_t count;
} plan;

void missed_init(missed *self, const pl_host *host, const rpc_node *node, int64_t most, int64_t chain_id)
{
    self->host = host;
    self->node = node;
    self->most = most;
    self->chain_id = chain_id;
    self->read = host->metric(host, PL_COUNTER, "rounds_caught_up", "1", "missed rounds that were read afterwards");
    self->given_up = host->metric(host, PL_COUNTER, "rounds_given_up", "1",
                                  "missed rounds that were not read: beyond catch_up, or with an answer to refuse");
}

static void add_span(plan *plan, uint64_t phase, uint64_t from, uint64_t to)
{
    if (from <= to && to != UINT64_MAX)
        plan->spans[plan->count++] = (span){phase, from, to};
}

static uint64_t total_of(const plan *plan)
{
    uint64_t total = 0;
    for (size_t i = 0; i < plan->count; i++)
        if (__builtin_add_overflow(total, plan->spans[i].to - plan->spans[i].from, &total) ||
            __builtin_add_overflow(total, 1, &total))
            return UINT64_MAX;
    return total;
}

/* Gives up the oldest rounds until `most` are left; how many. */
static uint64_t give_up_oldest(plan *plan, uint64_t most)
{
    uint64_t total = total_of(plan), rest = total > most ? total - most : 0;
    for (size_t i = 0; i < plan->count && rest > 0; i++) {
        span *one = &plan->spans[i];
        uint64_t part = one->to - one->from < rest ? one->to - one->from + 1 : rest;
        one->from += part;
        rest -= part;
    }
    return total > most ? total - most : 0;
}

static void set_eth_call(rpc_call *call, const char *to, const char *data, const char *at)
{
    call->method = "eth_call";
    (void)snprintf(call->params, sizeof call->params, "[{\"to\":\"%s\",\"data\":\"0x%s\"},%s]", to, data, at);
}

static void set_round_call(rpc_call *call, const feed *feed, uint64_t phase, uint64_t round, const char *at)
{
    char data[8 + 2 * ABI_WORD + 1];
    (void)snprintf(data, sizeof data, "9a6fc8f5%044d%04x%016" PRIx64, 0, (unsigned)(phase & 0xffff), round);
    set_eth_call(call, feed->config->proxy, data, at);
}

/* The newest round of each phase from `first` on, by asking the proxy for the aggregators and those for their rounds.
 * 0: none. */
static pl_status read_ends(missed *self, const feed *feed, uint64_t first, size_t count, const char *at,
                           uint64_t ends[MISSED_PHASES_MAX], pl_error *error)
{
    char address[MISSED_PHASES_MAX][FEED_ADDRESS_TEXT], data[8 + 2 * ABI_WORD + 1];
    size_t asked = 0, asker[MISSED_PHASES_MAX];
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(data, sizeof data, "c1597304%048d%016" PRIx64, 0, first + i);
        set_eth_call(&self->calls[i], feed->config->proxy, data, at);
        ends[i] = 0;
    }
    if (rpc_batch(self->node, self->calls, self->replies, count, error) != PL_OK)
        return PL_FAILED;
    for (size_t i = 0; i < count; i++) {
        if (self->replies[i].failed && !self->replies[i].reverted)
            return rpc_fail(&self->replies[i], "phaseAggregators()", error);
        if (feed_address(&self->replies[i], address[i]))
            asker[asked++] = i;
    }
    for (size_t i = 0; i < asked; i++)
        set_eth_call(&self->calls[i], address[asker[i]], "feaf968c", at);
    if (asked && rpc_batch(self->node, self->calls, self->replies, asked, error) != PL_OK)
        return PL_FAILED;
    for (size_t i = 0; i < asked; i++) {
        if (self->replies[i].failed && !self->replies[i].reverted)
            return rpc_fail(&self->replies[i], "an earlier phase's latestRoundData()", error);
        ends[asker[i]] = feed_newest_round(&self->replies[i]);
    }
    return PL_OK;
}

static pl_status make_plan(missed *self, feed *feed, const char *at, const feed_round *newest, plan *plan,
                           pl_error *error)
{
    const feed_mark *known = &feed->known;
    if (newest->phase == known->phase) {
        add_span(plan, newest->phase, known->round + 1, newest->round - 1);
        return PL_OK;
    }
    uint64_t ends[MISSED_PHASES_MAX], first = known->phase;
    if (newest->phase - first > MISSED_PHASES_MAX)
        first = newest->phase - MISSED_PHASES_MAX;
    size_t count = (size_t)(newest->phase - first);
    if (read_ends(self, feed, first, count, at, ends, error) != PL_OK)
        return PL_FAILED;
    for (size_t i = 0; i < count; i++)
        add_span(plan, first + i, first + i == known->phase ? known->round + 1 : 1, ends[i]);
    add_span(plan, newest->phase, 1, newest->round - 1);
    if (!feed->before.any && known->updated_s != 0)
        feed->before = *known;
    return PL_OK;
}

static void tell(const missed *self, int32_t level, const feed *feed, const char *format, uint64_t a, uint64_t b)
{
    char words[160], text[224];
    (void)snprintf(words, sizeof words, format, a, b);
    (void)snprintf(text, sizeof text, "%s %s", feed->config->pair, words);
    self->host->log(self->host, level, text);
}

static void trouble(missed *self, const feed *feed, const pl_error *error)
{
    char text[320];
    if (!self->quiet) {
        (void)snprintf(text, sizeof text, "%s: the rounds that were missed can't be read yet: %.200s",
                       feed->config->pair, error->message);
        self->host->log(self->host, PL_WARN, text);
    }
    self->quiet = true;
}

static void emit(missed *self, feed *feed, const feed_block *block, const feed_round *round)
{
    feed_emit_missed(feed, self->host, self->chain_id, block, round);
    self->host->observe(self->read, 1);
}

/* The known round again: another time says that its block was replaced. */
static void take_known(missed *self, feed *feed, const feed_block *block, const rpc_reply *reply)
{
    pl_error error = {.struct_size = sizeof error};
    feed_round round;
    if (reply->failed || feed_absent(reply) ||
        feed_read(feed, "getRoundData()", reply, block, &round, &error) != PL_OK ||
        (round.updated_s == feed->known.updated_s && !feed_differs(feed, &round)))
        return;
    feed->replaced = (feed_mark){.any = true, .phase = round.phase, .round = round.round};
    tell(self, PL_WARN, feed, "round %" PRIu64 "/%" PRIu64 " is another one now: blocks were replaced", round.phase,
         round.round);
    emit(self, feed, block, &round);
}

/* One reply to getRoundData(). false: trouble of the node; ask again. */
static bool take_round(missed *self, feed *feed, const feed_block *block, const rpc_reply *reply, feed_mark asked)
{
    pl_error error = {.struct_size = sizeof error};
    const feed_mark *before = &feed->before;
    feed_round round;
    if (reply->failed && !reply->reverted) {
        (void)rpc_fail(reply, "getRoundData()", &error);
        trouble(self, feed, &error);
        return false;
    }
    if (feed_absent(reply)) {
        feed->known = asked;
        return true;
    }
    pl_status status = feed_read(feed, "getRoundData()", reply, block, &round, &error);
    if (status == PL_OK && (round.phase != asked.phase || round.round != asked.round))
        status = pl_fail(&error, PL_REJECT, "%s: getRoundData() gave another round", feed->config->pair);
    if (status == PL_OK) {
        asked.updated_s = round.updated_s;
        /* A new phase's aggregator is at work before the proxy points to it: what it published before the old phase's
         * round that was seen in force was never in force itself. */
        if (!before->any || asked.phase == before->phase || round.updated_s >= before->updated_s)
            emit(self, feed, block, &round);
    } else {
        char text[320];
        (void)snprintf(text, sizeof text, "round %" PRIu64 "/%" PRIu64 " is given up: %.200s", asked.phase, asked.round,
                       error.message);
        self->host->log(self->host, PL_INFO, text);
        self->host->observe(self->given_up, 1);
    }
    feed->known = asked;
    return true;
}

/* Reads as many of the plan's rounds as there is room for. true: all of them. */
static bool read_rounds(missed *self, feed *feed, const feed_block *block, const char *at, const plan *plan, bool again)
{
    pl_error error = {.struct_size = sizeof error};
    feed_mark asked[MISSED_A_POLL];
    size_t count = 0, extra = again ? 1 : 0;
    if (again)
        set_round_call(&self->calls[0], feed, feed->known.phase, feed->known.round, at);
    for (size_t i = 0; i < plan->count; i++) {
        const span *one = &plan->spans[i];
        for (uint64_t k = 0; k <= one->to - one->from && count < self->room; k++) {
            asked[count] = (feed_mark){true, one->phase, one->from + k, 0};
            set_round_call(&self->calls[extra + count], feed, one->phase, one->from + k, at);
            count++;
        }
    }
    self->room -= count;
    if (count + extra == 0)
        return true;
    if (rpc_batch(self->node, self->calls, self->replies, count + extra, &error) != PL_OK) {
        trouble(self, feed, &error);
        return false;
    }
    if (again)
        take_known(self, feed, block, &self->replies[0]);
    for (size_t i = 0; i < count; i++)
        if (!take_round(self, feed, block, &self->replies[extra + i], asked[i]))
            return false;
    self->quiet = false;
    return count == total_of(plan);
}

/* What is more than catch_up allows is given up, and told once a gap. */
static void bound_plan(missed *self, feed *feed, plan *plan)
{
    uint64_t total = total_of(plan), given_up = give_up_oldest(plan, (uint64_t)self->most);
    if (given_up > 0) {
        span first = {0};
        for (size_t i = plan->count; i-- > 0;)
            first = plan->spans[i].from <= plan->spans[i].to ? plan->spans[i] : first;
        feed->known = (feed_mark){true, first.phase, first.from - 1, 0};
        self->host->observe(self->given_up, (double)given_up);
    }
    if (!feed->catching_up && given_up > 0)
        tell(self, PL_WARN, feed, "missed %" PRIu64 " rounds; the oldest %" PRIu64 " are beyond catch_up and given up",
             total, given_up);
    else if (!feed->catching_up && total > 0)
        tell(self, PL_INFO, feed, "missed %" PRIu64 " rounds; they are read now", total, 0);
    feed->catching_up = feed->catching_up || total > 0;
}

/* Below a round that was replaced others may be, too: those that are remembered are read again, and what is another one
 * now is handed over again. false: trouble of the node; the next poll tries again. */
static bool look_back(missed *self, feed *feed, const feed_block *block, const char *at)
{
    const feed_mark from = feed->replaced;
    pl_error error = {.struct_size = sizeof error};
    size_t count = 0;
    uint64_t others = 0;
    for (uint64_t round = from.round > FEED_HANDED_MAX ? from.round - FEED_HANDED_MAX : 1; round < from.round; round++)
        if (feed_handed(feed, from.phase, round))
            set_round_call(&self->calls[count++], feed, from.phase, round, at);
    if (count && self->requests == 0)
        return false;
    self->requests -= count ? 1 : 0;
    bool good = !count || rpc_batch(self->node, self->calls, self->replies, count, &error) == PL_OK;
    for (size_t i = 0; good && i < count; i++) {
        const rpc_reply *reply = &self->replies[i];
        feed_round round;
        if (reply->failed && !reply->reverted)
            good = rpc_fail(reply, "getRoundData()", &error) == PL_OK;
        else if (!feed_absent(reply) && feed_read(feed, "getRoundData()", reply, block, &round, &error) == PL_OK &&
                 feed_differs(feed, &round)) {
            emit(self, feed, block, &round);
            others++;
        }
    }
    if (others > 0)
        tell(self, PL_WARN, feed, "has %" PRIu64 " other rounds before %" PRIu64 " now: blocks were replaced", others,
             from.round);
    if (!good)
        trouble(self, feed, &error);
    feed->replaced.any = !good;
    return good;
}

void missed_begin(missed *self)
{
    self->room = MISSED_A_POLL;
    self->requests = MISSED_REQUESTS_A_POLL;
}

void missed_catch_up(missed *self, feed *feed, const feed_block *block, const char *at, const feed_round *newest)
{
    const feed_mark *known = &feed->known;
    pl_error error = {.struct_size = sizeof error};
    plan plan = {.count = 0};
    if (feed_differs(feed, newest))
        feed->replaced = (feed_mark){.any = true, .phase = newest->phase, .round = newest->round};
    bool forward =
        known->any && (newest->phase > known->phase || (newest->phase == known->phase && newest->round > known->round));
    if (forward && self->most > 0) {
        bool again = newest->phase == known->phase && known->updated_s != 0;
        if (self->room == 0 || self->requests < MISSED_REQUESTS_A_FEED)
            return;
        self->requests -= MISSED_REQUESTS_A_FEED;
        if (make_plan(self, feed, at, newest, &plan, &error) != PL_OK) {
            trouble(self, feed, &error);
            return;
        }
        bound_plan(self, feed, &plan);
        if (!read_rounds(self, feed, block, at, &plan, again && known->updated_s != 0))
            return;
    }
    if (feed->replaced.any && self->most > 0 && !look_back(self, feed, block, at))
        return;
    feed->known = (feed_mark){true, newest->phase, newest->round, newest->updated_s};
    feed->before = (feed_mark){.any = false};
    feed->catching_up = false;
}
