/* Pipeline files: what they mean, and each mistake at its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support.h"

#include <base/mem.h>

#include <stdlib.h>

static const int64_t s = 1000000000;

static void expect_errors(const char *text, const char *const *expected)
{
    loaded one = load(text, NULL, 0);
    expect_messages(one.diags, expected);
    unload(&one);
}

static void a_full_file_is_understood(void **unused)
{
    (void)unused;
    put_file("scripts/join.lua", "function on_record(r) return r end\n");
    loaded one = load("pipeline: full-1\n"
                      "data_dir: ./data\n"
                      "memory: 64MiB\n"
                      "dead_letter: rejected\n"
                      "delivery: at_least_once\n"
                      "shutdown_deadline: 5s\n"
                      "scheduler: seeded\n"
                      "seed: 7\n"
                      "sources:\n"
                      "  prices:\n"
                      "    plugin: kafka\n"
                      "    time: [observed_at, fetched_at]\n"
                      "    codec: text\n"
                      "    validate: touched\n"
                      "    retry: { attempts: 3, min: 1s, max: 2s }\n"
                      "    with: { topics: [a] }\n"
                      "transforms:\n"
                      "  last: { from: [inline.late, prices.gaps], when: x > 1 }\n"
                      "  inline:\n"
                      "    from: joined\n"
                      "    lua: |\n"
                      "      function on_record(r) return r end\n"
                      "    state: none\n"
                      "  joined:\n"
                      "    from: prices\n"
                      "    script: scripts/join.lua\n"
                      "    order: { by: time, slack: 1s, idle: 3s }\n"
                      "    workers: 4\n"
                      "    by: pair\n"
                      "    state: { rebuild: 3h }\n"
                      "    limits: { memory: 1MiB, time: 10ms }\n"
                      "sinks:\n"
                      "  rejected: { plugin: file }\n"
                      "  out: { from: last, plugin: file, when: y, batch: { records: 5, bytes: 1kB, wait: 1ms } }\n",
                      NULL, 0);
    assert_string_equal(one.text, "");
    const pl_pipeline *p = one.pipeline;
    assert_string_equal(p->name, "full-1");
    assert_string_equal(p->data_dir, "./data");
    assert_int_equal(p->memory_bytes, 64 << 20);
    assert_int_equal(p->shutdown_deadline_ns, 5 * s);
    assert_int_equal(p->scheduler, PL_SCHEDULER_SEEDED);
    assert_int_equal(p->seed, 7);
    assert_int_equal(p->count, 6);
    static const char *const order[] = {"prices", "joined", "inline", "last", "rejected", "out"};
    for (size_t i = 0; i < p->count; i++)
        assert_string_equal(p->components[i].name, order[i]);
    assert_int_equal(p->dead_letter, 4);
    const pl_component_spec *prices = &p->components[0], *joined = &p->components[1], *inline_lua = &p->components[2],
                            *last = &p->components[3], *out = &p->components[5];
    assert_string_equal(prices->plugin, "kafka");
    assert_int_equal(prices->time_count, 2);
    assert_string_equal(prices->time[1], "fetched_at");
    assert_int_equal(prices->codec, PL_CODEC_TEXT);
    assert_int_equal(prices->validate, PL_VALIDATE_TOUCHED);
    assert_true(prices->retry.given);
    assert_int_equal(prices->retry.attempts, 3);
    assert_int_equal(prices->retry.max_ns, 2 * s);
    assert_int_equal(prices->with->count, 1);
    assert_string_equal(joined->script, "scripts/join.lua");
    assert_true(joined->order.enabled);
    assert_int_equal(joined->order.slack_ns, s);
    assert_int_equal(joined->order.idle_ns, 3 * s);
    assert_int_equal(joined->workers, 4);
    assert_string_equal(joined->by, "pair");
    assert_int_equal(joined->state.kind, PL_STATE_REBUILD);
    assert_int_equal(joined->state.span_ns, 10800 * s);
    assert_int_equal(joined->limits.memory_bytes, 1 << 20);
    assert_int_equal(joined->limits.time_ns, s / 100);
    assert_string_equal(inline_lua->lua, "function on_record(r) return r end\n");
    assert_int_equal(inline_lua->lua_first_line, 22);
    assert_int_equal(inline_lua->workers, 1);
    assert_string_equal(last->when, "x > 1");
    assert_string_equal(last->from[0].port, "late");
    assert_int_equal(last->from[0].component, 2);
    assert_string_equal(last->from[1].name, "prices");
    assert_int_equal(last->from[1].component, 0);
    assert_int_equal(out->batch.records, 5);
    assert_int_equal(out->batch.bytes, 1000);
    assert_int_equal(out->batch.wait_ns, s / 1000);
    assert_ptr_equal(pl_pipeline_find(p, "out"), out);
    assert_null(pl_pipeline_find(p, "none"));
    unload(&one);
    assert_null(one.pipeline);
}

static void what_is_not_given_has_its_default(void **unused)
{
    (void)unused;
    loaded one = load("sources: { a: { plugin: p } }\nsinks: { b: { plugin: p, from: a } }\n", NULL, 0);
    assert_string_equal(one.text, "");
    const pl_pipeline *p = one.pipeline;
    assert_string_equal(p->name, "p");
    assert_null(p->data_dir);
    assert_int_equal(p->memory_bytes, 0);
    assert_int_equal(p->shutdown_deadline_ns, 30 * s);
    assert_int_equal(p->scheduler, PL_SCHEDULER_THREADS);
    assert_int_equal(p->dead_letter, -1);
    assert_int_equal(p->components[0].codec, PL_CODEC_JSON);
    assert_int_equal(p->components[0].retry.min_ns, s / 10);
    assert_int_equal(p->components[0].retry.max_ns, 30 * s);
    assert_null(p->components[0].with);
    assert_int_equal(p->components[1].batch.records, 0);
    assert_int_equal(p->components[1].batch.wait_ns, -1);
    unload(&one);
}

static void eight_mistakes_are_eight_messages(void **unused)
{
    (void)unused;
    put_file("scripts/validate.lua", "");
    expect_errors("pipeline: eight\n"                                        /* 1 */
                  "sources:\n"                                               /* 2 */
                  "  prices: { plugin: kafka, codek: json }\n"               /* 3 unknown key */
                  "  idle: { plugin: file }\n"                               /* 4 unused */
                  "transforms:\n"                                            /* 5 */
                  "  valid: { from: prices, script: scripts/valdate.lua }\n" /* 6 missing script */
                  "  a: { from: b, when: x }\n"                              /* 7 cycle */
                  "  b: { from: [a, valid], when: x, workers: many }\n"      /* 8 wrong type */
                  "sinks:\n"                                                 /* 9 */
                  "  out: { from: [b, vaild], plugin: file, with: [1] }\n"   /* 10 no such input; wrong type */
                  "  late: { from: valid.late, plugin: file,\n"              /* 11 */
                  "    batch: { wait: 5 } }\n",                              /* 12 no unit */
                  (const char *const[]){
                      "p.yaml:3:28: unknown key 'codek' in source 'prices' [did you mean 'codec'?]",
                      "p.yaml:4:3: nothing reads source 'idle'",
                      "p.yaml:6:34: script of transform 'valid': cannot read scripts/valdate.lua: No such file or "
                      "directory [did you mean 'validate.lua'?]",
                      "p.yaml:7:14: a cycle: a <- b <- a",
                      "p.yaml:8:44: workers of transform 'b' is a whole number from 1 to 256; found 'many'",
                      "p.yaml:10:20: from of sink 'out': there is no source or transform 'vaild' [did you mean "
                      "'valid'?]",
                      "p.yaml:10:48: with of sink 'out' is a map of options, not a list",
                      "p.yaml:12:20: batch.wait of sink 'late': a duration needs a unit, such as 200ms, 30s, 5m, "
                      "1h30m; found '5'",
                      NULL});
}

