#include "known.h"

#include <inttypes.h>
#include <stdlib.h>

/* {"chain_id":1,"feeds":{"0x5f4e...":[7,"21345",1795371982]}}: phase, round (up to 64 bits: as text), updatedAt. */
static const char KEY[] = "rounds";

bool known_init(known *self, const pl_host *host, feed *feeds, size_t count, int64_t chain_id)
{
    *self = (known){.host = host,
                    .json = host->extension(host, "pl.json/1"),
                    .store = host->extension(host, "pl.store/1"),
                    .feeds = feeds,
                    .count = count,
                    .chain_id = chain_id};
    self->waiting = calloc(count, sizeof *self->waiting);
    return self->waiting != NULL;
}

void known_release(known *self)
{
    free(self->waiting);
}

/* Addresses are written by some with capitals as a checksum. */
static void lower(const char *address, char out[FEED_ADDRESS_TEXT])
{
    size_t i = 0;
    for (; address[i] && i < FEED_ADDRESS_TEXT - 1; i++)
        out[i] = (char)(address[i] >= 'A' && address[i] <= 'F' ? address[i] - 'A' + 'a' : address[i]);
    out[i] = '\0';
}

static bool get(const known *self, const pl_doc *doc, const feed *feed, int place, pl_value *value)
{
    char path[FEED_ADDRESS_TEXT + 16], address[FEED_ADDRESS_TEXT];
    lower(feed->config->proxy, address);
    (void)snprintf(path, sizeof path, "feeds.%s[%d]", address, place);
    return self->json->get(doc, PL_S(path), value);
}

static void restore_feed(const known *self, const pl_doc *doc, feed *feed)
{
    pl_value phase, round, updated;
    char digits[24], *end = digits;
    if (!get(self, doc, feed, 0, &phase) || !get(self, doc, feed, 1, &round) || !get(self, doc, feed, 2, &updated) ||
        phase.type != PL_INT || phase.as.i < 0 || phase.as.i > UINT16_MAX || round.type != PL_STR ||
        round.as.s.len == 0 || round.as.s.len >= sizeof digits || updated.type != PL_INT || updated.as.i < 0)
        return;
    memcpy(digits, round.as.s.ptr, round.as.s.len);
    digits[round.as.s.len] = '\0';
    feed->known = (feed_mark){true, (uint64_t)phase.as.i, strtoull(digits, &end, 10), (uint64_t)updated.as.i};
    feed->known.any = *end == '\0';
}

void known_restore(known *self)
{
    pl_error error = {.struct_size = sizeof error};
    pl_str text;
    pl_doc *doc = NULL;
    pl_value chain;
    if (!self->store || !self->store->get(self->host, PL_S(KEY), &text))
        return;
    if (self->json->parse(self->host, text, &doc, &error) != PL_OK || !self->json->get(doc, PL_S("chain_id"), &chain) ||
        chain.type != PL_INT) {
        self->host->log(self->host, PL_WARN, "what was kept about the rounds can't be read: none is caught up");
        return;
    }
    for (size_t i = 0; chain.as.i == self->chain_id && i < self->count; i++)
        restore_feed(self, doc, &self->feeds[i]);
}

static void copy(known *self)
{
    for (size_t i = 0; i < self->count; i++)
        self->waiting[i] = self->feeds[i].known;
    self->waiting_tick = self->current_tick;
}

void known_note(known *self, int64_t tick_unix_ns)
{
    self->current_tick = tick_unix_ns;
    if (self->waiting_tick == 0)
        copy(self);
}

static char *written(const known *self, size_t *len)
{
    char *text = NULL, address[FEED_ADDRESS_TEXT];
    const char *comma = "";
    FILE *out = open_memstream(&text, len);
    if (!out)
        return NULL;
    (void)fprintf(out, "{\"chain_id\":%" PRId64 ",\"feeds\":{", self->chain_id);
    for (size_t i = 0; i < self->count; i++) {
        const feed_mark *mark = &self->waiting[i];
        lower(self->feeds[i].config->proxy, address);
        if (mark->any)
            (void)fprintf(out, "%s\"%s\":[%" PRIu64 ",\"%" PRIu64 "\",%" PRIu64 "]", comma, address, mark->phase,
                          mark->round, mark->updated_s);
        comma = mark->any ? "," : comma;
    }
    (void)fputs("}}", out);
    bool good = !ferror(out);
    if (fclose(out) == 0 && good)
        return text;
    free(text);
    return NULL;
}

static pl_status keep(known *self, pl_error *error)
{
    size_t len = 0;
    char *text = written(self, &len);
    if (!text)
        return pl_fail(error, PL_RETRY, "no memory for what is known of the rounds");
    pl_str before;
    pl_status status = PL_OK;
    if (!self->store->get(self->host, PL_S(KEY), &before) || before.len != len || memcmp(before.ptr, text, len) != 0)
        status = self->store->put(self->host, PL_S(KEY), (pl_str){text, len}, error);
    free(text);
    return status;
}

pl_status known_commit(known *self, int64_t tick_unix_ns, pl_error *error)
{
    if (!self->store || self->waiting_tick == 0 || tick_unix_ns < self->waiting_tick)
        return PL_OK;
    if (tick_unix_ns >= self->current_tick)
        copy(self);
    if (keep(self, error) != PL_OK)
        return PL_FAILED;
    copy(self);
    if (tick_unix_ns >= self->current_tick)
        self->waiting_tick = 0;
    return PL_OK;
}
