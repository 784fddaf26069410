/* Whole pipelines from their files, on both drivers, with the built plugins file and generate. */
#include <base/fs.h>
#include <base/log.h>
#include <graph/graph.h>
#include <stdlib.h>
#include <unistd.h>
/* cmocka.h wants these before itself. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char home[] = "/tmp/plumbline-graph-XXXXXX";

typedef struct bench {
    pl_loader *loader;
    pl_diags *diags;
    pl_pipeline *pipeline;
    pl_graph *graph;
    char path[128];
    pthread_mutex_t lock;
    pthread_cond_t told;
    bool changed;
} bench;

static const char *in_home(const char *name)
{
    static char paths[4][160];
    static int next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", home, name);
    return path;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void read_text(const char *name, char *text, size_t size)
{
    FILE *file = fopen(in_home(name), "r");
    size_t length = file ? fread(text, 1, size - 1, file) : 0;
    if (file)
        (void)fclose(file);
    text[length] = '\0';
}

static void open_bench(bench *b, const char *yaml, int64_t seed)
{
    *b = (bench){.lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};
    (void)snprintf(b->path, sizeof b->path, "%s", in_home("pipeline.yaml"));
    write_text(b->path, yaml);
    pl_plugin_dirs dirs = {.paths = {PL_BUILD_DIR "/plugins"}, .count = 1};
    b->loader = pl_loader_new(&dirs);
    b->diags = pl_diags_new();
    pl_pipeline_setup setup = {.path = b->path};
    b->pipeline = pl_pipeline_load(&setup, b->diags);
    assert_non_null(b->pipeline);
    b->pipeline->seed = seed;
    pl_graph_setup graph = {.pipeline = b->pipeline, .loader = b->loader, .data_dir = in_home("state")};
    b->graph = pl_graph_plan(&graph, b->diags);
    assert_non_null(b->graph);
    assert_int_equal(pl_diags_errors(b->diags), 0);
    const char *component = "";
    pl_error error = {.struct_size = sizeof error};
    if (pl_graph_open(b->graph, &component, &error) != PL_OK)
        fail_msg("%s: %s", component, error.message);
}

static void close_bench(bench *b)
{
    pl_graph_free(&b->graph);
    pl_pipeline_free(&b->pipeline);
    pl_diags_free(&b->diags);
    pl_loader_free(&b->loader);
}

static pl_counts counts_of(const bench *b, const char *name)
{
    for (size_t i = 0; i < b->graph->node_count; i++)
        if (strcmp(b->graph->nodes[i].name, name) == 0)
            return pl_node_counts(b->graph, &b->graph->nodes[i]);
    fail_msg("no component %s", name);
    return (pl_counts){0};
}

/* ---- the seeded scheduler ----------------------------------------------------------- */

static const char pair[] = "pipeline: pair\n"
                           "scheduler: seeded\n"
                           "sources:\n"
                           "  one: { plugin: generate, with: { count: 3000, seed: 1, step: 7ms,"
                           " template: '{\"at\":\"{time}\",\"one\":{n}}' }, time: at }\n"
                           "  two: { plugin: generate, with: { count: 3000, seed: 2, step: 5ms,"
                           " template: '{\"at\":\"{time}\",\"two\":{n}}' }, time: at }\n"
                           "transforms:\n"
                           "  join: { from: [one, two], %slua: \"function on_record(r) return r end\" }\n"
                           "sinks:\n"
                           "  out: { from: join, plugin: file, with: { path: %s/out.jsonl, mode: truncate } }\n";

enum { OUT_BYTES = 1 << 20 };