static void commits_are_for_transactions(void **unused)
{
    (void)unused;
    expect_errors("commit_every: 1s\n"
                  "sources: { a: { plugin: p } }\n"
                  "sinks: { b: { plugin: p, from: a } }\n",
                  (const char *const[]){"p.yaml:1:1: commit_every is how long a transaction lasts: it needs delivery: "
                                        "exactly_once",
                                        NULL});
    expect_errors("delivery: exactly_once\n"
                  "commit_every: 31s\n"
                  "sources: { a: { plugin: p } }\n"
                  "sinks: { b: { plugin: p, from: a } }\n",
                  (const char *const[]){"p.yaml:2:15: commit_every is between 10ms and 30s", NULL});
}

static void wrong_top_keys_are_told(void **unused)
{
    (void)unused;
    expect_errors("pipeline: Not a name\n"
                  "memory: [1]\n"
                  "shutdown_deadline: 5\n"
                  "delivery: exactly_twice\n"
                  "scheduler: thread\n"
                  "seed: -1\n"
                  "dead_letter: nome\n"
                  "sourcez: {}\n"
                  "tests: []\n"
                  "sources: { a: { plugin: p } }\n"
                  "sinks: { none: { plugin: p, from: a } }\n",
                  (const char *const[]){
                      "p.yaml:1:11: pipeline 'Not a name': a name is made of a-z, 0-9, _ and -, at most 64 of them",
                      "p.yaml:2:9: memory of the pipeline is a size, not a list",
                      "p.yaml:3:20: shutdown_deadline of the pipeline: a duration needs a unit, such as 200ms, 30s, "
                      "5m, 1h30m; found '5'",
                      "p.yaml:4:11: delivery of the pipeline can't be 'exactly_twice' [did you mean 'exactly_once'?]",
                      "p.yaml:5:12: scheduler of the pipeline can't be 'thread' [did you mean 'threads'?]",
                      "p.yaml:6:7: seed of the pipeline is a whole number from 0 to 9223372036854775807; found '-1'",
                      "p.yaml:7:14: dead_letter: there is no sink 'nome' [did you mean 'none'?]",
                      "p.yaml:8:1: unknown key 'sourcez' in a pipeline file [did you mean 'sources'?]",
                      "p.yaml:9:1: warning: tests within a pipeline file are not available yet: they are not run",
                      NULL});
}

