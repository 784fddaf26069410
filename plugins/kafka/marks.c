/* Event times of what was handed over, the text that keeps the last settled one beside a committed offset, and the
 * names of lanes. Nothing of librdkafka in here. */
#include "source.h"

#include <stdlib.h>

/* ---- The text beside an offset ------------------------------------------------ */

int kafka_commit_note(int64_t time_ms, char *out, size_t size)
{
    return snprintf(out, size, "t=%lld", (long long)time_ms);
}

int64_t kafka_commit_note_time(const void *note, size_t size)
{
    char text[32], *end;
    if (!note || size < 3 || size >= sizeof text || memcmp(note, "t=", 2) != 0)
        return -1;
    memcpy(text, note, size);
    text[size] = '\0';
    long long time_ms = strtoll(text + 2, &end, 10);
    return *end || time_ms < 0 ? -1 : time_ms;
}

/* ---- The name of a lane --------------------------------------------------------- */

void kafka_lane_name(const char *topic, int32_t partition, char *out, size_t size)
{
    (void)snprintf(out, size, "%s/%d", topic, partition);
}

bool kafka_lane_parse(pl_str name, char *topic, int32_t *partition)
{
    const char *slash = memchr(name.ptr, '/', name.len); /* no topic has one in its name */
    size_t len = slash ? (size_t)(slash - name.ptr) : 0;
    if (!len || len > KAFKA_TOPIC_BYTES || len + 1 == name.len)
        return false;
    memcpy(topic, name.ptr, len);
    topic[len] = '\0';
    int64_t number = 0;
    for (size_t i = len + 1; i < name.len; i++) {
        if (name.ptr[i] < '0' || name.ptr[i] > '9' || number > INT32_MAX)
            return false;
        number = number * 10 + (name.ptr[i] - '0');
    }
    *partition = (int32_t)number;
    return number <= INT32_MAX;
}

/* ---- Event times ---------------------------------------------------------------- */

/* Every second one goes; those that stay are twice as far apart. */
static void thin_out(kafka_marks *marks)
{
    size_t kept = 0;
    for (size_t i = 0; i < marks->count; i += 2)
        marks->mark[kept++] = marks->mark[marks->first + i];
    marks->first = 0;
    marks->count = kept;
    marks->stride *= 2;
}

void kafka_marks_add(kafka_marks *marks, int64_t offset, int64_t time_ms)
{
    if (!marks->count) {
        marks->first = 0;
        marks->stride = 1;
    } else if (offset < marks->mark[marks->first + marks->count - 1].offset + marks->stride) {
        return;
    }
    if (marks->first + marks->count == KAFKA_MARKS) {
        if (marks->first > KAFKA_MARKS / 2) {
            memmove(marks->mark, marks->mark + marks->first, marks->count * sizeof *marks->mark);
            marks->first = 0;
        } else {
            thin_out(marks);
        }
    }
    marks->mark[marks->first + marks->count++] = (struct kafka_mark){offset, time_ms};
}

int64_t kafka_marks_take(kafka_marks *marks, int64_t offset, int64_t otherwise)
{
    while (marks->count && marks->mark[marks->first].offset <= offset) {
        otherwise = marks->mark[marks->first].time_ms;
        marks->first++;
        marks->count--;
    }
    return otherwise;
}
