#include <record/known.h>

/* How its first two members are written. false: with too much space. */
static bool learn_style(pl_known *known, const char *text, const pl_outline_entry *entry)
{
    const pl_outline_entry *first = &entry[known->entry[0]];
    const uint32_t open = entry->at + 1u, start = first->key_at - 1u, key_end = first->key_at + first->key_len;
    const bool alone = known->count == 1;
    const uint32_t from = alone ? open : (uint32_t)first->at + first->len;
    const uint32_t to = alone ? start : entry[known->entry[1]].key_at - 1u;
    known->before = (uint8_t)(alone + (to - from) + 1);
    known->behind = (uint8_t)(first->at - key_end);
    if ((to - from) + 2 + (first->at - key_end) > PL_KNOWN_STYLE_MAX)
        return false;
    char *at = known->style;
    if (alone)
        *at++ = ',';
    memcpy(at, text + from, to - from);
    at[to - from] = '"';
    memcpy(known->style + known->before, text + key_end, known->behind);
    return true;
}

static bool all_differ(const pl_known *known, const char *text, const pl_outline_entry *entry)
{
    for (uint32_t i = 1; i < known->count; i++) {
        const pl_outline_entry *a = &entry[known->entry[i]];
        for (uint32_t j = 0; j < i; j++) {
            const pl_outline_entry *b = &entry[known->entry[j]];
            if (a->key_len == b->key_len && memcmp(text + a->key_at, text + b->key_at, a->key_len) == 0)
                return false;
        }
    }
    return true;
}

void pl_known_learn(pl_known *known, uint64_t shape, const char *text, const pl_outline_entry *entry, uint32_t count)
{
    *known = (pl_known){.shape = shape};
    for (uint32_t at = 1; at < count;) {
        const uint32_t behind = (uint32_t)entry[at].at + entry[at].len;
        known->entry[known->count++] = (uint8_t)at;
        do /* what lies within it is not a member of the root */
            at++;
        while (at < count && entry[at].at < behind);
    }
    known->distinct =
        text[entry->at] == '{' && known->count > 0 && all_differ(known, text, entry) && learn_style(known, text, entry);
}

static void note_place(const pl_known *known, pl_str key, uint32_t number, pl_known_place *place)
{
    *place = (pl_known_place){.number = (uint16_t)number, .len = (uint8_t)key.len, .plain = true};
    memcpy(place->text, known->style, known->before);
    memcpy(place->text + known->before, key.ptr, key.len);
    memcpy(place->text + known->before + key.len, known->style + known->before, known->behind);
    for (size_t i = 0; i < key.len; i++)
        place->plain =
            place->plain && key.ptr[i] >= ' ' && key.ptr[i] <= '~' && key.ptr[i] != '"' && key.ptr[i] != '\\';
}

const pl_known_place *pl_known_find(pl_known *known, const char *text, const pl_outline_entry *entry, pl_str key)
{
    uint32_t number = known->count;
    for (; number > 0; number--) {
        const pl_outline_entry *member = &entry[known->entry[number - 1]];
        if (member->key_len == key.len && pl_same_bytes(text + member->key_at, key.ptr, key.len))
            break;
    }
    if (key.len == 0 || key.len > PL_KNOWN_KEY_MAX) {
        known->unnoted.number = (uint16_t)number;
        return &known->unnoted;
    }
    pl_known_place *place = &known->place[pl_known_slot(key)];
    note_place(known, key, number, place);
    return place;
}
