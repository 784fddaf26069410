#include <base/mem.h>
#include <base/str.h>
#include <flow/stage.h>

typedef struct pl_outbox {
    struct pl_outbox *next;
    pl_queue *queue;
    pl_packet packet;
} pl_outbox;

void pl_stage_note(pl_stage *stage)
{
    if (!atomic_exchange(&stage->noted, true) && stage->wake)
        stage->wake(stage->driver);
}

void pl_stage_halt_no_memory(pl_stage *stage)
{
    pl_error error = {.struct_size = sizeof error};
    (void)pl_fail(&error, PL_HALT, "no memory");
    pl_flow_halt(stage->flow, stage->name, &error);
}

bool pl_stage_take_note(pl_stage *stage)
{
    return atomic_exchange(&stage->noted, false);
}

pl_port *pl_stage_port(pl_stage *stage, const char *name)
{
    for (uint32_t i = 0; i < stage->port_count; i++) {
        const char *known = stage->ports[i].name;
        if (name == known || (name && known && strcmp(name, known) == 0))
            return &stage->ports[i];
    }
    return NULL;
}

bool pl_port_wants(const pl_port *port, uint32_t records)
{
    for (uint32_t e = 0; port && e < port->edge_count; e++)
        for (uint32_t q = 0; q < port->edges[e].queue_count; q++) {
            const pl_queue *queue = port->edges[e].queues[q];
            uint64_t record_ns = atomic_load_explicit(&queue->consumer->record_ns, memory_order_relaxed);
            if (pl_queue_empty(queue) || record_ns == 0 || record_ns * records >= PL_STAGE_WORK_NS)
                return true;
        }
    return !port || port->edge_count == 0;
}

bool pl_port_reads_marks(const pl_port *port)
{
    for (uint32_t e = 0; e < port->edge_count; e++) {
        const pl_stage *reader = port->edges[e].queues[0]->consumer;
        if (reader->reads_marks)
            return true;
        for (uint32_t p = 0; p < reader->port_count; p++)
            if (pl_port_reads_marks(&reader->ports[p]))
                return true;
    }
    return false;
}

static bool post(pl_stage *stage, pl_queue *queue, const pl_packet *packet)
{
    if (!stage->outbox && pl_queue_push(queue, packet))
        return true;
    pl_outbox *waiting = pl_calloc(1, sizeof *waiting);
    if (!waiting)
        return false;
    *waiting = (pl_outbox){NULL, queue, *packet};
    if (stage->outbox_last)
        stage->outbox_last->next = waiting;
    else
        stage->outbox = waiting;
    stage->outbox_last = waiting;
    return true;
}

bool pl_stage_drain(pl_stage *stage)
{
    while (stage->outbox) {
        pl_outbox *first = stage->outbox;
        if (!pl_queue_push(first->queue, &first->packet))
            return false;
        stage->outbox = first->next;
        if (!stage->outbox)
            stage->outbox_last = NULL;
        pl_free(first);
    }
    return true;
}

/* The worker that everything with the same value of `by` meets in. Numbers count by their text: 1 and 1.0 differ. */
static uint32_t worker_of(pl_stage *stage, const pl_edge *edge, const pl_record *record)
{
    if (!edge->by)
        return record->lane % edge->queue_count;
    pl_value value;
    pl_error ignored = {.struct_size = sizeof ignored};
    if (!stage->reader)
        stage->reader = pl_json_reader_new();
    if (!stage->reader || pl_json_load(stage->reader, record->payload, PL_JSON_TOUCHED, &ignored) != PL_OK ||
        pl_json_get(stage->reader, edge->by, &value, &ignored) != PL_OK)
        return 0;
    uint64_t hash = value.type == PL_INT    ? (uint64_t)value.as.i * 0x9E3779B97F4A7C15u
                    : value.type == PL_BOOL ? value.as.b
                    : value.type == PL_NIL  ? 0
                                            : pl_str_hash(value.as.s);
    return (uint32_t)((hash ^ hash >> 32) % edge->queue_count);
}

