/* The source: next reads the consumer's queue record by record and hands each over; commit only remembers. */
#include "source.h"

#include <stdlib.h>

enum { MESSAGES_A_CALL = 1000, LOOK_EVERY = 64 };
static const int64_t second_ns = 1000000000;

/* ---- Life ------------------------------------------------------------------ */

pl_status kafka_source_create(const pl_host *host, const void *config, void **self, pl_error *error)
{
    kafka_source_self *source = calloc(1, sizeof *source);
    if (!source)
        return pl_fail(error, PL_RETRY, "out of memory");
    source->config = config;
    source->transactional = host->extension(host, "pl.txn/1") != NULL;
    kafka_link_init(&source->link, host, &source->config->common, KAFKA_SOURCE);
    source->lag = host->metric(host, PL_GAUGE, "lag", "records", "records in the assigned partitions not yet read");
    source->rebalances = host->metric(host, PL_COUNTER, "rebalances", "1", "times that the group shared out anew");
    source->commits = host->metric(host, PL_COUNTER, "commits", "1", "offset commits the broker confirmed");
    source->commit_errors = host->metric(host, PL_COUNTER, "commit_errors", "1", "offset commits that failed");
    *self = source;
    return PL_OK;
}

void kafka_source_interrupt(void *self)
{
    kafka_source_self *source = self;
    atomic_store(&source->link.interrupted, true);
}

/* Leaves the group, so that others need not wait for a session to time out. rd_kafka_consumer_close waits for ever for
 * a broker that hangs, so this is its asynchronous form, with a limit. false: the limit was reached. */
static bool leave_group(kafka_source_self *source, int64_t deadline_ns)
{
    const pl_host *host = source->link.host;
    rd_kafka_t *rk = source->link.rk;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_error_t *failed = rd_kafka_consumer_close_queue(rk, queue);
    if (failed)
        rd_kafka_error_destroy(failed);
    while (!failed && !rd_kafka_consumer_closed(rk) && host->now_ns(host) < deadline_ns) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, KAFKA_SLICE_MS / 5);
        if (!event)
            continue;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
            kafka_on_rebalance(rk, rd_kafka_event_error(event), rd_kafka_event_topic_partition_list(event), source);
        rd_kafka_event_destroy(event);
    }
    if (!rd_kafka_consumer_closed(rk))
        (void)rd_kafka_assign(rk, NULL); /* answers a revocation that was not served in time; leaving waits for that */
    rd_kafka_queue_destroy(queue);
    return rd_kafka_consumer_closed(rk) != 0;
}

