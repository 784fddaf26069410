/* The sink's inside: batches in flight, topics, delivery. One thread, that of write and flush, but where a tag says
 * otherwise. */
#ifndef PL_KAFKA_SINK_H
#define PL_KAFKA_SINK_H
#include "common.h"

/* ---- inflight.c: what is given to librdkafka and not yet settled ------------------ */

#define KAFKA_NO_SLOT UINT32_MAX

typedef struct kafka_slot { /* one batch */
    uint64_t ticket;
    uint32_t count, settled, waiting; /* waiting: bits set in `done` */
    uint32_t low, high;               /* indices of `done` that may be set: low .. high */
    uint32_t next_dirty, next_free;
    bool dirty;
    int64_t since_ns; /* when it became dirty */
    uint64_t *done;   /* a bit a record: acknowledged, and the core not told yet */
    size_t done_room;
} kafka_slot;

typedef struct kafka_inflight {
    const pl_host *host;
    kafka_slot *slots;
    uint32_t slot_count, slot_room, first_free, first_dirty;
    uint64_t records; /* not settled */
} kafka_inflight;

void kafka_inflight_init(kafka_inflight *inflight, const pl_host *host);
void kafka_inflight_release(kafka_inflight *inflight);
/* The slot of a new batch; KAFKA_NO_SLOT: no memory. */
uint32_t kafka_inflight_add(kafka_inflight *inflight, uint64_t ticket, uint32_t count);
/* Record `index` of a slot is durable; told to the core by kafka_inflight_tell. */
void kafka_inflight_done(kafka_inflight *inflight, uint32_t slot, uint32_t index);
/* Record `index` failed; told at once. */
void kafka_inflight_failed(kafka_inflight *inflight, uint32_t slot, uint32_t index, const pl_error *why);
/* Settles what was acknowledged: whole batches at once, parts of one once they have waited for HOLD_NS for the rest. */
void kafka_inflight_tell(kafka_inflight *inflight);

/* ---- topics.c: the topics written to ----------------------------------------------- */

enum { KAFKA_TOPICS_MAX = 4096 };

typedef struct kafka_topic {
    char *name;
    size_t len;
    rd_kafka_topic_t *handle; /* NULL: being made, or not asked for yet */
} kafka_topic;

typedef struct kafka_sink_self {
    kafka_link link; /* first */
    const kafka_sink_config *config;
    bool templated; /* the topic has holes */
    enum { KAFKA_TIME_AUTO, KAFKA_TIME_EVENT, KAFKA_TIME_NOW } timestamp;
    int64_t now_ms; /* of the pump's start */
    kafka_admin admin;
    kafka_topic **topics;
    size_t topic_count, topic_room;
    kafka_topic *last_topic, *creating;
    kafka_inflight inflight;
    /* A batch that librdkafka has not taken all of: its queue is full, or a topic is being made. */
    pl_batch pending;
    uint32_t pending_slot, pending_next; /* pending_next == pending.count: none */
    bool refused;                        /* write answered PL_AGAIN: wake when there is room */
    rd_kafka_queue_t *events;
    char number[32]; /* a key made of a number */
    char text[128];  /* of a message */
    int64_t observe_due_ns;
    int64_t latency_us; /* of the newest delivery report, -1 when none came since tell_delivered */
    pl_metric *queue, *delivery, *failures;
    bool transactional, offsets_sent; /* offsets_sent: of the transaction that is open */
} kafka_sink_self;

/* The topic of a record. PL_OK: *topic may be written to. PL_AGAIN: it is being made. PL_FAILED: PL_REJECT when the
 * record is at fault, PL_HALT when the topic can't be had. */
pl_status kafka_topic_of(kafka_sink_self *sink, const pl_record *record, kafka_topic **topic, pl_error *error);
/* Goes on with what is being made. PL_AGAIN: still under way. A topic that can't be made halts the link. */
pl_status kafka_topics_tick(kafka_sink_self *sink, int timeout_ms);
void kafka_topics_release(kafka_sink_self *sink);

/* ---- sink.c -------------------------------------------------------------------------- */

pl_status kafka_sink_create(const pl_host *host, const void *config, void **self, pl_error *error);
void kafka_sink_interrupt(void *self);
void kafka_sink_destroy(void *self);
/* Starts the client, unless it runs. */
pl_status kafka_sink_open(kafka_sink_self *sink, pl_error *error);

const void *kafka_sink_extension(void *self, const char *id);

extern const pl_txn_sink kafka_txn_sink; /* transaction.c */
#endif
