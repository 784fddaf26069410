/* `delivery: exactly_once`: what the sources and the one sink share about the transaction that is open.
 *
 * A source enters the transaction when it hands over its first batch. When a commit is due the sink closes the gate:
 * sources hand over nothing more, and each leaves, with its positions, once all that it handed over is settled. Then
 * nothing is inside but what the sink has written, and the sink commits it with all the positions, and opens the gate.
 * So no input is in two transactions, whatever came of it. */
#ifndef PL_FLOW_TRANSACTION_H
#define PL_FLOW_TRANSACTION_H
#include <base/buf.h>
#include <flow/flow.h>

typedef struct pl_transaction_ask { /* where a lane is to go on: the sink knows */
    pl_lane *lane;
    uint64_t position; /* UINT64_MAX: where the source itself would begin */
    bool answered;
} pl_transaction_ask;

typedef struct pl_transaction {
    pl_flow *flow;
    struct pl_stage *sink;
    int64_t every_ns;
    bool needs_token;              /* the source's group keeps the positions */
    void (*committed)(void *self); /* [the sink's thread] Everything that was handed over is settled, and visible */
    void *self;
    _Atomic bool closed;    /* the gate; written under the lock */
    _Atomic int64_t due_ns; /* monotonic; INT64_MAX: nothing was handed over since the last commit */
    pthread_mutex_t lock;   /* of what follows */
    bool wanted;            /* somebody can't wait until it is due */
    uint32_t inside;        /* sources that have entered and not left */
    pl_txn_position *positions;
    uint32_t position_count, position_capacity;
    pl_buf token;
    pl_transaction_ask *asks;
    size_t ask_count, ask_capacity;
} pl_transaction;

/* [main] NULL: no memory. */
pl_transaction *pl_transaction_new(pl_flow *flow, int64_t every_ns);
void pl_transaction_free(pl_transaction **transaction); /* nulls; NULL allowed */

static inline bool pl_transaction_closed(const pl_transaction *transaction)
{
    return transaction && atomic_load_explicit(&transaction->closed, memory_order_acquire);
}
/* [any] Something was handed over that is not committed. */
static inline bool pl_transaction_dirty(const pl_transaction *transaction)
{
    return atomic_load(&transaction->due_ns) != INT64_MAX;
}
/* [any] The commit is to come now. */
void pl_transaction_want(pl_transaction *transaction);

/* [a source's thread] */

/* Before a batch is handed over. *inside: the caller's own note of whether it has entered. false: the gate is closed;
 * the source is noted when it opens. */
bool pl_transaction_enter(pl_transaction *transaction, bool *inside);
/* All that was handed over is settled; `lanes` have the positions in settled_position, for those with commit_due, which
 * it clears. false: no memory. */
bool pl_transaction_leave(pl_transaction *transaction, pl_lane *const *lanes, size_t count, pl_str token, bool *inside);
/* Asks where the lane is to go on; true once it is known, and then never again. *failed: no memory. */
bool pl_transaction_where(pl_transaction *transaction, pl_lane *lane, uint64_t *position, bool *failed);
/* The lane is given up before it was known: nobody asks any more. */
void pl_transaction_forget(pl_transaction *transaction, const pl_lane *lane);

/* [the sink's thread] */

/* A lane that somebody asks about; NULL: none. */
pl_lane *pl_transaction_asked(pl_transaction *transaction);
void pl_transaction_answer(pl_transaction *transaction, const pl_lane *lane, uint64_t position);
/* Something is written that no source handed over, a timer's record: it is committed in its time, too. */
void pl_transaction_begun(pl_transaction *transaction, int64_t now_ns);
/* Closes the gate if a commit is due, wanted, or `last`; then true once every source has left. */
bool pl_transaction_gathered(pl_transaction *transaction, bool last, int64_t now_ns);
/* It is committed: the next one may begin. */
void pl_transaction_open(pl_transaction *transaction);
#endif
