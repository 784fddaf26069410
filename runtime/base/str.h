/* Small things on pl_str and words. All [any], no allocation. */
#ifndef PL_BASE_STR_H
#define PL_BASE_STR_H
#include <plumbline/plugin.h>

static inline bool pl_str_eq(pl_str a, pl_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
static inline bool pl_str_is(pl_str a, const char *b)
{
    return pl_str_eq(a, PL_S(b));
}
/* memcmp order, a prefix before the longer. <0, 0, >0 */
int pl_str_cmp(pl_str a, pl_str b);
/* 64-bit hash, the same in every run and on every machine (FNV-1a). */
uint64_t pl_str_hash(pl_str text);
/* CRC-32C (Castagnoli), as iSCSI and Kafka use it; start with 0. */
uint32_t pl_crc32c(uint32_t crc, const void *bytes, size_t len);
/* The word of a NULL-ended list nearest to `word` (Damerau-Levenshtein, at most a third of its letters, at least 1),
 * or NULL when none is near. */
const char *pl_nearest(const char *word, const char *const *words);
/* True for well-formed UTF-8 (no surrogates, no overlong forms). */
bool pl_utf8_valid(pl_str text);
#endif
