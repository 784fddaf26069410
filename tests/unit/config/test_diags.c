/* How messages look, and that they give no secret away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support.h"

typedef struct fixture {
    pl_arena *arena;
    pl_diags *diags;
    pl_node *root;
} fixture;

static fixture parse(const char *text)
{
    fixture f = {.arena = pl_arena_new(1024), .diags = pl_diags_new()};
    pl_yaml_setup setup = {.arena = f.arena, .diags = f.diags, .variable = test_variable};
    f.root = pl_yaml_parse(PL_S(text), "p.yaml", &setup);
    assert_non_null(f.root);
    return f;
}

/* Renders, compares, ends. */
static void expect(fixture *f, const char *expected)
{
    pl_buf out = PL_BUF(1 << 20);
    pl_diags_render(f->diags, &out);
    assert_string_equal(pl_buf_str(&out).ptr, expected);
    pl_buf_release(&out);
    pl_arena_free(&f->arena);
    pl_diags_free(&f->diags);
}

static void a_message_shows_the_line_and_a_caret(void **unused)
{
    (void)unused;
    fixture f = parse("sinks:\n  topic:\n\n    brokres: localhost\n");
    static const char *const known[] = {"brokers", "topic", NULL};
    pl_node_check_keys(pl_node_get(pl_node_get(f.root, "sinks"), "topic"), known, "sink 'topic' (plugin kafka)",
                       f.diags);
    assert_int_equal(pl_diags_errors(f.diags), 1);
    expect(&f, "p.yaml:4:5: error: unknown key 'brokres' in sink 'topic' (plugin kafka)\n"
               "    4 |     brokres: localhost\n"
               "      |     ^~~~~~~\n"
               "   did you mean 'brokers'?\n");
}

static void characters_count_not_bytes_and_tabs_are_blanks(void **unused)
{
    (void)unused;
    fixture f = parse("\xc3\xa4\xc3\xb6:\t{ \xe2\x82\xac: \xc3\xbc }\n");
    const pl_node *inner = f.root->items[0];
    pl_diags_warn(f.diags, inner->items[0], "look");
    expect(&f, "p.yaml:1:10: warning: look\n"
               "    1 | \xc3\xa4\xc3\xb6: { \xe2\x82\xac: \xc3\xbc }\n"
               "      |          ^\n");
}

