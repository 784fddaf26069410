/* A whole pipeline, from its file to its end, in which an allocation fails, and all after it; or one of simdjson's, or
 * the heap of its script is too small: an error that says so, or success; never a crash or a leak. (tests/faults, 24)
 */
#include <base/log.h>
#include <base/mem.h>
#include <graph/graph.h>
#include <stdlib.h>
#include <unistd.h>
/* cmocka.h wants these before itself. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- simdjson's allocator ------------------------------------------------------------ */

/* The Itanium C++ ABI's names of operator new and delete, so that simdjson and we share them: the nothrow ones, which
 * are all that simdjson and scan.cpp use, fail when they are told to. */
#if defined(__SANITIZE_THREAD__)
#define OWN_NEW 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define OWN_NEW 0 /* ThreadSanitizer's own can't be replaced */
#endif
#endif
#ifndef OWN_NEW
#define OWN_NEW 1
#endif

#if OWN_NEW
static long news_left = -1; /* negative: none fails */

#define EXPORTED __attribute__((visibility("default")))

static void *new_or_null(size_t size)
{
    if (news_left == 0)
        return NULL;
    news_left -= news_left > 0;
    return malloc(size ? size : 1);
}

static void *new_or_abort(size_t size)
{
    void *made = malloc(size ? size : 1);
    if (!made)
        abort();
    return made;
}

EXPORTED void *_Znwm(size_t size);
EXPORTED void *_Znam(size_t size);
EXPORTED void *_ZnwmRKSt9nothrow_t(size_t size, const void *tag);
EXPORTED void *_ZnamRKSt9nothrow_t(size_t size, const void *tag);
EXPORTED void _ZdlPv(void *memory);
EXPORTED void _ZdaPv(void *memory);
EXPORTED void _ZdlPvm(void *memory, size_t size);
EXPORTED void _ZdaPvm(void *memory, size_t size);

void *_Znwm(size_t size)
{
    return new_or_abort(size);
}

void *_Znam(size_t size)
{
    return new_or_abort(size);
}

void *_ZnwmRKSt9nothrow_t(size_t size, const void *tag)
{
    (void)tag;
    return new_or_null(size);
}

void *_ZnamRKSt9nothrow_t(size_t size, const void *tag)
{
    (void)tag;
    return new_or_null(size);
}

void _ZdlPv(void *memory)
{
    free(memory);
}

void _ZdaPv(void *memory)
{
    free(memory);
}

void _ZdlPvm(void *memory, size_t size)
{
    (void)size;
    free(memory);
}

void _ZdaPvm(void *memory, size_t size)
{
    (void)size;
    free(memory);
}
#endif

/* ---- one life ---------------------------------------------------------------------------- */

enum { RECORDS = 24, LETTERS = 40, LIVES_MAX = 20000 };

static char home[] = "/tmp/plumbline-torture-XXXXXX";
static char path[64];
static char said[4096]; /* what was logged in this life */
static char letters[64];
static const pl_graph_replay put_back = {.from = letters, .reason = "why"};
static const pl_graph_replay *replay; /* NULL: the source runs */

static const char yaml[] = "pipeline: torture\n"
                           "scheduler: seeded\n"
                           "dead_letter: rejected\n"
                           "sources: { in: { plugin: file, with: { path: %s/in.jsonl }, time: at } }\n"
                           "transforms:\n"
                           "  work:\n"
                           "    from: in\n"
                           "    order: { by: time }\n"
                           "    state: durable\n"
                           "    limits: { memory: %s }\n"
                           "    lua: |\n"
                           "      state.sum = state.sum or 0\n"
                           "      function on_record(r, m)\n"
                           "        if r.n == 7 then error('seven') end\n"
                           "        state.sum = state.sum + r.n\n"
                           "        r.note = nil\n"
                           "        r.sum = decimal(state.sum):div(3, 2)\n"
                           "        defer(m.time + 2 * time.second, 'k', function() return { n = -1 } end)\n"
                           "        return r\n"
                           "      end\n"
                           "sinks:\n"
                           "  out: { from: work, when: n ~= 5, plugin: file, with: { path: %s/out.jsonl } }\n"
                           "  rejected: { plugin: file, with: { path: %s/rejected.jsonl } }\n";

static void remember(void *self, const char *line, size_t len)
{
    (void)self;
    size_t used = strlen(said);
    if (used + len + 1 < sizeof said)
        (void)snprintf(said + used, sizeof said - used, "%.*s", (int)len, line);
}

static void write_file(const char *name, const char *text)
{
    char place[128];
    (void)snprintf(place, sizeof place, "%s/%s", home, name);
    FILE *file = fopen(place, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void forget(const char *name)
{
    char place[128];
    (void)snprintf(place, sizeof place, "%s/%s", home, name);
    (void)remove(place);
}

static void clean(void)
{
    forget("out.jsonl");
    forget("rejected.jsonl");
    forget("state/torture/work.checkpoint");
    forget("state/torture/replay/done");
}

static bool halted(void *self)
{
    pl_graph *graph = self;
    if (atomic_load(&graph->flow.halted))
        atomic_store(&graph->flow.aborting, true);
    return atomic_load(&graph->flow.halted);
}

/* Opens and drives it. True: it came through. */
static bool drive(pl_graph *graph)
{
    const char *component = "";
    pl_error error = {.struct_size = sizeof error};
    pl_status status = pl_graph_open(graph, &component, &error);
    if (status == PL_OK)
        status = pl_graph_run_seeded(graph, 1, halted, graph, &error);
    if (status != PL_OK) {
        assert_true(error.message[0] != '\0');
        return false;
    }
    if (atomic_load(&graph->flow.halted)) {
        assert_true(graph->flow.halt_error.message[0] != '\0');
        return false;
    }
    assert_true(pl_graph_balanced(graph));
    assert_int_equal(pl_graph_unsettled(graph), 0);
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].kind == PL_KIND_SOURCE && graph->nodes[i].worker_count)
            assert_int_equal(pl_node_counts(graph, &graph->nodes[i]).read, replay ? LETTERS : RECORDS);
    return true;
}

