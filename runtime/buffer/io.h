/* The system calls that a disk can make fail, so that tests can do it too. */
#ifndef PL_BUFFER_IO_H
#define PL_BUFFER_IO_H
#include <sys/types.h>

typedef struct pl_buffer_io { /* as the calls of POSIX, errno included */
    int (*open)(void *self, const char *path, int flags, mode_t mode);
    ssize_t (*write_at)(void *self, int fd, const void *bytes, size_t len, off_t at);
    int (*sync)(void *self, int fd); /* the data, and as much of the rest as finding it needs */
    int (*sync_dir)(void *self, int fd);
    void *self;
} pl_buffer_io;

extern const pl_buffer_io pl_buffer_system_io;
#endif
