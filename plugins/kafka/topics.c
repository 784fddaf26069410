/* The topics a sink writes to: found by name, made first where `create_topic` asks for it. */
#include "sink.h"

#include <stdlib.h>

void kafka_topics_release(kafka_sink_self *sink)
{
    for (size_t i = 0; i < sink->topic_count; i++) {
        if (sink->topics[i]->handle)
            rd_kafka_topic_destroy(sink->topics[i]->handle);
        free(sink->topics[i]->name);
        free(sink->topics[i]);
    }
    free(sink->topics);
    sink->topics = NULL;
    sink->topic_count = sink->topic_room = 0;
    sink->last_topic = sink->creating = NULL;
}

static kafka_topic *add(kafka_sink_self *sink, pl_str name)
{
    if (sink->topic_count == sink->topic_room) {
        size_t room = sink->topic_room ? sink->topic_room * 2 : 8;
        kafka_topic **grown = realloc(sink->topics, room * sizeof *grown);
        if (!grown)
            return NULL;
        sink->topics = grown;
        sink->topic_room = room;
    }
    kafka_topic *topic = calloc(1, sizeof *topic);
    if (topic)
        topic->name = strndup(name.ptr, name.len);
    if (!topic || !topic->name) {
        free(topic);
        return NULL;
    }
    topic->len = name.len;
    sink->topics[sink->topic_count++] = topic;
    return topic;
}

static bool is_named(const kafka_topic *topic, pl_str name)
{
    return topic->len == name.len && memcmp(topic->name, name.ptr, name.len) == 0;
}

static kafka_topic *find(const kafka_sink_self *sink, pl_str name)
{
    if (sink->last_topic && is_named(sink->last_topic, name))
        return sink->last_topic;
    for (size_t i = 0; i < sink->topic_count; i++)
        if (is_named(sink->topics[i], name))
            return sink->topics[i];
    return NULL;
}

static pl_status open_handle(kafka_sink_self *sink, kafka_topic *topic, pl_error *error)
{
    topic->handle = rd_kafka_topic_new(sink->link.rk, topic->name, NULL);
    if (topic->handle)
        return PL_OK;
    return pl_fail(error, PL_HALT, "topic '%s': %s", topic->name, rd_kafka_err2str(rd_kafka_last_error()));
}

pl_status kafka_topics_tick(kafka_sink_self *sink, int timeout_ms)
{
    if (!sink->creating)
        return PL_OK;
    pl_error error = {.struct_size = sizeof error};
    pl_status status = kafka_admin_poll(&sink->admin, timeout_ms, &error);
    if (status == PL_AGAIN)
        return PL_AGAIN;
    kafka_topic *made = sink->creating;
    sink->creating = NULL;
    if (status == PL_OK)
        status = open_handle(sink, made, &error);
    if (status == PL_FAILED)
        kafka_link_halt(&sink->link, error.code, error.message);
    return PL_OK;
}

static pl_status name_of(kafka_sink_self *sink, const pl_record *record, pl_str *name, pl_error *error)
{
    if (!sink->templated) {
        *name = PL_S(sink->config->topic);
        return PL_OK;
    }
    const pl_host *host = sink->link.host;
    if (!host->render(host, record, sink->config->topic, name))
        return pl_fail(error, PL_REJECT, "no topic: the record lacks a field of '%s'", sink->config->topic);
    if (!kafka_topic_name_ok(*name))
        return pl_fail(error, PL_REJECT,
                       "'%.*s' cannot be the name of a topic; expected up to 249 letters, digits, dots, _ or -",
                       name->len > 100 ? 100 : (int)name->len, name->ptr);
    return PL_OK;
}

pl_status kafka_topic_of(kafka_sink_self *sink, const pl_record *record, kafka_topic **topic, pl_error *error)
{
    pl_str name;
    if (!sink->templated && sink->last_topic && sink->last_topic->handle) {
        *topic = sink->last_topic;
        return PL_OK;
    }
    if (name_of(sink, record, &name, error) != PL_OK)
        return PL_FAILED;
    kafka_topic *found = find(sink, name);
    if (!found) {
        if (sink->topic_count == KAFKA_TOPICS_MAX)
            return pl_fail(error, PL_REJECT, "more than %d topics from '%s'", KAFKA_TOPICS_MAX, sink->config->topic);
        found = add(sink, name);
        if (!found)
            return pl_fail(error, PL_RETRY, "out of memory");
    }
    sink->last_topic = *topic = found;
    if (found->handle)
        return PL_OK;
    if (!sink->config->common.create_given)
        return open_handle(sink, found, error);
    if (sink->creating)
        return PL_AGAIN;
    const char *const names[] = {found->name};
    if (kafka_admin_create(&sink->admin, names, 1, error) != PL_OK)
        return PL_FAILED;
    sink->creating = found;
    return PL_AGAIN;
}
