#include <base/fs.h>
#include <base/mem.h>
#include <base/random.h>
#include <buffer/private.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { SEGMENT_MIN_BYTES = 64 << 10, SEGMENT_MAX_BYTES = 8 << 20, SETTLED_KEPT_BYTES = 256 << 10, PARENTS = 3 };

/* ---- life ------------------------------------------------------------------------ */

/* A new folder is durable once the folders above it are: as many as may have been made with it. */
static void sync_parents(const pl_buffer *buffer)
{
    char above[PL_BUFFER_PATH_MAX];
    int len = snprintf(above, sizeof above, "%s", buffer->path);
    for (int i = 0; i < PARENTS && len > 0 && (size_t)len + 4 < sizeof above; i++) {
        (void)memcpy(above + len, "/..", 4);
        len += 3;
        int fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return;
        (void)buffer->setup.io->sync_dir(buffer->setup.io->self, fd);
        (void)close(fd);
    }
}

static pl_status take_folder(pl_buffer *buffer, pl_error *error)
{
    char lock[PL_BUFFER_PATH_MAX];
    if (pl_fs_mkdirs(buffer->path, error) != PL_OK)
        return PL_FAILED;
    if (snprintf(lock, sizeof lock, "%s/lock", buffer->path) >= (int)sizeof lock)
        return pl_fail(error, PL_HALT, "the path %s is too long", buffer->path);
    if (pl_fs_lock(lock, &buffer->lock_fd, error) != PL_OK)
        return PL_FAILED;
    buffer->dir_fd = open(buffer->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (buffer->dir_fd < 0)
        return pl_buffer_fail(error, PL_HALT, "read", buffer->path);
    sync_parents(buffer);
    return PL_OK;
}

static void settle_sizes(pl_buffer_setup *setup)
{
    if (setup->max_bytes < PL_BUFFER_MIN_BYTES)
        setup->max_bytes = PL_BUFFER_MIN_BYTES;
    uint64_t eighth = setup->max_bytes / 8;
    if (!setup->segment_bytes)
        setup->segment_bytes = eighth < SEGMENT_MIN_BYTES   ? SEGMENT_MIN_BYTES
                               : eighth > SEGMENT_MAX_BYTES ? SEGMENT_MAX_BYTES
                                                            : eighth;
    if (!setup->io)
        setup->io = &pl_buffer_system_io;
}

static void destroy(pl_buffer *buffer)
{
    const int fds[] = {buffer->write_fd, buffer->read_fd, buffer->dir_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    while (buffer->segment_count)
        pl_segment_remove(buffer, buffer->segment_count - 1);
    pl_free((void *)buffer->segments);
    pl_buffer_lanes_release(buffer);
    pl_free((void *)buffer->pending_lanes);
    pl_buf_release(&buffer->pending);
    pl_buf_release(&buffer->window);
    pl_fs_unlock(&buffer->lock_fd);
    pl_free(buffer->path);
    pl_free(buffer);
}

pl_buffer *pl_buffer_open(const pl_buffer_setup *setup, pl_error *error)
{
    pl_buffer *buffer = pl_calloc(1, sizeof *buffer);
    if (!buffer) {
        (void)pl_fail(error, PL_HALT, "no memory for the disk buffer");
        return NULL;
    }
    buffer->setup = *setup;
    settle_sizes(&buffer->setup);
    buffer->lock_fd = buffer->dir_fd = buffer->write_fd = buffer->read_fd = -1;
    buffer->next_number = 1;
    buffer->salt = (uint32_t)pl_random_entropy();
    buffer->pending = PL_BUF(2 * (size_t)PL_ENTRY_MAX_BYTES);
    buffer->window = PL_BUF(2 * (size_t)PL_ENTRY_MAX_BYTES);
    buffer->path = pl_strndup(setup->path, strlen(setup->path));
    pl_status status = PL_FAILED;
    if (!buffer->path || !pl_buffer_lanes_init(buffer))
        (void)pl_fail(error, PL_HALT, "no memory for the disk buffer");
    else
        status = take_folder(buffer, error);
    if (status == PL_OK)
        status = pl_buffer_load_positions(buffer, error);
    if (status == PL_OK)
        status = pl_buffer_recover(buffer, error);
    if (status == PL_OK)
        return buffer;
    destroy(buffer);
    return NULL;
}

void pl_buffer_close(pl_buffer **buffer)
{
    pl_buffer *gone = *buffer;
    if (!gone)
        return;
    pl_error error = {.struct_size = sizeof error};
    if (pl_buffer_sync(gone, &error) != PL_OK)
        pl_buffer_report(gone, PL_ERROR, "%zu records could not be written and are lost: %s", gone->pending_count,
                         error.message);
    if (gone->write_fd >= 0)
        (void)close(gone->write_fd);
    gone->write_fd = -1;
    if (pl_buffer_save(gone, &error) != PL_OK)
        pl_buffer_report(gone, PL_WARN, "%s; what was delivered of late will be delivered again", error.message);
    destroy(gone);
    *buffer = NULL;
}

/* ---- settling ---------------------------------------------------------------------- */

void pl_buffer_settle(pl_buffer *buffer, pl_buffer_lane *lane, uint64_t position)
{
    if (lane->settled_any && position <= lane->settled)
        return;
    lane->settled = position;
    lane->settled_any = true;
    buffer->dirty = true;
}

bool pl_buffer_dirty(const pl_buffer *buffer)
{
    return buffer->dirty;
}

/* At most so many, oldest first. The newest segment stays while it is small. */
static void drop_settled(pl_buffer *buffer, size_t most)
{
    uint64_t small = buffer->setup.segment_bytes;
    small = small < SETTLED_KEPT_BYTES ? small : SETTLED_KEPT_BYTES;
    char path[PL_BUFFER_PATH_MAX];
    while (buffer->segment_count && most-- > 0) {
        pl_segment *oldest = buffer->segments[0];
        bool open = buffer->segment_count == 1 && buffer->write_fd >= 0;
        if (!pl_segment_settled(oldest) || (open && oldest->bytes < small) ||
            !pl_segment_path(buffer, oldest->number, "", path))
            return;
        if (open) {
            (void)close(buffer->write_fd);
            buffer->write_fd = -1;
        }
        if (unlink(path) != 0 && errno != ENOENT) {
            pl_buffer_report(buffer, PL_WARN, "cannot remove %s: %s", path, strerror(errno));
            return;
        }
        pl_segment_remove(buffer, 0);
    }
}

/* The positions first: without its segments a lane's last position stands only there. On a full disk one settled
 * segment goes before, to make room for them. */
pl_status pl_buffer_save(pl_buffer *buffer, pl_error *error)
{
    pl_status status = buffer->dirty ? pl_buffer_store_positions(buffer, error) : PL_OK;
    if (status != PL_OK) {
        drop_settled(buffer, 1);
        status = pl_buffer_store_positions(buffer, error);
    }
    if (status != PL_OK)
        return status;
    buffer->dirty = false;
    drop_settled(buffer, SIZE_MAX);
    return PL_OK;
}

/* ---- sizes -------------------------------------------------------------------------- */

size_t pl_buffer_pending_bytes(const pl_buffer *buffer)
{
    return buffer->pending.len;
}

size_t pl_buffer_pending_count(const pl_buffer *buffer)
{
    return buffer->pending_count;
}

uint64_t pl_buffer_bytes(const pl_buffer *buffer)
{
    return buffer->bytes;
}

/* A little early, so that what one call of the source hands over still fits. */
bool pl_buffer_full(const pl_buffer *buffer)
{
    uint64_t reserve = buffer->setup.max_bytes / 16;
    reserve = reserve < PL_BUFFER_WINDOW_BYTES ? reserve : PL_BUFFER_WINDOW_BYTES;
    return buffer->bytes + buffer->pending.len + reserve >= buffer->setup.max_bytes;
}