static char *run_pair(const char *order, int64_t seed)
{
    static char yaml[2048];
    bench b;
    pl_error error = {.struct_size = sizeof error};
    (void)snprintf(yaml, sizeof yaml, pair, order, home);
    open_bench(&b, yaml, seed);
    assert_int_equal(pl_graph_run_seeded(b.graph, (uint64_t)seed, NULL, NULL, &error), PL_OK);
    assert_true(pl_graph_balanced(b.graph));
    assert_int_equal(pl_graph_unsettled(b.graph), 0);
    assert_int_equal(counts_of(&b, "out").delivered, 6000);
    close_bench(&b);
    char *text = malloc(OUT_BYTES);
    assert_non_null(text);
    read_text("out.jsonl", text, OUT_BYTES);
    assert_true(strlen(text) > 200000);
    return text;
}

static void test_a_seed_gives_the_same_bytes(void **state)
{
    (void)state;
    char *first = run_pair("", 1);
    char *again = run_pair("", 1);
    char *other = run_pair("", 2);
    assert_string_equal(first, again);
    assert_string_not_equal(first, other); /* by arrival, the turns decide */
    free(first);
    free(again);
    free(other);
}

static void test_in_order_every_seed_gives_the_same_bytes(void **state)
{
    (void)state;
    char *first = run_pair("order: { by: time }, ", 1);
    for (int64_t seed = 2; seed < 8; seed++) {
        char *other = run_pair("order: { by: time }, ", seed);
        assert_string_equal(first, other);
        free(other);
    }
    free(first);
}

/* ---- threads ---------------------------------------------------------------------------- */

static void changed(void *self)
{
    bench *b = self;
    pthread_mutex_lock(&b->lock);
    b->changed = true;
    pthread_cond_signal(&b->told);
    pthread_mutex_unlock(&b->lock);
}

static void start(bench *b)
{
    pl_error error = {.struct_size = sizeof error};
    assert_int_equal(pl_graph_start(b->graph, changed, b, &error), PL_OK);
}

static void wait_for_change(bench *b)
{
    pthread_mutex_lock(&b->lock);
    while (!b->changed)
        pthread_cond_wait(&b->told, &b->lock);
    b->changed = false;
    pthread_mutex_unlock(&b->lock);
}

static void wait_for_end(bench *b)
{
    while (!pl_graph_ended(b->graph))
        wait_for_change(b);
    pl_graph_join(b->graph);
}

static const char busy[] =
    "pipeline: busy\n"
    "sources:\n"
    "  in: { plugin: generate, with: { count: %u, keys: 50, lanes: 4,"
    " template: '{\"n\":{n},\"key\":\"{key}\"}' } }\n"
    "transforms:\n"
    "  work: { from: in, workers: 3, by: key,"
    " lua: \"function on_record(r) if r.n %% 3 == 0 then return end return r end\" }\n"
    "sinks:\n"
    "  out: { from: work, plugin: file, with: { path: %s/out.jsonl, mode: truncate } }\n"
    "  copy: { from: [in, work], plugin: file, with: { path: %s/copy.jsonl, mode: truncate } }\n";

static void open_busy(bench *b, unsigned count)
{
    static char yaml[2048];
    (void)snprintf(yaml, sizeof yaml, busy, count, home, home);
    open_bench(b, yaml, 1);
}

static void test_threads_run_to_the_end(void **state)
{
    (void)state;
    bench b;
    open_busy(&b, 20000);
    start(&b);
    wait_for_end(&b);
    assert_true(pl_graph_balanced(b.graph));
    assert_int_equal(counts_of(&b, "in").delivered, 20000); /* the copy has them all */
    assert_int_equal(counts_of(&b, "work").read, 20000);
    assert_int_equal(counts_of(&b, "work").filtered, 6667);
    assert_int_equal(counts_of(&b, "out").delivered, 13333);
    assert_int_equal(counts_of(&b, "copy").delivered, 33333);
    assert_int_equal(atomic_load(&b.graph->flow.memory.used) > 0, 0);
    close_bench(&b);
}

