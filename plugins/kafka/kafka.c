/* The plugin's declaration: options, components, entry. docs/plugins/kafka.md is the same from the user's side. */
#include "common.h"

#include "sink.h"
#include "source.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- Options -------------------------------------------------------------- */

static const pl_option broker_element = {.type = PL_OPT_STR, .doc = "host:port"};
static const pl_option topic_element = {.type = PL_OPT_STR, .doc = "a topic"};
/* Secret, all of them: passwords are among them. */
static const pl_option property_element = {
    .type = PL_OPT_SECRET, .doc = "a property of librdkafka", .offset = offsetof(kafka_property, value)};
static const pl_option setting_element = {
    .type = PL_OPT_STR, .doc = "a setting of the topic", .offset = offsetof(kafka_property, value)};
static const pl_option create_options[] = {
    {PL_OPTION(struct kafka_create_topic, partitions, INT, "1", "how many partitions"), .min = 1, .max = 100000},
    {PL_OPTION(struct kafka_create_topic, replication, INT, "1", "on how many brokers each partition is kept"),
     .min = 1, .max = 1000},
    {PL_OPTION(struct kafka_create_topic, config, MAP, NULL, "settings of the topic, as the broker names them"),
     .example = "{ retention.ms: -1, cleanup.policy: compact }", .fields = &setting_element, .field_count = 1,
     .element_size = sizeof(kafka_property)},
};

#define COMMON_OPTIONS                                                                                                 \
    {.name = "brokers",                                                                                                \
     .doc = "where the cluster is reached: one broker or more, as a list or with commas",                              \
     .example = "[kafka-1:9092, kafka-2:9092]",                                                                        \
     .type = PL_OPT_LIST,                                                                                              \
     .flags = PL_OPT_REQUIRED,                                                                                         \
     .fields = &broker_element,                                                                                        \
     .field_count = 1,                                                                                                 \
     .offset = offsetof(kafka_common, brokers),                                                                        \
     .element_size = sizeof(const char *)},                                                                            \
        {.name = "create_topic",                                                                                       \
         .doc = "make a topic that is not there; one that is there stays as it is",                                    \
         .example = "{ partitions: 3, replication: 1 }",                                                               \
         .type = PL_OPT_OBJECT,                                                                                        \
         .fields = create_options,                                                                                     \
         .field_count = COUNT(create_options),                                                                         \
         .offset = offsetof(kafka_common, create_topic),                                                               \
         .element_size = sizeof(((kafka_common *)0)->create_topic),                                                    \
         .present_offset = 1 + offsetof(kafka_common, create_given)},                                                  \
    {                                                                                                                  \
        .name = "librdkafka", .doc = "properties of librdkafka, passed through: security, tuning",                     \
        .example = "{ security.protocol: SSL, ssl.ca.location: ca.pem }", .type = PL_OPT_MAP,                          \
        .fields = &property_element, .field_count = 1, .offset = offsetof(kafka_common, properties),                   \
        .element_size = sizeof(kafka_property)                                                                         \
    }

static const char *const starts[] = {"earliest", "latest", NULL};
static const char *const copartitions[] = {"auto", "true", "false", NULL};
static const pl_option source_options[] = {
    COMMON_OPTIONS,
    {.name = "topics",
     .doc = "what to read; ^ begins a regular expression",
     .example = "[api_price, contract_price]",
     .type = PL_OPT_LIST,
     .flags = PL_OPT_REQUIRED,
     .fields = &topic_element,
     .field_count = 1,
     .offset = offsetof(kafka_source_config, topics),
     .element_size = sizeof(const char *)},
    {PL_OPTION(kafka_source_config, group, STR, NULL,
               "consumer group: its members share the partitions, and go on where it stopped"),
     .flags = PL_OPT_REQUIRED},
    {PL_OPTION(kafka_source_config, start, ENUM, "earliest",
               "where a partition begins that the group has not committed; latest passes over what is in a new "
               "partition before it is noticed"),
     .choices = starts},
    {PL_OPTION(kafka_source_config, commit_every, DURATION_NS, "1s", "how often offsets are committed"), .min = 1e7,
     .max = 3.6e12},
    {PL_OPTION(kafka_source_config, drain, DURATION_NS, "5s",
               "how long a partition that goes to another member may wait for its records to be delivered"),
     .min = 0, .max = 3e11},
    {PL_OPTION(kafka_source_config, copartitioned, ENUM, "auto",
               "whether the topics must have the same number of partitions, so that each of several instances has all "
               "of a key; auto: where a state is rebuilt below"),
     .choices = copartitions},
    {PL_OPTION(kafka_source_config, headers, BOOL, "true",
               "read the records' headers; false leaves them out, and with them a tenth of what reading costs")},
};

static const char *const partitioners[] = {
    "murmur2_random", "murmur2", "consistent_random", "consistent", "fnv1a_random", "fnv1a", "random", NULL};
