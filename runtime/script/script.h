/* One Lua state running one user script. Used by one thread at a time; nothing in here locks.
 * docs/scripts.md is the same thing from the script author's side. */
#ifndef PL_SCRIPT_SCRIPT_H
#define PL_SCRIPT_SCRIPT_H
#include <base/arena.h>
#include <base/buf.h>
#include <base/clock.h>
#include <base/codec.h>
#include <config/node.h>
#include <record/record.h>

typedef struct pl_script pl_script;

/* What the flow does for a script. All called on the script's thread, within one of the calls below. */
typedef struct pl_script_host {
    void *self;
    /* A record the script gave out, in order. `port` NULL: the main output. `out` is borrowed; its payload lies in the
     * call's arena, or is the very payload of the input (untouched); ack is NULL: the flow sets it. */
    pl_status (*emit)(void *self, const char *port, const pl_record *out, pl_error *error);
    /* defer(at, key, fn): `ref` names fn for pl_script_deferred. PL_AGAIN: (at, key) is already waiting, the script
     * lets go of fn. `script` lets the flow tell the key's lifetime: it is borrowed. */
    pl_status (*defer)(void *self, int64_t at_unix_ns, pl_str key, int ref, pl_error *error);
    /* metric(name, value) of the script: a counter of the component. May be NULL. */
    void (*metric)(void *self, const char *name, double value);
} pl_script_host;

typedef struct pl_script_setup {
    const char *component; /* for log lines */
    const char *path;      /* the file, as named in messages: scripts/accuracy.lua */
    const char *text;      /* inline `lua:` source, or NULL: read path */
    int first_line; /* inline: line in the pipeline file where the text begins, so that path:line is right; else 1 */
    const char *library; /* folder that `require` may load from (scripts/lib), or NULL */
    const pl_node *with; /* the transform's options, or NULL: defaults */
    const pl_node *at;   /* where to point when a required option is missing; NULL: at `with` */
    pl_codec codec;      /* how the records' payloads are read */
    pl_diags *diags;     /* where wrong options are reported (file:line:column) */
    pl_str state;        /* what pl_script_save gave, or null: a fresh `state` */
    const pl_clock *clock;
    const pl_script_host *host; /* lives as long as the script; NULL: for checking only, emits go nowhere */
    uint64_t seed;              /* of math.random */
    size_t memory_bytes;        /* cap of the Lua heap; 0: 256 MiB */
    int64_t time_limit_ns;      /* for one call; 0: 1 s. Measured on `clock` never: on the CPU's own monotonic clock */
} pl_script_setup;

/* Loads and runs the main chunk. NULL: error has the message (script:line: ...), class PL_BAD_CONFIG; option errors are
 * in diags as well. Free with pl_script_free. */
pl_script *pl_script_new(const pl_script_setup *setup, pl_error *error);
/* One that was made for checking only goes to work, before its first call. */
void pl_script_serve(pl_script *script, const pl_script_host *host);
void pl_script_free(pl_script **script); /* nulls; NULL allowed */

/* Appends the help of the script's options, as pl_options_describe writes it for a plugin; nothing when it has none. Of
 * the setup only path (or text), library and first_line count. PL_FAILED: the script does not load. */
pl_status pl_script_describe(const pl_script_setup *setup, pl_buf *out, pl_error *error);

/* What the script declared: true when it has on_record. */
bool pl_script_has_on_record(const pl_script *script);
/* Names of outputs other than the main one are not declared; any name may be emitted to. emits {...}: NULL-ended or
 * NULL. */
const char *const *pl_script_emits(const pl_script *script);
/* Timers asked for by every(): how many, and each one's period in ns (above 0). */
size_t pl_script_timer_count(const pl_script *script);
int64_t pl_script_timer_period(const pl_script *script, size_t index);

/* Each of these runs user code. New payloads are written into `arena` (padded). PL_OK: done, everything given out
 * went through host->emit. PL_FAILED, PL_REJECT: a script error or reject(); what was already emitted for this call
 * must be dropped by the caller; pl_script_reasons has the whole story. State that the call changed stays changed. */
pl_status pl_script_record(pl_script *script, const pl_record *record, pl_arena *arena, pl_error *error);
/* The same of many records, in order, for less each: of all that `next` gives, until it gives NULL (PL_OK) or one
 * failed. That it is asked again means that the record before it was done well. Limits are each record's own. `next`
 * sets the record's arena; it must not call the script. */
typedef const pl_record *(*pl_script_next)(void *self, pl_arena **arena);
pl_status pl_script_records(pl_script *script, pl_script_next next, void *self, pl_error *error);
/* Runs and releases a deferred function. `envelope`: what built records inherit (time, key, stream, headers). */
pl_status pl_script_deferred(pl_script *script, int ref, const pl_record *envelope, pl_arena *arena, pl_error *error);
pl_status pl_script_timer(pl_script *script, size_t index, pl_arena *arena, pl_error *error);
/* Releases a deferred function without running it. */
void pl_script_forget(pl_script *script, int ref);

/* After PL_FAILED: full text, valid until the next call. For an error: `scripts/x.lua:12: message` and, on further
 * lines, the traceback; for reject(): the reasons joined by "; ". */
pl_str pl_script_reasons(const pl_script *script);

/* Appends the `state` table in a stable binary form (own version byte; keys sorted): plain data only - nil, boolean,
 * integer, float, string, decimal, nested tables. PL_FAILED (PL_HALT) names the path of a value that can't be kept. */
pl_status pl_script_save(pl_script *script, pl_buf *out, pl_error *error);
/* Bytes of the Lua heap now. */
size_t pl_script_heap_bytes(const pl_script *script);

/* ---- when: one Lua expression over the record's fields ------------------- */
typedef struct pl_when pl_when; /* one thread at a time */
/* `path` and `line` for messages. NULL: a syntax error, in error. */
pl_when *pl_when_new(const char *expression, const char *path, int line, const pl_clock *clock, pl_error *error);
void pl_when_free(pl_when **when);
/* PL_OK and *pass, or PL_FAILED (PL_REJECT) when the expression raises. Absent fields are nil. */
pl_status pl_when_test(pl_when *when, const pl_record *record, bool *pass, pl_error *error);
#endif
