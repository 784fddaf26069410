/* Option tables against nodes: what is filled, what is refused and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support.h"

#include <base/mem.h>
#include <config/options.h>

#include <math.h>

typedef struct feed {
    const char *pair, *proxy, *deviation;
    int64_t heartbeat_ns;
} feed;
typedef struct create_topic {
    int64_t partitions, replication;
} create_topic;
typedef struct setting {
    const char *key, *value;
} setting;
typedef struct limits {
    int64_t records;
} limits;
typedef struct config {
    const char *url, *api_key, *mode, *path, *key, *topic, *price, *band;
    int64_t count, every_ns, size;
    double ratio;
    bool create, topic_given, old;
    create_topic create_topic;
    limits limits;
    pl_array brokers, feeds, librdkafka;
} config;

static const char *const modes[] = {"ignore", "update", NULL};
static const pl_option text_element = {.type = PL_OPT_STR};
static const pl_option setting_element = {.type = PL_OPT_STR, .offset = offsetof(setting, value)};
static const pl_option feed_options[] = {
    {PL_OPTION(feed, pair, STR, NULL, "what is priced"), .flags = PL_OPT_REQUIRED, .example = "ETH-USD"},
    {PL_OPTION(feed, proxy, STR, NULL, "address of the feed's proxy contract")},
    {PL_OPTION(feed, deviation, PERCENT, "0.5%", "threshold of an update"), .max = 100},
    {.name = "heartbeat", .type = PL_OPT_DURATION_NS, .fallback = "1h", .offset = offsetof(feed, heartbeat_ns)},
};
static const pl_option feed_element = {
    .type = PL_OPT_OBJECT, .fields = feed_options, .field_count = 4, .element_size = sizeof(feed)};
static const pl_option topic_options[] = {
    {PL_OPTION(create_topic, partitions, INT, "3", "how many"), .min = 1, .max = 10000},
    {PL_OPTION(create_topic, replication, INT, NULL, "copies"), .min = 1, .max = 10, .flags = PL_OPT_REQUIRED},
};
static const pl_option limit_options[] = {{PL_OPTION(limits, records, INT, "500", "at most")}};
static const pl_option options[] = {
    {PL_OPTION(config, url, STR, NULL, "where it is"), .flags = PL_OPT_REQUIRED, .example = "http://localhost"},
    {PL_OPTION(config, api_key, SECRET, NULL, "the key")},
    {PL_OPTION(config, mode, ENUM, "ignore", "what a conflict does"), .choices = modes},
    {PL_OPTION(config, path, PATH, NULL, "a file")},
    {PL_OPTION(config, key, FIELD, NULL, "what identifies a record")},
    {PL_OPTION(config, topic, TEMPLATE, NULL, "where to")},
    {PL_OPTION(config, price, DECIMAL, NULL, "an exact number"), .min = -1, .max = 1000},
    {PL_OPTION(config, band, PERCENT, "0.50%", "how far off")},
    {PL_OPTION(config, count, INT, "7", "how many"), .min = 1, .max = INFINITY},
    {.name = "every",
     .type = PL_OPT_DURATION_NS,
     .fallback = "60s",
     .offset = offsetof(config, every_ns),
     .min = 1e9,
     .max = 8.64e13,
     .doc = "how often"},
    {PL_OPTION(config, size, SIZE, "1MiB", "how much")},
    {PL_OPTION(config, ratio, FLOAT, "0.5", "a share"), .max = 1},
    {PL_OPTION(config, create, BOOL, "false", "whether to")},
    {PL_OPTION(config, old, BOOL, NULL, "use create"), .flags = PL_OPT_DEPRECATED},
    {PL_OPTION(config, create_topic, OBJECT, NULL, "makes it"), .fields = topic_options, .field_count = 2,
     .element_size = sizeof(create_topic), .present_offset = 1 + offsetof(config, topic_given)},
    {PL_OPTION(config, limits, OBJECT, NULL, "limits"), .fields = limit_options, .field_count = 1,
     .element_size = sizeof(limits)},
    {PL_OPTION(config, brokers, LIST, "[localhost:9092]", "asked first"), .fields = &text_element,
     .element_size = sizeof(char *), .min = 1, .max = 3},
    {PL_OPTION(config, feeds, LIST, NULL, "what to read"), .fields = &feed_element, .element_size = sizeof(feed)},
    {PL_OPTION(config, librdkafka, MAP, NULL, "passed through"), .fields = &setting_element,
     .element_size = sizeof(setting)},
};
static const pl_option_table table = {options, sizeof options / sizeof *options, sizeof *options};
static const char what[] = "sink 'topic' (plugin kafka)";

typedef struct filled {
    pl_arena *arena;
    pl_diags *diags;
    pl_node *with;
    config config;
    bool ok;
} filled;

static filled fill(const char *text)
{
    filled f = {.arena = pl_arena_new(1024), .diags = pl_diags_new()};
    pl_yaml_setup setup = {.arena = f.arena, .diags = f.diags, .variable = test_variable};
    f.with = pl_yaml_parse(PL_S(text), "f", &setup);
    assert_non_null(f.with);
    f.ok = pl_options_check_and_fill(&table, f.with, &f.config, f.arena, f.with, what, f.diags);
    return f;
}

static void release(filled *f)
{
    pl_arena_free(&f->arena);
    pl_diags_free(&f->diags);
}

static void expect_wrong(const char *text, const char *const *messages)
{
    filled f = fill(text);
    assert_false(f.ok);
    pl_diags_sort(f.diags);
    expect_messages(f.diags, messages);
    release(&f);
}

static void every_type_is_filled(void **unused)
{
    (void)unused;
    filled f = fill("url: http://h\napi_key: ${SECRET}\nmode: update\npath: ./x\nkey: quotes.USD[0].price\n"
                    "topic: price.{pair}\nprice: -0.500\nband: 1.250%\ncount: 9223372036854775807\nevery: 1m30s\n"
                    "size: 64kB\nratio: 1e-1\ncreate: true\ncreate_topic: { partitions: \"12\", replication: 2 }\n"
                    "brokers: [a, b]\nfeeds: [{ pair: ETH-USD, heartbeat: 2h }, { pair: X, deviation: 1% }]\n"
                    "librdkafka: { a.b: 5, c: \"${SET}\" }\nlimits: { records: 9 }\n");
    const config *c = &f.config;
    assert_true(f.ok);
    assert_int_equal(pl_diags_count(f.diags), 0);
    assert_string_equal(c->url, "http://h");
    assert_string_equal(c->api_key, "hunter2");
    assert_string_equal(c->mode, "update");
    assert_string_equal(c->path, "./x");
    assert_string_equal(c->key, "quotes.USD[0].price");
    assert_string_equal(c->topic, "price.{pair}");
    assert_string_equal(c->price, "-0.500");
    assert_string_equal(c->band, "1.250");
    assert_true(c->count == INT64_MAX);
    assert_true(c->every_ns == 90000000000);
    assert_int_equal(c->size, 64000);
    assert_true(c->ratio == 0.1);
    assert_true(c->create && c->topic_given);
    assert_int_equal(c->create_topic.partitions, 12);
    assert_int_equal(c->create_topic.replication, 2);
    assert_int_equal(c->limits.records, 9);
    assert_int_equal(c->brokers.count, 2);
    assert_string_equal(((const char *const *)c->brokers.items)[1], "b");
    const feed *feeds = c->feeds.items;
    assert_int_equal(c->feeds.count, 2);
    assert_string_equal(feeds[0].pair, "ETH-USD");
    assert_true(feeds[0].heartbeat_ns == 7200000000000);
    assert_string_equal(feeds[0].deviation, "0.5");
    assert_null(feeds[0].proxy);
    assert_string_equal(feeds[1].deviation, "1");
    assert_true(feeds[1].heartbeat_ns == 3600000000000);
    const setting *settings = c->librdkafka.items;
    assert_int_equal(c->librdkafka.count, 2);
    assert_string_equal(settings[0].key, "a.b");
    assert_string_equal(settings[0].value, "5");
    assert_string_equal(settings[1].value, "value");
    release(&f);
}

static void what_is_not_given_has_its_default(void **unused)
{
    (void)unused;
    filled f = fill("{ url: x, count: ~, size: \"${EMPTY}\", brokers: one }");
    const config *c = &f.config;
    assert_true(f.ok);
    assert_null(c->api_key);
    assert_string_equal(c->mode, "ignore");
    assert_string_equal(c->band, "0.50");
    assert_int_equal(c->count, 7);
    assert_true(c->every_ns == 60000000000);
    assert_int_equal(c->size, 1 << 20);
    assert_true(c->ratio == 0.5);
    assert_false(c->create || c->topic_given);
    assert_int_equal(c->create_topic.partitions, 0); /* the object was not given */
    assert_int_equal(c->limits.records, 500);        /* this one is always there */
    assert_int_equal(c->brokers.count, 1);           /* a single value is a list of one */
    assert_string_equal(*(const char *const *)c->brokers.items, "one");
    assert_int_equal(c->feeds.count, 0);
    release(&f);
    f = fill("{ url: x }");
    assert_string_equal(*(const char *const *)f.config.brokers.items, "localhost:9092");
    release(&f);
    f = fill("{ url: x, feeds: { pair: A } }");
    assert_true(f.ok);
    assert_int_equal(f.config.feeds.count, 1);
    release(&f);
}

