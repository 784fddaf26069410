#include <base/str.h>
#include <base/timestamp.h>
#include <flow/dead_letter.h>
#include <inttypes.h>

enum { FACT_COUNT = 8 };

static pl_field text_field(pl_arena *arena, const char *name, pl_str text)
{
    return (pl_field){PL_S(name), {.type = PL_STR, .as.s = pl_arena_str(arena, text)}};
}

static pl_field number_field(pl_arena *arena, const char *name, uint64_t number)
{
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%" PRIu64, number);
    return text_field(arena, name, PL_S(digits));
}

static pl_field *headers_of(pl_stage *stage, pl_arena *arena, const pl_record *record, const pl_dead_letter *why)
{
    pl_field *headers = pl_flow_headers_copy(arena, record->headers, record->header_count, FACT_COUNT);
    if (!headers)
        return NULL;
    char now[PL_TIMESTAMP_MAX];
    (void)pl_time_format(pl_flow_unix(stage->flow), now);
    const pl_lane *lane = pl_lane_at(&stage->flow->lanes, record->lane);
    pl_field *facts = headers + record->header_count;
    facts[0] = text_field(arena, "plumbline.stage", PL_S(why->stage));
    facts[1] = text_field(arena, "plumbline.component", PL_S(stage->name));
    facts[2] = text_field(arena, "plumbline.class", PL_S(why->error_class));
    facts[3] = text_field(arena, "plumbline.reason", why->reason);
    facts[4] = number_field(arena, "plumbline.attempts", why->attempts);
    facts[5] = text_field(arena, "plumbline.origin.lane", PL_S(lane ? lane->name : ""));
    facts[6] = number_field(arena, "plumbline.origin.position", record->position);
    facts[7] = text_field(arena, "plumbline.time", PL_S(now));
    return headers;
}

void pl_dead_letter_add(pl_stage *stage, const pl_record *record, const pl_dead_letter *why)
{
    if (record->flags & PL_RECORD_REPLAY)
        return;
    if (!stage->dead_letters) {
        pl_error error = {.struct_size = sizeof error};
        (void)pl_fail(&error, PL_HALT, "the dead-letter sink refused a record: %.*s", (int)why->reason.len,
                      why->reason.ptr);
        pl_flow_halt(stage->flow, stage->name, &error);
        return;
    }
    if (!stage->dead_batch)
        stage->dead_batch = pl_flow_batch_new(&stage->flow->memory);
    pl_record *letter = stage->dead_batch ? pl_flow_batch_add(stage->dead_batch) : NULL;
    if (!letter) {
        pl_stage_halt_no_memory(stage);
        return;
    }
    pl_arena *arena = stage->dead_batch->arena;
    *letter = (pl_record){
        .stream = pl_arena_str(arena, record->stream),
        .key = pl_arena_str(arena, record->key),
        .payload = pl_arena_str(arena, record->payload),
        .time_unix_ns = record->time_unix_ns,
        .position = record->position,
        .lane = record->lane,
        .header_count = record->header_count + FACT_COUNT,
        .headers = headers_of(stage, arena, record, why),
        .ack = record->ack,
    };
    if (!letter->headers) {
        pl_flow_batch_cut(stage->dead_batch, stage->dead_batch->count - 1);
        pl_stage_halt_no_memory(stage);
    }
}

void pl_dead_letter_flush(pl_stage *stage)
{
    pl_flow_batch *batch = stage->dead_batch;
    if (!batch)
        return;
    stage->dead_batch = NULL;
    if (!pl_stage_post(stage, stage->dead_letters, batch))
        pl_stage_halt_no_memory(stage);
}
