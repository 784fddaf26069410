/* libFuzzer: a document's verdict, reads and edits against a plain decode, modify, encode (reference.h).
 *
 * Input: a JSON text, then, behind the first byte 0xFF, bytes that choose the edits. */
#include "reference.h"
#include <base/arena.h>
#include <base/str.h>
#include <record/document.h>
#include <stdlib.h>

enum { EDITS_MAX = 16, STEPS_MAX = 6 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct choices {
    const uint8_t *at, *end;
} choices;

static unsigned choose(choices *from, unsigned below)
{
    unsigned byte = from->at < from->end ? *from->at++ : 0;
    return below == 0 ? 0 : byte % below;
}

static void require(bool holds, const char *what, pl_str text)
{
    if (holds)
        return;
    (void)fprintf(stderr, "%s: %.*s\n", what, (int)text.len, text.ptr);
    abort();
}

/* Reads everything; false: a mistake was met. */
static bool read_all(pl_document *doc, pl_json_node node)
{
    pl_value value;
    pl_json_item item;
    uint32_t cursor = 0;
    if (pl_document_value(doc, node, &value, NULL) != PL_OK)
        return false;
    if (value.type != PL_JSON)
        return true;
    pl_status status;
    while ((status = pl_document_each(doc, node, &cursor, &item, NULL)) == PL_OK)
        if (!read_all(doc, item.node))
            return false;
    return status == PL_END;
}

/* Both documents read alike: the one that scanned the text, and the one that has its outline. */
static void require_alike(pl_document *scanned, pl_json_node a, pl_document *outlined, pl_json_node b, pl_str text)
{
    pl_value value, other;
    pl_json_item item, twin;
    uint32_t cursor = 0, second = 0;
    require(pl_document_value(scanned, a, &value, NULL) == PL_OK, "scanned value", text);
    require(pl_document_value(outlined, b, &other, NULL) == PL_OK, "outlined value", text);
    require(value.type == other.type, "types", text);
    if (value.type == PL_INT)
        require(value.as.i == other.as.i, "integers", text);
    else if (value.type == PL_BOOL)
        require(value.as.b == other.as.b, "booleans", text);
    else if (value.type != PL_NIL)
        require(pl_str_eq(value.as.s, other.as.s), "texts", text);
    if (value.type != PL_JSON)
        return;
    while (pl_document_each(scanned, a, &cursor, &item, NULL) == PL_OK) {
        require(pl_document_each(outlined, b, &second, &twin, NULL) == PL_OK, "outlined member", text);
        require(!item.key.ptr == !twin.key.ptr && pl_str_eq(item.key, twin.key), "keys", text);
        require_alike(scanned, item.node, outlined, twin.node, text);
    }
    require(pl_document_each(outlined, b, &second, &twin, NULL) == PL_END, "one member more", text);
}

typedef struct place { /* where an edit goes, in both worlds */
    pl_path path;
    reference *container;
    size_t index;
    pl_str key;
} place;

static bool add_step(place *to, pl_str key, size_t index)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < to->path.count; i++)
        used += to->path.step[i].len;
    if (key.ptr && key.len >= PL_PATH_BYTES_MAX - used)
        return false;
    pl_step *step = &to->path.step[to->path.count++];
    *step = (pl_step){
        .start = (uint16_t)used, .len = key.ptr ? (uint16_t)key.len : 0, .index = key.ptr ? -1 : (int32_t)index};
    if (key.ptr && key.len > 0)
        memcpy(to->path.text + used, key.ptr, key.len);
    return true;
}

static bool choose_place(choices *from, reference *root, place *to)
{
    static const char *const new_keys[] = {"pair", "new", "a.b", "", "x\"\\\n", "\xC3\xBC"};
    *to = (place){.container = root};
    for (unsigned steps = 1 + choose(from, STEPS_MAX - 1); steps > 0; steps--) {
        reference *now = to->path.count == 0 ? root : reference_at(to->container, to->index);
        if (reference_kind(now) == 's')
            break;
        size_t count = reference_count(now), index = choose(from, (unsigned)(count < 200 ? count + 1 : 200));
        pl_str key = {NULL, 0};
        if (reference_kind(now) == 'o') {
            const char *word = new_keys[choose(from, sizeof new_keys / sizeof *new_keys)]; /* PL_S would choose twice */
            key = PL_S(word);
            for (size_t i = 0; i < count && index == count; i++) { /* "new" only if it is */
                pl_str there;
                there.ptr = reference_key(now, i, &there.len);
                index = pl_str_eq(there, key) ? i : index;
            }
            if (index < count)
                key.ptr = reference_key(now, index, &key.len);
        }
        if (!add_step(to, key, index))
            break;
        to->container = now;
        to->index = index;
        to->key = key;
        if (index == count)
            break;
    }
    return to->path.count > 0;
}

static const struct {
    const char *json;
    int32_t type;
} new_values[] = {
    {"1", PL_DECIMAL},
    {"-2.50", PL_DECIMAL},
    {"null", PL_NIL},
    {"{}", PL_JSON},
    {"[]", PL_JSON},
    {"{\"a\": [1, {\"pair\":2}]}", PL_JSON},
    {"[ [ ], {\"a\":1,\"a\":2} ]", PL_JSON},
};