static void each_wrong_value_is_told_at_its_place(void **unused)
{
    (void)unused;
    expect_wrong(
        "url: [x]\nmode: updaet\nkey: a..b\ntopic: p.{x\nprice: 1e5\nband: 0.5\ncount: 0\nevery: 5\nsize: big\n"
        "ratio: nan\ncreate: yes\nold: true\n",
        (const char *const[]){
            "f:1:6: url of sink 'topic' (plugin kafka): expected text, found a list",
            "f:2:7: mode of sink 'topic' (plugin kafka): not one of its words; found 'updaet' [did you mean "
            "'update'?]",
            "f:3:6: key of sink 'topic' (plugin kafka): a name is missing before a dot of the field path; "
            "found 'a..b'",
            "f:4:8: topic of sink 'topic' (plugin kafka): the braces of a template come in pairs: "
            "price.{pair}; found 'p.{x'",
            "f:5:8: price of sink 'topic' (plugin kafka): expected a decimal number such as 12.50; found '1e5'",
            "f:6:7: band of sink 'topic' (plugin kafka): a percentage needs its sign, such as 0.5%; found '0.5'",
            "f:7:8: count of sink 'topic' (plugin kafka): expected at least 1; found '0'",
            "f:8:8: every of sink 'topic' (plugin kafka): a duration needs a unit, such as 200ms, 30s, 5m, "
            "1h30m; found '5'",
            "f:9:7: size of sink 'topic' (plugin kafka): expected a size such as 512, 64kB, 64MiB; found 'big'",
            "f:10:8: ratio of sink 'topic' (plugin kafka): expected a number; found 'nan'",
            "f:11:9: create of sink 'topic' (plugin kafka): write true or false; found 'yes'",
            "f:12:1: warning: option 'old' of sink 'topic' (plugin kafka) is deprecated: use create", NULL});
    expect_wrong(
        "{ url: x, price: 1000.5, count: 9223372036854775808, every: 2d, ratio: 1.5, create: TRUE, count2: 1 }",
        (const char *const[]){
            "f:1:18: price of sink 'topic' (plugin kafka): expected -1 to 1000; found '1000.5'",
            "f:1:33: count of sink 'topic' (plugin kafka): expected a whole number within 64 bits; found "
            "'9223372036854775808'",
            "f:1:61: every of sink 'topic' (plugin kafka): expected 1s to 1d; found '2d'",
            "f:1:72: ratio of sink 'topic' (plugin kafka): expected 0 to 1; found '1.5'",
            "f:1:85: create of sink 'topic' (plugin kafka): write true or false; found 'TRUE'",
            "f:1:91: unknown key 'count2' in sink 'topic' (plugin kafka) [did you mean 'count'?]", NULL});
}

