/* A buffer seen from outside, for `plumbline buffer`: reads only, and takes no lock, so it may look at one in use. */
#ifndef PL_BUFFER_INSPECT_H
#define PL_BUFFER_INSPECT_H
#include <buffer/segment.h>

typedef struct pl_buffer_totals {
    size_t segments, aside; /* aside: segments set aside for damage */
    uint64_t bytes, aside_bytes;
    uint64_t records, waiting;              /* waiting: not settled when the positions were last written down */
    int64_t oldest_unix_ns, newest_unix_ns; /* arrival of those that wait; 0: none */
    size_t damaged, torn;                   /* segments */
    bool no_positions;                      /* the file with the positions can't be read; error says why */
} pl_buffer_totals;

typedef struct pl_buffer_file { /* one segment */
    const char *name;           /* of the file */
    uint64_t bytes;
    bool aside;
    const pl_segment_survey *survey;
} pl_buffer_file;

/* Looks at every segment from end to end. `each` (may be NULL) is told of them, the oldest first, those set aside last.
 * PL_FAILED: there is no such folder, or it can't be read. A positions file that can't be read fills error, too, but
 * only sets no_positions. */
pl_status pl_buffer_inspect(const char *path, pl_buffer_totals *totals,
                            void (*each)(void *self, const pl_buffer_file *file), void *self, pl_error *error);
#endif