static void wrong_components_are_told(void **unused)
{
    (void)unused;
    expect_errors("sources:\n"
                  "  a: kafka\n"
                  "  B!: { plugin: x }\n"
                  "  c: { with: {} }\n"
                  "  d: { plugin: ../x, time: { a: b }, codec: xml }\n"
                  "  e: { plugin: x, buffer: { size: 1MiB }, retry: { min: 5s, max: 1s } }\n"
                  "sinks:\n"
                  "  s: { from: [a, B!, c, d, e, e], plugin: x }\n"
                  "  t: { from: s, plugin: x }\n"
                  "  u: { plugin: x }\n"
                  "  v:\n"
                  "  e: { from: e.gap, plugin: x, batch: { records: 0 } }\n",
                  (const char *const[]){
                      "p.yaml:2:6: source 'a' is a map, not text [expected one of plugin, with, time, codec, "
                      "validate, retry, buffer]",
                      "p.yaml:3:3: source 'B!': a name is made of a-z, 0-9, _ and -, at most 64 of them",
                      "p.yaml:4:3: source 'c' needs `plugin: NAME`",
                      "p.yaml:5:16: plugin '../x': a name is made of a-z, 0-9, _ and -, at most 64 of them",
                      "p.yaml:5:28: time of source 'd' is a text or a list of texts, not a map",
                      "p.yaml:5:45: codec of source 'd' can't be 'xml' [expected one of json, text, bytes]",
                      "p.yaml:6:29: unknown key 'size' in buffer of source 'e' [expected one of max_size, sync]",
                      "p.yaml:6:66: retry.max of source 'e' is below its min",
                      "p.yaml:8:31: from of sink 's' names 'e' twice",
                      "p.yaml:9:14: from of sink 't': 's' is a sink, which gives nothing out",
                      "p.yaml:10:3: sink 'u' needs `from`: what it takes in [or name it as the pipeline's "
                      "`dead_letter`]",
                      "p.yaml:11:3: sink 'v' is a map, not nothing [expected one of from, plugin, with, when, batch, "
                      "retry, reject, buffer]",
                      "p.yaml:12:3: sink 'e': the source in line 6 is called the same",
                      "p.yaml:12:14: source 'e' has no output 'gap' [did you mean 'gaps'?]",
                      "p.yaml:12:50: batch.records of sink 'e' is a whole number from 1 to 1000000; found '0'", NULL});
}

