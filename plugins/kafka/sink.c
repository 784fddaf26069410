/* The sink: payloads go to librdkafka uncopied, and a record is settled by its delivery report. Reports are served in
 * write and flush; an event on librdkafka's queue wakes the core to call them. */
#include "sink.h"

#include <stdlib.h>

static const int64_t second_ns = 1000000000;
_Static_assert(sizeof(void *) == 8, "a message's opaque holds a slot and an index, 32 bits each");

/* ---- Life -------------------------------------------------------------------- */

pl_status kafka_sink_create(const pl_host *host, const void *config, void **self, pl_error *error)
{
    kafka_sink_self *sink = calloc(1, sizeof *sink);
    if (!sink)
        return pl_fail(error, PL_RETRY, "out of memory");
    sink->config = config;
    sink->latency_us = -1;
    sink->transactional = host->extension(host, "pl.txn/1") != NULL;
    sink->templated = strchr(sink->config->topic, '{') != NULL;
    const char *timestamp = sink->config->timestamp;
    sink->timestamp = !strcmp(timestamp, "event") ? KAFKA_TIME_EVENT
                      : !strcmp(timestamp, "now") ? KAFKA_TIME_NOW
                                                  : KAFKA_TIME_AUTO;
    kafka_link_init(&sink->link, host, &sink->config->common, KAFKA_SINK);
    kafka_inflight_init(&sink->inflight, host);
    sink->queue = host->metric(host, PL_GAUGE, "queue", "records", "records waiting for their acknowledgement");
    sink->delivery =
        host->metric(host, PL_HISTOGRAM, "delivery_seconds", "s", "from write to acknowledgement, sampled");
    sink->failures = host->metric(host, PL_COUNTER, "delivery_errors", "records", "records the brokers did not take");
    *self = sink;
    return PL_OK;
}

void kafka_sink_interrupt(void *self)
{
    kafka_sink_self *sink = self;
    atomic_store(&sink->link.interrupted, true);
}

void kafka_sink_destroy(void *self)
{
    kafka_sink_self *sink = self;
    if (!sink)
        return;
    if (sink->link.rk) {
        if (sink->events) {
            rd_kafka_queue_cb_event_enable(sink->events, NULL, NULL);
            rd_kafka_queue_destroy(sink->events);
        }
        if (sink->admin.queue)
            rd_kafka_queue_cb_event_enable(sink->admin.queue, NULL, NULL);
        kafka_admin_release(&sink->admin);
        kafka_topics_release(sink);
        /* What is still out stays unsettled; the core has counted it. */
        rd_kafka_destroy(sink->link.rk);
    }
    kafka_topics_release(sink);
    (void)pthread_mutex_destroy(&sink->link.log_lock);
    kafka_inflight_release(&sink->inflight);
    free(sink);
}

/* [any] On a thread of librdkafka: something waits to be served. */
static void on_event(rd_kafka_t *rk, void *opaque)
{
    const kafka_link *link = opaque;
    (void)rk;
    link->host->wake(link->host);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque);

pl_status kafka_sink_open(kafka_sink_self *sink, pl_error *error)
{
    if (sink->link.rk)
        return PL_OK;
    rd_kafka_conf_t *conf = kafka_sink_conf(sink->config, sink->link.host, error);
    if (!conf)
        return PL_FAILED;
    kafka_link_conf(&sink->link, conf);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    if (kafka_link_open(&sink->link, RD_KAFKA_PRODUCER, conf, error) != PL_OK)
        return PL_FAILED;
    sink->events = rd_kafka_queue_get_main(sink->link.rk);
    rd_kafka_queue_cb_event_enable(sink->events, on_event, &sink->link);
    if (kafka_admin_init(&sink->admin, &sink->link))
        rd_kafka_queue_cb_event_enable(sink->admin.queue, on_event, &sink->link);
    return PL_OK;
}

/* ---- Delivery reports ------------------------------------------------------------ */

