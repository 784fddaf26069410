#include <base/str.h>

#include <ctype.h>

int pl_str_cmp(pl_str a, pl_str b)
{
    size_t shared = a.len < b.len ? a.len : b.len;
    int order = shared ? memcmp(a.ptr, b.ptr, shared) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

uint64_t pl_str_hash(pl_str text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.ptr[i]) * 0x100000001b3u;
    return hash;
}

enum { LONGEST_WORD = 63 };

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Damerau-Levenshtein distance (optimal string alignment), letter case not counted. Both at most LONGEST_WORD bytes. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[3][LONGEST_WORD + 1], *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_len; j++)
        above[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y));
            bool swapped =
                i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) && y == tolower((unsigned char)a[i - 2]);
            if (swapped && before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_len];
}

const char *pl_nearest(const char *word, const char *const *words)
{
    size_t len = strlen(word), limit = len / 3 > 1 ? len / 3 : 1;
    const char *best = NULL;
    if (len == 0 || len > LONGEST_WORD)
        return NULL;
    for (; *words; words++) {
        size_t other = strlen(*words);
        if (other > LONGEST_WORD || (other > len ? other - len : len - other) > limit)
            continue;
        size_t far = distance(word, len, *words, other);
        if (far < limit || (far == limit && !best)) {
            best = *words;
            limit = far;
        }
    }
    return best;
}

/* Length of the multi-byte sequence at p, or 0. Table 3-7 of the Unicode Standard: well-formed UTF-8 byte sequences. */
static size_t sequence(const unsigned char *p, size_t left)
{
    unsigned char lead = p[0], low = 0x80, high = 0xbf;
    size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || left < need)
        return 0;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return need;
}

/* What is left of the last eight, or four, bytes is looked at together with some before it. */
static inline bool is_ascii(pl_str text)
{
    const uint64_t tops = 0x8080808080808080u;
    uint64_t all = 0, eight;
    if (text.len >= sizeof eight) {
        for (size_t i = 0; i + sizeof eight < text.len; i += sizeof eight) {
            memcpy(&eight, text.ptr + i, sizeof eight);
            all |= eight;
        }
        memcpy(&eight, text.ptr + text.len - sizeof eight, sizeof eight);
        return ((all | eight) & tops) == 0;
    }
    if (text.len >= sizeof(uint32_t)) {
        uint32_t front, back;
        memcpy(&front, text.ptr, sizeof front);
        memcpy(&back, text.ptr + text.len - sizeof back, sizeof back);
        return ((front | back) & (uint32_t)tops) == 0;
    }
    for (size_t i = 0; i < text.len; i++)
        all |= (unsigned char)text.ptr[i];
    return all < 0x80;
}

static bool is_utf8(pl_str text)
{
    const unsigned char *p = (const unsigned char *)text.ptr;
    size_t left = text.len;
    while (left > 0) {
        uint64_t eight;
        if (left >= sizeof eight) {
            memcpy(&eight, p, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                p += sizeof eight;
                left -= sizeof eight;
                continue;
            }
        }
        size_t step = *p < 0x80 ? 1 : sequence(p, left);
        if (step == 0)
            return false;
        p += step;
        left -= step;
    }
    return true;
}

bool pl_utf8_valid(pl_str text)
{
    return is_ascii(text) || is_utf8(text);
}
