/* Topics that are joined: partition n of each of them goes to one member, and holds the same keys only where all have
 * the same number of partitions. */
#include "source.h"

bool kafka_copartition_wanted(const kafka_source_config *config, bool rebuilt)
{
    const char *word = config->copartitioned;
    return config->topics.count > 1 && (strcmp(word, "true") == 0 || (rebuilt && strcmp(word, "auto") == 0));
}

pl_status kafka_copartition_check(const kafka_source_config *config, pl_error *error)
{
    const kafka_property *properties = config->common.properties.items;
    for (size_t i = 0; i < config->common.properties.count; i++) {
        const kafka_property *p = &properties[i];
        if (strcmp(p->key, "partition.assignment.strategy") != 0 || !p->value || strcmp(p->value, "range") == 0)
            continue;
        (void)snprintf(error->option, sizeof error->option, "librdkafka[\"%s\"]", p->key);
        return pl_fail(error, PL_BAD_CONFIG,
                       "topics that are read together for a state need partition.assignment.strategy range, which "
                       "gives partition n of all of them to one member; or set copartitioned: false");
    }
    return PL_OK;
}

static rd_kafka_resp_err_t count(rd_kafka_t *rk, const char *topic, int timeout_ms, int *partitions)
{
    const struct rd_kafka_metadata *found = NULL;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
    *partitions = 0;
    if (!handle)
        return rd_kafka_last_error();
    rd_kafka_resp_err_t code = rd_kafka_metadata(rk, 0, handle, &found, timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        *partitions = found->topic_cnt ? found->topics[0].partition_cnt : 0;
        rd_kafka_metadata_destroy(found);
    }
    rd_kafka_topic_destroy(handle);
    return code;
}

rd_kafka_resp_err_t kafka_copartition_ask(rd_kafka_t *rk, const pl_array *topics, int timeout_ms, char *unlike,
                                          size_t size)
{
    const char *const *names = topics->items, *first = NULL;
    int first_count = 0;
    unlike[0] = '\0';
    for (size_t i = 0; i < topics->count && !unlike[0]; i++) {
        int partitions;
        if (names[i][0] == '^') /* what a pattern stands for may change at any time */
            continue;
        rd_kafka_resp_err_t code = count(rk, names[i], timeout_ms, &partitions);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return code;
        if (!first) {
            first = names[i];
            first_count = partitions;
        } else if (partitions && first_count && partitions != first_count) {
            (void)snprintf(unlike, size,
                           "topics '%.50s' (%d partitions) and '%.50s' (%d) are joined, and several instances would "
                           "see a key's records apart: give them the same number, or set copartitioned: false",
                           first, first_count, names[i], partitions);
        }
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}