static void nested_mistakes_name_their_path(void **unused)
{
    (void)unused;
    expect_wrong(
        "brokers: [a, ~, {}, b]\n"
        "feeds:\n"
        "  - { pair: A }\n"
        "  - { proxy: B, heartbeat: soon, devation: 1 }\n"
        "create_topic: { partition: 3 }\n"
        "librdkafka: { a: [1] }\n"
        "limits: 5\n",
        (const char *const[]){
            "f:1:1: sink 'topic' (plugin kafka) needs option 'url' [for example `url: http://localhost`]",
            "f:1:10: brokers of sink 'topic' (plugin kafka): expected 1 to 3 entries, found 4",
            "f:4:5: sink 'topic' (plugin kafka) needs option 'feeds[1].pair' [for example `pair: ETH-USD`]",
            "f:4:28: feeds[1].heartbeat of sink 'topic' (plugin kafka): expected a duration such as 200ms, "
            "30s, 5m, 1h30m (units ns us ms s m h d); found 'soon'",
            "f:4:34: unknown key 'devation' in feeds[1] of sink 'topic' (plugin kafka) [did you mean 'deviation'?]",
            "f:5:15: sink 'topic' (plugin kafka) needs option 'create_topic.replication'",
            "f:5:17: unknown key 'partition' in create_topic of sink 'topic' (plugin kafka) [did you mean "
            "'partitions'?]",
            "f:6:18: librdkafka.a of sink 'topic' (plugin kafka): expected text, found a list",
            "f:7:9: limits of sink 'topic' (plugin kafka): expected a map, found text", NULL});
    expect_wrong("{ url: x, brokers: [a, ~, {}] }",
                 (const char *const[]){"f:1:24: brokers[1] of sink 'topic' (plugin kafka): a value is missing",
                                       "f:1:27: brokers[2] of sink 'topic' (plugin kafka): expected text, found a map",
                                       NULL});
    expect_wrong("{ ulr: x, create_topic: { replicaton: 3 } }", /* a slip of the pen is one mistake, not two */
                 (const char *const[]){
                     "f:1:3: unknown key 'ulr' in sink 'topic' (plugin kafka) [did you mean 'url'?]",
                     "f:1:27: unknown key 'replicaton' in create_topic of sink 'topic' (plugin kafka) [did you mean "
                     "'replication'?]",
                     NULL});
    expect_wrong("[1]", (const char *const[]){
                            "f:1:1: with of sink 'topic' (plugin kafka) is a map of options, not a list", NULL});
}

