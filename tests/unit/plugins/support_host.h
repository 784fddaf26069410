/* A host for plugin unit tests: loads the built NAME.so as the loader would, gives it a pl_host whose every callback is
 * real but small, and keeps what the plugin handed over, settled and logged for the test to look at.
 *
 *     stub *host = stub_open("file", STUB_SINK);
 *     stub_create(host, "{ path: out.jsonl }");
 *     stub_write(host, (const char *[]){ "{\"n\":1}", NULL });
 *     assert_int_equal(stub_settled(host, 0), STUB_DURABLE);
 *     stub_close(&host);
 *
 * A step that must work (opening, creating, allocating) fails the running cmocka test when it does not. Captures are
 * guarded by one mutex, so a plugin may settle, log and wake from threads of its own; the test reads them between
 * calls.
 */
#ifndef PL_TEST_SUPPORT_HOST_H
#define PL_TEST_SUPPORT_HOST_H
/* cmocka.h wants these before itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <plumbline/plugin.h>

typedef enum { STUB_SOURCE, STUB_SINK } stub_side; /* a poller is a source */

typedef struct stub_emission { /* a deep copy; lives until stub_close or stub_clear */
    pl_emission envelope;      /* as emitted, its pointers into the copy */
    char *json;                /* payload, or the fields written as one JSON object, NUL-ended; NULL: a tombstone */
} stub_emission;

/* What became of a record given to a sink; otherwise the PL_RETRY ... PL_BAD_CONFIG it was settled with. */
enum { STUB_OUT = -1, STUB_DURABLE = 0 };

typedef struct stub stub;
typedef struct stub_lane {
    char *name;
    uint64_t settled; /* what lane_close tells; UINT64_MAX until the test sets it */
    bool closed;
} stub_lane;

struct stub {
    pl_host host; /* first: cast back */
    const pl_plugin *plugin;
    const pl_component *component;
    void *self;     /* NULL until stub_create succeeded */
    void *config;   /* component->config_size bytes */
    pl_error error; /* of the last call made through the stub */

    bool real_time;        /* true: now_ns and unix_ns are the system's; else the two below */
    int64_t now, unix_now; /* moved by the test (stub_advance) */

    size_t emit_limit; /* emit returns false once so many were emitted; 0: never */
    stub_emission *emitted;
    size_t emitted_count, emitted_room;
    stub_lane *lanes; /* index = what lane_open returned */
    size_t lane_count, lane_room;

    struct stub_batch *batches; /* index = ticket */
    size_t batch_count, batch_room;

    char **logs; /* "warn: text" */
    size_t log_count, log_room;
    size_t wakes;
    struct stub_private *private;
};

/* ---- Life --------------------------------------------------------------- */

/* Loads PL_BUILD_DIR/plugins/NAME.so and picks its source or sink. */
stub *stub_open(const char *plugin, stub_side side);
/* Fills the config from a YAML flow or block mapping by the component's own options, runs check and create.
 * stub_try_create returns what they said (host->error holds it) instead of failing the test. */
void stub_create(stub *host, const char *with_yaml);
pl_status stub_try_create(stub *host, const char *with_yaml);
/* A fresh instance refuses these options: PL_BAD_CONFIG names this option, and its message contains the part. */
void stub_refuses(stub *host, const char *with_yaml, const char *option, const char *part);
/* The same from a config struct the test filled by hand; copied. */
pl_status stub_try_create_struct(stub *host, const void *config);
/* interrupt (when there is one) and destroy; what was captured stays. */
void stub_destroy(stub *host);
/* destroy and forget everything; nulls the pointer. The in-memory store dies too, unless handed on by stub_reopen. */
void stub_close(stub **host);
/* A restart: destroys the instance and opens the component anew with the same store and clock, captures empty. */
void stub_restart(stub *host, const char *with_yaml);
void stub_clear(stub *host); /* forgets emissions, batches, logs */

/* ---- Time, logs, store -------------------------------------------------- */

void stub_advance(stub *host, int64_t ns);
/* True when a captured log line contains text. */
bool stub_logged(const stub *host, const char *text);
size_t stub_logged_count(const stub *host, const char *text);
/* Makes "pl.store/1" put fail from now on. */
void stub_store_fail(stub *host, bool fail);
/* The sum of what was observed on a metric (gauge: the last), or 0. */
double stub_metric(const stub *host, const char *name);
/* Answers extension(id) with `table`: a stand-in for "pl.http/1" and the like. NULL takes it away, built-in ones too.
 */
void stub_extension(stub *host, const char *id, const void *table);

/* ---- Sources and pollers ------------------------------------------------ */

/* One call of next with a deadline 100 ms off. */
pl_status stub_next(stub *host);
/* Calls next until PL_END, PL_FAILED, or at least `count` emissions; PL_AGAIN moves a virtual clock to resume_ns (and
 * sleeps with a real one). Fails the test after 10,000 calls. Returns the last status. */
pl_status stub_drain(stub *host, size_t count);
pl_status stub_poll(stub *host, size_t index);
pl_status stub_commit(stub *host, uint32_t lane, uint64_t position);
/* JSON text of emission i. */
const char *stub_json(const stub *host, size_t i);

/* ---- Sinks -------------------------------------------------------------- */

typedef struct stub_record { /* what stub_write_records makes records of; only payload is needed */
    const char *payload;     /* NULL: tombstone */
    const char *key, *stream;
    int64_t time_unix_ns;
    const pl_field *headers;
    uint32_t header_count;
} stub_record;

/* Writes one batch of JSON payloads (NULL-ended list) or of records; returns write's status. Deadline 5 s off. */
pl_status stub_write(stub *host, const char *const *payloads);
pl_status stub_write_records(stub *host, const stub_record *records, size_t count);
pl_status stub_flush(stub *host); /* PL_OK when there is none */
/* Record i of the newest batch (or of `ticket`): STUB_OUT, STUB_DURABLE or a class. */
int stub_settled(const stub *host, size_t i);
int stub_settled_in(const stub *host, uint64_t ticket, size_t i);
/* The message it was settled with; "" when durable. */
const char *stub_settled_why(const stub *host, size_t i);
/* How many of the newest batch's records are in that state. */
size_t stub_count(const stub *host, int state);
#endif
