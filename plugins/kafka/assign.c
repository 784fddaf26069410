/* Rebalances: partitions become lanes, and leave again once what they handed over is delivered and committed. */
#include "source.h"

#include <stdlib.h>

/* ---- The table of assigned partitions --------------------------------------- */

kafka_partition *kafka_partition_named(kafka_source_self *source, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < source->partition_count; i++)
        if (source->partitions[i].partition == partition && strcmp(source->partitions[i].topic, topic) == 0)
            return &source->partitions[i];
    return NULL;
}

kafka_partition *kafka_partition_of(kafka_source_self *source, const rd_kafka_message_t *message)
{
    /* Messages come in runs of one partition. */
    if (message->rkt == source->last_topic && source->last_index < source->partition_count &&
        source->partitions[source->last_index].partition == message->partition)
        return &source->partitions[source->last_index];
    kafka_partition *found = kafka_partition_named(source, rd_kafka_topic_name(message->rkt), message->partition);
    if (found) {
        source->last_topic = message->rkt;
        source->last_index = (size_t)(found - source->partitions);
    }
    return found;
}

static void drop_partition(kafka_source_self *source, kafka_partition *partition)
{
    free(partition->topic);
    *partition = source->partitions[--source->partition_count];
    source->last_topic = NULL;
}

void kafka_partitions_clear(kafka_source_self *source)
{
    while (source->partition_count)
        drop_partition(source, &source->partitions[0]);
}

static void add_partition(kafka_source_self *source, const char *topic, int32_t number, int64_t replay_until)
{
    const pl_host *host = source->link.host;
    if (source->partition_count == source->partition_room) {
        size_t room = source->partition_room ? source->partition_room * 2 : 8;
        kafka_partition *grown = realloc(source->partitions, room * sizeof *grown);
        if (!grown)
            abort(); /* as librdkafka does */
        source->partitions = grown;
        source->partition_room = room;
    }
    char name[KAFKA_TOPIC_BYTES + 16];
    kafka_lane_name(topic, number, name, sizeof name);
    kafka_partition *p = &source->partitions[source->partition_count++];
    *p = (kafka_partition){
        .topic = strdup(topic),
        .topic_len = strlen(topic),
        .partition = number,
        .replay_until = replay_until,
        .next = -1,
        .sent = -1,
        .end = -1,
        .settled_ms = -1,
    };
    if (!p->topic)
        abort();
    p->lane = host->lane_open(host, PL_S(name));
}

/* ---- To and from librdkafka -------------------------------------------------- */

static bool cooperative(rd_kafka_t *rk)
{
    const char *protocol = rd_kafka_rebalance_protocol(rk);
    return protocol && strcmp(protocol, "COOPERATIVE") == 0;
}

/* list NULL: nothing is assigned any more. */
static void tell_librdkafka(kafka_source_self *source, const rd_kafka_topic_partition_list_t *list, bool assign)
{
    rd_kafka_t *rk = source->link.rk;
    rd_kafka_error_t *failed = NULL;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (cooperative(rk) && list)
        failed = assign ? rd_kafka_incremental_assign(rk, list) : rd_kafka_incremental_unassign(rk, list);
    else
        code = rd_kafka_assign(rk, assign ? list : NULL);
    if (failed || code != RD_KAFKA_RESP_ERR_NO_ERROR)
        kafka_log(source->link.host, PL_ERROR, "%s partitions failed: %s", assign ? "taking" : "giving up",
                  failed ? rd_kafka_error_string(failed) : rd_kafka_err2str(code));
    if (failed)
        rd_kafka_error_destroy(failed);
}

/* ---- Exactly once: an assignment begins once each of its partitions has an offset ---- */

enum { UNSOUGHT = RD_KAFKA_OFFSET_TAIL_BASE }; /* no offset that is sought */

static void wait_for_seeks(kafka_source_self *source, const rd_kafka_topic_partition_list_t *list)
{
    if (!source->unsought)
        source->unsought = rd_kafka_topic_partition_list_new(list->cnt);
    for (int i = 0; i < list->cnt; i++)
        rd_kafka_topic_partition_list_add(source->unsought, list->elems[i].topic, list->elems[i].partition)->offset =
            UNSOUGHT;
}

void kafka_unsought_release(kafka_source_self *source)
{
    if (source->unsought)
        rd_kafka_topic_partition_list_destroy(source->unsought);
    source->unsought = NULL;
}