static void test_stopped_it_drains(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        bench b;
        open_busy(&b, 0);
        start(&b);
        while (counts_of(&b, "out").delivered < 500u * (unsigned)round)
            (void)usleep(500);
        pl_graph_stop(b.graph);
        pl_graph_stop(b.graph);
        wait_for_end(&b);
        assert_true(pl_graph_balanced(b.graph));
        assert_int_equal(pl_graph_unsettled(b.graph), 0);
        pl_counts in = counts_of(&b, "in");
        assert_int_equal(in.read, in.delivered);
        close_bench(&b);
    }
}

static void test_aborted_it_says_what_is_left(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        bench b;
        open_busy(&b, 0);
        start(&b);
        while (counts_of(&b, "out").delivered < 300u * (unsigned)round)
            (void)usleep(500);
        pl_graph_abort(b.graph);
        wait_for_end(&b);
        assert_true(pl_graph_balanced(b.graph));
        pl_counts in = counts_of(&b, "in");
        assert_int_equal(in.read, in.delivered + in.filtered + in.dead_lettered + in.in_flight);
        close_bench(&b);
    }
}

static void test_a_halt_is_told(void **state)
{
    (void)state;
    static char yaml[1024];
    bench b;
    (void)snprintf(yaml, sizeof yaml,
                   "pipeline: halted\n"
                   "sources: { in: { plugin: generate, with: { template: '{\"n\":{n}}' } } }\n"
                   "sinks: { out: { from: in, plugin: file, with: { path: %s/no/such/folder.jsonl } } }\n",
                   home);
    open_bench(&b, yaml, 1);
    start(&b);
    wait_for_change(&b);
    assert_true(atomic_load(&b.graph->flow.halted));
    pl_graph_abort(b.graph);
    wait_for_end(&b);
    assert_string_equal(b.graph->flow.halt_component, "out");
    assert_non_null(strstr(b.graph->flow.halt_error.message, "no/such/folder.jsonl"));
    assert_true(pl_graph_balanced(b.graph));
    close_bench(&b);
}

/* ---- without running ---------------------------------------------------------------------- */

static void test_opened_and_never_run(void **state)
{
    (void)state;
    bench b;
    open_busy(&b, 10);
    assert_true(pl_graph_balanced(b.graph));
    pl_graph_stop(b.graph); /* nothing to stop */
    pl_graph_abort(b.graph);
    pl_graph_join(b.graph);
    assert_true(pl_graph_ended(b.graph));
    close_bench(&b);
}

static void test_one_at_a_time(void **state)
{
    (void)state;
    bench b;
    open_busy(&b, 10);
    pl_graph_setup setup = b.graph->setup;
    pl_graph *second = pl_graph_plan(&setup, b.diags);
    const char *component = "";
    pl_error error = {.struct_size = sizeof error};
    assert_int_equal(pl_graph_open(second, &component, &error), PL_FAILED);
    assert_non_null(strstr(error.message, "lock"));
    pl_graph_free(&second);
    assert_null(second);
    pl_graph_free(&second);
    close_bench(&b);
}

static void no_line(void *self, const char *line, size_t len)
{
    (void)self;
    (void)line;
    (void)len;
}

static int set_up(void **state)
{
    (void)state;
    pl_log_capture(no_line, NULL);
    return mkdtemp(home) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const files[] = {"out.jsonl",
                                        "copy.jsonl",
                                        "pipeline.yaml",
                                        "state/pair/lock",
                                        "state/busy/lock",
                                        "state/halted/lock",
                                        "state/pair",
                                        "state/busy",
                                        "state/halted",
                                        "state",
                                        ""};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        (void)remove(in_home(files[i]));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_seed_gives_the_same_bytes),
        cmocka_unit_test(test_in_order_every_seed_gives_the_same_bytes),
        cmocka_unit_test(test_threads_run_to_the_end),
        cmocka_unit_test(test_stopped_it_drains),
        cmocka_unit_test(test_aborted_it_says_what_is_left),
        cmocka_unit_test(test_a_halt_is_told),
        cmocka_unit_test(test_opened_and_never_run),
        cmocka_unit_test(test_one_at_a_time),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
