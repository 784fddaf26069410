#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 256 << 10,
    FINGER_BYTES = 1024, /* of a file's beginning, to know it again */
    STORE_TEXT_MAX = 96
};
static const int64_t STORE_EVERY_NS = INT64_C(200) * 1000000;

bool reader_init(file_reader *reader, const pl_host *host, const file_source_config *config, const char *name)
{
    *reader = (file_reader){.host = host, .config = config, .name = name, .fd = -1, .line_known = true};
    reader->format = strcmp(config->format, "csv") == 0     ? FILE_CSV
                     : strcmp(config->format, "text") == 0  ? FILE_TEXT
                     : strcmp(config->format, "bytes") == 0 ? FILE_BYTES
                                                            : FILE_JSONL;
    reader->delimiter = file_delimiter(config->csv.delimiter);
    if (reader->format == FILE_CSV) {
        reader->fields = calloc(CSV_FIELDS_MAX, sizeof *reader->fields);
        reader->columns = calloc(CSV_FIELDS_MAX, sizeof *reader->columns);
    }
    return reader->format != FILE_CSV || (reader->fields && reader->columns);
}

void reader_release(file_reader *reader)
{
    if (reader->fd > STDIN_FILENO) {
        (void)close(reader->fd);
    }
    free(reader->buf);
    free(reader->header);
    free(reader->columns);
    free(reader->fields);
    *reader = (file_reader){.fd = -1};
}

/* ---- What is remembered over a restart --------------------------------------- */

static uint64_t hash_bytes(const char *bytes, size_t len)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a, 64 bits */
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

/* Hash of the file's first `len` bytes; false: there are not so many. */
static bool fingerprint(int fd, size_t len, uint64_t *hash)
{
    char bytes[FINGER_BYTES];
    size_t have = 0;
    while (have < len) {
        ssize_t got = pread(fd, bytes + have, len - have, (off_t)have);
        if (got <= 0 && !(got < 0 && errno == EINTR)) {
            return false;
        }
        have += got > 0 ? (size_t)got : 0;
    }
    *hash = hash_bytes(bytes, len);
    return true;
}

static const pl_store *store_of(const file_reader *reader)
{
    return reader->config->resume ? reader->host->extension(reader->host, "pl.store/1") : NULL;
}

static void warn(const file_reader *reader, const char *what)
{
    char line[320];
    (void)snprintf(line, sizeof line, "%.200s: %s", reader->name, what);
    reader->host->log(reader->host, PL_WARN, line);
}

/* Where to go on; 0 when nothing is remembered or the file is another one now. */
static uint64_t remembered_offset(const file_reader *reader, uint64_t size)
{
    const pl_store *store = store_of(reader);
    pl_str value;
    char text[STORE_TEXT_MAX];
    uint64_t found;
    if (!store || !store->get(reader->host, PL_S(reader->name), &value) || value.len >= sizeof text) {
        return 0;
    }
    memcpy(text, value.ptr, value.len);
    text[value.len] = '\0';
    char *at = text, *end;
    uint64_t offset = strtoull(at, &at, 10);
    uint64_t len = strtoull(at, &at, 10);
    uint64_t hash = strtoull(at, &end, 16);
    if (end == at || len > FINGER_BYTES) {
        warn(reader, "what was remembered of it cannot be read; reading it from its start");
        return 0;
    }
    if (offset > size || !fingerprint(reader->fd, (size_t)len, &found) || found != hash) {
        warn(reader, "is another file than the one read before; reading it from its start");
        return 0;
    }
    return offset;
}

