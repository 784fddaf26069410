/* The disk buffer of one source: an append log in segments of bounded size, and how far each lane is settled.
 *
 *     append .. append, sync      what was appended is on disk: the source may be told so
 *     read, read, ..              in the order of appending, only what is synced, each once, nothing that is settled
 *     settle, save                segments of which everything is settled go; the rest comes again after a crash
 *
 * A folder holds NUMBER.seg (entry.h, segment.h), `positions` (up to which position each lane is settled) and `lock`.
 * Files have mode 0600. One thread at a time. A process that dies leaves at most a torn tail, which is cut off at the
 * next opening; a segment with damage is set aside as NUMBER.seg.corrupt, and what is whole in it is kept. */
#ifndef PL_BUFFER_BUFFER_H
#define PL_BUFFER_BUFFER_H
#include <base/clock.h>
#include <buffer/entry.h>
#include <buffer/io.h>

enum { PL_BUFFER_MIN_BYTES = 1 << 20 };

typedef struct pl_buffer pl_buffer;

typedef struct pl_buffer_setup {
    const char *path;       /* the folder; made when it is not there */
    uint64_t max_bytes;     /* on disk, at least PL_BUFFER_MIN_BYTES; exceeded by no more than one sync's bytes */
    uint64_t segment_bytes; /* 0: an eighth of max_bytes, within 64 KiB and 8 MiB */
    const pl_clock *clock;
    const pl_buffer_io *io; /* NULL: the system's */
    /* Told what an operator should know: torn tails, damage, what waits. level: PL_INFO, PL_WARN, PL_ERROR. */
    void (*report)(void *self, int32_t level, const char *message);
    void *self;
} pl_buffer_setup;

typedef struct pl_buffer_lane { /* lives as long as the buffer */
    char *name;
    void *owner;      /* the caller's; NULL at first */
    uint64_t settled; /* with settled_any: up to this position */
    uint64_t last;    /* with last_any: greatest position appended ever */
    uint64_t read;    /* with read_any: position of the newest that was read */
    uint64_t base;    /* added to what the source calls its positions */
    bool settled_any, last_any, read_any, pending;
    uint64_t pending_last; /* with pending: appended, not synced */
    uint64_t slot_segment; /* with slot: number of the newest segment that has some of this lane */
    size_t slot;           /* 1 + its place there */
} pl_buffer_lane;

/* Takes the folder, cuts off a torn tail, sets damage aside, finds where each lane stands. NULL: PL_HALT. */
pl_buffer *pl_buffer_open(const pl_buffer_setup *setup, pl_error *error);
/* Syncs and saves what it can, and reports what it could not. Nulls; NULL allowed. */
void pl_buffer_close(pl_buffer **buffer);

/* The lane of that name, made when there is none. NULL: no memory. */
pl_buffer_lane *pl_buffer_lane_of(pl_buffer *buffer, pl_str name);

/* Takes a copy. kept->lane is not read; kept->position is the source's own, and becomes the buffer's: the same, unless
 * the source began anew and would not grow; then it counts on from the lane's last. PL_FAILED: too large (PL_REJECT),
 * or no memory (PL_HALT). */
pl_status pl_buffer_append(pl_buffer *buffer, pl_buffer_lane *lane, pl_kept *kept, pl_error *error);
/* Appended and not yet synced. */
size_t pl_buffer_pending_bytes(const pl_buffer *buffer);
size_t pl_buffer_pending_count(const pl_buffer *buffer);
/* Writes what is pending and syncs it. PL_FAILED (PL_RETRY): it stays pending, and nothing of it counts as written. A
 * segment whose sync failed is never synced again: the next attempt begins another one. */
pl_status pl_buffer_sync(pl_buffer *buffer, pl_error *error);
/* There is no room: append only after segments went. */
bool pl_buffer_full(const pl_buffer *buffer);

/* The next entry, which lives until the next call. PL_AGAIN: nothing now. PL_FAILED: the disk gives back something else
 * than was written (PL_HALT). */
pl_status pl_buffer_read(pl_buffer *buffer, pl_kept *kept, pl_buffer_lane **lane, pl_error *error);
/* False: pl_buffer_read would say PL_AGAIN. True: it may have something. */
bool pl_buffer_unread(const pl_buffer *buffer);

/* All of the lane up to and including the position is settled. */
void pl_buffer_settle(pl_buffer *buffer, pl_buffer_lane *lane, uint64_t position);
/* Something was settled since the last save. */
bool pl_buffer_dirty(const pl_buffer *buffer);
/* Removes segments that are settled, and writes down how far each lane is. PL_FAILED (PL_RETRY): not written down;
 * after a crash some of what was settled would come again. */
pl_status pl_buffer_save(pl_buffer *buffer, pl_error *error);

/* Bytes on disk, segments that were set aside not counted. */
uint64_t pl_buffer_bytes(const pl_buffer *buffer);
#endif
