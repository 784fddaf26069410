#include <base/log.h>
#include <cli/cli.h>
#include <getopt.h>
#include <graph/graph.h>

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
    for (size_t i = 0; i < files->count; i++) {
        if (!files->pipelines[i])
            continue;
        pl_graph_setup setup = {.pipeline = files->pipelines[i], .loader = loader};
        pl_graph *graph = pl_graph_plan(&setup, diags);
        pl_graph_free(&graph);
    }
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
    static const struct option options[] = {{"set", required_argument, NULL, 's'},
                                            {"plugin-dir", required_argument, NULL, 'P'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    pl_cli_files files = {0};
    pl_log_setup(PL_LOG_TEXT, PL_WARN, NULL);
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (option == 'h') {
            (void)fputs(help, stdout);
            return PL_EXIT_DONE;
        }
        if (option == '?')
            return PL_EXIT_USAGE;
        if (option == 'P')
            pl_cli_add_plugin_dir(optarg);
        else if (files.override_count < PL_CLI_OVERRIDES_MAX)
            files.overrides[files.override_count++].text = optarg;
    }
    if (optind == argc)
        return pl_cli_usage("check", "name at least one pipeline file");
    if (argc - optind > PL_CLI_FILES_MAX)
        return pl_cli_usage("check", "at most %d files at once", PL_CLI_FILES_MAX);
    return check(&files, argv + optind, (size_t)(argc - optind));
}
