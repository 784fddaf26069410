/* What the bytes of a scalar tell by themselves, for certain: whoever finds none of it here asks simdjson. And the
 * equality of short runs. Private to record/. All [any].
 *
 * Texts are padded (PL_ARENA_PADDING), and are read some bytes beyond the end. */
#ifndef PL_RECORD_PLAIN_H
#define PL_RECORD_PLAIN_H
#include <plumbline/plugin.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Bytes, and digits of the exponent: it is then within the range of a double. */
enum { PL_PLAIN_NUMBER_MAX = 200, PL_PLAIN_EXPONENT_MAX = 2 };

/* Equality of two runs of the same length, in place: keys are short, and a call of memcmp costs more than the
 * comparison (glibc's masked 32-byte loads besides take a microcode assist, some 200 ns, where they reach into a page
 * that is not there: perf, AVX-512, 2026-11-22). Reads nothing but the len bytes. */
static inline bool pl_same_bytes(const char *a, const char *b, size_t len)
{
    uint64_t x, y;
    if (len < sizeof x) {
        uint32_t p, q, r, s;
        if (len < sizeof p) {
            bool same = true;
            for (size_t i = 0; i < len; i++)
                same = same && a[i] == b[i];
            return same;
        }
        memcpy(&p, a, sizeof p);
        memcpy(&q, b, sizeof q);
        memcpy(&r, a + len - sizeof r, sizeof r);
        memcpy(&s, b + len - sizeof s, sizeof s);
        return p == q && r == s;
    }
    for (size_t i = 0; i + sizeof x < len; i += sizeof x) {
        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        if (x != y)
            return false;
    }
    memcpy(&x, a + len - sizeof x, sizeof x);
    memcpy(&y, b + len - sizeof y, sizeof y);
    return x == y;
}

/* Whether one of eight bytes is " or \\ or a control character: for each byte, whether a subtraction borrows. */
static inline bool pl_special_of_eight(uint64_t bytes)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t quote = bytes ^ '"' * ones, backslash = bytes ^ '\\' * ones;
    return ((((bytes - ' ' * ones) & ~bytes) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) & tops) !=
           0;
}

/* The same of runs behind which at least 16 more bytes can be read. */
static inline bool pl_same_padded(const char *a, const char *b, size_t len)
{
#ifdef __SSE2__
    __m128i x, y;
    for (;; a += sizeof x, b += sizeof x, len -= sizeof x) {
        x = _mm_loadu_si128((const __m128i *)(const void *)a);
        y = _mm_loadu_si128((const __m128i *)(const void *)b);
        unsigned differ = 0xFFFFu ^ (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, y));
        if (len <= sizeof x)
            return (differ & ((1u << len) - 1)) == 0;
        if (differ)
            return false;
    }
#else
    return pl_same_bytes(a, b, len);
#endif
}

/* The first byte at or behind `at` that is a quote, a backslash, a control character or not ASCII; `end` or beyond:
 * there is none before the end. */
static inline const char *pl_plain_run(const char *at, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(' ');
    for (; at < end; at += sizeof quote) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        /* bytes beyond ASCII are negative, so that they, too, are less than a space */
        __m128i special = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)),
                                       _mm_cmplt_epi8(bytes, space));
        unsigned found = (unsigned)_mm_movemask_epi8(special);
        if (found)
            return at + __builtin_ctz(found);
    }
    return at;
#else
    uint64_t bytes;
    for (; at < end; at += sizeof bytes) {
        memcpy(&bytes, at, sizeof bytes);
        if (pl_special_of_eight(bytes) || bytes & 0x8080808080808080u)
            break;
    }
    while (at < end && *at >= ' ' && *at <= '~' && *at != '"' && *at != '\\') /* DEL counts as special, too */
        at++;
    return at;
#endif
}

/* The eight bytes at `at`, the first one lowest. */
static inline uint64_t pl_eight(const char *at)
{
    uint64_t bytes;
    memcpy(&bytes, at, sizeof bytes);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bytes = __builtin_bswap64(bytes);
#endif
    return bytes;
}

/* A number lies within brackets here, so that something that is no digit follows. */
static inline const char *pl_behind_digits(const char *at)
{
#ifdef __SSE2__
    const __m128i zero = _mm_set1_epi8('0'), nine = _mm_set1_epi8(9);
    for (;; at += sizeof zero) {
        __m128i digits = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(const void *)at), zero);
        unsigned others = 0xFFFFu ^ (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(digits, nine), digits));
        if (others)
            return at + __builtin_ctz(others);
    }
#else
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    for (;; at += 8) {
        uint64_t digits = pl_eight(at) ^ '0' * ones; /* above 9: it is none */
        uint64_t others = (((digits & ~tops) + (0x7F - 9) * ones) | digits) & tops;
        if (others)
            return at + __builtin_ctzll(others) / 8;
    }
#endif
}

/* Behind the number that begins at `at`; NULL: there is none, or none that is certainly right and finite. */
static inline const char *pl_plain_number(const char *at)
{
    at += *at == '-';
    const char *whole = at;
    at = pl_behind_digits(at);
    if (at == whole || (*whole == '0' && at - whole > 1))
        return NULL;
    if (*at == '.') {
        const char *fraction = ++at;
        at = pl_behind_digits(at);
        if (at == fraction)
            return NULL;
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '-' || *at == '+';
        const char *exponent = at;
        at = pl_behind_digits(at);
        if (at == exponent || at - exponent > PL_PLAIN_EXPONENT_MAX)
            return NULL;
    }
    return at - whole > PL_PLAIN_NUMBER_MAX ? NULL : at;
}

/* Behind true, false or null at `at`; NULL: there is none of them. */
static inline const char *pl_plain_word(const char *at)
{
    if (memcmp(at, "true", 4) == 0 || memcmp(at, "null", 4) == 0)
        return at + 4;
    return memcmp(at, "false", 5) == 0 ? at + 5 : NULL;
}
#endif
