/* "pl.provision/1": the topics of a config, told and looked at, made and grown for `plumbline topics`. */
#include "common.h"

#include <time.h>

enum {
    LOOK_FIRST_MS = 500, /* the first wait for an answer; then twice as long each time */
    LOOK_LONGEST_MS = 4000,
    SEEN_AGAIN_MS = 100, /* brokers learn of a change one after the other */
    CONFIGS_MAX = 64     /* settings of one topic that are compared */
};

typedef void (*tell_function)(void *to, const pl_resource *resource);

/* ---- Listing, from the config alone ------------------------------------------------- */

typedef struct listing {
    pl_property properties[CONFIGS_MAX + 3];
    uint32_t count;
    char partitions[24], replication[24];
    char options[CONFIGS_MAX][64];
} listing;

static void add_property(listing *l, const char *name, const char *value, const char *option, uint32_t flags)
{
    l->properties[l->count++] = (pl_property){name, value, option, flags};
}

/* A setting without a value arrives as NULL. */
static const char *value_of(const kafka_property *setting)
{
    return setting->value ? setting->value : "";
}

/* What `create_topic` declares. */
static void list_declared(listing *l, const kafka_common *common)
{
    const struct kafka_create_topic *create = &common->create_topic;
    const kafka_property *settings = create->config.items;
    (void)snprintf(l->partitions, sizeof l->partitions, "%lld", (long long)create->partitions);
    (void)snprintf(l->replication, sizeof l->replication, "%lld", (long long)create->replication);
    add_property(l, "partitions", l->partitions, "create_topic.partitions", PL_PROPERTY_ALIKE);
    add_property(l, "replication", l->replication, "create_topic.replication", 0);
    for (size_t i = 0; i < create->config.count && i < CONFIGS_MAX; i++) {
        (void)snprintf(l->options[i], sizeof l->options[i], "create_topic.config[\"%.40s\"]", settings[i].key);
        add_property(l, settings[i].key, value_of(&settings[i]), l->options[i], 0);
    }
}

static void tell_topic(const kafka_common *common, const listing *l, pl_resource *topic, tell_function tell, void *to)
{
    char brokers[512];
    topic->struct_size = sizeof *topic;
    topic->kind = "topic";
    topic->place = kafka_brokers_text(common, brokers, sizeof brokers);
    topic->flags |= common->create_given && !(topic->flags & PL_RESOURCE_PATTERN) ? PL_RESOURCE_DECLARED : 0;
    topic->properties = l->properties;
    topic->property_count = l->count;
    tell(to, topic);
}

static pl_status list_source(const void *config, tell_function tell, void *to, pl_error *error)
{
    const kafka_source_config *source = config;
    const char *const *topics = source->topics.items;
    (void)error;
    listing l = {.count = 0};
    if (source->common.create_given)
        list_declared(&l, &source->common);
    for (size_t i = 0; i < source->topics.count; i++) {
        char option[32];
        (void)snprintf(option, sizeof option, "topics[%zu]", i);
        pl_resource topic = {.name = topics[i], .option = option};
        topic.flags = topics[i][0] == '^' ? PL_RESOURCE_PATTERN : 0;
        topic.flags |= strcmp(source->copartitioned, "false") == 0 ? PL_RESOURCE_APART : 0;
        tell_topic(&source->common, &l, &topic, tell, to);
    }
    return PL_OK;
}

static pl_status list_sink(const void *config, tell_function tell, void *to, pl_error *error)
{
    const kafka_sink_config *sink = config;
    char relies[128];
    (void)error;
    listing l = {.count = 0};
    if (sink->common.create_given)
        list_declared(&l, &sink->common);
    add_property(&l, "partitioner", sink->partitioner, "partitioner", PL_PROPERTY_ALIKE | PL_PROPERTY_USE);
    (void)snprintf(relies, sizeof relies, "key: %s", sink->key ? sink->key : "");
    pl_resource topic = {.name = sink->topic,
                         .option = "topic",
                         .relies = sink->key ? relies : NULL,
                         .flags = strchr(sink->topic, '{') ? PL_RESOURCE_PATTERN : 0};
    tell_topic(&sink->common, &l, &topic, tell, to);
    return PL_OK;
}

/* ---- Connecting ---------------------------------------------------------------------- */

