/* The limit of kafka_lua_kafka: a bare copy from topic to topic with librdkafka. Idempotent, all acknowledgements, each
 * offset stored once its copy and all before it are acknowledged: what a runtime may not do less of. No script, no
 * record. One partition. Usage: limit_kafka BROKERS GROUP IN_TOPIC OUT_TOPIC, until SIGTERM */
#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static volatile sig_atomic_t stop;
static int64_t acknowledged = -1; /* offset of the last copy acknowledged; they come in order */
static int failed;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk;
    (void)opaque;
    if (message->err) {
        (void)fprintf(stderr, "limit_kafka: %s\n", rd_kafka_err2str(message->err));
        failed = 1;
    } else {
        acknowledged = (int64_t)(intptr_t)message->_private;
    }
}

/* properties: name, value, ..., NULL */
static rd_kafka_t *open_client(rd_kafka_type_t type, const char *const *properties)
{
    char error[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (; *properties; properties += 2) {
        if (rd_kafka_conf_set(conf, properties[0], properties[1], error, sizeof error) != RD_KAFKA_CONF_OK) {
            (void)fprintf(stderr, "limit_kafka: %s\n", error);
            rd_kafka_conf_destroy(conf);
            return NULL;
        }
    }
    if (type == RD_KAFKA_PRODUCER) {
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    }
    rd_kafka_t *rk = rd_kafka_new(type, conf, error, sizeof error);
    if (!rk) {
        (void)fprintf(stderr, "limit_kafka: %s\n", error);
        rd_kafka_conf_destroy(conf);
    }
    return rk;
}

static int subscribe(rd_kafka_t *consumer, const char *topic)
{
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t error = rd_kafka_subscribe(consumer, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    (void)rd_kafka_poll_set_consumer(consumer);
    return error ? -1 : 0;
}

static void store_offset(rd_kafka_t *consumer, const char *topic)
{
    static int64_t stored = -1;
    if (acknowledged == stored) {
        return;
    }
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(offsets, topic, 0)->offset = acknowledged + 1;
    (void)rd_kafka_offsets_store(consumer, offsets);
    rd_kafka_topic_partition_list_destroy(offsets);
    stored = acknowledged;
}

static void forward(rd_kafka_t *producer, const char *topic, const rd_kafka_message_t *message)
{
    rd_kafka_vu_t vus[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {message->payload, message->len}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {message->key, message->key_len}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = rd_kafka_message_timestamp(message, NULL)},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = (void *)(intptr_t)message->offset},
    };
    rd_kafka_error_t *error;
    while ((error = rd_kafka_produceva(producer, vus, sizeof vus / sizeof *vus))) {
        rd_kafka_resp_err_t code = rd_kafka_error_code(error);
        rd_kafka_error_destroy(error);
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            failed = 1;
            return;
        }
        (void)rd_kafka_poll(producer, 100);
    }
}

static void copy(rd_kafka_t *consumer, rd_kafka_t *producer, const char *in, const char *out)
{
    for (unsigned n = 0; !stop && !failed; n++) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 100);
        if (message && !message->err) {
            forward(producer, out, message);
        }
        if (!message || n % 256 == 0) {
            (void)rd_kafka_poll(producer, 0);
            store_offset(consumer, in);
        }
        if (message) {
            rd_kafka_message_destroy(message);
        }
    }
    (void)rd_kafka_flush(producer, 10000);
    store_offset(consumer, in);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        (void)fprintf(stderr, "usage: limit_kafka BROKERS GROUP IN_TOPIC OUT_TOPIC\n");
        return 2;
    }
    (void)signal(SIGTERM, on_signal);
    const char *consume[] = {"bootstrap.servers",
                             argv[1],
                             "group.id",
                             argv[2],
                             "auto.offset.reset",
                             "earliest",
                             "enable.auto.offset.store",
                             "false",
                             "auto.commit.interval.ms",
                             "1000",
                             NULL};
    const char *produce[] = {"bootstrap.servers",
                             argv[1],
                             "enable.idempotence",
                             "true",
                             "message.timeout.ms",
                             "0",
                             "linger.ms",
                             "5",
                             "queue.buffering.max.kbytes",
                             "65536",
                             NULL};
    rd_kafka_t *consumer = open_client(RD_KAFKA_CONSUMER, consume);
    rd_kafka_t *producer = open_client(RD_KAFKA_PRODUCER, produce);
    if (!consumer || !producer || subscribe(consumer, argv[3])) {
        return 1;
    }
    copy(consumer, producer, argv[3], argv[4]);
    (void)rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    rd_kafka_destroy(producer);
    return failed;
}
