/* Every allocation fails once, and every size of heap is tried: an error or success, never a crash or a leak. */
#include "support.h"

#include <base/mem.h>
#include <config/load.h>
#include <stdlib.h>

static const char script[] =
    "options { n = integer { 2 }, names = list { { 'a' } } } emits { 'a', 'b' }\n"
    "state.seen = state.seen or {}\n"
    "function on_record(r, m)\n"
    "  table.insert(state.seen, { price = decimal(r.price), t = record.totable(r.q) })\n"
    "  r.x = { 1, { b = 2 } } r.price = nil emit(r)\n"
    "  m.headers.a = ('h'):rep(100) m.key = 'new'\n"
    "  defer(5, 'k', function() return { b = r and 1, a = (decimal '1'):div(3) } end)\n"
    "  pcall(error, { 'caught' })\n"
    "  return { a = tostring(r), b = r.q, c = ('a b c'):gsub('%s', function() return '-' end) }\n"
    "end\n";

typedef struct counts {
    pl_arena *arena;
    size_t emitted;
    int ref;
} counts;

static pl_status on_emit(void *self, const char *port, const pl_record *out, pl_error *error)
{
    (void)port, (void)out, (void)error;
    ((counts *)self)->emitted++;
    return PL_OK;
}

static pl_status on_defer(void *self, int64_t at, pl_str key, int ref, pl_error *error)
{
    (void)at, (void)key, (void)error;
    ((counts *)self)->ref = ref;
    return PL_OK;
}

/* Load, one record, one deferred function, save, restore into a second one. True: everything succeeded. */
static bool all_of_it(size_t heap, counts *seen)
{
    pl_error error = {.struct_size = sizeof error};
    pl_script_host host = {seen, on_emit, on_defer, NULL};
    pl_script_setup setup = {.component = "t", .path = "t.lua", .text = script, .host = &host, .memory_bytes = heap};
    pl_buf saved = PL_BUF(1 << 20);
    pl_record record = {.stream = PL_S("s")};
    bool good = false;
    seen->arena = pl_arena_new(4096);
    pl_script *one = pl_script_new(&setup, &error), *two = NULL;
    if (seen->arena)
        record.payload = pl_arena_str(seen->arena, PL_S("{\"price\":1.50,\"q\":{\"list\":[1,2,{\"x\":null}]}}"));
    if (one && record.payload.ptr && pl_script_record(one, &record, seen->arena, &error) == PL_OK &&
        pl_script_deferred(one, seen->ref, &record, seen->arena, &error) == PL_OK &&
        pl_script_save(one, &saved, &error) == PL_OK) {
        setup.state = pl_buf_str(&saved);
        two = pl_script_new(&setup, &error);
        good = two != NULL;
    }
    if (!good)
        assert_true(error.message[0] != '\0' || !seen->arena || !record.payload.ptr);
    pl_script_free(&one);
    pl_script_free(&two);
    pl_arena_free(&seen->arena);
    pl_buf_release(&saved);
    return good;
}

static void test_every_allocation(void **state)
{
    (void)state;
    counts seen = {0};
    bool good = false;
    long failed = 0;
    for (long n = 0; !good; n++) {
        assert_true(n < 100000);
        pl_mem_fail_after(n); /* from the nth on, all fail */
        good = all_of_it(0, &seen);
        pl_mem_fail_after(-1);
        failed += !good;
        if (n > 60)
            n += n / 20; /* the first ones one by one, then in growing steps */
    }
    assert_true(failed > 60); /* small blocks of Lua are cut from slabs: test_every_heap refuses them */
    assert_true(all_of_it(0, &seen));
}

static void test_every_heap(void **state)
{
    (void)state;
    counts seen = {0};
    size_t heap = 256;
    int failed = 0;
    for (; !all_of_it(heap, &seen); heap += 160) {
        assert_true(heap < 1 << 20);
        failed++;
    }
    assert_true(failed > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation), cmocka_unit_test(test_every_heap)};
    return cmocka_run_group_tests_name("torture", tests, NULL, NULL);
}
