#include <base/fs.h>
#include <base/mem.h>
#include <base/str.h>
#include <flow/checkpoint.h>
#include <flow/checkpoint_file.h>
#include <stdlib.h>

pl_status pl_checkpoint_open(pl_checkpoint *checkpoint, const char *path, int64_t every_ns, pl_str *state,
                             pl_error *error)
{
    *checkpoint = (pl_checkpoint){
        .every_ns = every_ns, .snapshot = PL_BUF(PL_CHECKPOINT_MAX_BYTES), .restored = PL_BUF(PL_CHECKPOINT_MAX_BYTES)};
    *state = (pl_str){NULL, 0};
    checkpoint->path = pl_strndup(path, strlen(path));
    if (!checkpoint->path)
        return pl_fail(error, PL_HALT, "no memory");
    pl_status status = pl_fs_read(path, &checkpoint->restored, error);
    if (status == PL_END)
        return PL_OK;
    if (status != PL_OK || pl_checkpoint_decode(checkpoint, state, error) != PL_OK)
        return PL_FAILED;
    checkpoint->restored_count = checkpoint->seen_count;
    for (size_t i = 0; i < checkpoint->seen_count; i++) {
        pl_seen *seen = &checkpoint->seen[i];
        seen->covered = seen->greatest;
        seen->uncovered = pl_calloc(seen->missing_count + 1, sizeof *seen->uncovered);
        if (!seen->uncovered)
            return pl_fail(error, PL_HALT, "no memory");
        memcpy(seen->uncovered, seen->missing, seen->missing_count * sizeof *seen->missing);
        seen->uncovered_count = seen->missing_count;
    }
    return PL_OK;
}

void pl_checkpoint_release(pl_checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->seen_count; i++) {
        pl_free(checkpoint->seen[i].name);
        pl_free(checkpoint->seen[i].missing);
        pl_free(checkpoint->seen[i].uncovered);
    }
    pl_free(checkpoint->seen);
    pl_free(checkpoint->seen_of);
    pl_free(checkpoint->held);
    pl_free(checkpoint->waiting);
    pl_free(checkpoint->path);
    pl_buf_release(&checkpoint->snapshot);
    pl_buf_release(&checkpoint->restored);
}

pl_seen *pl_checkpoint_add(pl_checkpoint *checkpoint, pl_str name)
{
    if (checkpoint->seen_count == checkpoint->seen_capacity) {
        size_t capacity = checkpoint->seen_capacity ? checkpoint->seen_capacity * 2 : 8;
        pl_seen *grown = pl_realloc(checkpoint->seen, capacity, sizeof *grown);
        if (!grown)
            return NULL;
        checkpoint->seen = grown;
        checkpoint->seen_capacity = capacity;
    }
    pl_seen *seen = &checkpoint->seen[checkpoint->seen_count];
    *seen = (pl_seen){.name = pl_strndup(name.ptr, name.len)};
    if (!seen->name)
        return NULL;
    checkpoint->seen_count++;
    return seen;
}

