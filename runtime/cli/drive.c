#include <base/log.h>
#include <cli/cli.h>
#include <cli/drive.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const int64_t STUCK_NS = 10LL * 1000 * 1000 * 1000; /* after the deadline, for a plugin to obey its interrupt */

void pl_drive_raise(pl_drive *drive, int status)
{
    if (drive->status == PL_EXIT_DONE || status == PL_EXIT_FAILED)
        drive->status = status;
}

static pl_status open_one(pl_drive *drive, pl_graph *graph)
{
    const char *component = "";
    pl_error error = {.struct_size = sizeof error};
    pl_status status = pl_graph_open(graph, &component, &error);
    if (status == PL_OK || status == PL_END)
        return status;
    pl_log(PL_ERROR, component[0] ? component : NULL, "%s", error.message);
    pl_drive_raise(drive, error.error_class == PL_BAD_CONFIG ? PL_EXIT_USAGE : PL_EXIT_FAILED);
    return PL_FAILED;
}

pl_status pl_drive_open(pl_drive *drive)
{
    pl_status status = PL_OK;
    for (size_t i = 0; status == PL_OK && i < drive->count; i++)
        status = open_one(drive, drive->graphs[i]);
    return status;
}

static void changed(void *self)
{
    const pl_drive *drive = self;
    uint64_t one = 1;
    (void)!write(drive->event_fd, &one, sizeof one);
}

/* It lost its transaction, and goes on from what is committed. */
static bool starts_over(const pl_drive *drive, size_t i)
{
    return pl_graph_lost(drive->graphs[i]) && !drive->quitting && !drive->reloading && drive->status != PL_EXIT_FAILED;
}

static bool all_ended(const pl_drive *drive)
{
    for (size_t i = 0; i < drive->count; i++)
        if (!pl_graph_ended(drive->graphs[i]) || starts_over(drive, i))
            return false;
    return true;
}

static void stop_all(pl_drive *drive)
{
    for (size_t i = 0; i < drive->count; i++)
        pl_graph_stop(drive->graphs[i]);
}

static void abort_all(pl_drive *drive)
{
    for (size_t i = 0; i < drive->count; i++)
        pl_graph_abort(drive->graphs[i]);
}

static int64_t longest_deadline(const pl_drive *drive)
{
    int64_t longest = 0;
    for (size_t i = 0; i < drive->count; i++)
        if (drive->graphs[i]->setup.pipeline->shutdown_deadline_ns > longest)
            longest = drive->graphs[i]->setup.pipeline->shutdown_deadline_ns;
    return longest;
}

static void quit(pl_drive *drive, bool at_once, int64_t now_ns)
{
    drive->quitting = true;
    stop_all(drive);
    if (at_once)
        drive->abort_ns = now_ns;
    else if (drive->abort_ns == INT64_MAX)
        drive->abort_ns = now_ns + longest_deadline(drive);
}

