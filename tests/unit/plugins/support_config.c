/* A config struct from YAML text, by the config room, as the runtime fills it. */
#include "support_private.h"

#include <config/load.h>
#include <config/options.h>
#include <stdlib.h>

struct stub_options {
    pl_arena *arena; /* what the filled struct points into */
    struct stub_options *next;
};

pl_status stub_fill(stub *host, const char *with_yaml)
{
    struct stub_options *options = stub_alloc(sizeof *options);
    options->arena = pl_arena_new(4096);
    assert_non_null(options->arena);
    options->next = host->private->options;
    host->private->options = options;

    pl_diags *diags = pl_diags_new();
    assert_non_null(diags);
    pl_yaml_setup setup = {.arena = options->arena, .diags = diags};
    const pl_node *with = pl_yaml_parse(PL_S(with_yaml), "with", &setup);
    pl_option_table table = {host->component->options, host->component->option_count, host->component->option_size};
    bool filled = pl_diags_errors(diags) == 0 &&
                  pl_options_check_and_fill(&table, with, host->config, options->arena, with, "unit", diags);
    pl_status status = PL_OK;
    if (!filled) {
        pl_buf text = PL_BUF(64 << 10);
        pl_diags_render(diags, &text);
        status = pl_fail(&host->error, PL_BAD_CONFIG, "%.*s", (int)text.len, text.data ? text.data : "");
        pl_buf_release(&text);
    }
    pl_diags_free(&diags);
    return status;
}

void stub_options_close(stub *host)
{
    while (host->private->options) {
        struct stub_options *options = host->private->options;
        host->private->options = options->next;
        pl_arena_free(&options->arena);
        free(options);
    }
}
