/* Stages wired by hand, driven by a small seeded scheduler under a virtual clock; sources and sinks are structs of the
 * test. Steps that must work (making, wiring) fail the running test when they do not.
 *
 *     kit kit;
 *     kit_open(&kit, 1);
 *     kit_source_stub source = { .count = 10 };
 *     kit_sink_stub sink = { .async = true };
 *     pl_source_stage *in = kit_add_source(&kit, "in", &source, NULL);
 *     pl_sink_stage *out = kit_add_sink(&kit, "out", &sink, NULL);
 *     kit_connect(&kit, &in->stage, NULL, &out->stage);
 *     kit_letters(&kit, &letters);
 *     assert_true(kit_run(&kit, 10000));
 *     kit_close(&kit);
 */
#ifndef TEST_FLOW_SUPPORT_H
#define TEST_FLOW_SUPPORT_H
#include <flow/sink.h>
#include <flow/source.h>
#include <flow/transform.h>
/* cmocka.h wants these before itself. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { KIT_STAGES = 16, KIT_QUEUES = 64, KIT_LOG = 1 << 15 };

#define KIT_T0 1700000000000000000LL /* wall clock when a kit is opened */

typedef struct kit {
    pl_flow flow;
    pl_virtual_clock clock;
    pl_random random;
    pl_stage *stages[KIT_STAGES];
    pl_instance *instances[KIT_STAGES]; /* NULL: a transform */
    int64_t resume_ns[KIT_STAGES];
    bool done[KIT_STAGES];
    size_t count;
    pl_queue *queues[KIT_QUEUES];
    size_t queue_count;
    uint32_t ranks[KIT_STAGES];
    uint64_t steps;
    char log[8192];                      /* the first lines that were logged */
    void (*after_step)(struct kit *kit); /* NULL, or looks at every step */
    void *self;
} kit;

void kit_open(kit *kit, uint64_t seed);
/* The instances are destroyed, then the stages; what they held of the memory budget must come back. */
void kit_close(kit *kit);

/* ---- a source that counts ------------------------------------------------ */

typedef struct kit_source_stub {
    uint32_t count;      /* records it hands over in all */
    uint32_t a_call;     /* records a call of next; 0: 10 */
    uint32_t lanes;      /* 0: 1 */
    int64_t spacing_ns;  /* event time from one record to the next; 0: a second */
    const char *payload; /* printf format with one %u, the record's number from 0; NULL: {"n":%u} */
    /* Called before anything is emitted; NULL: no trouble. PL_OK: go on. */
    pl_status (*trouble)(struct kit_source_stub *stub, int64_t *resume_ns, pl_error *error);
    void *self;
    /* What happened: */
    const pl_host *host;
    uint32_t lane[8];
    uint32_t given;
    uint64_t committed[8]; /* by place in lane: greatest position; UINT64_MAX: none */
    uint32_t commits, commits_tried, calls;
    pl_status commit_status; /* what commit returns (PL_FAILED: class PL_RETRY) */
    bool destroyed;
} kit_source_stub;

/* Record n is in lane n % lanes at position n. */
pl_source_stage *kit_add_source(kit *kit, const char *name, kit_source_stub *stub, const pl_source_setup *more);

/* A component of the test's own: `config` is what its create is given. */
pl_source_stage *kit_add_source_of(kit *kit, const char *name, const pl_component *component, void *config,
                                   const pl_source_setup *more);

/* ---- a poller ------------------------------------------------------------ */

typedef struct kit_poll_stub {
    size_t count;     /* items; 0: 1 */
    int64_t every_ns; /* 0: 10 s */
    /* What the next poll of the item comes to; NULL or PL_OK: a sample {"item":INDEX,"n":POLLS}. */
    pl_status (*answer)(struct kit_poll_stub *stub, size_t index, pl_error *error);
    uint32_t commit_fails; /* so many of the next commits fail (class PL_RETRY) */
    void *self;
    /* What happened: */
    const pl_host *host;
    uint32_t calls;         /* of poll, whatever the item */
    uint32_t polls;         /* of item 0 */
    int64_t polled_ns[256]; /* monotonic, of item 0 */
    uint32_t asked[64];     /* by item */
    uint32_t samples[64];   /* by item */
    int64_t ticked_unix_ns; /* of the newest poll */
    int64_t committed_unix_ns;
    uint32_t commits;
} kit_poll_stub;

pl_source_stage *kit_add_poller(kit *kit, const char *name, kit_poll_stub *stub, const pl_source_setup *more);

/* ---- a sink that remembers ------------------------------------------------- */

typedef struct kit_sink_stub {
    bool async; /* settles in flush, or when the test does; else in write */
    bool mute;  /* async, and flush settles nothing either */
    bool late;  /* async, and flush settles only when it is given time (not under the seeded flow) */
    /* Called first by write; NULL: no trouble. PL_OK: take it. */
    pl_status (*trouble)(struct kit_sink_stub *stub, const pl_batch *batch, pl_error *error);
    void *self;
    /* What happened: */
    const pl_host *host;
    uint32_t writes, flushes;
    uint32_t long_flushes; /* that were given time while something was open */
    struct {
        uint64_t ticket;
        uint32_t count;
    } open[64]; /* async: taken, not settled */
    uint32_t open_count;
    char text[KIT_LOG][64]; /* payloads in the order they were settled */
    uint32_t text_count;
    uint32_t sizes[KIT_LOG]; /* of each write */
    bool destroyed;
} kit_sink_stub;

pl_sink_stage *kit_add_sink(kit *kit, const char *name, kit_sink_stub *stub, const pl_sink_setup *more);
pl_sink_stage *kit_add_sink_of(kit *kit, const char *name, const pl_component *component, void *config,
                               const pl_sink_setup *more);
/* Remembers the records of the batch as settled, and settles them. */
void kit_take(kit_sink_stub *stub, const pl_batch *batch, uint32_t first, uint32_t count);

pl_transform_stage *kit_add_transform(kit *kit, const char *name, const char *lua, const pl_transform_setup *more);

/* ---- wiring and running ------------------------------------------------------ */

/* Sources are to be added before anything else. */
void kit_connect(kit *kit, pl_stage *from, const char *port, pl_stage *to);
/* A dead-letter sink for all stages that are there. */
pl_sink_stage *kit_letters(kit *kit, kit_sink_stub *stub);
pl_sink_stage *kit_letters_of(kit *kit, const pl_component *component, void *config, const pl_sink_setup *more);
/* Until all stages are done (true), nothing can happen any more, or so many steps were taken. */
bool kit_run(kit *kit, uint64_t steps);
/* Until so many nanoseconds of virtual time are over. */
void kit_run_for(kit *kit, int64_t ns);
/* The stage's pipeline stops; until all is done. */
void kit_stop(kit *kit, pl_stage *source);
/* One step of one stage, whoever's turn it is. */
pl_stepped kit_step(kit *kit, pl_stage *stage);
/* read = delivered + filtered + dead_lettered + in_flight. */
void kit_expect(const pl_stage *stage, uint64_t read, uint64_t delivered, uint64_t filtered, uint64_t dead_lettered);
/* The settled payloads, joined by a blank. */
const char *kit_text(const kit_sink_stub *stub);
#endif
