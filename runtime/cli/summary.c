#include <base/fs.h>
#include <base/log.h>
#include <cli/summary.h>
#include <inttypes.h>
#include <record/encode.h>
#include <record/json.h>

enum { SUMMARY_MAX_BYTES = 16 << 20 };

static void add_metric(pl_buf *out, const char *name, double value)
{
    char number[PL_DOUBLE_TEXT_MAX];
    if (!pl_double_format(value, number))
        return;
    if (out->data[out->len - 1] != '{')
        pl_buf_addc(out, ',');
    pl_encode_string(out, PL_S(name));
    pl_buf_printf(out, ":%s", number);
}

/* What the workers of a transform counted, added up; each name where it first occurs. */
static void add_script_metrics(pl_buf *out, const pl_node_plan *node)
{
    const pl_metric *metric;
    for (uint32_t w = 0; w < node->worker_count; w++) {
        for (size_t i = 0; (metric = pl_metrics_at(&((pl_transform_stage *)node->stages[w])->metrics, i)); i++) {
            bool before = false;
            double sum = 0;
            for (uint32_t other = 0; other < node->worker_count; other++) {
                const pl_metric *same =
                    pl_metrics_find(&((pl_transform_stage *)node->stages[other])->metrics, metric->name);
                before = before || (same && other < w);
                sum += same ? atomic_load(&same->value) : 0;
            }
            if (!before)
                add_metric(out, metric->name, sum);
        }
    }
}

static void add_metrics(pl_buf *out, const pl_node_plan *node)
{
    const pl_metric *metric;
    pl_buf_adds(out, ",\"metrics\":{");
    for (size_t i = 0; node->instance && (metric = pl_metrics_at(pl_instance_metrics(node->instance), i)); i++)
        add_metric(out, metric->name, atomic_load(&metric->value));
    if (node->kind == PL_KIND_TRANSFORM && node->spec && node->stages && node->stages[0])
        add_script_metrics(out, node);
    pl_buf_addc(out, '}');
}

static void add_component(pl_buf *out, const pl_graph *graph, const pl_node_plan *node)
{
    pl_counts counts = pl_node_counts(graph, node);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {{"read", counts.read},           {"delivered", counts.delivered},
                {"filtered", counts.filtered},   {"dead_lettered", counts.dead_lettered},
                {"in_flight", counts.in_flight}, {"born", counts.born},
                {"replayed", counts.replayed},   {"retries", counts.retries},
                {"errors", counts.errors},       {"circuit_opened", counts.circuit_opened},
                {"bytes", counts.bytes}};
    pl_encode_string(out, PL_S(node->name));
    pl_buf_printf(out, ":{\"kind\":\"%s\"", pl_kind_name(node->kind));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        pl_buf_printf(out, ",\"%s\":%" PRIu64, rows[i].name, rows[i].value);
    add_metrics(out, node);
    pl_buf_addc(out, '}');
}

static void add_pipeline(pl_buf *out, pl_graph *graph)
{
    pl_encode_string(out, PL_S(graph->setup.pipeline->name));
    pl_buf_printf(out, ":{\"balanced\":%s", pl_graph_balanced(graph) ? "true" : "false");
    if (atomic_load(&graph->flow.halted)) {
        pl_buf_adds(out, ",\"halted_by\":");
        pl_encode_string(out, PL_S(graph->flow.halt_component));
        pl_buf_adds(out, ",\"error\":");
        pl_encode_string(out, PL_S(graph->flow.halt_error.message));
    }
    pl_buf_adds(out, ",\"components\":{");
    for (size_t i = 0; i < graph->node_count; i++) {
        if (i)
            pl_buf_addc(out, ',');
        add_component(out, graph, &graph->nodes[i]);
    }
    pl_buf_adds(out, "}}");
}

bool pl_summary_write(const char *path, pl_graph *const *graphs, size_t count, int status)
{
    pl_error error = {.struct_size = sizeof error};
    pl_buf out = PL_BUF(SUMMARY_MAX_BYTES);
    pl_buf_printf(&out, "{\"status\":%d,\"pipelines\":{", status);
    for (size_t i = 0; i < count; i++) {
        if (i)
            pl_buf_addc(&out, ',');
        add_pipeline(&out, graphs[i]);
    }
    pl_buf_adds(&out, "}}\n");
    bool written = !pl_buf_failed(&out) && pl_fs_replace(path, pl_buf_str(&out), &error) == PL_OK;
    if (!written)
        pl_log(PL_ERROR, NULL, "the summary was not written: %s", pl_buf_failed(&out) ? "too large" : error.message);
    pl_buf_release(&out);
    return written;
}
