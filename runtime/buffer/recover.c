/* What a process that died left behind, and what the disk made of it. */
#include <base/fs.h>
#include <base/mem.h>
#include <buffer/private.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ASIDE_MAX = 100 };

typedef struct recovery {
    pl_buffer *buffer;
    pl_segment *segment;
    pl_buf image;     /* of the segment that is looked at */
    pl_buf whole;     /* what is whole in a damaged one */
    uint64_t waiting; /* entries that are not settled */
    bool no_memory;
} recovery;

static void remember(void *self, const pl_kept *kept)
{
    recovery *r = self;
    pl_buffer_lane *lane = pl_buffer_lane_of(r->buffer, kept->lane);
    if (!lane || !pl_segment_note(r->segment, lane, kept->position)) {
        r->no_memory = true;
        return;
    }
    if (!lane->last_any || kept->position > lane->last)
        lane->last = kept->position;
    lane->last_any = true;
    r->waiting += pl_buffer_lane_settled(lane, kept->position) ? 0 : 1;
}

static void collect(void *self, const pl_kept *kept)
{
    recovery *r = self;
    pl_kept copy = *kept;
    pl_field *headers = pl_calloc(kept->header_count, sizeof *headers);
    pl_error error = {.struct_size = sizeof error};
    if (headers)
        pl_entry_headers(kept, headers);
    copy.headers = headers;
    if (!headers || pl_entry_encode(&r->whole, r->segment->salt, &copy, &error) != PL_OK)
        r->no_memory = true;
    pl_free(headers);
}

static pl_status remove_file(const char *path, pl_error *error)
{
    return unlink(path) == 0 || errno == ENOENT ? PL_OK : pl_buffer_fail(error, PL_HALT, "remove", path);
}

/* Keeps the damaged file under a name of its own. A link first: there is no moment at which it has none. */
static pl_status link_aside(const char *path, char *aside, size_t size, pl_error *error)
{
    struct stat here;
    struct stat there;
    if (stat(path, &here) != 0)
        return pl_buffer_fail(error, PL_HALT, "read", path);
    for (int i = 0; i < ASIDE_MAX; i++) {
        int len = i ? snprintf(aside, size, "%s.corrupt.%d", path, i) : snprintf(aside, size, "%s.corrupt", path);
        if (len < 0 || (size_t)len >= size)
            return pl_fail(error, PL_HALT, "the path %s is too long", path);
        if (link(path, aside) == 0)
            return PL_OK;
        if (errno != EEXIST)
            return pl_buffer_fail(error, PL_HALT, "set aside", path);
        if (stat(aside, &there) == 0 && there.st_ino == here.st_ino && there.st_dev == here.st_dev)
            return PL_OK; /* an earlier start got as far as this */
    }
    return pl_fail(error, PL_HALT, "%s was set aside too often", path);
}

static pl_status set_aside(recovery *r, const char *path, const pl_segment_survey *survey, pl_error *error)
{
    char aside[PL_BUFFER_PATH_MAX];
    char head[PL_SEGMENT_HEAD_BYTES];
    pl_buf_clear(&r->whole);
    r->whole.max = PL_SEGMENT_FILE_MAX;
    if (survey->records) {
        pl_segment_head fields = survey->head;
        fields.number = r->segment->number;
        pl_segment_head_write(&fields, head);
        pl_buf_add(&r->whole, head, sizeof head);
        pl_segment_survey again = *survey;
        pl_segment_look(pl_buf_str(&r->image), &again, collect, r);
    }
    if (r->no_memory || pl_buf_failed(&r->whole))
        return pl_fail(error, PL_HALT, "no memory to recover %s", path);
    if (link_aside(path, aside, sizeof aside, error) != PL_OK)
        return PL_FAILED;
    pl_status status = survey->records ? pl_fs_replace(path, pl_buf_str(&r->whole), error) : remove_file(path, error);
    if (status != PL_OK)
        return status;
    pl_buffer_report(r->buffer, PL_ERROR,
                     "%s is damaged at byte %zu%s%s%s: %zu bytes can't be read, %zu records are whole and kept; the "
                     "file was set aside as %s",
                     path, survey->damaged_at, survey->places > 1 ? " and behind" : "", survey->why[0] ? ", " : "",
                     survey->why, survey->damaged_bytes, survey->records, strrchr(aside, '/') + 1);
    return PL_OK;
}

