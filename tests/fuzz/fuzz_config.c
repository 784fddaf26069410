/* libFuzzer target: a pipeline file from anybody, all the way to filled options. Nothing may crash, leak, hang or run
 * over; what is refused must be said. Built with -fsanitize=fuzzer,address,undefined. */
#include <config/options.h>
#include <config/pipeline.h>

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct fuzz_inner {
    const char *field, *template_text;
    int64_t span_ns;
} fuzz_inner;
typedef struct fuzz_entry {
    const char *key, *value;
} fuzz_entry;
typedef struct fuzz_options {
    const char *text, *secret, *word, *path, *decimal, *percent;
    int64_t number, span_ns, size;
    double real;
    bool flag, inner_given;
    fuzz_inner inner;
    pl_array list, map, objects;
} fuzz_options;

static const char *const words[] = {"ignore", "update", NULL};
static const pl_option text_element = {.type = PL_OPT_STR};
static const pl_option map_element = {.type = PL_OPT_STR, .offset = offsetof(fuzz_entry, value)};
static const pl_option inner_options[] = {
    {PL_OPTION(fuzz_inner, field, FIELD, NULL, ""), .flags = PL_OPT_REQUIRED},
    {PL_OPTION(fuzz_inner, template_text, TEMPLATE, NULL, "")},
    {PL_OPTION(fuzz_inner, span_ns, DURATION_NS, "5s", "")},
};
static const pl_option object_element = {
    .type = PL_OPT_OBJECT, .fields = inner_options, .field_count = 3, .element_size = sizeof(fuzz_inner)};
static const pl_option options[] = {
    {PL_OPTION(fuzz_options, text, STR, NULL, ""), .flags = PL_OPT_REQUIRED},
    {PL_OPTION(fuzz_options, secret, SECRET, NULL, "")},
    {PL_OPTION(fuzz_options, word, ENUM, "ignore", ""), .choices = words},
    {PL_OPTION(fuzz_options, path, PATH, NULL, "")},
    {PL_OPTION(fuzz_options, decimal, DECIMAL, "1.50", ""), .min = -5, .max = 5},
    {PL_OPTION(fuzz_options, percent, PERCENT, "0.5%", "")},
    {PL_OPTION(fuzz_options, number, INT, "7", ""), .min = 1, .max = INFINITY},
    {PL_OPTION(fuzz_options, span_ns, DURATION_NS, "5s", ""), .min = 1, .max = 3.6e12},
    {PL_OPTION(fuzz_options, size, SIZE, "1MiB", "")},
    {PL_OPTION(fuzz_options, real, FLOAT, "0.5", "")},
    {PL_OPTION(fuzz_options, flag, BOOL, "true", ""), .flags = PL_OPT_DEPRECATED},
    {PL_OPTION(fuzz_options, inner, OBJECT, NULL, ""), .fields = inner_options, .field_count = 3,
     .element_size = sizeof(fuzz_inner), .present_offset = 1 + offsetof(fuzz_options, inner_given)},
    {PL_OPTION(fuzz_options, list, LIST, "[a, b]", ""), .fields = &text_element, .element_size = sizeof(char *)},
    {PL_OPTION(fuzz_options, map, MAP, NULL, ""), .fields = &map_element, .element_size = sizeof(fuzz_entry)},
    {PL_OPTION(fuzz_options, objects, LIST, NULL, ""), .fields = &object_element, .element_size = sizeof(fuzz_inner)},
};
static const pl_option_table table = {options, sizeof options / sizeof *options, sizeof *options};

static const char *variable(void *self, const char *name)
{
    (void)self;
    return strcmp(name, "SET") == 0 ? "5s" : strcmp(name, "EMPTY") == 0 ? "" : NULL;
}

static void require(bool held)
{
    if (!held)
        abort();
}

static void check_options(const pl_pipeline *pipeline, pl_diags *diags)
{
    for (size_t i = 0; i < pipeline->count && i < 20; i++) {
        const pl_component_spec *spec = &pipeline->components[i];
        fuzz_options filled = {.text = NULL};
        size_t before = pl_diags_errors(diags), full = pl_diags_full(diags);
        bool ok = pl_options_check_and_fill(&table, spec->with, &filled, pipeline->arena, spec->key, spec->name, diags);
        require(full || ok == (pl_diags_errors(diags) == before) || !ok);
        require(!ok || (filled.text && filled.word && filled.decimal && filled.number >= 1));
        for (size_t j = 0; ok && j < filled.objects.count; j++)
            require(((const fuzz_inner *)filled.objects.items)[j].field != NULL);
        (void)pl_options_locate(spec->with, "objects[1].field");
    }
}

static void load(const char *path)
{
    pl_override overrides[] = {{"sources.a.with.text=x", false}, {"defaults.b.list.0=[1, {c: d}]", false}};
    pl_pipeline_setup setup = {path, overrides, 2, variable, NULL};
    pl_diags *diags = pl_diags_new();
    pl_buf text = PL_BUF(4u << 20);
    pl_pipeline *pipeline = pl_pipeline_load(&setup, diags);
    require(pipeline || pl_diags_errors(diags) > 0);
    if (pipeline) {
        for (size_t i = 0; pl_diags_errors(diags) == 0 && i < pipeline->count; i++)
            for (size_t j = 0; j < pipeline->components[i].from_count; j++)
                require(pipeline->components[i].from[j].component >= 0 &&
                        pipeline->components[i].from[j].component < (int)i);
        check_options(pipeline, diags);
        const pl_pipeline *all[] = {pipeline};
        pl_overrides_report(overrides, 2, all, 1, diags);
    }
    pl_diags_sort(diags);
    pl_diags_render(diags, &text);
    require(!pl_buf_failed(&text));
    pl_buf_release(&text);
    pl_pipeline_free(&pipeline);
    pl_diags_free(&diags);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    (void)snprintf(path, sizeof path, "%s/fuzz-config-XXXXXX", P_tmpdir);
    int fd = mkstemp(path);
    require(fd >= 0);
    require(write(fd, data, size) == (ssize_t)size);
    (void)close(fd);
    load(path);
    (void)unlink(path);
    return 0;
}