static pl_status open_client(kafka_link *link, pl_error *error)
{
    bool source = link->side == KAFKA_SOURCE;
    if (link->rk)
        return PL_OK;
    rd_kafka_conf_t *conf = source ? kafka_source_conf((const void *)link->config, link->host, error)
                                   : kafka_sink_conf((const void *)link->config, link->host, error);
    if (!conf)
        return PL_FAILED;
    kafka_link_conf(link, conf);
    return kafka_link_open(link, source ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, conf, error);
}

static int left_ms(const kafka_link *link, int64_t deadline_ns)
{
    int64_t left = (deadline_ns - link->host->now_ns(link->host)) / KAFKA_NS_PER_MS;
    return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static pl_status gave_up(const kafka_link *link, const char *why, pl_error *error)
{
    char brokers[80];
    const char *reason = link->reason[0] ? link->reason : why;
    const char *detail = strstr(reason, " (after "); /* how long this state took, and how often: no help */
    return pl_fail(error, PL_RETRY, "no broker of %s answers in time: %.*s",
                   kafka_brokers_text(link->config, brokers, sizeof brokers),
                   detail ? (int)(detail - reason) : (int)strnlen(reason, 140), reason);
}

/* ---- Looking ---------------------------------------------------------------------------- */

/* *found: metadata of the one topic, free with rd_kafka_metadata_destroy. */
static pl_status ask_metadata(kafka_link *link, const char *topic, int64_t deadline_ns,
                              const struct rd_kafka_metadata **found, pl_error *error)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(link->rk, topic, NULL);
    if (!handle)
        return pl_fail(error, PL_HALT, "topic '%s': %s", topic, rd_kafka_err2str(rd_kafka_last_error()));
    rd_kafka_resp_err_t code;
    pl_status status;
    int wait_ms = LOOK_FIRST_MS;
    do {
        int left = left_ms(link, deadline_ns);
        code = rd_kafka_metadata(link->rk, 0, handle, found, left < wait_ms ? left : wait_ms);
        (void)rd_kafka_poll(link->rk, 0); /* the state of the connection */
        status = code == RD_KAFKA_RESP_ERR_NO_ERROR ? PL_OK : kafka_link_check(link, error);
        wait_ms = wait_ms < LOOK_LONGEST_MS ? wait_ms * 2 : wait_ms;
    } while (code != RD_KAFKA_RESP_ERR_NO_ERROR && status == PL_OK && left_ms(link, deadline_ns) > 0);
    rd_kafka_topic_destroy(handle);
    return status != PL_OK || code == RD_KAFKA_RESP_ERR_NO_ERROR ? status
                                                                 : gave_up(link, rd_kafka_err2str(code), error);
}

/* *partitions 0: the topic is not there. */
static pl_status ask_topic(kafka_link *link, const char *name, int64_t deadline_ns, int *partitions, int *replication,
                           pl_error *error)
{
    const struct rd_kafka_metadata *found = NULL;
    *partitions = *replication = 0;
    if (ask_metadata(link, name, deadline_ns, &found, error) != PL_OK)
        return PL_FAILED;
    const struct rd_kafka_metadata_topic *topic = found->topic_cnt ? &found->topics[0] : NULL;
    rd_kafka_resp_err_t code = topic ? topic->err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    if (topic) {
        *partitions = topic->partition_cnt;
        *replication = topic->partition_cnt ? topic->partitions[0].replica_cnt : 0;
    }
    rd_kafka_metadata_destroy(found);
    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        return pl_fail(error, PL_HALT, "not allowed to see topic '%s'", name);
    bool told = *partitions || code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
                code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
                code == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION; /* no such name can be: making it says why */
    return told ? PL_OK : pl_fail(error, PL_RETRY, "topic '%s': %s", name, rd_kafka_err2str(code));
}

/* Waits for the answer to an admin request. NULL: error says why. */
static rd_kafka_event_t *await(kafka_link *link, rd_kafka_queue_t *queue, int64_t deadline_ns, pl_error *error)
{
    for (;;) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, KAFKA_SLICE_MS);
        (void)rd_kafka_poll(link->rk, 0);
        if (event && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR)
            return event;
        if (event) {
            error->code = rd_kafka_event_error(event);
            (void)pl_fail(error, PL_HALT, "%.200s", rd_kafka_event_error_string(event));
            rd_kafka_event_destroy(event);
            return NULL;
        }
        if (kafka_link_check(link, error) != PL_OK)
            return NULL;
        if (left_ms(link, deadline_ns) == 0) {
            (void)gave_up(link, "timed out", error);
            return NULL;
        }
    }
}