static pl_status cut(recovery *r, const char *path, const pl_segment_survey *survey, pl_error *error)
{
    size_t lost = r->image.len - survey->torn_at;
    int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    pl_status status = PL_OK;
    if (fd < 0 || ftruncate(fd, (off_t)survey->torn_at) != 0 || fsync(fd) != 0)
        status = pl_buffer_fail(error, PL_HALT, "cut the torn tail of", path);
    if (fd >= 0)
        (void)close(fd);
    if (status == PL_OK)
        pl_buffer_report(r->buffer, PL_WARN, "%s ends in %zu bytes that were never written whole: cut off at byte %zu",
                         path, lost, survey->torn_at);
    return status;
}

static pl_status recover_segment(recovery *r, uint64_t number, bool newest, pl_error *error)
{
    char path[PL_BUFFER_PATH_MAX];
    pl_buffer *buffer = r->buffer;
    pl_segment_survey survey = {.newest = newest};
    if (!pl_segment_path(buffer, number, "", path))
        return pl_fail(error, PL_HALT, "the path %s is too long", buffer->path);
    if (pl_segment_load(path, &r->image, error) != PL_OK)
        return PL_FAILED;
    r->segment = pl_segment_add(buffer, number);
    if (!r->segment)
        return pl_fail(error, PL_HALT, "no memory for the segments of %s", buffer->path);
    pl_segment_look(pl_buf_str(&r->image), &survey, remember, r);
    if (r->no_memory)
        return pl_fail(error, PL_HALT, "no memory to recover %s", path);
    if (survey.foreign)
        return pl_fail(error, PL_HALT, "%s can't be read: %s", path, survey.why);
    r->segment->salt = survey.head.salt;
    r->segment->bytes = r->image.len;
    pl_status status = PL_OK;
    if (survey.places) {
        status = set_aside(r, path, &survey, error);
        r->segment->bytes = r->whole.len;
    } else if (survey.torn && survey.torn_at) {
        status = cut(r, path, &survey, error);
        r->segment->bytes = survey.torn_at;
    }
    buffer->bytes += r->segment->bytes;
    if (status != PL_OK)
        return status;
    if (survey.records)
        return PL_OK;
    pl_segment_remove(buffer, buffer->segment_count - 1);
    return remove_file(path, error);
}

static pl_status each_of(recovery *r, const char *suffix, pl_error *error)
{
    uint64_t *numbers;
    size_t count;
    char path[PL_BUFFER_PATH_MAX];
    pl_status status = PL_OK;
    if (!pl_segment_numbers(r->buffer->path, suffix, &numbers, &count, error))
        return PL_FAILED;
    for (size_t i = 0; i < count && status == PL_OK; i++) {
        if (suffix[0] == '\0')
            status = recover_segment(r, numbers[i], i + 1 == count, error);
        else if (pl_segment_path(r->buffer, numbers[i], suffix, path)) /* half of a set_aside */
            status = remove_file(path, error);
    }
    pl_free(numbers);
    return status;
}

pl_status pl_buffer_recover(pl_buffer *buffer, pl_error *error)
{
    recovery r = {.buffer = buffer, .image = PL_BUF(PL_SEGMENT_FILE_MAX), .whole = PL_BUF(PL_SEGMENT_FILE_MAX)};
    uint64_t *aside;
    size_t aside_count;
    if (!pl_segment_numbers(buffer->path, ".corrupt", &aside, &aside_count, error))
        return PL_FAILED;
    pl_free(aside);
    if (aside_count)
        pl_buffer_report(buffer, PL_WARN, "%zu damaged segments were set aside earlier in %s", aside_count,
                         buffer->path);
    pl_status status = each_of(&r, ".new", error);
    if (status == PL_OK)
        status = each_of(&r, "", error);
    if (status == PL_OK && r.waiting)
        pl_buffer_report(buffer, PL_INFO, "%llu records wait in the disk buffer", (unsigned long long)r.waiting);
    pl_buf_release(&r.image);
    pl_buf_release(&r.whole);
    return status;
}
