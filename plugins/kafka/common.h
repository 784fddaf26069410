/* What the source and the sink share: their common options, librdkafka's configuration, the state of the connection,
 * and the creation of topics. All functions: the instance's own thread unless tagged. */
#ifndef PL_KAFKA_COMMON_H
#define PL_KAFKA_COMMON_H
#include <librdkafka/rdkafka.h>
#include <plumbline/plugin.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    KAFKA_SLICE_MS = 100,    /* the longest wait in one go: interrupt is obeyed within 200 ms */
    KAFKA_TOPIC_BYTES = 249, /* Kafka's own limit */
    KAFKA_NS_PER_MS = 1000000
};

typedef struct kafka_property { /* one entry of `librdkafka:` */
    const char *key, *value;
} kafka_property;

typedef struct kafka_common { /* first member of both config structs */
    pl_array brokers;         /* const char *: host:port, or several with commas */
    pl_array properties;      /* kafka_property */
    struct kafka_create_topic {
        int64_t partitions, replication;
        pl_array config; /* kafka_property */
    } create_topic;
    bool create_given;
} kafka_common;

typedef struct kafka_source_config {
    kafka_common common;
    pl_array topics; /* const char * */
    const char *group, *start, *copartitioned;
    int64_t commit_every, drain; /* ns */
    bool headers;
    bool to_end; /* no option: ends where each partition ended when it came there */
} kafka_source_config;

typedef struct kafka_sink_config {
    kafka_common common;
    const char *topic, *key, *partitioner, *compression, *timestamp;
    const char *transactional_id; /* NULL: from the pipeline's and the sink's names */
} kafka_sink_config;

extern const pl_source kafka_source;
extern const pl_sink kafka_sink;

/* ---- conf.c -------------------------------------------------------------- */

typedef enum { KAFKA_SOURCE, KAFKA_SINK } kafka_side;

/* librdkafka's configuration from the options: our defaults, then `librdkafka:`, then what delivery rests on. Makes no
 * connection and opens no file. host NULL: only for checking. NULL: error has PL_BAD_CONFIG and the option. Free with
 * rd_kafka_conf_destroy, unless rd_kafka_new took it. */
rd_kafka_conf_t *kafka_source_conf(const kafka_source_config *config, const pl_host *host, pl_error *error);
rd_kafka_conf_t *kafka_sink_conf(const kafka_sink_config *config, const pl_host *host, pl_error *error);
/* [any] Whether Kafka accepts this as the name of a topic. */
bool kafka_topic_name_ok(pl_str name);
/* [any] The brokers with commas, as in messages; cut to size. Returns out. */
const char *kafka_brokers_text(const kafka_common *common, char *out, size_t size);

/* ---- link.c: the client and the state of its connection ------------------- */

typedef struct kafka_link { /* first member of the source's and the sink's struct; the opaque of every callback */
    const pl_host *host;
    const kafka_common *config; /* the first member of that of the side */
    kafka_side side;
    rd_kafka_t *rk; /* NULL before the first next or write */
    _Atomic bool interrupted;
    bool down;   /* no broker answers; said once */
    bool halted; /* `halt` is what every call answers from now on; PL_RETRY: only another instance can go on */
    pl_error halt;
    char reason[256];            /* why the last connection failed */
    int64_t probe_due_ns;        /* while down */
    int64_t transaction_ends_ns; /* monotonic: the brokers end what is open then; 0: nothing is */
    pthread_mutex_t log_lock;
    bool muted; /* under log_lock: the host is gone */
    pl_metric *connected, *disconnects;
} kafka_link;

/* [main] In create. Makes the metrics; warns of what this librdkafka cannot do. */
void kafka_link_init(kafka_link *link, const pl_host *host, const kafka_common *config, kafka_side side);
/* Installs the log and error callbacks; opaque is the link. */
void kafka_link_conf(kafka_link *link, rd_kafka_conf_t *conf);
/* Starts the client; conf is taken in any case. */
pl_status kafka_link_open(kafka_link *link, rd_kafka_type_t type, rd_kafka_conf_t *conf, pl_error *error);
/* From now on the client says nothing: the host is about to go. */
void kafka_link_mute(kafka_link *link);
/* A broker answered. */
void kafka_link_up(kafka_link *link);
/* While the connection is down: looks now and then whether it is up again. */
void kafka_link_probe(kafka_link *link);
/* Remembers a reason to stop; the first one stays. */
void kafka_link_halt(kafka_link *link, int32_t code, const char *message);
/* librdkafka said that an error is fatal: a reason to stop. */
void kafka_link_fatal(kafka_link *link);
/* PL_FAILED once there is a reason to stop: refused credentials, a fatal error of librdkafka. */
pl_status kafka_link_check(kafka_link *link, pl_error *error);
static inline bool kafka_link_interrupted(const kafka_link *link)
{
    return atomic_load_explicit(&link->interrupted, memory_order_relaxed);
}
/* Milliseconds until deadline_ns, from 0 to KAFKA_SLICE_MS; 0 once interrupted. */
int kafka_link_slice(const kafka_link *link, int64_t deadline_ns);
void kafka_log(const pl_host *host, int32_t level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- admin.c: topics made where `create_topic` asks for it ---------------- */

typedef struct kafka_admin {
    kafka_link *link;
    rd_kafka_queue_t *queue; /* of results */
    bool busy;
    bool strict;      /* one that may not be made is an error, though it may well be there */
    int64_t retry_ns; /* when to ask again; 0: not waiting to */
    rd_kafka_NewTopic_t **topics;
    size_t topic_count;
} kafka_admin;

bool kafka_admin_init(kafka_admin *admin, kafka_link *link);
void kafka_admin_release(kafka_admin *admin);
/* Begins to create topics; kafka_admin_poll tells how it went. One request at a time. */
pl_status kafka_admin_create(kafka_admin *admin, const char *const *names, size_t count, pl_error *error);
/* PL_AGAIN: under way (asked again for ever while no broker answers). PL_OK: all of them are there now. */
pl_status kafka_admin_poll(kafka_admin *admin, int timeout_ms, pl_error *error);
/* The PL_HALT for a topic that is not there. */
pl_status kafka_missing_topic(const char *topic, bool create_given, pl_error *error);

/* ---- provision.c: "pl.provision/1", what `plumbline topics` asks for ------- */

extern const pl_provision kafka_source_provision;
extern const pl_provision kafka_sink_provision;
#endif
