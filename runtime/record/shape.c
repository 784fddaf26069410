#include <base/mem.h>
#include <record/json.h>
#include <record/plain.h>
#include <record/shape.h>
#include <stdatomic.h>

/* Where misses outweigh it is only tried now and then, at last with one text of REST_MAX + 1. */
enum { MISSES_FREE = 8, MISSES_MAX = MISSES_FREE + 6, REST_MAX = 63, PADDING = 16 /* bytes */ };

_Static_assert(sizeof(uint64_t) == sizeof(pl_outline_entry), "an entry is one number");

void pl_shape_release(pl_shape *shape)
{
    pl_free(shape->step);
    *shape = (pl_shape){.id = 0};
}

static inline const char *learned_text(const pl_shape *shape)
{
    return (const char *)(shape->step + shape->count);
}

/* Behind the scalar that begins at `at`; NULL: it is not plain, or none. */
static inline const char *behind_scalar(const char *at, const char *end)
{
    if (*at == '"') {
        at = pl_plain_run(at + 1, end);
        return *at == '"' ? at + 1 : NULL; /* it may be one behind the end: the caller sees to that */
    }
    return (unsigned char)(*at - '0') < 10 || *at == '-' ? pl_plain_number(at) : pl_plain_word(at);
}

typedef struct container {
    pl_outline_entry *entry; /* whose length is still to come */
    uint32_t end;            /* in the learned text */
} container;

static inline void close_container(const container *open, uint32_t shift)
{
    /* As many are closed as were opened; clang-tidy can't know.
     * NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult) */
    open->entry->len = (uint16_t)(open->end + shift - open->entry->at);
}

static inline uint64_t as_number(pl_outline_entry entry)
{
    uint64_t number;
    memcpy(&number, &entry, sizeof number);
    return number;
}

static inline bool same_front(const char *at, const pl_shape_step *step)
{
#ifdef __SSE2__
    const __m128i there = _mm_loadu_si128((const __m128i *)(const void *)at);
    const __m128i wanted = _mm_loadu_si128((const __m128i *)(const void *)step->front);
    return ((unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(there, wanted)) | step->unasked) == 0xFFFFu;
#else
    return memcmp(at, step->front, step->between < PL_SHAPE_FRONT ? step->between : PL_SHAPE_FRONT) == 0;
#endif
}

/* The same of all behind the front. */
static inline bool same_back(const char *at, const char *end, const char *model, const pl_shape_step *step)
{
    return step->between <= PL_SHAPE_FRONT ||
           (end - at > step->between && pl_same_padded(at + PL_SHAPE_FRONT, model + step->from + PL_SHAPE_FRONT,
                                                       (size_t)step->between - PL_SHAPE_FRONT));
}

/* What lies at N of the learned text lies at N + shift in this one; the shift changes with each scalar. */
static pl_shape_match compare(const pl_shape *shape, pl_str text, pl_outline_entry *entry)
{
    const char *const model = learned_text(shape), *const end = text.ptr + text.len, *at = text.ptr;
    container open[PL_JSON_DEPTH_MAX + 1];
    uint32_t depth = 0, from = 0; /* the end of the scalar before, in the learned text */
    uint64_t shift = 0;
    if (text.len == 0 || end[-1] != model[shape->len - 1]) /* a bracket or space: numbers end before it */
        return PL_SHAPE_OTHER;
    for (const pl_shape_step *step = shape->step, *last = step + shape->count; step < last; step++, entry++) {
        uint64_t noted = step->model + step->moves * shift;
        if (!step->plain) {
            for (uint32_t i = step->closes; i > 0; i--)
                close_container(&open[--depth], (uint32_t)shift);
            if (step->container) {
                memcpy(entry, &noted, sizeof noted);
                open[depth++] = (container){entry, step->end};
                continue;
            }
            if (!same_back(at, end, model, step))
                return PL_SHAPE_OTHER;
        }
        const char *const scalar = at + step->between;
        if (!same_front(at, step) || scalar >= end)
            return PL_SHAPE_OTHER;
        at = behind_scalar(scalar, end);
        if (!at || at > end)
            return PL_SHAPE_DOUBTED;
        noted += as_number((pl_outline_entry){.len = 1}) * (uint64_t)(at - scalar);
        memcpy(entry, &noted, sizeof noted);
        from = step->end;
        shift = (uint64_t)(at - text.ptr) - from;
    }
    const size_t left = shape->len - from;
    if ((size_t)(end - at) != left || !pl_same_padded(at, model + from, left))
        return PL_SHAPE_OTHER;
    while (depth > 0)
        close_container(&open[--depth], (uint32_t)shift);
    return PL_SHAPE_SAME;
}

