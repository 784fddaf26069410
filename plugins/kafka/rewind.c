/* "pl.rewind/1": an assignment starts a span of event time before what the group committed, so that the state of a
 * script can be built again. The lookups block in librdkafka, so a thread of their own makes them. */
#include "source.h"

#include <stdlib.h>

enum { LOOKUP_TIMEOUT_MS = 5000, RETRY_NS = 500000000 };
static const int64_t unlike_for_ns = 3000000000; /* by then a broker that had not heard of a growth has */

static pl_status rewind_by(void *self, int64_t span_ns, pl_error *error)
{
    kafka_source_self *source = self;
    source->rewind.span_ms = span_ns / KAFKA_NS_PER_MS;
    return kafka_copartition_wanted(source->config, true) ? kafka_copartition_check(source->config, error) : PL_OK;
}
const pl_rewind kafka_rewind_extension = {.struct_size = sizeof(pl_rewind), .rewind = rewind_by};

/* ---- On the thread --------------------------------------------------------------- */

/* Event time at which partition i begins again: span before its last committed record. Without our note beside the
 * offset (another program committed it) that record's time is taken to be now. */
static int64_t start_time(const kafka_rewind *r, const rd_kafka_topic_partition_t *committed)
{
    int64_t newest = kafka_commit_note_time(committed->metadata, committed->metadata_size);
    int64_t from = (newest >= 0 ? newest : r->now_ms) - r->span_ms;
    return from > 0 ? from : 0;
}

static rd_kafka_resp_err_t look_up(kafka_rewind *r)
{
    rd_kafka_resp_err_t code = rd_kafka_committed(r->rk, r->list, LOOKUP_TIMEOUT_MS);
    rd_kafka_topic_partition_list_t *times = rd_kafka_topic_partition_list_new(r->list->cnt);
    for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < r->list->cnt; i++) {
        rd_kafka_topic_partition_t *p = &r->list->elems[i];
        code = p->err;
        r->replay_until[i] = p->offset >= 0 ? p->offset : 0;
        if (p->offset >= 0)
            rd_kafka_topic_partition_list_add(times, p->topic, p->partition)->offset = start_time(r, p);
    }
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && times->cnt)
        code = rd_kafka_offsets_for_times(r->rk, times, LOOKUP_TIMEOUT_MS);
    for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < times->cnt; i++) {
        const rd_kafka_topic_partition_t *found = &times->elems[i];
        rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_find(r->list, found->topic, found->partition);
        code = found->err;
        /* Negative: no record is that new. */
        if (p && found->offset >= 0 && found->offset < p->offset)
            p->offset = found->offset;
    }
    rd_kafka_topic_partition_list_destroy(times);
    return code;
}

static void *run(void *opaque)
{
    kafka_rewind *r = opaque;
    r->unlike[0] = '\0';
    r->result = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (r->topics)
        r->result = kafka_copartition_ask(r->rk, r->topics, LOOKUP_TIMEOUT_MS, r->unlike, sizeof r->unlike);
    if (r->result == RD_KAFKA_RESP_ERR_NO_ERROR && !r->unlike[0] && r->span_ms)
        r->result = look_up(r);
    atomic_store_explicit(&r->done, true, memory_order_release);
    return NULL;
}

/* ---- On the worker ---------------------------------------------------------------- */

static void drop_lookup(kafka_rewind *r)
{
    if (r->list)
        rd_kafka_topic_partition_list_destroy(r->list);
    free(r->replay_until);
    r->list = NULL;
    r->replay_until = NULL;
}

/* all false: only if nothing is left in it. */
static void forget_wanted(kafka_rewind *r, bool all)
{
    if (!r->wanted || (r->wanted->cnt && !all))
        return;
    r->unlike_since_ns = 0;
    rd_kafka_topic_partition_list_destroy(r->wanted);
    r->wanted = NULL;
}