static rd_kafka_AdminOptions_t *admin_options(kafka_link *link, rd_kafka_admin_op_t operation, int64_t deadline_ns)
{
    char text[128];
    int left = left_ms(link, deadline_ns);
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(link->rk, operation);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, left > 1 ? left : 1, text, sizeof text);
    if (operation == RD_KAFKA_ADMIN_OP_CREATEPARTITIONS)
        (void)rd_kafka_AdminOptions_set_operation_timeout(options, left > 1 ? left : 1, text, sizeof text);
    return options;
}

/* ---- Settings: what create_topic.config names, as the broker has it ----------------------- */

static pl_status ask_settings(kafka_link *link, const char *name, int64_t deadline_ns, rd_kafka_event_t **answer,
                              pl_error *error)
{
    rd_kafka_ConfigResource_t *topic = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(link->rk);
    rd_kafka_AdminOptions_t *options = admin_options(link, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, deadline_ns);
    rd_kafka_DescribeConfigs(link->rk, &topic, 1, options, queue);
    *answer = await(link, queue, deadline_ns, error);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(topic);
    return *answer ? PL_OK : PL_FAILED;
}

static const char *setting_named(const rd_kafka_ConfigEntry_t *const *entries, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0)
            return rd_kafka_ConfigEntry_value(entries[i]);
    return NULL;
}

static pl_status add_settings(listing *l, const struct kafka_create_topic *create, const rd_kafka_event_t *answer,
                              pl_error *error)
{
    size_t resource_count = 0, count = 0;
    const kafka_property *settings = create->config.items;
    const rd_kafka_ConfigResource_t **resources = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result((rd_kafka_event_t *)(uintptr_t)answer), &resource_count);
    rd_kafka_resp_err_t code = resource_count ? rd_kafka_ConfigResource_error(resources[0]) : RD_KAFKA_RESP_ERR_UNKNOWN;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return pl_fail(error, PL_HALT, "can't read the topic's settings: %s", rd_kafka_err2str(code));
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resources[0], &count);
    for (size_t i = 0; i < create->config.count && i < CONFIGS_MAX; i++) {
        const char *value = setting_named(entries, count, settings[i].key);
        bool same = value && strcmp(value, value_of(&settings[i])) == 0;
        add_property(l, settings[i].key, value, NULL, same ? 0 : PL_PROPERTY_FIXED);
    }
    return PL_OK;
}

/* ---- Looking at a topic ------------------------------------------------------------------- */

static void add_counts(listing *l, const kafka_common *common, int partitions, int replication)
{
    const struct kafka_create_topic *create = &common->create_topic;
    uint32_t flags = !common->create_given || create->partitions == partitions ? 0
                     : create->partitions > partitions                         ? PL_PROPERTY_GROWS
                                                                               : PL_PROPERTY_FIXED;
    (void)snprintf(l->partitions, sizeof l->partitions, "%d", partitions);
    (void)snprintf(l->replication, sizeof l->replication, "%d", replication);
    add_property(l, "partitions", l->partitions, NULL, flags | PL_PROPERTY_ALIKE);
    flags = common->create_given && create->replication != replication ? PL_PROPERTY_FIXED : 0;
    add_property(l, "replication", l->replication, NULL, flags);
}

static pl_status look(void *self, const pl_resource *listed, int64_t deadline_ns, tell_function tell, void *to,
                      pl_error *error)
{
    kafka_link *link = self;
    const char *name = listed->name;
    const kafka_common *common = link->config;
    int partitions, replication;
    listing l = {.count = 0};
    rd_kafka_event_t *answer = NULL;
    if (open_client(link, error) != PL_OK ||
        ask_topic(link, name, deadline_ns, &partitions, &replication, error) != PL_OK)
        return PL_FAILED;
    if (!partitions)
        return PL_OK;
    add_counts(&l, common, partitions, replication);
    pl_status status = PL_OK;
    if (common->create_given && common->create_topic.config.count) {
        status = ask_settings(link, name, deadline_ns, &answer, error);
        if (status == PL_OK)
            status = add_settings(&l, &common->create_topic, answer, error);
    }
    pl_resource found = {.name = name};
    if (status == PL_OK)
        tell_topic(common, &l, &found, tell, to);
    if (answer)
        rd_kafka_event_destroy(answer);
    return status;
}

