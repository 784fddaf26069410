/* Memory: the failing-allocation seam, arenas, buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <base/arena.h>
#include <base/buf.h>
#include <base/mem.h>

static void seam_fails_after_n_and_stays_failed(void **unused)
{
    (void)unused;
    pl_mem_fail_after(2);
    void *a = pl_calloc(1, 8), *b = pl_realloc(NULL, 8, 1), *c = pl_calloc(1, 8), *d = pl_strndup("x", 1);
    pl_mem_fail_after(-1);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(c);
    assert_null(d);
    pl_free(a);
    pl_free(b);
}

static void overflowing_sizes_are_refused(void **unused)
{
    (void)unused;
    volatile size_t huge = SIZE_MAX; /* hides the constant from the compiler's own warning */
    assert_null(pl_calloc(huge, 2));
    assert_null(pl_realloc(NULL, huge, 2));
    assert_null(pl_realloc(NULL, huge / 2 + 1, 1));
}

static void arena_gives_aligned_separate_memory(void **unused)
{
    (void)unused;
    pl_arena *arena = pl_arena_new(0);
    unsigned char *given[500];
    for (size_t i = 0; i < 500; i++) {
        if (i % 3 == 0)
            assert_non_null(pl_arena_str(arena, PL_S("odd")).ptr);
        given[i] = pl_arena_alloc(arena, i + 1);
        assert_non_null(given[i]);
        assert_int_equal((uintptr_t)given[i] % _Alignof(max_align_t), 0);
        memset(given[i], (int)(i & 0xff), i + 1);
    }
    for (size_t i = 0; i < 500; i++)
        for (size_t j = 0; j <= i; j++)
            assert_int_equal(given[i][j], i & 0xff);
    pl_arena_free(&arena);
    assert_null(arena);
    pl_arena_free(&arena);
}

static void arena_texts_end_in_nul_and_readable_padding(void **unused)
{
    (void)unused;
    pl_arena *arena = pl_arena_new(256);
    for (size_t len = 0; len < 2000; len += 7) {
        char text[2000];
        memset(text, 'a' + (int)(len % 26), sizeof text);
        pl_str copy = pl_arena_str(arena, (pl_str){text, len});
        assert_int_equal(copy.len, len);
        assert_memory_equal(copy.ptr, text, len);
        assert_int_equal(copy.ptr[len], '\0');
        volatile char sum = 0; /* AddressSanitizer is the judge of this loop */
        for (size_t i = 0; i < PL_ARENA_PADDING; i++)
            sum = (char)(sum ^ copy.ptr[len + i]);
    }
    pl_str null = pl_arena_str(arena, (pl_str){NULL, 0}), empty = pl_arena_str(arena, (pl_str){"", 0});
    assert_null(null.ptr);
    assert_int_equal(null.len, 0);
    assert_non_null(empty.ptr);
    pl_arena_free(&arena);
}

static void arena_counts_what_it_holds_and_reset_gives_it_back(void **unused)
{
    (void)unused;
    pl_arena *arena = pl_arena_new(1024);
    size_t first = pl_arena_bytes(arena);
    assert_in_range(first, 1024, 1024 + 512);
    void *start = pl_arena_alloc(arena, 1);
    for (int i = 0; i < 100; i++)
        assert_non_null(pl_arena_alloc(arena, 1000));
    assert_in_range(pl_arena_bytes(arena), 100 * 1000, 100 * 1000 * 3);
    assert_non_null(pl_arena_alloc(arena, 1 << 20));
    assert_true(pl_arena_bytes(arena) > 1 << 20);
    pl_arena_reset(arena);
    assert_int_equal(pl_arena_bytes(arena), first);
    assert_ptr_equal(pl_arena_alloc(arena, 1), start);
    pl_arena_free(&arena);
}

static void arena_without_memory_says_so_and_stays_usable(void **unused)
{
    (void)unused;
    for (long n = 0; n < 2; n++) {
        pl_mem_fail_after(n);
        pl_arena *none = pl_arena_new(1024);
        pl_mem_fail_after(-1);
        assert_null(none);
    }
    pl_arena *arena = pl_arena_new(256);
    pl_mem_fail_after(0);
    void *big = pl_arena_alloc(arena, 4096);
    char text[1000];
    memset(text, 'x', sizeof text);
    pl_str copy = pl_arena_str(arena, (pl_str){text, sizeof text});
    void *small = pl_arena_alloc(arena, 16);
    pl_mem_fail_after(-1);
    assert_null(big);
    assert_null(copy.ptr);
    assert_int_equal(copy.len, 1);
    assert_non_null(small);
    assert_null(pl_arena_alloc(arena, SIZE_MAX));
    assert_non_null(pl_arena_alloc(arena, 4096));
    pl_arena_free(&arena);
}

static void fill(pl_arena *arena, size_t bytes)
{
    for (size_t i = 0; i < bytes / 1000; i++)
        memset(pl_arena_alloc(arena, 1000), (int)i, 1000);
}