static void secrets_are_shown_nowhere(void **unused)
{
    (void)unused;
    filled f = fill("{ url: x, api_key: [plainsecret], x1: 1 }");
    pl_buf out = PL_BUF(4096);
    pl_diags_render(f.diags, &out);
    assert_int_equal(pl_diags_errors(f.diags), 2);
    assert_null(strstr(out.data, "plainsecret"));
    pl_buf_release(&out);
    release(&f);
    f = fill("{ url: x, count: \"${SECRET}\", every: \"${SECRET}\", mode: \"${SECRET}\" }");
    pl_diags_render(f.diags, &out);
    assert_int_equal(pl_diags_errors(f.diags), 3);
    assert_null(strstr(out.data, "hunter2"));
    assert_non_null(strstr(out.data, "found '${SECRET}'"));
    pl_buf_release(&out);
    release(&f);
}

static void an_unset_variable_is_one_mistake(void **unused)
{
    (void)unused;
    expect_wrong("{ url: \"${NOT}\", brokers: [\"${NOT}\"] }",
                 (const char *const[]){
                     "f:1:9: the environment variable NOT is not set [set it, or give a default: ${NOT:-...}]",
                     "f:1:29: the environment variable NOT is not set [set it, or give a default: ${NOT:-...}]", NULL});
}

