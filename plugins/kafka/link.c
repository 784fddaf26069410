/* One librdkafka client and the state of its connection, told once when it changes. */
#include "common.h"

#include <strings.h>

enum { PROBE_EVERY_NS = 2000000000, PROBE_MS = 50 };

void kafka_log(const pl_host *host, int32_t level, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (char *c = line; *c; c++) /* the contract wants one line */
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    host->log(host, level, line);
}

/* librdkafka below 2.6.1 answers the SCRAM exchange of Kafka 4 wrongly: the right password is refused. */
static bool scram_broken(const kafka_common *config)
{
    const kafka_property *properties = config->properties.items;
    for (size_t i = 0; i < config->properties.count; i++) {
        const kafka_property *p = &properties[i];
        bool mechanism = strcmp(p->key, "sasl.mechanism") == 0 || strcmp(p->key, "sasl.mechanisms") == 0;
        if (mechanism && p->value && strncasecmp(p->value, "SCRAM", 5) == 0)
            return rd_kafka_version() < 0x02060100;
    }
    return false;
}

void kafka_link_init(kafka_link *link, const pl_host *host, const kafka_common *config, kafka_side side)
{
    link->host = host;
    link->config = config;
    link->side = side;
    (void)pthread_mutex_init(&link->log_lock, NULL);
    link->connected = host->metric(host, PL_GAUGE, "connected", "1", "1 while a broker answers, else 0");
    link->disconnects = host->metric(host, PL_COUNTER, "disconnects", "1", "times that no broker answered any more");
    if (scram_broken(config))
        kafka_log(host, PL_WARN,
                  "librdkafka %s cannot log in to Kafka 4 by SCRAM, even with the right password (fixed in 2.6.1): "
                  "use PLAIN over TLS or client certificates, or a newer librdkafka",
                  rd_kafka_version_str());
}

/* ---- Callbacks ------------------------------------------------------------ */

/* What librdkafka repeats at every attempt, and on_error tells once; and what every start of a cluster brings. */
static bool is_noise(const char *facility, const char *text)
{
    static const char *const noise[] = {"FAIL", "ERROR", "GETPID", "REQTMOUT"};
    for (size_t i = 0; i < sizeof noise / sizeof *noise; i++)
        if (strcmp(facility, noise[i]) == 0)
            return true;
    /* `defaults` are shared by sources and sinks: a property of the other side does no harm. */
    return strcmp(facility, "CONFWARN") == 0 && strstr(text, "will be ignored by this") != NULL;
}

/* [any] */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    kafka_link *link = rd_kafka_opaque(rk);
    int32_t ours = level <= 3 ? PL_ERROR : level == 4 ? PL_WARN : level < 7 ? PL_INFO : PL_DEBUG;
    (void)pthread_mutex_lock(&link->log_lock);
    if (!link->muted)
        kafka_log(link->host, is_noise(facility, text) ? PL_DEBUG : ours, "librdkafka %s: %s", facility, text);
    (void)pthread_mutex_unlock(&link->log_lock);
}

static void connection_lost(kafka_link *link)
{
    if (link->down)
        return;
    char brokers[128];
    link->down = true;
    link->probe_due_ns = link->host->now_ns(link->host) + PROBE_EVERY_NS;
    link->host->observe(link->connected, 0);
    link->host->observe(link->disconnects, 1);
    kafka_log(link->host, PL_WARN, "no broker of %s answers, trying again until one does%s%s",
              kafka_brokers_text(link->config, brokers, sizeof brokers), link->reason[0] ? ": " : "", link->reason);
}

