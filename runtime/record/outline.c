/* The walk over a text's structure. What is plain it judges itself; numbers of great length or with a great exponent,
 * surrogates and whatever is wrong are left to simdjson's parser, which costs twice as much, and to the search for the
 * place. */
#include <base/str.h>
#include <ctype.h>
#include <record/json.h>
#include <record/outline.h>
#include <record/plain.h>
#include <record/tree.h>

/* Structural offsets that a member and an element take at least: key, colon, value, and what ends it. */
enum { A_MEMBER = 4, AN_ELEMENT = 2 };

typedef struct container {
    pl_outline_entry *entry;
    char close; /* the bracket that is due */
} container;

/* \uXXXX, but none of the halves that have to come in pairs. */
static bool plain_unicode(const char *at, const char *end)
{
    if (end - at < 4 || ((*at == 'd' || *at == 'D') && at[1] > '7'))
        return false;
    for (int i = 0; i < 4; i++)
        if (!isxdigit((unsigned char)at[i]))
            return false;
    return true;
}

/* Whether all escapes of the text are right for certain. A backslash outside a string is no scalar to the walk. */
static bool plain_escapes(const char *at, const char *end)
{
    while ((at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        bool unicode = at[1] == 'u';
        if (unicode ? !plain_unicode(at + 2, end) : !memchr("\"\\/bfnrt", at[1], 8))
            return false;
        at += unicode ? 6 : 2;
    }
    return true;
}

static bool is_word(pl_str text)
{
    return pl_str_is(text, "true") || pl_str_is(text, "false") || pl_str_is(text, "null");
}

static inline uint32_t unspaced(const char *text, uint32_t end)
{
    while (pl_tree_is_space(text[end - 1]))
        end--;
    return end;
}

/* Where the string ends that begins at `start`, with nothing but space behind it up to `next`; 0: it is not so. */
static inline uint32_t string_end(const char *text, uint32_t start, uint32_t next)
{
    if (text[next - 1] != '"')
        next = unspaced(text, next);
    return text[next - 1] == '"' && next - start >= 2 ? next : 0;
}

/* Where the scalar ends that begins at `start`, as above; 0: there is none. A string's escapes are not looked at. */
static inline uint32_t scalar_end(const char *text, uint32_t start, uint32_t next, bool *doubted)
{
    char first = text[start];
    if (first == '"')
        return string_end(text, start, next);
    next = unspaced(text, next);
    if ((unsigned char)(first - '0') >= 10 && first != '-')
        return is_word((pl_str){text + start, next - start}) ? next : 0;
    if (pl_plain_number(text + start) != text + next)
        *doubted = true;
    return next;
}

pl_outline_verdict pl_outline_walk(pl_str text, const uint32_t *index, uint32_t structurals, bool escapes,
                                   pl_outline_entry *entry, uint32_t room, uint32_t *count)
{
    const char *const bytes = text.ptr;
    const uint32_t *at = index, *const end = index + structurals;
    pl_outline_entry *here = entry, *const spare = entry + room; /* what has no room overwrites the spare one */
    container open[PL_JSON_DEPTH_MAX + 1];
    uint32_t depth = 0, stop;
    char close = '\0';
    bool doubted = escapes && !plain_escapes(bytes, bytes + text.len);
    if (structurals < AN_ELEMENT || (bytes[*at] != '{' && bytes[*at] != '['))
        return PL_OUTLINE_NONE;
    for (*count = 0;; here += here < spare) { /* at a value, with its key in an object */
        if (close == '}') {
            if (end - at < A_MEMBER || bytes[at[0]] != '"' || bytes[at[1]] != ':' ||
                (stop = string_end(bytes, at[0], at[1])) == 0)
                return PL_OUTLINE_NONE;
            here->key_at = (uint16_t)(at[0] + 1);
            here->key_len = (uint16_t)(stop - at[0] - 2);
            at += 2;
        } else if (end - at >= AN_ELEMENT) {
            here->key_at = here->key_len = 0;
        } else {
            return PL_OUTLINE_NONE;
        }
        ++*count;
        uint32_t start = *at++;
        here->at = (uint16_t)start;
        if (bytes[start] != '"' && (bytes[start] == '{' || bytes[start] == '[')) {
            if (depth == PL_JSON_DEPTH_MAX)
                return PL_OUTLINE_NONE;
            close = bytes[start] == '{' ? '}' : ']';
            open[++depth] = (container){here, close};
            if (bytes[*at] != close)
                continue;
        } else {
            stop = scalar_end(bytes, start, *at, &doubted);
            if (stop == 0)
                return PL_OUTLINE_NONE;
            here->len = (uint16_t)(stop - start);
        }
        while (bytes[*at] != ',') {
            if (bytes[*at] != close)
                return PL_OUTLINE_NONE;
            open[depth].entry->len = (uint16_t)(*at++ + 1 - open[depth].entry->at);
            if (--depth == 0)
                return at < end ? PL_OUTLINE_NONE : doubted ? PL_OUTLINE_DOUBTED : PL_OUTLINE_VALID;
            if (at == end)
                return PL_OUTLINE_NONE;
            close = open[depth].close;
        }
        at++;
    }
}

uint32_t pl_outline_room(size_t text_len)
{
    if (text_len <= sizeof(pl_outline) || text_len > PL_OUTLINE_TEXT_MAX)
        return 0;
    size_t fits = (text_len - sizeof(pl_outline)) / sizeof(pl_outline_entry);
    return fits < PL_OUTLINE_ENTRIES_MAX ? (uint32_t)fits : PL_OUTLINE_ENTRIES_MAX;
}

const pl_outline *pl_outline_keep(pl_arena *arena, const pl_outline *about, const pl_outline_entry *entry)
{
    pl_outline *kept = pl_arena_alloc(arena, sizeof *kept + about->count * sizeof *entry);
    if (!kept)
        return NULL;
    *kept = *about;
    memcpy(kept->entry, entry, about->count * sizeof *entry);
    return kept;
}