static void nothing_given_or_only_checked(void **unused)
{
    (void)unused;
    pl_arena *arena = pl_arena_new(1024);
    pl_diags *diags = pl_diags_new();
    config c = {.url = NULL};
    assert_false(pl_options_check_and_fill(&table, NULL, &c, arena, NULL, what, diags));
    expect_messages(diags, (const char *const[]){"sink 'topic' (plugin kafka) needs option 'url' [for example `url: "
                                                 "http://localhost`]",
                                                 NULL});
    assert_int_equal(c.count, 7);
    pl_yaml_setup setup = {.arena = arena, .diags = diags};
    const pl_node *with = pl_yaml_parse(PL_S("{ url: x, feeds: [{ pair: x }], librdkafka: { a: b } }"), "f", &setup);
    assert_true(pl_options_check_and_fill(&table, with, NULL, arena, NULL, what, diags));
    pl_arena_free(&arena);
    pl_diags_free(&diags);
}

static void inherited_keys_may_be_for_another_component(void **unused)
{
    (void)unused;
    pl_arena *arena = pl_arena_new(1024);
    pl_diags *diags = pl_diags_new();
    config c = {.url = NULL};
    pl_yaml_setup setup = {.arena = arena, .diags = diags};
    pl_node *with = pl_yaml_parse(PL_S("{ url: x, foreign: 1, count: zero }"), "f", &setup);
    for (size_t i = 0; i < with->count; i++)
        with->keys[i]->inherited = true;
    assert_false(pl_options_check_and_fill(&table, with, &c, arena, NULL, what, diags));
    assert_false(pl_options_check_and_fill(&table, with, &c, arena, NULL, "another component", diags));
    expect_messages(diags, (const char *const[]){
                               "f:1:30: count of the plugin's defaults: expected a whole number; found 'zero'", NULL});
    pl_diags_free(&diags);
    diags = pl_diags_new();
    pl_option_table tables[] = {table, {topic_options, 2, sizeof(pl_option)}};
    pl_node *defaults = pl_yaml_parse(PL_S("{ url: x, partitions: 1, partitons: 2 }"), "f", &setup);
    pl_options_check_known(defaults, tables, 2, "defaults of plugin kafka", diags);
    expect_messages(diags, (const char *const[]){"f:1:26: unknown key 'partitons' in defaults of plugin kafka [did you "
                                                 "mean 'partitions'?]",
                                                 NULL});
    pl_arena_free(&arena);
    pl_diags_free(&diags);
}

static void a_wrong_declaration_is_told_as_such(void **unused)
{
    (void)unused;
    static const pl_option bad[] = {{PL_OPTION(config, count, INT, "many", "")},
                                    {PL_OPTION(config, mode, ENUM, "[", "")},
                                    {PL_OPTION(config, brokers, LIST, "[a]", "")}};
    const pl_option_table bad_table = {bad, 3, sizeof *bad};
    pl_arena *arena = pl_arena_new(1024);
    pl_diags *diags = pl_diags_new();
    config c = {.url = NULL};
    assert_false(pl_options_check_and_fill(&bad_table, NULL, &c, arena, NULL, "x", diags));
    assert_int_equal(pl_diags_errors(diags), 3);
    assert_non_null(strstr(pl_diags_get(diags, 0)->message, "the declaration of option 'count' is wrong"));
    pl_arena_free(&arena);
    pl_diags_free(&diags);
}

