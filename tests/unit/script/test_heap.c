/* The heap of a Lua state: blocks keep their bytes, the account is exact, the cap holds, a shrink never fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <base/mem.h>
#include <base/random.h>
#include <script/heap.h>
#include <stdalign.h>
#include <string.h>

enum { BLOCKS = 3000, STEPS = 200000, TYPE_TAG = 7 /* what Lua says for the old size of a new block */ };

typedef struct block {
    unsigned char *bytes;
    size_t size;
} block;

static void fill(const block *b, size_t from, size_t index)
{
    for (size_t i = from; i < b->size; i++)
        b->bytes[i] = (unsigned char)(index * 31 + i);
}

static void check(const block *b, size_t size, size_t index)
{
    assert_int_equal((uintptr_t)b->bytes % alignof(max_align_t), 0);
    for (size_t i = 0; i < size; i++)
        if (b->bytes[i] != (unsigned char)(index * 31 + i))
            fail_msg("block %zu of %zu bytes lost byte %zu", index, b->size, i);
}

static size_t random_size(pl_random *random)
{
    return 1 + pl_random_below(random, pl_random_below(random, 10) ? 100 : 700);
}

static void test_blocks_keep_their_bytes(void **state)
{
    (void)state;
    static block blocks[BLOCKS];
    pl_heap heap = {.cap = 64 << 20};
    pl_random random;
    size_t used = 0;
    pl_random_seed(&random, 54);
    for (int step = 0; step < STEPS; step++) {
        size_t most = step / 20000 % 2 ? 100 : BLOCKS; /* it fills, and empties but for a few */
        size_t index = pl_random_below(&random, BLOCKS), old = blocks[index].size;
        block *b = &blocks[index];
        size_t size = index < most ? pl_random_below(&random, 4) ? random_size(&random) : 0 : 0;
        if (b->bytes)
            check(b, old, index);
        b->bytes = pl_heap_allocate(&heap, b->bytes, b->bytes ? old : TYPE_TAG, size);
        b->size = size;
        assert_int_equal(b->bytes != NULL, size > 0);
        if (size > 0)
            check(b, old < size ? old : size, index);
        fill(b, 0, index);
        used = used - old + size;
        assert_int_equal(heap.used, used);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        assert_null(pl_heap_allocate(&heap, blocks[i].bytes, blocks[i].size, 0));
    assert_int_equal(heap.used, 0);
    pl_heap_release(&heap);
}

static void test_cap(void **state)
{
    (void)state;
    pl_heap heap = {.cap = 1000};
    void *first = pl_heap_allocate(&heap, NULL, TYPE_TAG, 600), *second = pl_heap_allocate(&heap, NULL, TYPE_TAG, 100);
    assert_non_null(first);
    assert_non_null(second);
    assert_null(pl_heap_allocate(&heap, NULL, TYPE_TAG, 301));
    assert_null(pl_heap_allocate(&heap, second, 100, 401));
    assert_null(pl_heap_allocate(&heap, NULL, TYPE_TAG, SIZE_MAX));
    assert_int_equal(heap.used, 700);
    second = pl_heap_allocate(&heap, second, 100, 400);
    assert_non_null(second);
    assert_int_equal(heap.used, 1000);
    (void)pl_heap_allocate(&heap, first, 600, 0);
    (void)pl_heap_allocate(&heap, second, 400, 0);
    assert_null(pl_heap_allocate(&heap, NULL, 0, 0));
    assert_int_equal(heap.used, 0);
    pl_heap_release(&heap);
}

/* Without any memory left, large blocks shrink to all sizes, grow again, and are freed. */
static void test_shrink_never_fails(void **state)
{
    (void)state;
    enum { LARGE = 400, COUNT = 3 * PL_HEAP_SMALL_MAX };
    static block blocks[COUNT];
    pl_heap heap = {.cap = 64 << 20};
    size_t used = 0;
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = (block){pl_heap_allocate(&heap, NULL, TYPE_TAG, LARGE), LARGE};
        assert_non_null(blocks[i].bytes);
        fill(&blocks[i], 0, i);
    }
    pl_mem_fail_after(0);
    for (size_t i = 0; i < COUNT; i++) {
        size_t size = 1 + i % PL_HEAP_SMALL_MAX;
        unsigned char *bytes = pl_heap_allocate(&heap, blocks[i].bytes, LARGE, size);
        assert_non_null(bytes);
        blocks[i] = (block){bytes, size};
        check(&blocks[i], size, i);
        used += size;
    }
    assert_null(pl_heap_allocate(&heap, NULL, TYPE_TAG, LARGE));
    assert_int_equal(heap.used, used);
    pl_mem_fail_after(-1);
    for (size_t i = 0; i < COUNT; i++) {
        size_t size = i % 3 == 0 ? 0 : i % 3 == 1 ? 20 + i % 300 : 600; /* freed, resized, grown to a large one */
        unsigned char *bytes = pl_heap_allocate(&heap, blocks[i].bytes, blocks[i].size, size);
        size_t kept = blocks[i].size < size ? blocks[i].size : size;
        blocks[i] = (block){bytes, size};
        if (size > 0)
            check(&blocks[i], kept, i);
    }
    for (size_t i = 0; i < COUNT; i++)
        (void)pl_heap_allocate(&heap, blocks[i].bytes, blocks[i].size, 0);
    assert_int_equal(heap.used, 0);
    assert_int_equal(heap.strays, 0);
    pl_heap_release(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks_keep_their_bytes), cmocka_unit_test(test_cap),
                                       cmocka_unit_test(test_shrink_never_fails)};
    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
