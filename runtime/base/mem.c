#include <base/mem.h>

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static atomic_long allocations_left = -1; /* negative: the seam is off */

static bool fails_now(void)
{
    long left = atomic_load_explicit(&allocations_left, memory_order_relaxed);
    while (left > 0) {
        if (atomic_compare_exchange_weak_explicit(&allocations_left, &left, left - 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return false;
    }
    return left == 0;
}

void *pl_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX || fails_now())
        return NULL;
    return calloc(bytes ? bytes : 1, 1);
}

void *pl_realloc(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX || fails_now())
        return NULL;
    return realloc(old, bytes ? bytes : 1);
}

char *pl_strndup(const char *text, size_t len)
{
    char *copy = len < SIZE_MAX ? pl_realloc(NULL, len + 1, 1) : NULL;
    if (!copy)
        return NULL;
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void pl_free(void *memory)
{
    free(memory);
}

void pl_mem_trim(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

void pl_mem_fail_after(long after)
{
    atomic_store(&allocations_left, after);
}
