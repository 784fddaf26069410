/* plumbline/plugin.h: the whole contract between Plumbline and a plugin.
 *
 * A plugin is a shared object that includes this file, exports pl_plugin_entry
 * and links nothing of Plumbline: everything it may call arrives in a pl_host.
 * docs/plugins.md walks through a complete one.
 *
 * Threads. Each callback carries a tag:
 *   [main]    the control thread, before the flow starts or after it stopped;
 *   [worker]  the instance's own thread: never two calls of one instance at
 *             once, though the OS thread may change between calls;
 *   [any]     concurrent with everything else; must not block.
 *
 * Lifetimes. Arguments are borrowed until the call returns unless a comment
 * says otherwise. Strings are UTF-8 without a terminating NUL unless they are
 * `const char *`; payloads, keys and headers are bytes. A pl_str whose ptr is
 * NULL is null (a tombstone, an absent key); one with len 0 is empty.
 *
 * Growth. Structs that begin with struct_size may grow at the tail within an
 * ABI major: test PL_HAS before reading a member newer than minor 1. Structs
 * marked "frozen" never change.
 *
 * Changelog
 *   0.3  pl.txn/1 of the host, of sources and of sinks; pl_component.extension may be asked with self NULL;
 *        pl.readback/1 of sinks; pl.provision/1; PL_SOURCE_SHARES.
 *   0.2  pl_json.valid, pl_poller.commit.
 *   0.1  first version.
 */
