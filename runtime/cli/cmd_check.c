#include <base/log.h>
#include <cli/cli.h>

static const char help[] =
    "usage: plumbline check [OPTIONS] PIPELINE.yaml...\n\n"
    "Checks everything short of connecting: YAML, keys, options, plugins, scripts. Prints all mistakes at once.\n\n"
    "  --set PATH=VALUE    override a value, e.g. sources.x.with.every=5s\n"
    "  --plugin-dir DIR    look for plugins there first (may be repeated)\n";

static int check(pl_cli_files *files, char *const *paths, size_t count)
{
    pl_diags *diags = pl_diags_new();
    pl_loader *loader = pl_loader_new(pl_cli_plugin_dirs());
    if (!diags || !loader)
        return PL_EXIT_FAILED;
    pl_cli_load(files, paths, count, diags);
    pl_cli_plan(files, loader, diags);
    size_t errors = pl_cli_report(diags);
    if (!errors)
        for (size_t i = 0; i < count; i++)
            (void)printf("%s: ok\n", paths[i]);
    pl_cli_unload(files);
    pl_loader_free(&loader);
    pl_diags_free(&diags);
    return errors ? PL_EXIT_USAGE : PL_EXIT_DONE;
}

int pl_cmd_check(int argc, char **argv)
{
    static const struct option options[] = {PL_CLI_SET, PL_CLI_PLUGIN_DIR, PL_CLI_HELP, {0}};
    const pl_cli_command command = {.name = "check", .help = help, .options = options};
    static pl_cli_files files;
    pl_log_setup(PL_LOG_TEXT, PL_WARN, NULL);
    int status = pl_cli_options(&command, argc, argv, &files);
    if (status < 0)
        status = pl_cli_want_files(&command, argc);
    return status < 0 ? check(&files, argv + optind, (size_t)(argc - optind)) : status;
}