/* What a failed delivery means for its record. */
static void classify(rd_kafka_resp_err_t code, const char *topic, const char *text, pl_error *why)
{
    char detail[160];
    why->code = code;
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
        (void)pl_fail(why, PL_REJECT, "topic '%s' refuses the record: %s", topic, text);
        return;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return; /* kafka_missing_topic has the words */
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
        (void)pl_fail(why, PL_HALT, "cannot write to topic '%s': %s", topic, text);
        return;
    default:
        (void)snprintf(detail, sizeof detail, "%s", text);
        (void)pl_fail(why, PL_RETRY, "writing to topic '%s': %s", topic, detail);
    }
}

/* sent: it is a broker that refuses. */
static void fail_record(kafka_sink_self *sink, uint32_t slot, uint32_t index, rd_kafka_resp_err_t code, bool sent,
                        const char *topic, const char *text)
{
    pl_error why = {.struct_size = sizeof why};
    classify(code, topic, text, &why);
    if (!why.error_class)
        (void)kafka_missing_topic(topic, sink->config->common.create_given, &why);
    if (sink->transactional && why.error_class == PL_REJECT && sent)
        (void)pl_fail(&why, PL_HALT,
                      "topic '%s' refuses a record (%s), which ends its transaction each time; a lower "
                      "message.max.bytes under librdkafka: makes it a dead letter",
                      topic, text);
    if (code == RD_KAFKA_RESP_ERR__FATAL ||
        (why.error_class == PL_RETRY && rd_kafka_fatal_error(sink->link.rk, NULL, 0))) {
        kafka_link_fatal(&sink->link);
        (void)kafka_link_check(&sink->link, &why);
    }
    sink->link.host->observe(sink->failures, 1);
    kafka_inflight_failed(&sink->inflight, slot, index, &why);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    kafka_sink_self *sink = opaque;
    (void)rk;
    uint64_t tag = (uint64_t)(uintptr_t)message->_private;
    uint32_t slot = (uint32_t)(tag >> 32), index = (uint32_t)tag;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        int64_t latency = rd_kafka_message_latency(message);
        sink->latency_us = latency < 0 ? 0 : latency;
        kafka_inflight_done(&sink->inflight, slot, index);
    } else {
        fail_record(sink, slot, index, message->err, true, rd_kafka_topic_name(message->rkt),
                    rd_kafka_err2str(message->err));
    }
}

/* What the delivery reports of one poll or flush said of the broker: it answers. */
static void tell_delivered(kafka_sink_self *sink)
{
    kafka_inflight_tell(&sink->inflight);
    if (sink->latency_us < 0)
        return;
    kafka_link_up(&sink->link);
    sink->link.host->observe(sink->delivery, (double)sink->latency_us / 1e6);
    sink->latency_us = -1;
}

static void serve(kafka_sink_self *sink, int timeout_ms)
{
    const pl_host *host = sink->link.host;
    (void)rd_kafka_poll(sink->link.rk, timeout_ms);
    tell_delivered(sink);
    int64_t now = host->now_ns(host);
    if (now >= sink->observe_due_ns) {
        sink->observe_due_ns = now + second_ns;
        host->observe(sink->queue, (double)sink->inflight.records);
    }
}

/* ---- Producing --------------------------------------------------------------------- */

/* A field's value as the bytes of a key. */
static pl_str key_bytes(kafka_sink_self *sink, const pl_value *value)
{
    int len = 0;
    switch (value->type) {
    case PL_STR:
    case PL_DECIMAL:
    case PL_BYTES:
    case PL_JSON:
        return value->as.s;
    case PL_INT:
    case PL_TIME:
        len = snprintf(sink->number, sizeof sink->number, "%lld", (long long)value->as.i);
        break;
    case PL_FLOAT:
        len = snprintf(sink->number, sizeof sink->number, "%.17g", value->as.f);
        break;
    case PL_BOOL:
        len = snprintf(sink->number, sizeof sink->number, "%s", value->as.b ? "true" : "false");
        break;
    default:
        return (pl_str){NULL, 0};
    }
    return (pl_str){sink->number, (size_t)len};
}

static pl_str key_of(kafka_sink_self *sink, const pl_record *record, const pl_emission *origin)
{
    pl_value value;
    const pl_host *host = sink->link.host;
    if (sink->config->key && host->field(host, record, PL_S(sink->config->key), &value))
        return key_bytes(sink, &value);
    return origin->key;
}

