/* A segment: a file of entries behind a header that is written twice, so that one damaged byte can't hide what the
 * entries' CRCs begin with. Pure functions on the bytes of one file. */
#ifndef PL_BUFFER_SEGMENT_H
#define PL_BUFFER_SEGMENT_H
#include <buffer/entry.h>

enum { PL_SEGMENT_VERSION = 1, PL_SEGMENT_HEAD_BYTES = 64 };

typedef struct pl_segment_head {
    uint64_t number; /* grows from one segment of a buffer to the next */
    int64_t created_unix_ns;
    uint32_t salt;
} pl_segment_head;

void pl_segment_head_write(const pl_segment_head *head, char out[PL_SEGMENT_HEAD_BYTES]);
/* PL_OK: one of the two copies is whole; *damaged: the other is not. PL_FAILED: neither is (PL_HALT). */
pl_status pl_segment_head_read(pl_str bytes, pl_segment_head *head, bool *damaged, pl_error *error);

typedef struct pl_segment_scan { /* of the bytes of one file */
    pl_str bytes;
    uint32_t salt;
    size_t at;     /* of the next entry */
    size_t budget; /* bytes that looking behind damage may still check */
} pl_segment_scan;

pl_segment_scan pl_segment_scan_of(pl_str bytes, const pl_segment_head *head);
/* PL_OK: one entry, and `at` behind it. PL_END: nothing is left. PL_AGAIN: from `at` on there is a torn tail: an entry
 * that was never written whole, and nothing behind it. PL_FAILED: damage at `at`; pl_segment_skip goes on behind. */
pl_status pl_segment_scan_next(pl_segment_scan *scan, pl_kept *kept);
/* Moves `at` to the next whole entry, or to the end. Returns how many bytes were passed over. */
size_t pl_segment_skip(pl_segment_scan *scan);

typedef struct pl_segment_survey {
    bool newest; /* in: only the newest segment may have a torn tail; elsewhere it is damage */
    /* out */
    bool no_head;  /* both copies of the header are gone: nothing can be read; or `foreign` */
    bool foreign;  /* another version: leave it alone */
    char why[128]; /* with no_head or foreign */
    pl_segment_head head;
    size_t records;
    size_t places, damaged_bytes, damaged_at; /* damage: how many places, bytes, and where the first is */
    bool torn;
    size_t torn_at; /* with torn: how much of the file is whole; 0: not even the header */
} pl_segment_survey;

/* Looks at every byte of a file, and tells `each` (may be NULL) of every whole entry. */
void pl_segment_look(pl_str bytes, pl_segment_survey *survey, void (*each)(void *self, const pl_kept *kept),
                     void *self);
#endif
