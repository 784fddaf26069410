/* Between the files of this room. */
#ifndef PL_BUFFER_PRIVATE_H
#define PL_BUFFER_PRIVATE_H
#include <buffer/buffer.h>
#include <buffer/segment.h>
#include <limits.h>
#include <stdio.h>

enum {
    PL_BUFFER_PATH_MAX = PATH_MAX,
    PL_BUFFER_WINDOW_BYTES = 256 << 10, /* read at a time */
    PL_SEGMENT_FILE_MAX = 512 << 20     /* no segment that we wrote is larger */
};

typedef struct pl_segment_lane {
    pl_buffer_lane *lane;
    uint64_t last; /* greatest position in the segment */
} pl_segment_lane;

typedef struct pl_segment {
    uint64_t number, bytes; /* bytes: synced, the header included */
    uint32_t salt;
    pl_segment_lane *lanes;
    size_t lane_count, lane_capacity;
} pl_segment;

struct pl_buffer {
    pl_buffer_setup setup;
    char *path;
    int lock_fd, dir_fd;
    pl_segment **segments; /* oldest first */
    size_t segment_count, segment_capacity;
    uint64_t next_number, bytes;
    /* lanes: all, and a table of them by name, of a power of two */
    pl_buffer_lane **lanes, **table;
    size_t lane_count, lane_capacity, table_size;
    /* writing */
    int write_fd; /* of the newest segment; -1: none is open, the next sync begins one */
    uint32_t salt;
    pl_buf pending;
    size_t pending_count;
    pl_buffer_lane **pending_lanes;
    size_t pending_lane_count, pending_lane_capacity;
    /* reading */
    int read_fd;
    uint64_t read_number, read_at; /* read_number 0: at the first there is */
    pl_buf window;
    uint64_t window_at; /* place of its first byte in the segment */
    bool dirty;
};

/* PATH of a segment, with `suffix` behind it. false: too long. */
bool pl_segment_path(const pl_buffer *buffer, uint64_t number, const char *suffix, char out[PL_BUFFER_PATH_MAX]);
/* The number in "0000000000000012.seg"; false: not such a name. suffix may be ".corrupt", ".new" or "". */
bool pl_segment_number(const char *name, const char *suffix, uint64_t *number);
/* Ascending numbers of the files with that suffix; free with pl_free. false: error. */
bool pl_segment_numbers(const char *path, const char *suffix, uint64_t **numbers, size_t *count, pl_error *error);
pl_segment *pl_segment_add(pl_buffer *buffer, uint64_t number); /* NULL: no memory */
void pl_segment_remove(pl_buffer *buffer, size_t index);        /* from memory only */
/* The segment has an entry of the lane at this position. false: no memory. */
bool pl_segment_note(pl_segment *segment, pl_buffer_lane *lane, uint64_t position);
bool pl_segment_settled(const pl_segment *segment);

bool pl_buffer_lanes_init(pl_buffer *buffer);
void pl_buffer_lanes_release(pl_buffer *buffer);
static inline bool pl_buffer_lane_settled(const pl_buffer_lane *lane, uint64_t position)
{
    return lane->settled_any && position <= lane->settled;
}

/* Reads the positions, and every segment from end to end. */
pl_status pl_buffer_recover(pl_buffer *buffer, pl_error *error);
pl_status pl_buffer_load_positions(pl_buffer *buffer, pl_error *error);
pl_status pl_buffer_store_positions(const pl_buffer *buffer, pl_error *error);
void pl_buffer_report(const pl_buffer *buffer, int32_t level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "cannot DO PATH: strerror" */
pl_status pl_buffer_fail(pl_error *error, int32_t error_class, const char *doing, const char *path);
/* A whole file, at most PL_SEGMENT_FILE_MAX. PL_END: there is none. */
pl_status pl_segment_load(const char *path, pl_buf *out, pl_error *error);
#endif
