/* A stage: one source, one worker of a transform, or one sink. Drivers (graph/) call its step; a step neither sleeps
 * nor locks (a plugin's own next, write and flush may block up to the deadline they are given). */
#ifndef PL_FLOW_STAGE_H
#define PL_FLOW_STAGE_H
#include <base/random.h>
#include <flow/flow.h>
#include <flow/queue.h>
#include <observe/account.h>
#include <record/json.h>

typedef enum {
    PL_STEP_AGAIN, /* step again at once */
    PL_STEP_IDLE,  /* step again when woken, or at resume_ns */
    PL_STEP_DONE   /* never again */
} pl_step_state;
typedef struct pl_stepped {
    pl_step_state state;
    int64_t resume_ns; /* monotonic; INT64_MAX: only when woken */
} pl_stepped;

/* One way out of a stage to one component, spread over that component's workers. */
typedef struct pl_edge {
    pl_queue **queues; /* one a worker of the target */
    uint32_t queue_count;
    const pl_path *by; /* field that chooses the worker; NULL: the lane does */
} pl_edge;
typedef struct pl_port {
    const char *name; /* NULL: the main output */
    pl_edge *edges;
    uint32_t edge_count;
} pl_port;

enum { PL_STAGE_WORK_NS = 5 * 1000 * 1000 }; /* a batch that waits for more holds no more work than that */

typedef struct pl_stage pl_stage;
struct pl_stage {
    pl_flow *flow;
    const char *name; /* the component's */
    uint32_t worker;
    pl_stepped (*step)(pl_stage *stage, int64_t now_ns);
    void (*release)(pl_stage *stage); /* frees all but the struct's own memory; threads are gone */
    pl_account account;
    pl_queue **inputs;
    uint32_t input_count, next_input;
    pl_port *ports; /* ports[0] is the main one */
    uint32_t port_count;
    pl_queue *dead_letters;    /* NULL: this is the dead-letter sink */
    pl_flow_batch *dead_batch; /* dead letters of this step, see dead_letter.h */
    struct pl_outbox *outbox;  /* packets that found their queue full, oldest first */
    struct pl_outbox *outbox_last;
    pl_json_reader *reader; /* for scattering by a field; made when needed */
    pl_random random;
    /* What a record takes it, about; 0: not known yet, and then nobody keeps records back to hand it more at once. What
     * lies in front of a slow stage lets lanes behind it seem silent. */
    _Atomic uint32_t record_ns;
    bool reads_marks; /* it orders by event time: only those and who is above them have a use for the lanes' progress */
    _Atomic bool noted;
    /* A source's: inputs of it were settled and it was not told yet, see pl_ack_done. [any] */
    _Atomic bool settled;
    pl_stage *next_alike; /* a source's: the next source of the flow; a sink's: the next sink */
    /* The driver's: wakes the thread if it sleeps. Called after `noted` was set. [any] NULL in the seeded scheduler. */
    void (*wake)(void *driver);
    /* [the stage's thread] Sleeps until noted or until_ns; NULL in the seeded scheduler. */
    void (*rest)(void *driver, int64_t until_ns);
    void *driver;
};

/* [any] Something happened that concerns the stage: step it again. */
void pl_stage_note(pl_stage *stage);
/* [the stage's thread] Memory ran out in the middle of something: the pipeline halts. */
void pl_stage_halt_no_memory(pl_stage *stage);
/* Clears the note; true if there was one. The driver calls it before a step. */
bool pl_stage_take_note(pl_stage *stage);

static inline pl_stepped pl_step_again(void)
{
    return (pl_stepped){PL_STEP_AGAIN, 0};
}
static inline pl_stepped pl_step_idle(int64_t resume_ns)
{
    return (pl_stepped){PL_STEP_IDLE, resume_ns};
}
static inline pl_stepped pl_step_done(void)
{
    return (pl_stepped){PL_STEP_DONE, INT64_MAX};
}

/* The stage's own thread only: */

/* The port of that name, or NULL. */
pl_port *pl_stage_port(pl_stage *stage, const char *name);
/* How many references a record sent to the port needs: one an edge. */
static inline uint32_t pl_port_references(const pl_port *port)
{
    return port ? port->edge_count : 0;
}
/* A batch of so many records should go now, though it is not full: somebody who reads the port has nothing waiting, or
 * has enough to do with so many; or nobody reads it. */
bool pl_port_wants(const pl_port *port, uint32_t records);
/* Somebody below wants to know how far lanes have come. Constant once the graph is wired. */
bool pl_port_reads_marks(const pl_port *port);
/* Seals the batch and sends it through all edges of the port, consuming the caller's reference. Each record's ack must
 * already hold one reference an edge. Packets that find a queue full wait in the outbox. false: no memory. */
bool pl_stage_send(pl_stage *stage, pl_port *port, pl_flow_batch *batch);
/* The same for one queue. */
bool pl_stage_post(pl_stage *stage, pl_queue *queue, pl_flow_batch *batch);
/* Tries again what waits; true when nothing waits any more. While something does, the stage takes nothing in. */
bool pl_stage_drain(pl_stage *stage);
/* Closes the queues of all ports and the one to the dead letters. The outbox must be empty. */
void pl_stage_close(pl_stage *stage);
/* The next packet from any input, round robin; *input (may be NULL): which. false: nothing now. */
bool pl_stage_take(pl_stage *stage, pl_packet *packet, uint32_t *input);
bool pl_stage_inputs_ended(const pl_stage *stage);
void pl_stage_release_base(pl_stage *stage);
#endif