static void wrong_transforms_are_told(void **unused)
{
    (void)unused;
    put_file("dir.lua/x", "");
    expect_errors("sources: { a: { plugin: p } }\n"
                  "transforms:\n"
                  "  b: { when: x }\n"
                  "  c: { from: a }\n"
                  "  d: { from: a, script: dir.lua, lua: x }\n"
                  "  e: { from: a, lua: x, workers: 2, order: { by: key }, state: rebuild }\n"
                  "  f: { from: [], when: x, state: { rebuild: 0s }, with: { x: 1 } }\n"
                  "  g: { from: a., lua: x, state: durable }\n"
                  "  h: { from: [a, i], lua: x, state: durable }\n"
                  "  i: { from: a, lua: x, state: durable, limits: { memory: much } }\n"
                  "sinks: { s: { from: [b, c, d, e, f, g, h], plugin: p } }\n",
                  (const char *const[]){
                      "p.yaml:3:3: transform 'b' needs `from`: what it reads",
                      "p.yaml:4:3: transform 'c' needs script, lua or when",
                      "p.yaml:5:25: script of transform 'd': dir.lua is no file",
                      "p.yaml:5:34: transform 'd' has both script and lua: choose one",
                      "p.yaml:6:34: transform 'e' has several workers: what its script joins must meet in one of them "
                      "[add `by: FIELD` (a field path), or `by: lane`]",
                      "p.yaml:6:50: order.by of transform 'e' can't be 'key' [expected time]",
                      "p.yaml:6:64: state of transform 'e': say how far back it is rebuilt: { rebuild: 2h }",
                      "p.yaml:7:14: from of transform 'f' is empty",
                      "p.yaml:7:34: state of transform 'f': say how far back it is rebuilt: { rebuild: 2h }",
                      "p.yaml:7:51: transform 'f' has no script that could take options",
                      "p.yaml:8:14: an output's name is missing behind the dot of 'a.'",
                      "p.yaml:9:37: transform 'h' has durable state, and so has 'i' before it: a path may have one",
                      "p.yaml:10:59: limits.memory of transform 'i': expected a size such as 512, 64kB, 64MiB; found "
                      "'much'",
                      NULL});
}

static void a_slip_of_the_pen_is_one_mistake(void **unused)
{
    (void)unused;
    expect_errors("sorces:\n"
                  "  a: { plugn: p, timr: x }\n"
                  "transforms:\n"
                  "  t: { form: a, lau: x }\n"
                  "sinks:\n"
                  "  o: { frm: [t], plugin: p, batch: { record: 0 } }\n",
                  (const char *const[]){
                      "p.yaml:1:1: unknown key 'sorces' in a pipeline file [did you mean 'sources'?]",
                      "p.yaml:2:8: unknown key 'plugn' in source 'a' [did you mean 'plugin'?]",
                      "p.yaml:2:18: unknown key 'timr' in source 'a' [did you mean 'time'?]",
                      "p.yaml:4:8: unknown key 'form' in transform 't' [did you mean 'from'?]",
                      "p.yaml:4:17: unknown key 'lau' in transform 't' [did you mean 'lua'?]",
                      "p.yaml:6:8: unknown key 'frm' in sink 'o' [did you mean 'from'?]",
                      "p.yaml:6:38: unknown key 'record' in batch of sink 'o' [did you mean 'records'?]",
                      "p.yaml:6:46: batch.records of sink 'o' is a whole number from 1 to 1000000; found '0'", NULL});
}

