/* A pipeline file, read and checked as far as that goes without loading a plugin or a script. docs/pipelines.md has the
 * grammar from the user's side. */
#ifndef PL_CONFIG_PIPELINE_H
#define PL_CONFIG_PIPELINE_H
#include <base/codec.h>
#include <config/load.h>

typedef enum { PL_KIND_SOURCE, PL_KIND_TRANSFORM, PL_KIND_SINK } pl_kind;
enum { PL_RETRY_CIRCUIT = 5 };
typedef enum { PL_VALIDATE_FULL, PL_VALIDATE_TOUCHED } pl_validate;
typedef enum { PL_STATE_NONE, PL_STATE_DURABLE, PL_STATE_REBUILD } pl_state_kind;
typedef enum { PL_SCHEDULER_THREADS, PL_SCHEDULER_SEEDED } pl_scheduler;
typedef enum { PL_AT_LEAST_ONCE, PL_EXACTLY_ONCE } pl_delivery;

typedef struct pl_from { /* one input: `accuracy`, `accuracy.late`, `coingecko.gaps` */
    const char *name;    /* the component */
    const char *port;    /* its output; NULL: the main one */
    int component;       /* index in pl_pipeline.components; -1: there is none (an error was reported) */
    const pl_node *node;
} pl_from;

typedef struct pl_component_spec {
    pl_kind kind;
    const char *name;    /* [a-z0-9_-]+, unique in the pipeline */
    const pl_node *node; /* its map in the file; never NULL */
    const pl_node *key;  /* its name in the file; where a message about the whole component points */

    const pl_from *from; /* transform, sink; the dead letter has none */
    size_t from_count;

    const char *plugin; /* source, sink; NULL only after an error */
    const pl_node *plugin_node;
    const pl_node *with; /* `defaults` merged in (keys from there are `inherited`); NULL: none given */

    const char *script; /* transform: path, resolved against the file that names it; NULL: inline, or only `when` */
    const pl_node *script_node;
    const char *lua;    /* transform: inline text; NULL: none */
    int lua_first_line; /* of the inline text in its file */

    const char *when; /* transform, sink: Lua expression; NULL: none */
    const pl_node *when_node;

    const char **time; /* source: field paths, the first that is there counts; time_count 0: not given */
    size_t time_count;
    pl_codec codec;
    pl_validate validate;

    struct {
        int64_t attempts; /* 0: for ever */
        int64_t min_ns, max_ns;
        int64_t circuit;          /* failures in a row that open it */
        bool then_halt;           /* when the attempts are used up; else a gap or a dead letter */
        const pl_node *then_node; /* NULL: not given */
        bool given;
    } retry;           /* source, sink; default 0, 100ms, 30s, PL_RETRY_CIRCUIT */
    bool reject_halts; /* sink */
    struct {
        bool given;
        int64_t max_bytes;   /* default 1 GiB */
        int64_t sync_ns;     /* default 0 */
        const pl_node *node; /* its key */
    } buffer;                /* source */
    struct {
        int64_t records, bytes; /* 0: not given */
        int64_t wait_ns;        /* -1: not given */
    } batch;                    /* sink */
    struct {
        bool enabled;              /* order: was given */
        const char *by;            /* "time" */
        int64_t slack_ns, idle_ns; /* defaults 0 and 15s */
    } order;                       /* transform */

    int64_t workers; /* transform: 1 .. 256 */
    const char *by;  /* transform: field path, or "lane"; NULL: not given */
    const pl_node *by_node;
    struct {
        pl_state_kind kind;
        int64_t span_ns; /* REBUILD: above 0 */
        const pl_node *node;
    } state; /* transform */
    struct {
        int64_t memory_bytes; /* of one Lua state; 0: not given */
        int64_t time_ns;      /* of one call; 0: not given */
    } limits;                 /* transform */
} pl_component_spec;

typedef struct pl_pipeline {
    const char *name;             /* `pipeline:`, or the file's name without its folder and ending */
    const char *file;             /* as given */
    const char *data_dir;         /* NULL: not given */
    int64_t memory_bytes;         /* 0: not given */
    int64_t shutdown_deadline_ns; /* default 30s */
    pl_delivery delivery;
    int64_t commit_every_ns; /* exactly once: how long a transaction lasts; default 1s */
    pl_scheduler scheduler;  /* seeded: one thread under a virtual clock, the same order on every run */
    int64_t seed;            /* default 1 */

    /* Each after all that it reads, else in the file's order: sources, transforms, sinks. Where there is a cycle
     * (reported), its members stand in the file's order. */
    pl_component_spec *components;
    size_t count, source_count, transform_count, sink_count;
    int dead_letter; /* index of the sink; -1: not given, the runtime provides one */

    const pl_node *root;     /* files and overrides merged */
    const pl_node *defaults; /* by plugin, as written; NULL: none. See pl_options_check_known */
    pl_arena *arena;         /* owns all of the above; what is filled from `with` may live here too */
} pl_pipeline;

/* `--set sources.x.with.every=5s`: the value is YAML, the path is keys joined by dots, list items by their number. */
typedef struct pl_override {
    const char *text; /* borrowed until the pipelines are freed */
    bool used;        /* out: some pipeline had that component or key */
} pl_override;

typedef struct pl_pipeline_setup {
    const char *path;
    pl_override *overrides; /* highest precedence. A path to a component this file does not have is left for others */
    size_t override_count;
    const char *(*variable)(void *self, const char *name); /* see load.h; NULL: getenv */
    void *self;
} pl_pipeline_setup;

/* [main] Reads the file with what it includes and checks everything that needs no plugin: all mistakes go to diags, not
 * only the first. NULL: the file can't be read, is no YAML, or there is no memory. Otherwise a pipeline, also after
 * errors, so that options and scripts can be checked in the same go: run it only if pl_diags_errors is 0.
 * Free with pl_pipeline_free. */
pl_pipeline *pl_pipeline_load(const pl_pipeline_setup *setup, pl_diags *diags);
void pl_pipeline_free(pl_pipeline **pipeline); /* nulls; NULL allowed */

/* After all files were loaded: an error for each override that none of the pipelines could use, with the nearest name.
 */
void pl_overrides_report(const pl_override *overrides, size_t count, const pl_pipeline *const *pipelines,
                         size_t pipeline_count, pl_diags *diags);

/* The component of that name, or NULL. */
const pl_component_spec *pl_pipeline_find(const pl_pipeline *pipeline, const char *name);
/* "source", "transform", "sink". */
const char *pl_kind_name(pl_kind kind);
#endif
