#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TAIL_MAX = 1 << 20, TAIL_STEP = 64 << 10, LOCK_TRIES = 100, LOCK_PAUSE_NS = 10000000 };

static int32_t class_of(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EAGAIN:
    case ENXIO: /* a named pipe without a reader */
        return PL_RETRY;
    default:
        return PL_HALT;
    }
}

static pl_status fail_errno(const file_writer *writer, const char *what, int number, pl_error *error)
{
    error->code = number;
    return pl_fail(error, class_of(number), "cannot %s %.170s: %s", what, writer->path, strerror(number));
}

void writer_close(file_writer *writer)
{
    if (writer->fd > STDERR_FILENO) {
        (void)close(writer->fd);
    }
    writer->fd = -1;
}

/* A name that was just made is durable only with its folder. */
static void sync_folder(const file_writer *writer)
{
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof copy, "%s", writer->path) >= (int)sizeof copy) {
        return;
    }
    int folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        (void)fsync(folder);
        (void)close(folder);
    }
}

/* The bytes behind the last newline: malloc'ed, *len of them; NULL with *len 0: none, or too many to judge. */
static char *read_tail(int fd, off_t size, size_t *len)
{
    *len = 0;
    for (off_t want = TAIL_STEP; want < 2 * (off_t)TAIL_MAX; want *= 4) {
        off_t from = size > want ? size - want : 0;
        size_t have = (size_t)(size - from);
        char *tail = malloc(have + 1);
        if (!tail || pread(fd, tail, have, from) != (ssize_t)have) {
            free(tail);
            return NULL;
        }
        char *newline = memrchr(tail, '\n', have);
        if (newline || from == 0) {
            *len = newline ? (size_t)(tail + have - (newline + 1)) : have;
            memmove(tail, tail + have - *len, *len);
            return tail;
        }
        free(tail);
    }
    return NULL;
}

/* True for the beginning of a line of ours that a crash cut short. Any other text is somebody's, and stays. */
static bool is_torn(const file_lines *lines, const char *tail, size_t len)
{
    if (!lines->csv) {
        return (tail[0] == '{' || tail[0] == '[') && !lines_is_json(lines, (pl_str){tail, len});
    }
    csv_field *fields = calloc(CSV_FIELDS_MAX, sizeof *fields);
    char *copy = strndup(tail, len), *next;
    const char *why;
    size_t count = 0;
    bool torn = fields && copy &&
                (csv_split(copy, copy + len, true, lines->delimiter, fields, &count, &next, &why) != CSV_RECORD ||
                 count != lines->config->csv.columns.count);
    free(fields);
    free(copy);
    return torn;
}

/* Ours is for writing only. By the descriptor, for the name may be another file's by now. -1: not to be read. */
static int open_to_read(const file_writer *writer)
{
    char name[32];
    (void)snprintf(name, sizeof name, "/proc/self/fd/%d", writer->fd);
    return open(name, O_RDONLY | O_CLOEXEC);
}

