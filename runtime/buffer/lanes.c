#include <base/mem.h>
#include <base/str.h>
#include <buffer/private.h>

enum { TABLE_FIRST = 64 }; /* a power of two */

static pl_buffer_lane **slot_of(pl_buffer_lane **table, size_t size, pl_str name)
{
    size_t at = (size_t)pl_str_hash(name) & (size - 1);
    while (table[at] && !pl_str_is(name, table[at]->name))
        at = (at + 1) & (size - 1);
    return &table[at];
}

bool pl_buffer_lanes_init(pl_buffer *buffer)
{
    buffer->table = pl_calloc(TABLE_FIRST, sizeof(pl_buffer_lane *));
    buffer->table_size = TABLE_FIRST;
    return buffer->table != NULL;
}

static bool grow(pl_buffer *buffer)
{
    if (buffer->lane_count == buffer->lane_capacity) {
        size_t capacity = buffer->lane_capacity ? buffer->lane_capacity * 2 : 16;
        pl_buffer_lane **grown = pl_realloc((void *)buffer->lanes, capacity, sizeof(pl_buffer_lane *));
        if (!grown)
            return false;
        buffer->lanes = grown;
        buffer->lane_capacity = capacity;
    }
    if (buffer->lane_count * 2 < buffer->table_size)
        return true;
    size_t size = buffer->table_size * 2;
    pl_buffer_lane **table = pl_calloc(size, sizeof(pl_buffer_lane *));
    if (!table)
        return false;
    for (size_t i = 0; i < buffer->lane_count; i++)
        *slot_of(table, size, PL_S(buffer->lanes[i]->name)) = buffer->lanes[i];
    pl_free((void *)buffer->table);
    buffer->table = table;
    buffer->table_size = size;
    return true;
}

pl_buffer_lane *pl_buffer_lane_of(pl_buffer *buffer, pl_str name)
{
    pl_buffer_lane *known = *slot_of(buffer->table, buffer->table_size, name);
    if (known)
        return known;
    pl_buffer_lane *lane = grow(buffer) ? pl_calloc(1, sizeof *lane) : NULL;
    if (!lane)
        return NULL;
    lane->name = pl_strndup(name.ptr, name.len);
    if (!lane->name) {
        pl_free(lane);
        return NULL;
    }
    buffer->lanes[buffer->lane_count++] = lane;
    *slot_of(buffer->table, buffer->table_size, name) = lane;
    return lane;
}

void pl_buffer_lanes_release(pl_buffer *buffer)
{
    for (size_t i = 0; i < buffer->lane_count; i++) {
        pl_free(buffer->lanes[i]->name);
        pl_free(buffer->lanes[i]);
    }
    pl_free((void *)buffer->lanes);
    pl_free((void *)buffer->table);
}
