/* Offset commits: explicit ones, of what is settled, with the event time of the last settled record beside them. One is
 * out at a time, so a slow broker is not flooded. */
#include "source.h"

void kafka_settled(kafka_partition *partition, int64_t offset)
{
    partition->settled_ms = kafka_marks_take(&partition->marks, offset, partition->settled_ms);
    /* What is replayed was committed before: never go back. */
    if (offset + 1 > partition->next && offset + 1 > partition->replay_until)
        partition->next = offset + 1;
}

static void add_offset(rd_kafka_topic_partition_list_t *list, kafka_partition *p)
{
    rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_add(list, p->topic, p->partition);
    entry->offset = p->next;
    p->sent = p->next;
    if (p->settled_ms < 0)
        return;
    char note[32];
    int size = kafka_commit_note(p->settled_ms, note, sizeof note);
    entry->metadata = strndup(note, (size_t)size); /* librdkafka frees it */
    entry->metadata_size = entry->metadata ? (size_t)size : 0;
}

/* false: there was nothing to say. */
static bool send_commit(kafka_source_self *source, const rd_kafka_topic_partition_list_t *only)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)source->partition_count);
    for (size_t i = 0; i < source->partition_count; i++) {
        kafka_partition *p = &source->partitions[i];
        if (p->next >= 0 && p->next != p->sent &&
            (!only ||
             rd_kafka_topic_partition_list_find((rd_kafka_topic_partition_list_t *)only, p->topic, p->partition)))
            add_offset(list, p);
    }
    bool any = list->cnt > 0;
    if (any) {
        rd_kafka_resp_err_t code = rd_kafka_commit_queue(source->link.rk, list, source->commit_queue, NULL, NULL);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            source->commits_out++;
        else
            kafka_log(source->link.host, PL_WARN, "committing offsets failed: %s", rd_kafka_err2str(code));
    }
    rd_kafka_topic_partition_list_destroy(list);
    return any;
}

/* After a failed commit the same offsets are sent again at the next turn. */
static void forget_sent(kafka_source_self *source, const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; list && i < list->cnt; i++) {
        kafka_partition *p = kafka_partition_named(source, list->elems[i].topic, list->elems[i].partition);
        if (p)
            p->sent = -1;
    }
}

/* The group is sharing out anew: the revoke that follows settles what can still be committed. */
static bool rebalancing(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS || code == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION ||
           code == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
}

static void on_committed(kafka_source_self *source, rd_kafka_event_t *event)
{
    const pl_host *host = source->link.host;
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
    for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && list && i < list->cnt; i++)
        code = list->elems[i].err;
    source->commits_out--;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR__NO_OFFSET) {
        if (source->commits_failing)
            kafka_log(host, PL_INFO, "offsets are committed again");
        source->commits_failing = false;
        host->observe(source->commits, 1);
        kafka_link_up(&source->link);
        return;
    }
    forget_sent(source, list);
    host->observe(source->commit_errors, 1);
    if (!source->commits_failing && !rebalancing(code))
        kafka_log(host, PL_WARN, "committing offsets failed, trying again: %s", rd_kafka_err2str(code));
    source->commits_failing = source->commits_failing || !rebalancing(code);
}

/* Takes one answer; false: none within the time. */
static bool take_answer(kafka_source_self *source, int timeout_ms)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(source->commit_queue, timeout_ms);
    if (!event)
        return false;
    if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_OFFSET_COMMIT)
        on_committed(source, event);
    rd_kafka_event_destroy(event);
    return true;
}

void kafka_commit_tick(kafka_source_self *source)
{
    const pl_host *host = source->link.host;
    int64_t now = host->now_ns(host);
    if (!source->commit_queue)
        return;
    while (source->commits_out && take_answer(source, 0))
        ;
    if (source->commits_out || now < source->commit_due_ns)
        return;
    if (send_commit(source, NULL))
        source->commit_due_ns = now + source->config->commit_every;
}

void kafka_commit_now(kafka_source_self *source, const rd_kafka_topic_partition_list_t *only, int64_t deadline_ns)
{
    const pl_host *host = source->link.host;
    if (!source->commit_queue)
        return;
    (void)send_commit(source, only);
    while (source->commits_out > 0) {
        int64_t left = (deadline_ns - host->now_ns(host)) / KAFKA_NS_PER_MS;
        if (left <= 0 || (kafka_link_interrupted(&source->link) && !source->closing))
            break;
        (void)take_answer(source, left < KAFKA_SLICE_MS ? (int)left : KAFKA_SLICE_MS);
    }
    if (source->commits_out > 0)
        kafka_log(host, PL_WARN,
                  "no broker confirmed the last commit of offsets in time; records since the one "
                  "before are read again");
}
