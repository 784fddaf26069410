#include "price.h"

#include <ctype.h>
#include <stdlib.h>

#define NS_PER_MS 1000000

static const char pair_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
static const char id_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";

static bool is_pair(const char *pair)
{
    size_t base = strspn(pair, pair_letters);
    if (base == 0 || base >= PRICE_NAME_MAX || pair[base] != '-')
        return false;
    size_t quote = strspn(pair + base + 1, pair_letters);
    return quote > 0 && quote < PRICE_NAME_MAX && pair[base + 1 + quote] == '\0';
}

static bool is_id(const char *id)
{
    size_t len = strspn(id, id_letters);
    return len > 0 && len < PRICE_ID_MAX && id[len] == '\0';
}

/* The id under `ids`, else the table's for the pair's base; NULL: not known. */
static const char *find_id(const char *pair, const pl_array *ids, const price_id *known)
{
    const price_id *given = ids->items;
    for (size_t i = 0; i < ids->count; i++)
        if (strcmp(given[i].key, pair) == 0)
            return given[i].id;
    size_t base = strcspn(pair, "-");
    for (; known->key; known++)
        if (strncmp(known->key, pair, base) == 0 && known->key[base] == '\0')
            return known->id;
    return NULL;
}

static bool has_pair(const pl_array *pairs, size_t end, const char *pair)
{
    const char *const *names = pairs->items;
    for (size_t i = 0; i < end; i++)
        if (strcmp(names[i], pair) == 0)
            return true;
    return false;
}

static pl_status bad_option(pl_error *error, const char *option, size_t index)
{
    (void)snprintf(error->option, sizeof error->option, "%s[%zu]", option, index);
    return PL_FAILED;
}

static pl_status check_pair(const pl_array *pairs, size_t i, const pl_array *ids, const price_id *known,
                            pl_error *error)
{
    const char *pair = ((const char *const *)pairs->items)[i];
    (void)bad_option(error, "pairs", i);
    if (!is_pair(pair))
        return pl_fail(error, PL_BAD_CONFIG, "'%.40s' is not a pair: two currencies in capitals, as in ETH-USD", pair);
    if (has_pair(pairs, i, pair))
        return pl_fail(error, PL_BAD_CONFIG, "%s is listed twice", pair);
    if (!find_id(pair, ids, known))
        return pl_fail(error, PL_BAD_CONFIG, "the API's id for %s is not built in; give it under ids: { %s: its-id }",
                       pair, pair);
    return PL_OK;
}

pl_status price_check(const pl_array *pairs, const pl_array *ids, const price_id *known, const char *base_url,
                      pl_error *error)
{
    const price_id *given = ids->items;
    if (pairs->count == 0 || pairs->count > PRICE_PAIRS_MAX) {
        (void)snprintf(error->option, sizeof error->option, "pairs");
        return pl_fail(error, PL_BAD_CONFIG, "%zu pairs; expected 1 to %d", pairs->count, PRICE_PAIRS_MAX);
    }
    for (size_t i = 0; i < pairs->count; i++)
        if (check_pair(pairs, i, ids, known, error) != PL_OK)
            return PL_FAILED;
    for (size_t i = 0; i < ids->count; i++) {
        (void)snprintf(error->option, sizeof error->option, "ids.%.40s", given[i].key);
        if (!has_pair(pairs, pairs->count, given[i].key))
            return pl_fail(error, PL_BAD_CONFIG, "'%.40s' is not one of pairs", given[i].key);
        if (!is_id(given[i].id))
            return pl_fail(error, PL_BAD_CONFIG, "'%.40s' is not an id: letters, digits, - _ and .", given[i].id);
    }
    (void)snprintf(error->option, sizeof error->option, "base_url");
    if (base_url && strncmp(base_url, "http://", 7) != 0 && strncmp(base_url, "https://", 8) != 0)
        return pl_fail(error, PL_BAD_CONFIG, "base_url begins with http:// or https://");
    error->option[0] = '\0';
    return PL_OK;
}

