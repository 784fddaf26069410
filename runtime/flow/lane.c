#include <base/mem.h>
#include <flow/lane.h>

bool pl_lanes_init(pl_lanes *lanes)
{
    lanes->lanes = pl_calloc(PL_LANES_MAX, sizeof *lanes->lanes);
    atomic_init(&lanes->count, 0);
    atomic_init(&lanes->abandoned, 0);
    return lanes->lanes && pthread_mutex_init(&lanes->lock, NULL) == 0;
}

void pl_lanes_release(pl_lanes *lanes)
{
    uint32_t count = atomic_load(&lanes->count);
    for (uint32_t i = 0; i < count; i++) {
        pl_lane *lane = atomic_load(&lanes->lanes[i]);
        pl_free(lane->name);
        pl_free(lane->ring);
        pl_free(lane);
    }
    pl_free((void *)lanes->lanes);
    lanes->lanes = NULL;
    pthread_mutex_destroy(&lanes->lock);
}

pl_lane *pl_lane_open(pl_lanes *lanes, uint32_t source_rank, pl_str name)
{
    pl_lane *lane = pl_calloc(1, sizeof *lane);
    char *copy = pl_strndup(name.ptr ? name.ptr : "", name.len);
    pthread_mutex_lock(&lanes->lock);
    uint32_t index = atomic_load(&lanes->count);
    if (!lane || !copy || index == PL_LANES_MAX) {
        pthread_mutex_unlock(&lanes->lock);
        pl_free(lane);
        pl_free(copy);
        return NULL;
    }
    *lane = (pl_lane){.index = index + 1,
                      .source_rank = source_rank,
                      .name = copy,
                      .open = true,
                      .settled_position = UINT64_MAX,
                      .newest_unix_ns = INT64_MIN};
    atomic_store(&lanes->lanes[index], lane);
    atomic_store(&lanes->count, index + 1);
    pthread_mutex_unlock(&lanes->lock);
    return lane;
}

pl_lane *pl_lane_at(const pl_lanes *lanes, uint32_t index)
{
    if (index == PL_LANE_NONE || index > atomic_load(&lanes->count))
        return NULL;
    return atomic_load(&lanes->lanes[index - 1]);
}

void pl_lane_abandon(pl_lanes *lanes, pl_lane *lane)
{
    atomic_store(&lane->abandoned, true);
    atomic_fetch_add(&lanes->abandoned, 1);
}

bool pl_lanes_gave_up_all(const pl_lanes *lanes, const pl_ack *ack)
{
    if (atomic_load_explicit(&lanes->abandoned, memory_order_relaxed) == 0)
        return false;
    if (ack->source) {
        const pl_lane *lane = pl_lane_at(lanes, ack->lane);
        return lane && atomic_load(&lane->abandoned);
    }
    for (uint32_t i = 0; i < ack->parent_count; i++)
        if (!pl_lanes_gave_up_all(lanes, ack->parents[i]))
            return false;
    return ack->parent_count > 0;
}

bool pl_lane_push(pl_lane *lane, pl_ack *ack)
{
    if (lane->count == lane->capacity) {
        size_t capacity = lane->capacity ? lane->capacity * 2 : 16;
        pl_ack **ring = pl_calloc(capacity, sizeof(pl_ack *));
        if (!ring)
            return false;
        for (size_t i = 0; i < lane->count; i++)
            ring[i] = lane->ring[(lane->head + i) & (lane->capacity - 1)];
        pl_free(lane->ring);
        lane->ring = ring;
        lane->head = 0;
        lane->capacity = capacity;
    }
    lane->ring[(lane->head + lane->count++) & (lane->capacity - 1)] = ack;
    return true;
}

pl_ack *pl_lane_pop(pl_lane *lane, pl_outcome *outcome)
{
    if (lane->count == 0)
        return NULL;
    pl_ack *ack = lane->ring[lane->head];
    if (!pl_ack_settled(ack, outcome))
        return NULL;
    lane->head = (lane->head + 1) & (lane->capacity - 1);
    lane->count--;
    return ack;
}

bool pl_lane_is_preceded(const pl_lane *lane)
{
    for (const pl_lane *before = lane->before; before; before = before->before)
        if (before->count)
            return true;
    return false;
}
