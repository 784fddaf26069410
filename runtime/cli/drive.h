/* Pipelines at work in this process, from the first signal to the verdict: what `run` and `replay-dead-letter` share.
 */
#ifndef PL_CLI_DRIVE_H
#define PL_CLI_DRIVE_H
#include <base/log.h>
#include <cli/cli.h>
#include <cli/live.h>
#include <graph/graph.h>

typedef struct pl_drive_options {
    const char *summary, *data_dir; /* NULL: not given */
    pl_log_format log_format;
    int log_level;
} pl_drive_options;
#define PL_DRIVE_OPTIONS                                                                                               \
    {"summary", required_argument, NULL, 'S'}, {"log-format", required_argument, NULL, 'l'},                           \
        {"log-level", required_argument, NULL, 'L'},                                                                   \
    {                                                                                                                  \
        "data-dir", required_argument, NULL, 'd'                                                                       \
    }
/* One of them, its value in optarg: -1, or the exit code when it makes no sense. */
int pl_drive_take_option(pl_drive_options *options, const char *command, int option);

typedef struct pl_drive {
    pl_graph **graphs; /* the caller's */
    size_t count;
    int64_t for_ns; /* 0: until the sources end */
    bool reloads;   /* SIGHUP asks for it; else it is passed over */
    pl_live *live;  /* NULL: no table */
    int status;     /* PL_EXIT_* */
    /* What happened: */
    bool reload, reloading;
    bool quitting; /* for good: a signal, or the end of for_ns */
    int64_t started_ns;
    int64_t abort_ns; /* monotonic; what is not finished then is left unacknowledged. INT64_MAX: nothing is ending */
    int64_t again_ns[PL_CLI_FILES_MAX]; /* monotonic: when a graph that lost its transaction starts over; 0: unknown */
    int event_fd, signal_fd;
} pl_drive;

/* From now on signals are the drive's. */
void pl_drive_begin(pl_drive *drive);
void pl_drive_end(pl_drive *drive);
/* PL_FAILED was told and is in the status. PL_END: see pl_graph_open. */
pl_status pl_drive_open(pl_drive *drive);
/* false: told, and in the status; what had started ends. */
bool pl_drive_start(pl_drive *drive);
/* Until all graphs ended, or a reload is wanted and not yet under way. */
void pl_drive_watch(pl_drive *drive);
/* The graphs end as with SIGTERM, and the drive goes on. */
void pl_drive_drain(pl_drive *drive);
void pl_drive_join(pl_drive *drive);
/* What has come in meanwhile, for a driver without a watch: asks for a stop (true) and more. */
bool pl_drive_signalled(pl_drive *drive);
/* Looks at the accounts of graphs that ended. */
void pl_drive_judge(pl_drive *drive);
/* The worst of all. */
void pl_drive_raise(pl_drive *drive, int status);
#endif
