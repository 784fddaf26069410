/* The last stage: gathers records into batches, gives them to a sink plugin, and tells each record's ack what became of
 * it. A batch that is refused is halved until the bad record stands alone; a failing one is written again after a
 * backoff, in order, before anything newer. */
#ifndef PL_FLOW_SINK_H
#define PL_FLOW_SINK_H
#include <flow/retry.h>
#include <flow/stage.h>
#include <plugin/instance.h>
#include <script/script.h>

typedef struct pl_sink_setup {
    pl_instance *instance; /* owned by the caller; outlives the stage */
    const char *when;      /* only records for which it is true; NULL: all */
    const char *when_path;
    int when_line;
    uint32_t batch_records;
    size_t batch_bytes;
    int64_t batch_wait_ns; /* a batch that is not full waits so long for more */
    pl_retry_policy retry;
    bool reject_halts;      /* a refused record stops the pipeline, instead of becoming a dead letter */
    bool dead_letters;      /* this is the dead-letter sink */
    const pl_txn_sink *txn; /* NULL: at least once */
} pl_sink_setup;

typedef struct pl_load { /* memory that records stand in, shared by the writes cut from it */
    uint32_t references;
    const pl_record **records;
    pl_flow_batch **batches; /* one reference each */
    uint32_t batch_count, batch_capacity;
    size_t bytes;                 /* what the batches and those they point into hold, about */
    const pl_flow_batch *weighed; /* the last of those that was counted */
} pl_load;

typedef enum { PL_RECORD_OPEN, PL_RECORD_SETTLED, PL_RECORD_AGAIN } pl_record_state;

typedef struct pl_write { /* a run of records on its way into the plugin */
    struct pl_write *next, *previous;
    uint64_t ticket;
    pl_load *load;
    const pl_record **records; /* within the load's */
    uint8_t *states;           /* pl_record_state */
    uint32_t count, open;      /* open: not settled */
    uint64_t
        sequence; /* of its first record, among all that the sink was given: what is written again stays in order */
    uint32_t attempts, failures; /* writes; those of them that failed and may succeed later */
    bool answered;               /* of some of its records the other side took or refused */
} pl_write;

typedef struct pl_settlement { /* what the plugin said, not yet acted upon */
    uint64_t ticket;
    uint32_t first, count;
    bool failed;
    pl_error why;
} pl_settlement;

typedef struct pl_inbox {
    pthread_mutex_t lock;
    pl_settlement *items;
    size_t count, capacity;
    bool lost; /* no memory: the pipeline halts */
} pl_inbox;

typedef struct pl_sink_stage {
    pl_stage stage; /* first */
    pl_sink_setup setup;
    pl_when *when;
    pl_load *gathering;
    uint32_t gathered;
    size_t gathered_bytes;
    size_t held_bytes;            /* of all loads: memory that waits for this sink, about */
    int64_t gathered_ns;          /* monotonic; when its first record came */
    pl_write *queue, *queue_last; /* QUEUED, oldest first; then TAKEN ones live in `taken` */
    pl_write *taken;
    uint32_t queued_count;
    uint64_t next_ticket, sequence; /* sequence: of the next record to be gathered */
    pl_retry retry;
    pl_inbox inbox, working; /* working: swapped out for reading */
    bool ended;
    bool busy;               /* counted in flow->busy_sinks */
    bool initialised, begun; /* of setup.txn */
    int64_t now_ns;
} pl_sink_stage;

/* NULL: error (a bad `when`, or no memory). */
pl_sink_stage *pl_sink_stage_new(pl_flow *flow, const pl_sink_setup *setup, const char *name, pl_error *error);

/* Between sink.c and sink_write.c: */
/* Starts a write of what was gathered; false: no memory. */
bool pl_sink_seal(pl_sink_stage *sink);
/* Acts on what the plugin settled. */
void pl_sink_read_inbox(pl_sink_stage *sink);
/* Gives queued writes to the plugin until one must wait. *resume_ns: when to try again (INT64_MAX: when woken). */
void pl_sink_write_queued(pl_sink_stage *sink, int64_t *resume_ns);
void pl_sink_settle(void *self, uint64_t ticket, uint32_t first, uint32_t count, const pl_error *why);
void pl_sink_drop_writes(pl_sink_stage *sink);

/* sink_transaction.c; only with setup.txn: */
/* Makes ready for what is queued to be written. false: not now, see *resume_ns. */
bool pl_sink_transaction_begin(pl_sink_stage *sink, int64_t *resume_ns);
/* Commits when it is time to. idle: nothing is gathered, queued or taken. True: nothing waits to be committed. */
bool pl_sink_transaction_end(pl_sink_stage *sink, bool idle, int64_t *resume_ns);
/* Begun and not committed: it never will be. */
void pl_sink_transaction_abort(pl_sink_stage *sink);
/* A write or commit failed: the flow starts over or halts. */
void pl_sink_transaction_lost(pl_sink_stage *sink, const pl_error *error);
#endif
