/* Reading back, a window of the file at a time. */
#include <base/mem.h>
#include <buffer/private.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void stop_reading(pl_buffer *buffer)
{
    if (buffer->read_fd >= 0)
        (void)close(buffer->read_fd);
    buffer->read_fd = -1;
    pl_buf_clear(&buffer->window);
}

/* The segment that is to be read on; NULL: all was read. */
static pl_segment *current(pl_buffer *buffer)
{
    for (size_t i = 0; i < buffer->segment_count; i++) {
        pl_segment *segment = buffer->segments[i];
        if (segment->number < buffer->read_number)
            continue;
        if (segment->number > buffer->read_number) {
            stop_reading(buffer);
            buffer->read_number = segment->number;
            buffer->read_at = PL_SEGMENT_HEAD_BYTES;
        }
        if (pl_segment_settled(segment))
            buffer->read_at = segment->bytes;
        if (buffer->read_at < segment->bytes)
            return segment;
    }
    return NULL;
}

bool pl_buffer_unread(const pl_buffer *buffer)
{
    for (size_t i = buffer->segment_count; i-- > 0;) {
        const pl_segment *segment = buffer->segments[i];
        if (segment->number < buffer->read_number)
            return false;
        if (segment->number > buffer->read_number ? segment->bytes > PL_SEGMENT_HEAD_BYTES
                                                  : buffer->read_at < segment->bytes)
            return true;
    }
    return false;
}

/* Brings `need` bytes from read_at on into the window, as far as the segment has them. */
static pl_status fill(pl_buffer *buffer, const pl_segment *segment, const char *path, size_t need, pl_error *error)
{
    pl_buf *window = &buffer->window;
    size_t done = window->len ? (size_t)(buffer->read_at - buffer->window_at) : 0;
    size_t left = window->len - done;
    if (left)
        memmove(window->data, window->data + done, left);
    window->len = left;
    buffer->window_at = buffer->read_at;
    uint64_t behind = segment->bytes - buffer->read_at;
    size_t want = need > PL_BUFFER_WINDOW_BYTES ? need : PL_BUFFER_WINDOW_BYTES;
    want = behind < want ? (size_t)behind : want;
    if (want > left && !pl_buf_reserve(window, want - left))
        return pl_fail(error, PL_HALT, "no memory to read the disk buffer");
    if (buffer->read_fd < 0)
        buffer->read_fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (buffer->read_fd < 0)
        return pl_buffer_fail(error, PL_HALT, "read", path);
    while (window->len < want) {
        ssize_t got = pread(buffer->read_fd, window->data + window->len, want - window->len,
                            (off_t)(buffer->window_at + window->len));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return pl_buffer_fail(error, PL_HALT, "read", path);
        if (got == 0)
            break;
        window->len += (size_t)got;
    }
    return PL_OK;
}

static pl_status read_one(pl_buffer *buffer, const pl_segment *segment, pl_kept *kept, pl_error *error)
{
    char path[PL_BUFFER_PATH_MAX];
    (void)pl_segment_path(buffer, segment->number, "", path);
    size_t need = PL_ENTRY_HEAD_BYTES;
    for (int attempt = 0; attempt < 3; attempt++) { /* the head of an entry, then the rest of it */
        pl_str window = pl_buf_str(&buffer->window);
        size_t done = window.len ? (size_t)(buffer->read_at - buffer->window_at) : 0;
        size_t size;
        pl_status status = pl_entry_decode(window.ptr + done, window.len - done, segment->salt, kept, &size);
        if (status == PL_OK) {
            buffer->read_at += size;
            return PL_OK;
        }
        if (status == PL_FAILED)
            break;
        need = size;
        if (fill(buffer, segment, path, need, error) != PL_OK)
            return PL_FAILED;
        if (buffer->window.len < need)
            break;
    }
    return pl_fail(error, PL_HALT,
                   "disk buffer: %s gives back other bytes at %llu than were written; a restart sets it aside", path,
                   (unsigned long long)buffer->read_at);
}

pl_status pl_buffer_read(pl_buffer *buffer, pl_kept *kept, pl_buffer_lane **lane, pl_error *error)
{
    for (const pl_segment *segment; (segment = current(buffer));) {
        if (read_one(buffer, segment, kept, error) != PL_OK)
            return PL_FAILED;
        pl_buffer_lane *its = pl_buffer_lane_of(buffer, kept->lane);
        if (!its)
            return pl_fail(error, PL_HALT, "no memory for a lane of the disk buffer");
        /* Twice on disk: written before a sync that failed, and again after it. */
        bool twice = its->read_any && kept->position <= its->read;
        if (twice || pl_buffer_lane_settled(its, kept->position))
            continue;
        its->read = kept->position;
        its->read_any = true;
        *lane = its;
        return PL_OK;
    }
    return PL_AGAIN;
}
