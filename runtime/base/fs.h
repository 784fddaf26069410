/* Files of the data_dir. Failures fill the error (PL_HALT, path and strerror in the message). */
#ifndef PL_BASE_FS_H
#define PL_BASE_FS_H
#include <base/buf.h>
#include <plumbline/plugin.h>

/* mkdir -p with mode 0700 for what it makes. */
pl_status pl_fs_mkdirs(const char *path, pl_error *error);
/* Whole file into buf (appended); PL_END when there is no such file. */
pl_status pl_fs_read(const char *path, pl_buf *out, pl_error *error);
/* The same from a byte of it on. */
pl_status pl_fs_read_from(const char *path, int64_t offset, pl_buf *out, pl_error *error);
/* Replaces path atomically: temporary file 0600, fsync, rename, fsync of the folder. */
pl_status pl_fs_replace(const char *path, pl_str content, pl_error *error);
/* Takes an exclusive lock on path (created 0600), held until the process ends or pl_fs_unlock.
 * PL_FAILED names the pid that holds it. */
pl_status pl_fs_lock(const char *path, int *fd, pl_error *error);
void pl_fs_unlock(int *fd);
/* dir of path joined with relative, unless relative is absolute; free with pl_free. NULL: no memory. */
char *pl_fs_beside(const char *path, const char *relative);
#endif
