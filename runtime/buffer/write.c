/* Appending and syncing. What is pending stays in memory until a sync has said that it is on disk. */
#include <base/mem.h>
#include <buffer/private.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static bool note_pending(pl_buffer *buffer, pl_buffer_lane *lane, uint64_t position)
{
    if (!lane->pending) {
        if (buffer->pending_lane_count == buffer->pending_lane_capacity) {
            size_t capacity = buffer->pending_lane_capacity ? buffer->pending_lane_capacity * 2 : 16;
            pl_buffer_lane **grown = pl_realloc((void *)buffer->pending_lanes, capacity, sizeof(pl_buffer_lane *));
            if (!grown)
                return false;
            buffer->pending_lanes = grown;
            buffer->pending_lane_capacity = capacity;
        }
        buffer->pending_lanes[buffer->pending_lane_count++] = lane;
        lane->pending = true;
    }
    lane->pending_last = position;
    return true;
}

pl_status pl_buffer_append(pl_buffer *buffer, pl_buffer_lane *lane, pl_kept *kept, pl_error *error)
{
    uint64_t position = lane->base + kept->position;
    uint64_t base = lane->base;
    if (lane->last_any && position <= lane->last) { /* the source began anew */
        base = lane->last + 1 - kept->position;
        position = lane->last + 1;
    }
    pl_kept whole = *kept;
    whole.lane = PL_S(lane->name);
    whole.position = position;
    size_t before = buffer->pending.len;
    pl_status status = pl_entry_encode(&buffer->pending, buffer->salt, &whole, error);
    if (status == PL_OK && buffer->pending.len - before > buffer->setup.max_bytes / 2)
        status = pl_fail(error, PL_REJECT, "a record may take half of the disk buffer at most");
    if (status == PL_OK && !note_pending(buffer, lane, position))
        status = pl_fail(error, PL_HALT, "no memory for the disk buffer");
    if (status != PL_OK) {
        buffer->pending.len = before;
        return status;
    }
    lane->base = base;
    lane->last = kept->position = position;
    lane->last_any = true;
    buffer->pending_count++;
    return PL_OK;
}

/* ---- the newest segment ------------------------------------------------------------ */

static pl_segment *newest(const pl_buffer *buffer)
{
    return buffer->segments[buffer->segment_count - 1];
}

static pl_status write_all(const pl_buffer *buffer, const char *bytes, size_t len, uint64_t at)
{
    const pl_buffer_io *io = buffer->setup.io;
    while (len > 0) {
        ssize_t wrote = io->write_at(io->self, buffer->write_fd, bytes, len, (off_t)at);
        if (wrote == 0)
            errno = ENOSPC;
        if (wrote == 0 || (wrote < 0 && errno != EINTR))
            return PL_FAILED;
        if (wrote > 0) {
            bytes += wrote;
            at += (uint64_t)wrote;
            len -= (size_t)wrote;
        }
    }
    return PL_OK;
}

/* Nothing more goes into the newest segment. What a failed write or sync left behind its last synced byte is cut off,
 * as far as the disk obeys; the rest would be recognized when it is read: its positions come again in the next one. */
static void leave(pl_buffer *buffer)
{
    pl_segment *segment = newest(buffer);
    char path[PL_BUFFER_PATH_MAX];
    int ignored = ftruncate(buffer->write_fd, (off_t)segment->bytes);
    (void)ignored;
    (void)close(buffer->write_fd);
    buffer->write_fd = -1;
    if (segment->bytes > PL_SEGMENT_HEAD_BYTES)
        return;
    if (pl_segment_path(buffer, segment->number, "", path))
        (void)unlink(path);
    pl_segment_remove(buffer, buffer->segment_count - 1);
}

static pl_status begin(pl_buffer *buffer, pl_error *error)
{
    char path[PL_BUFFER_PATH_MAX];
    char head[PL_SEGMENT_HEAD_BYTES];
    const pl_buffer_io *io = buffer->setup.io;
    pl_segment_head fields = {buffer->next_number, buffer->setup.clock->unix_ns(buffer->setup.clock), buffer->salt};
    if (!pl_segment_path(buffer, fields.number, "", path))
        return pl_fail(error, PL_HALT, "the path %s is too long", buffer->path);
    pl_segment *segment = pl_segment_add(buffer, fields.number);
    if (!segment)
        return pl_fail(error, PL_HALT, "no memory for the disk buffer");
    segment->salt = buffer->salt;
    segment->bytes = PL_SEGMENT_HEAD_BYTES;
    buffer->bytes += segment->bytes;
    buffer->write_fd = io->open(io->self, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (buffer->write_fd < 0) {
        pl_segment_remove(buffer, buffer->segment_count - 1);
        return pl_buffer_fail(error, PL_RETRY, "create", path);
    }
    pl_segment_head_write(&fields, head);
    pl_status status = PL_OK;
    if (write_all(buffer, head, sizeof head, 0) != PL_OK)
        status = pl_buffer_fail(error, PL_RETRY, "write", path);
    else if (io->sync_dir(io->self, buffer->dir_fd) != 0)
        status = pl_buffer_fail(error, PL_RETRY, "sync", buffer->path);
    if (status != PL_OK)
        leave(buffer);
    return status;
}

static bool note_written(pl_buffer *buffer, pl_segment *segment)
{
    for (size_t i = 0; i < buffer->pending_lane_count; i++)
        if (!pl_segment_note(segment, buffer->pending_lanes[i], buffer->pending_lanes[i]->pending_last))
            return false;
    return true;
}

/* The memory for one large answer is not kept. */
static void forget_pending(pl_buffer *buffer)
{
    for (size_t i = 0; i < buffer->pending_lane_count; i++)
        buffer->pending_lanes[i]->pending = false;
    buffer->pending_lane_count = buffer->pending_count = 0;
    if (buffer->pending.capacity > 4 * (size_t)PL_BUFFER_WINDOW_BYTES)
        pl_buf_release(&buffer->pending);
    else
        pl_buf_clear(&buffer->pending);
}

pl_status pl_buffer_sync(pl_buffer *buffer, pl_error *error)
{
    const pl_buffer_io *io = buffer->setup.io;
    char path[PL_BUFFER_PATH_MAX];
    if (!buffer->pending_count)
        return PL_OK;
    if (buffer->write_fd >= 0 && newest(buffer)->bytes >= buffer->setup.segment_bytes)
        leave(buffer);
    if (buffer->write_fd < 0 && begin(buffer, error) != PL_OK)
        return PL_FAILED;
    pl_segment *segment = newest(buffer);
    (void)pl_segment_path(buffer, segment->number, "", path);
    pl_status status = PL_OK;
    if (!note_written(buffer, segment)) /* noted too early does no harm: it is settled later */
        status = pl_fail(error, PL_HALT, "no memory for the disk buffer");
    else if (write_all(buffer, buffer->pending.data, buffer->pending.len, segment->bytes) != PL_OK)
        status = pl_buffer_fail(error, PL_RETRY, "write", path);
    else if (io->sync(io->self, buffer->write_fd) != 0)
        status = pl_buffer_fail(error, PL_RETRY, "sync", path);
    if (status != PL_OK) {
        leave(buffer);
        return status;
    }
    segment->bytes += buffer->pending.len;
    buffer->bytes += buffer->pending.len;
    forget_pending(buffer);
    return PL_OK;
}
