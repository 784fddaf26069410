/* A plain decode, modify, encode of JSON by simdjson's DOM, which shares no code with runtime/record: what a document's
 * edits are compared with. Errors of the caller abort. */
#ifndef PL_FUZZ_REFERENCE_H
#define PL_FUZZ_REFERENCE_H
#include <stdbool.h>
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct reference reference; /* a value and all below it */
typedef enum { REFERENCE_FINE, REFERENCE_WRONG, REFERENCE_NUMBER } reference_verdict;

/* NULL unless the verdict is FINE; NUMBER: simdjson can't read one of its numbers, so that nothing is known. Of equal
 * keys the last one stays, at its own place. */
reference *reference_decode(const char *text, size_t len, reference_verdict *verdict);
void reference_free(reference *value);
/* 'o', 'a', or 's' for a scalar */
char reference_kind(const reference *value);
size_t reference_count(const reference *value);
reference *reference_at(reference *value, size_t index);
const char *reference_key(const reference *object, size_t index, size_t *len);
/* Replaces the member or element at index; index == count appends (with key in an object). */
void reference_set(reference *container, size_t index, const char *key, size_t key_len, const char *json);
void reference_remove(reference *container, size_t index);
/* Same kinds, keys, order and values; numbers as simdjson reads them. */
bool reference_same(const reference *a, const reference *b);
#ifdef __cplusplus
}
#endif
#endif
