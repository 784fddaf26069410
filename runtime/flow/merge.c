#include <base/mem.h>
#include <flow/merge.h>

bool pl_merge_init(pl_merge *merge, const pl_merge_setup *setup, int64_t now_ns)
{
    *merge = (pl_merge){.setup = *setup, .started_ns = now_ns};
    merge->waiting = pl_calloc(setup->source_count + 1, sizeof *merge->waiting);
    merge->expected = pl_calloc(setup->source_count + 1, sizeof *merge->expected);
    if (!merge->waiting || !merge->expected)
        return false;
    for (size_t i = 0; i < setup->source_count; i++)
        merge->waiting[i] = merge->expected[i] = setup->sources[i];
    merge->setup.sources = merge->expected;
    if (merge->setup.input_count == 0)
        merge->setup.input_count = 1;
    merge->waiting_count = setup->source_count;
    return true;
}

void pl_merge_release(pl_merge *merge)
{
    for (size_t i = 0; i < merge->lane_count; i++) {
        for (size_t j = 0; j < merge->lanes[i].count; j++)
            pl_flow_batch_unref(merge->lanes[i].heap[j].batch);
        pl_free(merge->lanes[i].heap);
    }
    pl_free(merge->lanes);
    pl_free(merge->heads);
    pl_free(merge->changed);
    pl_free(merge->slot_of);
    pl_free(merge->waiting);
    pl_free(merge->expected);
    *merge = (pl_merge){0};
}

/* ---- lanes ---------------------------------------------------------------- */

static pl_lane born = {.index = PL_LANE_NONE, .source_rank = UINT32_MAX, .name = (char[]){""}}; /* never written */

static void no_longer_waiting(pl_merge *merge, uint32_t input, uint32_t rank)
{
    for (size_t i = 0; i < merge->waiting_count; i++)
        if (merge->waiting[i].rank == rank && merge->waiting[i].input == input)
            merge->waiting[i--] = merge->waiting[--merge->waiting_count];
}

static size_t slot_index(const pl_merge *merge, uint32_t lane, uint32_t input)
{
    return (size_t)lane * merge->setup.input_count + input;
}

const pl_merge_lane *pl_merge_find(const pl_merge *merge, const pl_lane *lane, uint32_t input, bool *expected)
{
    size_t slot = slot_index(merge, lane->index, input);
    *expected = false;
    if (slot < merge->slot_capacity && merge->slot_of[slot])
        return &merge->lanes[merge->slot_of[slot] - 1];
    for (size_t i = 0; i < merge->setup.source_count; i++)
        *expected = *expected || (merge->expected[i].input == input && merge->expected[i].rank == lane->source_rank);
    return NULL;
}

/* Room for one more lane, in the lists of their places too. */
static bool make_room(pl_merge *merge)
{
    if (merge->lane_count < merge->lane_capacity)
        return true;
    size_t capacity = merge->lane_capacity ? merge->lane_capacity * 2 : 8;
    pl_merge_lane *lanes = pl_realloc(merge->lanes, capacity, sizeof *lanes);
    merge->lanes = lanes ? lanes : merge->lanes;
    uint32_t *heads = pl_realloc(merge->heads, capacity, sizeof *heads);
    merge->heads = heads ? heads : merge->heads;
    uint32_t *changed = pl_realloc(merge->changed, capacity, sizeof *changed);
    merge->changed = changed ? changed : merge->changed;
    if (!lanes || !heads || !changed)
        return false;
    merge->lane_capacity = capacity;
    return true;
}

static void note_change(pl_merge *merge, pl_merge_lane *lane)
{
    if (!lane->changed)
        merge->changed[merge->changed_count++] = (uint32_t)(lane - merge->lanes);
    lane->changed = true;
}

void pl_merge_forget_changes(pl_merge *merge)
{
    for (size_t i = 0; i < merge->changed_count; i++)
        merge->lanes[merge->changed[i]].changed = false;
    merge->changed_count = 0;
}

