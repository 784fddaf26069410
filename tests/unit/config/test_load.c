/* YAML under limits, and ${...}. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support.h"

#include <base/mem.h>
#include <base/str.h>

#include <stdlib.h>

typedef struct parsed {
    pl_arena *arena;
    pl_diags *diags;
    pl_node *root;
} parsed;

static parsed parse_bytes(pl_str text)
{
    parsed one = {.arena = pl_arena_new(1024), .diags = pl_diags_new()};
    pl_yaml_setup setup = {.arena = one.arena, .diags = one.diags, .variable = test_variable};
    one.root = pl_yaml_parse(text, "f", &setup);
    return one;
}

static parsed parse(const char *text)
{
    return parse_bytes(PL_S(text));
}

static void release(parsed *one)
{
    pl_arena_free(&one->arena);
    pl_diags_free(&one->diags);
}

static void expect_refused(pl_str text, const char *message)
{
    parsed one = parse_bytes(text);
    assert_null(one.root);
    expect_messages(one.diags, (const char *const[]){message, NULL});
    release(&one);
}

static void nodes_know_their_places(void **unused)
{
    (void)unused;
    parsed one = parse("# comment\n"
                       "a: 1\n"
                       "\xc3\xa4\xc3\xb6: { b: 'x', c: [y, \"z\"] }\n"
                       "code: |\n"
                       "  line\n"
                       "none:\n");
    const pl_node *map = pl_node_get(one.root, "\xc3\xa4\xc3\xb6"), *b = pl_node_get(map, "b");
    assert_int_equal(one.root->type, PL_NODE_MAP);
    assert_int_equal(one.root->count, 4);
    assert_int_equal(map->line, 3);
    assert_int_equal(map->column, 5); /* characters, not bytes */
    assert_int_equal(b->column, 10);
    assert_int_equal(b->end_column, 13);
    assert_true(b->quoted);
    const pl_node *list = pl_node_get(map, "c");
    assert_int_equal(list->type, PL_NODE_SEQUENCE);
    assert_false(list->items[0]->quoted);
    assert_true(pl_node_is(list->items[1], "z"));
    const pl_node *code = pl_node_get(one.root, "code");
    assert_true(code->block);
    assert_string_equal(code->text.ptr, "line\n");
    assert_int_equal(pl_node_get(one.root, "none")->type, PL_NODE_NULL);
    assert_int_equal(pl_node_key(one.root, "none")->line, 6);
    assert_null(pl_node_get(one.root, "nothing"));
    assert_null(pl_node_get(NULL, "x"));
    assert_int_equal(pl_diags_count(one.diags), 0);
    release(&one);
}

static void variables_come_in_as_text(void **unused)
{
    (void)unused;
    parsed one = parse("a: ${SET}\n"
                       "b: x${SET}y$${SET}$z$\n"
                       "c: \"${NOT:-a: [b]}\"\n"
                       "d: ${EMPTY}\n"
                       "e: \"${EMPTY:-fallback}\"\n"
                       "f: 'x${EMPTY}'\n"
                       "${SET}: key\n");
    const char *const expected[] = {"value", "xvaluey${SET}$z$", "a: [b]", NULL, "fallback", "x", "key"};
    for (size_t i = 0; i < one.root->count; i++) {
        const pl_node *node = one.root->items[i];
        assert_int_equal(node->type, expected[i] ? PL_NODE_SCALAR : PL_NODE_NULL);
        if (expected[i])
            assert_string_equal(node->text.ptr, expected[i]);
        assert_int_equal(node->tainted, i < 6);
    }
    assert_string_equal(one.root->items[1]->written.ptr, "x${SET}y$${SET}$z$");
    assert_string_equal(one.root->keys[6]->text.ptr, "${SET}");
    assert_int_equal(pl_diags_count(one.diags), 0);
    release(&one);
}

static void files_come_in_without_their_last_newline(void **unused)
{
    (void)unused;
    put_file("secret", "s3cret\n");
    put_file("two", "a\n\n");
    put_file("crlf", "a\r\n");
    put_file("bare", "a");
    parsed one = parse("[\"${file:secret}\", \"x${file:two}\", \"${file:crlf}\", \"${file:bare}\"]");
    assert_string_equal(one.root->items[0]->text.ptr, "s3cret");
    assert_string_equal(one.root->items[1]->text.ptr, "xa\n");
    assert_string_equal(one.root->items[2]->text.ptr, "a");
    assert_string_equal(one.root->items[3]->text.ptr, "a");
    release(&one);
}

