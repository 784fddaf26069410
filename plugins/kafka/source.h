/* The source's inside: partitions as lanes, commits, rebalances, rewinding. One thread, that of next and commit, but
 * where a tag says otherwise. */
#ifndef PL_KAFKA_SOURCE_H
#define PL_KAFKA_SOURCE_H
#include "common.h"

#include <pthread.h>

enum { KAFKA_MARKS = 128 };

/* Event times of records handed over, thinned out so that they stay bounded: which one is the last committed? */
typedef struct kafka_marks {
    struct kafka_mark {
        int64_t offset, time_ms;
    } mark[KAFKA_MARKS]; /* by offset; from `first`, `count` of them */
    size_t first, count;
    int64_t stride; /* no two marks are nearer than this */
} kafka_marks;

typedef struct kafka_partition { /* assigned to us */
    char *topic;
    size_t topic_len;
    int32_t partition;
    uint32_t lane;
    int64_t replay_until; /* offsets below were committed before: PL_EMIT_REPLAY */
    int64_t next;         /* what a commit would say: the first offset not yet settled; -1: nothing to say */
    int64_t sent;         /* what the last commit said; -1: none, or it failed */
    int64_t end;          /* the offset after the last handed over; -1: none yet */
    int64_t settled_ms;   /* event time of the last settled record; -1: unknown */
    bool at_end;          /* to_end: all that was there has been read */
    kafka_marks marks;
} kafka_partition;

/* Where to start so that the last span of event time is read again: asked of the brokers by a thread of its own, since
 * these requests can't be interrupted. */
typedef struct kafka_rewind {
    int64_t span_ms;                         /* 0: not asked for */
    rd_kafka_topic_partition_list_t *wanted; /* an assignment that waits for its offsets; NULL: none */
    bool running;
    bool stale; /* the assignment that the thread works for is gone */
    pthread_t thread;
    int64_t retry_ns;
    int64_t unlike_since_ns; /* all looks since say that the topics can't be read together; 0: the last one did not */
    /* The thread's until `done`: */
    rd_kafka_t *rk;
    rd_kafka_topic_partition_list_t *list; /* offset: where to start */
    const pl_array *topics;                /* const char *; NULL: need not be alike */
    int64_t *replay_until;                 /* one a list element */
    int64_t now_ms;
    rd_kafka_resp_err_t result;
    char unlike[256]; /* why the topics can't be read together; "": they can */
    _Atomic bool done;
} kafka_rewind;

typedef enum { KAFKA_CLOSED, KAFKA_CREATING, KAFKA_READING } kafka_phase;

typedef struct kafka_source_self {
    kafka_link link; /* first */
    const kafka_source_config *config;
    kafka_phase phase;
    kafka_admin admin;
    bool closing;               /* in destroy: no host call but log */
    int64_t grace_until_ns;     /* a topic just made may be unknown to a broker until then */
    int64_t subscribe_again_ns; /* 0: no */
    kafka_partition *partitions;
    size_t partition_count, partition_room;
    const rd_kafka_topic_t *last_topic; /* of the last message, and its partition's index */
    size_t last_index;
    pl_field *headers;
    size_t header_room;
    /* Commits. */
    rd_kafka_queue_t *commit_queue;
    int commits_out;
    int64_t commit_due_ns;
    bool commits_failing; /* said once */
    bool transactional;   /* exactly once: the sink commits, and says where each partition goes on */
    kafka_rewind rewind;
    /* See fetch.c. */
    size_t nudge_every_bytes, read_bytes; /* nudge_every_bytes 0: not needed */
    uint32_t read_messages;
    int64_t lag_due_ns;
    pl_metric *lag, *rebalances, *commits, *commit_errors;
    /* Exactly once. */
    rd_kafka_topic_partition_list_t *unsought; /* an assignment of which some have no offset yet; NULL: none */
    void *token;                               /* see pl_txn_source.group_token; librdkafka's memory */
} kafka_source_self;

pl_status kafka_source_create(const pl_host *host, const void *config, void **self, pl_error *error);
void kafka_source_interrupt(void *self);
void kafka_source_destroy(void *self);
const void *kafka_source_extension(void *self, const char *id);
extern const pl_txn_source kafka_txn_source; /* transaction.c */

