#include <base/str.h>
#include <cli/cli.h>
#include <cli/drive.h>
#include <cli/summary.h>
#include <inttypes.h>
#include <stdlib.h>

static const char help[] =
    "usage: plumbline replay-dead-letter [OPTIONS] PIPELINE.yaml\n\n"
    "Puts dead letters back into the pipeline, each at the component that gave it up, and ends. The pipeline's sources "
    "do\n"
    "not run; it may run meanwhile in a process of its own. A letter is put back once; one that fails again becomes a\n"
    "dead letter again, with its new reason. Look first: --dry-run.\n\n"
    "  --dry-run            only count them, by component and reason; changes nothing\n"
    "  --from FILE          read FILE (JSON lines, as the file sink writes dead letters; - for standard input) and "
    "not\n"
    "                       the pipeline's own dead letter: for letters that were corrected\n"
    "  --stage NAME         only what this source, transform or sink gave up\n"
    "  --reason TEXT        only what was given up for a reason that contains TEXT\n"
    "  --limit N            at most so many\n"
    "  --set PATH=VALUE     override a value, e.g. sinks.out.with.mode=append (may be repeated)\n"
    "  --summary FILE       write the account as JSON at the end\n"
    "  --log-format FORMAT  text or json\n"
    "  --log-level LEVEL    debug, info, warn (the default) or error\n"
    "  --data-dir DIR       where the pipeline keeps its files\n"
    "  --plugin-dir DIR     look for plugins there first (may be repeated)\n\n"
    "Exit codes: 0 done; 1 failed, or some could not be put back (unreadable, no such component, its state in use);\n"
    "2 usage or configuration; 3 stopped with letters unacknowledged: they come again the next time.\n";

typedef struct replay {
    pl_cli_files files;
    pl_drive_options shared;
    pl_graph_replay asked;
    pl_loader *loader;
    pl_graph *graph;
    pl_drive drive;
} replay;

/* false: errors were printed. */
static bool plan(replay *r, char *const *path)
{
    static char data_dir[4096];
    pl_diags *diags = pl_diags_new();
    if (!diags)
        return false;
    pl_cli_load(&r->files, path, 1, diags);
    if (r->files.pipelines[0]) {
        pl_graph_setup setup = {.pipeline = r->files.pipelines[0], .loader = r->loader, .replay = &r->asked};
        setup.data_dir = pl_cli_data_dir(r->shared.data_dir, r->files.pipelines[0], data_dir, sizeof data_dir);
        r->graph = pl_graph_plan(&setup, diags);
    }
    bool sound = pl_cli_report(diags) == 0 && r->graph;
    pl_diags_free(&diags);
    return sound;
}

/* ---- what became of the letters ------------------------------------------------------------ */

static const pl_replay_stage *router_of(const replay *r)
{
    return (const pl_replay_stage *)r->graph->back.router->stages[0];
}

static int by_count(const void *a, const void *b)
{
    const pl_replay_tally *x = *(const pl_replay_tally *const *)a;
    const pl_replay_tally *y = *(const pl_replay_tally *const *)b;
    int names = strcmp(x->component, y->component);
    return names ? names : x->count < y->count ? 1 : x->count > y->count ? -1 : strcmp(x->reason, y->reason);
}

static void print_reasons(const replay *r)
{
    size_t count;
    const pl_replay_tally *tallies = pl_replay_tallies(router_of(r), &count);
    const pl_replay_tally **sorted = calloc(count + 1, sizeof *sorted);
    for (size_t i = 0; sorted && i < count; i++)
        sorted[i] = &tallies[i];
    if (!count || !sorted) {
        free(sorted);
        return;
    }
    qsort(sorted, count, sizeof *sorted, by_count);
    (void)printf("%-20s %10s  %s\n", "COMPONENT", "LETTERS", "REASON");
    for (size_t i = 0; i < count; i++)
        (void)printf("%-20s %10" PRIu64 "  %s\n", sorted[i]->component[0] ? sorted[i]->component : "(others)",
                     sorted[i]->count, sorted[i]->reason);
    free(sorted);
}

static const char *records(uint64_t count)
{
    return count == 1 ? "" : "s";
}

/* One message a component that takes nothing; its letters stay where they are. */
static void tell_stuck(replay *r, pl_letter_fate fate)
{
    size_t count;
    const pl_replay_tally *tallies = pl_replay_tallies(router_of(r), &count);
    const char *names[1001] = {NULL};
    for (size_t i = 0; i < r->graph->back.target_count && i < 1000; i++)
        names[i] = r->graph->back.targets[i].name;
    for (size_t i = 0; i < count; i++) {
        uint64_t sum = 0;
        bool told = false;
        for (size_t j = 0; j < count; j++)
            if (tallies[j].fate == fate && strcmp(tallies[j].component, tallies[i].component) == 0) {
                sum += tallies[j].count;
                told = told || j < i;
            }
        if (tallies[i].fate != fate || told)
            continue;
        (void)fprintf(stderr, "plumbline replay-dead-letter: %" PRIu64 " letter%s of '%s' left: ", sum, records(sum),
                      tallies[i].component);
        const char *near = fate == PL_LETTER_NO_STAGE ? pl_nearest(tallies[i].component, names) : NULL;
        if (fate == PL_LETTER_HELD)
            (void)fprintf(stderr, "the durable state of '%s' is the running pipeline's; stop that first\n",
                          tallies[i].held_by);
        else
            (void)fprintf(stderr, "the pipeline has no such component%s%s%s\n", near ? "; did you mean '" : "",
                          near ? near : "", near ? "'?" : "");
    }
}