static void a_long_line_is_cut_around_the_place(void **unused)
{
    (void)unused;
    char text[1200] = "a: [";
    for (int i = 0; i < 200; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%03d, ", i);
    (void)snprintf(text + strlen(text), sizeof text - strlen(text), "x]");
    fixture f = parse(text);
    pl_diags_error(f.diags, f.root->items[0]->items[100], "here");
    pl_buf out = PL_BUF(4096);
    pl_diags_render(f.diags, &out);
    const char *excerpt = strchr(out.data, '\n') + 1, *carets = strchr(excerpt, '\n') + 1;
    assert_true(strcspn(excerpt, "\n") < 180);
    const char *caret = strchr(carets, '^');
    assert_int_equal(strncmp(excerpt + (caret - carets), "100", 3), 0);
    assert_int_equal(strncmp(caret, "^~~\n", 4), 0);
    pl_buf_release(&out);
    pl_arena_free(&f.arena);
    pl_diags_free(&f.diags);
}

static void secrets_are_masked(void **unused)
{
    (void)unused;
    fixture f = parse("a: { api_key: abc123, x: 1, 'db-password': \"p,}w\", key: k3y, y: 2 }\n"
                      "dsn: postgres://user:hunter2@host/db\n"
                      "url: \"https://user:${SECRET}@h/, https://u:pw@h/\" # c\n"
                      "token: ${SECRET}\n"
                      "sasl.password: lit${SECRET}\n"
                      "tokens: [t1, t2]\n");
    const pl_node *a = pl_node_get(f.root, "a");
    pl_node_hide(pl_node_get(a, "key"));
    pl_diags_error(f.diags, pl_node_get(a, "y"), "1");
    pl_diags_error(f.diags, pl_node_get(a, "api_key"), "2");
    pl_diags_error(f.diags, pl_node_get(f.root, "dsn"), "3");
    pl_diags_error(f.diags, pl_node_get(f.root, "url"), "4");
    pl_diags_error(f.diags, pl_node_key(f.root, "token"), "5");
    pl_diags_error(f.diags, pl_node_key(f.root, "sasl.password"), "6");
    pl_diags_error(f.diags, pl_node_key(f.root, "tokens"), "7");
    expect(&f, "p.yaml:1:65: error: 1\n"
               "    1 | a: { api_key: ***, x: 1, 'db-password': ***, key: ***, y: 2 }\n"
               "      |                                                           ^\n"
               "p.yaml:1:15: error: 2\n"
               "    1 | a: { api_key: ***, x: 1, 'db-password': ***, key: ***, y: 2 }\n"
               "      |               ^~~\n"
               "p.yaml:2:6: error: 3\n"
               "    2 | dsn: ***\n"
               "      |      ^~~\n"
               "p.yaml:3:6: error: 4\n"
               "    3 | url: \"https://user:${SECRET}@h/, https://u:***@h/\" # c\n"
               "      |      ^~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~\n"
               "p.yaml:4:1: error: 5\n"
               "    4 | token: ${SECRET}\n"
               "      | ^~~~~\n"
               "p.yaml:5:1: error: 6\n"
               "    5 | sasl.password: ***\n"
               "      | ^~~~~~~~~~~~~\n"
               "p.yaml:6:1: error: 7\n"
               "    6 | tokens: ***\n"
               "      | ^~~~~~\n");
}

static void a_block_secret_is_masked_in_all_its_lines(void **unused)
{
    (void)unused;
    fixture f = parse("key: |\n  line one\n  line two\nb: 1\n");
    pl_node_hide(pl_node_get(f.root, "key"));
    pl_diags_error(f.diags, pl_node_key(f.root, "b"), "4");
    const pl_node inside = {.file = "p.yaml", .line = 3, .column = 3, .source = f.root->source};
    pl_diags_error(f.diags, &inside, "3");
    expect(&f, "p.yaml:4:1: error: 4\n"
               "    4 | b: 1\n"
               "      | ^\n"
               "p.yaml:3:3: error: 3\n"
               "    3 | ***\n"
               "      | ^~~\n");
}

static void messages_are_sorted_counted_and_kept_once(void **unused)
{
    (void)unused;
    fixture f = parse("a: 1\nb: 2\n");
    pl_diags *other = pl_diags_new();
    pl_diags_error(f.diags, f.root->items[1], "second %d", 2);
    pl_diags_at(other, PL_DIAG_WARNING, "x.lua", 7, 1, "from elsewhere");
    pl_diags_hint(other, "a hint");
    pl_diags_at(other, PL_DIAG_ERROR, NULL, 0, 0, "two\nlines");
    pl_diags_error(f.diags, f.root->items[0], "first");
    pl_diags_error(f.diags, f.root->items[0], "first");
    pl_diags_hint(f.diags, "goes nowhere: the message was there already");
    pl_diags_merge(f.diags, other);
    assert_int_equal(pl_diags_count(other), 0);
    pl_diags_free(&other);
    assert_int_equal(pl_diags_errors(f.diags), 3);
    pl_diags_sort(f.diags);
    expect(&f, "p.yaml:1:4: error: first\n    1 | a: 1\n      |    ^\n"
               "p.yaml:2:4: error: second 2\n    2 | b: 2\n      |    ^\n"
               "x.lua:7:1: warning: from elsewhere\n   a hint\n"
               "plumbline: error: two lines\n");
}

static void messages_are_bounded(void **unused)
{
    (void)unused;
    pl_diags *diags = pl_diags_new();
    pl_buf out = PL_BUF(1 << 20);
    for (int i = 1; i <= PL_DIAGS_MAX + 23; i++)
        pl_diags_at(diags, PL_DIAG_ERROR, "f", i, 1, "m");
    assert_int_equal(pl_diags_count(diags), PL_DIAGS_MAX);
    assert_int_equal(pl_diags_errors(diags), PL_DIAGS_MAX + 23);
    assert_true(pl_diags_full(diags));
    pl_diags_render(diags, &out);
    assert_non_null(strstr(out.data, "plumbline: error: 23 more messages not shown\n"));
    pl_buf_release(&out);
    pl_diags_free(&diags);
    pl_diags_error(NULL, NULL, "dropped");
    assert_int_equal(pl_diags_errors(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_shows_the_line_and_a_caret),
        cmocka_unit_test(characters_count_not_bytes_and_tabs_are_blanks),
        cmocka_unit_test(a_long_line_is_cut_around_the_place),
        cmocka_unit_test(secrets_are_masked),
        cmocka_unit_test(a_block_secret_is_masked_in_all_its_lines),
        cmocka_unit_test(messages_are_sorted_counted_and_kept_once),
        cmocka_unit_test(messages_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
