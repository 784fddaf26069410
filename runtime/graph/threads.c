/* The driver of production: a thread a stage. */
#include <base/log.h>
#include <base/mem.h>
#include <errno.h>
#include <graph/graph.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef struct pl_runner { /* one stage's thread */
    pl_stage *stage;
    struct pl_driver *driver;
    pthread_t thread;
    _Atomic uint32_t asleep; /* what the thread sleeps on: 1 while it does, or is about to */
    bool started;
} pl_runner;

struct pl_driver {
    pl_runner *runners;
    uint32_t count;
    _Atomic uint32_t running;
    _Atomic bool stopped, aborted;
    void (*changed)(void *self);
    void *self;
};

/* A condition variable with its mutex takes three system calls to hand a record to a sleeping thread; this takes two,
 * and none when the thread is at work: it looks at `noted`, which is set by now, before it sleeps. */
static void wake(void *self)
{
    pl_runner *runner = self;
    if (atomic_load(&runner->asleep) && atomic_exchange(&runner->asleep, 0))
        (void)syscall(SYS_futex, &runner->asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void rest(void *self, int64_t until_ns)
{
    pl_runner *runner = self;
    struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000}; /* monotonic */
    atomic_store(&runner->asleep, 1);
    while (!atomic_load(&runner->stage->noted) && atomic_load(&runner->asleep))
        if (syscall(SYS_futex, &runner->asleep, FUTEX_WAIT_BITSET_PRIVATE, 1, until_ns == INT64_MAX ? NULL : &until,
                    NULL, FUTEX_BITSET_MATCH_ANY) != 0 &&
            errno != EINTR)
            break;
    atomic_store(&runner->asleep, 0);
}

static void *run(void *self)
{
    pl_runner *runner = self;
    pl_stage *stage = runner->stage;
    for (;;) {
        (void)pl_stage_take_note(stage);
        pl_stepped step = stage->step(stage, pl_flow_now(stage->flow));
        if (step.state == PL_STEP_DONE)
            break;
        if (step.state == PL_STEP_IDLE && !atomic_load(&stage->noted))
            rest(runner, step.resume_ns);
    }
    struct pl_driver *driver = runner->driver;
    if (atomic_fetch_sub(&driver->running, 1) == 1)
        driver->changed(driver->self);
    return NULL;
}

static void on_halt(void *self)
{
    pl_graph *graph = self;
    graph->driver->changed(graph->driver->self);
}

static void init_runner(pl_runner *runner, pl_stage *stage, struct pl_driver *driver)
{
    runner->stage = stage;
    runner->driver = driver;
    stage->wake = wake;
    stage->rest = rest;
    stage->driver = runner;
}

uint32_t pl_graph_stage_count(const pl_graph *graph)
{
    uint32_t count = 0;
    for (size_t i = 0; i < graph->node_count; i++)
        count += graph->nodes[i].worker_count;
    return count;
}

static pl_status start_threads(struct pl_driver *driver, pl_error *error)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    pl_status status = PL_OK;
    for (uint32_t i = 0; status == PL_OK && i < driver->count; i++) {
        pl_runner *runner = &driver->runners[i];
        if (pthread_create(&runner->thread, NULL, run, runner) != 0)
            status = pl_fail(error, PL_HALT, "can't start a thread for '%s'", runner->stage->name);
        else
            runner->started = true;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    for (uint32_t i = 0; i < driver->count; i++)
        if (!driver->runners[i].started)
            atomic_fetch_sub(&driver->running, 1); /* or the graph would never have ended */
    return status;
}

pl_status pl_graph_start(pl_graph *graph, void (*changed)(void *self), void *self, pl_error *error)
{
    uint32_t count = pl_graph_stage_count(graph);
    struct pl_driver *driver = pl_calloc(1, sizeof *driver + count * sizeof(pl_runner));
    if (!driver)
        return pl_fail(error, PL_HALT, "no memory");
    graph->driver = driver;
    driver->runners = (pl_runner *)(driver + 1);
    driver->changed = changed;
    driver->self = self;
    atomic_init(&driver->running, count);
    graph->flow.on_halt = on_halt;
    graph->flow.self = graph;
    for (size_t i = 0; i < graph->node_count; i++)
        for (uint32_t w = 0; w < graph->nodes[i].worker_count; w++)
            init_runner(&driver->runners[driver->count++], graph->nodes[i].stages[w], driver);
    return start_threads(driver, error);
}

bool pl_graph_ended(const pl_graph *graph)
{
    return !graph->driver || atomic_load(&graph->driver->running) == 0;
}

static void note_all(pl_graph *graph)
{
    for (uint32_t i = 0; graph->driver && i < graph->driver->count; i++)
        pl_stage_note(graph->driver->runners[i].stage);
}

static void interrupt(pl_graph *graph, bool sinks_too)
{
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].instance && (sinks_too || graph->nodes[i].kind == PL_KIND_SOURCE))
            pl_instance_interrupt(graph->nodes[i].instance);
}

void pl_graph_stop(pl_graph *graph)
{
    if (!graph->driver || atomic_exchange(&graph->driver->stopped, true))
        return;
    atomic_store(&graph->flow.stopping, true);
    interrupt(graph, false);
    note_all(graph);
}

void pl_graph_reopen(pl_graph *graph)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        const pl_node_plan *node = &graph->nodes[i];
        const pl_reopen *reopen = node->instance && node->component->extension
                                      ? node->component->extension(pl_instance_self(node->instance), "pl.reopen/1")
                                      : NULL;
        if (reopen)
            reopen->reopen(pl_instance_self(node->instance));
    }
}

void pl_graph_abort(pl_graph *graph)
{
    if (!graph->driver || atomic_exchange(&graph->driver->aborted, true))
        return;
    atomic_store(&graph->flow.stopping, true);
    atomic_store(&graph->flow.aborting, true);
    interrupt(graph, true);
    note_all(graph);
}

void pl_graph_join(pl_graph *graph)
{
    for (uint32_t i = 0; graph->driver && i < graph->driver->count; i++) {
        pl_runner *runner = &graph->driver->runners[i];
        if (runner->started)
            (void)pthread_join(runner->thread, NULL);
        runner->started = false;
    }
}

void pl_graph_free_driver(pl_graph *graph)
{
    for (uint32_t i = 0; graph->driver && i < graph->driver->count; i++) {
        pl_runner *runner = &graph->driver->runners[i];
        runner->stage->wake = NULL;
        runner->stage->rest = NULL;
    }
    pl_free(graph->driver);
    graph->driver = NULL;
}
