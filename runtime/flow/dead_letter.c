#include <base/str.h>
#include <base/timestamp.h>
#include <flow/dead_letter.h>
#include <inttypes.h>

enum { FACTS_MAX = 11 };

typedef struct facts { /* headers at the end of a record's own */
    pl_arena *arena;
    pl_field *next;
} facts;

static void add_text(facts *to, const char *name, pl_str text)
{
    *to->next++ = (pl_field){PL_S(name), {.type = PL_STR, .as.s = pl_arena_str(to->arena, text)}};
}

static void add_number(facts *to, const char *name, uint64_t number)
{
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%" PRIu64, number);
    add_text(to, name, PL_S(digits));
}

static void add_time(facts *to, const char *name, int64_t unix_ns)
{
    char text[PL_TIMESTAMP_MAX];
    (void)pl_time_format(unix_ns, text);
    add_text(to, name, PL_S(text));
}

/* The seed is another one in each run, but for the seeded scheduler's, whose output is to stay the same. */
static void add_id(facts *to, pl_flow *flow)
{
    char text[40];
    if (flow->seeded)
        return;
    (void)snprintf(text, sizeof text, "%016" PRIx64 "-%" PRIx64, flow->seed, atomic_fetch_add(&flow->letters, 1) + 1);
    add_text(to, PL_LETTER_ID, PL_S(text));
}

/* The record's own headers, then those that tell why; *count: all of them. NULL: no memory. */
static pl_field *headers_of(pl_stage *stage, pl_arena *arena, const pl_record *record, const pl_dead_letter *why,
                            uint32_t *count)
{
    pl_field *headers = pl_flow_headers_copy(arena, record->headers, record->header_count, FACTS_MAX);
    if (!headers)
        return NULL;
    const pl_lane *lane = pl_lane_at(&stage->flow->lanes, record->lane);
    facts to = {arena, headers + record->header_count};
    add_text(&to, PL_LETTER_STAGE, PL_S(why->stage));
    add_text(&to, PL_LETTER_COMPONENT, PL_S(why->component ? why->component : stage->name));
    add_text(&to, PL_LETTER_CLASS, PL_S(why->error_class));
    add_text(&to, PL_LETTER_REASON, why->reason);
    add_number(&to, PL_LETTER_ATTEMPTS, (uint64_t)why->attempts + (record->flags >> PL_RECORD_ATTEMPTS_SHIFT));
    add_text(&to, PL_LETTER_LANE, PL_S(lane ? lane->name : ""));
    add_number(&to, PL_LETTER_POSITION, record->position);
    add_time(&to, PL_LETTER_TIME, pl_flow_unix(stage->flow));
    add_id(&to, stage->flow);
    if (record->stream.ptr)
        add_text(&to, PL_LETTER_STREAM, record->stream);
    if (record->time_unix_ns)
        add_time(&to, PL_LETTER_EVENT_TIME, record->time_unix_ns);
    *count = (uint32_t)(to.next - headers);
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
        .flags = record->flags & PL_RECORD_MADE,
        .ack = record->ack,
    };
    letter->headers = headers_of(stage, arena, record, why, &letter->header_count);
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
