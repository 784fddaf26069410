/* A bounded ring of packets from one stage to one other: one producer, one consumer, no lock. */
#ifndef PL_FLOW_QUEUE_H
#define PL_FLOW_QUEUE_H
#include <flow/batch.h>

struct pl_stage;
enum { PL_QUEUE_PACKETS = 16 }; /* a power of two */

typedef struct pl_queue {
    struct pl_stage *producer, *consumer;
    const uint32_t *sources; /* ranks of the sources whose lanes come this way */
    size_t source_count;
    _Atomic uint32_t head, tail; /* head: next to pop; tail: next free */
    _Atomic bool producer_waits, closed;
    pl_packet packets[PL_QUEUE_PACKETS];
} pl_queue;

/* [producer] false: full; the producer is woken when half of it is free again. */
bool pl_queue_push(pl_queue *queue, const pl_packet *packet);
/* [producer] Nothing more will come. */
void pl_queue_close(pl_queue *queue);
/* [consumer] false: empty now. */
bool pl_queue_pop(pl_queue *queue, pl_packet *packet);
/* [consumer] Closed and empty. */
bool pl_queue_ended(const pl_queue *queue);
bool pl_queue_empty(const pl_queue *queue); /* [any] a glance */
#endif