void kafka_source_destroy(void *self)
{
    kafka_source_self *source = self;
    if (!source)
        return;
    rd_kafka_t *rk = source->link.rk;
    if (rk) {
        source->closing = true;
        const pl_host *host = source->link.host;
        kafka_rewind_release(source);
        kafka_unsought_release(source);
        kafka_commit_now(source, NULL, host->now_ns(host) + 5 * second_ns);
        if (!leave_group(source, host->now_ns(host) + 2 * second_ns)) {
            /* rd_kafka_destroy would wait for the same requests. Leave the client, and what its threads may touch, as
             * they are: it reads nothing any more, and leaves the group once a broker answers it. Where the process
             * goes on (a reload, starting over), what is left is memory and threads. */
            kafka_link_mute(&source->link);
            return;
        }
        kafka_admin_release(&source->admin);
        if (source->commit_queue)
            rd_kafka_queue_destroy(source->commit_queue);
        rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
    (void)pthread_mutex_destroy(&source->link.log_lock);
    kafka_partitions_clear(source);
    free(source->partitions);
    if (source->token)
        rd_kafka_mem_free(NULL, source->token);
    free(source->headers);
    free(source);
}

const void *kafka_source_extension(void *self, const char *id)
{
    (void)self;
    if (strcmp(id, "pl.provision/1") == 0)
        return &kafka_source_provision;
    if (strcmp(id, "pl.txn/1") == 0)
        return &kafka_txn_source;
    return strcmp(id, "pl.rewind/1") == 0 ? &kafka_rewind_extension : NULL;
}

/* ---- Connecting ------------------------------------------------------------ */

static pl_status subscribe(kafka_source_self *source, pl_error *error)
{
    const char *const *topics = source->config->topics.items;
    size_t count = source->config->topics.count;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++)
        (void)rd_kafka_topic_partition_list_add(list, topics[i], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(source->link.rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    source->subscribe_again_ns = 0;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return pl_fail(error, PL_HALT, "cannot subscribe: %s", rd_kafka_err2str(code));
    source->phase = KAFKA_READING;
    return PL_OK;
}

/* Topics by regular expression have no name to create. */
static pl_status create_topics(kafka_source_self *source, pl_error *error)
{
    const char *const *topics = source->config->topics.items;
    size_t count = 0;
    const char **names = calloc(source->config->topics.count, sizeof *names);
    if (!names)
        return pl_fail(error, PL_RETRY, "out of memory");
    for (size_t i = 0; i < source->config->topics.count; i++)
        if (topics[i][0] != '^')
            names[count++] = topics[i];
    pl_status status = PL_OK;
    if (count) {
        status = kafka_admin_create(&source->admin, names, count, error);
        source->phase = KAFKA_CREATING;
    }
    free(names);
    return status == PL_OK && !count ? subscribe(source, error) : status;
}

static pl_status open_client(kafka_source_self *source, pl_error *error)
{
    const pl_host *host = source->link.host;
    rd_kafka_conf_t *conf = kafka_source_conf(source->config, host, error);
    if (!conf)
        return PL_FAILED;
    kafka_link_conf(&source->link, conf);
    rd_kafka_conf_set_rebalance_cb(conf, kafka_on_rebalance);
    if (kafka_link_open(&source->link, RD_KAFKA_CONSUMER, conf, error) != PL_OK)
        return PL_FAILED;
    (void)rd_kafka_poll_set_consumer(source->link.rk);
    kafka_fetch_init(source);
    source->commit_queue = rd_kafka_queue_new(source->link.rk);
    (void)kafka_admin_init(&source->admin, &source->link);
    source->commit_due_ns = host->now_ns(host) + source->config->commit_every;
    return source->config->common.create_given ? create_topics(source, error) : subscribe(source, error);
}

/* PL_OK: subscribed. PL_AGAIN: topics are being made. */
static pl_status get_ready(kafka_source_self *source, int64_t deadline_ns, pl_error *error)
{
    const pl_host *host = source->link.host;
    if (!source->link.rk && open_client(source, error) != PL_OK)
        return PL_FAILED;
    if (source->phase == KAFKA_CREATING) {
        pl_status status = kafka_admin_poll(&source->admin, kafka_link_slice(&source->link, deadline_ns), error);
        (void)rd_kafka_poll(source->link.rk, 0); /* the state of the connection */
        if (status != PL_OK)
            return status;
        source->grace_until_ns = host->now_ns(host) + 15 * second_ns;
        return subscribe(source, error);
    }
    if (source->subscribe_again_ns && host->now_ns(host) >= source->subscribe_again_ns)
        return subscribe(source, error);
    return PL_OK;
}

/* ---- Reading --------------------------------------------------------------- */

static pl_str bytes(const void *ptr, size_t len)
{
    return ptr ? (pl_str){ptr, len} : (pl_str){NULL, 0};
}

/* librdkafka allocates a buffer for the look at each record, also at one without headers: 1,070 instructions a record,
 * measured on 2.0.2 with callgrind. */
static void fill_headers(kafka_source_self *source, const rd_kafka_message_t *message, pl_emission *out)
{
    rd_kafka_headers_t *headers = NULL;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    size_t count = rd_kafka_header_cnt(headers);
    if (count > source->header_room) {
        pl_field *grown = realloc(source->headers, count * sizeof *grown);
        if (!grown)
            abort(); /* as librdkafka does; losing headers without a word would be worse */
        source->headers = grown;
        source->header_room = count;
    }
    for (size_t i = 0; i < count; i++) {
        const char *name;
        const void *value;
        size_t size;
        (void)rd_kafka_header_get_all(headers, i, &name, &value, &size);
        source->headers[i].name = PL_S(name);
        source->headers[i].value =
            value ? (pl_value){.type = PL_BYTES, .as.s = bytes(value, size)} : (pl_value){.type = PL_NIL};
    }
    out->headers = source->headers;
    out->header_count = (uint32_t)count;
}

static bool hand_over(kafka_source_self *source, const rd_kafka_message_t *message)
{
    kafka_partition *partition = kafka_partition_of(source, message);
    if (!partition)
        return true; /* taken from us in the meantime: its next owner reads it */
    rd_kafka_timestamp_type_t type;
    int64_t time_ms = rd_kafka_message_timestamp(message, &type);
    if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE)
        time_ms = -1;
    pl_emission emission = {
        .struct_size = sizeof emission,
        .lane = partition->lane,
        .position = (uint64_t)message->offset,
        .time_unix_ns = time_ms > 0 ? time_ms * KAFKA_NS_PER_MS : 0,
        .stream = {partition->topic, partition->topic_len},
        .key = bytes(message->key, message->key_len),
        .payload = bytes(message->payload, message->len),
        .flags = message->offset < partition->replay_until ? PL_EMIT_REPLAY : 0,
    };
    if (source->config->headers)
        fill_headers(source, message, &emission);
    partition->end = message->offset + 1;
    kafka_fetch_read(source, message->len + message->key_len);
    if (time_ms >= 0)
        kafka_marks_add(&partition->marks, message->offset, time_ms);
    return source->link.host->emit(source->link.host, &emission);
}

static pl_status on_consumer_error(kafka_source_self *source, const rd_kafka_message_t *message, pl_error *error)
{
    const pl_host *host = source->link.host;
    const char *topic = message->rkt ? rd_kafka_topic_name(message->rkt) : "";
    const char *text = rd_kafka_message_errstr(message);
    kafka_partition *partition;
    switch ((int)message->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        partition = kafka_partition_of(source, message);
        if (partition)
            partition->at_end = true;
        return PL_OK;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        if (host->now_ns(host) < source->grace_until_ns) {
            source->subscribe_again_ns = host->now_ns(host) + second_ns / 5;
            return PL_OK;
        }
        return kafka_missing_topic(topic, source->config->common.create_given, error);
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        return pl_fail(error, PL_HALT, "not allowed to read topic '%s'", topic);
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        return pl_fail(error, PL_HALT, "not allowed to join the group '%s'", source->config->group);
    case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
        kafka_log(host, PL_WARN,
                  "held back for longer than max.poll.interval.ms, so the group went on without us; "
                  "joining again, records not yet committed are read again");
        return PL_OK;
    default:
        kafka_log(host, PL_WARN, "%s%s%s", topic, topic[0] ? ": " : "", text ? text : rd_kafka_err2str(message->err));
        return PL_OK;
    }
}

/* Up to MESSAGES_A_CALL, one by one: rd_kafka_consume_batch loses records around rebalances below 2.1.0. */
static pl_status read_some(kafka_source_self *source, int64_t deadline_ns, pl_error *error)
{
    const pl_host *host = source->link.host;
    int wait_ms = kafka_link_slice(&source->link, deadline_ns);
    for (int i = 0; i < MESSAGES_A_CALL; i++) {
        if (i && i % LOOK_EVERY == 0 && (kafka_link_interrupted(&source->link) || host->now_ns(host) >= deadline_ns))
            return PL_OK;
        rd_kafka_message_t *message = rd_kafka_consumer_poll(source->link.rk, wait_ms);
        if (!message)
            return PL_OK;
        wait_ms = 0;
        bool more = true;
        pl_status status = PL_OK;
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (i == 0)
                kafka_link_up(&source->link);
            more = hand_over(source, message);
        } else {
            status = on_consumer_error(source, message, error);
        }
        rd_kafka_message_destroy(message);
        if (status != PL_OK || !more)
            return status;
    }
    return PL_OK;
}

