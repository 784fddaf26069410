#include "mapping.h"

#include <inttypes.h>
#include <stdlib.h>

#include "../common/text.h"

enum { PATH_MAX_BYTES = 1024 };

/* `schema: 1` and `live: true` read as in YAML; anything else is text. */
static pl_value constant_value(const char *text)
{
    char again[24];
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        return (pl_value){.type = PL_BOOL, .as.b = text[0] == 't'};
    long long number = strtoll(text, NULL, 10);
    (void)snprintf(again, sizeof again, "%lld", number);
    if (strcmp(again, text) == 0) /* else it was no whole number, or written in another way: 007, 1e3 */
        return (pl_value){.type = PL_INT, .as.i = number};
    return (pl_value){.type = PL_STR, .as.s = PL_S(text)};
}

static mapping_output *add_output(mapping *self, const char *name)
{
    mapping_output *output = &self->outputs[self->count++];
    output->name = name;
    return output;
}

static pl_status add_outputs(mapping *self, const http_entry *each, pl_error *error)
{
    const http_config *c = self->config;
    const http_entry *fields = c->fields.items, *constants = c->constants.items;
    for (size_t i = 0; i < c->constants.count; i++) {
        mapping_output *output = add_output(self, constants[i].key);
        output->constant = http_fill(constants[i].text, each);
        if (!output->constant)
            return pl_fail(error, PL_BAD_CONFIG, "constant %.40s is longer than %d bytes", output->name, HTTP_TEXT_MAX);
        output->value = constant_value(output->constant);
    }
    for (size_t i = 0; i < c->fields.count; i++) {
        mapping_output *output = add_output(self, fields[i].key);
        const char *type = http_entry_text(&c->types, output->name);
        output->type = type ? type : http_types[0];
        output->optional = http_is_optional(c, output->name);
        output->path = http_fill(fields[i].text, each);
        if (!output->path)
            return pl_fail(error, PL_BAD_CONFIG, "the path of %.40s is longer than %d bytes", output->name,
                           HTTP_TEXT_MAX);
    }
    if (c->received_as)
        (void)add_output(self, c->received_as);
    return PL_OK;
}

pl_status mapping_init(mapping *self, const pl_host *host, const pl_json *json, const http_config *config,
                       const http_entry *each, pl_error *error)
{
    *self = (mapping){.config = config, .host = host, .json = json};
    self->outputs = calloc(config->fields.count + config->constants.count + 1, sizeof *self->outputs);
    self->key = config->key ? http_fill(config->key, each) : NULL;
    if (!self->outputs || (config->key && !self->key))
        return pl_fail(error, PL_HALT, "no memory");
    return add_outputs(self, each, error);
}

void mapping_release(mapping *self)
{
    for (size_t i = 0; i < self->count; i++) {
        free(self->outputs[i].path);
        free(self->outputs[i].constant);
    }
    free(self->outputs);
    free(self->key);
    *self = (mapping){.config = NULL};
}

static bool get(const mapping *self, const pl_doc *doc, const char *item, const char *path, pl_value *value)
{
    char whole[PATH_MAX_BYTES];
    bool dot = item[0] && path[0] && path[0] != '[';
    int len = snprintf(whole, sizeof whole, "%s%s%s", item, dot ? "." : "", path);
    return len > 0 && (size_t)len < sizeof whole ? self->json->get(doc, PL_S(whole), value)
                                                 : len == 0 && self->json->get(doc, PL_S(""), value);
}

/* Storage of the texts that a value needs beyond the answer's own. */
typedef struct scratch {
    char digits[MAPPING_OUTPUTS_MAX][NUMBER_TEXT_MAX];
} scratch;

static const char *take_text(pl_value *value, char out[NUMBER_TEXT_MAX])
{
    if (value->type == PL_STR)
        return NULL;
    if (value->type == PL_DECIMAL)
        return value->type = PL_STR, NULL;
    if (value->type != PL_INT)
        return "not a text";
    (void)snprintf(out, NUMBER_TEXT_MAX, "%" PRId64, value->as.i);
    *value = (pl_value){.type = PL_STR, .as.s = PL_S(out)};
    return NULL;
}

/* Checks *value against the output's type and brings it to its written form; NULL, or what it is instead. */
static const char *convert(const mapping_output *output, pl_value *value, char out[NUMBER_TEXT_MAX])
{
    const char *wrong = NULL;
    int64_t unix_ns = 0;
    if (strcmp(output->type, "any") == 0)
        return NULL;
    if (strcmp(output->type, "text") == 0)
        return take_text(value, out);
    if (strcmp(output->type, "positive") == 0) {
        wrong = number_positive(true, value, NUMBER_IN_TEXT, out);
        if (!wrong)
            *value = (pl_value){.type = PL_STR, .as.s = PL_S(out)};
        return wrong;
    }
    if (strcmp(output->type, "rfc3339") == 0)
        wrong = value->type == PL_STR && text_time_parse(value->as.s, &unix_ns) ? NULL : "not an RFC 3339 time";
    else
        wrong = number_unix_time(true, value, strcmp(output->type, "unix_s") == 0 ? 1000000000 : 1000000, &unix_ns);
    if (!wrong)
        *value = (pl_value){.type = PL_TIME, .as.i = unix_ns};
    return wrong;
}

