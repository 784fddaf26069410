#include <cli/cli.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

enum { DIR_MAX = 4096 };

static pl_plugin_dirs dirs;

void pl_cli_add_plugin_dir(const char *path)
{
    if (dirs.count < PL_PLUGIN_DIRS_MAX)
        dirs.paths[dirs.count++] = path;
}

static void add_path_list(char *list)
{
    char *rest = NULL;
    for (char *path = strtok_r(list, ":", &rest); path; path = strtok_r(NULL, ":", &rest))
        pl_cli_add_plugin_dir(path);
}

static void add_beside_binary(void)
{
    static char built[DIR_MAX + 16];
    static char installed[DIR_MAX + 64];
    char binary[DIR_MAX];
    ssize_t length = readlink("/proc/self/exe", binary, sizeof binary - 1);
    if (length <= 0)
        return;
    binary[length] = '\0';
    char *slash = strrchr(binary, '/');
    if (!slash)
        return;
    *slash = '\0';
    (void)snprintf(built, sizeof built, "%s/plugins", binary);
    (void)snprintf(installed, sizeof installed, "%s/../%s/plumbline", binary, PL_INSTALL_LIBDIR);
    if (access(built, F_OK) == 0)
        pl_cli_add_plugin_dir(built);
    if (access(installed, F_OK) == 0)
        pl_cli_add_plugin_dir(installed);
}

const pl_plugin_dirs *pl_cli_plugin_dirs(void)
{
    static bool complete;
    static char list[DIR_MAX];
    const char *environment = getenv("PLUMBLINE_PLUGIN_PATH");
    if (!complete && environment) {
        (void)snprintf(list, sizeof list, "%s", environment);
        add_path_list(list);
    }
    if (!complete)
        add_beside_binary();
    complete = true;
    return &dirs;
}

const char *pl_cli_data_dir(const char *given, const pl_pipeline *pipeline, char *buffer, size_t size)
{
    const char *state = getenv("STATE_DIRECTORY");
    const char *xdg = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    if (given)
        return given;
    if (pipeline->data_dir)
        return pipeline->data_dir;
    if (state && *state)
        (void)snprintf(buffer, size, "%.*s", (int)strcspn(state, ":"), state);
    else if (xdg && *xdg)
        (void)snprintf(buffer, size, "%s/plumbline", xdg);
    else
        (void)snprintf(buffer, size, "%s/.local/state/plumbline", home && *home ? home : ".");
    return buffer;
}

size_t pl_cli_report(pl_diags *diags)
{
    pl_buf text = PL_BUF(1 << 20);
    pl_diags_sort(diags);
    pl_diags_render(diags, &text);
    size_t errors = pl_diags_errors(diags);
    if (errors)
        pl_buf_printf(&text, "%zu error%s\n", errors, errors == 1 ? "" : "s");
    if (text.len)
        (void)fwrite(text.data, 1, text.len, stderr);
    pl_buf_release(&text);
    return errors;
}

int pl_cli_usage(const char *subcommand, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "plumbline %s: ", subcommand);
    (void)vfprintf(stderr, format, arguments);
    (void)fprintf(stderr, "; see `plumbline %s --help`\n", subcommand);
    va_end(arguments);
    return PL_EXIT_USAGE;
}

int pl_cli_options(const pl_cli_command *command, int argc, char **argv, pl_cli_files *files)
{
    for (int option; (option = getopt_long(argc, argv, "h", command->options, NULL)) != -1;) {
        int status = -1;
        if (option == '?') {
            return PL_EXIT_USAGE;
        } else if (option == 'h') {
            (void)fputs(command->help, stdout);
            return PL_EXIT_DONE;
        } else if (option == 'P') {
            pl_cli_add_plugin_dir(optarg);
        } else if (option == 's' && files->override_count == PL_CLI_OVERRIDES_MAX) {
            return pl_cli_usage(command->name, "at most %d --set", PL_CLI_OVERRIDES_MAX);
        } else if (option == 's') {
            files->overrides[files->override_count++] = (pl_override){optarg, false};
        } else {
            status = command->take(command->self, option);
        }
        if (status >= 0)
            return status;
    }
    return -1;
}

int pl_cli_want_files(const pl_cli_command *command, int argc)
{
    if (optind == argc)
        return pl_cli_usage(command->name, "name at least one pipeline file");
    if (argc - optind > PL_CLI_FILES_MAX)
        return pl_cli_usage(command->name, "at most %d files at once", PL_CLI_FILES_MAX);
    return -1;
}

void pl_cli_load(pl_cli_files *files, char *const *paths, size_t count, pl_diags *diags)
{
    for (size_t i = 0; i < count; i++) {
        pl_pipeline_setup setup = {
            .path = paths[i], .overrides = files->overrides, .override_count = files->override_count};
        files->pipelines[files->count++] = pl_pipeline_load(&setup, diags);
    }
    if (pl_diags_errors(diags) == 0)
        pl_overrides_report(files->overrides, files->override_count, (const pl_pipeline *const *)files->pipelines,
                            files->count, diags);
}

void pl_cli_plan(pl_cli_files *files, pl_loader *loader, pl_diags *diags)
{
    for (size_t i = 0; i < files->count; i++) {
        pl_graph_setup setup = {.pipeline = files->pipelines[i], .loader = loader};
        if (setup.pipeline)
            files->graphs[i] = pl_graph_plan(&setup, diags);
    }
}

void pl_cli_unload(pl_cli_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        pl_graph_free(&files->graphs[i]);
        pl_pipeline_free(&files->pipelines[i]);
    }
    files->count = 0;
}
