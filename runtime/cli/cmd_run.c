#include <base/log.h>
#include <base/units.h>
#include <cli/cli.h>
#include <cli/live.h>
#include <cli/summary.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

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

static const int64_t STUCK_NS = 10LL * 1000 * 1000 * 1000; /* after the deadline, for a plugin to obey its interrupt */

typedef struct run {
    pl_cli_files files;
    char *const *paths;
    size_t path_count;
    int64_t for_ns, started_ns;
    const char *summary, *data_dir;
    pl_log_format log_format;
    int64_t seed;
    bool seed_given;
    int log_level;
    pl_loader *loader;
    pl_graph *graphs[PL_CLI_FILES_MAX];
    size_t graph_count;
    int event_fd, signal_fd;
    bool reload, reloading;
    bool quitting;    /* for good: a signal, or the end of --for */
    int64_t abort_ns; /* monotonic; what is not finished then is left unacknowledged. INT64_MAX: nothing is ending */
    int status;
    pl_live live;
} run;

static void raise_status(run *r, int status)
{
    if (r->status == PL_EXIT_DONE || status == PL_EXIT_FAILED)
        r->status = status;
}

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
        setup.data_dir = pl_cli_data_dir(r->data_dir, pipeline, data_dir[i], sizeof data_dir[i]);
        graphs[i] = pl_graph_plan(&setup, diags);
    }
    bool sound = pl_cli_report(diags) == 0;
    pl_diags_free(&diags);
    return sound;
}

static bool open_all(run *r)
{
    for (size_t i = 0; i < r->graph_count; i++) {
        const char *component = "";
        pl_error error = {.struct_size = sizeof error};
        if (pl_graph_open(r->graphs[i], &component, &error) == PL_OK)
            continue;
        pl_log(PL_ERROR, component[0] ? component : NULL, "%s", error.message);
        raise_status(r, error.error_class == PL_BAD_CONFIG ? PL_EXIT_USAGE : PL_EXIT_FAILED);
        return false;
    }
    return true;
}

/* ---- running ------------------------------------------------------------------------ */

static void changed(void *self)
{
    const run *r = self;
    uint64_t one = 1;
    (void)!write(r->event_fd, &one, sizeof one);
}

static bool all_ended(const run *r)
{
    for (size_t i = 0; i < r->graph_count; i++)
        if (!pl_graph_ended(r->graphs[i]))
            return false;
    return true;
}

static void stop_all(run *r)
{
    for (size_t i = 0; i < r->graph_count; i++)
        pl_graph_stop(r->graphs[i]);
}

static void abort_all(run *r)
{
    for (size_t i = 0; i < r->graph_count; i++)
        pl_graph_abort(r->graphs[i]);
}

static int64_t longest_deadline(const run *r)
{
    int64_t longest = 0;
    for (size_t i = 0; i < r->graph_count; i++)
        if (r->files.pipelines[i]->shutdown_deadline_ns > longest)
            longest = r->files.pipelines[i]->shutdown_deadline_ns;
    return longest;
}

static void quit(run *r, bool at_once, int64_t now_ns)
{
    r->quitting = true;
    stop_all(r);
    if (at_once)
        r->abort_ns = now_ns;
    else if (r->abort_ns == INT64_MAX)
        r->abort_ns = now_ns + longest_deadline(r);
}