static void cycles_are_told_one_by_one(void **unused)
{
    (void)unused;
    expect_errors(
        "sources: { s: { plugin: p } }\n"
        "transforms:\n"
        "  behind: { from: y, when: x }\n"
        "  a: { from: a, when: x }\n"
        "  x: { from: [s, z], when: x }\n"
        "  y: { from: x, when: x }\n"
        "  z: { from: y, when: x }\n"
        "sinks: { o: { from: [behind, a], plugin: p } }\n",
        (const char *const[]){"p.yaml:4:14: a cycle: a <- a", "p.yaml:5:18: a cycle: x <- z <- y <- x", NULL});
}

static void the_dead_letter_is_fed_by_nothing(void **unused)
{
    (void)unused;
    expect_errors("dead_letter: d\n"
                  "sources: { a: { plugin: p } }\n"
                  "sinks: { o: { from: a, plugin: p }, d: { from: a, plugin: p } }\n",
                  (const char *const[]){"p.yaml:3:42: sink 'd' is the dead letter: nothing else may feed it", NULL});
    expect_errors("dead_letter: a\n"
                  "sources: { a: { plugin: p } }\n"
                  "sinks: { o: { from: a, plugin: p } }\n",
                  (const char *const[]){"p.yaml:1:14: dead_letter: 'a' is a source, not a sink", NULL});
}

static void files_that_are_no_pipelines_are_refused(void **unused)
{
    (void)unused;
    const struct {
        const char *text, *messages[5];
    } cases[] = {
        {"", {"p.yaml:0:0: the file is empty"}},
        {"[a]", {"p.yaml:1:1: a pipeline file is a map with keys such as sources and sinks, not a list"}},
        {"sources: 5\nsinks: [x]\n",
         {"p.yaml:1:1: a pipeline needs at least one source", "p.yaml:1:1: a pipeline needs at least one sink",
          "p.yaml:1:10: sources is a map from the name of a component to what it is, not text",
          "p.yaml:2:8: sinks is a map from the name of a component to what it is, not a list"}},
    };
    for (size_t i = 0; i < 2; i++) {
        loaded one = load(cases[i].text, NULL, 0);
        assert_null(one.pipeline);
        expect_messages(one.diags, cases[i].messages);
        unload(&one);
    }
    expect_errors(cases[2].text, cases[2].messages);
    pl_diags *diags = pl_diags_new();
    pl_pipeline_setup setup = {.path = "none.yaml"};
    assert_null(pl_pipeline_load(&setup, diags));
    expect_messages(diags, (const char *const[]){"none.yaml:0:0: cannot read it: No such file or directory", NULL});
    pl_diags_free(&diags);
}

static void too_many_components_are_refused(void **unused)
{
    (void)unused;
    pl_buf text = PL_BUF(1 << 20);
    pl_buf_adds(&text, "sources:\n");
    for (int i = 0; i < 1001; i++)
        pl_buf_printf(&text, "  s%d: { plugin: p }\n", i);
    expect_errors(text.data,
                  (const char *const[]){"p.yaml:1:1: a pipeline has at most 1000 components, not 1001", NULL});
    pl_buf_release(&text);
}

/* ---- include, defaults ---------------------------------------------------------- */

