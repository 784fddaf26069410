/* The middle stage: one worker of a transform. Puts records in event-time order if asked to, runs the script on each,
 * keeps deferred functions and timers, saves durable state. */
#ifndef PL_FLOW_TRANSFORM_H
#define PL_FLOW_TRANSFORM_H
#include <flow/checkpoint.h>
#include <flow/defer.h>
#include <flow/merge.h>
#include <flow/stage.h>
#include <observe/metrics.h>
#include <script/script.h>

enum { PL_TRANSFORM_BATCH_RECORDS = 1024, PL_CHECKPOINT_EVERY_NS = 1000 * 1000 * 1000 };

typedef struct pl_transform_setup {
    pl_script_setup script; /* host is filled in here; path and text NULL: only `when` */
    pl_script **checked;    /* the same script, made for checking only and not run yet: taken; NULL, or of NULL: none */
    const char *when;       /* only records for which it is true come in; NULL: all */
    const char *when_path;
    int when_line;
    bool ordered;
    pl_merge_setup merge;
    bool durable, rebuilt;
    const char *checkpoint_path;
} pl_transform_setup;

typedef struct pl_timer {
    int64_t due_ns;
} pl_timer;

typedef struct pl_asked { /* one defer() */
    int64_t at;
    size_t key_start, key_len; /* in pl_call.keys */
    int ref;
    bool known; /* somebody asked for the same before */
} pl_asked;

/* What one call of the script has done so far, to be undone if it fails. */
typedef struct pl_call {
    const pl_record *input; /* NULL: a timer */
    pl_flow_batch *batch;   /* of the input */
    pl_ack *ack;            /* parent of what is given out */
    bool deferred;          /* this call runs a deferred function */
    bool silent;            /* rebuilding: what is given out is dropped */
    uint32_t *marks;        /* by port: records in its batch before the call */
    uint32_t references;    /* that the records given out so far will hold on ack */
    uint32_t given;         /* records */
    pl_asked *defers;
    size_t defer_count, defer_capacity;
    pl_buf keys;
} pl_call;

typedef struct pl_transform_stage {
    pl_stage stage; /* first */
    pl_transform_setup setup;
    pl_script *script;
    pl_script_host script_host;
    pl_when *when;
    pl_merge merge;
    pl_defers defers;
    pl_checkpoint checkpoint;
    pl_flow_batch **out; /* by port; made when needed. out[0]'s arena takes what the script writes */
    pl_call call;
    pl_timer *timers;
    size_t timer_count;
    pl_lane_mark *news; /* of lanes' progress, for the batches that are about to go out */
    size_t news_count, news_capacity;
    int64_t told_deferred;   /* what pl_defers_next was when they were last found */
    bool marks_wanted;       /* somebody below reads how far lanes have come */
    uint32_t ran;            /* records in this step */
    uint64_t pending_inputs; /* wait in deferred functions */
    int64_t now_ns;
    int64_t heard_ns; /* monotonic; of the last input */
    /* Who is silent is told by the time spent listening: not while a full queue below, or records not taken in yet,
     * kept us from hearing. */
    int64_t listened_ns, looked_ns;
    bool stalled; /* at the last look, see pl_flow_stalled */
    bool rested;  /* the last step found nothing to do */
    bool started, drained, closed;
    pl_metrics metrics; /* what the script counts */
} pl_transform_stage;

/* Loads script and checkpoint. NULL: error. The graph sets name, ports and queues before the first step. */
pl_transform_stage *pl_transform_stage_new(pl_flow *flow, const pl_transform_setup *setup, const char *name,
                                           pl_error *error);

/* Between transform.c and transform_call.c: */
/* Runs the script on records of one batch, in order, until one failed or a deferred function has to run before the
 * next; takes over the records' references on their acks. Returns how many it took: at least one. */
uint32_t pl_transform_records(pl_transform_stage *transform, const pl_record *const *records, uint32_t count,
                              pl_flow_batch *batch);
void pl_transform_deferred(pl_transform_stage *transform, pl_deferred *deferred);
void pl_transform_timer(pl_transform_stage *transform, size_t index);
bool pl_transform_calls_init(pl_transform_stage *transform);
void pl_transform_calls_release(pl_transform_stage *transform);
#endif