static void on_signal(run *r, int64_t now_ns)
{
    struct signalfd_siginfo info;
    if (read(r->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    if (info.ssi_signo == SIGHUP) {
        r->reload = !r->quitting;
        return;
    }
    if (info.ssi_signo == SIGUSR1) {
        for (size_t i = 0; i < r->graph_count; i++)
            pl_graph_reopen(r->graphs[i]);
        return;
    }
    bool again = r->quitting && info.ssi_signo == SIGINT;
    pl_log(PL_INFO, NULL, "%s", again ? "giving up" : "stopping: what is inside is finished first");
    quit(r, again, now_ns);
}

static void check_halts(run *r)
{
    for (size_t i = 0; i < r->graph_count; i++) {
        if (!atomic_load(&r->graphs[i]->flow.halted))
            continue;
        raise_status(r, PL_EXIT_FAILED);
        abort_all(r); /* pipelines of one process end together */
    }
}

/* A plugin that does not obey its interrupt must not keep the process from ending. */
static void leave(const run *r)
{
    pl_log(PL_ERROR, NULL, "a plugin does not return although it was interrupted; leaving without it");
    _exit(r->status == PL_EXIT_FAILED ? PL_EXIT_FAILED : PL_EXIT_UNSETTLED);
}

static int timeout_ms(const run *r, int64_t now_ns)
{
    int64_t until = now_ns + 1000000000;
    if (r->abort_ns < until)
        until = r->abort_ns > now_ns ? r->abort_ns : now_ns + 50000000;
    if (r->abort_ns == INT64_MAX && r->for_ns && r->started_ns + r->for_ns < until)
        until = r->started_ns + r->for_ns;
    return until <= now_ns ? 0 : (int)((until - now_ns) / 1000000 + 1);
}

/* Until all graphs ended, or a reload is wanted and not yet under way. */
static void watch(run *r)
{
    struct pollfd fds[2] = {{r->event_fd, POLLIN, 0}, {r->signal_fd, POLLIN, 0}};
    while (!all_ended(r) && (!r->reload || r->reloading)) {
        int64_t now_ns = pl_system_clock.now_ns(&pl_system_clock);
        if (poll(fds, 2, timeout_ms(r, now_ns)) < 0 && errno != EINTR)
            break;
        now_ns = pl_system_clock.now_ns(&pl_system_clock);
        uint64_t ignored;
        if (fds[0].revents & POLLIN)
            (void)!read(r->event_fd, &ignored, sizeof ignored);
        if (fds[1].revents & POLLIN)
            on_signal(r, now_ns);
        check_halts(r);
        if (r->for_ns && r->abort_ns == INT64_MAX && now_ns >= r->started_ns + r->for_ns)
            quit(r, false, now_ns);
        if (now_ns >= r->abort_ns)
            abort_all(r);
        if (r->abort_ns != INT64_MAX && now_ns - r->abort_ns >= STUCK_NS)
            leave(r);
        pl_live_draw(&r->live, r->graphs, r->graph_count, now_ns);
    }
}

static void judge(run *r)
{
    for (size_t i = 0; i < r->graph_count; i++) {
        uint64_t unsettled = pl_graph_unsettled(r->graphs[i]);
        if (atomic_load(&r->graphs[i]->flow.halted))
            raise_status(r, PL_EXIT_FAILED);
        if (!pl_graph_balanced(r->graphs[i])) {
            pl_log(PL_ERROR, NULL, "%s: the account does not come out; see --summary", r->files.pipelines[i]->name);
            raise_status(r, PL_EXIT_FAILED);
        }
        if (unsettled) {
            pl_log(PL_WARN, NULL, "%s: %llu record%s left unacknowledged", r->files.pipelines[i]->name,
                   (unsigned long long)unsettled, unsettled == 1 ? "" : "s");
            raise_status(r, PL_EXIT_UNSETTLED);
        }
    }
}

static bool start_all(run *r)
{
    pl_error error = {.struct_size = sizeof error};
    for (size_t i = 0; i < r->graph_count; i++) {
        if (pl_graph_start(r->graphs[i], changed, r, &error) == PL_OK)
            continue;
        pl_log(PL_ERROR, NULL, "%s", error.message);
        raise_status(r, PL_EXIT_FAILED);
        abort_all(r);
        return false;
    }
    return true;
}

/* Ends the old pipelines as SIGTERM would. false: the process is to end with them. */
static bool drain_for_reload(run *r)
{
    r->reloading = true;
    r->abort_ns = pl_system_clock.now_ns(&pl_system_clock) + longest_deadline(r);
    stop_all(r);
    watch(r);
    r->reload = r->reloading = false;
    for (size_t i = 0; i < r->graph_count; i++)
        pl_graph_join(r->graphs[i]);
    return !r->quitting && r->status != PL_EXIT_FAILED; /* what an earlier drain left unacknowledged ends nothing */
}

/* SIGHUP: the new files are checked while the old ones go on, which they do if there is a mistake. */
static bool reload(run *r)
{
    pl_cli_files files = {.override_count = r->files.override_count};
    pl_graph *graphs[PL_CLI_FILES_MAX] = {NULL};
    memcpy(files.overrides, r->files.overrides, sizeof files.overrides);
    r->reload = false;
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
    judge(r);
    unplan(r->graphs, r->graph_count);
    pl_cli_unload(&r->files);
    r->files = files;
    memcpy(r->graphs, graphs, sizeof graphs);
    r->graph_count = files.count;
    r->abort_ns = INT64_MAX;
    pl_log(PL_INFO, NULL, "reloaded");
    return open_all(r) && start_all(r);
}

static void run_threads(run *r)
{
    pl_live_begin(&r->live, r->log_format == PL_LOG_TEXT);
    bool running = start_all(r);
    do {
        watch(r);
    } while (running && r->reload && reload(r));
    pl_live_end(&r->live, r->graphs, r->graph_count);
    for (size_t i = 0; i < r->graph_count; i++)
        pl_graph_join(r->graphs[i]);
}

/* Asked now and then by the seeded scheduler, which has no watch. */
static bool signalled(void *self)
{
    run *r = self;
    struct pollfd fd = {r->signal_fd, POLLIN, 0};
    int64_t now_ns = pl_system_clock.now_ns(&pl_system_clock);
    if (poll(&fd, 1, 0) > 0)
        on_signal(r, now_ns);
    if (r->reload)
        pl_log(PL_WARN, NULL, "not reloaded: a pipeline on the seeded scheduler runs from its beginning to its end");
    r->reload = false;
    if (now_ns >= r->abort_ns)
        atomic_store(&r->graphs[0]->flow.aborting, true);
    return r->quitting || (r->for_ns && now_ns >= r->started_ns + r->for_ns);
}

static void run_seeded(run *r)
{
    pl_error error = {.struct_size = sizeof error};
    uint64_t seed = (uint64_t)r->files.pipelines[0]->seed;
    if (pl_graph_run_seeded(r->graphs[0], seed, signalled, r, &error) != PL_OK) {
        pl_log(PL_ERROR, NULL, "%s", error.message);
        raise_status(r, PL_EXIT_FAILED);
    }
}

static int run_all(run *r)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    (void)sigaddset(&signals, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    r->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    r->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->started_ns = pl_system_clock.now_ns(&pl_system_clock);
    r->abort_ns = INT64_MAX;
    if (!plan(r, &r->files, r->graphs))
        r->status = PL_EXIT_USAGE;
    r->graph_count = r->files.count;
    if (r->status == PL_EXIT_DONE && open_all(r)) {
        if (seeded(r->files.pipelines[0]))
            run_seeded(r);
        else
            run_threads(r);
        judge(r);
        if (r->summary && !pl_summary_write(r->summary, r->graphs, r->graph_count, r->status))
            raise_status(r, PL_EXIT_FAILED);
    }
    unplan(r->graphs, r->graph_count);
    pl_cli_unload(&r->files);
    (void)close(r->signal_fd);
    (void)close(r->event_fd);
    return r->status;
}

/* ---- the command line ------------------------------------------------------------------ */

static const struct option options[] = {{"for", required_argument, NULL, 'f'},
                                        {"summary", required_argument, NULL, 'S'},
                                        {"log-format", required_argument, NULL, 'l'},
                                        {"log-level", required_argument, NULL, 'L'},
                                        {"data-dir", required_argument, NULL, 'd'},
                                        {"seed", required_argument, NULL, 'n'},
                                        PL_CLI_SET,
                                        PL_CLI_PLUGIN_DIR,
                                        PL_CLI_HELP,
                                        {0}};

static int level_of(const char *word)
{
    static const char *const words[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    return -1;
}

static int take_option(void *self, int option)
{
    run *r = self;
    pl_error error = {.struct_size = sizeof error};
    char *end = NULL;
    switch (option) {
    case 'f':
        if (pl_parse_duration(PL_S(optarg), &r->for_ns, &error) != PL_OK || r->for_ns <= 0)
            return pl_cli_usage("run", "--for wants a duration such as 30s, not '%s'", optarg);
        return -1;
    case 'S':
        r->summary = optarg;
        return -1;
    case 'l':
        r->log_format = strcmp(optarg, "json") == 0 ? PL_LOG_JSON : PL_LOG_TEXT;
        if (strcmp(optarg, "json") != 0 && strcmp(optarg, "text") != 0)
            return pl_cli_usage("run", "--log-format is text or json, not '%s'", optarg);
        return -1;
    case 'L':
        r->log_level = level_of(optarg);
        return r->log_level < 0 ? pl_cli_usage("run", "--log-level is debug, info, warn or error, not '%s'", optarg)
                                : -1;
    case 'd':
        r->data_dir = optarg;
        return -1;
    default: /* --seed */
        r->seed = strtoll(optarg, &end, 10);
        r->seed_given = true;
        return *end || end == optarg ? pl_cli_usage("run", "--seed wants a whole number, not '%s'", optarg) : -1;
    }
}

int pl_cmd_run(int argc, char **argv)
{
    static run r; /* large */
    r.log_level = PL_INFO;
    const pl_cli_command command = {.name = "run", .help = help, .options = options, .take = take_option, .self = &r};
    int status = pl_cli_options(&command, argc, argv, &r.files);
    if (status < 0)
        status = pl_cli_want_files(&command, argc);
    if (status >= 0)
        return status;
    r.paths = argv + optind;
    r.path_count = (size_t)(argc - optind);
    pl_log_setup(r.log_format, r.log_level, NULL);
    r.loader = pl_loader_new(pl_cli_plugin_dirs());
    if (!r.loader)
        return PL_EXIT_FAILED;
    status = run_all(&r);
    pl_loader_free(&r.loader);
    return status;
}