static pl_merge_lane *lane_slot(pl_merge *merge, pl_lane *lane, uint32_t input, int64_t now_ns)
{
    size_t slot = slot_index(merge, lane->index, input);
    if (slot >= merge->slot_capacity) {
        size_t capacity = merge->slot_capacity ? merge->slot_capacity : 16;
        while (capacity <= slot)
            capacity *= 2;
        uint32_t *grown = pl_realloc(merge->slot_of, capacity, sizeof *grown);
        if (!grown)
            return NULL;
        memset(grown + merge->slot_capacity, 0, (capacity - merge->slot_capacity) * sizeof *grown);
        merge->slot_of = grown;
        merge->slot_capacity = capacity;
    }
    if (merge->slot_of[slot])
        return &merge->lanes[merge->slot_of[slot] - 1];
    if (!make_room(merge))
        return NULL;
    no_longer_waiting(merge, input, lane->source_rank);
    merge->lanes[merge->lane_count] = (pl_merge_lane){.lane = lane,
                                                      .input = input,
                                                      .newest_unix_ns = INT64_MIN,
                                                      .active_ns = now_ns,
                                                      .closed = lane->index == PL_LANE_NONE};
    merge->slot_of[slot] = (uint32_t)++merge->lane_count;
    return &merge->lanes[merge->lane_count - 1];
}

/* ---- each lane's heap ------------------------------------------------------- */

static bool before(const pl_merge_item *a, const pl_merge_item *b)
{
    return a->time_unix_ns != b->time_unix_ns ? a->time_unix_ns < b->time_unix_ns
                                              : a->record->position < b->record->position;
}

static bool push(pl_merge_lane *lane, pl_merge_item item)
{
    if (lane->count == lane->capacity) {
        size_t capacity = lane->capacity ? lane->capacity * 2 : 64;
        pl_merge_item *grown = pl_realloc(lane->heap, capacity, sizeof *grown);
        if (!grown)
            return false;
        lane->heap = grown;
        lane->capacity = capacity;
    }
    size_t at = lane->count++;
    for (; at > 0 && before(&item, &lane->heap[(at - 1) / 2]); at = (at - 1) / 2)
        lane->heap[at] = lane->heap[(at - 1) / 2];
    lane->heap[at] = item;
    return true;
}

static pl_merge_item pop(pl_merge_lane *lane)
{
    pl_merge_item top = lane->heap[0];
    pl_merge_item last = lane->heap[--lane->count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < lane->count; at = child) {
        if (child + 1 < lane->count && before(&lane->heap[child + 1], &lane->heap[child]))
            child++;
        if (!before(&lane->heap[child], &last))
            break;
        lane->heap[at] = lane->heap[child];
    }
    lane->heap[at] = last;
    return top;
}

/* ---- the lanes' first records, a heap of places -------------------------------- */

/* Order of two lanes at the same event time; 0: the same lane by two inputs, where the position decides. */
static int lane_order(const pl_merge_lane *a, const pl_merge_lane *b)
{
    if (a->lane->source_rank != b->lane->source_rank)
        return a->lane->source_rank < b->lane->source_rank ? -1 : 1;
    return a->lane == b->lane ? 0 : strcmp(a->lane->name, b->lane->name);
}

static bool goes_first(const pl_merge_lane *a, const pl_merge_lane *b)
{
    if (a->first_unix_ns != b->first_unix_ns)
        return a->first_unix_ns < b->first_unix_ns;
    int order = lane_order(a, b);
    if (order)
        return order < 0;
    const pl_record *x = a->heap[0].record;
    const pl_record *y = b->heap[0].record;
    return x->position != y->position ? x->position < y->position : a < b;
}

static void put_head(pl_merge *merge, size_t at, uint32_t place)
{
    merge->heads[at] = place;
    merge->lanes[place].rank = at + 1;
}

