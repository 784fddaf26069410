/* The live view on a terminal: a line a component below the log. */
#ifndef PL_CLI_LIVE_H
#define PL_CLI_LIVE_H
#include <graph/graph.h>

enum { PL_LIVE_COMPONENTS_MAX = 256 };

typedef struct pl_live {
    bool on;
    uint64_t last_read[PL_LIVE_COMPONENTS_MAX];
    int64_t last_ns;
} pl_live;

/* Draws only if stderr is a terminal and `wanted`. From now on log lines go above the view. */
void pl_live_begin(pl_live *live, bool wanted);
/* At most once a second. */
void pl_live_draw(pl_live *live, pl_graph *const *graphs, size_t count, int64_t now_ns);
/* Leaves the last state standing. */
void pl_live_end(pl_live *live, pl_graph *const *graphs, size_t count);
#endif
