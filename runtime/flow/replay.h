/* Puts dead letters back: reads what a source hands over as dead letters, and gives each, as it was, to the component
 * that gave it up. One output (port) a component, of its name; where a source gave up, to all that read it.
 *
 * What was put back is told by its key (ledger.h) once it is settled, delivered or a dead letter again; a letter of
 * this very run is not read by it. What is left where it is (not chosen, nobody to take it) keeps the source from
 * committing beyond it: pl_replay_settled is that source's pl_source_setup.settled. */
#ifndef PL_FLOW_REPLAY_H
#define PL_FLOW_REPLAY_H
#include <flow/ledger.h>
#include <flow/source.h>

typedef struct pl_replay_target { /* who takes letters */
    const char *name;
    const pl_source_setup *intake; /* a source's: its letters are checked as it checks what it reads; NULL: no source */
    const char *held_by; /* a transform at or below it, whose state is another process's; NULL: it can take them */
} pl_replay_target;

typedef struct pl_replay_setup {
    const pl_replay_target *targets; /* outlive the stage */
    size_t target_count;
    pl_ledger *ledger;  /* likewise */
    const char *stage;  /* only letters of this component; NULL: all */
    const char *reason; /* only those whose reason contains this; NULL: all */
    uint64_t limit;     /* so many at most; 0: all */
    bool dry_run;       /* only counts: nothing is put back, and nothing committed */
} pl_replay_setup;

typedef enum {
    PL_LETTER_PUT_BACK,   /* or would be, in a dry run */
    PL_LETTER_BEFORE,     /* it was put back before */
    PL_LETTER_NOT_CHOSEN, /* by stage, reason or limit */
    PL_LETTER_NO_STAGE,   /* the pipeline has no component of that name */
    PL_LETTER_HELD,       /* see held_by */
    PL_LETTER_UNREADABLE,
    PL_LETTER_FATES
} pl_letter_fate;

typedef struct pl_replay_tally { /* letters alike */
    char *component, *reason; /* the reason's first line, at most 160 bytes; "": of several, once there are too many */
    pl_letter_fate fate;
    const char *held_by;
    uint64_t count;
} pl_replay_tally;
enum { PL_REPLAY_TALLIES = 1000 };

typedef struct pl_replay_stage pl_replay_stage;
/* NULL: no memory. The graph sets name, ports and queues; see stage.h for the rest. */
pl_replay_stage *pl_replay_stage_new(pl_flow *flow, const pl_replay_setup *setup);
bool pl_replay_settled(void *stage, uint32_t lane, uint64_t *position); /* [the reading source's thread] */

/* [main] Once the stage is done: */
uint64_t pl_replay_count(const pl_replay_stage *replay, pl_letter_fate fate);
const pl_replay_tally *pl_replay_tallies(const pl_replay_stage *replay, size_t *count);
const char *pl_replay_unreadable(const pl_replay_stage *replay); /* the first of them, and why */
#endif