/* Whether the file is known to end within a line. */
static bool ends_within_line(int fd, off_t size)
{
    char last;
    return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

static void mend_tail(file_writer *writer, const file_lines *lines, int fd, off_t size)
{
    char message[PATH_MAX + 96];
    size_t len;
    char *tail = read_tail(fd, size, &len);
    if (len > 0 && is_torn(lines, tail, len) && ftruncate(writer->fd, size - (off_t)len) == 0) {
        (void)snprintf(message, sizeof message, "%s: a torn last line of %zu bytes was cut off", writer->path, len);
    } else {
        writer->owes_newline = true;
        (void)snprintf(message, sizeof message, "%s: the last line had no end; it gets one", writer->path);
    }
    writer->host->log(writer->host, PL_WARN, message);
    free(tail);
}

/* Others of us hold the exclusive lock for a moment only; for a stranger who keeps it nobody waits for ever. */
static void lock_shared(const file_writer *writer)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
    for (int i = 0; i < LOCK_TRIES && flock(writer->fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK; i++) {
        (void)nanosleep(&pause, NULL);
    }
}

/* What looks like a torn line may be another process's that is being written, where somebody else has the file open to
 * write: all of us hold a shared lock meanwhile. Then the line stays, and gets its end before our first one. A file
 * system without locks tells of nobody. */
static void mend_if_alone(file_writer *writer, const file_lines *lines)
{
    struct stat about;
    bool others = flock(writer->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    int fd = open_to_read(writer);
    if (fd >= 0 && fstat(fd, &about) == 0 && ends_within_line(fd, about.st_size)) {
        if (others) {
            writer->owes_newline = true;
        } else {
            mend_tail(writer, lines, fd, about.st_size);
        }
    }
    (void)(fd >= 0 && close(fd));
    lock_shared(writer);
}

/* Standard output is shared with whoever started us, so it is not ours to make non-blocking; a pipe can be opened a
 * second time, and what is set there holds for us alone. */
static int open_standard(void)
{
    struct stat about;
    if (fstat(STDOUT_FILENO, &about) != 0 || !S_ISFIFO(about.st_mode)) {
        return STDOUT_FILENO;
    }
    int fd = open("/proc/self/fd/1", O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 ? fd : STDOUT_FILENO;
}

pl_status writer_open(file_writer *writer, const file_lines *lines, bool truncate, pl_error *error)
{
    bool standard = strcmp(writer->path, "-") == 0;
    bool existed = standard || access(writer->path, F_OK) == 0;
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (truncate ? O_TRUNC : 0);
    writer->fd = standard ? open_standard() : open(writer->path, flags, 0644); /* the umask narrows it */
    struct stat about;
    if (writer->fd < 0 || fstat(writer->fd, &about) != 0) {
        return fail_errno(writer, "open", errno, error);
    }
    writer->regular = S_ISREG(about.st_mode);
    writer->durable = writer->regular && !standard;
    writer->stream = S_ISFIFO(about.st_mode) || S_ISSOCK(about.st_mode) || isatty(writer->fd);
    writer->blocks = writer->fd == STDOUT_FILENO || !S_ISFIFO(about.st_mode);
    writer->owes_newline = false;
    if (writer->durable) {
        mend_if_alone(writer, lines);
    }
    /* Asked again: what was mended may have been all there was, the beginning of a header. */
    writer->fresh = !writer->regular || (fstat(writer->fd, &about) == 0 && about.st_size == 0);
    if (!existed) {
        sync_folder(writer);
    }
    return PL_OK;
}

/* Waits until the stream takes some bytes, however long that is. false: interrupted. */
static bool wait_writable(const file_writer *writer)
{
    struct pollfd fds[] = {{.fd = writer->wake_fd, .events = POLLIN}, {.fd = writer->fd, .events = POLLOUT}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR) {
    }
    return fds[0].revents == 0;
}

static pl_status write_all(file_writer *writer, const char *bytes, size_t len, size_t *done, pl_error *error)
{
    bool full = writer->stream && writer->blocks; /* ask before each write */
    for (*done = 0; *done < len;) {
        size_t piece = len - *done;
        if (full && !wait_writable(writer)) {
            return pl_fail(error, PL_RETRY, "interrupted while %.180s took no more", writer->path);
        }
        if (writer->stream && writer->blocks) {
            piece = piece < PIPE_BUF ? piece : PIPE_BUF; /* what a stream that is ready takes without blocking */
        }
        ssize_t wrote = write(writer->fd, bytes + *done, piece);
        if (wrote < 0 && errno != EINTR && !(writer->stream && errno == EAGAIN)) {
            return fail_errno(writer, "write to", errno, error);
        }
        full = writer->stream && (writer->blocks || wrote < 0);
        *done += wrote > 0 ? (size_t)wrote : 0;
    }
    return PL_OK;
}

/* Another process may have ended the line meanwhile. Where that can't be known, an empty line does no harm. */
static bool still_owes_newline(const file_writer *writer)
{
    struct stat about;
    int fd = writer->durable ? open_to_read(writer) : -1;
    bool owes = fd < 0 || fstat(fd, &about) != 0 || ends_within_line(fd, about.st_size);
    (void)(fd >= 0 && close(fd));
    return owes;
}

pl_status writer_write(file_writer *writer, const char *bytes, size_t len, size_t *done, pl_error *error)
{
    *done = 0;
    writer->owes_newline = writer->owes_newline && still_owes_newline(writer);
    if (writer->owes_newline) {
        if (write_all(writer, "\n", 1, done, error) != PL_OK) {
            *done = 0;
            return PL_FAILED;
        }
        writer->owes_newline = false;
    }
    return write_all(writer, bytes, len, done, error);
}

void writer_cut(file_writer *writer, size_t len)
{
    struct stat about;
    if (len == 0) {
        return;
    }
    /* After an O_APPEND write the offset is where that write ended: a size beyond it is somebody else's line. */
    off_t end = writer->regular ? lseek(writer->fd, 0, SEEK_CUR) : -1;
    if (end >= (off_t)len && fstat(writer->fd, &about) == 0 && about.st_size == end &&
        ftruncate(writer->fd, end - (off_t)len) == 0) {
        (void)lseek(writer->fd, end - (off_t)len, SEEK_SET);
        return;
    }
    writer->owes_newline = true;
}

pl_status writer_sync(const file_writer *writer, pl_error *error)
{
    if (!writer->durable) {
        return PL_OK;
    }
    while (fdatasync(writer->fd) != 0) {
        if (errno != EINTR) {
            return fail_errno(writer, "make durable", errno, error);
        }
    }
    return PL_OK;
}
