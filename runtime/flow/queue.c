#include <flow/queue.h>
#include <flow/stage.h>

bool pl_queue_push(pl_queue *queue, const pl_packet *packet)
{
    uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    if (tail - atomic_load(&queue->head) == PL_QUEUE_PACKETS) {
        /* Say that we wait, then look again: a pop between the two would otherwise wake nobody. */
        atomic_store(&queue->producer_waits, true);
        if (tail - atomic_load(&queue->head) == PL_QUEUE_PACKETS)
            return false;
        atomic_store(&queue->producer_waits, false);
    }
    queue->packets[tail % PL_QUEUE_PACKETS] = *packet;
    atomic_store(&queue->tail, tail + 1);
    pl_stage_note(queue->consumer);
    return true;
}

void pl_queue_close(pl_queue *queue)
{
    atomic_store(&queue->closed, true);
    pl_stage_note(queue->consumer);
}

bool pl_queue_pop(pl_queue *queue, pl_packet *packet)
{
    uint32_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    if (head == atomic_load(&queue->tail))
        return false;
    *packet = queue->packets[head % PL_QUEUE_PACKETS];
    atomic_store(&queue->head, head + 1);
    /* It waits since the ring was full, so the ring gets down to here: one waking for several packets. */
    if (atomic_load(&queue->producer_waits) && atomic_load(&queue->tail) - head - 1 <= PL_QUEUE_PACKETS / 2 &&
        atomic_exchange(&queue->producer_waits, false))
        pl_stage_note(queue->producer);
    return true;
}

bool pl_queue_empty(const pl_queue *queue)
{
    return atomic_load(&queue->head) == atomic_load(&queue->tail);
}

bool pl_queue_ended(const pl_queue *queue)
{
    return atomic_load(&queue->closed) && pl_queue_empty(queue);
}
