/* The file plugin's own parts: options, and what source and sink consist of. */
#ifndef PL_PLUGINS_FILE_H
#define PL_PLUGINS_FILE_H
#include "../common/text.h"

#include <plumbline/plugin.h>

/* ---- Options ----------------------------------------------------------- */

typedef struct file_csv_options { /* both sides */
    bool header;
    const char *delimiter;
    pl_array columns; /* of const char * */
} file_csv_options;

typedef struct file_source_config {
    pl_array path; /* of const char * */
    const char *format;
    int64_t max_record; /* bytes */
    bool resume, follow;
    file_csv_options csv;
} file_source_config;

typedef struct file_sink_config {
    const char *path;
    const char *format;
    const char *mode;
    const char *sync;
    int64_t sync_every; /* ns */
    const char *envelope;
    file_csv_options csv;
} file_sink_config;

pl_status file_source_check(const void *config, pl_error *error);
pl_status file_source_create(const pl_host *host, const void *config, void **self, pl_error *error);
void file_source_interrupt(void *self);
void file_source_destroy(void *self);
const void *file_source_extension(void *self, const char *id);
extern const pl_source file_source;

pl_status file_sink_check(const void *config, pl_error *error);
pl_status file_sink_create(const pl_host *host, const void *config, void **self, pl_error *error);
void file_sink_interrupt(void *self);
void file_sink_destroy(void *self);
const void *file_sink_extension(void *self, const char *id);
extern const pl_sink file_sink;

/* The one byte that `delimiter` means ("," ";" "\t" "|"), or 0 when it means none. */
char file_delimiter(const char *delimiter);

/* ---- CSV (RFC 4180; reading also takes LF and quotes inside unquoted fields) ---------------------------------- */

enum { CSV_FIELDS_MAX = 1024 };
typedef enum { CSV_RECORD, CSV_MORE, CSV_BAD } csv_result;
typedef struct csv_field {
    char *ptr;
    size_t len;
    bool quoted, doubled; /* doubled: still has "" for " */
} csv_field;
/* One record from at; *next is behind its newline (for CSV_BAD: behind the line that could not be split; `why` says
 * why). CSV_MORE: it does not end before `end`, and there may be more. Nothing is changed in the text. */
csv_result csv_split(char *at, char *end, bool at_eof, char delimiter, csv_field *fields, size_t *count, char **next,
                     const char **why);
/* Replaces "" by " in place. */
void csv_undouble(csv_field *field);
/* A field with quotes where it needs them; `quote` also where it does not (a text that would read as null). */
void csv_write(text_buf *out, pl_str text, char delimiter, bool quote);

/* ---- Reading one file -------------------------------------------------------- */

typedef enum { FILE_JSONL, FILE_CSV, FILE_TEXT, FILE_BYTES } file_format;

typedef struct file_reader {
    const pl_host *host;
    const file_source_config *config;
    const char *name; /* as given; "-" is stdin */
    file_format format;
    char delimiter;
    uint32_t lane;
    int fd; /* -1: not open */
    bool regular, at_eof, ended, missing;
    bool header_due; /* CSV: the next record names the columns */
    uint64_t device, inode;

    char *buf; /* [start, end) is read but not handed over */
    size_t room, start, end, scanned;
    uint64_t offset;       /* in the file, of buf[start] */
    uint64_t base;         /* added to offsets, so that positions still grow when a followed file begins anew */
    bool rewinds;          /* "pl.rewind/1" was asked for: what was delivered before is given again, flagged */
    uint64_t replay_until; /* position up to which that is so; 0: nothing is */
    uint64_t line;         /* lines handed over; meaningful while line_known */
    bool line_known;

    char *header;      /* CSV: text of the column names */
    pl_field *columns; /* CSV: names, and room for one record's values */
    size_t column_count;
    csv_field *fields;

    uint64_t handed_over; /* position of the newest record */
    int64_t stored_ns;    /* when the offset was last stored; 0: never */
    uint64_t finger_hash; /* of the first finger_len bytes of the file */
    size_t finger_len;
} file_reader;

typedef enum {
    READ_SOME, /* handed something over, or got nearer to it */
    READ_FULL, /* handed something over, and emit said: enough */
    READ_NONE, /* nothing now: a followed file at its end, an empty pipe */
    READ_END,  /* all of it */
    READ_FAILED
} read_result;

bool reader_init(file_reader *reader, const pl_host *host, const file_source_config *config, const char *name);
void reader_release(file_reader *reader);
/* Opens when needed, reads a block and hands its records over. `readable`: a pipe is known to have data. */
read_result reader_step(file_reader *reader, bool readable, pl_error *error);
/* Remembers, when `resume` is on, that everything up to position is settled. */
pl_status reader_commit(file_reader *reader, uint64_t position, pl_error *error);

/* ---- One line of the sink ------------------------------------------------------ */

typedef struct file_lines {
    const pl_host *host;
    const file_sink_config *config;
    const pl_json *json; /* NULL: the host has none */
    bool csv, envelope_auto, envelope_always;
    char delimiter;
} file_lines;
/* Appends one whole line. PL_FAILED with PL_REJECT: this record has none; `out` keeps what it had. */
pl_status lines_add(const file_lines *lines, text_buf *out, const pl_record *record, pl_error *error);
void lines_add_header(const file_lines *lines, text_buf *out);
/* JSON as the host's parser sees it. */
bool lines_is_json(const file_lines *lines, pl_str text);

/* ---- Writing whole lines -------------------------------------------------------- */

typedef struct file_writer {
    const pl_host *host;
    const char *path;  /* "-" is stdout */
    int fd;            /* -1: not open */
    int wake_fd;       /* readable once interrupted; the sink's */
    bool regular;      /* can be cut and sought in */
    bool durable;      /* regular, and not standard output: fsync means something */
    bool stream;       /* a pipe, socket or terminal: it may have no room now */
    bool blocks;       /* then a write would wait for it */
    bool fresh;        /* empty when opened */
    bool owes_newline; /* the last line in the file has no end yet */
} file_writer;
/* Opens for appending; a last line that a crash tore is cut off, one that only lacks its newline gets it. */
pl_status writer_open(file_writer *writer, const file_lines *lines, bool truncate, pl_error *error);
/* Writes all, or fails after *done bytes. ENOSPC and the like are PL_RETRY; EPIPE is PL_HALT. */
pl_status writer_write(file_writer *writer, const char *bytes, size_t len, size_t *done, pl_error *error);
/* Takes the last `len` bytes back, if nobody appended to the file since; else their line is ended by the next write. */
void writer_cut(file_writer *writer, size_t len);
/* fdatasync where it means something. ENOSPC and the like are PL_RETRY; an I/O error is PL_HALT: what the kernel held
 * may be gone, and a second fsync would not tell. */
pl_status writer_sync(const file_writer *writer, pl_error *error);
void writer_close(file_writer *writer);
#endif
