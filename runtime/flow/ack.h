/* Who is told when a record is done with. Every input of a source has one pl_ack; every child, on every edge, holds one
 * reference to it. When the last is dropped the input is settled, and the strongest outcome it met counts once:
 * dead-lettered over delivered over filtered.
 *
 * [any] All but the allocation: lock-free. Nothing may touch an ack after dropping its own reference. */
#ifndef PL_FLOW_ACK_H
#define PL_FLOW_ACK_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pl_stage;

typedef enum {
    PL_OUTCOME_FILTERED = 0, /* nobody wanted it */
    PL_OUTCOME_DELIVERED = 1,
    PL_OUTCOME_DEAD = 2
} pl_outcome;

enum { PL_ACK_REFERENCES = 0xFFFFFF }; /* their part of an ack's word */

typedef struct pl_ack {
    _Atomic uint32_t word;  /* low 24 bits: references; above: the outcomes met */
    _Atomic uint32_t holds; /* script states that this input changed and that are not on disk yet */
    uint64_t position;
    struct pl_stage *source; /* told when the input is settled; NULL in a group */
    struct pl_ack_block *block;
    struct pl_ack **parents; /* a group: what it stands for; else NULL */
    uint32_t parent_count;
    union {
        uint32_t parent_capacity; /* a group's */
        uint32_t lane;            /* an input's: its index */
    };
} pl_ack;

/* The acks of one source batch, in one piece of memory. Owned by the source stage, counted by it alone. */
typedef struct pl_ack_block {
    struct pl_ack_block *next; /* in a list of the source's */
    uint32_t count, capacity, popped;
    pl_ack acks[];
} pl_ack_block;

pl_ack_block *pl_ack_block_new(uint32_t capacity); /* NULL: no memory */
/* One more input with one reference, held by the caller; the block has room for it. */
pl_ack *pl_ack_block_add(pl_ack_block *block, struct pl_stage *source, uint64_t position);

void pl_ack_add(pl_ack *ack, uint32_t references); /* NULL allowed, as everywhere here */
/* Drops one reference. The source of an input that is now settled is marked, not woken: whoever dropped references
 * calls pl_flow_tell_settled when its step is over, so that a source is woken once for many records. */
void pl_ack_done(pl_ack *ack, pl_outcome outcome);
/* The holder of one reference hands it on to `references` others; with none the input was filtered here. */
void pl_ack_pass(pl_ack *ack, uint32_t references);
/* Holds keep an input from being committed although it is delivered. Only on inputs, not on groups, which may be gone
 * before the hold is: hold the leaves. */
void pl_ack_hold(pl_ack *input);
void pl_ack_release(pl_ack *input); /* marks the source, as pl_ack_done does */
static inline uint32_t pl_ack_references(const pl_ack *ack)
{
    return atomic_load_explicit(&ack->word, memory_order_acquire) & PL_ACK_REFERENCES;
}
/* Settled and its state on disk; *outcome is then final. */
bool pl_ack_settled(const pl_ack *ack, pl_outcome *outcome);

/* The groups of a flow that are not done. One that is ended before its time leaves some: the records that hold them are
 * dropped without a word. */
typedef struct pl_ack_groups {
    pthread_mutex_t lock;
    struct pl_ack_group *first;
} pl_ack_groups;

bool pl_ack_groups_init(pl_ack_groups *groups);
void pl_ack_groups_release(
    pl_ack_groups *groups); /* once nothing of the flow is left: frees them, and tells no parent */

/* A group stands for several inputs (a deferred join): one reference, the caller's. NULL: no memory.
 * It frees itself when its last reference goes, and drops one reference of each parent. */
pl_ack *pl_ack_group_new(pl_ack_groups *groups);
/* Frees it and tells no parent. */
void pl_ack_group_drop(pl_ack *group);
/* Adds a parent (NULL is skipped), taking a reference on it. Only before the group is shared. false: no memory. */
bool pl_ack_group_add(pl_ack *group, pl_ack *parent);
#endif
