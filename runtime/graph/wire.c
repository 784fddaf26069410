/* Ports, edges and queues: who reads what of whom. */
#include <base/mem.h>
#include <graph/graph.h>

static pl_status no_memory(pl_error *error)
{
    return pl_fail(error, PL_HALT, "no memory");
}

static pl_port *port_of(pl_stage *stage, const char *name)
{
    pl_port *known = pl_stage_port(stage, name);
    if (known)
        return known;
    pl_port *grown = pl_realloc(stage->ports, stage->port_count + 1, sizeof *grown);
    if (!grown)
        return NULL;
    stage->ports = grown;
    stage->ports[stage->port_count] = (pl_port){.name = name};
    return &stage->ports[stage->port_count++];
}

static pl_queue *queue_between(pl_graph *graph, pl_stage *producer, pl_stage *consumer)
{
    pl_queue *queue = pl_calloc(1, sizeof *queue);
    pl_queue **inputs = pl_realloc((void *)consumer->inputs, consumer->input_count + 1, sizeof *inputs);
    if (inputs)
        consumer->inputs = inputs;
    pl_queue **queues = pl_realloc((void *)graph->queues, graph->queue_count + 1, sizeof *queues);
    if (queues)
        graph->queues = queues;
    if (!queue || !inputs || !queues) {
        pl_free(queue);
        return NULL;
    }
    queue->producer = producer;
    queue->consumer = consumer;
    consumer->inputs[consumer->input_count++] = queue;
    graph->queues[graph->queue_count++] = queue;
    return queue;
}

static pl_status connect(pl_graph *graph, const pl_node_plan *from, pl_stage *producer, const char *port_name,
                         pl_node_plan *to, pl_error *error)
{
    bool gaps = from->kind == PL_KIND_SOURCE && port_name; /* they bring records, not the lanes' progress */
    pl_port *port = port_of(producer, port_name);
    if (!port)
        return no_memory(error);
    pl_edge *edges = pl_realloc(port->edges, port->edge_count + 1, sizeof *edges);
    pl_queue **queues = pl_calloc(to->worker_count, sizeof(pl_queue *));
    if (edges)
        port->edges = edges;
    if (!edges || !queues) {
        pl_free((void *)queues);
        return no_memory(error);
    }
    port->edges[port->edge_count++] =
        (pl_edge){.queues = queues, .queue_count = to->worker_count, .by = to->by_field ? &to->by : NULL};
    for (uint32_t w = 0; w < to->worker_count; w++) {
        queues[w] = queue_between(graph, producer, to->stages[w]);
        if (!queues[w])
            return no_memory(error);
        queues[w]->sources = from->upstream;
        queues[w]->source_count = gaps ? 0 : from->upstream_count;
    }
    return PL_OK;
}

static pl_status wire_inputs(pl_graph *graph, pl_node_plan *node, pl_error *error)
{
    for (size_t f = 0; node->spec && f < node->spec->from_count; f++) {
        const pl_from *from = &node->spec->from[f];
        pl_node_plan *above = &graph->nodes[from->component];
        for (uint32_t w = 0; w < above->worker_count; w++)
            if (connect(graph, above, above->stages[w], from->port, node, error) != PL_OK)
                return PL_FAILED;
    }
    return PL_OK;
}

/* The router hands each component what it gave up, and all that read a source what that one gave up. */
static pl_status wire_replay(pl_graph *graph, pl_error *error)
{
    pl_node_plan *router = graph->back.router;
    if (connect(graph, graph->back.reader, graph->back.reader->stages[0], NULL, router, error) != PL_OK)
        return PL_FAILED;
    for (size_t t = 0; t < graph->back.target_count; t++)
        if (!port_of(router->stages[0], graph->back.targets[t].name))
            return no_memory(error);
    for (size_t i = 0; !graph->setup.replay->dry_run && i < graph->setup.pipeline->count; i++) {
        pl_node_plan *node = &graph->nodes[i];
        if (node->kind == PL_KIND_SOURCE || (int)i == graph->dead_letter)
            continue;
        if (connect(graph, router, router->stages[0], node->name, node, error) != PL_OK)
            return PL_FAILED;
        for (size_t f = 0; f < node->spec->from_count; f++) {
            const pl_node_plan *above = &graph->nodes[node->spec->from[f].component];
            if (above->kind == PL_KIND_SOURCE && !node->spec->from[f].port &&
                connect(graph, router, router->stages[0], above->name, node, error) != PL_OK)
                return PL_FAILED;
        }
    }
    return PL_OK;
}

pl_status pl_graph_wire(pl_graph *graph, pl_error *error)
{
    pl_node_plan *letters = &graph->nodes[graph->dead_letter];
    for (size_t i = 0; i < graph->node_count; i++)
        for (uint32_t w = 0; w < graph->nodes[i].worker_count; w++)
            if (!port_of(graph->nodes[i].stages[w], NULL)) /* the main one comes first, read or not */
                return no_memory(error);
    for (size_t i = 0; i < graph->node_count; i++)
        if (wire_inputs(graph, &graph->nodes[i], error) != PL_OK)
            return PL_FAILED;
    if (graph->setup.replay && wire_replay(graph, error) != PL_OK)
        return PL_FAILED;
    for (size_t i = 0; i < graph->node_count; i++) {
        for (uint32_t w = 0; &graph->nodes[i] != letters && w < graph->nodes[i].worker_count; w++) {
            pl_stage *stage = graph->nodes[i].stages[w];
            stage->dead_letters = queue_between(graph, stage, letters->stages[0]);
            if (!stage->dead_letters)
                return no_memory(error);
        }
    }
    return PL_OK;
}