static void includes_are_merged_and_the_file_wins(void **unused)
{
    (void)unused;
    put_file("inc/a.yaml", "include: sub/b.yaml\n"
                           "memory: 1MiB\n"
                           "data_dir: from-a\n"
                           "transforms: { t: { from: s, script: t.lua } }\n"
                           "defaults: { kafka: { brokers: a, key: k }, other: { x: \"${NOT_SET}\" } }\n");
    put_file("inc/sub/b.yaml", "memory: 2MiB\n"
                               "shutdown_deadline: 9s\n"
                               "sources: { s: { plugin: kafka } }\n"
                               "defaults: { kafka: { brokers: b, acks: all } }\n");
    put_file("inc/t.lua", "");
    loaded one = load("include: [inc/a.yaml, inc/sub/b.yaml]\n"
                      "data_dir: own\n"
                      "defaults: { kafka: { key: pair } }\n"
                      "sinks: { o: { plugin: kafka, from: t, with: { acks: one } } }\n",
                      NULL, 0);
    assert_string_equal(one.text, "");
    const pl_pipeline *p = one.pipeline;
    assert_int_equal(p->memory_bytes, 1 << 20);
    assert_int_equal(p->shutdown_deadline_ns, 9 * s);
    assert_string_equal(p->data_dir, "own");
    assert_string_equal(pl_pipeline_find(p, "t")->script, "inc/t.lua"); /* beside the file that names it */
    const pl_node *with = pl_pipeline_find(p, "s")->with;
    assert_true(pl_node_is(pl_node_get(with, "brokers"), "a"));
    assert_true(pl_node_is(pl_node_get(with, "key"), "pair"));
    assert_true(pl_node_is(pl_node_get(with, "acks"), "all"));
    assert_true(pl_node_key(with, "acks")->inherited);
    with = pl_pipeline_find(p, "o")->with;
    assert_true(pl_node_is(pl_node_get(with, "acks"), "one"));
    assert_false(pl_node_key(with, "acks")->inherited);
    assert_int_equal(with->count, 3);
    assert_string_equal(pl_node_get(with, "brokers")->file, "inc/a.yaml");
    unload(&one);
}

static void mistakes_in_includes_are_told_where_they_stand(void **unused)
{
    (void)unused;
    put_file("inc/c.yaml", "include: ../p.yaml\nsources:\n  s: { plugin: kafka, tim: x }\n");
    expect_errors("include: [inc/c.yaml, inc/none.yaml, {}]\n"
                  "sources: { s: { plugin: kafka } }\n"
                  "defaults: { kafka: [] }\n"
                  "sinks: { o: { plugin: kafka, from: s } }\n",
                  (const char *const[]){"inc/c.yaml:1:10: inc/../p.yaml includes itself through the files it includes",
                                        "inc/c.yaml:3:23: unknown key 'tim' in source 's' [did you mean 'time'?]",
                                        "p.yaml:1:23: cannot read inc/none.yaml: No such file or directory",
                                        "p.yaml:1:38: an include is a file name, not a map",
                                        "p.yaml:2:12: duplicate component 's': inc/c.yaml:3 has one already",
                                        "p.yaml:3:20: defaults of plugin 'kafka' is a map of options, not a list",
                                        NULL});
}

/* ---- --set ------------------------------------------------------------------------ */

static const char base[] =
    "sources: { a: { plugin: p, with: { url: \"${NOT}\", list: [{ x: 1 }, 2], lib: { b.c: 1 } } } }\n"
    "defaults: { p: { every: 1m } }\n"
    "sinks: { o: { plugin: p, from: a } }\n";

