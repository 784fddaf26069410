#include <buffer/io.h>
#include <fcntl.h>
#include <unistd.h>

static int system_open(void *self, const char *path, int flags, mode_t mode)
{
    (void)self;
    return open(path, flags, mode);
}

static ssize_t system_write_at(void *self, int fd, const void *bytes, size_t len, off_t at)
{
    (void)self;
    return pwrite(fd, bytes, len, at);
}

static int system_sync(void *self, int fd)
{
    (void)self;
    return fdatasync(fd);
}

static int system_sync_dir(void *self, int fd)
{
    (void)self;
    return fsync(fd);
}

const pl_buffer_io pl_buffer_system_io = {system_open, system_write_at, system_sync, system_sync_dir, NULL};
