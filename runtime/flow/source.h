/* The first stage: drives a source or poller plugin, gives each input its ack, commits what is settled. */
#ifndef PL_FLOW_SOURCE_H
#define PL_FLOW_SOURCE_H
#include <base/codec.h>
#include <buffer/buffer.h>
#include <flow/retry.h>
#include <flow/stage.h>
#include <plugin/instance.h>
#include <record/document.h>

enum { PL_SOURCE_BATCH_RECORDS = 1024, PL_SOURCE_BATCH_BYTES = 512 * 1024, PL_SOURCE_SPARE_BLOCKS = 4 };

typedef struct pl_source_setup {
    pl_instance *instance; /* owned by the caller; outlives the stage */
    pl_codec codec;
    bool validate;             /* the whole payload, before it goes on */
    const pl_path *time_paths; /* the first that is there is the event time */
    size_t time_count;
    pl_retry_policy retry;
    uint32_t rank;            /* place in the pipeline file */
    size_t share_bytes;       /* what it may have out, roughly, although the pipeline's memory is spent */
    pl_buffer *buffer;        /* NULL: none; else the stage's own once it is made: it closes it */
    const pl_txn_source *txn; /* NULL: at least once */
    int64_t buffer_sync_ns; /* what the source handed over waits so long for more before it is synced; 0: not at all */
    /* Asked before a position is committed; it may lower it. false: nothing is to be committed. NULL: no questions. */
    bool (*settled)(void *self, uint32_t lane, uint64_t *position);
    void *self;
} pl_source_setup;

typedef struct pl_poll_item {
    pl_lane *lane;
    uint64_t first;    /* before the first is given */
    uint64_t position; /* last given, to a record or a gap */
    uint64_t marked;   /* the same when the mark was set */
    uint32_t failures; /* this tick */
    bool done;         /* this tick */
    bool quiet;        /* the last tick failed: its warning was given */
} pl_poll_item;

typedef struct pl_poll_state {
    pl_poll_item *items;
    size_t count, current, turn;                 /* turn: the first to be asked */
    pl_retry retry;                              /* of all of them: they are of one host */
    int64_t tick_ns, tick_unix_ns, next_tick_ns; /* monotonic, wall, monotonic */
    /* Ticks by their wall time, 0: none. complete: the newest of which every item is a sample or a gap; marked: waits
     * until all that was emitted up to then is settled; committed: the newest that is. */
    int64_t complete_unix_ns, marked_unix_ns, committed_unix_ns;
    int64_t kept_unix_ns, kept_ns; /* the committed tick that a restart will know; when it was written, monotonic */
    bool started;
} pl_poll_state;

typedef enum { PL_SOURCE_RUNS, PL_SOURCE_DRAINS, PL_SOURCE_ENDED } pl_source_state;

typedef struct pl_source_stage {
    pl_stage stage; /* first */
    pl_source_setup setup;
    pl_source_state state;
    uint32_t spare_count;
    pl_retry retry;
    pl_retry commit_retry; /* of what the plugin, or the core for it, keeps for a restart */
    pl_flow_batch *building;
    pl_ack_block *block;
    pl_ack_block *spare;   /* to be used again: spare_count of them */
    pl_document *document; /* for validation and event time */
    pl_lane **lanes;       /* of this source */
    pl_lane **out;         /* those of them with inputs not settled, or a commit that is due */
    pl_lane **told;        /* those of them that the batch being built has to mark */
    size_t lane_count, lane_capacity, out_count, told_count;
    pl_poll_state poll;
    int64_t resume_ns;
    _Atomic bool waits_for_memory, woken;
    bool held;                       /* counted in flow->held_sources */
    bool lean;                       /* the memory of its busy time was given back */
    bool inside;                     /* see pl_transaction_enter */
    struct pl_source_buffer *buffer; /* NULL: none; see source_buffer.h */
    int64_t arrived_unix_ns;         /* of the record that the buffer gives back; 0: now */
    bool marks_known, marks_wanted;  /* somebody below reads how far lanes have come */
    int64_t busy_ns;                 /* when it last had something to hand over */
    const pl_txn_source *txn;        /* exactly once; NULL: at least once */
    uint64_t most_out;       /* inputs that may be out: what is inside must not keep a commit waiting for long */
    uint64_t settled_before; /* when it entered */
    int64_t entered_ns;
    pl_lane **unsought; /* lanes that the plugin was not told yet where to go on */
    size_t unsought_count;
} pl_source_stage;

/* NULL: no memory. The graph sets name, ports and queues; pl_stage_release_base is part of stage.release. */
pl_source_stage *pl_source_stage_new(pl_flow *flow, const pl_source_setup *setup);
/* [any] Memory came back. */
void pl_source_memory_freed(pl_source_stage *source);