static void each_wrong_variable_is_told_at_its_place(void **unused)
{
    (void)unused;
    parsed one = parse("a: x ${NOT} ${NOT}\n"
                       "b: \"\xc3\xa4 ${file:none}\"\n"
                       "c: ${X-3}\n"
                       "d: ${SET\n"
                       "e: ${1X}\n");
    assert_non_null(one.root);
    for (size_t i = 0; i < one.root->count; i++) {
        assert_int_equal(one.root->items[i]->type, PL_NODE_NULL);
        assert_true(one.root->items[i]->broken);
    }
    expect_messages(one.diags,
                    (const char *const[]){
                        "f:1:6: the environment variable NOT is not set [set it, or give a default: ${NOT:-...}]",
                        "f:1:13: the environment variable NOT is not set [set it, or give a default: ${NOT:-...}]",
                        "f:2:7: there is no file none",
                        "f:3:4: expected ${VAR}, ${VAR:-default} or ${file:PATH} [write $${ for a literal ${]",
                        "f:4:4: ${ without its } [write $${ for a literal ${]",
                        "f:5:4: expected ${VAR}, ${VAR:-default} or ${file:PATH} [write $${ for a literal ${]", NULL});
    release(&one);
}

static void the_classic_mistakes_are_named(void **unused)
{
    (void)unused;
    expect_refused(PL_S("a: { every: ${E} }\n"), "f:1:13: within { } and [ ] YAML takes the brace of ${ for its own: "
                                                 "quote it [write \"${E}\"]");
    expect_refused(PL_S("a: b: c\n"), "f:1:5: not valid YAML: mapping values are not allowed in this context "
                                      "[a value that contains ': ' needs quotes; or the line is indented too far]");
    expect_refused(PL_S("a:\n\tb: 1\n"), "f:2:1: not valid YAML: found character that cannot start any token while "
                                         "scanning for the next token [indent with blanks, not tabs; a value that "
                                         "begins with @, % or ` needs quotes]");
    expect_refused(PL_S("x: 1\na: \"b\nc: d\n"), "f:2:4: the quote that opens here is never closed");
    expect_refused(PL_S("a: 1\n---\nb: 2\n"), "f:2:1: a second document begins here; one file holds one");
    expect_refused(PL_S("? [a]\n: b\n"), "f:1:3: a key must be a text, not a list or a map");
}

static void what_yaml_has_too_much_of_is_refused(void **unused)
{
    (void)unused;
    expect_refused(PL_S("a: &x [*x]\n"), "f:1:4: anchors (&name) are not supported");
    expect_refused(PL_S("a: *x\n"), "f:1:4: aliases (*name) are not supported");
    expect_refused(PL_S("a: !!str 5\n"), "f:1:4: tags (!name) are not supported");
    expect_refused(PL_S("a: \"\\0\"\n"), "f:1:4: a text can't contain a NUL character");
}

static void duplicate_keys_are_all_told_and_the_first_counts(void **unused)
{
    (void)unused;
    parsed one = parse("a: 1\nb: { c: 1, c: 2 }\na: 2\n");
    expect_messages(one.diags, (const char *const[]){"f:2:12: duplicate key 'c': it was given in line 2 already",
                                                     "f:3:1: duplicate key 'a': it was given in line 1 already", NULL});
    assert_true(pl_node_is(pl_node_get(one.root, "a"), "1"));
    release(&one);
}

/* Text of `count` times `piece`. Free with pl_free. */
static char *repeat(const char *piece, size_t count)
{
    size_t len = strlen(piece);
    char *text = pl_calloc(count * len + 1, 1);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * len, piece, len);
    return text;
}

