/* "pl.txn/1": records and the group's offsets in one transaction of the broker. */
#include "sink.h"
#include "source.h"

#include <stdlib.h>

/* send_offsets can be called again but not resumed, so it is given the time of a slow broker at once: one call of
 * commit can take so long, whatever its deadline. */
enum { SEND_MS = 1000, ABORT_SLICES = 20 };

/* ---- The sink ------------------------------------------------------------------ */

/* Fatal first, then what only an abort ends, then what may be called again. */
static pl_status failed(kafka_sink_self *sink, rd_kafka_error_t *why, const char *what, pl_error *error)
{
    rd_kafka_resp_err_t code = rd_kafka_error_code(why);
    pl_status status = PL_FAILED;
    error->code = code;
    if (rd_kafka_error_is_fatal(why)) {
        kafka_link_fatal(&sink->link);
        (void)kafka_link_check(&sink->link, error);
    } else if (rd_kafka_error_txn_requires_abort(why)) {
        (void)pl_fail(error, PL_RETRY, "%s: %s", what, rd_kafka_error_string(why));
    } else if (rd_kafka_error_is_retriable(why)) {
        status = PL_AGAIN;
    } else {
        (void)pl_fail(error, PL_HALT, "%s: %s", what, rd_kafka_error_string(why));
    }
    rd_kafka_error_destroy(why);
    return status;
}

static pl_status txn_init(void *self, pl_error *error)
{
    kafka_sink_self *sink = self;
    const pl_host *host = sink->link.host;
    if (kafka_sink_open(sink, error) != PL_OK)
        return PL_FAILED;
    int slice_ms = kafka_link_slice(&sink->link, host->now_ns(host) + KAFKA_SLICE_MS * (int64_t)KAFKA_NS_PER_MS);
    rd_kafka_error_t *why = rd_kafka_init_transactions(sink->link.rk, slice_ms);
    (void)rd_kafka_poll(sink->link.rk, 0); /* the state of the connection */
    if (!why) {
        kafka_link_up(&sink->link);
        return PL_OK;
    }
    kafka_link_probe(&sink->link);
    pl_status status = failed(sink, why, "beginning with transactions", error);
    return kafka_link_check(&sink->link, error) == PL_OK ? status : PL_FAILED;
}

static int64_t timeout_ns(const kafka_sink_self *sink)
{
    char text[24] = "";
    size_t size = sizeof text;
    (void)rd_kafka_conf_get(rd_kafka_conf(sink->link.rk), "transaction.timeout.ms", text, &size);
    return strtoll(text, NULL, 10) * KAFKA_NS_PER_MS;
}

static pl_status txn_begin(void *self, pl_error *error)
{
    kafka_sink_self *sink = self;
    const pl_host *host = sink->link.host;
    rd_kafka_error_t *why = rd_kafka_begin_transaction(sink->link.rk);
    sink->offsets_sent = false;
    sink->link.transaction_ends_ns = host->now_ns(host) + timeout_ns(sink);
    return why ? failed(sink, why, "beginning a transaction", error) : PL_OK;
}

/* NULL: no memory, or not a lane of a kafka source. */
static rd_kafka_topic_partition_list_t *offsets_of(const pl_txn_position *positions, uint32_t count)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (uint32_t i = 0; i < count; i++) {
        char topic[KAFKA_TOPIC_BYTES + 1];
        int32_t partition;
        if (!kafka_lane_parse(positions[i].lane, topic, &partition)) {
            rd_kafka_topic_partition_list_destroy(list);
            return NULL;
        }
        rd_kafka_topic_partition_list_add(list, topic, partition)->offset = (int64_t)positions[i].position + 1;
    }
    return list;
}

static pl_status send_offsets(kafka_sink_self *sink, const pl_txn_position *positions, uint32_t count, pl_str token,
                              pl_error *error)
{
    rd_kafka_consumer_group_metadata_t *group = NULL;
    rd_kafka_topic_partition_list_t *offsets = offsets_of(positions, count);
    if (!offsets)
        return pl_fail(error, PL_HALT, "positions that are no offsets of a kafka source");
    rd_kafka_error_t *why = rd_kafka_consumer_group_metadata_read(&group, token.ptr, token.len);
    if (!why)
        why = rd_kafka_send_offsets_to_transaction(sink->link.rk, offsets, group, SEND_MS);
    if (group)
        rd_kafka_consumer_group_metadata_destroy(group);
    rd_kafka_topic_partition_list_destroy(offsets);
    return why ? failed(sink, why, "committing offsets in the transaction", error) : PL_OK;
}