static rd_kafka_headers_t *headers_of(kafka_sink_self *sink, const pl_emission *origin)
{
    if (!origin->header_count)
        return NULL;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(origin->header_count);
    for (uint32_t i = 0; i < origin->header_count; i++) {
        const pl_field *header = &origin->headers[i];
        pl_str value = key_bytes(sink, &header->value);
        (void)rd_kafka_header_add(headers, header->name.ptr, (ssize_t)header->name.len, value.ptr,
                                  value.ptr ? (ssize_t)value.len : 0);
    }
    return headers;
}

/* Milliseconds; 0: librdkafka takes the time of writing.
 *
 * A broker that starts again forgets each producer whose newest record is older than producer.id.expiration.ms (a day),
 * by the record's own timestamp, and then takes a batch a second time when its acknowledgement was lost: with
 * timestamps of months ago, one kill -9 in six left duplicates (Kafka 4.1). It also deletes by these timestamps, and
 * refuses those over an hour ahead (message.timestamp.after.max.ms). So far from now, the time of writing is the safe
 * one. */
static int64_t timestamp_of(const kafka_sink_self *sink, const pl_emission *origin)
{
    static const int64_t hour_ms = 3600000;
    int64_t event_ms = origin->time_unix_ns / KAFKA_NS_PER_MS, ahead_ms = event_ms - sink->now_ms;
    if (sink->timestamp == KAFKA_TIME_NOW ||
        (sink->timestamp == KAFKA_TIME_AUTO && (ahead_ms < -12 * hour_ms || ahead_ms > hour_ms / 2)))
        return 0;
    return event_ms;
}

static rd_kafka_resp_err_t produce(kafka_sink_self *sink, const kafka_topic *topic, const pl_record *record,
                                   uint64_t tag)
{
    const pl_host *host = sink->link.host;
    const pl_emission *origin = host->origin(host, record);
    rd_kafka_headers_t *headers = headers_of(sink, origin);
    pl_str payload = host->payload(host, record), key = key_of(sink, record, origin);
    rd_kafka_vu_t vus[8] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic->handle},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = RD_KAFKA_PARTITION_UA},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = 0}, /* neither copied nor freed: the payload outlives the settling */
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)payload.ptr, payload.len}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)key.ptr, key.len}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = timestamp_of(sink, origin)},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = (void *)(uintptr_t)tag},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    rd_kafka_error_t *failed = rd_kafka_produceva(sink->link.rk, vus, headers ? 8 : 7);
    if (!failed)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_resp_err_t code = rd_kafka_error_code(failed);
    rd_kafka_error_destroy(failed);
    if (headers)
        rd_kafka_headers_destroy(headers);
    return code;
}

/* librdkafka's own limit, met before anything is sent. */
static const char *too_large(kafka_sink_self *sink, const pl_record *record)
{
    char limit[24] = "?";
    size_t size = sizeof limit;
    (void)rd_kafka_conf_get(rd_kafka_conf(sink->link.rk), "message.max.bytes", limit, &size);
    (void)snprintf(sink->text, sizeof sink->text, "%zu bytes, more than librdkafka's message.max.bytes, %s",
                   sink->link.host->payload(sink->link.host, record).len, limit);
    return sink->text;
}

/* One record of the pending batch. PL_AGAIN: not now, the queue is full or its topic is being made. PL_OK: given to
 * librdkafka, or settled with an error of its own. */
static pl_status pump_one(kafka_sink_self *sink, uint32_t index)
{
    const pl_record *record = sink->pending.records[index];
    pl_error why = {.struct_size = sizeof why};
    kafka_topic *topic = NULL;
    pl_status status = kafka_link_check(&sink->link, &why);
    if (status == PL_OK)
        status = kafka_topic_of(sink, record, &topic, &why);
    if (status == PL_AGAIN)
        return PL_AGAIN;
    if (status == PL_FAILED) {
        if (why.error_class == PL_HALT)
            kafka_link_halt(&sink->link, why.code, why.message);
        kafka_inflight_failed(&sink->inflight, sink->pending_slot, index, &why);
        return PL_OK;
    }
    rd_kafka_resp_err_t code = produce(sink, topic, record, (uint64_t)sink->pending_slot << 32 | index);
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return PL_AGAIN;
    if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        fail_record(sink, sink->pending_slot, index, code, false, topic->name, too_large(sink, record));
    else if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        fail_record(sink, sink->pending_slot, index, code, false, topic->name, rd_kafka_err2str(code));
    return PL_OK;
}