static void an_option_is_found_by_its_path(void **unused)
{
    (void)unused;
    filled f = fill("url: x\n"
                    "brokers: [a, b]\n"
                    "feeds: [{ pair: A }, { pair: B }]\n"
                    "librdkafka: { a.b: 5, a: 6 }\n");
    const struct {
        const char *option;
        int line, column;
    } cases[] = {{"url", 1, 6},
                 {"brokers[1]", 2, 14},
                 {"feeds[1].pair", 3, 30},
                 {"feeds[1].proxy", 3, 22},
                 {"brokers[7]", 2, 10},
                 {"librdkafka.a.b", 4, 20},
                 {"librdkafka.a", 4, 26},
                 {"nope", 1, 1},
                 {"url[0]", 1, 6},
                 {"", 1, 1},
                 {"feeds[x].pair", 3, 8},
                 {"url.x", 1, 6}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const pl_node *found = pl_options_locate(f.with, cases[i].option);
        assert_int_equal(found->line, cases[i].line);
        assert_int_equal(found->column, cases[i].column);
    }
    assert_null(pl_options_locate(NULL, "x"));
    release(&f);
}

static void tables_describe_themselves(void **unused)
{
    (void)unused;
    static const pl_option few[] = {
        {PL_OPTION(config, url, STR, NULL, "where it is"), .flags = PL_OPT_REQUIRED, .example = "http://localhost"},
        {PL_OPTION(config, mode, ENUM, "ignore", "what a conflict does"), .choices = modes},
        {PL_OPTION(config, count, INT, "7", "how many"), .min = 1, .max = INFINITY},
        {.name = "every", .type = PL_OPT_DURATION_NS, .fallback = "60s", .min = 1e9, .max = 8.64e13},
        {PL_OPTION(config, feeds, LIST, NULL, "what to read"), .fields = &feed_element, .element_size = sizeof(feed)},
    };
    const pl_option_table few_table = {few, 5, sizeof *few};
    pl_buf out = PL_BUF(4096);
    pl_options_describe(&few_table, 2, &out);
    assert_string_equal(out.data, "  url: text, required\n"
                                  "      where it is\n"
                                  "      example: url: http://localhost\n"
                                  "  mode: one of ignore, update, default ignore\n"
                                  "      what a conflict does\n"
                                  "  count: whole number, at least 1, default 7\n"
                                  "      how many\n"
                                  "  every: duration, 1s to 1d, default 60s\n"
                                  "  feeds: list of map\n"
                                  "      what to read\n"
                                  "      pair: text, required\n"
                                  "          what is priced\n"
                                  "          example: pair: ETH-USD\n"
                                  "      proxy: text\n"
                                  "          address of the feed's proxy contract\n"
                                  "      deviation: percentage, 0% to 100%, default 0.5%\n"
                                  "          threshold of an update\n"
                                  "      heartbeat: duration, default 1h\n");
    pl_buf_release(&out);
}

static void no_memory_is_an_error_and_no_crash(void **unused)
{
    (void)unused;
    for (long n = 0; n < 60; n++) {
        filled f = {.arena = pl_arena_new(256), .diags = pl_diags_new()};
        pl_yaml_setup setup = {.arena = f.arena, .diags = f.diags, .variable = test_variable};
        f.with = pl_yaml_parse(PL_S("{ url: x, feeds: [{ pair: x }], librdkafka: { a: b }, bad: 1, count: x }"), "f",
                               &setup);
        pl_mem_fail_after(n);
        f.ok = pl_options_check_and_fill(&table, f.with, &f.config, f.arena, f.with, what, f.diags);
        pl_mem_fail_after(-1);
        assert_false(f.ok);
        assert_true(pl_diags_errors(f.diags) > 0);
        release(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_filled),
        cmocka_unit_test(what_is_not_given_has_its_default),
        cmocka_unit_test(each_wrong_value_is_told_at_its_place),
        cmocka_unit_test(nested_mistakes_name_their_path),
        cmocka_unit_test(secrets_are_shown_nowhere),
        cmocka_unit_test(an_unset_variable_is_one_mistake),
        cmocka_unit_test(nothing_given_or_only_checked),
        cmocka_unit_test(inherited_keys_may_be_for_another_component),
        cmocka_unit_test(a_wrong_declaration_is_told_as_such),
        cmocka_unit_test(an_option_is_found_by_its_path),
        cmocka_unit_test(tables_describe_themselves),
        cmocka_unit_test(no_memory_is_an_error_and_no_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