static void edit(choices *from, pl_document *doc, reference *root, pl_str text)
{
    place to;
    pl_error error;
    if (!choose_place(from, root, &to))
        return;
    bool there = to.index < reference_count(to.container);
    unsigned what = choose(from, 1 + sizeof new_values / sizeof *new_values);
    if (what == 0) {
        pl_status removed = pl_document_remove(doc, &to.path, &error);
        require(removed == (there ? PL_OK : PL_END), "remove", text);
        if (there)
            reference_remove(to.container, to.index);
        return;
    }
    const char *json = new_values[what - 1].json;
    pl_value value = {.type = new_values[what - 1].type, .as.s = PL_S(json)};
    if (pl_document_set(doc, &to.path, &value, &error) != PL_OK) {
        require(strstr(error.message, "more than 64 deep") != NULL, error.message, text);
        return;
    }
    reference_set(to.container, to.index, to.key.ptr, to.key.len, json);
    pl_value now;
    require(pl_document_get(doc, &to.path, &now, &error) == PL_OK && now.type != PL_STR, "get after set", text);
}

static void compare(pl_document *doc, const reference *root, pl_str text, pl_arena *arena)
{
    pl_str out;
    pl_error error;
    reference_verdict verdict;
    require(pl_document_encode(doc, arena, &out, &error) == PL_OK, "encode", text);
    require(pl_document_touched(doc) || (out.ptr == text.ptr && out.len == text.len), "untouched", text);
    reference *result = reference_decode(out.ptr, out.len, &verdict);
    require(result && reference_same(result, root), "result", out);
    reference_free(result);
}

/* One byte of the text changes: to a document that checked it before, and so may know the shape, it is what it is to a
 * new one. */
static void change(choices *from, pl_document *doc, pl_str text, pl_arena *arena)
{
    if (text.len == 0)
        return;
    size_t at = choose(from, 256) * 256u + choose(from, 256);
    pl_str changed = pl_arena_str(arena, text);
    ((char *)changed.ptr)[at % text.len] = (char)choose(from, 256);
    pl_document *unaware = pl_document_new();
    pl_document_load(unaware, changed, PL_CODEC_JSON);
    pl_document_load(doc, changed, PL_CODEC_JSON);
    pl_status status = pl_document_validate(unaware, NULL);
    require(pl_document_validate(doc, NULL) == status, "valid by its shape", changed);
    if (status == PL_OK) {
        const pl_outline *known = pl_document_keep_outline(doc, arena);
        const pl_outline *walked = pl_document_keep_outline(unaware, arena);
        require(!known == !walked, "outline by its shape", changed);
        if (known)
            require(known->count == walked->count &&
                        memcmp(known->entry, walked->entry, known->count * sizeof *known->entry) == 0,
                    "the same outline", changed);
        require_alike(unaware, PL_JSON_ROOT, doc, PL_JSON_ROOT, changed);
    }
    pl_document_free(&unaware);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *split = size > 0 ? memchr(data, 0xFF, size) : NULL;
    size_t length = split ? (size_t)(split - data) : size;
    choices from = {split ? split + 1 : data + size, data + size};
    char *padded = calloc(length + PL_ARENA_PADDING, 1);
    pl_arena *arena = pl_arena_new(4096);
    pl_document *doc = pl_document_new();
    pl_str text = {padded, length};
    pl_error error = {.message = ""};
    if (length > 0)
        memcpy(padded, data, length);
    reference_verdict verdict;
    reference *root = reference_decode(padded, length, &verdict);

    pl_document_load(doc, text, PL_CODEC_JSON);
    bool readable = read_all(doc, PL_JSON_ROOT);
    pl_document_load(doc, text, PL_CODEC_JSON);
    bool valid = pl_document_validate(doc, &error) == PL_OK;
    require(!valid || readable, "valid but not readable", text);
    if (verdict != REFERENCE_NUMBER)
        require(valid == (root != NULL), error.message[0] ? error.message : "valid", text);
    bool deep = strstr(error.message, "more than 64 deep") || strstr(error.message, "beyond the range");
    /* With two members one may be shadowed by the other, and its mistakes are not read. */
    const char *colon = memchr(padded, ':', length);
    bool shadowed = colon && memchr(colon + 1, ':', (size_t)(padded + length - colon - 1));
    if (!valid && !deep && !shadowed)
        require(!readable, "readable but not valid", text);
    pl_record record = {.payload = text, .outline = valid ? pl_document_keep_outline(doc, arena) : NULL};
    if (record.outline) {
        pl_document *outlined = pl_document_new();
        pl_document_load_record(outlined, &record, PL_CODEC_JSON);
        pl_document_load(doc, text, PL_CODEC_JSON);
        require_alike(doc, PL_JSON_ROOT, outlined, PL_JSON_ROOT, text);
        pl_document_free(&outlined);
    }
    if (root) {
        if (choose(&from, 2))
            pl_document_load_record(doc, &record, PL_CODEC_JSON);
        for (int i = 0; i < EDITS_MAX && from.at < from.end; i++)
            edit(&from, doc, root, text);
        compare(doc, root, text, arena);
    }
    change(&from, doc, text, arena);
    reference_free(root);
    pl_document_free(&doc);
    pl_arena_free(&arena);
    free(padded);
    return 0;
}
