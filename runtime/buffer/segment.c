#include <base/str.h>
#include <buffer/segment.h>

enum { COPY_BYTES = PL_SEGMENT_HEAD_BYTES / 2, LOOK_FACTOR = 64 };

void pl_segment_head_write(const pl_segment_head *head, char out[PL_SEGMENT_HEAD_BYTES])
{
    static const char magic[] = {'P', 'L', 'B', 'F'};
    memcpy(out, magic, sizeof magic);
    pl_entry_put(out + 4, PL_SEGMENT_VERSION, 4);
    pl_entry_put(out + 8, head->number, 8);
    pl_entry_put(out + 16, (uint64_t)head->created_unix_ns, 8);
    pl_entry_put(out + 24, head->salt, 4);
    pl_entry_put(out + 28, pl_crc32c(0, out, 28), 4);
    memcpy(out + COPY_BYTES, out, COPY_BYTES);
}

static bool whole(const char *copy)
{
    return memcmp(copy, "PLBF", 4) == 0 && pl_crc32c(0, copy, 28) == (uint32_t)pl_entry_get(copy + 28, 4);
}

pl_status pl_segment_head_read(pl_str bytes, pl_segment_head *head, bool *damaged, pl_error *error)
{
    if (bytes.len < PL_SEGMENT_HEAD_BYTES)
        return pl_fail(error, PL_HALT, "its header is cut off");
    bool first = whole(bytes.ptr);
    bool second = whole(bytes.ptr + COPY_BYTES);
    if (!first && !second)
        return pl_fail(error, PL_HALT, "both copies of its header are damaged");
    const char *copy = first ? bytes.ptr : bytes.ptr + COPY_BYTES;
    *damaged = !first || !second || memcmp(bytes.ptr, bytes.ptr + COPY_BYTES, COPY_BYTES) != 0;
    uint64_t version = pl_entry_get(copy + 4, 4);
    if (version != PL_SEGMENT_VERSION)
        return pl_fail(error, PL_BAD_CONFIG, "it has version %llu; this program reads version %d",
                       (unsigned long long)version, PL_SEGMENT_VERSION);
    *head = (pl_segment_head){.number = pl_entry_get(copy + 8, 8),
                              .created_unix_ns = (int64_t)pl_entry_get(copy + 16, 8),
                              .salt = (uint32_t)pl_entry_get(copy + 24, 4)};
    return PL_OK;
}

pl_segment_scan pl_segment_scan_of(pl_str bytes, const pl_segment_head *head)
{
    return (pl_segment_scan){
        .bytes = bytes, .salt = head->salt, .at = PL_SEGMENT_HEAD_BYTES, .budget = bytes.len * LOOK_FACTOR};
}

/* The next whole entry behind `at`; the end, if there is none. What only looks like one costs its length: the budget
 * keeps bytes that were made to look so from taking for ever. */
static size_t next_whole(pl_segment_scan *scan)
{
    pl_str bytes = scan->bytes;
    for (size_t at = scan->at + 1; at + PL_ENTRY_HEAD_BYTES + PL_ENTRY_BODY_BYTES <= bytes.len; at++) {
        pl_kept ignored;
        size_t size;
        if (!pl_entry_plausible(bytes.ptr + at, bytes.len - at, &size))
            continue;
        if (size > scan->budget)
            break;
        scan->budget -= size;
        if (pl_entry_decode(bytes.ptr + at, bytes.len - at, scan->salt, &ignored, &size) == PL_OK)
            return at;
    }
    return bytes.len;
}

static bool all_zero(pl_str bytes, size_t at)
{
    while (at < bytes.len && bytes.ptr[at] == 0)
        at++;
    return at == bytes.len;
}

pl_status pl_segment_scan_next(pl_segment_scan *scan, pl_kept *kept)
{
    pl_str bytes = scan->bytes;
    if (scan->at >= bytes.len)
        return PL_END;
    size_t size;
    pl_status status = pl_entry_decode(bytes.ptr + scan->at, bytes.len - scan->at, scan->salt, kept, &size);
    if (status == PL_OK) {
        scan->at += size;
        return PL_OK;
    }
    /* Some filesystems lengthen a file before its bytes are there: after a power cut these are zeros. */
    bool torn = status == PL_AGAIN || all_zero(bytes, scan->at);
    return torn && next_whole(scan) == bytes.len ? PL_AGAIN : PL_FAILED;
}

size_t pl_segment_skip(pl_segment_scan *scan)
{
    size_t before = scan->at;
    scan->at = next_whole(scan);
    return scan->at - before;
}

static void damage(pl_segment_survey *survey, size_t at, size_t bytes)
{
    if (survey->places++ == 0)
        survey->damaged_at = at;
    survey->damaged_bytes += bytes;
}

/* A process that died while it made the file; false: something else. */
static bool never_begun(pl_str bytes, const pl_segment_survey *survey)
{
    return survey->newest && (bytes.len < PL_SEGMENT_HEAD_BYTES || all_zero(bytes, 0));
}

void pl_segment_look(pl_str bytes, pl_segment_survey *survey, void (*each)(void *self, const pl_kept *kept), void *self)
{
    *survey = (pl_segment_survey){.newest = survey->newest};
    pl_error error = {.struct_size = sizeof error};
    bool head_damaged = false;
    if (never_begun(bytes, survey)) {
        survey->torn = true;
        return;
    }
    if (pl_segment_head_read(bytes, &survey->head, &head_damaged, &error) != PL_OK) {
        survey->foreign = error.error_class == PL_BAD_CONFIG;
        survey->no_head = true;
        damage(survey, 0, bytes.len);
        (void)snprintf(survey->why, sizeof survey->why, "%.*s", (int)sizeof survey->why - 1, error.message);
        return;
    }
    if (head_damaged)
        damage(survey, 0, PL_SEGMENT_HEAD_BYTES / 2);
    pl_segment_scan scan = pl_segment_scan_of(bytes, &survey->head);
    for (;;) {
        pl_kept kept;
        size_t at = scan.at;
        pl_status status = pl_segment_scan_next(&scan, &kept);
        if (status == PL_END)
            return;
        if (status == PL_AGAIN && survey->newest) {
            survey->torn = true;
            survey->torn_at = at;
            return;
        }
        if (status != PL_OK) {
            damage(survey, at, pl_segment_skip(&scan));
            continue;
        }
        survey->records++;
        if (each)
            each(self, &kept);
    }
}
