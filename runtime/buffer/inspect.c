#include <base/mem.h>
#include <buffer/inspect.h>
#include <buffer/private.h>

typedef struct look {
    pl_buffer *buffer; /* no more than a path and lanes */
    pl_buffer_totals *totals;
    void (*each)(void *self, const pl_buffer_file *file);
    void *self;
    pl_buf image;
    bool aside;
} look;

static void count(void *self, const pl_kept *kept)
{
    look *l = self;
    pl_buffer_totals *totals = l->totals;
    const pl_buffer_lane *lane = pl_buffer_lane_of(l->buffer, kept->lane);
    if (l->aside)
        return;
    totals->records++;
    if (lane && pl_buffer_lane_settled(lane, kept->position))
        return;
    totals->waiting++;
    if (totals->oldest_unix_ns == 0 || kept->arrived_unix_ns < totals->oldest_unix_ns)
        totals->oldest_unix_ns = kept->arrived_unix_ns;
    if (kept->arrived_unix_ns > totals->newest_unix_ns)
        totals->newest_unix_ns = kept->arrived_unix_ns;
}

static pl_status look_at(look *l, const char *suffix, uint64_t number, bool newest, pl_error *error)
{
    char path[PL_BUFFER_PATH_MAX];
    pl_segment_survey survey = {.newest = newest};
    if (!pl_segment_path(l->buffer, number, suffix, path))
        return pl_fail(error, PL_HALT, "the path %s is too long", l->buffer->path);
    pl_status status = pl_segment_load(path, &l->image, error);
    if (status != PL_OK)
        return status == PL_END ? PL_OK : status; /* END: settled and gone in between */
    pl_segment_look(pl_buf_str(&l->image), &survey, count, l);
    pl_buffer_totals *totals = l->totals;
    if (l->aside) {
        totals->aside++;
        totals->aside_bytes += l->image.len;
    } else {
        totals->segments++;
        totals->bytes += l->image.len;
        totals->damaged += survey.places ? 1 : 0;
        totals->torn += survey.torn ? 1 : 0;
    }
    pl_buffer_file file = {strrchr(path, '/') + 1, l->image.len, l->aside, &survey};
    if (l->each)
        l->each(l->self, &file);
    return PL_OK;
}

static pl_status look_at_all(look *l, const char *suffix, pl_error *error)
{
    uint64_t *numbers;
    size_t found;
    if (!pl_segment_numbers(l->buffer->path, suffix, &numbers, &found, error))
        return PL_FAILED;
    pl_status status = PL_OK;
    for (size_t i = 0; i < found && status == PL_OK; i++)
        status = look_at(l, suffix, numbers[i], i + 1 == found && !l->aside, error);
    pl_free(numbers);
    return status;
}

pl_status pl_buffer_inspect(const char *path, pl_buffer_totals *totals,
                            void (*each)(void *self, const pl_buffer_file *file), void *self, pl_error *error)
{
    pl_buffer buffer = {.path = pl_strndup(path, strlen(path))};
    look l = {.buffer = &buffer, .totals = totals, .each = each, .self = self, .image = PL_BUF(PL_SEGMENT_FILE_MAX)};
    *totals = (pl_buffer_totals){0};
    pl_status status = PL_FAILED;
    if (!buffer.path || !pl_buffer_lanes_init(&buffer))
        (void)pl_fail(error, PL_HALT, "no memory");
    else
        status = PL_OK;
    if (status == PL_OK && pl_buffer_load_positions(&buffer, error) != PL_OK)
        totals->no_positions = true;
    pl_error own = {.struct_size = sizeof own};
    if (status == PL_OK)
        status = look_at_all(&l, "", &own);
    l.aside = true;
    if (status == PL_OK)
        status = look_at_all(&l, ".corrupt", &own);
    if (own.message[0])
        *error = own;
    pl_buffer_lanes_release(&buffer);
    pl_free(buffer.path);
    pl_buf_release(&l.image);
    return status;
}