uint64_t pl_source_settled(const pl_source_stage *source); /* [any] inputs */
/* [any] Inputs handed over and not settled. */
uint64_t pl_source_in_flight(const pl_source_stage *source);

/* Between source.c, source_emit.c, source_buffer.c and poller.c: */
/* What the plugin hands over: into the flow, or into the buffer. */
bool pl_source_emit(pl_source_stage *source, const pl_emission *emission);
/* Into the flow. emission->lane and emission->position are not read. false: the batch is full. */
bool pl_source_hand_over(pl_source_stage *source, pl_lane *lane, uint64_t position, const pl_emission *emission);
/* Validates the payload and finds the event time, as the setup says; what is learned of it goes to the arena, which is
 * to hold the payload. PL_REJECT: it is not for this pipeline. */
pl_status pl_source_inspect(const pl_source_setup *setup, pl_document *document, pl_arena *arena, pl_record *record,
                            pl_error *error);
/* A batch and room for one more ack; false: no memory. */
bool pl_source_begin(pl_source_stage *source);
pl_lane *pl_source_open_lane(pl_source_stage *source, pl_str name);
void pl_source_close_lane(pl_source_stage *source, uint32_t lane, int64_t deadline_ns, uint64_t *settled_position);
/* The batch being built says how far the lane has come. */
void pl_source_tell_of(pl_source_stage *source, pl_lane *lane);
/* An input is on its way; false: no memory. */
bool pl_source_track(pl_source_stage *source, pl_lane *lane, pl_ack *ack);
/* The ack of a gap record that so many (at least 1) read; NULL: no memory. */
pl_ack *pl_source_track_gap(pl_source_stage *source, pl_lane *lane, uint64_t position, size_t bytes, uint32_t edges);
/* A block for new acks, used before or new; NULL: no memory. */
pl_ack_block *pl_source_take_block(pl_source_stage *source);
/* Sends what was emitted since the last time. */
void pl_source_publish(pl_source_stage *source);
/* Takes back a block of which nothing is in a lane any more. */
void pl_source_retire_block(pl_source_stage *source, pl_ack_block *block);
/* A commit failed: the next is tried later. */
bool pl_source_pauses_commits(const pl_source_stage *source);
/* What came of one. True: it is done; else it is to be tried again, and the log has it, or the pipeline halts. */
bool pl_source_committed(pl_source_stage *source, pl_status status, const pl_error *error);
/* Takes back what is settled and commits it. */
void pl_source_collect(pl_source_stage *source);
/* The plugin's call should return. */
bool pl_source_full(const pl_source_stage *source);
/* The batch for the flow is full, or nothing should go into it now. */
bool pl_source_batch_full(const pl_source_stage *source);
/* There is memory for more. */
bool pl_source_admitted(const pl_source_stage *source);
/* Tells the others whether this source has more than it may hand over; sinks may free memory for it. */
void pl_source_hold_up(pl_source_stage *source, bool held);
/* Lets the plugin hand over what it has, and deals with its failure: PL_FAILED was dealt with. */
pl_status pl_source_call(pl_source_stage *source, int64_t now_ns, int64_t deadline_ns);
/* Sends what was emitted, and dead letters. false: the transaction does not take it now; it is kept. */
bool pl_source_hand_on(pl_source_stage *source);
/* Nothing more will be handed over. */
void pl_source_end(pl_source_stage *source);
/* As pl_source.next, for a poller. */
pl_status pl_poller_next(pl_source_stage *source, int64_t now_ns, int64_t *resume_ns, pl_error *error);
/* After settled records were taken back: commits the ticks that are settled. */
void pl_poller_collect(pl_source_stage *source);
void pl_poller_release(pl_source_stage *source);

/* source_transaction.c; only with source->txn: */
/* For a call of next: a plugin that waits for its next record must not keep a commit waiting. */
int64_t pl_source_deadline(const pl_source_stage *source, int64_t now_ns);
/* As pl_transaction_enter. */
bool pl_source_enter(pl_source_stage *source);
/* Leaves the transaction once the gate is closed and all that was handed over is settled. */
void pl_source_leave(pl_source_stage *source);
/* Tells the plugin where its new lanes go on, as far as that is known. */
void pl_source_seek(pl_source_stage *source);
/* As pl_source_close_lane: what the lane handed over is committed before, or the flow starts over. */
void pl_source_close_committed(pl_source_stage *source, pl_lane *lane, int64_t deadline_ns, uint64_t *settled_position);
#endif
