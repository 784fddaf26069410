/* One pipeline as stages and queues: planned from its file, opened, driven, and accounted for. [main] unless noted. */
#ifndef PL_GRAPH_GRAPH_H
#define PL_GRAPH_GRAPH_H
#include <config/options.h>
#include <config/pipeline.h>
#include <flow/replay.h>
#include <flow/sink.h>
#include <flow/source.h>
#include <flow/transform.h>
#include <plugin/loader.h>

enum { PL_MEMORY_DEFAULT_BYTES = 64 << 20 };

typedef struct pl_graph_replay { /* what is to be put back of the dead letters, see flow/replay.h */
    const char *from;            /* a file of them, - for standard input; NULL: the pipeline's own */
    const char *stage, *reason;  /* NULL: any */
    uint64_t limit;              /* 0: none */
    bool dry_run;
} pl_graph_replay;

typedef struct pl_graph_setup {
    const pl_pipeline *pipeline;   /* outlives the graph */
    pl_loader *loader;             /* likewise */
    const pl_clock *clock;         /* NULL: the system's; the seeded scheduler brings its own */
    const char *data_dir;          /* of all pipelines; this one's is data_dir/NAME */
    const pl_graph_replay *replay; /* NULL: the sources run. Else they do not, and dead letters are put back */
} pl_graph_setup;

typedef struct pl_counts {
    uint64_t read, delivered, filtered, dead_lettered, in_flight, born, replayed, retries, errors, bytes;
    uint64_t circuit_opened; /* sources, sinks: how often */
    pl_circuit circuit;
    int64_t newest_unix_ns; /* sources */
} pl_counts;

/* One component at work. */
typedef struct pl_node_plan {
    const pl_component_spec *spec; /* NULL: the dead-letter sink the runtime provides */
    const char *name;
    pl_kind kind;
    const pl_component *component; /* source, sink */
    void *config;                  /* filled from `with` */
    pl_instance *instance;
    pl_stage **stages; /* one a worker */
    uint32_t worker_count;
    pl_path by; /* transform with workers > 1 and `by: FIELD` */
    bool by_field;
    pl_script *checked; /* transform: as it was checked; its first worker goes on with it */
    pl_path *time_paths;
    uint32_t *upstream; /* ranks of the sources above */
    size_t upstream_count;
    pl_counts before;    /* of the graphs that this one goes on for, see pl_graph_start_over */
    pl_counts committed; /* exactly once: as of the last commit; written by the sink's thread */
} pl_node_plan;

typedef struct pl_graph_back { /* of a replay */
    pl_node_plan *router;      /* gives each letter to its component */
    pl_node_plan *reader;      /* a source of letters, all it feeds is the router */
    pl_replay_target *targets; /* the components of the pipeline that can have given up a record */
    size_t target_count;
    pl_ledger *ledger;
    char *dir; /* data_dir/replay: what a replay keeps, beside the pipeline that may run meanwhile */
    int lock_fd;
    bool beside; /* durable state is another process's */
} pl_graph_back;

typedef struct pl_graph {
    pl_graph_setup setup;
    pl_flow flow;
    pl_arena *arena; /* owns the plans and configs */
    pl_node_plan *nodes;
    size_t node_count;
    int dead_letter; /* index in nodes */
    char *data_dir;  /* this pipeline's */
    int lock_fd;
    pl_virtual_clock virtual_clock;
    bool flow_ready;
    pl_queue **queues; /* all of them, to be freed */
    size_t queue_count, queue_capacity;
    struct pl_driver *driver;
    pl_graph_back back;
    pl_txn txn;            /* what plugins are given, exactly once */
    _Atomic uint32_t lost; /* transactions, since the last that was committed */
} pl_graph;

/* Loads plugins, checks all options and scripts; makes nothing and connects nowhere. All mistakes go to diags. A graph
 * comes back even then (NULL: no memory), to be freed with pl_graph_free. */
pl_graph *pl_graph_plan(const pl_graph_setup *setup, pl_diags *diags);
void pl_graph_free(pl_graph **graph); /* nulls; NULL allowed. Destroys the plugin instances. */

/* Takes the data_dir, creates the instances and stages. PL_FAILED: `component` (may be "") and error say why. PL_END: a
 * replay, and no dead letter was ever written. */
pl_status pl_graph_open(pl_graph *graph, const char **component, pl_error *error);

/* ---- driving: threads -------------------------------------------------------------- */

