#include <base/log.h>
#include <base/units.h>
#include <cli/cli.h>
#include <cli/drive.h>
#include <cli/summary.h>
#include <stdlib.h>

static const char help[] =
    "usage: plumbline run [OPTIONS] PIPELINE.yaml...\n\n"
    "Runs the pipelines in one process until all sources end, --for is over, or SIGTERM or SIGINT comes; then drains.\n"
    "A second SIGINT gives up draining. SIGHUP checks the files again and, if they are sound, starts over with "
    "them.\n\n"
    "  --for DURATION       stop after this time, e.g. 30s\n"
    "  --set PATH=VALUE     override a value, e.g. sources.x.with.every=5s (may be repeated)\n"
    "  --summary FILE       write the account as JSON at the end\n"
    "  --log-format FORMAT  text or json\n"
    "  --log-level LEVEL    debug, info, warn or error\n"
    "  --data-dir DIR       where state, buffers and the default dead letter live\n"
    "  --plugin-dir DIR     look for plugins there first (may be repeated)\n"
    "  --seed N             of a pipeline that asks for the seeded scheduler\n";

typedef struct run {
    pl_cli_files files;
    char *const *paths;
    size_t path_count;
    pl_drive_options shared;
    int64_t seed;
    bool seed_given;
    pl_loader *loader;
    pl_graph *graphs[PL_CLI_FILES_MAX];
    pl_live live;
    pl_drive drive;
} run;

/* ---- loading and planning --------------------------------------------------------- */

static void unplan(pl_graph **graphs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        pl_graph_free(&graphs[i]);
}

static bool seeded(const pl_pipeline *pipeline)
{
    return pipeline->scheduler == PL_SCHEDULER_SEEDED;
}

static void check_schedulers(const pl_cli_files *files, pl_diags *diags)
{
    for (size_t i = 0; i < files->count; i++)
        if (files->count > 1 && files->pipelines[i] && seeded(files->pipelines[i]))
            pl_diags_at(diags, PL_DIAG_ERROR, files->pipelines[i]->file, 0, 0,
                        "a pipeline on the seeded scheduler runs alone; start it in a process of its own");
}

/* Their state lives in a folder of that name. */
static void check_names(const pl_cli_files *files, pl_diags *diags)
{
    for (size_t i = 0; i < files->count; i++)
        for (size_t j = 0; j < i; j++)
            if (files->pipelines[i] && files->pipelines[j] &&
                strcmp(files->pipelines[i]->name, files->pipelines[j]->name) == 0)
                pl_diags_at(diags, PL_DIAG_ERROR, files->pipelines[i]->file, 0, 0,
                            "%s is called '%s' as well; give each its own name with `pipeline:`",
                            files->pipelines[j]->file, files->pipelines[i]->name);
}

/* Loads and checks all files. false: errors were printed. */
static bool plan(run *r, pl_cli_files *files, pl_graph **graphs)
{
    static char data_dir[PL_CLI_FILES_MAX][4096];
    pl_diags *diags = pl_diags_new();
    if (!diags)
        return false;
    pl_cli_load(files, r->paths, r->path_count, diags);
    check_schedulers(files, diags);
    check_names(files, diags);
    for (size_t i = 0; i < files->count; i++) {
        pl_pipeline *pipeline = files->pipelines[i];
        if (!pipeline)
            continue;
        if (r->seed_given)
            pipeline->seed = r->seed;
        pl_graph_setup setup = {.pipeline = pipeline, .loader = r->loader};
        setup.data_dir = pl_cli_data_dir(r->shared.data_dir, pipeline, data_dir[i], sizeof data_dir[i]);
        graphs[i] = pl_graph_plan(&setup, diags);
    }
    bool sound = pl_cli_report(diags) == 0;
    pl_diags_free(&diags);
    return sound;
}

/* ---- running ------------------------------------------------------------------------ */

/* Ends the old pipelines as SIGTERM would. false: the process is to end with them. */
static bool drain_for_reload(run *r)
{
    pl_drive_drain(&r->drive);
    return !r->drive.quitting &&
           r->drive.status != PL_EXIT_FAILED; /* what an earlier drain left unacknowledged ends nothing */
}