/* The lane's first record is new, or an earlier one than before. */
static void raise_head(pl_merge *merge, pl_merge_lane *lane)
{
    size_t at = lane->rank ? lane->rank - 1 : merge->head_count++;
    lane->first_unix_ns = lane->heap[0].time_unix_ns;
    uint32_t place = (uint32_t)(lane - merge->lanes);
    for (; at > 0 && goes_first(lane, &merge->lanes[merge->heads[(at - 1) / 2]]); at = (at - 1) / 2)
        put_head(merge, at, merge->heads[(at - 1) / 2]);
    put_head(merge, at, place);
}

/* The top one gave its first record away. */
static void lower_top(pl_merge *merge)
{
    uint32_t place = merge->heads[0];
    pl_merge_lane *top = &merge->lanes[place];
    if (top->count) {
        top->first_unix_ns = top->heap[0].time_unix_ns;
    } else {
        top->rank = 0;
        place = merge->heads[--merge->head_count];
        if (merge->head_count == 0)
            return;
    }
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < merge->head_count; at = child) {
        const pl_merge_lane *left = &merge->lanes[merge->heads[child]];
        if (child + 1 < merge->head_count && goes_first(&merge->lanes[merge->heads[child + 1]], left))
            child++;
        if (!goes_first(&merge->lanes[merge->heads[child]], &merge->lanes[place]))
            break;
        put_head(merge, at, merge->heads[child]);
    }
    put_head(merge, at, place);
}

/* ---- in --------------------------------------------------------------------- */

bool pl_merge_observe(pl_merge *merge, const pl_packet *packet, uint32_t input, int64_t now_ns)
{
    merge->bound_known = false;
    for (uint32_t i = 0; i < packet->batch->mark_count; i++) {
        const pl_lane_mark *mark = &packet->batch->marks[i];
        pl_merge_lane *lane = lane_slot(merge, mark->lane, input, now_ns);
        if (!lane)
            return false;
        note_change(merge, lane);
        lane->active_ns = now_ns;
        lane->closed = lane->closed || mark->closed;
        if (mark->time_unix_ns > lane->newest_unix_ns)
            lane->newest_unix_ns = mark->time_unix_ns;
    }
    return true;
}

bool pl_merge_take(pl_merge *merge, const pl_packet *packet, uint32_t input, int64_t now_ns)
{
    if (!pl_merge_observe(merge, packet, input, now_ns))
        return false;
    for (uint32_t i = 0; i < packet->count; i++) {
        const pl_record *record = packet->records[i];
        size_t index = slot_index(merge, record->lane, input);
        uint32_t slot = index < merge->slot_capacity ? merge->slot_of[index] : 0;
        pl_merge_lane *lane = slot ? &merge->lanes[slot - 1] : lane_slot(merge, &born, 0, now_ns);
        if (!lane || !push(lane, (pl_merge_item){record->time_unix_ns, record, packet->batch}))
            return false;
        pl_flow_batch_ref(packet->batch, 1);
        merge->buffered++;
        note_change(merge, lane);
        if (lane->heap[0].record == record)
            raise_head(merge, lane);
    }
    return true;
}

/* ---- out -------------------------------------------------------------------- */

static bool silent(const pl_merge *merge, const pl_merge_lane *lane, int64_t now_ns)
{
    return now_ns - lane->active_ns >= merge->setup.idle_ns;
}

static bool waited_for(const pl_merge *merge, const pl_merge_lane *lane, int64_t now_ns)
{
    if (merge->ended || (lane->closed && lane->count == 0))
        return false;
    return lane->count > 0 || !silent(merge, lane, now_ns);
}

static int64_t bound_of(const pl_merge *merge, const pl_merge_lane *lane, int64_t now_ns)
{
    int64_t bound;
    if (lane->closed)
        return INT64_MAX;
    if (lane->newest_unix_ns == INT64_MIN || silent(merge, lane, now_ns))
        return lane->newest_unix_ns;
    return __builtin_sub_overflow(lane->newest_unix_ns, merge->setup.slack_ns, &bound) ? INT64_MIN : bound;
}