static void overrides_win_over_everything(void **unused)
{
    (void)unused;
    pl_override overrides[] = {{"sources.a.with.every=5s", false},
                               {"sources.a.with.url=http://h/?a=b", false},
                               {"sources.a.with.list.0.x=[1, {y: 2}]", false},
                               {"sources.a.with.lib.b.c=${SET}", false},
                               {"sources.a.with.lib.\"d.e\"=4", false},
                               {"sources.a.with.new.deep=5", false},
                               {"sinks.o.batch.records=7", false},
                               {"defaults.p.more=1", false},
                               {"memory=1MiB", false}};
    size_t count = sizeof overrides / sizeof *overrides;
    loaded one = load(base, overrides, count);
    assert_string_equal(one.text, "");
    for (size_t i = 0; i < count; i++)
        assert_true(overrides[i].used);
    const pl_node *with = one.pipeline->components[0].with;
    const pl_node *every = pl_node_get(with, "every");
    assert_true(pl_node_is(every, "5s"));
    assert_string_equal(every->file, "--set");
    assert_int_equal(every->column, 22);
    assert_true(pl_node_is(pl_node_get(with, "url"), "http://h/?a=b"));
    const pl_node *item = pl_node_get(pl_node_get(with, "list")->items[0], "x");
    assert_int_equal(item->type, PL_NODE_SEQUENCE);
    assert_true(pl_node_is(pl_node_get(item->items[1], "y"), "2"));
    assert_true(pl_node_is(pl_node_get(pl_node_get(with, "lib"), "b.c"), "value"));
    assert_true(pl_node_is(pl_node_get(pl_node_get(with, "lib"), "d.e"), "4"));
    assert_true(pl_node_is(pl_node_get(pl_node_get(with, "new"), "deep"), "5"));
    assert_int_equal(one.pipeline->components[1].batch.records, 7);
    assert_true(pl_node_is(pl_node_get(one.pipeline->components[1].with, "more"), "1"));
    assert_int_equal(one.pipeline->memory_bytes, 1 << 20);
    unload(&one);
}

static void wrong_overrides_are_told(void **unused)
{
    (void)unused;
    pl_override overrides[] = {{"sources.a.with.url=x", false},
                               {"sources.a.with.list.9=x", false},
                               {"sources.a.with.url.x=1", false},
                               {"memry=1", false},
                               {"include=x", false},
                               {"nothing", false},
                               {"sources.a.with.k=[1", false},
                               {"sources.a.with.k=${NOT}", false},
                               {"sinks.o.batch={ records: 0 }", false},
                               {"sources.b.with.x=1", false},
                               {"sources.a..x=1", false}};
    size_t count = sizeof overrides / sizeof *overrides;
    loaded one = load(base, overrides, count);
    const pl_pipeline *pipelines[] = {one.pipeline};
    pl_overrides_report(overrides, count, pipelines, 1, one.diags);
    expect_messages(one.diags,
                    (const char *const[]){
                        "--set:1:1: unknown key 'memry' in a pipeline file [did you mean 'memory'?]",
                        "--set:1:1: 'include' can't be set: it is read before",
                        "--set:1:1: expected KEY.KEY=VALUE, such as sources.prices.with.every=5s",
                        "--set:1:11: an empty name in the path",
                        "--set:1:18: not valid YAML: did not find expected ',' or ']' while parsing a flow sequence",
                        "--set:1:18: the environment variable NOT is not set [set it, or give a default: ${NOT:-...}]",
                        "--set:1:20: what comes before is a text: it has no 'x'",
                        "--set:1:21: this is a list of 2: give a number from 0",
                        "--set:1:26: batch.records of sink 'o' is a whole number from 1 to 1000000; found '0'",
                        "--set sources.b.with.x=1: there is no 'b' in sources [did you mean 'a'?]", NULL});
    unload(&one);
}

/* ---- Robustness --------------------------------------------------------------------- */