static void start(kafka_source_self *source)
{
    const pl_host *host = source->link.host;
    kafka_rewind *r = &source->rewind;
    r->list = rd_kafka_topic_partition_list_copy(r->wanted);
    r->replay_until = calloc((size_t)r->list->cnt, sizeof *r->replay_until);
    r->rk = source->link.rk;
    r->topics = kafka_copartition_wanted(source->config, r->span_ms != 0) ? &source->config->topics : NULL;
    r->now_ms = host->unix_ns(host) / KAFKA_NS_PER_MS;
    r->stale = false;
    atomic_store(&r->done, false);
    r->running = r->replay_until && pthread_create(&r->thread, NULL, run, r) == 0;
    if (!r->running)
        drop_lookup(r);
    r->retry_ns = host->now_ns(host) + RETRY_NS;
}

static void take_result(kafka_source_self *source)
{
    kafka_rewind *r = &source->rewind;
    int64_t records = 0;
    for (int i = 0; i < r->list->cnt; i++)
        if (r->list->elems[i].offset >= 0 && r->list->elems[i].offset < r->replay_until[i])
            records += r->replay_until[i] - r->list->elems[i].offset;
    if (r->span_ms)
        kafka_log(source->link.host, PL_INFO,
                  "rewound by %lld s of event time: up to %lld committed records are read again",
                  (long long)(r->span_ms / 1000), (long long)records);
    forget_wanted(r, true);
    kafka_assign(source, r->list, r->replay_until);
}

bool kafka_rewind_due(const kafka_source_self *source)
{
    return source->rewind.span_ms || kafka_copartition_wanted(source->config, false);
}

void kafka_rewind_want(kafka_source_self *source, const rd_kafka_topic_partition_list_t *list)
{
    kafka_rewind *r = &source->rewind;
    if (!r->wanted)
        r->wanted = rd_kafka_topic_partition_list_new(list->cnt);
    for (int i = 0; i < list->cnt; i++)
        (void)rd_kafka_topic_partition_list_add(r->wanted, list->elems[i].topic, list->elems[i].partition);
    r->stale = r->running;
    r->retry_ns = 0;
}

void kafka_rewind_cancel(kafka_source_self *source, const rd_kafka_topic_partition_list_t *list)
{
    kafka_rewind *r = &source->rewind;
    for (int i = 0; r->wanted && i < list->cnt; i++)
        (void)rd_kafka_topic_partition_list_del(r->wanted, list->elems[i].topic, list->elems[i].partition);
    forget_wanted(r, false);
    r->stale = r->running;
}

/* Brokers learn of a growth one after the other, so one look proves nothing. */
static void judge_unlike(kafka_source_self *source)
{
    kafka_rewind *r = &source->rewind;
    int64_t now = source->link.host->now_ns(source->link.host);
    bool unlike = r->wanted && r->unlike[0];
    if (!unlike || !r->unlike_since_ns)
        r->unlike_since_ns = unlike ? now : 0;
    else if (now - r->unlike_since_ns >= unlike_for_ns)
        kafka_link_halt(&source->link, 0, r->unlike);
}

void kafka_rewind_tick(kafka_source_self *source)
{
    const pl_host *host = source->link.host;
    kafka_rewind *r = &source->rewind;
    if (r->running && atomic_load_explicit(&r->done, memory_order_acquire)) {
        (void)pthread_join(r->thread, NULL);
        r->running = false;
        judge_unlike(source);
        if (r->result == RD_KAFKA_RESP_ERR_NO_ERROR && !r->unlike[0] && !r->stale && r->wanted)
            take_result(source);
        else if (r->result != RD_KAFKA_RESP_ERR_NO_ERROR)
            kafka_log(host, PL_DEBUG, "looking up where to rewind to: %s", rd_kafka_err2str(r->result));
        drop_lookup(r);
    }
    if (!r->running && r->wanted && host->now_ns(host) >= r->retry_ns)
        start(source);
}

void kafka_rewind_release(kafka_source_self *source)
{
    kafka_rewind *r = &source->rewind;
    forget_wanted(r, true);
    if (r->running)
        (void)pthread_join(r->thread, NULL);
    r->running = false;
    drop_lookup(r);
}