/* ---- assign.c -------------------------------------------------------------- */

/* librdkafka's rebalance callback; runs within next. */
void kafka_on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list, void *opaque);
/* Hands an assignment to librdkafka and opens its lanes. replay_until: one an element, or NULL. */
void kafka_assign(kafka_source_self *source, const rd_kafka_topic_partition_list_t *list, const int64_t *replay_until);
/* Exactly once: the partition goes on at this offset. */
void kafka_seek(kafka_source_self *source, uint32_t lane, int64_t offset);
void kafka_unsought_release(kafka_source_self *source);
/* NULL: not assigned to us (any more). */
kafka_partition *kafka_partition_of(kafka_source_self *source, const rd_kafka_message_t *message);
kafka_partition *kafka_partition_named(kafka_source_self *source, const char *topic, int32_t partition);
void kafka_partitions_clear(kafka_source_self *source);

/* ---- marks.c ---------------------------------------------------------------- */

/* Remembers the event time of a record that was handed over. */
void kafka_marks_add(kafka_marks *marks, int64_t offset, int64_t time_ms);
/* Event time of the newest mark at or before `offset`, which is then dropped with all before; `otherwise` if none. */
int64_t kafka_marks_take(kafka_marks *marks, int64_t offset, int64_t otherwise);
/* The text kept beside a committed offset, "t=<unix ms>", and back: -1 when it is not ours. */
int kafka_commit_note(int64_t time_ms, char *out, size_t size);
int64_t kafka_commit_note_time(const void *note, size_t size);
/* A lane's name, TOPIC/PARTITION, and back. topic: KAFKA_TOPIC_BYTES + 1. false: no such name. */
void kafka_lane_name(const char *topic, int32_t partition, char *out, size_t size);
bool kafka_lane_parse(pl_str name, char *topic, int32_t *partition);

/* ---- commit.c -------------------------------------------------------------- */

/* All up to offset is settled. */
void kafka_settled(kafka_partition *partition, int64_t offset);
/* Sends what is due and takes answers; never waits. */
void kafka_commit_tick(kafka_source_self *source);
/* Commits what is settled in these partitions (NULL: all) and waits for the answers, until deadline_ns. */
void kafka_commit_now(kafka_source_self *source, const rd_kafka_topic_partition_list_t *only, int64_t deadline_ns);

/* ---- fetch.c --------------------------------------------------------------- */

/* After connecting. */
void kafka_fetch_init(kafka_source_self *source);
/* A message of so many bytes was read. */
void kafka_fetch_read(kafka_source_self *source, size_t bytes);

/* ---- copartition.c ---------------------------------------------------------- */

/* Whether topics that the source reads together are compared at each assignment. */
bool kafka_copartition_wanted(const kafka_source_config *config, bool rebuilt);
/* What can be told without I/O: PL_BAD_CONFIG for an assignment strategy that gives a key's partitions to different
 * members. */
pl_status kafka_copartition_check(const kafka_source_config *config, pl_error *error);
/* Asks the brokers; blocks for up to timeout_ms a topic. unlike: a message, or "" where all have the same number. */
rd_kafka_resp_err_t kafka_copartition_ask(rd_kafka_t *rk, const pl_array *topics, int timeout_ms, char *unlike,
                                          size_t size);

/* ---- rewind.c -------------------------------------------------------------- */

extern const pl_rewind kafka_rewind_extension;
/* Whether an assignment has to be rewound, or its topics compared, before it is read. */
bool kafka_rewind_due(const kafka_source_self *source);
/* Such an assignment came. */
void kafka_rewind_want(kafka_source_self *source, const rd_kafka_topic_partition_list_t *list);
/* These partitions are ours no longer. */
void kafka_rewind_cancel(kafka_source_self *source, const rd_kafka_topic_partition_list_t *list);
/* Starts, and finishes, what can be. */
void kafka_rewind_tick(kafka_source_self *source);
void kafka_rewind_release(kafka_source_self *source);
#endif