static void hostile_files_are_refused(void **unused)
{
    (void)unused;
    const struct {
        const char *piece;
        size_t count;
        const char *message;
    } cases[] = {
        {"[", 200000, "f:1:65: nested deeper than 64 levels"},
        {"{a: ", 100000, "f:1:257: nested deeper than 64 levels"},
        {"- ", 100000, "f:1:129: nested deeper than 64 levels"},
        {"# 2 MiB\n", 2u << 17, "f:0:0: the file is larger than 1 MiB"},
        {"a: &a [x,x]\nb: &b [*a,*a]\n", 1, "f:1:4: anchors (&name) are not supported"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = repeat(cases[i].piece, cases[i].count);
        expect_refused(PL_S(text), cases[i].message);
        pl_free(text);
    }
    expect_refused((pl_str){"a: 1\nb: \0\n", 10}, "f:2:4: a NUL byte: this is no text file");
    expect_refused(PL_S("a: \xc3\xa4\nb: x\xff\n"), "f:2:5: the file is not UTF-8");
    expect_refused(PL_S("a: \xed\xa0\x80\n"), "f:1:4: the file is not UTF-8");
    expect_refused(PL_S("a: b\x01\n"), "f:1:5: not valid YAML: control characters are not allowed");
    expect_refused((pl_str){"\xff\xfe\x61\x00", 4}, "f:1:4: a NUL byte: this is no text file");
    char *long_text = repeat("x", 100000);
    setenv("PL_TEST_LONG", long_text, 1);
    parsed one = {.arena = pl_arena_new(1024), .diags = pl_diags_new()};
    pl_yaml_setup setup = {.arena = one.arena, .diags = one.diags}; /* the real environment */
    one.root = pl_yaml_parse(PL_S("a: ${PL_TEST_LONG}"), "f", &setup);
    expect_messages(one.diags, (const char *const[]){
                                   "f:1:4: the value is longer than 65536 bytes after ${...} was replaced", NULL});
    unsetenv("PL_TEST_LONG");
    release(&one);
    pl_free(long_text);
}

static void a_file_of_64_levels_and_a_megabyte_is_read(void **unused)
{
    (void)unused;
    char *open = repeat("[", 64), *close = repeat("]", 64), text[200];
    (void)snprintf(text, sizeof text, "%s%s", open, close);
    parsed one = parse(text);
    assert_non_null(one.root);
    assert_int_equal(pl_diags_count(one.diags), 0);
    release(&one);
    pl_free(open);
    pl_free(close);
    char *lines = repeat("# 16 characters\n", 1u << 16);
    one = parse(lines);
    assert_int_equal(one.root->type, PL_NODE_NULL);
    release(&one);
    pl_free(lines);
}

static void files_that_are_not_there_are_told(void **unused)
{
    (void)unused;
    parsed one = {.arena = pl_arena_new(1024), .diags = pl_diags_new()};
    pl_yaml_setup setup = {.arena = one.arena, .diags = one.diags};
    assert_null(pl_yaml_load("none.yaml", &setup));
    assert_null(pl_yaml_load(".", &setup));
    expect_messages(one.diags, (const char *const[]){"none.yaml:0:0: there is no such file",
                                                     ".:0:0: cannot read .: Is a directory", NULL});
    put_file("bom.yaml", "\xef\xbb\xbf"
                         "a: 1\r\nb: 2\r\n");
    one.root = pl_yaml_load("bom.yaml", &setup);
    assert_true(pl_node_is(pl_node_get(one.root, "a"), "1"));
    assert_int_equal(pl_node_get(one.root, "b")->line, 2);
    release(&one);
}

static void no_memory_is_an_error_and_no_crash(void **unused)
{
    (void)unused;
    for (long n = 0; n < 40; n++) {
        parsed one = {.arena = pl_arena_new(1024), .diags = pl_diags_new()};
        pl_yaml_setup setup = {.arena = one.arena, .diags = one.diags, .variable = test_variable};
        pl_mem_fail_after(n);
        one.root = pl_yaml_parse(PL_S("a: { b: [1, ${NOT}, \"${SET}\"], c: \"${NOT}\" }\n"
                                      "a: 2\nb: ${SET} ${file:p}\n"),
                                 "f", &setup);
        pl_mem_fail_after(-1);
        assert_true(one.root || pl_diags_errors(one.diags) > 0);
        release(&one);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_know_their_places),
        cmocka_unit_test(variables_come_in_as_text),
        cmocka_unit_test(files_come_in_without_their_last_newline),
        cmocka_unit_test(each_wrong_variable_is_told_at_its_place),
        cmocka_unit_test(the_classic_mistakes_are_named),
        cmocka_unit_test(what_yaml_has_too_much_of_is_refused),
        cmocka_unit_test(duplicate_keys_are_all_told_and_the_first_counts),
        cmocka_unit_test(hostile_files_are_refused),
        cmocka_unit_test(a_file_of_64_levels_and_a_megabyte_is_read),
        cmocka_unit_test(files_that_are_not_there_are_told),
        cmocka_unit_test(no_memory_is_an_error_and_no_crash),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
