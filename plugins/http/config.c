#include "config.h"

#include <stdlib.h>

#include "../common/text.h"

const char *const http_types[] = {"any", "text", "positive", "rfc3339", "unix_s", "unix_ms", NULL};
static const char *const methods[] = {"GET", "POST", NULL};

const char *http_entry_text(const pl_array *entries, const char *key)
{
    const http_entry *entry = entries->items;
    for (size_t i = 0; i < entries->count; i++)
        if (strcmp(entry[i].key, key) == 0)
            return entry[i].text;
    return NULL;
}

bool http_is_optional(const http_config *config, const char *field)
{
    const char *const *names = config->optional.items;
    for (size_t i = 0; i < config->optional.count; i++)
        if (strcmp(names[i], field) == 0)
            return true;
    return false;
}

char *http_fill(const char *text, const http_entry *each)
{
    text_buf out = {0};
    while (*text && out.len < HTTP_TEXT_MAX) {
        size_t plain = strcspn(text, "{");
        if (each && strncmp(text, "{name}", 6) == 0) {
            text_adds(&out, each->key);
            text += 6;
        } else if (each && strncmp(text, "{value}", 7) == 0) {
            text_adds(&out, each->text);
            text += 7;
        } else {
            plain += plain == 0;
            text_add(&out, text, plain);
            text += plain;
        }
    }
    if (out.len < HTTP_TEXT_MAX && text_end(&out))
        return out.data;
    text_release(&out);
    return NULL;
}

static pl_status blame(pl_error *error, const char *option, const char *key)
{
    (void)snprintf(error->option, sizeof error->option, key ? "%.16s.%.40s" : "%.16s", option, key);
    return PL_FAILED;
}

static bool is_output(const http_config *c, const char *name)
{
    return http_entry_text(&c->fields, name) || http_entry_text(&c->constants, name) ||
           (c->received_as && strcmp(c->received_as, name) == 0);
}

/* Names in `types` and `optional` must be fields; each output has one origin. */
static pl_status check_outputs(const http_config *c, pl_error *error)
{
    const http_entry *types = c->types.items, *constants = c->constants.items;
    const char *const *optional = c->optional.items;
    for (size_t i = 0; i < c->types.count; i++)
        if (!http_entry_text(&c->fields, types[i].key)) {
            (void)blame(error, "types", types[i].key);
            return pl_fail(error, PL_BAD_CONFIG, "'%.40s' is not one of fields", types[i].key);
        }
    for (size_t i = 0; i < c->optional.count; i++)
        if (!http_entry_text(&c->fields, optional[i])) {
            (void)snprintf(error->option, sizeof error->option, "optional[%zu]", i);
            return pl_fail(error, PL_BAD_CONFIG, "'%.40s' is not one of fields", optional[i]);
        }
    for (size_t i = 0; i < c->constants.count; i++)
        if (http_entry_text(&c->fields, constants[i].key)) {
            (void)blame(error, "constants", constants[i].key);
            return pl_fail(error, PL_BAD_CONFIG, "'%.40s' is one of fields already", constants[i].key);
        }
    (void)blame(error, "received_as", NULL);
    if (c->received_as &&
        (http_entry_text(&c->fields, c->received_as) || http_entry_text(&c->constants, c->received_as)))
        return pl_fail(error, PL_BAD_CONFIG, "'%.40s' is one of fields or constants already", c->received_as);
    (void)blame(error, "key", NULL);
    if (c->key && c->fields.count > 0 && !is_output(c, c->key))
        return pl_fail(error, PL_BAD_CONFIG, "'%.40s' is not a field of the records made here", c->key);
    return PL_OK;
}

static pl_status check_lengths(const http_config *c, pl_error *error)
{
    static const struct {
        const char *option;
        size_t offset, most;
    } lists[] = {{"each", offsetof(http_config, each), HTTP_EACH_MAX},
                 {"headers", offsetof(http_config, headers), HTTP_HEADERS_MAX},
                 {"query", offsetof(http_config, query), HTTP_HEADERS_MAX},
                 {"fields", offsetof(http_config, fields), HTTP_FIELDS_MAX},
                 {"constants", offsetof(http_config, constants), HTTP_FIELDS_MAX}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        pl_array array;
        memcpy(&array, (const char *)c + lists[i].offset, sizeof array);
        if (array.count > lists[i].most) {
            (void)blame(error, lists[i].option, NULL);
            return pl_fail(error, PL_BAD_CONFIG, "%zu entries; expected at most %zu", array.count, lists[i].most);
        }
    }
    return PL_OK;
}