static void secrets_stay_out_of_messages(void **unused)
{
    (void)unused;
    put_file("token", "hunter2\n");
    loaded one = load("memory: ${SECRET}\n"
                      "shutdown_deadline: \"${file:token}\"\n"
                      "dead_letter: ${SECRET}\n"
                      "scheduler: ${SECRET}\n"
                      "sources: { a: { plugin: p, codec: \"${SECRET}\" } }\n"
                      "sinks: { o: { plugin: p, from: \"${SECRET}\", batch: { records: \"${SECRET}\" } } }\n",
                      NULL, 0);
    assert_true(pl_diags_errors(one.diags) >= 7);
    assert_null(strstr(one.text, "hunter2"));
    assert_non_null(strstr(one.text, "${SECRET}"));
    unload(&one);
}

static void an_unset_variable_is_one_mistake(void **unused)
{
    (void)unused;
    expect_errors("sources: { a: { plugin: \"${NOT}\" } }\n"
                  "transforms: { t: { from: a, state: { rebuild: \"${NOT}\" }, lua: \"${NOT}\" } }\n"
                  "sinks: { o: { plugin: p, from: [\"${NOT}\", t] } }\n",
                  (const char *const[]){
                      "p.yaml:1:26: the environment variable NOT is not set [set it, or give a default: ${NOT:-...}]",
                      "p.yaml:2:48: the environment variable NOT is not set [set it, or give a default: ${NOT:-...}]",
                      "p.yaml:2:65: the environment variable NOT is not set [set it, or give a default: ${NOT:-...}]",
                      "p.yaml:3:34: the environment variable NOT is not set [set it, or give a default: ${NOT:-...}]",
                      NULL});
}

static void no_memory_at_any_point_is_an_error_and_no_crash(void **unused)
{
    (void)unused;
    put_file("inc/d.yaml",
             "defaults: { p: { a: 1 } }\ntransforms: { t: { from: s, script: t.lua, state: durable } }\n");
    put_file("inc/t.lua", "");
    put_file("p.yaml", "include: inc/d.yaml\nsources: { s: { plugin: p, time: a, with: { b: \"${SET}\" } } }\n"
                       "sinks: { o: { plugin: p, from: [t, x], bach: 1 } }\n");
    size_t failed = 0, worked = 0;
    for (long n = 0; n < 120; n++) {
        pl_diags *diags = pl_diags_new();
        pl_override overrides[] = {{"sources.s.with.c=1", false}};
        pl_pipeline_setup setup = {"p.yaml", overrides, 1, test_variable, NULL};
        pl_mem_fail_after(n);
        pl_pipeline *pipeline = pl_pipeline_load(&setup, diags);
        pl_mem_fail_after(-1);
        assert_true(pl_diags_errors(diags) > 0);
        *(pipeline ? &worked : &failed) += 1;
        pl_pipeline_free(&pipeline);
        pl_diags_free(&diags);
    }
    assert_true(failed > 0 && worked > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_file_is_understood),
        cmocka_unit_test(what_is_not_given_has_its_default),
        cmocka_unit_test(eight_mistakes_are_eight_messages),
        cmocka_unit_test(wrong_top_keys_are_told),
        cmocka_unit_test(commits_are_for_transactions),
        cmocka_unit_test(wrong_components_are_told),
        cmocka_unit_test(wrong_transforms_are_told),
        cmocka_unit_test(a_slip_of_the_pen_is_one_mistake),
        cmocka_unit_test(cycles_are_told_one_by_one),
        cmocka_unit_test(the_dead_letter_is_fed_by_nothing),
        cmocka_unit_test(files_that_are_no_pipelines_are_refused),
        cmocka_unit_test(too_many_components_are_refused),
        cmocka_unit_test(includes_are_merged_and_the_file_wins),
        cmocka_unit_test(mistakes_in_includes_are_told_where_they_stand),
        cmocka_unit_test(overrides_win_over_everything),
        cmocka_unit_test(wrong_overrides_are_told),
        cmocka_unit_test(secrets_stay_out_of_messages),
        cmocka_unit_test(an_unset_variable_is_one_mistake),
        cmocka_unit_test(no_memory_at_any_point_is_an_error_and_no_crash),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