/* ---- Changing ------------------------------------------------------------------------------- */

/* Until the broker that is asked knows of it, too. */
static pl_status wait_seen(kafka_link *link, const char *name, int partitions, int64_t deadline_ns, pl_error *error)
{
    int seen, replication;
    const struct timespec pause = {.tv_nsec = SEEN_AGAIN_MS * KAFKA_NS_PER_MS};
    for (;;) {
        pl_status status = ask_topic(link, name, deadline_ns, &seen, &replication, error);
        bool over = left_ms(link, deadline_ns) == 0;
        if (status != PL_OK && (over || error->error_class != PL_RETRY))
            return status;
        if (status == PL_OK && seen >= partitions)
            return PL_OK;
        if (over)
            return pl_fail(error, PL_RETRY, "topic '%s' was to have %d partitions and is still seen with %d", name,
                           partitions, seen);
        (void)nanosleep(&pause, NULL);
    }
}

static pl_status make(void *self, const pl_resource *listed, int64_t deadline_ns, pl_error *error)
{
    kafka_link *link = self;
    const char *name = listed->name;
    kafka_admin admin;
    pl_status status = PL_FAILED;
    if (open_client(link, error) != PL_OK)
        return PL_FAILED;
    if (!kafka_admin_init(&admin, link))
        return pl_fail(error, PL_RETRY, "out of memory");
    admin.strict = true;
    if (kafka_admin_create(&admin, &name, 1, error) == PL_OK) {
        do {
            status = kafka_admin_poll(&admin, KAFKA_SLICE_MS, error);
            (void)rd_kafka_poll(link->rk, 0);
            if (status == PL_AGAIN && kafka_link_check(link, error) != PL_OK)
                status = PL_FAILED;
        } while (status == PL_AGAIN && left_ms(link, deadline_ns) > 0);
        if (status == PL_AGAIN)
            status = gave_up(link, "timed out", error);
    }
    kafka_admin_release(&admin);
    return status == PL_OK ? wait_seen(link, name, (int)link->config->create_topic.partitions, deadline_ns, error)
                           : PL_FAILED;
}

static pl_status grow(void *self, const pl_resource *listed, int64_t deadline_ns, pl_error *error)
{
    kafka_link *link = self;
    const char *name = listed->name;
    char text[160];
    if (open_client(link, error) != PL_OK)
        return PL_FAILED;
    int64_t partitions = link->config->create_topic.partitions;
    rd_kafka_NewPartitions_t *wanted = rd_kafka_NewPartitions_new(name, (size_t)partitions, text, sizeof text);
    if (!wanted)
        return pl_fail(error, PL_HALT, "cannot grow topic '%s': %s", name, text);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(link->rk);
    rd_kafka_AdminOptions_t *options = admin_options(link, RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, deadline_ns);
    rd_kafka_CreatePartitions(link->rk, &wanted, 1, options, queue);
    rd_kafka_event_t *answer = await(link, queue, deadline_ns, error);
    pl_status status = answer ? PL_OK : PL_FAILED;
    if (answer) {
        size_t count = 0;
        const rd_kafka_topic_result_t **topics =
            rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(answer), &count);
        const char *why = count ? rd_kafka_topic_result_error_string(topics[0]) : NULL;
        if (count && rd_kafka_topic_result_error(topics[0]) != RD_KAFKA_RESP_ERR_NO_ERROR)
            status = pl_fail(error, PL_HALT, "cannot grow topic '%s': %.150s", name,
                             why ? why : rd_kafka_err2str(rd_kafka_topic_result_error(topics[0])));
        rd_kafka_event_destroy(answer);
    }
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewPartitions_destroy(wanted);
    return status == PL_OK ? wait_seen(link, name, (int)partitions, deadline_ns, error) : PL_FAILED;
}

const pl_provision kafka_source_provision = {
    .struct_size = sizeof(pl_provision), .list = list_source, .look = look, .make = make, .grow = grow};
const pl_provision kafka_sink_provision = {
    .struct_size = sizeof(pl_provision), .list = list_sink, .look = look, .make = make, .grow = grow};
