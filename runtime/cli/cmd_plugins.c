#include <cli/cli.h>
#include <config/options.h>

static const char help[] =
    "usage: plumbline plugins [--plugin-dir DIR] [NAME]\n\n"
    "Lists the plugins that are found, or describes one with every option, type, default and example.\n";

static const char *role(const pl_component *component)
{
    return component->sink ? "sink" : component->poller ? "source (polls)" : "source";
}

static int list(pl_loader *loader)
{
    size_t count;
    int status = PL_EXIT_DONE;
    const char *const *names = pl_loader_names(loader, &count);
    for (size_t i = 0; i < count; i++) {
        pl_error error = {.struct_size = sizeof error};
        const pl_plugin *plugin = pl_loader_open(loader, names[i], &error);
        if (!plugin) {
            (void)fprintf(stderr, "plumbline plugins: %s\n", error.message);
            status = PL_EXIT_FAILED;
            continue;
        }
        for (size_t c = 0; plugin->components[c]; c++)
            (void)printf("%-14s %-15s %s\n", plugin->name, role(plugin->components[c]), plugin->components[c]->summary);
    }
    if (!count)
        (void)fprintf(stderr, "plumbline plugins: none found; name a directory with --plugin-dir\n");
    return status;
}

static int describe(pl_loader *loader, const char *name)
{
    pl_error error = {.struct_size = sizeof error};
    const pl_plugin *plugin = pl_loader_open(loader, name, &error);
    if (!plugin) {
        (void)fprintf(stderr, "plumbline plugins: %s\n", error.message);
        return PL_EXIT_USAGE;
    }
    (void)printf("%s %s  (%s)\n", plugin->name, plugin->version ? plugin->version : "", pl_loader_path(loader, plugin));
    for (size_t c = 0; plugin->components[c]; c++) {
        const pl_component *component = plugin->components[c];
        pl_buf text = PL_BUF(1 << 20);
        pl_option_table table = {component->options, component->option_count, component->option_size};
        (void)printf("\n%s: %s\n", role(component), component->summary);
        pl_options_describe(&table, 2, &text);
        (void)fwrite(pl_buf_str(&text).ptr, 1, text.len, stdout);
        pl_buf_release(&text);
    }
    return PL_EXIT_DONE;
}

int pl_cmd_plugins(int argc, char **argv)
{
    static const struct option options[] = {PL_CLI_PLUGIN_DIR, PL_CLI_HELP, {0}};
    const pl_cli_command command = {.name = "plugins", .help = help, .options = options};
    int status = pl_cli_options(&command, argc, argv, NULL);
    if (status >= 0)
        return status;
    if (argc - optind > 1)
        return pl_cli_usage("plugins", "one name at most");
    pl_loader *loader = pl_loader_new(pl_cli_plugin_dirs());
    if (!loader)
        return PL_EXIT_FAILED;
    status = optind < argc ? describe(loader, argv[optind]) : list(loader);
    pl_loader_free(&loader);
    return status;
}
