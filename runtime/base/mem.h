/* Allocation with one seam: a test can make the nth allocation fail. */
#ifndef PL_BASE_MEM_H
#define PL_BASE_MEM_H
#include <stdbool.h>
#include <stddef.h>

/* [any] Zeroed memory of count * size bytes, or NULL (overflow included). Free with pl_free. */
void *pl_calloc(size_t count, size_t size);
/* [any] As realloc, overflow-checked; the old block stays valid on NULL. */
void *pl_realloc(void *old, size_t count, size_t size);
/* [any] A NUL-ended copy of len bytes, or NULL. Free with pl_free. */
char *pl_strndup(const char *text, size_t len);
/* [any] NULL is allowed. */
void pl_free(void *memory);

/* [any] Gives free memory back to the system, where the C library can. Takes some 100 us: for when there is time. */
void pl_mem_trim(void);

/* Test seam: after `after` more allocations each one fails until called with a negative number. [main] */
void pl_mem_fail_after(long after);
#endif