static void chunks_of_one_arena_serve_the_next(void **unused)
{
    (void)unused;
    pl_chunk_pool *pool = pl_chunk_pool_new(1 << 20);
    assert_non_null(pool);
    pl_arena *small = pl_arena_new_pooled(4096, pool);
    assert_true(pl_arena_bytes(small) < 2 * 4096);
    fill(small, 3000);
    pl_arena_free(&small);
    assert_int_equal(pl_chunk_pool_trim(pool), 0); /* the first chunk is nobody else's */
    for (int round = 0; round < 5; round++) {
        pl_arena *arena = pl_arena_new_pooled(4096, pool);
        if (round)
            pl_mem_fail_after(0); /* all that is needed is there */
        fill(arena, 500 * 1000);
        assert_in_range(pl_arena_bytes(arena), 500 * 1000, 600 * 1000);
        pl_mem_fail_after(-1);
        assert_non_null(pl_arena_alloc(arena, 1 << 20));
        pl_arena_free(&arena);
    }
    assert_in_range(pl_chunk_pool_trim(pool), 500 * 1000, 600 * 1000);
    assert_int_equal(pl_chunk_pool_trim(pool), 0);
    pl_chunk_pool_free(&pool);
    assert_null(pool);
    pl_chunk_pool_free(&pool);
}

static void a_pool_keeps_no_more_than_it_may(void **unused)
{
    (void)unused;
    pl_chunk_pool *pool = pl_chunk_pool_new(256 << 10);
    pl_arena *arena = pl_arena_new_pooled(4096, pool);
    fill(arena, 2000 * 1000);
    pl_arena_free(&arena);
    assert_int_equal(pl_chunk_pool_trim(pool), 256 << 10);
    arena = pl_arena_new_pooled(4096, pool);
    fill(arena, 300 * 1000);
    pl_arena_reset(arena);
    fill(arena, 300 * 1000);
    pl_arena_free(&arena);
    pl_chunk_pool_free(&pool); /* with what it keeps */
}

static void buffer_grows_up_to_its_maximum_and_fails_for_good(void **unused)
{
    (void)unused;
    pl_buf buf = PL_BUF(100);
    for (int i = 0; i < 10; i++)
        pl_buf_adds(&buf, "0123456789");
    assert_false(pl_buf_failed(&buf));
    assert_int_equal(buf.len, 100);
    pl_buf_addc(&buf, 'x');
    assert_true(pl_buf_failed(&buf));
    pl_buf_clear(&buf);
    assert_false(pl_buf_failed(&buf));
    pl_buf_adds(&buf, "abc");
    pl_buf_add(&buf,
               "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
               98);
    assert_true(pl_buf_failed(&buf));
    pl_buf_addc(&buf, 'd'); /* would fit, but what came before it is missing */
    assert_string_equal(buf.data, "abc");
    pl_buf_release(&buf);
    pl_buf_adds(&buf, "again");
    assert_true(pl_buf_str(&buf).len == 5);
    pl_buf_release(&buf);
}

static void buffer_prints_what_fits_only(void **unused)
{
    (void)unused;
    pl_buf buf = PL_BUF(80);
    pl_buf_printf(&buf, "%s", "");
    assert_string_equal(buf.data, "");
    pl_buf_printf(&buf, "%d-%s", 42, "x");
    pl_buf_printf(&buf, "%060d", 7);
    assert_int_equal(buf.len, 64);
    pl_buf_printf(&buf, "%020d", 7);
    assert_true(pl_buf_failed(&buf));
    assert_int_equal(buf.len, 64);
    assert_int_equal(strlen(buf.data), 64);
    pl_buf_release(&buf);
}

static void buffer_without_memory_fails(void **unused)
{
    (void)unused;
    pl_buf buf = PL_BUF(1000);
    pl_mem_fail_after(0);
    pl_buf_adds(&buf, "x");
    pl_mem_fail_after(-1);
    assert_true(pl_buf_failed(&buf));
    assert_string_equal(pl_buf_str(&buf).ptr, "");
    pl_buf_release(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seam_fails_after_n_and_stays_failed),
        cmocka_unit_test(overflowing_sizes_are_refused),
        cmocka_unit_test(arena_gives_aligned_separate_memory),
        cmocka_unit_test(arena_texts_end_in_nul_and_readable_padding),
        cmocka_unit_test(arena_counts_what_it_holds_and_reset_gives_it_back),
        cmocka_unit_test(arena_without_memory_says_so_and_stays_usable),
        cmocka_unit_test(chunks_of_one_arena_serve_the_next),
        cmocka_unit_test(a_pool_keeps_no_more_than_it_may),
        cmocka_unit_test(buffer_grows_up_to_its_maximum_and_fails_for_good),
        cmocka_unit_test(buffer_prints_what_fits_only),
        cmocka_unit_test(buffer_without_memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
