#include <base/mem.h>
#include <base/timestamp.h>
#include <buffer/inspect.h>
#include <cli/cli.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PATH_BYTES = 4096, BUFFERS_MAX = 4096 };

static const char help[] =
    "usage: plumbline buffer list|verify [--data-dir DIR] [--set PATH=VALUE]... [FILE...]\n\n"
    "Looks at the disk buffers of the pipelines in FILE..., or at all that are in the data directory. Reads only; a\n"
    "pipeline may be running meanwhile.\n\n"
    "  list                 segments, size, and how many records wait\n"
    "  verify               checks every byte; exit status 1 if anything is damaged or was set aside\n\n"
    "  --data-dir DIR       where the pipelines keep their files\n"
    "  --set PATH=VALUE     as for `plumbline run`\n";

typedef struct buffers {      /* found */
    char *names[BUFFERS_MAX]; /* PIPELINE/SOURCE */
    char *paths[BUFFERS_MAX];
    size_t count;
} buffers;

static bool is_folder(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* The buffers of one pipeline: the folders in DATA_DIR/PIPELINE/buffer. */
static void add_pipeline(buffers *found, const char *data_dir, const char *pipeline)
{
    char folder[PATH_BYTES];
    char path[PATH_BYTES + 300];
    char name[600];
    struct dirent **entries = NULL;
    if (snprintf(folder, sizeof folder, "%s/%s/buffer", data_dir, pipeline) >= (int)sizeof folder)
        return;
    int count = scandir(folder, &entries, visible, by_name);
    for (int i = 0; i < count; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        (void)snprintf(name, sizeof name, "%.250s/%s", pipeline, entries[i]->d_name);
        if (is_folder(path) && found->count < BUFFERS_MAX) {
            found->names[found->count] = pl_strndup(name, strlen(name));
            found->paths[found->count] = pl_strndup(path, strlen(path));
            found->count += found->names[found->count] && found->paths[found->count] ? 1 : 0;
        }
        free(entries[i]);
    }
    free(entries);
}

static void add_all(buffers *found, const char *data_dir)
{
    struct dirent **entries = NULL;
    int count = scandir(data_dir, &entries, visible, by_name);
    for (int i = 0; i < count; i++) {
        add_pipeline(found, data_dir, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

static void release(buffers *found)
{
    for (size_t i = 0; i < found->count; i++) {
        pl_free(found->names[i]);
        pl_free(found->paths[i]);
    }
}

/* ---- list ---------------------------------------------------------------------------- */

static const char *moment(int64_t unix_ns, char out[PL_TIMESTAMP_MAX])
{
    if (unix_ns == 0)
        return "-";
    (void)pl_time_format(unix_ns / 1000000000 * 1000000000, out);
    return out;
}

static bool list_one(char *name, const char *path)
{
    pl_buffer_totals t;
    char oldest[PL_TIMESTAMP_MAX];
    char newest[PL_TIMESTAMP_MAX];
    pl_error error = {.struct_size = sizeof error};
    if (pl_buffer_inspect(path, &t, NULL, NULL, &error) != PL_OK) {
        (void)fprintf(stderr, "plumbline buffer: %s: %s\n", name, error.message);
        return false;
    }
    (void)printf("%-30s %8zu %12" PRIu64 " %10" PRIu64 " %-20s %-20s %9zu\n", name, t.segments, t.bytes, t.waiting,
                 moment(t.oldest_unix_ns, oldest), moment(t.newest_unix_ns, newest), t.aside);
    return true;
}

/* ---- verify -------------------------------------------------------------------------- */

static void tell_segment(void *self, const pl_buffer_file *file)
{
    const pl_segment_survey *s = file->survey;
    (void)printf("%s/%s: ", (const char *)self, file->name);
    if (file->aside)
        (void)printf("set aside, ");
    if (s->foreign)
        (void)printf("not readable by this version: %s\n", s->why);
    else if (s->no_head)
        (void)printf("damaged, %s\n", s->why);
    else if (s->places)
        (void)printf("damaged at byte %zu, %zu place%s, %zu bytes can't be read, %zu records are whole\n",
                     s->damaged_at, s->places, s->places == 1 ? "" : "s", s->damaged_bytes, s->records);
    else if (s->torn)
        (void)printf("ok, %zu records; %" PRIu64 " bytes at the end are not whole: being written, or torn by a crash\n",
                     s->records, file->bytes - s->torn_at);
    else
        (void)printf("ok, %zu records, %" PRIu64 " bytes\n", s->records, file->bytes);
}

static bool verify_one(char *name, const char *path)
{
    pl_buffer_totals t;
    pl_error error = {.struct_size = sizeof error};
    if (pl_buffer_inspect(path, &t, tell_segment, name, &error) != PL_OK) {
        (void)fprintf(stderr, "plumbline buffer: %s: %s\n", name, error.message);
        return false;
    }
    if (t.no_positions)
        (void)printf("%s/positions: %s\n", name, error.message);
    (void)printf("%s: %zu segments, %" PRIu64 " records, %" PRIu64 " wait, %zu damaged, %zu set aside\n", name,
                 t.segments, t.records, t.waiting, t.damaged, t.aside);
    return !t.no_positions && t.damaged == 0 && t.aside == 0;
}

/* ---- the command ----------------------------------------------------------------------- */

static bool find(buffers *found, pl_cli_files *files, char *const *paths, size_t count, const char *data_dir)
{
    char space[PATH_BYTES];
    pl_pipeline none = {0};
    if (count == 0) {
        add_all(found, pl_cli_data_dir(data_dir, &none, space, sizeof space));
        return true;
    }
    pl_diags *diags = pl_diags_new();
    if (!diags)
        return false;
    pl_cli_load(files, paths, count, diags);
    bool ok = pl_cli_report(diags) == 0;
    for (size_t i = 0; ok && i < files->count; i++)
        add_pipeline(found, pl_cli_data_dir(data_dir, files->pipelines[i], space, sizeof space),
                     files->pipelines[i]->name);
    pl_diags_free(&diags);
    pl_cli_unload(files);
    return ok;
}

static int run(bool verify, char *const *paths, size_t count, const char *data_dir, pl_cli_files *files)
{
    static buffers found;
    found.count = 0;
    if (!find(&found, files, paths, count, data_dir))
        return PL_EXIT_USAGE;
    bool good = true;
    if (!verify && found.count)
        (void)printf("%-30s %8s %12s %10s %-20s %-20s %9s\n", "BUFFER", "SEGMENTS", "BYTES", "WAITING", "OLDEST",
                     "NEWEST", "SET ASIDE");
    for (size_t i = 0; i < found.count; i++)
        good = (verify ? verify_one : list_one)(found.names[i], found.paths[i]) && good;
    if (!found.count)
        (void)fprintf(stderr, "plumbline buffer: there is none\n");
    release(&found);
    return good ? PL_EXIT_DONE : PL_EXIT_FAILED;
}

static int take_data_dir(void *self, int option)
{
    (void)option; /* the only one */
    *(const char **)self = optarg;
    return -1;
}

int pl_cmd_buffer(int argc, char **argv)
{
    static const struct option options[] = {{"data-dir", required_argument, NULL, 'D'}, PL_CLI_SET, PL_CLI_HELP, {0}};
    static pl_cli_files files;
    const char *data_dir = NULL;
    const pl_cli_command command = {
        .name = "buffer", .help = help, .options = options, .take = take_data_dir, .self = (void *)&data_dir};
    int status = pl_cli_options(&command, argc, argv, &files);
    if (status >= 0)
        return status;
    const char *verb = optind < argc ? argv[optind++] : "";
    bool verify = strcmp(verb, "verify") == 0;
    if (!verify && strcmp(verb, "list") != 0)
        return pl_cli_usage("buffer", "say list or verify%s%s", verb[0] ? ", not " : "", verb);
    if (argc - optind > PL_CLI_FILES_MAX)
        return pl_cli_usage("buffer", "at most %d files", PL_CLI_FILES_MAX);
    return run(verify, argv + optind, (size_t)(argc - optind), data_dir, &files);
}