static pl_status txn_commit(void *self, const pl_txn_position *positions, uint32_t count, pl_str group_token,
                            int64_t deadline_ns, pl_error *error)
{
    kafka_sink_self *sink = self;
    if (count && !sink->offsets_sent) {
        if (kafka_link_interrupted(&sink->link))
            return PL_AGAIN; /* nothing but an abort comes behind an interrupt */
        pl_status status = send_offsets(sink, positions, count, group_token, error);
        if (status != PL_OK)
            return status;
    }
    sink->offsets_sent = true;
    rd_kafka_error_t *why = rd_kafka_commit_transaction(sink->link.rk, kafka_link_slice(&sink->link, deadline_ns));
    if (!why) {
        sink->link.transaction_ends_ns = 0;
        return PL_OK;
    }
    kafka_link_probe(&sink->link);
    return failed(sink, why, "committing the transaction", error);
}

/* What is not aborted in time, the next init aborts, or the broker at the end of transaction.timeout.ms. */
static pl_status txn_abort(void *self, pl_error *error)
{
    kafka_sink_self *sink = self;
    pl_status status = PL_AGAIN;
    for (int i = 0; status == PL_AGAIN && i < ABORT_SLICES; i++) {
        rd_kafka_error_t *why = rd_kafka_abort_transaction(sink->link.rk, KAFKA_SLICE_MS);
        status = why ? failed(sink, why, "aborting the transaction", error) : PL_OK;
        if (kafka_link_interrupted(&sink->link))
            break;
    }
    return status == PL_AGAIN ? pl_fail(error, PL_RETRY, "no broker confirmed the abort of the transaction") : status;
}

/* A broker of each list that is the same text: what can be said without asking one. */
static bool share_a_broker(const kafka_common *one, const kafka_common *other)
{
    const char *const *ours = one->brokers.items, *const *theirs = other->brokers.items;
    for (size_t i = 0; i < one->brokers.count; i++)
        for (size_t j = 0; j < other->brokers.count; j++)
            if (ours[i] && theirs[j] && strcmp(ours[i], theirs[j]) == 0)
                return true;
    return false;
}

static pl_status txn_check(const void *config, const void *source_config, pl_error *error)
{
    const kafka_sink_config *sink = config;
    const kafka_source_config *source = source_config;
    if (share_a_broker(&sink->common, &source->common))
        return PL_OK;
    char ours[128], theirs[128];
    (void)snprintf(error->option, sizeof error->option, "brokers");
    return pl_fail(error, PL_BAD_CONFIG,
                   "a transaction stays within one cluster: the sink's brokers are %s, the source's %s; expected one "
                   "that both name",
                   kafka_brokers_text(&sink->common, ours, sizeof ours),
                   kafka_brokers_text(&source->common, theirs, sizeof theirs));
}

const pl_txn_sink kafka_txn_sink = {
    .struct_size = sizeof(pl_txn_sink),
    .begin = txn_begin,
    .commit = txn_commit,
    .abort = txn_abort,
    .check = txn_check,
    .init = txn_init,
};

/* ---- The source ----------------------------------------------------------------- */

static pl_status txn_seek(void *self, uint32_t lane, uint64_t position, pl_error *error)
{
    (void)error;
    kafka_seek(self, lane, position == UINT64_MAX ? RD_KAFKA_OFFSET_INVALID : (int64_t)position + 1);
    return PL_OK;
}

static pl_status txn_group_token(void *self, pl_str *token, pl_error *error)
{
    kafka_source_self *source = self;
    rd_kafka_consumer_group_metadata_t *group =
        source->link.rk ? rd_kafka_consumer_group_metadata(source->link.rk) : NULL;
    if (!group)
        return pl_fail(error, PL_RETRY, "not a member of the group '%s'", source->config->group);
    if (source->token)
        rd_kafka_mem_free(NULL, source->token);
    source->token = NULL;
    rd_kafka_error_t *why = rd_kafka_consumer_group_metadata_write(group, &source->token, &token->len);
    rd_kafka_consumer_group_metadata_destroy(group);
    token->ptr = source->token;
    if (!why)
        return PL_OK;
    (void)pl_fail(error, PL_HALT, "the group '%s': %s", source->config->group, rd_kafka_error_string(why));
    rd_kafka_error_destroy(why);
    return PL_FAILED;
}

const pl_txn_source kafka_txn_source = {
    .struct_size = sizeof(pl_txn_source),
    .seek = txn_seek,
    .group_token = txn_group_token,
};