static bool scatter(pl_stage *stage, const pl_edge *edge, pl_flow_batch *batch)
{
    uint32_t workers = edge->queue_count;
    const pl_record **slots = pl_arena_alloc(batch->arena, ((size_t)batch->count * workers + 1) * sizeof(pl_record *));
    uint32_t *counts = pl_arena_alloc(batch->arena, workers * sizeof *counts);
    if (!slots || !counts)
        return false;
    memset(counts, 0, workers * sizeof *counts);
    for (uint32_t i = 0; i < batch->count; i++) {
        uint32_t worker = worker_of(stage, edge, batch->records[i]);
        slots[(size_t)worker * batch->count + counts[worker]++] = batch->records[i];
    }
    pl_flow_batch_ref(batch, workers);
    for (uint32_t w = 0; w < workers; w++) {
        pl_packet packet = {batch, slots + (size_t)w * batch->count, counts[w]};
        if (!post(stage, edge->queues[w], &packet))
            return false;
    }
    return true;
}

bool pl_stage_send(pl_stage *stage, pl_port *port, pl_flow_batch *batch)
{
    /* Readers never look at what scatter adds to the arena for another edge, so the first packet may leave before. */
    bool ok = true;
    pl_packet whole = {batch, (const pl_record *const *)batch->records, batch->count};
    pl_flow_batch_seal(batch);
    for (uint32_t e = 0; ok && port && e < port->edge_count; e++) {
        pl_edge *edge = &port->edges[e];
        if (edge->queue_count > 1) {
            ok = scatter(stage, edge, batch);
        } else {
            pl_flow_batch_ref(batch, 1);
            ok = post(stage, edge->queues[0], &whole);
        }
    }
    pl_flow_batch_unref(batch);
    return ok;
}

bool pl_stage_post(pl_stage *stage, pl_queue *queue, pl_flow_batch *batch)
{
    pl_packet whole = {batch, (const pl_record *const *)batch->records, batch->count};
    pl_flow_batch_seal(batch);
    if (post(stage, queue, &whole))
        return true;
    pl_flow_batch_unref(batch);
    return false;
}

void pl_stage_close(pl_stage *stage)
{
    for (uint32_t p = 0; p < stage->port_count; p++)
        for (uint32_t e = 0; e < stage->ports[p].edge_count; e++)
            for (uint32_t q = 0; q < stage->ports[p].edges[e].queue_count; q++)
                pl_queue_close(stage->ports[p].edges[e].queues[q]);
    if (stage->dead_letters)
        pl_queue_close(stage->dead_letters);
}

bool pl_stage_take(pl_stage *stage, pl_packet *packet, uint32_t *from)
{
    for (uint32_t i = 0; i < stage->input_count; i++) {
        uint32_t input = (stage->next_input + i) % stage->input_count;
        if (pl_queue_pop(stage->inputs[input], packet)) {
            stage->next_input = (input + 1) % stage->input_count;
            if (from)
                *from = input;
            return true;
        }
    }
    return false;
}

bool pl_stage_inputs_ended(const pl_stage *stage)
{
    for (uint32_t i = 0; i < stage->input_count; i++)
        if (!pl_queue_ended(stage->inputs[i]))
            return false;
    return true;
}

void pl_stage_release_base(pl_stage *stage)
{
    while (stage->outbox) {
        pl_outbox *first = stage->outbox;
        stage->outbox = first->next;
        pl_flow_batch_unref(first->packet.batch);
        pl_free(first);
    }
    pl_packet left;
    while (stage->input_count && pl_stage_take(stage, &left, NULL))
        pl_flow_batch_unref(left.batch);
    pl_flow_batch_unref(stage->dead_batch);
    pl_json_reader_free(&stage->reader);
}
