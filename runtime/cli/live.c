#include <base/log.h>
#include <cli/live.h>
#include <inttypes.h>
#include <unistd.h>

/* Log lines come from any thread, the view from the main one. */
static pthread_mutex_t screen = PTHREAD_MUTEX_INITIALIZER;
static int lines_drawn;

static void wipe(void)
{
    if (lines_drawn)
        (void)fprintf(stderr, "\033[%dA\033[J", lines_drawn);
    lines_drawn = 0;
}

static void log_line(void *self, const char *line, size_t len)
{
    (void)self;
    pthread_mutex_lock(&screen);
    wipe();
    (void)fwrite(line, 1, len, stderr);
    if (len == 0 || line[len - 1] != '\n')
        (void)fputc('\n', stderr);
    pthread_mutex_unlock(&screen);
}

void pl_live_begin(pl_live *live, bool wanted)
{
    live->on = wanted && isatty(STDERR_FILENO);
    if (live->on)
        pl_log_capture(log_line, NULL);
}

static const char *const circuits[] = {
    [PL_CIRCUIT_CLOSED] = "", [PL_CIRCUIT_OPEN] = " circuit open", [PL_CIRCUIT_HALF_OPEN] = " circuit half-open"};

static void draw_row(const pl_graph *graph, const pl_node_plan *node, double seconds, uint64_t *last_read)
{
    pl_counts counts = pl_node_counts(graph, node);
    double rate = seconds > 0 ? (double)(counts.read - *last_read) / seconds : 0;
    *last_read = counts.read;
    (void)fprintf(stderr, "%-20.20s %12" PRIu64 " %10.1f %10" PRIu64 " %10" PRIu64 " %8" PRIu64, node->name,
                  counts.read, rate, counts.in_flight, counts.dead_lettered, counts.errors);
    if (counts.newest_unix_ns)
        (void)fprintf(stderr, " %7.1f", (double)(pl_flow_unix(&graph->flow) - counts.newest_unix_ns) / 1e9);
    else
        (void)fprintf(stderr, "%*s", counts.circuit ? 8 : 0, "");
    (void)fprintf(stderr, "%s\n", circuits[counts.circuit]);
    lines_drawn++;
}

void pl_live_draw(pl_live *live, pl_graph *const *graphs, size_t count, int64_t now_ns)
{
    if (!live->on || now_ns - live->last_ns < 1000000000)
        return;
    double seconds = live->last_ns ? (double)(now_ns - live->last_ns) / 1e9 : 0;
    size_t row = 0;
    pthread_mutex_lock(&screen);
    wipe();
    (void)fprintf(stderr, "%-20s %12s %10s %10s %10s %8s %7s\n", "component", "records", "per s", "in flight", "dead",
                  "errors", "lag s");
    lines_drawn = 1;
    for (size_t g = 0; g < count; g++)
        for (size_t i = 0; i < graphs[g]->node_count && row < PL_LIVE_COMPONENTS_MAX; i++, row++)
            draw_row(graphs[g], &graphs[g]->nodes[i], seconds, &live->last_read[row]);
    live->last_ns = now_ns;
    pthread_mutex_unlock(&screen);
}

void pl_live_end(pl_live *live, pl_graph *const *graphs, size_t count)
{
    if (!live->on)
        return;
    pl_live_draw(live, graphs, count, live->last_ns + 1000000000);
    pl_log_capture(NULL, NULL);
    pthread_mutex_lock(&screen);
    lines_drawn = 0; /* what stands there stays */
    pthread_mutex_unlock(&screen);
    live->on = false;
}
