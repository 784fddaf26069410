#include <base/str.h>
#include <base/timestamp.h>
#include <flow/dead_letter.h>
#include <flow/letter.h>

enum { HEADERS_MAX = 4096, PREFIX_LEN = sizeof PL_LETTER_PREFIX - 1 };

typedef struct facts { /* what the headers say, as text; null: not there */
    pl_str component, reason, attempts, lane, position, time, id, stream, event_time;
} facts;

static pl_status no_memory(pl_error *error)
{
    return pl_fail(error, PL_RETRY, "no memory for a dead letter");
}

static pl_status refuse(pl_error *error, const char *why)
{
    return pl_fail(error, PL_REJECT, "%s", why);
}

static bool is_fact(pl_str name)
{
    return name.len > PREFIX_LEN && memcmp(name.ptr, PL_LETTER_PREFIX, PREFIX_LEN) == 0;
}

static void take_fact(facts *facts, pl_str name, pl_str text)
{
    const struct {
        const char *name;
        pl_str *text;
    } known[] = {{PL_LETTER_COMPONENT, &facts->component},
                 {PL_LETTER_REASON, &facts->reason},
                 {PL_LETTER_ATTEMPTS, &facts->attempts},
                 {PL_LETTER_LANE, &facts->lane},
                 {PL_LETTER_POSITION, &facts->position},
                 {PL_LETTER_TIME, &facts->time},
                 {PL_LETTER_ID, &facts->id},
                 {PL_LETTER_STREAM, &facts->stream},
                 {PL_LETTER_EVENT_TIME, &facts->event_time}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (pl_str_is(name, known[i].name))
            *known[i].text = text;
}

/* ---- numbers and bytes as text -------------------------------------------------------- */

static bool read_number(pl_str text, unsigned base, uint64_t *number)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 99;
        if (digit >= base || __builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *number = value;
    return text.len > 0;
}

static int sextet(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* RFC 4648 with padding. PL_REJECT: it is not that. */
static pl_status decode_base64(pl_arena *arena, pl_str text, pl_str *bytes, pl_error *error)
{
    size_t padding = 0;
    while (padding < 2 && padding < text.len && text.ptr[text.len - 1 - padding] == '=')
        padding++;
    unsigned char *out = pl_arena_alloc(arena, text.len + PL_ARENA_PADDING);
    if (!out)
        return no_memory(error);
    size_t count = 0;
    unsigned held = 0;
    for (size_t i = 0; i < text.len - padding; i++) {
        int value = sextet(text.ptr[i]);
        if (value < 0)
            return refuse(error, "base64 of a dead letter can't be read");
        held = (held << 6 | (unsigned)value) & 0xFFFF;
        if (i % 4)
            out[count++] = (unsigned char)(held >> (6 - 2 * (i % 4)));
    }
    if (text.len % 4)
        return refuse(error, "base64 of a dead letter can't be read");
    memset(out + count, 0, PL_ARENA_PADDING);
    *bytes = (pl_str){(const char *)out, count};
    return PL_OK;
}

/* ---- the JSON object of the file sink ---------------------------------------------------- */

/* A string, or null. */
static pl_status copy_text(pl_json_reader *json, pl_json_node node, pl_arena *arena, pl_str *text, pl_error *error)
{
    pl_value value;
    *text = (pl_str){NULL, 0};
    if (pl_json_value(json, node, &value, error) != PL_OK)
        return PL_FAILED;
    if (value.type == PL_NIL)
        return PL_OK;
    if (value.type != PL_STR)
        return refuse(error, "key, stream and time of a dead letter are strings or null");
    *text = pl_arena_str(arena, value.as.s);
    return text->ptr ? PL_OK : no_memory(error);
}

static pl_status copy_bytes(pl_json_reader *json, pl_json_node node, pl_arena *arena, pl_str *bytes, pl_error *error)
{
    pl_str text;
    if (copy_text(json, node, arena, &text, error) != PL_OK)
        return PL_FAILED;
    return text.ptr ? decode_base64(arena, text, bytes, error) : PL_OK;
}

/* Text; {"base64":".."}; null; of anything else, which only a hand can have written, its JSON. */
static pl_status read_header(pl_json_reader *json, pl_json_node node, pl_arena *arena, pl_value *value, pl_error *error)
{
    pl_json_node inner;
    *value = (pl_value){.type = PL_NIL};
    if (pl_json_member(json, node, PL_S("base64"), &inner, NULL) == PL_OK) {
        value->type = PL_BYTES;
        return copy_bytes(json, inner, arena, &value->as.s, error);
    }
    pl_value found;
    if (pl_json_value(json, node, &found, error) != PL_OK)
        return PL_FAILED;
    if (found.type == PL_NIL)
        return PL_OK;
    *value =
        (pl_value){PL_STR, {.s = pl_arena_str(arena, found.type == PL_STR ? found.as.s : pl_json_raw(json, node))}};
    return value->as.s.ptr ? PL_OK : no_memory(error);
}

typedef struct header_list {
    pl_arena *arena;
    pl_field *items;
    uint32_t count, capacity;
} header_list;

static pl_status add_header(header_list *list, facts *facts, pl_str name, const pl_value *value, pl_error *error)
{
    if (is_fact(name)) {
        if (value->type == PL_STR || value->type == PL_BYTES)
            take_fact(facts, name, value->as.s);
        return PL_OK;
    }
    if (list->count == HEADERS_MAX)
        return refuse(error, "it has more headers than a letter may have");
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity ? list->capacity * 2 : 8;
        pl_field *grown = pl_arena_alloc(list->arena, capacity * sizeof *grown);
        if (!grown)
            return no_memory(error);
        if (list->count)
            memcpy(grown, list->items, list->count * sizeof *grown);
        list->items = grown;
        list->capacity = capacity;
    }
    list->items[list->count++] = (pl_field){name, *value};
    return PL_OK;
}

/* The values of a name that repeats stand in a list. */
static pl_status read_values(pl_json_reader *json, pl_str name, pl_json_node node, header_list *list, facts *facts,
                             pl_error *error)
{
    pl_value value;
    pl_json_item item;
    uint32_t cursor = 0;
    bool repeats = pl_json_raw(json, node).ptr[0] == '[';
    if (!repeats)
        return read_header(json, node, list->arena, &value, error) == PL_OK
                   ? add_header(list, facts, name, &value, error)
                   : PL_FAILED;
    pl_status status;
    while ((status = pl_json_each(json, node, &cursor, &item, error)) == PL_OK)
        if (read_header(json, item.node, list->arena, &value, error) != PL_OK ||
            add_header(list, facts, name, &value, error) != PL_OK)
            return PL_FAILED;
    return status == PL_END ? PL_OK : PL_FAILED;
}

static pl_status read_headers(pl_json_reader *json, pl_arena *arena, pl_record *record, facts *facts, pl_error *error)
{
    pl_json_node headers;
    pl_json_item item;
    uint32_t cursor = 0;
    header_list list = {.arena = arena};
    if (pl_json_member(json, PL_JSON_ROOT, PL_S("headers"), &headers, NULL) != PL_OK)
        return refuse(error, "it has neither the headers of a dead letter nor a member 'headers' with them");
    pl_status status;
    while ((status = pl_json_each(json, headers, &cursor, &item, error)) == PL_OK) {
        pl_str name = pl_arena_str(arena, item.key);
        if (!name.ptr)
            return no_memory(error);
        if (read_values(json, name, item.node, &list, facts, error) != PL_OK)
            return PL_FAILED;
    }
    record->headers = list.items;
    record->header_count = list.count;
    return status == PL_END ? PL_OK : PL_FAILED;
}

/* A string or its base64 is the payload's bytes; an object or array stands for itself, as it is written. */
static pl_status read_payload(pl_json_reader *json, pl_arena *arena, pl_record *record, pl_error *error)
{
    pl_json_node node;
    pl_value value;
    if (pl_json_member(json, PL_JSON_ROOT, PL_S("payload_base64"), &node, NULL) == PL_OK)
        return copy_bytes(json, node, arena, &record->payload, error);
    if (pl_json_member(json, PL_JSON_ROOT, PL_S("payload"), &node, NULL) != PL_OK)
        return refuse(error, "it has no member 'payload'");
    if (pl_json_value(json, node, &value, error) != PL_OK)
        return PL_FAILED;
    if (value.type == PL_NIL)
        return PL_OK; /* a tombstone */
    record->payload = pl_arena_str(arena, value.type == PL_STR ? value.as.s : pl_json_raw(json, node));
    return record->payload.ptr ? PL_OK : no_memory(error);
}

static pl_status read_text(pl_json_reader *json, const char *name, pl_arena *arena, pl_str *text, pl_error *error)
{
    char encoded[32];
    pl_json_node node;
    (void)snprintf(encoded, sizeof encoded, "%s_base64", name);
    if (pl_json_member(json, PL_JSON_ROOT, PL_S(encoded), &node, NULL) == PL_OK)
        return copy_bytes(json, node, arena, text, error);
    if (pl_json_member(json, PL_JSON_ROOT, PL_S(name), &node, NULL) == PL_OK)
        return copy_text(json, node, arena, text, error);
    return PL_OK;
}

static pl_status read_object(pl_json_reader *json, const pl_record *found, pl_arena *arena, pl_record *record,
                             facts *facts, pl_error *error)
{
    /* Not PL_JSON_FULL: the payload may be as deep as JSON may be, and lies one level deeper here. */
    if (pl_json_load(json, found->payload, PL_JSON_TOUCHED, error) != PL_OK ||
        read_headers(json, arena, record, facts, error) != PL_OK ||
        read_text(json, "key", arena, &record->key, error) != PL_OK ||
        read_text(json, "stream", arena, &record->stream, error) != PL_OK ||
        read_text(json, "time", arena, &facts->event_time, error) != PL_OK ||
        read_payload(json, arena, record, error) != PL_OK)
        return PL_FAILED;
    bool json_inside = record->payload.ptr && (record->payload.ptr[0] == '{' || record->payload.ptr[0] == '[');
    pl_json_node node;
    bool as_json = json_inside && pl_json_member(json, PL_JSON_ROOT, PL_S("payload"), &node, NULL) == PL_OK &&
                   pl_json_raw(json, node).ptr[0] != '"';
    return as_json ? pl_json_validate(json, record->payload, error) : PL_OK;
}

/* ---- what both have in common --------------------------------------------------------------- */

static pl_status take_headers(const pl_record *found, pl_arena *arena, pl_record *record, facts *facts, pl_error *error)
{
    header_list list = {.arena = arena};
    for (uint32_t i = 0; i < found->header_count; i++)
        if (add_header(&list, facts, found->headers[i].name, &found->headers[i].value, error) != PL_OK)
            return PL_FAILED;
    record->headers = list.items;
    record->header_count = list.count;
    record->key = found->key;
    record->payload = found->payload;
    record->stream = facts->stream;
    return PL_OK;
}

static bool has_facts(const pl_record *found)
{
    for (uint32_t i = 0; i < found->header_count; i++)
        if (pl_str_is(found->headers[i].name, PL_LETTER_COMPONENT))
            return true;
    return false;
}

static void mix(pl_letter_key *key, pl_str text)
{
    uint64_t hash = pl_str_hash(text);
    key->high = (key->high ^ hash) * 0x9E3779B97F4A7C15u + text.len;
    key->low = (key->low + (hash << 29 | hash >> 35)) * 0xC2B2AE3D27D4EB4Fu ^ (text.ptr ? 1 : 2);
}

static pl_letter_key key_of(const facts *facts, const pl_record *record)
{
    pl_letter_key key = {1, 1};
    uint64_t high;
    uint64_t low;
    if (facts->id.len > 17 && facts->id.ptr[16] == '-' && read_number((pl_str){facts->id.ptr, 16}, 16, &high) &&
        read_number((pl_str){facts->id.ptr + 17, facts->id.len - 17}, 16, &low))
        return (pl_letter_key){high, low};
    const pl_str all[] = {facts->id,       facts->component, facts->reason,  facts->attempts, facts->lane,
                          facts->position, facts->time,      record->stream, record->key,     record->payload};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mix(&key, all[i]);
    return key;
}

pl_status pl_letter_read(pl_json_reader *json, const pl_record *found, pl_arena *arena, pl_letter *letter,
                         pl_error *error)
{
    facts facts = {0};
    *letter = (pl_letter){0};
    pl_record *record = &letter->record;
    pl_status status = has_facts(found) ? take_headers(found, arena, record, &facts, error)
                                        : read_object(json, found, arena, record, &facts, error);
    if (status != PL_OK)
        return PL_FAILED;
    if (!facts.component.len)
        return refuse(error, "it does not say which component gave it up (header " PL_LETTER_COMPONENT ")");
    if (facts.event_time.ptr && !pl_time_parse(facts.event_time, &record->time_unix_ns))
        return refuse(error, "its time is no RFC 3339 time");
    uint64_t attempts = 1;
    if (facts.attempts.ptr && !read_number(facts.attempts, 10, &attempts))
        return refuse(error, "its " PL_LETTER_ATTEMPTS " is no number");
    if (facts.position.ptr && !read_number(facts.position, 10, &record->position))
        return refuse(error, "its " PL_LETTER_POSITION " is no number");
    letter->component = facts.component;
    letter->reason = facts.reason;
    letter->lane = facts.lane;
    letter->attempts = attempts < PL_RECORD_ATTEMPTS_MAX ? (uint32_t)attempts : PL_RECORD_ATTEMPTS_MAX;
    letter->key = key_of(&facts, record);
    return PL_OK;
}