static void on_error(rd_kafka_t *rk, int code, const char *text, void *opaque)
{
    kafka_link *link = opaque;
    (void)rk;
    switch (code) {
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        connection_lost(link);
        return;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
        /* Not fatal to librdkafka, which would try the same password for ever. */
        kafka_link_halt(link, code, text);
        if (scram_broken(link->config))
            kafka_log(link->host, PL_ERROR, "SCRAM against Kafka 4 needs librdkafka 2.6.1; this is %s",
                      rd_kafka_version_str());
        return;
    case RD_KAFKA_RESP_ERR__FATAL:
        kafka_link_fatal(link);
        return;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
        (void)snprintf(link->reason, sizeof link->reason, "%s", text);
        kafka_log(link->host, PL_DEBUG, "%s", text);
        return;
    default:
        kafka_log(link->host, PL_WARN, "%s: %s", rd_kafka_err2name((rd_kafka_resp_err_t)code), text);
    }
}

void kafka_link_conf(kafka_link *link, rd_kafka_conf_t *conf)
{
    rd_kafka_conf_set_opaque(conf, link);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
}

/* ---- State ---------------------------------------------------------------- */

pl_status kafka_link_open(kafka_link *link, rd_kafka_type_t type, rd_kafka_conf_t *conf, pl_error *error)
{
    char text[200];
    link->rk = rd_kafka_new(type, conf, text, sizeof text);
    if (link->rk)
        return PL_OK;
    rd_kafka_conf_destroy(conf);
    return pl_fail(error, PL_HALT, "librdkafka: %s", text);
}

void kafka_link_mute(kafka_link *link)
{
    (void)pthread_mutex_lock(&link->log_lock);
    link->muted = true;
    (void)pthread_mutex_unlock(&link->log_lock);
}

void kafka_link_up(kafka_link *link)
{
    if (link->down)
        kafka_log(link->host, PL_INFO, "a broker answers again");
    link->down = false;
    link->reason[0] = '\0';
    link->host->observe(link->connected, 1);
}

void kafka_link_probe(kafka_link *link)
{
    int64_t now = link->host->now_ns(link->host);
    if (!link->down || now < link->probe_due_ns || kafka_link_interrupted(link))
        return;
    link->probe_due_ns = now + PROBE_EVERY_NS;
    const struct rd_kafka_metadata *found = NULL;
    if (rd_kafka_metadata(link->rk, 0, NULL, &found, PROBE_MS) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_metadata_destroy(found);
        kafka_link_up(link);
    }
}

void kafka_link_halt(kafka_link *link, int32_t code, const char *message)
{
    if (link->halted)
        return;
    link->halted = true;
    link->halt.code = code;
    (void)pl_fail(&link->halt, PL_HALT, "%s", message);
}

void kafka_link_fatal(kafka_link *link)
{
    char text[200] = "", said[256];
    rd_kafka_resp_err_t why = rd_kafka_fatal_error(link->rk, text, sizeof text);
    bool late = link->transaction_ends_ns && link->host->now_ns(link->host) >= link->transaction_ends_ns;
    if (why == RD_KAFKA_RESP_ERR__FENCED && !late)
        (void)snprintf(said, sizeof said,
                       "fenced: another instance with the same transactional_id has taken over; instances that run at "
                       "once need one each");
    else if (why == RD_KAFKA_RESP_ERR__FENCED) /* the brokers fence for that, too */
        (void)snprintf(said, sizeof said, "the transaction took longer than transaction.timeout.ms");
    else
        (void)snprintf(said, sizeof said, "librdkafka gave up: %s", text);
    kafka_link_halt(link, why, said);
    if (why == RD_KAFKA_RESP_ERR__FENCED && late)
        link->halt.error_class = PL_RETRY;
}

pl_status kafka_link_check(kafka_link *link, pl_error *error)
{
    if (!link->halted)
        return PL_OK;
    error->code = link->halt.code;
    return pl_fail(error, link->halt.error_class, "%s", link->halt.message);
}

int kafka_link_slice(const kafka_link *link, int64_t deadline_ns)
{
    if (kafka_link_interrupted(link))
        return 0;
    int64_t left = (deadline_ns - link->host->now_ns(link->host)) / KAFKA_NS_PER_MS;
    return left <= 0 ? 0 : left < KAFKA_SLICE_MS ? (int)left : KAFKA_SLICE_MS;
}