static void on_signal(pl_drive *drive, int64_t now_ns)
{
    struct signalfd_siginfo info;
    if (read(drive->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    if (info.ssi_signo == SIGHUP) {
        drive->reload = drive->reloads && !drive->quitting;
        return;
    }
    if (info.ssi_signo == SIGUSR1) {
        for (size_t i = 0; i < drive->count; i++)
            pl_graph_reopen(drive->graphs[i]);
        return;
    }
    bool again = drive->quitting && info.ssi_signo == SIGINT;
    pl_log(PL_INFO, NULL, "%s", again ? "giving up" : "stopping: what is inside is finished first");
    quit(drive, again, now_ns);
}

static void check_halts(pl_drive *drive)
{
    for (size_t i = 0; i < drive->count; i++) {
        if (pl_graph_lost(drive->graphs[i]))
            pl_graph_abort(drive->graphs[i]);
        if (!atomic_load(&drive->graphs[i]->flow.halted))
            continue;
        pl_drive_raise(drive, PL_EXIT_FAILED);
        abort_all(drive); /* pipelines of one process end together */
    }
}

/* A plugin that does not obey its interrupt must not keep the process from ending. */
static void leave(const pl_drive *drive)
{
    pl_log(PL_ERROR, NULL, "a plugin does not return although it was interrupted; leaving without it");
    _exit(drive->status == PL_EXIT_FAILED ? PL_EXIT_FAILED : PL_EXIT_UNSETTLED);
}

static int timeout_ms(const pl_drive *drive, int64_t now_ns)
{
    int64_t until = now_ns + 1000000000;
    if (drive->abort_ns < until)
        until = drive->abort_ns > now_ns ? drive->abort_ns : now_ns + 50000000;
    if (drive->abort_ns == INT64_MAX && drive->for_ns && drive->started_ns + drive->for_ns < until)
        until = drive->started_ns + drive->for_ns;
    for (size_t i = 0; i < drive->count; i++)
        if (starts_over(drive, i) && drive->again_ns[i] && drive->again_ns[i] < until)
            until = drive->again_ns[i];
    return until <= now_ns ? 0 : (int)((until - now_ns) / 1000000 + 1);
}

static bool start_one(pl_drive *drive, pl_graph *graph)
{
    pl_error error = {.struct_size = sizeof error};
    if (pl_graph_start(graph, changed, drive, &error) == PL_OK)
        return true;
    pl_log(PL_ERROR, NULL, "%s", error.message);
    pl_drive_raise(drive, PL_EXIT_FAILED);
    return false;
}

static bool start_over(pl_drive *drive, size_t i)
{
    pl_diags *diags = pl_diags_new();
    if (!diags)
        return false;
    bool planned = pl_graph_start_over(&drive->graphs[i], diags);
    (void)pl_cli_report(diags);
    pl_diags_free(&diags);
    return planned && open_one(drive, drive->graphs[i]) == PL_OK && start_one(drive, drive->graphs[i]);
}

/* Those that lost their transaction, once they have ended and paused. */
static void start_over_lost(pl_drive *drive, int64_t now_ns)
{
    for (size_t i = 0; i < drive->count; i++) {
        if (!pl_graph_ended(drive->graphs[i]) || !starts_over(drive, i))
            continue;
        if (!drive->again_ns[i])
            drive->again_ns[i] = now_ns + pl_graph_pause(drive->graphs[i]);
        if (now_ns < drive->again_ns[i])
            continue;
        drive->again_ns[i] = 0;
        if (start_over(drive, i))
            continue;
        pl_drive_raise(drive, PL_EXIT_FAILED);
        abort_all(drive);
    }
}

/* Until all graphs ended, or a reload is wanted and not yet under way. */
void pl_drive_watch(pl_drive *drive)
{
    struct pollfd fds[2] = {{drive->event_fd, POLLIN, 0}, {drive->signal_fd, POLLIN, 0}};
    while (!all_ended(drive) && (!drive->reload || drive->reloading)) {
        int64_t now_ns = pl_system_clock.now_ns(&pl_system_clock);
        if (poll(fds, 2, timeout_ms(drive, now_ns)) < 0 && errno != EINTR)
            break;
        now_ns = pl_system_clock.now_ns(&pl_system_clock);
        uint64_t ignored;
        if (fds[0].revents & POLLIN)
            (void)!read(drive->event_fd, &ignored, sizeof ignored);
        if (fds[1].revents & POLLIN)
            on_signal(drive, now_ns);
        check_halts(drive);
        start_over_lost(drive, now_ns);
        if (drive->for_ns && drive->abort_ns == INT64_MAX && now_ns >= drive->started_ns + drive->for_ns)
            quit(drive, false, now_ns);
        if (now_ns >= drive->abort_ns)
            abort_all(drive);
        if (drive->abort_ns != INT64_MAX && now_ns - drive->abort_ns >= STUCK_NS)
            leave(drive);
        if (drive->live)
            pl_live_draw(drive->live, drive->graphs, drive->count, now_ns);
    }
}

void pl_drive_judge(pl_drive *drive)
{
    for (size_t i = 0; i < drive->count; i++) {
        uint64_t unsettled = pl_graph_unsettled(drive->graphs[i]);
        if (atomic_load(&drive->graphs[i]->flow.halted))
            pl_drive_raise(drive, PL_EXIT_FAILED);
        if (!pl_graph_balanced(drive->graphs[i])) {
            pl_log(PL_ERROR, NULL, "%s: the account does not come out; see --summary",
                   drive->graphs[i]->setup.pipeline->name);
            pl_drive_raise(drive, PL_EXIT_FAILED);
        }
        if (unsettled) {
            pl_log(PL_WARN, NULL, "%s: %llu record%s left unacknowledged", drive->graphs[i]->setup.pipeline->name,
                   (unsigned long long)unsettled, unsettled == 1 ? "" : "s");
            pl_drive_raise(drive, PL_EXIT_UNSETTLED);
        }
    }
}

bool pl_drive_start(pl_drive *drive)
{
    for (size_t i = 0; i < drive->count; i++) {
        drive->again_ns[i] = 0;
        if (start_one(drive, drive->graphs[i]))
            continue;
        abort_all(drive);
        return false;
    }
    return true;
}

void pl_drive_drain(pl_drive *drive)
{
    drive->reloading = true;
    drive->abort_ns = pl_system_clock.now_ns(&pl_system_clock) + longest_deadline(drive);
    stop_all(drive);
    pl_drive_watch(drive);
    drive->reload = drive->reloading = false;
    pl_drive_join(drive);
}

void pl_drive_join(pl_drive *drive)
{
    for (size_t i = 0; i < drive->count; i++)
        pl_graph_join(drive->graphs[i]);
}

bool pl_drive_signalled(pl_drive *drive)
{
    struct pollfd fd = {drive->signal_fd, POLLIN, 0};
    int64_t now_ns = pl_system_clock.now_ns(&pl_system_clock);
    if (poll(&fd, 1, 0) > 0)
        on_signal(drive, now_ns);
    if (now_ns >= drive->abort_ns)
        atomic_store(&drive->graphs[0]->flow.aborting, true);
    return drive->quitting || (drive->for_ns && now_ns >= drive->started_ns + drive->for_ns);
}

void pl_drive_begin(pl_drive *drive)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    (void)sigaddset(&signals, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    drive->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    drive->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    drive->started_ns = pl_system_clock.now_ns(&pl_system_clock);
    drive->abort_ns = INT64_MAX;
}

void pl_drive_end(pl_drive *drive)
{
    (void)close(drive->signal_fd);
    (void)close(drive->event_fd);
}

/* ---- options ---------------------------------------------------------------------------- */

static int level_of(const char *word)
{
    static const char *const words[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    return -1;
}

int pl_drive_take_option(pl_drive_options *options, const char *command, int option)
{
    switch (option) {
    case 'S':
        options->summary = optarg;
        return -1;
    case 'l':
        options->log_format = strcmp(optarg, "json") == 0 ? PL_LOG_JSON : PL_LOG_TEXT;
        if (strcmp(optarg, "json") != 0 && strcmp(optarg, "text") != 0)
            return pl_cli_usage(command, "--log-format is text or json, not '%s'", optarg);
        return -1;
    case 'L':
        options->log_level = level_of(optarg);
        return options->log_level < 0
                   ? pl_cli_usage(command, "--log-level is debug, info, warn or error, not '%s'", optarg)
                   : -1;
    default: /* --data-dir */
        options->data_dir = optarg;
        return -1;
    }
}