/* SIGHUP: the new files are checked while the old ones go on, which they do if there is a mistake. */
static bool reload(run *r)
{
    pl_cli_files files = {.override_count = r->files.override_count};
    pl_graph *graphs[PL_CLI_FILES_MAX] = {NULL};
    memcpy(files.overrides, r->files.overrides, sizeof files.overrides);
    r->drive.reload = false;
    bool sound = plan(r, &files, graphs);
    for (size_t i = 0; sound && i < files.count; i++)
        sound = !seeded(files.pipelines[i]); /* it is not for a process that goes on */
    if (!sound)
        pl_log(PL_ERROR, NULL, "not reloaded: the pipelines go on as they were");
    if (!sound || !drain_for_reload(r)) {
        unplan(graphs, files.count);
        pl_cli_unload(&files);
        return !sound;
    }
    pl_drive_judge(&r->drive);
    unplan(r->graphs, r->drive.count);
    pl_cli_unload(&r->files);
    r->files = files;
    memcpy(r->graphs, graphs, sizeof graphs);
    r->drive.count = files.count;
    r->drive.abort_ns = INT64_MAX;
    pl_log(PL_INFO, NULL, "reloaded");
    return pl_drive_open(&r->drive) == PL_OK && pl_drive_start(&r->drive);
}

static void run_threads(run *r)
{
    pl_live_begin(&r->live, r->shared.log_format == PL_LOG_TEXT);
    bool running = pl_drive_start(&r->drive);
    do {
        pl_drive_watch(&r->drive);
    } while (running && r->drive.reload && reload(r));
    pl_live_end(&r->live, r->graphs, r->drive.count);
    pl_drive_join(&r->drive);
}

/* Asked now and then by the seeded scheduler, which has no watch. */
static bool signalled(void *self)
{
    run *r = self;
    bool stop = pl_drive_signalled(&r->drive);
    if (r->drive.reload)
        pl_log(PL_WARN, NULL, "not reloaded: a pipeline on the seeded scheduler runs from its beginning to its end");
    r->drive.reload = false;
    return stop;
}

static void run_seeded(run *r)
{
    pl_error error = {.struct_size = sizeof error};
    uint64_t seed = (uint64_t)r->files.pipelines[0]->seed;
    if (pl_graph_run_seeded(r->graphs[0], seed, signalled, r, &error) != PL_OK) {
        pl_log(PL_ERROR, NULL, "%s", error.message);
        pl_drive_raise(&r->drive, PL_EXIT_FAILED);
    }
}

static int run_all(run *r)
{
    pl_drive *drive = &r->drive;
    pl_drive_begin(drive);
    if (!plan(r, &r->files, r->graphs))
        drive->status = PL_EXIT_USAGE;
    drive->count = r->files.count;
    if (drive->status == PL_EXIT_DONE && pl_drive_open(drive) == PL_OK) {
        if (seeded(r->files.pipelines[0]))
            run_seeded(r);
        else
            run_threads(r);
        pl_drive_judge(drive);
        if (r->shared.summary && !pl_summary_write(r->shared.summary, r->graphs, drive->count, drive->status))
            pl_drive_raise(drive, PL_EXIT_FAILED);
    }
    unplan(r->graphs, drive->count);
    pl_cli_unload(&r->files);
    pl_drive_end(drive);
    return drive->status;
}

/* ---- the command line ------------------------------------------------------------------ */

static const struct option options[] = {{"for", required_argument, NULL, 'f'},
                                        {"seed", required_argument, NULL, 'n'},
                                        PL_DRIVE_OPTIONS,
                                        PL_CLI_SET,
                                        PL_CLI_PLUGIN_DIR,
                                        PL_CLI_HELP,
                                        {0}};

static int take_option(void *self, int option)
{
    run *r = self;
    pl_error error = {.struct_size = sizeof error};
    char *end = NULL;
    switch (option) {
    case 'f':
        if (pl_parse_duration(PL_S(optarg), &r->drive.for_ns, &error) != PL_OK || r->drive.for_ns <= 0)
            return pl_cli_usage("run", "--for wants a duration such as 30s, not '%s'", optarg);
        return -1;
    case 'n':
        r->seed = strtoll(optarg, &end, 10);
        r->seed_given = true;
        return *end || end == optarg ? pl_cli_usage("run", "--seed wants a whole number, not '%s'", optarg) : -1;
    default:
        return pl_drive_take_option(&r->shared, "run", option);
    }
}

int pl_cmd_run(int argc, char **argv)
{
    static run r; /* large */
    r.shared.log_level = PL_INFO;
    r.drive = (pl_drive){.graphs = r.graphs, .reloads = true, .live = &r.live};
    const pl_cli_command command = {.name = "run", .help = help, .options = options, .take = take_option, .self = &r};
    int status = pl_cli_options(&command, argc, argv, &r.files);
    if (status < 0)
        status = pl_cli_want_files(&command, argc);
    if (status >= 0)
        return status;
    r.paths = argv + optind;
    r.path_count = (size_t)(argc - optind);
    pl_log_setup(r.shared.log_format, r.shared.log_level, NULL);
    r.loader = pl_loader_new(pl_cli_plugin_dirs());
    if (!r.loader)
        return PL_EXIT_FAILED;
    status = run_all(&r);
    pl_loader_free(&r.loader);
    return status;
}