/* Gives librdkafka as much of the pending batch as it takes. PL_OK: none is left. */
static pl_status pump(kafka_sink_self *sink)
{
    sink->now_ms = sink->link.host->unix_ns(sink->link.host) / KAFKA_NS_PER_MS;
    while (sink->pending_next < sink->pending.count) {
        /* The last record's settling may be the end of the batch: count first. */
        uint32_t index = sink->pending_next++;
        if (pump_one(sink, index) == PL_AGAIN) {
            sink->pending_next = index;
            return PL_AGAIN;
        }
    }
    return PL_OK;
}

/* Everything that can go on without a new batch. PL_OK: no batch is pending. */
static pl_status advance(kafka_sink_self *sink, pl_error *error)
{
    serve(sink, 0);
    pl_status status = kafka_topics_tick(sink, 0);
    if (status == PL_OK)
        status = pump(sink);
    if (kafka_link_check(&sink->link, error) != PL_OK)
        return PL_FAILED;
    if (status == PL_OK && sink->refused) {
        sink->refused = false;
        sink->link.host->wake(sink->link.host);
    }
    return status;
}

static pl_status sink_write(void *self, const pl_batch *batch, int64_t deadline_ns, pl_error *error)
{
    kafka_sink_self *sink = self;
    (void)deadline_ns;
    if (kafka_sink_open(sink, error) != PL_OK)
        return PL_FAILED;
    pl_status status = advance(sink, error);
    if (status != PL_OK) {
        sink->refused = true;
        return status;
    }
    uint32_t slot = kafka_inflight_add(&sink->inflight, batch->ticket, batch->count);
    if (slot == KAFKA_NO_SLOT)
        return pl_fail(error, PL_RETRY, "out of memory");
    sink->pending = *batch;
    sink->pending_slot = slot;
    sink->pending_next = 0;
    (void)pump(sink); /* what is still pending goes on with the next call */
    serve(sink, 0);
    return PL_OK;
}

static pl_status sink_flush(void *self, int64_t deadline_ns, pl_error *error)
{
    kafka_sink_self *sink = self;
    if (!sink->link.rk)
        return PL_OK;
    for (;;) {
        pl_status status = advance(sink, error);
        if (status == PL_FAILED)
            return status;
        if (!sink->inflight.records)
            return PL_OK;
        int slice_ms = kafka_link_slice(&sink->link, deadline_ns);
        if (!slice_ms)
            break;
        if (status == PL_AGAIN && sink->creating)
            (void)kafka_topics_tick(sink, slice_ms);
        else
            (void)rd_kafka_flush(sink->link.rk, slice_ms); /* does not linger; reports are served within */
    }
    kafka_link_probe(&sink->link);
    return PL_AGAIN;
}

/* Dead letters are records of one topic. */
static pl_status read_back(void *self, const char *reader, void *source_config, pl_error *error)
{
    const kafka_sink_self *sink = self;
    kafka_source_config *source = source_config;
    if (sink->templated)
        return pl_fail(error, PL_BAD_CONFIG, "what went to topics by template (%s) can't be read back",
                       sink->config->topic);
    source->common = sink->config->common;
    source->topics = (pl_array){&sink->config->topic, 1};
    source->group = reader;
    source->to_end = true;
    return PL_OK;
}

const void *kafka_sink_extension(void *self, const char *id)
{
    static const pl_readback readback = {sizeof readback, read_back};
    (void)self;
    if (strcmp(id, "pl.txn/1") == 0)
        return &kafka_txn_sink;
    if (strcmp(id, "pl.provision/1") == 0)
        return &kafka_sink_provision;
    return strcmp(id, "pl.readback/1") == 0 ? &readback : NULL;
}

const pl_sink kafka_sink = {
    .struct_size = sizeof(pl_sink),
    .write = sink_write,
    .flush = sink_flush,
};
