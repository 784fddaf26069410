#include <base/fs.h>
#include <base/mem.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static pl_status fail(pl_error *error, const char *doing, const char *path)
{
    bool passes = errno == ENOSPC || errno == EDQUOT || errno == EIO; /* there may be room again */
    return pl_fail(error, passes ? PL_RETRY : PL_HALT, "cannot %s %s: %s", doing, path, strerror(errno));
}

static size_t folder_len(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

pl_status pl_fs_mkdirs(const char *path, pl_error *error)
{
    struct stat found;
    char *copy = pl_strndup(path, strlen(path));
    if (!copy)
        return pl_fail(error, PL_HALT, "no memory for the path %s", path);
    pl_status status = PL_OK;
    for (char *at = copy + 1; status == PL_OK && copy[0]; at++) {
        bool last = *at == '\0';
        if (!last && *at != '/')
            continue;
        *at = '\0';
        if (mkdir(copy, 0700) != 0 && errno != EEXIST)
            status = fail(error, "make the folder", copy);
        if (last)
            break;
        *at = '/';
    }
    pl_free(copy);
    if (status == PL_OK && (stat(path, &found) != 0 || !S_ISDIR(found.st_mode))) {
        errno = ENOTDIR;
        return fail(error, "make the folder", path);
    }
    return status;
}

static ssize_t read_again(int fd, void *into, size_t size)
{
    ssize_t got;
    do
        got = read(fd, into, size);
    while (got < 0 && errno == EINTR);
    return got;
}

enum { READ_STEP = 64 << 10 };

/* A small file's size, so that no more memory is touched than it needs. */
static size_t read_step(int fd)
{
    struct stat info;
    return fstat(fd, &info) == 0 && info.st_size > 0 && info.st_size < READ_STEP ? (size_t)info.st_size + 1 : READ_STEP;
}

pl_status pl_fs_read(const char *path, pl_buf *out, pl_error *error)
{
    return pl_fs_read_from(path, 0, out, error);
}

pl_status pl_fs_read_from(const char *path, int64_t offset, pl_buf *out, pl_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? PL_END : fail(error, "read", path);
    pl_status status = offset && lseek(fd, offset, SEEK_SET) < 0 ? fail(error, "read", path) : PL_OK;
    size_t most = read_step(fd);
    while (status == PL_OK) {
        size_t room = out->max - out->len;
        char over;
        if (room == 0) { /* only the end of the file may follow */
            ssize_t more = read_again(fd, &over, 1);
            if (more != 0)
                status = more < 0 ? fail(error, "read", path)
                                  : pl_fail(error, PL_HALT, "%s is larger than %zu bytes", path, out->max);
            break;
        }
        size_t step = room < most ? room : most;
        if (!pl_buf_reserve(out, step)) {
            status = pl_fail(error, PL_HALT, "no memory to read %s", path);
            break;
        }
        ssize_t got = read_again(fd, out->data + out->len, step);
        if (got <= 0) {
            status = got < 0 ? fail(error, "read", path) : PL_OK;
            break;
        }
        out->len += (size_t)got;
        out->data[out->len] = '\0';
    }
    (void)close(fd);
    return status;
}

static bool write_all(int fd, pl_str content)
{
    for (size_t at = 0; at < content.len;) {
        ssize_t wrote = write(fd, content.ptr + at, content.len - at);
        if (wrote < 0 && errno != EINTR)
            return false;
        if (wrote > 0)
            at += (size_t)wrote;
    }
    return true;
}

/* A rename is only durable once its folder is. */
static pl_status sync_folder(const char *path, pl_error *error)
{
    size_t len = folder_len(path);
    char *folder = len ? pl_strndup(path, len) : pl_strndup(".", 1);
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    pl_status status = PL_OK;
    if (!folder)
        status = pl_fail(error, PL_HALT, "no memory for the path %s", path);
    else if (fd < 0 || fsync(fd) != 0)
        status = fail(error, "sync the folder", folder);
    if (fd >= 0)
        (void)close(fd);
    pl_free(folder);
    return status;
}

static pl_status write_synced(const char *path, pl_str content, pl_error *error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(error, "create", path);
    pl_status status = PL_OK;
    if (!write_all(fd, content) || fsync(fd) != 0)
        status = fail(error, "write", path);
    if (close(fd) != 0 && status == PL_OK)
        status = fail(error, "write", path);
    return status;
}

pl_status pl_fs_replace(const char *path, pl_str content, pl_error *error)
{
    char temporary[PATH_MAX];
    int len = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (len < 0 || (size_t)len >= sizeof temporary) {
        errno = ENAMETOOLONG;
        return fail(error, "write", path);
    }
    pl_status status = write_synced(temporary, content, error);
    if (status == PL_OK && rename(temporary, path) != 0)
        status = fail(error, "replace", path);
    if (status != PL_OK) {
        (void)unlink(temporary);
        return status;
    }
    return sync_folder(path, error);
}

pl_status pl_fs_lock(const char *path, int *fd, pl_error *error)
{
    char pid[24] = "";
    int lock = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock < 0)
        return fail(error, "open the lock", path);
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
        pl_status status = PL_FAILED;
        ssize_t got = errno == EWOULDBLOCK ? read_again(lock, pid, sizeof pid - 1) : -1;
        if (got < 0)
            status = fail(error, "lock", path);
        else
            status = pl_fail(error, PL_HALT, "%s is locked by process %.*s", path, (int)strcspn(pid, "\n"),
                             pid[0] ? pid : "unknown");
        (void)close(lock);
        return status;
    }
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(lock, 0) != 0 || !write_all(lock, (pl_str){pid, (size_t)len})) {
        pl_status status = fail(error, "write the lock", path);
        (void)close(lock);
        return status;
    }
    *fd = lock;
    return PL_OK;
}

void pl_fs_unlock(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd); /* the file stays: removing it would let two hold "the" lock */
    *fd = -1;
}

char *pl_fs_beside(const char *path, const char *relative)
{
    size_t folder = relative[0] == '/' ? 0 : folder_len(path), len = strlen(relative);
    char *joined = pl_realloc(NULL, folder + len + 1, 1);
    if (!joined)
        return NULL;
    memcpy(joined, path, folder);
    memcpy(joined + folder, relative, len + 1);
    return joined;
}