pl_status reader_commit(file_reader *reader, uint64_t position, pl_error *error)
{
    const pl_store *store = store_of(reader);
    if (!store || reader->fd < 0 || !reader->regular || position <= reader->base || position <= reader->replay_until) {
        return PL_OK; /* also: what an earlier, since replaced file handed over; what was given again */
    }
    int64_t now = reader->host->now_ns(reader->host);
    if (position != reader->handed_over && reader->stored_ns != 0 && now - reader->stored_ns < STORE_EVERY_NS) {
        return PL_OK;
    }
    uint64_t offset = position - reader->base;
    size_t len = offset < FINGER_BYTES ? (size_t)offset : FINGER_BYTES;
    if (len != reader->finger_len && fingerprint(reader->fd, len, &reader->finger_hash)) {
        reader->finger_len = len;
    }
    char text[STORE_TEXT_MAX];
    int written = snprintf(text, sizeof text, "%llu %zu %llx", (unsigned long long)offset, reader->finger_len,
                           (unsigned long long)reader->finger_hash);
    pl_status status = store->put(reader->host, PL_S(reader->name), (pl_str){text, (size_t)written}, error);
    if (status == PL_OK) {
        reader->stored_ns = now;
    }
    return status;
}

/* ---- Opening -------------------------------------------------------------------- */