/* The entry of a lane; made when there is none. NULL: no memory. */
static pl_seen *seen_of(pl_checkpoint *checkpoint, const pl_lane *lane)
{
    if (lane->index >= checkpoint->seen_of_capacity) {
        size_t capacity = (size_t)lane->index * 2 + 16;
        uint32_t *grown = pl_realloc(checkpoint->seen_of, capacity, sizeof *grown);
        if (!grown)
            return NULL;
        memset(grown + checkpoint->seen_of_capacity, 0, (capacity - checkpoint->seen_of_capacity) * sizeof *grown);
        checkpoint->seen_of = grown;
        checkpoint->seen_of_capacity = capacity;
    }
    uint32_t *slot = &checkpoint->seen_of[lane->index];
    for (size_t i = 0; *slot == 0 && i < checkpoint->seen_count; i++)
        if (strcmp(checkpoint->seen[i].name, lane->name) == 0)
            *slot = (uint32_t)i + 1;
    if (*slot == 0 && pl_checkpoint_add(checkpoint, PL_S(lane->name)))
        *slot = (uint32_t)checkpoint->seen_count;
    return *slot ? &checkpoint->seen[*slot - 1] : NULL;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t *listed(uint64_t *positions, size_t count, uint64_t position)
{
    return bsearch(&position, positions, count, sizeof position, ascending);
}

bool pl_checkpoint_covers(pl_checkpoint *checkpoint, const pl_lane *lane, uint64_t position)
{
    if (checkpoint->restored_count == 0 || !lane)
        return false;
    const pl_seen *seen = seen_of(checkpoint, lane);
    size_t index = seen ? (size_t)(seen - checkpoint->seen) : SIZE_MAX;
    if (index >= checkpoint->restored_count || position > seen->covered)
        return false;
    return !seen->uncovered_count || !listed(seen->uncovered, seen->uncovered_count, position);
}

static bool hold(pl_checkpoint *checkpoint, pl_ack *ack)
{
    if (!ack)
        return true;
    for (uint32_t i = 0; i < ack->parent_count; i++)
        if (!hold(checkpoint, ack->parents[i]))
            return false;
    if (!ack->source)
        return true;
    if (checkpoint->held_count == checkpoint->held_capacity) {
        size_t capacity = checkpoint->held_capacity ? checkpoint->held_capacity * 2 : 256;
        pl_ack **grown = pl_realloc(checkpoint->held, capacity, sizeof *grown);
        if (!grown)
            return false;
        checkpoint->held = grown;
        checkpoint->held_capacity = capacity;
    }
    pl_ack_hold(ack);
    checkpoint->held[checkpoint->held_count++] = ack;
    return true;
}

bool pl_checkpoint_note(pl_checkpoint *checkpoint, const pl_lane *lane, const pl_record *record)
{
    pl_seen *seen = lane ? seen_of(checkpoint, lane) : NULL;
    if (lane && !seen)
        return false;
    uint64_t *late = seen && seen->missing_count ? listed(seen->missing, seen->missing_count, record->position) : NULL;
    if (late) {
        memmove(late, late + 1, (size_t)(seen->missing + seen->missing_count - late - 1) * sizeof *late);
        seen->missing_count--;
    }
    if (seen && (record->position > seen->greatest || !seen->any))
        seen->greatest = record->position;
    if (seen)
        seen->any = true;
    return hold(checkpoint, record->ack);
}

bool pl_checkpoint_due(const pl_checkpoint *checkpoint, int64_t now_ns, bool final)
{
    return (checkpoint->held_count || checkpoint->touched) && !checkpoint->pending &&
           (final || now_ns - checkpoint->last_ns >= checkpoint->every_ns);
}

/* What the merge holds back of a lane and is older than what was already processed, or another child of the same input.
 */
static bool note_missing(pl_checkpoint *checkpoint, const pl_merge_lane *lane)
{
    if (pl_merge_born(lane))
        return true;
    pl_seen *seen = seen_of(checkpoint, lane->lane);
    if (!seen)
        return false;
    uint64_t *grown = pl_realloc(seen->missing, seen->missing_count + lane->count + 1, sizeof *grown);
    if (!grown)
        return false;
    seen->missing = grown;
    size_t known = seen->missing_count; /* of earlier snapshots, not processed since */
    for (size_t i = 0; i < lane->count; i++) {
        uint64_t position = lane->heap[i].record->position;
        if (lane->heap[i].record->flags & PL_RECORD_RETURNED)
            continue;
        if (seen->any && position <= seen->greatest && !listed(seen->missing, known, position))
            seen->missing[seen->missing_count++] = position;
    }
    qsort(seen->missing, seen->missing_count, sizeof *seen->missing, ascending);
    size_t kept = 0; /* several inputs may hold children of one record */
    for (size_t i = 0; i < seen->missing_count; i++)
        if (kept == 0 || seen->missing[kept - 1] != seen->missing[i])
            seen->missing[kept++] = seen->missing[i];
    seen->missing_count = kept;
    return true;
}

bool pl_checkpoint_take(pl_checkpoint *checkpoint, pl_str state, const pl_merge *merge, int64_t now_ns)
{
    for (size_t i = 0; i < merge->lane_count; i++)
        if (!note_missing(checkpoint, &merge->lanes[i]))
            return false;
    if (!pl_checkpoint_encode(checkpoint, state))
        return false;
    pl_free(checkpoint->waiting);
    checkpoint->waiting = checkpoint->held;
    checkpoint->waiting_count = checkpoint->held_count;
    checkpoint->waiting_settled = 0;
    checkpoint->held = NULL;
    checkpoint->held_count = checkpoint->held_capacity = 0;
    checkpoint->pending = true;
    checkpoint->touched = false;
    checkpoint->last_ns = now_ns;
    return true;
}

pl_status pl_checkpoint_advance(pl_checkpoint *checkpoint, pl_error *error)
{
    if (!checkpoint->pending)
        return PL_OK;
    while (checkpoint->waiting_settled < checkpoint->waiting_count &&
           pl_ack_references(checkpoint->waiting[checkpoint->waiting_settled]) == 0)
        checkpoint->waiting_settled++;
    if (checkpoint->waiting_settled < checkpoint->waiting_count)
        return PL_AGAIN;
    if (pl_fs_replace(checkpoint->path, pl_buf_str(&checkpoint->snapshot), error) != PL_OK)
        return PL_FAILED;
    for (size_t i = 0; i < checkpoint->waiting_count; i++)
        pl_ack_release(checkpoint->waiting[i]);
    checkpoint->waiting_count = 0;
    checkpoint->pending = false;
    return PL_OK;
}

bool pl_checkpoint_done(const pl_checkpoint *checkpoint)
{
    return checkpoint->held_count == 0 && !checkpoint->pending && !checkpoint->touched;
}
