/* librdkafka's configuration: our defaults, the user's `librdkafka:` map, and what may not be changed. */
#include "common.h"

#include <stdlib.h>

typedef struct setting {
    const char *name, *value;
} setting;

enum { ON_SOURCE = 1, ON_SINK = 2, ON_BOTH = 3 };
typedef struct fixed {
    const char *name;
    int sides;
    const char *allowed; /* values that change nothing, with spaces between; NULL: none */
    const char *why;
} fixed;

/* What `librdkafka:` may not set, and why. Aliases are librdkafka's own (CONFIGURATION.md). */
static const fixed fixed_properties[] = {
    {"bootstrap.servers", ON_BOTH, NULL, "use the option brokers"},
    {"metadata.broker.list", ON_BOTH, NULL, "use the option brokers"},
    {"allow.auto.create.topics", ON_BOTH, "false", "use the option create_topic"},
    {"plugin.library.paths", ON_BOTH, NULL, "librdkafka plugins are not supported"},
    {"group.id", ON_SOURCE, NULL, "use the option group"},
    {"auto.offset.reset", ON_SOURCE, NULL, "use the option start"},
    {"enable.auto.commit", ON_SOURCE, "false", "offsets are committed once their records are delivered"},
    {"auto.commit.enable", ON_SOURCE, "false", "offsets are committed once their records are delivered"},
    {"enable.auto.offset.store", ON_SOURCE, "false", "offsets are committed once their records are delivered"},
    {"partitioner", ON_SINK, NULL, "use the option partitioner"},
    {"compression.codec", ON_SINK, NULL, "use the option compression"},
    {"compression.type", ON_SINK, NULL, "use the option compression"},
    {"enable.idempotence", ON_SINK, "true", "without it a lost acknowledgement writes records twice"},
    {"acks", ON_SINK, "all -1", "fewer acknowledgements than all lose records when a broker fails"},
    {"request.required.acks", ON_SINK, "all -1", "fewer acknowledgements than all lose records when a broker fails"},
    {"message.timeout.ms", ON_SINK, "0", "records are never given up on"},
    {"delivery.timeout.ms", ON_SINK, "0", "records are never given up on"},
    {"transactional.id", ON_SINK, NULL, "use delivery: exactly_once, and the option transactional_id"},
};

/* ---- A wrong name: the nearest right one ---------------------------------- */