static pl_status open_file(file_reader *reader, pl_error *error)
{
    if (strcmp(reader->name, "-") == 0) {
        reader->fd = STDIN_FILENO;
    } else {
        reader->fd = open(reader->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    }
    struct stat about;
    if (reader->fd < 0 || fstat(reader->fd, &about) != 0) {
        if (errno == ENOENT && reader->config->follow) {
            if (!reader->missing) {
                warn(reader, "is not there yet; waiting for it");
            }
            reader->missing = true;
            return PL_AGAIN;
        }
        return pl_fail(error, PL_HALT, "cannot open %.150s: %s", reader->name, strerror(errno));
    }
    reader->missing = false;
    if (S_ISDIR(about.st_mode)) {
        (void)close(reader->fd);
        reader->fd = -1;
        return pl_fail(error, PL_HALT, "%.180s is a directory; expected a file", reader->name);
    }
    reader->regular = S_ISREG(about.st_mode);
    reader->device = (uint64_t)about.st_dev;
    reader->inode = (uint64_t)about.st_ino;
    reader->finger_len = 0;
    reader->start = reader->end = reader->scanned = 0;
    reader->offset = 0;
    reader->at_eof = false;
    reader->line = 0;
    reader->line_known = true;
    reader->header_due = reader->format == FILE_CSV && reader->config->csv.header;
    if (reader->regular) {
        (void)posix_fadvise(reader->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    return PL_OK;
}

/* After the CSV header was read, or at once. */
static void go_on_where_left(file_reader *reader)
{
    struct stat about;
    if (!reader->regular || fstat(reader->fd, &about) != 0) {
        return;
    }
    uint64_t offset = remembered_offset(reader, (uint64_t)about.st_size);
    if (reader->rewinds) {
        reader->replay_until = offset > 0 ? reader->base + offset : 0;
    } else if (offset > reader->offset && lseek(reader->fd, (off_t)offset, SEEK_SET) >= 0) {
        reader->start = reader->end = reader->scanned = 0;
        reader->offset = offset;
        reader->line_known = false;
        reader->at_eof = false;
    }
    reader->handed_over = reader->base + reader->offset;
}

/* ---- Reading ----------------------------------------------------------------------- */

/* "prices.jsonl:12", or "prices.jsonl, byte 4711" where lines were not counted from the start. */
static const char *place(const file_reader *reader, char *out, size_t size)
{
    if (reader->line_known) {
        (void)snprintf(out, size, "%.150s:%llu", reader->name, (unsigned long long)reader->line + 1);
    } else {
        (void)snprintf(out, size, "%.150s, byte %llu", reader->name, (unsigned long long)reader->offset);
    }
    return out;
}

static pl_status too_long(const file_reader *reader, pl_error *error)
{
    char at[192];
    return pl_fail(error, PL_HALT, "%s: the record is longer than max_record, %lld bytes", place(reader, at, sizeof at),
                   (long long)reader->config->max_record);
}

/* Room behind `end` for another read; false: no memory. */
static bool make_room(file_reader *reader)
{
    if (reader->start > 0) {
        memmove(reader->buf, reader->buf + reader->start, reader->end - reader->start);
        reader->scanned -= reader->scanned < reader->start ? reader->scanned : reader->start;
        reader->end -= reader->start;
        reader->start = 0;
    }
    if (reader->room > 0 && reader->end < reader->room) {
        return true;
    }
    size_t room = reader->room ? 2 * reader->room : BLOCK_BYTES;
    char *buf = realloc(reader->buf, room);
    if (buf) {
        reader->buf = buf;
        reader->room = room;
    }
    return buf != NULL;
}

/* One read; PL_AGAIN: nothing there now. */
static pl_status fill(file_reader *reader, pl_error *error)
{
    if (!make_room(reader)) {
        return pl_fail(error, PL_RETRY, "no memory to read %.150s", reader->name);
    }
    ssize_t got;
    do {
        got = read(reader->fd, reader->buf + reader->end, reader->room - reader->end);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return errno == EAGAIN ? PL_AGAIN
                               : pl_fail(error, PL_HALT, "cannot read %.150s: %s", reader->name, strerror(errno));
    }
    reader->at_eof = got == 0;
    bool first = reader->offset == 0 && reader->end == 0;
    reader->end += (size_t)got;
    if (first && reader->format != FILE_BYTES && got >= 3 && memcmp(reader->buf, "\xEF\xBB\xBF", 3) == 0) {
        reader->start = reader->scanned = 3; /* a byte order mark is no part of the first record */
        reader->offset = 3;
    }
    return PL_OK;
}

/* `len` bytes from buf[start] are done with. */
static void consume(file_reader *reader, size_t len)
{
    const char *at = reader->buf + reader->start, *end = at + len;
    if (reader->format == FILE_CSV) { /* quoted fields may hold newlines */
        for (const char *newline = at; newline < end && (newline = memchr(newline, '\n', (size_t)(end - newline)));
             newline++) {
            reader->line++;
        }
    } else {
        reader->line++;
    }
    reader->start += len;
    reader->offset += len;
    reader->scanned = reader->start;
}

static bool emit(file_reader *reader, pl_str payload, const pl_field *fields, size_t count)
{
    pl_emission emission = {
        .struct_size = sizeof emission,
        .lane = reader->lane,
        .position = reader->handed_over = reader->base + reader->offset,
        .stream = PL_S(reader->name),
        .payload = payload,
        .fields = fields,
        .field_count = (uint32_t)count,
        .flags = reader->base + reader->offset <= reader->replay_until ? PL_EMIT_REPLAY : 0,
    };
    return reader->host->emit(reader->host, &emission);
}

static bool is_blank(pl_str line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] != ' ' && line.ptr[i] != '\t' && line.ptr[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* READ_NONE: no whole line left in the buffer. */
static read_result hand_over_lines(file_reader *reader, pl_error *error)
{
    size_t max = (size_t)reader->config->max_record;
    bool last_line_counts = reader->at_eof && !reader->config->follow;
    read_result result = READ_NONE;
    while (reader->start < reader->end) {
        char *at = reader->buf + reader->start;
        char *newline = memchr(reader->buf + reader->scanned, '\n', reader->end - reader->scanned);
        reader->scanned = reader->end;
        size_t len = newline ? (size_t)(newline - at) : reader->end - reader->start;
        if (len > max) {
            (void)too_long(reader, error);
            return READ_FAILED;
        }
        if (!newline && !last_line_counts) {
            break;
        }
        pl_str line = {at, len - (len > 0 && at[len - 1] == '\r')};
        consume(reader, len + (newline != NULL));
        if (reader->format == FILE_JSONL && is_blank(line)) {
            continue;
        }
        result = READ_SOME;
        if (!emit(reader, line, NULL, 0)) {
            return READ_FULL;
        }
    }
    return result;
}

static read_result hand_over_whole(file_reader *reader, pl_error *error)
{
    size_t len = reader->end - reader->start;
    if (len > (size_t)reader->config->max_record) {
        (void)too_long(reader, error);
        return READ_FAILED;
    }
    if (!reader->at_eof || len == 0) {
        return READ_NONE;
    }
    pl_str whole = {reader->buf + reader->start, len};
    consume(reader, len);
    return emit(reader, whole, NULL, 0) ? READ_SOME : READ_FULL;
}

/* ---- CSV --------------------------------------------------------------------------- */

static pl_status name_columns(file_reader *reader, const pl_array *given, pl_error *error)
{
    for (size_t i = 0; i < given->count; i++) {
        reader->columns[i].name = PL_S(((const char *const *)given->items)[i]);
    }
    reader->column_count = given->count;
    for (size_t i = 0; i < reader->column_count; i++) {
        pl_str name = reader->columns[i].name;
        if (name.len == 0 || !text_utf8_valid(name)) {
            return pl_fail(error, PL_HALT, "%.150s: column %zu has no readable name; give csv.columns", reader->name,
                           i + 1);
        }
        for (size_t k = 0; k < i; k++) {
            if (reader->columns[k].name.len == name.len &&
                memcmp(reader->columns[k].name.ptr, name.ptr, name.len) == 0) {
                return pl_fail(error, PL_HALT, "%.120s: column '%.*s' stands there twice; give csv.columns",
                               reader->name, (int)(name.len < 80 ? name.len : 80), name.ptr);
            }
        }
    }
    return PL_OK;
}

/* The header's names, copied: the buffer moves on. */
static pl_status take_header(file_reader *reader, size_t count, size_t bytes, pl_error *error)
{
    size_t used = 0;
    char *names = calloc(1, bytes + count + 1);
    const char **list = calloc(count, sizeof *list);
    free(reader->header);
    reader->header = names;
    if (!names || !list) {
        free(list);
        return pl_fail(error, PL_RETRY, "no memory for the header of %.150s", reader->name);
    }
    for (size_t i = 0; i < count; i++) {
        csv_undouble(&reader->fields[i]);
        memcpy(names + used, reader->fields[i].ptr, reader->fields[i].len);
        list[i] = names + used;
        used += reader->fields[i].len + 1;
    }
    pl_status status = name_columns(reader, &(pl_array){list, count}, error);
    free(list);
    return status;
}

/* Sets the values of the columns; a message when this is no record of them, and then the text is as it was. */
static const char *take_values(file_reader *reader, size_t count, pl_str line)
{
    if (count != reader->column_count) {
        return "its number of fields is not that of the columns";
    }
    if (!text_utf8_valid(line)) {
        return "it is not UTF-8";
    }
    for (size_t i = 0; i < count; i++) {
        csv_field *field = &reader->fields[i];
        csv_undouble(field);
        pl_str text = {field->ptr, field->len};
        bool null = text.len == 0 && !field->quoted; /* as PostgreSQL's COPY reads it */
        reader->columns[i].value = (pl_value){.type = null ? PL_NIL : PL_STR, .as.s = text};
    }
    return NULL;
}

/* A line that is no record goes on as it stands: the JSON check behind the source rejects it, so it is not lost. */
static bool emit_bad(file_reader *reader, size_t len, size_t used, const char *why)
{
    char line[512], at[192];
    (void)snprintf(line, sizeof line, "%s: %s; handed on as it stands", place(reader, at, sizeof at), why);
    reader->host->log(reader->host, PL_WARN, line);
    pl_str raw = {reader->buf + reader->start, len};
    consume(reader, used);
    return emit(reader, raw, NULL, 0);
}

static size_t without_newline(const char *at, size_t len)
{
    len -= len > 0 && at[len - 1] == '\n';
    return len - (len > 0 && at[len - 1] == '\r');
}

/* One record of the buffer. READ_NONE: none is whole. */
static read_result hand_over_record(file_reader *reader, pl_error *error)
{
    char *at = reader->buf + reader->start, *end = reader->buf + reader->end, *next = end;
    const char *why = NULL;
    size_t count;
    bool last = reader->at_eof && !reader->config->follow;
    csv_result result = csv_split(at, end, last, reader->delimiter, reader->fields, &count, &next, &why);
    size_t used = (size_t)(next - at);
    if (used > (size_t)reader->config->max_record) {
        (void)too_long(reader, error);
        return READ_FAILED;
    }
    if (result == CSV_MORE) {
        return READ_NONE;
    }
    if (result == CSV_RECORD && reader->header_due) {
        if (reader->config->csv.columns.count == 0 && take_header(reader, count, used, error) != PL_OK) {
            return READ_FAILED;
        }
        reader->header_due = false;
        consume(reader, used);
        go_on_where_left(reader);
        return READ_SOME;
    }
    size_t len = without_newline(at, used);
    if (len == 0) {
        consume(reader, used); /* an empty line */
        return READ_SOME;
    }
    if (result == CSV_RECORD) {
        why = take_values(reader, count, (pl_str){at, len});
    }
    if (why) {
        return emit_bad(reader, len, used, why) ? READ_SOME : READ_FULL;
    }
    consume(reader, used);
    return emit(reader, (pl_str){0}, reader->columns, reader->column_count) ? READ_SOME : READ_FULL;
}

static read_result hand_over_csv(file_reader *reader, pl_error *error)
{
    read_result result = READ_NONE, all = READ_NONE;
    while (reader->start < reader->end) {
        result = hand_over_record(reader, error);
        if (result != READ_SOME) {
            break;
        }
        all = READ_SOME;
    }
    return result == READ_FULL || result == READ_FAILED ? result : all;
}

/* ---- The end of a file that is followed ---------------------------------------------- */

static read_result at_end(file_reader *reader, pl_error *error)
{
    if (!reader->config->follow || !reader->regular) {
        reader->ended = true;
        free(reader->buf);
        reader->buf = NULL;
        reader->room = reader->start = reader->end = 0;
        return READ_END;
    }
    struct stat open_one, named;
    if (fstat(reader->fd, &open_one) != 0) {
        (void)pl_fail(error, PL_HALT, "cannot look at %.150s: %s", reader->name, strerror(errno));
        return READ_FAILED;
    }
    uint64_t read_up_to = reader->offset + (reader->end - reader->start);
    bool replaced = stat(reader->name, &named) == 0 &&
                    ((uint64_t)named.st_ino != reader->inode || (uint64_t)named.st_dev != reader->device);
    if (!replaced && (uint64_t)open_one.st_size >= read_up_to) {
        return READ_NONE;
    }
    warn(reader, replaced ? "was replaced; reading the new one" : "was cut; reading it from its start");
    if (reader->end > reader->start) {
        warn(reader, "its last line had no end and is left out");
    }
    (void)close(reader->fd);
    reader->fd = -1; /* the next step opens the new one */
    reader->base += read_up_to;
    return READ_SOME;
}

static pl_status open_first(file_reader *reader, pl_error *error)
{
    pl_status status = open_file(reader, error);
    if (status != PL_OK) {
        return status;
    }
    if (reader->format == FILE_CSV) {
        if (reader->config->csv.columns.count > 0 &&
            name_columns(reader, &reader->config->csv.columns, error) != PL_OK) {
            return PL_FAILED;
        }
        if (reader->config->csv.header) {
            return PL_OK; /* go on after the header */
        }
    }
    go_on_where_left(reader);
    return PL_OK;
}

read_result reader_step(file_reader *reader, bool readable, pl_error *error)
{
    pl_status status = reader->fd < 0 ? open_first(reader, error) : PL_OK;
    if (status != PL_OK) {
        return status == PL_AGAIN ? READ_NONE : READ_FAILED;
    }
    read_result (*hand_over)(file_reader *, pl_error *) = reader->format == FILE_CSV     ? hand_over_csv
                                                          : reader->format == FILE_BYTES ? hand_over_whole
                                                                                         : hand_over_lines;
    read_result result = hand_over(reader, error); /* what emit stopped before */
    if (result != READ_NONE) {
        return result;
    }
    if (!reader->regular && !readable) {
        return READ_NONE; /* the source looks at all pipes at once */
    }
    status = fill(reader, error);
    if (status != PL_OK) {
        return status == PL_AGAIN ? READ_NONE : READ_FAILED;
    }
    bool at_eof = reader->at_eof;
    result = hand_over(reader, error);
    return result == READ_NONE && at_eof ? at_end(reader, error) : result == READ_NONE ? READ_SOME : result;
}