price_feed *price_feeds(const pl_array *pairs, const pl_array *ids, const price_id *known)
{
    const char *const *names = pairs->items;
    price_feed *feeds = calloc(pairs->count, sizeof *feeds);
    for (size_t i = 0; feeds && i < pairs->count; i++) {
        const char *quote = strchr(names[i], '-') + 1;
        feeds[i].pair = names[i];
        feeds[i].id = find_id(names[i], ids, known);
        for (size_t k = 0; quote[k] && k < PRICE_NAME_MAX - 1; k++)
            feeds[i].quote[k] = (char)tolower((unsigned char)quote[k]);
    }
    return feeds;
}

int64_t price_now(const pl_host *host)
{
    return host->unix_ns(host) / NS_PER_MS * NS_PER_MS;
}

static pl_field text_field(const char *name, const char *text)
{
    return (pl_field){PL_S(name), {.type = PL_STR, .as.s = PL_S(text)}};
}

static pl_field time_field(const char *name, int64_t unix_ns)
{
    return (pl_field){PL_S(name), {.type = PL_TIME, .as.i = unix_ns}};
}

void price_emit(const pl_host *host, price_feed *feed, const price_sample *sample)
{
    if (strcmp(feed->last_price, sample->price) != 0) {
        memcpy(feed->last_price, sample->price, sizeof feed->last_price);
        feed->changed_unix_ns = sample->fetched_unix_ns;
    }
    const pl_field fields[] = {
        text_field("kind", "api"),
        {PL_S("schema"), {.type = PL_INT, .as.i = 1}},
        text_field("source", sample->source),
        text_field("pair", feed->pair),
        text_field("price", sample->price),
        time_field("source_ts", sample->source_unix_ns),
        time_field("fetched_at", sample->fetched_unix_ns),
        time_field("changed_at", feed->changed_unix_ns),
        text_field("volume_24h", sample->volume),
    };
    uint32_t count = sizeof fields / sizeof fields[0];
    const pl_emission emission = {.struct_size = sizeof emission,
                                  .time_unix_ns = sample->fetched_unix_ns,
                                  .stream = PL_S(sample->source),
                                  .key = PL_S(feed->pair),
                                  .fields = fields,
                                  .field_count = sample->volume[0] ? count : count - 1};
    /* emit takes the record even when it asks to stop, and the rest of an answer is a bounded handful: go on. */
    (void)host->emit(host, &emission);
}

pl_status price_parse(const pl_host *host, const pl_json *json, pl_str answer, pl_doc **doc, pl_error *error)
{
    pl_value root;
    size_t at = 0;
    while (at < answer.len && isspace((unsigned char)answer.ptr[at]))
        at++;
    if (at == answer.len)
        return pl_fail(error, PL_REJECT, "the answer is empty");
    if (answer.ptr[at] == '<')
        return pl_fail(error, PL_REJECT, "the answer is HTML, not JSON");
    if (json->parse(host, answer, doc, error) != PL_OK) {
        price_blame(error, "the answer");
        return PL_FAILED;
    }
    if (!json->get(*doc, PL_S(""), &root) || root.type != PL_JSON || root.as.s.len == 0 || root.as.s.ptr[0] != '{')
        return pl_fail(error, PL_REJECT, "the answer is not a JSON object");
    return PL_OK;
}

void price_blame(pl_error *error, const char *subject)
{
    char message[sizeof error->message];
    memcpy(message, error->message, sizeof message);
    message[sizeof message - 1] = '\0';
    (void)snprintf(error->message, sizeof error->message, "%.64s: %.180s", subject, message);
}

pl_status price_extensions(const pl_host *host, const pl_http **http, const pl_json **json, pl_error *error)
{
    *http = host->extension(host, "pl.http/1");
    *json = host->extension(host, "pl.json/1");
    if (!*http || !*json)
        return pl_fail(error, PL_HALT, "this host does not offer %s", *http ? "pl.json/1" : "pl.http/1");
    return PL_OK;
}
