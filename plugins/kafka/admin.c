/* Topics made where `create_topic` asks for it: by the broker's CreateTopics, asynchronously. */
#include "common.h"

#include <stdlib.h>

enum { REQUEST_TIMEOUT_MS = 10000, OPERATION_TIMEOUT_MS = 5000, RETRY_NS = 1000000000 };

bool kafka_admin_init(kafka_admin *admin, kafka_link *link)
{
    *admin = (kafka_admin){.link = link, .queue = rd_kafka_queue_new(link->rk)};
    return admin->queue != NULL;
}

static void forget(kafka_admin *admin)
{
    if (admin->topics)
        rd_kafka_NewTopic_destroy_array(admin->topics, admin->topic_count);
    free(admin->topics);
    admin->topics = NULL;
    admin->topic_count = 0;
    admin->busy = false;
    admin->retry_ns = 0;
}

void kafka_admin_release(kafka_admin *admin)
{
    forget(admin);
    if (admin->queue)
        rd_kafka_queue_destroy(admin->queue);
    admin->queue = NULL;
}

static void ask(kafka_admin *admin)
{
    char text[128];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(admin->link->rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, REQUEST_TIMEOUT_MS, text, sizeof text);
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, OPERATION_TIMEOUT_MS, text, sizeof text);
    rd_kafka_CreateTopics(admin->link->rk, admin->topics, admin->topic_count, options, admin->queue);
    rd_kafka_AdminOptions_destroy(options);
    admin->busy = true;
    admin->retry_ns = 0;
}

pl_status kafka_admin_create(kafka_admin *admin, const char *const *names, size_t count, pl_error *error)
{
    const kafka_common *config = admin->link->config;
    char text[160];
    admin->topics = calloc(count, sizeof *admin->topics);
    if (!admin->topics)
        return pl_fail(error, PL_RETRY, "out of memory");
    for (size_t i = 0; i < count; i++) {
        rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(names[i], (int)config->create_topic.partitions,
                                                           (int)config->create_topic.replication, text, sizeof text);
        if (!topic) {
            forget(admin);
            return pl_fail(error, PL_HALT, "cannot create topic '%s': %s", names[i], text);
        }
        const kafka_property *settings = config->create_topic.config.items;
        for (size_t j = 0; j < config->create_topic.config.count; j++)
            (void)rd_kafka_NewTopic_set_config(topic, settings[j].key, settings[j].value);
        admin->topics[admin->topic_count++] = topic;
    }
    ask(admin);
    return PL_OK;
}

static bool passes(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS;
}

static bool worth_retrying(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_NOT_CONTROLLER:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
        return true;
    default:
        return false;
    }
}

static bool not_allowed(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
}

/* One topic's answer: PL_OK, PL_AGAIN (ask again) or PL_FAILED. */
static pl_status judge(kafka_admin *admin, const rd_kafka_topic_result_t *result, pl_error *error)
{
    rd_kafka_resp_err_t code = rd_kafka_topic_result_error(result);
    const char *name = rd_kafka_topic_result_name(result), *text = rd_kafka_topic_result_error_string(result);
    const kafka_common *config = admin->link->config;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        kafka_log(admin->link->host, PL_INFO, "created topic '%s', partitions %lld, replication %lld", name,
                  (long long)config->create_topic.partitions, (long long)config->create_topic.replication);
    if (passes(code))
        return PL_OK;
    if (worth_retrying(code))
        return PL_AGAIN;
    if (not_allowed(code) && !admin->strict) { /* the topic may well be there: reading or writing it will tell */
        kafka_log(admin->link->host, PL_WARN, "not allowed to create topic '%s'; going on as if it were there", name);
        return PL_OK;
    }
    error->code = code;
    return pl_fail(error, PL_HALT, "cannot create topic '%s': %s", name, text ? text : rd_kafka_err2str(code));
}

static pl_status judge_all(kafka_admin *admin, rd_kafka_event_t *event, pl_error *error)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) { /* the request as a whole: no controller was reached */
        kafka_log(admin->link->host, PL_DEBUG, "CreateTopics: %s", rd_kafka_event_error_string(event));
        return PL_AGAIN;
    }
    kafka_link_up(admin->link);
    const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
    size_t count = 0;
    const rd_kafka_topic_result_t **topics = rd_kafka_CreateTopics_result_topics(result, &count);
    pl_status worst = PL_OK;
    for (size_t i = 0; i < count && worst != PL_FAILED; i++) {
        pl_status status = judge(admin, topics[i], error);
        if (status != PL_OK)
            worst = status;
    }
    return worst;
}

pl_status kafka_admin_poll(kafka_admin *admin, int timeout_ms, pl_error *error)
{
    int64_t now = admin->link->host->now_ns(admin->link->host);
    if (!admin->busy && admin->retry_ns && now >= admin->retry_ns)
        ask(admin);
    rd_kafka_event_t *event = rd_kafka_queue_poll(admin->queue, timeout_ms);
    if (!event)
        return PL_AGAIN;
    pl_status status = PL_AGAIN;
    if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_CREATETOPICS_RESULT) {
        admin->busy = false;
        status = judge_all(admin, event, error);
        if (status == PL_AGAIN)
            admin->retry_ns = now + RETRY_NS;
        else
            forget(admin);
    }
    rd_kafka_event_destroy(event);
    return status;
}

pl_status kafka_missing_topic(const char *topic, bool create_given, pl_error *error)
{
    error->code = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    return pl_fail(error, PL_HALT, "topic '%s' does not exist%s", topic,
                   create_given ? " any more" : "; create it or set create_topic");
}