/* With slack even a lane that holds later records may bring one of that very time. */
static bool may_bring(const pl_merge_lane *lane, int64_t time_unix_ns)
{
    return lane->count == 0 || lane->first_unix_ns > time_unix_ns;
}

static void stand(pl_merge *merge, const pl_merge_lane *lane)
{
    if (may_bring(lane, merge->bound) && (!merge->stands || lane_order(lane, &merge->lanes[merge->stands - 1]) < 0))
        merge->stands = 1 + (size_t)(lane - merge->lanes);
}

int64_t pl_merge_bound(pl_merge *merge, int64_t now_ns)
{
    if (merge->ended)
        return INT64_MAX;
    if (merge->waiting_count && now_ns - merge->started_ns < merge->setup.idle_ns)
        return INT64_MIN;
    if (merge->bound_known && merge->bound_ns == now_ns)
        return merge->bound;
    merge->bound_known = true;
    merge->bound_ns = now_ns;
    merge->bound = INT64_MAX;
    merge->stands = 0;
    for (size_t i = 0; i < merge->lane_count; i++) {
        const pl_merge_lane *lane = &merge->lanes[i];
        if (!waited_for(merge, lane, now_ns))
            continue;
        int64_t bound = bound_of(merge, lane, now_ns);
        if (bound < merge->bound) {
            merge->bound = bound;
            merge->stands = 0;
        }
        if (bound == merge->bound)
            stand(merge, lane);
    }
    return merge->bound;
}

int64_t pl_merge_head(const pl_merge *merge)
{
    return merge->head_count ? merge->lanes[merge->heads[0]].first_unix_ns : INT64_MAX;
}

/* At the bound itself: a lane that stands there may still bring a record of that very time, which matters if it comes
 * before this one in the order of lanes. */
static bool due_at_bound(pl_merge *merge, const pl_merge_lane *first, int64_t bound, int64_t now_ns)
{
    return pl_merge_bound(merge, now_ns) == bound && merge->bound_known &&
           (!merge->stands || lane_order(&merge->lanes[merge->stands - 1], first) > 0);
}

/* What the bound was found from has changed by a lane that gave a record out. */
static void gave_out(pl_merge *merge, pl_merge_lane *lane, int64_t now_ns)
{
    bool emptied_in_silence = lane->count == 0 && silent(merge, lane, now_ns);
    if (lane->count == 0 && merge->held_up) /* what kept it from saying more may have been what it had said */
        lane->active_ns = now_ns;
    if (emptied_in_silence || merge->bound_ns != now_ns)
        merge->bound_known = false;
    else if (merge->bound_known && waited_for(merge, lane, now_ns) && bound_of(merge, lane, now_ns) == merge->bound)
        stand(merge, lane);
}

bool pl_merge_next(pl_merge *merge, int64_t bound, int64_t now_ns, pl_merge_item *item)
{
    int64_t time = pl_merge_head(merge);
    if (!merge->head_count || time > bound)
        return false;
    pl_merge_lane *first = &merge->lanes[merge->heads[0]];
    if (time == bound && !merge->ended && !due_at_bound(merge, first, bound, now_ns))
        return false;
    *item = pop(first);
    lower_top(merge);
    merge->buffered--;
    note_change(merge, first);
    gave_out(merge, first, now_ns);
    return true;
}

int64_t pl_merge_resume(const pl_merge *merge, int64_t now_ns)
{
    int64_t soonest = INT64_MAX;
    if (merge->waiting_count && now_ns - merge->started_ns < merge->setup.idle_ns)
        soonest = merge->started_ns + merge->setup.idle_ns;
    for (size_t i = 0; i < merge->lane_count; i++) {
        const pl_merge_lane *lane = &merge->lanes[i];
        int64_t until = lane->active_ns + merge->setup.idle_ns;
        if (!lane->closed && until > now_ns && until < soonest)
            soonest = until;
    }
    return soonest;
}