pl_status http_check(const void *config_, pl_error *error)
{
    const http_config *c = config_;
    (void)blame(error, "url", NULL);
    if (strncmp(c->url, "http://", 7) != 0 && strncmp(c->url, "https://", 8) != 0)
        return pl_fail(error, PL_BAD_CONFIG, "url begins with http:// or https://");
    if (strchr(c->url, '#'))
        return pl_fail(error, PL_BAD_CONFIG, "a url to ask has no # part");
    (void)blame(error, "each", NULL);
    if (c->each.count > 1 && !strstr(c->url, "{name}") && !strstr(c->url, "{value}") &&
        !(c->body && (strstr(c->body, "{name}") || strstr(c->body, "{value}"))))
        return pl_fail(error, PL_BAD_CONFIG,
                       "neither url nor body holds {name} or {value}: all requests would be the same");
    (void)blame(error, "body", NULL);
    if (c->body && strcmp(c->method, "POST") != 0)
        return pl_fail(error, PL_BAD_CONFIG, "only a POST has a body: add method: POST");
    (void)blame(error, "constants", NULL);
    if (c->fields.count == 0 && (c->constants.count > 0 || c->received_as))
        return pl_fail(error, PL_BAD_CONFIG,
                       "constants and received_as need fields; without fields an item goes on as it came");
    if (check_lengths(c, error) != PL_OK || check_outputs(c, error) != PL_OK)
        return PL_FAILED;
    error->option[0] = '\0';
    return PL_OK;
}

#define MAP_OF(element) .fields = &(element), .field_count = 1, .element_size = sizeof(http_entry)

static const pl_option text_element = {.doc = "text", .type = PL_OPT_STR, .offset = offsetof(http_entry, text)};
static const pl_option secret_element = {.doc = "text", .type = PL_OPT_SECRET, .offset = offsetof(http_entry, text)};
static const pl_option path_element = {
    .doc = "a path in the item", .type = PL_OPT_FIELD, .offset = offsetof(http_entry, text)};
static const pl_option type_element = {.doc = "what the field must be, and how it is written",
                                       .type = PL_OPT_ENUM,
                                       .choices = http_types,
                                       .offset = offsetof(http_entry, text)};
static const pl_option name_element = {.doc = "one of fields", .type = PL_OPT_STR};

const pl_option http_options[HTTP_OPTION_COUNT] = {
    {PL_OPTION(http_config, url, STR, NULL, "what to ask; {name} and {value} stand for an entry of each"),
     .example = "https://api.example.com/ticker/{value}", .flags = PL_OPT_REQUIRED},
    {PL_OPTION(http_config, each, MAP, NULL,
               "one request an entry and tick, each its own lane; not given: one request"),
     .example = "{ ETH-USD: ETHUSD, BTC-USD: BTCUSD }", MAP_OF(text_element)},
    {PL_OPTION(http_config, every, DURATION_NS, "60s", "time between two polls"), .min = 1e8, .max = 8.64e13},
    {PL_OPTION(http_config, timeout, DURATION_NS, "10s", "for one whole request"), .min = 1e7, .max = 3e11},
    {PL_OPTION(http_config, method, ENUM, "GET", "how to ask"), .choices = methods},
    {PL_OPTION(http_config, body, STR, NULL, "what a POST sends; {name} and {value} as in url"),
     .example = "'{\"symbol\": \"{value}\"}'"},
    {PL_OPTION(http_config, headers, MAP, NULL, "header lines to send; never printed"),
     .example = "{ X-Api-Key: \"${API_KEY}\" }", MAP_OF(secret_element)},
    {PL_OPTION(http_config, query, MAP, NULL, "added to the url as ?NAME=TEXT, percent-encoded; never printed"),
     .example = "{ apikey: \"${API_KEY}\" }", MAP_OF(secret_element)},
    {PL_OPTION(http_config, items, FIELD, NULL,
               "path of an array in the answer: one record an element; not given: the whole answer, or its elements"),
     .example = "data.tickers"},
    {PL_OPTION(http_config, fields, MAP, NULL,
               "fields of a record and where they are in the item; not given: as it came"),
     .example = "{ price: last, volume_24h: stats.volume }", MAP_OF(path_element)},
    {PL_OPTION(http_config, types, MAP, NULL,
               "of fields: any (as it came), text (a number's digits, too), positive (a number above 0, or one in "
               "quotes; its digits as text), rfc3339, unix_s, unix_ms (times, written as RFC 3339)"),
     .example = "{ price: positive, source_ts: unix_s }", MAP_OF(type_element)},
    {PL_OPTION(http_config, optional, LIST, NULL,
               "fields that are left out when missing or not of their type; without any other an item is no record"),
     .example = "[volume_24h]", .fields = &name_element, .field_count = 1, .element_size = sizeof(const char *)},
    {PL_OPTION(http_config, constants, MAP, NULL,
               "fields with a fixed text, true, false or whole number; {name} and {value} as in url"),
     .example = "{ kind: api, schema: 1, source: example, pair: \"{name}\" }", MAP_OF(text_element)},
    {PL_OPTION(http_config, received_as, STR, NULL,
               "a field that holds when the answer arrived; it is the event time, too"),
     .example = "fetched_at"},
    {PL_OPTION(http_config, key, FIELD, NULL, "the field that is the record's key"), .example = "pair"},
    {PL_OPTION(http_config, stream, STR, NULL, "name of the stream; not given: the component's name")},
};