static bool read_to_end(const kafka_source_self *source)
{
    size_t left = 0;
    for (size_t i = 0; i < source->partition_count; i++)
        left += !source->partitions[i].at_end;
    return source->config->to_end && source->partition_count && !left;
}

/* From what librdkafka knows already: no request. */
static void observe_lag(kafka_source_self *source)
{
    const pl_host *host = source->link.host;
    int64_t now = host->now_ns(host), lag = 0;
    if (now < source->lag_due_ns)
        return;
    source->lag_due_ns = now + second_ns;
    for (size_t i = 0; i < source->partition_count; i++) {
        const kafka_partition *p = &source->partitions[i];
        int64_t low = -1, high = -1;
        if (rd_kafka_get_watermark_offsets(source->link.rk, p->topic, p->partition, &low, &high) ==
                RD_KAFKA_RESP_ERR_NO_ERROR &&
            high >= 0 && p->end >= 0 && high > p->end)
            lag += high - p->end;
    }
    host->observe(source->lag, (double)lag);
}

static pl_status source_next(void *self, int64_t deadline_ns, int64_t *resume_ns, pl_error *error)
{
    kafka_source_self *source = self;
    (void)resume_ns;
    pl_status status = get_ready(source, deadline_ns, error);
    if (status == PL_OK) {
        kafka_commit_tick(source);
        kafka_rewind_tick(source);
        status = read_some(source, deadline_ns, error);
        observe_lag(source);
    }
    if (status != PL_FAILED) {
        kafka_link_probe(&source->link);
        status = kafka_link_check(&source->link, error);
    }
    return status == PL_OK && read_to_end(source) ? PL_END : status;
}

static pl_status source_commit(void *self, uint32_t lane, uint64_t position, pl_error *error)
{
    kafka_source_self *source = self;
    (void)error;
    for (size_t i = 0; i < source->partition_count; i++)
        if (source->partitions[i].lane == lane)
            kafka_settled(&source->partitions[i], (int64_t)position);
    if (source->link.rk)
        kafka_commit_tick(source);
    return PL_OK;
}

const pl_source kafka_source = {
    .struct_size = sizeof(pl_source),
    .flags = PL_SOURCE_REPLAYS | PL_SOURCE_SHARES,
    .next = source_next,
    .commit = source_commit,
};