static const char *const compressions[] = {"none", "gzip", "snappy", "lz4", "zstd", NULL};
static const char *const timestamps[] = {"auto", "event", "now", NULL};
static const pl_option sink_options[] = {
    COMMON_OPTIONS,
    {PL_OPTION(kafka_sink_config, topic, TEMPLATE, NULL, "where records go; {field} is replaced"),
     .example = "price.{pair}", .flags = PL_OPT_REQUIRED},
    {PL_OPTION(kafka_sink_config, key, FIELD, NULL,
               "field that becomes the key; without it, or where a record lacks it, the record's own key stays"),
     .example = "pair"},
    {PL_OPTION(kafka_sink_config, partitioner, ENUM, "murmur2_random",
               "how a key chooses its partition; the default agrees with Java clients"),
     .choices = partitioners},
    {PL_OPTION(kafka_sink_config, compression, ENUM, "none", "of the batches sent"), .choices = compressions},
    {PL_OPTION(kafka_sink_config, timestamp, ENUM, "auto",
               "the record's event time, or the time of writing; auto takes the event time unless it lies far back, "
               "since Kafka deletes by timestamp, and forgets by it what was written already"),
     .choices = timestamps},
    {PL_OPTION(kafka_sink_config, transactional_id, STR, NULL,
               "with delivery: exactly_once: names this instance to the brokers, over restarts; instances that run at "
               "once need one each. Without it: the pipeline's name, -, and the sink's"),
     .example = "copy-1"},
};

/* ---- Checks without I/O --------------------------------------------------- */

static pl_status checked(rd_kafka_conf_t *conf)
{
    if (!conf)
        return PL_FAILED;
    rd_kafka_conf_destroy(conf);
    return PL_OK;
}

static pl_status check_source(const void *config, pl_error *error)
{
    const kafka_source_config *source = config;
    const char *const *topics = source->topics.items;
    if (!source->topics.count) {
        (void)snprintf(error->option, sizeof error->option, "topics");
        return pl_fail(error, PL_BAD_CONFIG, "no topic given");
    }
    for (size_t i = 0; i < source->topics.count; i++) {
        if (topics[i] && (topics[i][0] == '^' || kafka_topic_name_ok(PL_S(topics[i]))))
            continue;
        (void)snprintf(error->option, sizeof error->option, "topics[%zu]", i);
        return pl_fail(error, PL_BAD_CONFIG,
                       "'%s' cannot be the name of a topic; expected up to 249 letters, digits, dots, _ or -",
                       topics[i] ? topics[i] : "");
    }
    if (!source->group || !source->group[0]) {
        (void)snprintf(error->option, sizeof error->option, "group");
        return pl_fail(error, PL_BAD_CONFIG, "the group has no name");
    }
    if (kafka_copartition_wanted(source, false) && kafka_copartition_check(source, error) != PL_OK)
        return PL_FAILED;
    return checked(kafka_source_conf(source, NULL, error));
}

static pl_status check_sink(const void *config, pl_error *error)
{
    const kafka_sink_config *sink = config;
    if (!strchr(sink->topic, '{') && !kafka_topic_name_ok(PL_S(sink->topic))) {
        (void)snprintf(error->option, sizeof error->option, "topic");
        return pl_fail(error, PL_BAD_CONFIG,
                       "'%s' cannot be the name of a topic; expected up to 249 letters, digits, dots, _ or -",
                       sink->topic);
    }
    if (sink->transactional_id && !sink->transactional_id[0]) {
        (void)snprintf(error->option, sizeof error->option, "transactional_id");
        return pl_fail(error, PL_BAD_CONFIG, "an empty transactional_id; leave it away, or name the instance");
    }
    return checked(kafka_sink_conf(sink, NULL, error));
}

/* ---- Components ------------------------------------------------------------ */

static const pl_component source_component = {
    .struct_size = sizeof(pl_component),
    .option_size = sizeof(pl_option),
    .name = "kafka",
    .summary = "Reads Kafka topics as a member of a consumer group",
    .options = source_options,
    .option_count = COUNT(source_options),
    .config_size = sizeof(kafka_source_config),
    .check = check_source,
    .create = kafka_source_create,
    .interrupt = kafka_source_interrupt,
    .destroy = kafka_source_destroy,
    .source = &kafka_source,
    .extension = kafka_source_extension,
};

static const pl_component sink_component = {
    .struct_size = sizeof(pl_component),
    .option_size = sizeof(pl_option),
    .name = "kafka",
    .summary = "Writes records to Kafka topics, idempotently, settled by the brokers' acknowledgement",
    .options = sink_options,
    .option_count = COUNT(sink_options),
    .config_size = sizeof(kafka_sink_config),
    .check = check_sink,
    .create = kafka_sink_create,
    .interrupt = kafka_sink_interrupt,
    .destroy = kafka_sink_destroy,
    .sink = &kafka_sink,
    .extension = kafka_sink_extension,
};

static const pl_component *const components[] = {&source_component, &sink_component, NULL};
static const pl_plugin plugin = {
    .magic = PL_MAGIC,
    .abi_major = PL_ABI_MAJOR,
    .abi_minor = PL_ABI_MINOR,
    .struct_size = sizeof(pl_plugin),
    .name = "kafka",
    .version = "0.1.0",
    .components = components,
};

const pl_plugin *pl_plugin_entry(void)
{
    return &plugin;
}