/* Levenshtein's distance, of the first 63 bytes. */
static size_t distance(const char *a, const char *b)
{
    size_t row[64], n = strnlen(b, 63), m = strnlen(a, 63);
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

/* The property nearest to `name`, or "" when none is near. librdkafka lists its aliases only in the table it prints, a
 * line a property, its name first: "linger.ms    |  P  | ...". */
static void nearest(const char *name, char *out, size_t size)
{
    char *table = NULL, *line, *rest;
    size_t table_size = 0, best = strnlen(name, 63) / 3 + 1;
    out[0] = '\0';
    FILE *stream = open_memstream(&table, &table_size);
    if (!stream)
        return;
    rd_kafka_conf_properties_show(stream);
    (void)fclose(stream);
    for (line = strtok_r(table, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        size_t len = strcspn(line, " ");
        if (!strchr(line, '|') || !len || !line[len])
            continue;
        line[len] = '\0';
        size_t d = distance(name, line);
        if (d < best) {
            best = d;
            (void)snprintf(out, size, "%s", line);
        }
    }
    free(table);
}

/* ---- The user's properties ------------------------------------------------ */

static bool one_of(const char *words, const char *value)
{
    size_t len = strlen(value);
    for (const char *at = words; len && at && *at;) {
        size_t word = strcspn(at, " ");
        if (word == len && memcmp(at, value, len) == 0)
            return true;
        at += word + (at[word] == ' ');
    }
    return false;
}

static pl_status refuse_fixed(const kafka_property *property, kafka_side side, pl_error *error)
{
    int mask = side == KAFKA_SOURCE ? ON_SOURCE : ON_SINK;
    for (size_t i = 0; i < sizeof fixed_properties / sizeof *fixed_properties; i++) {
        const fixed *f = &fixed_properties[i];
        if ((f->sides & mask) && strcmp(f->name, property->key) == 0 && !one_of(f->allowed, property->value))
            return pl_fail(error, PL_BAD_CONFIG, "librdkafka's %s cannot be set here: %s", f->name, f->why);
    }
    /* cooperative-sticky aborts the process now and then below 2.3.0, loops below 2.6.1, and loses an assignment below
     * 2.10 (librdkafka's CHANGELOG). */
    if (side == KAFKA_SOURCE && strcmp(property->key, "partition.assignment.strategy") == 0 &&
        strstr(property->value, "cooperative-sticky") && rd_kafka_version() < 0x020a0000)
        return pl_fail(error, PL_BAD_CONFIG,
                       "cooperative-sticky is not safe with librdkafka %s, it can leave partitions unread; expected "
                       "range, roundrobin, or librdkafka 2.10 or newer",
                       rd_kafka_version_str());
    return PL_OK;
}

static pl_status set_property(rd_kafka_conf_t *conf, const kafka_property *property, kafka_side side, pl_error *error)
{
    (void)snprintf(error->option, sizeof error->option, "librdkafka[\"%s\"]", property->key);
    if (!property->value)
        return pl_fail(error, PL_BAD_CONFIG, "librdkafka's %s has no value", property->key);
    if (refuse_fixed(property, side, error) != PL_OK)
        return PL_FAILED;
    char text[160], near[64];
    switch (rd_kafka_conf_set(conf, property->key, property->value, text, sizeof text)) {
    case RD_KAFKA_CONF_OK:
        error->option[0] = '\0';
        return PL_OK;
    case RD_KAFKA_CONF_UNKNOWN:
        nearest(property->key, near, sizeof near);
        return pl_fail(error, PL_BAD_CONFIG, "librdkafka %s has no property %s%s%s%s", rd_kafka_version_str(),
                       property->key, near[0] ? "; did you mean " : "", near, near[0] ? "?" : "");
    case RD_KAFKA_CONF_INVALID:
    default:
        return pl_fail(error, PL_BAD_CONFIG, "librdkafka: %s", text);
    }
}

static pl_status set_all(rd_kafka_conf_t *conf, const setting *settings, pl_error *error)
{
    char text[160];
    for (; settings->name; settings++)
        if (settings->value &&
            rd_kafka_conf_set(conf, settings->name, settings->value, text, sizeof text) != RD_KAFKA_CONF_OK)
            return pl_fail(error, PL_BAD_CONFIG, "%s", text);
    return PL_OK;
}

/* Takes effect only where this librdkafka knows the property. */
static void set_if_known(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[160];
    (void)rd_kafka_conf_set(conf, name, value, text, sizeof text);
}

const char *kafka_brokers_text(const kafka_common *common, char *out, size_t size)
{
    const char *const *items = common->brokers.items;
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < common->brokers.count && used + 1 < size; i++) {
        int wrote = snprintf(out + used, size - used, "%s%s", i ? "," : "", items[i]);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    return out;
}

static pl_status set_brokers(rd_kafka_conf_t *conf, const kafka_common *common, pl_error *error)
{
    const char *const *items = common->brokers.items;
    size_t size = 1;
    for (size_t i = 0; i < common->brokers.count; i++) {
        if (!items[i] || !items[i][0]) {
            (void)snprintf(error->option, sizeof error->option, "brokers[%zu]", i);
            return pl_fail(error, PL_BAD_CONFIG, "an empty broker; expected host:port");
        }
        size += strlen(items[i]) + 1;
    }
    char *text = malloc(size);
    if (!text)
        return pl_fail(error, PL_RETRY, "out of memory");
    setting brokers[] = {{"bootstrap.servers", kafka_brokers_text(common, text, size)}, {NULL, NULL}};
    pl_status status = set_all(conf, brokers, error);
    free(text);
    return status;
}

/* Defaults first, then the user's, then what is not negotiable. */
static pl_status build(rd_kafka_conf_t *conf, const kafka_common *common, kafka_side side, const setting *soft,
                       const setting *hard, pl_error *error)
{
    if (set_all(conf, soft, error) != PL_OK)
        return PL_FAILED;
    const kafka_property *properties = common->properties.items;
    for (size_t i = 0; i < common->properties.count; i++)
        if (set_property(conf, &properties[i], side, error) != PL_OK)
            return PL_FAILED;
    if (set_brokers(conf, common, error) != PL_OK)
        return PL_FAILED;
    return set_all(conf, hard, error);
}

/* What librdkafka may hold, in kB: its defaults are 64 MB and 1 GB. */
static const char *budget_kbytes(const pl_host *host, char *out, size_t size)
{
    const pl_budget *budget = host ? host->extension(host, "pl.budget/1") : NULL;
    size_t kbytes = budget ? budget->bytes(host) / 1024 : 16384;
    if (kbytes < 1024)
        kbytes = 1024;
    if (kbytes > 65536)
        kbytes = 65536;
    (void)snprintf(out, size, "%zu", kbytes);
    return out;
}

static const char *client_id(const pl_host *host, char *out, size_t size)
{
    (void)snprintf(out, size, "plumbline-%s", host && host->instance ? host->instance : "check");
    return out;
}

/* NULL: at least once. */
static const pl_txn *transactions(const pl_host *host)
{
    return host ? host->extension(host, "pl.txn/1") : NULL;
}

static rd_kafka_conf_t *done(rd_kafka_conf_t *conf, pl_status status)
{
    if (status == PL_OK)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

rd_kafka_conf_t *kafka_source_conf(const kafka_source_config *config, const pl_host *host, pl_error *error)
{
    char kbytes[24], id[160];
    const setting soft[] = {
        {"client.id", client_id(host, id, sizeof id)},
        {"queued.max.messages.kbytes", budget_kbytes(host, kbytes, sizeof kbytes)},
        /* Decides when a new partition is noticed; 5 min by default. */
        {"topic.metadata.refresh.interval.ms", "10000"},
        /* Partition n of every topic goes to one member: what a join of co-partitioned topics needs. */
        {"partition.assignment.strategy", "range"},
        /* A sink that is down holds the source back; until then the group waits for us rather than taking the
         * partitions away and reading all of it again. */
        {"max.poll.interval.ms", "900000"},
        /* Who only reads to the end and was killed should not keep the next one waiting. */
        {"session.timeout.ms", config->to_end ? "10000" : NULL},
        {"socket.keepalive.enable", "true"},
        {NULL, NULL},
    };
    const setting hard[] = {
        {"group.id", config->group},
        {"auto.offset.reset", config->start},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"allow.auto.create.topics", "false"},
        {"enable.partition.eof", config->to_end ? "true" : NULL},
        /* What is aborted is not read, and offsets are waited for that a transaction has not committed yet. */
        {"isolation.level", transactions(host) ? "read_committed" : NULL},
        {NULL, NULL},
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set_if_known(conf, "fetch.queue.backoff.ms", "20"); /* since 2.2 */
    return done(conf, build(conf, &config->common, KAFKA_SOURCE, soft, hard, error));
}

rd_kafka_conf_t *kafka_sink_conf(const kafka_sink_config *config, const pl_host *host, pl_error *error)
{
    char kbytes[24], id[160], transactional_id[160];
    const pl_txn *txn = transactions(host);
    (void)snprintf(transactional_id, sizeof transactional_id, "%s-%s", txn ? txn->pipeline : "",
                   txn ? host->instance : "");
    const setting soft[] = {
        {"client.id", client_id(host, id, sizeof id)},
        {"queue.buffering.max.kbytes", budget_kbytes(host, kbytes, sizeof kbytes)},
        {"linger.ms", "5"},
        /* How long a topic that the brokers do not know yet is waited for: they learn of a new one within moments. */
        {"topic.metadata.propagation.max.ms", "5000"},
        {"socket.keepalive.enable", "true"},
        {NULL, NULL},
    };
    const setting hard[] = {
        {"enable.idempotence", "true"},
        {"acks", "all"},
        {"message.timeout.ms", txn ? NULL : "0"}, /* NULL: as long as the transaction may take */
        {"transactional.id", !txn                       ? NULL
                             : config->transactional_id ? config->transactional_id
                                                        : transactional_id},
        {"allow.auto.create.topics", "false"},
        {"partitioner", config->partitioner},
        {"compression.codec", config->compression},
        {NULL, NULL},
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    return done(conf, build(conf, &config->common, KAFKA_SINK, soft, hard, error));
}

bool kafka_topic_name_ok(pl_str name)
{
    if (!name.len || name.len > KAFKA_TOPIC_BYTES || (name.len == 1 && name.ptr[0] == '.') ||
        (name.len == 2 && memcmp(name.ptr, "..", 2) == 0))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
              c == '-'))
            return false;
    }
    return true;
}
