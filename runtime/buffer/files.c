/* Segments as files and in memory. */
#include <base/fs.h>
#include <base/mem.h>
#include <buffer/private.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

enum { DIGITS = 16 };

bool pl_segment_path(const pl_buffer *buffer, uint64_t number, const char *suffix, char out[PL_BUFFER_PATH_MAX])
{
    int len =
        snprintf(out, PL_BUFFER_PATH_MAX, "%s/%0*llu.seg%s", buffer->path, DIGITS, (unsigned long long)number, suffix);
    return len > 0 && len < PL_BUFFER_PATH_MAX;
}

bool pl_segment_number(const char *name, const char *suffix, uint64_t *number)
{
    if (strspn(name, "0123456789") != DIGITS || strncmp(name + DIGITS, ".seg", 4) != 0 ||
        strcmp(name + DIGITS + 4, suffix) != 0)
        return false;
    *number = strtoull(name, NULL, 10);
    return *number > 0;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

bool pl_segment_numbers(const char *path, const char *suffix, uint64_t **numbers, size_t *count, pl_error *error)
{
    size_t capacity = 0;
    *numbers = NULL;
    *count = 0;
    DIR *dir = opendir(path);
    if (!dir)
        return pl_buffer_fail(error, PL_HALT, "read", path) == PL_OK;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        uint64_t number;
        if (!pl_segment_number(entry->d_name, suffix, &number))
            continue;
        if (*count == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            uint64_t *grown = pl_realloc(*numbers, capacity, sizeof *grown);
            if (!grown) {
                (void)closedir(dir);
                pl_free(*numbers);
                *numbers = NULL;
                (void)pl_fail(error, PL_HALT, "no memory for the segments of %s", path);
                return false;
            }
            *numbers = grown;
        }
        (*numbers)[(*count)++] = number;
    }
    (void)closedir(dir);
    if (*count)
        qsort(*numbers, *count, sizeof **numbers, ascending);
    return true;
}

pl_segment *pl_segment_add(pl_buffer *buffer, uint64_t number)
{
    if (buffer->segment_count == buffer->segment_capacity) {
        size_t capacity = buffer->segment_capacity ? buffer->segment_capacity * 2 : 16;
        pl_segment **grown = pl_realloc((void *)buffer->segments, capacity, sizeof(pl_segment *));
        if (!grown)
            return NULL;
        buffer->segments = grown;
        buffer->segment_capacity = capacity;
    }
    pl_segment *segment = pl_calloc(1, sizeof *segment);
    if (!segment)
        return NULL;
    segment->number = number;
    buffer->segments[buffer->segment_count++] = segment;
    if (number >= buffer->next_number)
        buffer->next_number = number + 1;
    return segment;
}

void pl_segment_remove(pl_buffer *buffer, size_t index)
{
    pl_segment *segment = buffer->segments[index];
    buffer->segment_count--;
    memmove((void *)&buffer->segments[index], (const void *)&buffer->segments[index + 1],
            (buffer->segment_count - index) * sizeof(pl_segment *));
    buffer->bytes -= segment->bytes;
    pl_free(segment->lanes);
    pl_free(segment);
}

bool pl_segment_note(pl_segment *segment, pl_buffer_lane *lane, uint64_t position)
{
    if (!lane->slot || lane->slot_segment != segment->number) {
        if (segment->lane_count == segment->lane_capacity) {
            size_t capacity = segment->lane_capacity ? segment->lane_capacity * 2 : 8;
            pl_segment_lane *grown = pl_realloc(segment->lanes, capacity, sizeof *grown);
            if (!grown)
                return false;
            segment->lanes = grown;
            segment->lane_capacity = capacity;
        }
        segment->lanes[segment->lane_count++] = (pl_segment_lane){lane, position};
        lane->slot = segment->lane_count;
        lane->slot_segment = segment->number;
    }
    pl_segment_lane *entry = &segment->lanes[lane->slot - 1];
    entry->last = position > entry->last ? position : entry->last;
    return true;
}

bool pl_segment_settled(const pl_segment *segment)
{
    for (size_t i = 0; i < segment->lane_count; i++)
        if (!pl_buffer_lane_settled(segment->lanes[i].lane, segment->lanes[i].last))
            return false;
    return true;
}

pl_status pl_buffer_fail(pl_error *error, int32_t error_class, const char *doing, const char *path)
{
    return pl_fail(error, error_class, "disk buffer: cannot %s %s: %s", doing, path, strerror(errno));
}

pl_status pl_segment_load(const char *path, pl_buf *out, pl_error *error)
{
    pl_buf_clear(out);
    out->max = PL_SEGMENT_FILE_MAX;
    return pl_fs_read(path, out, error);
}

void pl_buffer_report(const pl_buffer *buffer, int32_t level, const char *format, ...)
{
    char message[512];
    va_list arguments;
    if (!buffer->setup.report)
        return;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    buffer->setup.report(buffer->setup.self, level, message);
}