pl_shape_match pl_shape_try(pl_shape *shape, pl_str text, pl_outline_entry *entry)
{
    if (shape->rest > 0) {
        shape->rest--;
        return PL_SHAPE_DOUBTED;
    }
    if (pl_outline_room(text.len) == 0) /* nothing could be noted of it: it says nothing about the shape */
        return PL_SHAPE_DOUBTED;
    bool comparable = shape->id != 0 && shape->count <= pl_outline_room(text.len);
    pl_shape_match match = comparable ? compare(shape, text, entry) : PL_SHAPE_OTHER;
    if (match == PL_SHAPE_SAME) {
        shape->misses -= shape->misses > 0;
        return match;
    }
    shape->misses += match == PL_SHAPE_OTHER ? 2 : 1; /* another one is learned for each that is of none */
    if (shape->misses > MISSES_MAX)
        shape->misses = MISSES_MAX;
    if (shape->misses > MISSES_FREE) {
        uint32_t doubled = shape->misses - MISSES_FREE;
        shape->rest = doubled < 6 ? (1u << doubled) - 1 : REST_MAX;
    }
    return match;
}

/* Notes what compare goes by. */
static void note_steps(pl_shape_step *step, const char *text, const pl_outline_entry *entry, uint32_t count)
{
    uint32_t open[PL_JSON_DEPTH_MAX + 1], depth = 0, from = 0; /* ends of containers, and of the scalar before */
    for (uint32_t i = 0; i < count; i++, step++, entry++) {
        const uint16_t end = (uint16_t)(entry->at + entry->len);
        const bool container = text[entry->at] == '{' || text[entry->at] == '[';
        *step = (pl_shape_step){.model = as_number(*entry),
                                .moves = as_number((pl_outline_entry){.key_at = entry->key_at > 0, .at = 1}),
                                .from = (uint16_t)from,
                                .end = end,
                                .container = container};
        for (; depth > 0 && open[depth - 1] <= entry->at; depth--)
            step->closes++;
        if (container) {
            open[depth++] = end;
            continue;
        }
        step->model -= as_number((pl_outline_entry){.len = entry->len});
        step->between = (uint16_t)(entry->at - from);
        const uint32_t front = step->between < PL_SHAPE_FRONT ? step->between : PL_SHAPE_FRONT;
        memcpy(step->front, text + from, front);
        step->unasked = (uint16_t)(0xFFFFu << front);
        step->plain = step->closes == 0 && step->between <= PL_SHAPE_FRONT;
        from = end;
    }
}

bool pl_shape_learn(pl_shape *shape, pl_str text, const pl_outline_entry *entry, uint32_t count)
{
    static _Atomic uint64_t ids;
    if (text.len > PL_SHAPE_TEXT_MAX)
        return false;
    size_t size = count * sizeof *shape->step + text.len + PADDING;
    if (size > shape->room) {
        pl_shape_step *more = pl_realloc(shape->step, size, 1);
        if (!more)
            return false;
        shape->step = more;
        shape->room = size;
    }
    note_steps(shape->step, text.ptr, entry, count);
    char *copy = (char *)(shape->step + count);
    memcpy(copy, text.ptr, text.len);
    memset(copy + text.len, 0, PADDING);
    shape->count = count;
    shape->len = (uint32_t)text.len;
    shape->id = 1 + atomic_fetch_add_explicit(&ids, 1, memory_order_relaxed);
    return true;
}