static const char *read_field(const mapping *self, const pl_doc *doc, const char *item, const mapping_output *output,
                              pl_value *value, char digits[NUMBER_TEXT_MAX])
{
    if (!get(self, doc, item, output->path, value))
        return "missing";
    if (value->type == PL_NIL && strcmp(output->type, "any") != 0)
        return "null";
    return convert(output, value, digits);
}

/* Text of a scalar, for a key; null for anything else. */
static pl_str key_text(const pl_value *value, char out[NUMBER_TEXT_MAX])
{
    if (value->type == PL_STR || value->type == PL_DECIMAL)
        return value->as.s;
    if (value->type != PL_INT)
        return (pl_str){0};
    (void)snprintf(out, NUMBER_TEXT_MAX, "%" PRId64, value->as.i);
    return PL_S(out);
}

static void emit(const mapping *self, const pl_emission *emission)
{
    /* emit takes the record even when it asks to stop, and an answer is bounded: go on to its end. */
    (void)self->host->emit(self->host, emission);
}

static pl_emission envelope(const mapping *self, int64_t received_unix_ns)
{
    const char *stream = self->config->stream ? self->config->stream : self->host->instance;
    return (pl_emission){.struct_size = sizeof(pl_emission),
                         .time_unix_ns = self->config->received_as ? received_unix_ns : 0,
                         .stream = PL_S(stream)};
}

/* One item with `fields`. NULL: emitted; else what is wrong and, in *name, with which output. */
static const char *map_item(const mapping *self, const pl_doc *doc, const char *item, int64_t received_unix_ns,
                            const char **name)
{
    pl_field fields[MAPPING_OUTPUTS_MAX];
    scratch texts;
    char key_digits[NUMBER_TEXT_MAX];
    pl_emission emission = envelope(self, received_unix_ns);
    for (size_t i = 0; i < self->count; i++) {
        const mapping_output *output = &self->outputs[i];
        pl_value value = output->value;
        *name = output->name;
        if (output->path) {
            const char *wrong = read_field(self, doc, item, output, &value, texts.digits[i]);
            if (wrong && output->optional)
                continue;
            if (wrong)
                return wrong;
        } else if (!output->constant) {
            value = (pl_value){.type = PL_TIME, .as.i = received_unix_ns};
        }
        if (self->key && strcmp(self->key, output->name) == 0)
            emission.key = key_text(&value, key_digits);
        fields[emission.field_count++] = (pl_field){PL_S(output->name), value};
    }
    emission.fields = fields;
    emit(self, &emission);
    return NULL;
}

/* One item as it came. */
static const char *pass_item(const mapping *self, const pl_doc *doc, const char *item, const char **name)
{
    pl_value value, key;
    char key_digits[NUMBER_TEXT_MAX];
    pl_emission emission = envelope(self, 0);
    *name = "item";
    if (!get(self, doc, item, "", &value) || value.type != PL_JSON)
        return "not an object or array";
    emission.payload = value.as.s;
    if (self->key && get(self, doc, item, self->key, &key))
        emission.key = key_text(&key, key_digits);
    emit(self, &emission);
    return NULL;
}

/* How many items there are and where: -1: the whole answer is one. */
static pl_status find_items(const mapping *self, const pl_doc *doc, const char **base, int64_t *count, pl_error *error)
{
    *base = self->config->items ? self->config->items : "";
    *count = self->json->count(doc, PL_S(*base));
    if (*count < 0 && self->config->items)
        return pl_fail(error, PL_REJECT, "the answer has no array at %.100s", *base);
    if (*count > MAPPING_ITEMS_MAX)
        return pl_fail(error, PL_REJECT, "the answer has %" PRId64 " items; at most %d are taken", *count,
                       MAPPING_ITEMS_MAX);
    return PL_OK;
}

pl_status mapping_run(const mapping *self, const pl_doc *doc, int64_t received_unix_ns, pl_error *error)
{
    const char *base, *first_wrong = NULL, *first_name = NULL;
    int64_t count, first_bad = 0, bad = 0;
    if (find_items(self, doc, &base, &count, error) != PL_OK)
        return PL_FAILED;
    for (int64_t i = 0; i < (count < 0 ? 1 : count); i++) {
        char item[PATH_MAX_BYTES / 2] = "";
        const char *name = NULL;
        if (count >= 0)
            (void)snprintf(item, sizeof item, "%.400s[%" PRId64 "]", base, i);
        const char *wrong = self->config->fields.count > 0 ? map_item(self, doc, item, received_unix_ns, &name)
                                                           : pass_item(self, doc, item, &name);
        if (wrong && bad++ == 0) {
            first_bad = i;
            first_wrong = wrong;
            first_name = name;
        }
    }
    if (bad == 0)
        return PL_OK;
    if (count < 0)
        return pl_fail(error, PL_REJECT, "%.64s is %s", first_name, first_wrong);
    return pl_fail(error, PL_REJECT, "item %" PRId64 ": %.64s is %s; %" PRId64 " of %" PRId64 " items are good",
                   first_bad, first_name, first_wrong, count - bad, count);
}