static void begin_if_sought(kafka_source_self *source)
{
    rd_kafka_topic_partition_list_t *list = source->unsought;
    for (int i = 0; list && i < list->cnt; i++)
        if (list->elems[i].offset == UNSOUGHT)
            return;
    if (list && list->cnt)
        tell_librdkafka(source, list, true);
    kafka_unsought_release(source);
}

void kafka_seek(kafka_source_self *source, uint32_t lane, int64_t offset)
{
    for (size_t i = 0; source->unsought && i < source->partition_count; i++) {
        const kafka_partition *p = &source->partitions[i];
        rd_kafka_topic_partition_t *found =
            p->lane == lane ? rd_kafka_topic_partition_list_find(source->unsought, p->topic, p->partition) : NULL;
        if (found)
            found->offset = offset;
    }
    begin_if_sought(source);
}

/* They are ours no longer; those that stay go on waiting. */
static void forget_unsought(kafka_source_self *source, const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; source->unsought && i < list->cnt; i++)
        (void)rd_kafka_topic_partition_list_del(source->unsought, list->elems[i].topic, list->elems[i].partition);
    begin_if_sought(source);
}

void kafka_assign(kafka_source_self *source, const rd_kafka_topic_partition_list_t *list, const int64_t *replay_until)
{
    for (int i = 0; i < list->cnt; i++)
        add_partition(source, list->elems[i].topic, list->elems[i].partition, replay_until ? replay_until[i] : 0);
    if (source->transactional && list->cnt)
        wait_for_seeks(source, list);
    else
        tell_librdkafka(source, list, true);
}

/* ---- The callback ------------------------------------------------------------ */

static void on_assigned(kafka_source_self *source, const rd_kafka_topic_partition_list_t *list)
{
    const pl_host *host = source->link.host;
    host->observe(source->rebalances, 1);
    kafka_log(host, PL_INFO, "assigned %d partition%s", list->cnt, list->cnt == 1 ? "" : "s");
    kafka_link_up(&source->link);
    if (kafka_rewind_due(source) && list->cnt)
        kafka_rewind_want(source, list);
    else
        kafka_assign(source, list, NULL);
}

static void close_lane(kafka_source_self *source, kafka_partition *partition, int64_t deadline_ns, bool lost)
{
    uint64_t settled = UINT64_MAX;
    source->link.host->lane_close(source->link.host, partition->lane, deadline_ns, &settled);
    if (settled != UINT64_MAX && !lost && !source->transactional) /* else it is committed */
        kafka_settled(partition, (int64_t)settled);
}

/* Lost: the group has already given the partitions away, and nothing of ours may be committed any more. */
static void on_revoked(kafka_source_self *source, const rd_kafka_topic_partition_list_t *list)
{
    const pl_host *host = source->link.host;
    bool lost = rd_kafka_assignment_lost(source->link.rk) != 0;
    int64_t now = host->now_ns(host), deadline_ns = lost ? now : now + source->config->drain;
    kafka_rewind_cancel(source, list);
    forget_unsought(source, list);
    if (lost && source->partition_count)
        kafka_log(host, PL_WARN, "lost the assignment (%d partition%s): what was not committed is read again",
                  list->cnt, list->cnt == 1 ? "" : "s");
    for (int i = 0; i < list->cnt; i++) {
        kafka_partition *p = kafka_partition_named(source, list->elems[i].topic, list->elems[i].partition);
        if (p)
            close_lane(source, p, deadline_ns, lost);
    }
    if (!lost)
        kafka_commit_now(source, list, host->now_ns(host) + 5 * (int64_t)1000000000);
    for (int i = 0; i < list->cnt; i++) {
        kafka_partition *p = kafka_partition_named(source, list->elems[i].topic, list->elems[i].partition);
        if (p)
            drop_partition(source, p);
    }
    tell_librdkafka(source, list, false);
}

void kafka_on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list, void *opaque)
{
    kafka_source_self *source = opaque;
    if (source->closing) { /* committed already; the flow is gone */
        tell_librdkafka(source, list, false);
        return;
    }
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS:
        on_assigned(source, list);
        return;
    case RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS:
        on_revoked(source, list);
        return;
    default:
        kafka_log(source->link.host, PL_WARN, "rebalance failed: %s", rd_kafka_err2str(code));
        (void)rd_kafka_assign(rk, NULL);
    }
}