/* Starts a thread a stage. `changed` is called when the graph ended or must be stopped. [any] */
pl_status pl_graph_start(pl_graph *graph, void (*changed)(void *self), void *self, pl_error *error);
/* [any] All stages are done. */
bool pl_graph_ended(const pl_graph *graph);
/* Sources hand over nothing more; what is inside is finished. Idempotent. */
void pl_graph_stop(pl_graph *graph);
/* Asks the plugins that keep files open to open them again ("pl.reopen/1"), for log rotation. */
void pl_graph_reopen(pl_graph *graph);
/* Everything returns as soon as it can, settled or not. Idempotent. */
void pl_graph_abort(pl_graph *graph);
/* Waits for the threads; after an abort, or once it ended. */
void pl_graph_join(pl_graph *graph);

/* ---- exactly once -------------------------------------------------------------------- */

/* [any] A transaction was lost: once the graph ended, it is to start over. */
bool pl_graph_lost(const pl_graph *graph);
/* How long to wait before, so that no storm comes of it. Nanoseconds. */
int64_t pl_graph_pause(const pl_graph *graph);
/* Puts another in the place of a graph that ended: of the same file, and with its account as of the last commit. To be
 * opened, and started. false: it stays, for diags has mistakes in scripts that were changed since, or no memory. */
bool pl_graph_start_over(pl_graph **graph, pl_diags *diags);

/* ---- driving: the seeded scheduler ---------------------------------------------------- */

/* Runs to the end in this thread, under a virtual clock. `stop` (may be NULL) is asked now and then. PL_FAILED: the
 * graph can't go on (nothing is runnable and no timer is set). */
pl_status pl_graph_run_seeded(pl_graph *graph, uint64_t seed, bool (*stop)(void *self), void *self, pl_error *error);

/* ---- the account ------------------------------------------------------------------------ */

/* [any] Of all workers; while the graph runs in_flight is a difference, afterwards it is counted. */
pl_counts pl_node_counts(const pl_graph *graph, const pl_node_plan *node);
/* Once ended: read = delivered + filtered + dead_lettered + in_flight for every component. */
bool pl_graph_balanced(const pl_graph *graph);
/* Once ended: inputs of sources that were not settled. */
uint64_t pl_graph_unsettled(const pl_graph *graph);

/* Between the files of this room: */
/* A plugin's mistake, where the option stands that it names. */
void pl_graph_report(pl_diags *diags, const pl_component_spec *spec, const pl_error *error);
/* What plan.c checks a script with, and open.c runs it with. */
pl_script_setup pl_graph_script_setup(pl_graph *graph, const pl_component_spec *spec, pl_diags *diags);
pl_status pl_graph_wire(pl_graph *graph, pl_error *error);
pl_status pl_graph_provide_dead_letter(pl_graph *graph, pl_diags *diags);
pl_option_table pl_graph_options(const pl_component *component);
/* The config of the file plugin's component for that path, and what `more` says in YAML; NULL: no memory, or reported.
 */
void *pl_graph_file_config(pl_graph *graph, const pl_component *component, const char *path, const char *more,
                           pl_diags *diags);
/* replay.c: nodes that only a replay has, and what it does with the others. */
enum { PL_REPLAY_NODES = 2 };
void pl_graph_plan_replay(pl_graph *graph, pl_diags *diags);
pl_status pl_graph_begin_replay(pl_graph *graph, pl_error *error); /* the data_dir is known */
pl_status pl_graph_find_letters(pl_graph *graph, pl_error *error); /* the dead-letter sink is open. PL_END: see open */
pl_stage *pl_graph_open_router(pl_graph *graph, pl_error *error);
void pl_graph_end_replay(pl_graph *graph);
/* exactly_once.c: */
/* Says what in the file can't be had exactly once. */
void pl_graph_check_exactly_once(const pl_graph *graph, pl_diags *diags);
/* The node takes part in the transactions. */
bool pl_graph_transactional(const pl_graph *graph, const pl_node_plan *node);
/* Its extension "pl.txn/1"; NULL: at least once. */
const void *pl_graph_txn_of(const pl_graph *graph, const pl_node_plan *node);
pl_status pl_graph_open_transaction(pl_graph *graph, pl_error *error); /* before the nodes are opened */
void pl_graph_bind_transaction(pl_graph *graph);                       /* after */

/* After the instances are destroyed: until then a plugin's own threads may wake its stage. */
void pl_graph_free_driver(pl_graph *graph);
uint32_t pl_graph_stage_count(const pl_graph *graph);
#endif