static void print_fate(const replay *r, pl_letter_fate fate, const char *words)
{
    uint64_t count = pl_replay_count(router_of(r), fate);
    if (count)
        (void)printf(", %" PRIu64 " %s", count, words);
}

static void tell(replay *r)
{
    const pl_replay_stage *router = router_of(r);
    pl_counts read = pl_node_counts(r->graph, r->graph->back.reader);
    pl_counts routed = pl_node_counts(r->graph, r->graph->back.router);
    uint64_t chosen = pl_replay_count(router, PL_LETTER_PUT_BACK);
    uint64_t unreadable = pl_replay_count(router, PL_LETTER_UNREADABLE);
    if (r->asked.dry_run)
        print_reasons(r);
    (void)printf("%" PRIu64 " dead letter%s read: %" PRIu64 " %s", routed.read, records(routed.read), chosen,
                 r->asked.dry_run ? "to be put back" : "put back");
    if (chosen && !r->asked.dry_run)
        (void)printf(" (%" PRIu64 " delivered, %" PRIu64 " filtered, %" PRIu64 " dead letters again, %" PRIu64
                     " in flight)",
                     read.delivered, read.filtered > routed.filtered ? read.filtered - routed.filtered : 0,
                     read.dead_lettered, read.in_flight);
    print_fate(r, PL_LETTER_BEFORE, "put back before");
    print_fate(r, PL_LETTER_NOT_CHOSEN, "not chosen");
    print_fate(r, PL_LETTER_NO_STAGE, "of no component of this pipeline");
    print_fate(r, PL_LETTER_HELD, "held back by running state");
    print_fate(r, PL_LETTER_UNREADABLE, "unreadable");
    (void)printf("\n");
    tell_stuck(r, PL_LETTER_NO_STAGE);
    tell_stuck(r, PL_LETTER_HELD);
    if (unreadable)
        (void)fprintf(stderr,
                      "plumbline replay-dead-letter: %" PRIu64 " left that %s no dead letter%s; the first: %s\n",
                      unreadable, unreadable == 1 ? "is" : "are", records(unreadable), pl_replay_unreadable(router));
    if (unreadable || pl_replay_count(router, PL_LETTER_NO_STAGE) || pl_replay_count(router, PL_LETTER_HELD))
        pl_drive_raise(&r->drive, PL_EXIT_FAILED);
}

/* ---- the command ----------------------------------------------------------------------------- */

static int run(replay *r, char *const *path)
{
    pl_drive *drive = &r->drive;
    pl_drive_begin(drive);
    if (!plan(r, path))
        drive->status = PL_EXIT_USAGE;
    drive->count = 1;
    pl_status opened = drive->status == PL_EXIT_DONE ? pl_drive_open(drive) : PL_FAILED;
    if (opened == PL_END)
        (void)printf("0 dead letters: sink '%s' has written none yet (data directory %s)\n",
                     r->graph->nodes[r->graph->dead_letter].name, r->graph->data_dir);
    if (opened == PL_OK) {
        (void)pl_drive_start(drive);
        pl_drive_watch(drive);
        pl_drive_join(drive);
        pl_drive_judge(drive);
        tell(r);
        if (r->shared.summary && !pl_summary_write(r->shared.summary, &r->graph, 1, drive->status))
            pl_drive_raise(drive, PL_EXIT_FAILED);
    }
    pl_graph_free(&r->graph);
    pl_cli_unload(&r->files);
    pl_drive_end(drive);
    return drive->status;
}

static const struct option options[] = {{"dry-run", no_argument, NULL, 'y'},
                                        {"from", required_argument, NULL, 'f'},
                                        {"stage", required_argument, NULL, 'g'},
                                        {"reason", required_argument, NULL, 'r'},
                                        {"limit", required_argument, NULL, 'n'},
                                        PL_DRIVE_OPTIONS,
                                        PL_CLI_SET,
                                        PL_CLI_PLUGIN_DIR,
                                        PL_CLI_HELP,
                                        {0}};

static int take_option(void *self, int option)
{
    replay *r = self;
    char *end = NULL;
    switch (option) {
    case 'y':
        r->asked.dry_run = true;
        return -1;
    case 'f':
        r->asked.from = optarg;
        return -1;
    case 'g':
        r->asked.stage = optarg;
        return -1;
    case 'r':
        r->asked.reason = optarg;
        return -1;
    case 'n':
        r->asked.limit = strtoull(optarg, &end, 10);
        return *end || optarg[0] < '0' || optarg[0] > '9' || !r->asked.limit
                   ? pl_cli_usage("replay-dead-letter", "--limit wants a number above 0, not '%s'", optarg)
                   : -1;
    default:
        return pl_drive_take_option(&r->shared, "replay-dead-letter", option);
    }
}

int pl_cmd_replay(int argc, char **argv)
{
    static replay r;
    const pl_cli_command command = {
        .name = "replay-dead-letter", .help = help, .options = options, .take = take_option, .self = &r};
    r.shared.log_level = PL_WARN;
    r.drive = (pl_drive){.graphs = &r.graph};
    int status = pl_cli_options(&command, argc, argv, &r.files);
    if (status >= 0)
        return status;
    if (argc - optind != 1)
        return pl_cli_usage("replay-dead-letter", "name one pipeline file");
    pl_log_setup(r.shared.log_format, r.shared.log_level, NULL);
    r.loader = pl_loader_new(pl_cli_plugin_dirs());
    if (!r.loader)
        return PL_EXIT_FAILED;
    status = run(&r, argv + optind);
    pl_loader_free(&r.loader);
    return status;
}