/* From the file to the end. True: all went well. */
static bool live(void)
{
    said[0] = '\0';
    clean();
    pl_plugin_dirs dirs = {.paths = {PL_BUILD_DIR "/plugins"}, .count = 1};
    char state[96];
    (void)snprintf(state, sizeof state, "%s/state", home);
    pl_loader *loader = pl_loader_new(&dirs);
    pl_diags *diags = pl_diags_new();
    pl_pipeline_setup setup = {.path = path};
    pl_pipeline *pipeline = loader && diags ? pl_pipeline_load(&setup, diags) : NULL;
    pl_graph_setup plan = {.pipeline = pipeline, .loader = loader, .data_dir = state, .replay = replay};
    pl_graph *graph = pipeline ? pl_graph_plan(&plan, diags) : NULL;
    bool sound = graph && pl_diags_errors(diags) == 0;
    if (diags && !graph && pipeline == NULL)
        assert_true(pl_diags_errors(diags) > 0);
    bool good = sound && drive(graph);
    pl_graph_free(&graph);
    pl_pipeline_free(&pipeline);
    pl_diags_free(&diags);
    pl_loader_free(&loader);
    return good;
}

static void prepare(const char *heap)
{
    static char text[4096];
    (void)snprintf(text, sizeof text, yaml, home, heap, home, home);
    write_file("pipeline.yaml", text);
}

static void fail_each_allocation(void)
{
    prepare("64MiB");
    assert_true(live());
    int came_through = 0;
    long failed = 0;
    /* In the start one by one; a running flow takes ever the same ones, so later in growing steps. */
    for (long n = 0; came_through < 2; n += n < 400 ? 1 : 1 + n / 50) {
        assert_true(n < 100L * LIVES_MAX);
        pl_mem_fail_after(n);
        bool good = live();
        pl_mem_fail_after(-1);
        came_through = good ? came_through + 1 : 0;
        failed += !good;
    }
    assert_true(failed > 300);
}

static void test_each_allocation_of_ours(void **state)
{
    (void)state;
    fail_each_allocation();
}

static void test_each_allocation_of_a_replay(void **state)
{
    (void)state;
    replay = &put_back;
    fail_each_allocation();
    replay = NULL;
}

#if OWN_NEW
static void test_each_allocation_of_simdjson(void **state)
{
    (void)state;
    prepare("64MiB");
    bool good = false;
    int failed = 0;
    for (long n = 0; !good; n++) {
        assert_true(n < LIVES_MAX);
        news_left = n;
        good = live();
        news_left = -1;
        failed += !good;
    }
    assert_true(failed > 3);
}
#endif

static void test_each_size_of_lua_heap(void **state)
{
    (void)state;
    int failed = 0;
    char heap[32];
    bool good = false;
    for (int kib = 16; !good; kib += 4) {
        assert_true(kib < 4096);
        (void)snprintf(heap, sizeof heap, "%dKiB", kib);
        prepare(heap);
        good = live();
        failed += !good;
    }
    assert_true(failed > 0);
}

static int set_up(void **state)
{
    (void)state;
    pl_log_capture(remember, NULL);
    if (!mkdtemp(home))
        return -1;
    (void)snprintf(path, sizeof path, "%s/pipeline.yaml", home);
    static char lines[LETTERS * 256 + 1];
    size_t used = 0;
    for (int n = 0; n < RECORDS; n++)
        used += (size_t)snprintf(
            lines + used, sizeof lines - used,
            "{\"n\":%d,\"at\":\"2026-01-01T00:00:%02dZ\",\"note\":\"\\u00e9\",\"list\":[1,{\"x\":2.50}]}\n", n, n);
    write_file("in.jsonl", lines);
    static const char *const components[] = {"in", "work", "out", "gone"};
    static const char *const payloads[] = {"{\"n\":7,\"at\":\"2026-01-01T00:00:00Z\"}", "{\"n\":8}", "\"torn\"", "[]",
                                           "9"};
    used = 0;
    for (int n = 0; n < LETTERS; n++)
        used += (size_t)snprintf(lines + used, sizeof lines - used,
                                 "{\"headers\":{\"plumbline.component\":\"%s\",\"plumbline.reason\":\"why\","
                                 "\"plumbline.id\":\"00000000000000aa-%x\",\"a\":[\"1\",null]},\"payload\":%s}\n",
                                 components[n % 4], (unsigned)n, payloads[n % 5]);
    (void)snprintf(letters, sizeof letters, "%s/letters.jsonl", home);
    write_file("letters.jsonl", lines);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const files[] = {"in.jsonl",
                                        "letters.jsonl",
                                        "pipeline.yaml",
                                        "state/torture/lock",
                                        "state/torture/store",
                                        "state/torture/replay/lock",
                                        "state/torture/replay",
                                        "state/torture",
                                        "state"};
    clean();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        forget(files[i]);
    return rmdir(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_of_ours),
        cmocka_unit_test(test_each_allocation_of_a_replay),
#if OWN_NEW
        cmocka_unit_test(test_each_allocation_of_simdjson),
#endif
        cmocka_unit_test(test_each_size_of_lua_heap),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