#ifndef PL_PLUGIN_H
#define PL_PLUGIN_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#ifdef __cplusplus
extern "C" {
#endif

#define PL_MAGIC 0x314E4C50u /* "PLN1", little endian */
#define PL_ABI_MAJOR 0u      /* differs from the host's: refused */
#define PL_ABI_MINOR 3u      /* above the host's: refused */
#define PL_HAS(p, m) ((p)->struct_size >= offsetof(__typeof__(*(p)), m) + sizeof((p)->m))

/* ---- Status and errors ------------------------------------------------- */

enum {
    PL_OK = 0,
    PL_AGAIN = 1,  /* nothing now; see the call for who resumes it */
    PL_END = 2,    /* a source that has handed over everything it ever will */
    PL_FAILED = -1 /* the pl_error says why */
};
typedef int32_t pl_status;

enum {
    PL_RETRY = 1, /* the same call may succeed later: the core backs off */
    PL_REJECT,    /* this record (or answer) is bad; others are not affected */
    PL_HALT,      /* credentials refused, schema missing: stop and say so */
    PL_BAD_CONFIG /* the pipeline file asks for something impossible */
};
typedef struct pl_error { /* caller's storage; valid only after PL_FAILED */
    uint32_t struct_size;
    int32_t error_class;     /* PL_RETRY ... PL_BAD_CONFIG */
    int32_t code;            /* plugin's own: HTTP status, rdkafka code; 0: none */
    uint32_t retry_after_ms; /* 0: the core's own backoff */
    char option[64];         /* "brokers[1]": the core adds file:line:column; "" if none */
    char message[256];       /* one line, no trailing full stop or newline */
} pl_error;

/* ---- Values ------------------------------------------------------------ */

typedef struct pl_str { /* frozen */
    const char *ptr;
    size_t len; /* bytes */
} pl_str;

enum {
    PL_NIL,     /* JSON null (an absent field is reported by a `false` return) */
    PL_BOOL,    /* as.b */
    PL_INT,     /* as.i */
    PL_FLOAT,   /* as.f; only ever from a plugin or a script that chose it */
    PL_STR,     /* as.s: UTF-8, decoded */
    PL_DECIMAL, /* as.s: an exact JSON number lexeme, e.g. 107077.69661924685 */
    PL_TIME,    /* as.i: nanoseconds since 1970-01-01T00:00:00Z; written as RFC 3339 UTC */
    PL_BYTES,   /* as.s: bytes; written as base64 */
    PL_JSON     /* as.s: the JSON text of an object or array */
};
typedef struct pl_value { /* frozen */
    int32_t type;
    union {
        bool b;
        int64_t i;
        double f;
        pl_str s;
    } as;
} pl_value;
typedef struct pl_field { /* frozen */
    pl_str name;
    pl_value value;
} pl_field;

/* ---- Records ----------------------------------------------------------- */

typedef struct pl_record pl_record; /* opaque: read it through the host */

enum {
    PL_EMIT_REPLAY = 1u << 0 /* handed over before and already committed: given again
                                so that script state can be rebuilt ("pl.rewind/1") */
};
typedef struct pl_emission { /* what a source hands over: payload bytes, or fields, not both */
    uint32_t struct_size;
    uint32_t lane;          /* from lane_open; the unit of order (partition, feed). Pollers leave it 0 */
    uint64_t position;      /* grows within its lane; pollers leave it 0 */
    int64_t time_unix_ns;   /* event time; 0: the core takes the source's `time:` field, else now */
    pl_str stream;          /* topic, file, API name; may be null */
    pl_str key;             /* may be null */
    pl_str payload;         /* encoded bytes; null with no fields: a tombstone */
    const pl_field *fields; /* written in this order as one JSON object */
    const pl_field *headers;
    uint32_t field_count, header_count;
    uint32_t flags; /* PL_EMIT_* */
} pl_emission;

typedef struct pl_batch { /* what a sink is given */
    uint32_t struct_size;
    uint32_t count;                  /* at least 1 */
    uint64_t ticket;                 /* names this batch in settle */
    const pl_record *const *records; /* live until the last of them is settled */
} pl_batch;

/* ---- Options: declared once, as data ----------------------------------- */

enum {                     /* the C type at `offset` in the config struct: */
       PL_OPT_STR,         /* const char * (NULL: not given and no fallback) */
       PL_OPT_SECRET,      /* const char *; printed as *** everywhere */
       PL_OPT_ENUM,        /* const char *, one of `choices` */
       PL_OPT_PATH,        /* const char *, a file name; relative to the working directory */
       PL_OPT_FIELD,       /* const char *, a path in a record: pair, quotes.USD.price, [0].id */
       PL_OPT_TEMPLATE,    /* const char *, text with {field} holes: price.{pair}; see render */
       PL_OPT_DECIMAL,     /* const char *, an exact decimal number */
       PL_OPT_PERCENT,     /* const char *, exact; "0.5%" arrives as "0.5" */
       PL_OPT_INT,         /* int64_t */
       PL_OPT_DURATION_NS, /* int64_t; "1h30m", "200ms" */
       PL_OPT_SIZE,        /* int64_t bytes; "64MiB", "1kB" */
       PL_OPT_FLOAT,       /* double */
       PL_OPT_BOOL,        /* bool */
       PL_OPT_OBJECT,      /* a nested struct, described by `fields`; `present_offset` tells whether given */
       PL_OPT_LIST,        /* pl_array whose items are element_size apart; `fields` is the one element's pl_option */
       PL_OPT_MAP          /* pl_array of elements that begin with `const char *key`; `fields` as for LIST,
                              the element's own offset being where its value lies after the key */
};
enum { PL_OPT_REQUIRED = 1u << 0, PL_OPT_DEPRECATED = 1u << 1 };
typedef struct pl_array { /* frozen */
    const void *items;
    size_t count;
} pl_array;
typedef struct pl_option {
    const char *name; /* YAML key; NULL for the element of a LIST or MAP */
    const char *doc;
    const char *example;            /* YAML text, or NULL */
    const char *fallback;           /* YAML text; NULL: none. A LIST or MAP takes flow style: "[a, b]" */
    const char *const *choices;     /* ENUM: NULL-ended */
    const struct pl_option *fields; /* OBJECT: field_count options; LIST, MAP: exactly one, the element */
    double min, max;                /* inclusive; equal: unbounded. In the unit of the C type (ns, bytes) */
    int32_t type;                   /* PL_OPT_* */
    uint32_t flags;                 /* PL_OPT_REQUIRED ... */
    uint32_t field_count;
    size_t offset;         /* in the enclosing config struct */
    size_t element_size;   /* LIST, MAP: stride of items; OBJECT: sizeof the nested struct */
    size_t present_offset; /* OBJECT: 0, or 1 + offset of a bool set when the key is given */
} pl_option;

/* ---- The host ----------------------------------------------------------- */

typedef struct pl_metric pl_metric;
enum { PL_COUNTER, PL_GAUGE, PL_HISTOGRAM };
enum { PL_DEBUG, PL_INFO, PL_WARN, PL_ERROR };
typedef struct pl_host pl_host; /* one per instance; lives until destroy returned */
struct pl_host {
    uint32_t struct_size;
    const char *instance; /* the component's name in the pipeline file */
    /* [any] One line, no newline. Rate-limited by the core; never log secrets. */
    void (*log)(const pl_host *, int32_t level, const char *message);
    int64_t (*now_ns)(const pl_host *);  /* [any] monotonic; tests own it */
    int64_t (*unix_ns)(const pl_host *); /* [any] wall clock; tests own it */
    void (*wake)(const pl_host *);       /* [any] call next, write or flush again soon */
    /* [worker] Within next or poll. Copies everything; always takes the record.
     * false: return from next now (buffers are full, or the pipeline stops). */
    bool (*emit)(const pl_host *, const pl_emission *);
    /* [worker] Opens a lane; the name must be stable across restarts. */
    uint32_t (*lane_open)(const pl_host *, pl_str name);
    /* [worker] Also within next. Waits until all that the lane handed over is
     * settled, or the deadline (monotonic ns), and tells the position up to which
     * everything is settled (UINT64_MAX: nothing was ever settled). What is still
     * out is forgotten: its late settles change nothing. */
    void (*lane_close)(const pl_host *, uint32_t lane, int64_t deadline_ns, uint64_t *settled_position);
    pl_str (*payload)(const pl_host *, const pl_record *); /* [worker] encoded bytes; null: tombstone */
    /* [worker] One field; false: absent. The value lives until the next call of
     * field on another record of this instance. */
    bool (*field)(const pl_host *, const pl_record *, pl_str path, pl_value *);
    /* [worker] Lane, position, stream, key, event time and headers (fields are not
     * filled). Lives until the next call of origin. */
    const pl_emission *(*origin)(const pl_host *, const pl_record *);
    /* [worker] Fills a PL_OPT_TEMPLATE from the record's fields; false: a field is absent.
     * Lives until the next call of render. */
    bool (*render)(const pl_host *, const pl_record *, const char *template_text, pl_str *);
    /* [any] Records first .. first+count-1 of a batch, each once; NULL: durable.
     * PL_RETRY gives the record back to the core, which writes it again later. */
    void (*settle)(const pl_host *, uint64_t ticket, uint32_t first, uint32_t count, const pl_error *why);
    /* [main] In create. Name in snake_case without the plugin's prefix, e.g. "reconnects";
     * unit "s", "bytes", "records", "1". Lives as long as the host. */
    pl_metric *(*metric)(const pl_host *, int32_t kind, const char *name, const char *unit, const char *help);
    void (*observe)(pl_metric *, double);                      /* [any] counter: add; gauge: set; histogram: sample */
    const void *(*extension)(const pl_host *, const char *id); /* [any] "pl.http/1"; NULL: not here */
};

/* ---- Extensions of the host, by id -------------------------------------- */

typedef struct pl_http { /* "pl.http/1" */
    uint32_t struct_size;
    /* [worker] One request; interruptible, no redirects, at most 4 MiB of answer.
     * PL_OK for any 2xx: *answer lives until next or poll returns. PL_FAILED:
     * 429, 402, 408, 5xx, time-outs and refused connections are PL_RETRY with
     * Retry-After honoured; 401, 403 are PL_HALT; other 4xx, too large an answer
     * and broken encodings are PL_REJECT. error->code is the HTTP status or 0.
     * method "GET" or "POST"; body null: none. Header values are PL_STR. */
    pl_status (*request)(const pl_host *, pl_str method, pl_str url, const pl_field *headers, uint32_t header_count,
                         pl_str body, int64_t timeout_ns, pl_str *answer, pl_error *);
} pl_http;

typedef struct pl_doc pl_doc;
typedef struct pl_json { /* "pl.json/1": the record's own JSON document */
    uint32_t struct_size;
    /* [worker] Whole-document validation, depth 64. PL_REJECT with the byte offset
     * when it is not JSON. Lives until next, poll or write returns; at most 64 at once. */
    pl_status (*parse)(const pl_host *, pl_str text, pl_doc **, pl_error *);
    /* [worker] Path as in PL_OPT_FIELD, "" is the root. false: absent. Numbers that fit are
     * PL_INT, all others PL_DECIMAL with the digits that arrived; objects and arrays PL_JSON. */
    bool (*get)(const pl_doc *, pl_str path, pl_value *);
    /* [worker] Elements of the array at path; -1: no array there. */
    int64_t (*count)(const pl_doc *, pl_str path);
    /* [worker] Since 0.2. As parse, but nothing stays: for any number of texts. */
    pl_status (*valid)(const pl_host *, pl_str text, pl_error *);
} pl_json;

typedef struct pl_budget { /* "pl.budget/1" */
    uint32_t struct_size;
    size_t (*bytes)(const pl_host *); /* [any] what this instance may hold beyond its records */
} pl_budget;

typedef struct pl_store { /* "pl.store/1": small values that survive a restart, in the data_dir */
    uint32_t struct_size;
    /* [main] or [worker]. Key: at most 255 bytes; *value lives until the next call
     * of get or put. false: never put. */
    bool (*get)(const pl_host *, pl_str key, pl_str *value);
    /* [worker] At most 1 MiB; on PL_OK it is on disk (fsync). */
    pl_status (*put)(const pl_host *, pl_str key, pl_str value, pl_error *);
} pl_store;

typedef struct pl_txn { /* "pl.txn/1", since 0.3. NULL: this instance takes no part in an exactly-once pipeline */
    uint32_t struct_size;
    const char *pipeline;    /* its name; lives as long as the instance */
    int64_t commit_every_ns; /* how long a transaction lasts, about */
} pl_txn;

/* ---- What a plugin provides --------------------------------------------- */

enum {
    PL_SOURCE_REPLAYS = 1u << 0,  /* after a restart it hands over again what was not committed */
    PL_SINK_IDEMPOTENT = 1u << 1, /* writing a record twice leaves one */
    PL_SOURCE_SHARES = 1u << 2    /* since 0.3: lanes go to other instances and come back, so no rest may stay here */
};
typedef struct pl_source {
    uint32_t struct_size, flags; /* PL_SOURCE_* */
    /* [worker] Emit what is ready; may block until deadline (monotonic ns), or 100 ms.
     * PL_OK: call again at once. PL_AGAIN: idle until *resume_ns (monotonic) or wake.
     * PL_END: finished; not called again. */
    pl_status (*next)(void *self, int64_t deadline_ns, int64_t *resume_ns, pl_error *);
    /* [worker] All of the lane up to and including position is settled; monotone.
     * NULL: nothing to commit. */
    pl_status (*commit)(void *self, uint32_t lane, uint64_t position, pl_error *);
} pl_source;

typedef struct pl_poller { /* instead of pl_source: the core owns tick, jitter, retry, gap and position */
    uint32_t struct_size, flags;
    size_t (*count)(const void *self);     /* [worker] items polled a tick, each its own lane; constant */
    int64_t (*every_ns)(const void *self); /* [worker] the tick; constant, above 0 */
    /* [worker] Emits what item `index` has at this tick (zero or more records).
     * PL_RETRY: again within this tick, then a gap. PL_REJECT: a gap now, one warning. */
    pl_status (*poll)(void *self, size_t index, int64_t tick_unix_ns, pl_error *);
    /* Since minor 2. [worker] Between two polls: all that was emitted up to and including that tick is settled, so
     * what a restart is to go on from may be put into "pl.store/1". Monotone; ticks may be passed over. PL_RETRY:
     * called again. NULL: nothing to keep. */
    pl_status (*commit)(void *self, int64_t tick_unix_ns, pl_error *);
} pl_poller;

typedef struct pl_sink {
    uint32_t struct_size, flags; /* PL_SINK_* */
    /* [worker] PL_OK: took all, settles each now or later. PL_AGAIN: took none, will
     * wake. PL_FAILED: the error holds for all of the batch not yet settled; on
     * PL_REJECT the core halves the batch until the bad record stands alone. */
    pl_status (*write)(void *self, const pl_batch *, int64_t deadline_ns, pl_error *);
    /* [worker] PL_OK: all taken is settled. PL_AGAIN: deadline passed, or wait for wake. May be NULL. */
    pl_status (*flush)(void *self, int64_t deadline_ns, pl_error *);
} pl_sink;

/* Extensions of a source, by id. */
typedef struct pl_rewind { /* "pl.rewind/1": for `state: { rebuild: 3h }` */
    uint32_t struct_size;
    /* [main] Before the first next. From now on each lane, when opened, first hands
     * over again what was committed within the last span_ns of event time, flagged
     * PL_EMIT_REPLAY. */
    pl_status (*rewind)(void *self, int64_t span_ns, pl_error *);
} pl_rewind;

/* `delivery: exactly_once`: records and the positions they came from become visible together.
 *
 * The core asks each source and the one sink for "pl.txn/1", and gives them the host's "pl.txn/1". When a commit is
 * due, sources hand over nothing more until all that they handed over is settled; in a transaction that means written,
 * not yet visible. So a transaction holds all that came of its inputs. After a PL_RETRY of write, flush, settle or
 * commit the core calls abort, destroys the instances, and starts over with new ones from what is committed; init,
 * position and begin it calls again. */
typedef struct pl_txn_position { /* frozen */
    pl_str lane;                 /* its name, as lane_open was given it */
    uint64_t position;           /* the last that is settled in it */
} pl_txn_position;
enum {
    PL_TXN_KEEPS_POSITIONS = 1u << 0 /* of a sink: `position` tells what commit stored (a database). Without it the
                                        source's own group keeps them, and commit is given a group token (kafka) */
};
typedef struct pl_txn_sink { /* "pl.txn/1" of a sink */
    uint32_t struct_size, flags;
    /* [worker] Before the first write of a transaction, and before a commit without writes. PL_AGAIN: not yet, called
     * again within a tick. */
    pl_status (*begin)(void *self, pl_error *);
    /* [worker] After flush said PL_OK, with each lane that has a new position, once. PL_AGAIN: deadline passed; called
     * again with the same. PL_RETRY: aborted, or nobody knows: the core starts over. PL_HALT: fenced by another
     * instance, or impossible. group_token is null with PL_TXN_KEEPS_POSITIONS. */
    pl_status (*commit)(void *self, const pl_txn_position *, uint32_t count, pl_str group_token, int64_t deadline_ns,
                        pl_error *);
    /* [worker] Nothing of this transaction may become visible. Called once, also after interrupt; then destroy. */
    pl_status (*abort)(void *self, pl_error *);
    /* [worker] PL_TXN_KEEPS_POSITIONS only; between any two calls. PL_OK: *position, the last that was committed for
     * the lane. PL_END: none is. PL_AGAIN: not yet. PL_RETRY: asked again later. */
    pl_status (*position)(void *self, pl_str lane, uint64_t *position, pl_error *);
    /* [main] No I/O. Whether positions of this source can be committed here: without PL_TXN_KEEPS_POSITIONS, and then
     * source_config is of the same plugin's source. PL_BAD_CONFIG says why not; the option is the sink's. May be NULL.
     */
    pl_status (*check)(const void *config, const void *source_config, pl_error *);
    /* [worker] Once, before all other calls: ends what a former instance left open, so that it can neither be committed
     * later nor hide what was. PL_AGAIN: not yet, called again within a tick. May be NULL. */
    pl_status (*init)(void *self, pl_error *);
} pl_txn_sink;
typedef struct pl_txn_source {   /* "pl.txn/1" of a source */
    uint32_t struct_size, flags; /* flags: 0 */
    /* [worker] Between two calls of next, once for each lane that was opened and not closed since: go on behind
     * `position` (UINT64_MAX: where the source itself would begin). Nothing of a lane is handed over before that call.
     * pl_source.commit is not used. */
    pl_status (*seek)(void *self, uint32_t lane, uint64_t position, pl_error *);
    /* [worker] Also within lane_close. What a sink of the same system commits positions with: for Kafka the serialized
     * metadata of the consumer group. Lives until the next call. NULL: there is none. */
    pl_status (*group_token)(void *self, pl_str *token, pl_error *);
} pl_txn_source;

/* Extension of a sink whose plugin has a source that reads what the sink wrote: for dead letters that are put back. */
typedef struct pl_readback { /* "pl.readback/1", since 0.3 */
    uint32_t struct_size;
    /* [main] Fills the config of the plugin's source, which holds its defaults: so that it hands over what this sink
     * wrote up to now, with headers, key, event time (or as the JSON object that the file plugin makes of them), and
     * then ends. `reader` names who reads, the same over restarts; it outlives the source. Texts may be those of the
     * sink's config. PL_END: nothing was ever written. PL_BAD_CONFIG: it can't be read back, and why. */
    pl_status (*configure)(void *self, const char *reader, void *source_config, pl_error *);
} pl_readback;

/* What a source or sink speaks of that lives on a server and may have to be there first: the topics of its config.
 * `plumbline topics` lists it, looks at it, and makes or grows it; nothing is ever deleted. */
enum {
    PL_PROPERTY_ALIKE = 1u << 0, /* listed: what is joined must agree in it, and so must all who name the resource */
    PL_PROPERTY_GROWS = 1u << 1, /* seen: is less than was listed, and `grow` makes up for it */
    PL_PROPERTY_FIXED = 1u << 2, /* seen: differs from what was listed, and can't be changed by `grow` */
    PL_PROPERTY_USE = 1u << 3    /* listed: how the component uses the resource, not what it is */
};
typedef struct pl_property {  /* frozen */
    const char *name, *value; /* "partitions", "3"; value NULL: not known */
    const char *option;       /* listed: where the config says so, as in pl_error; "" its default; seen: NULL */
    uint32_t flags;           /* PL_PROPERTY_* */
} pl_property;
enum {
    PL_RESOURCE_DECLARED = 1u << 0, /* the config tells how it is to be: all of `properties` */
    PL_RESOURCE_PATTERN = 1u << 1,  /* name is a template or a pattern: what it stands for is not known beforehand */
    PL_RESOURCE_APART = 1u << 2     /* of a source: need not be like what it is read together with */
};
typedef struct pl_resource {
    uint32_t struct_size, flags; /* PL_RESOURCE_* */
    const char *kind, *name;     /* "topic", "api_price" */
    const char *place;           /* which server; kind, name and place alike: one thing, whichever component says so */
    const char *option;          /* where the config names it: "topics[0]" */
    const char *relies;          /* what of the config rests on the number of its parts: "key: pair"; NULL: nothing */
    const pl_property *properties;
    uint32_t property_count;
} pl_resource;
typedef struct pl_provision { /* "pl.provision/1", since 0.3; also with self NULL */
    uint32_t struct_size;
    /* [main] No I/O. Calls tell for each resource of the config, which lives until tell returned. */
    pl_status (*list)(const void *config, void (*tell)(void *to, const pl_resource *), void *to, pl_error *);
    /* [main] The rest: instead of next or write, never beside them; return by deadline (monotonic ns).
     * What of the resource is there: properties as seen, whichever were listed and any other worth knowing; tell is not
     * called when it is not there. PL_RETRY: the server could not be asked. */
    pl_status (*look)(void *self, const pl_resource *listed, int64_t deadline_ns,
                      void (*tell)(void *to, const pl_resource *), void *to, pl_error *);
    /* Makes one that is not there, as this config declares it. PL_OK: look sees it. */
    pl_status (*make)(void *self, const pl_resource *listed, int64_t deadline_ns, pl_error *);
    /* Makes the properties that look flagged PL_PROPERTY_GROWS what this config declares. PL_OK: look sees it. */
    pl_status (*grow)(void *self, const pl_resource *listed, int64_t deadline_ns, pl_error *);
} pl_provision;

/* Extension of a source or sink that keeps files open. */
typedef struct pl_reopen { /* "pl.reopen/1": SIGUSR1, after a log rotation */
    uint32_t struct_size;
    void (*reopen)(void *self); /* [any] Sets a flag: the worker closes and opens its files before the next record */
} pl_reopen;

typedef struct pl_component {
    uint32_t struct_size;
    uint32_t option_size; /* sizeof(pl_option): its stride may grow */
    const char *name, *summary;
    const pl_option *options;
    uint32_t option_count;
    size_t config_size; /* the core fills it by offsets; it lives until destroy returned */
    pl_status (*check)(const void *config, pl_error *); /* [main] no I/O; or NULL */
    /* [main] No network here: connect in the first next, poll or write, where it can be retried. */
    pl_status (*create)(const pl_host *, const void *config, void **self, pl_error *);
    /* [any] Sticky: a call that blocks, and all later ones, return within 200 ms. May be NULL. */
    void (*interrupt)(void *self);
    void (*destroy)(void *self); /* [main] last call; no settle after it */
    const pl_source *source;     /* exactly one of the three */
    const pl_poller *poller;
    const pl_sink *sink;
    /* [main] "pl.rewind/1", "pl.txn/1", "pl.provision/1", "pl.reopen/1"; NULL: not here. Since 0.3 self may be NULL:
     * `check` asks what there is before anything is created, and calls only what needs no self. May be NULL. */
    const void *(*extension)(void *self, const char *id);
} pl_component;

typedef struct pl_plugin {
    uint32_t magic, abi_major, abi_minor, struct_size; /* first: they guard the rest */
    const char *name, *version;
    /* NULL-ended. At most one source (or poller) and one sink; both may bear the plugin's name. */
    const pl_component *const *components;
} pl_plugin;

/* The one exported symbol. Pure: `plumbline plugins` calls it on every .so. */
__attribute__((visibility("default"))) const pl_plugin *pl_plugin_entry(void);

/* ---- Conveniences; they use nothing but the above ----------------------- */

/* A pl_str of a NUL-ended text, which is evaluated once. */
static inline pl_str pl_s(const char *text)
{
    pl_str s;
    s.ptr = text;
    s.len = strlen(text);
    return s;
}
#define PL_S(text) pl_s(text)
#define PL_OPTION(config, member, kind, fallback_text, doc_text)                                                       \
    .name = #member, .doc = (doc_text), .fallback = (fallback_text), .type = PL_OPT_##kind,                            \
    .offset = offsetof(config, member)

static inline __attribute__((format(printf, 3, 4))) pl_status pl_fail(pl_error *error, int32_t error_class,
                                                                      const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error->error_class = error_class;
    (void)vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return PL_FAILED;
}
#ifdef __cplusplus
}
#endif
#endif
