/* From a plugin's emission to a record in the batch being built. */
#include <base/error.h>
#include <base/mem.h>
#include <base/timestamp.h>
#include <flow/dead_letter.h>
#include <flow/source.h>
#include <flow/source_buffer.h>
#include <flow/transaction.h>
#include <inttypes.h>
#include <record/encode.h>

enum { SHOWN_MAX = 80 };

/* Seconds until the year 2262, where a count of nanoseconds ends; what is more is milli-, then micro-, then
 * nanoseconds. */
static bool time_of_number(int64_t number, int64_t *time_ns)
{
    static const int64_t units[] = {1000000000, 1000000, 1000, 1};
    for (size_t i = 0; number >= 0 && i < sizeof units / sizeof *units; i++)
        if (!__builtin_mul_overflow(number, units[i], time_ns))
            return true;
    return false;
}

/* Event time from the payload's own fields: text as RFC 3339, a number as seconds, or milli-, micro- or nanoseconds by
 * its size. PL_END: none of the fields is there. */
static pl_status time_of(const pl_source_setup *setup, pl_document *document, int64_t *time_ns, pl_error *error)
{
    for (size_t i = 0; i < setup->time_count; i++) {
        pl_value value;
        pl_status status = pl_document_get(document, &setup->time_paths[i], &value, error);
        if (status == PL_FAILED)
            return status;
        if (status != PL_OK || value.type == PL_NIL)
            continue;
        char path[64];
        (void)pl_path_format(&setup->time_paths[i], path, sizeof path);
        if (value.type == PL_STR && pl_time_parse(value.as.s, time_ns))
            return PL_OK;
        if (value.type == PL_INT && time_of_number(value.as.i, time_ns))
            return PL_OK;
        char number[24];
        (void)snprintf(number, sizeof number, "%" PRId64, value.type == PL_INT ? value.as.i : 0);
        pl_str shown = value.type == PL_INT                               ? PL_S(number)
                       : value.type == PL_STR || value.type == PL_DECIMAL ? value.as.s
                                                                          : PL_S("a value of another type");
        return pl_fail(error, PL_REJECT, "event time %s is no RFC 3339 time: %.*s", path,
                       shown.len < SHOWN_MAX ? (int)shown.len : SHOWN_MAX, shown.ptr);
    }
    return PL_END;
}

pl_status pl_source_inspect(const pl_source_setup *setup, pl_document *document, pl_arena *arena, pl_record *record,
                            pl_error *error)
{
    bool json = setup->codec == PL_CODEC_JSON && record->payload.ptr;
    bool check = setup->validate && setup->codec != PL_CODEC_BYTES;
    if (check || (json && setup->time_count))
        pl_document_load(document, record->payload, setup->codec);
    if (check && pl_document_validate(document, error) != PL_OK)
        return PL_FAILED;
    if (check && json)
        record->outline = pl_document_keep_outline(document, arena);
    if (json && setup->time_count && time_of(setup, document, &record->time_unix_ns, error) == PL_FAILED)
        return PL_FAILED;
    return PL_OK;
}

bool pl_source_begin(pl_source_stage *source)
{
    if (!source->building)
        source->building = pl_flow_batch_new(&source->stage.flow->memory);
    pl_ack_block *full = source->block;
    if (!full || full->count == full->capacity) {
        source->block = pl_source_take_block(source);
        if (full && full->popped == full->count)
            pl_source_retire_block(source, full); /* else the last pop does it */
    }
    return source->building && source->block;
}

static pl_status fill(pl_flow_batch *batch, pl_record *record, const pl_emission *emission, const pl_lane *lane,
                      pl_error *error)
{
    pl_arena *arena = batch->arena;
    record->stream = pl_arena_str(arena, emission->stream);
    record->key = pl_arena_str(arena, emission->key);
    record->time_unix_ns = emission->time_unix_ns;
    record->lane = lane->index;
    record->header_count = emission->header_count;
    if (emission->header_count)
        record->headers = pl_flow_headers_copy(arena, emission->headers, emission->header_count, 0);
    if (emission->field_count)
        return pl_encode_payload(arena, emission->fields, emission->field_count, &record->payload, error);
    record->payload = pl_arena_str(arena, emission->payload);
    return PL_OK;
}

static void reject(pl_source_stage *source, const pl_record *record, const pl_error *error)
{
    pl_dead_letter why = {"source", "reject", PL_S(error->message), 1, NULL};
    pl_count(&source->stage.account.errors, 1);
    pl_dead_letter_add(&source->stage, record, &why);
    pl_flow_batch_cut(source->building, source->building->count - 1);
}

bool pl_source_full(const pl_source_stage *source)
{
    return source->buffer ? pl_source_buffer_taken(source) : pl_source_batch_full(source);
}

bool pl_source_batch_full(const pl_source_stage *source)
{
    const pl_flow_batch *batch = source->building;
    bool stopping = atomic_load_explicit(&source->stage.flow->stopping, memory_order_relaxed);
    return (stopping && !source->buffer) || source->stage.outbox ||
           pl_transaction_closed(source->stage.flow->transaction) ||
           (batch &&
            (batch->count >= PL_SOURCE_BATCH_RECORDS || pl_arena_bytes(batch->arena) >= PL_SOURCE_BATCH_BYTES));
}

static bool track(pl_source_stage *source, pl_lane *lane, pl_record *record, uint32_t flags)
{
    pl_account *account = &source->stage.account;
    if (flags & PL_EMIT_REPLAY) {
        record->flags |= PL_RECORD_REPLAY;
        pl_count(&account->replayed, 1);
        return true;
    }
    record->ack = pl_ack_block_add(source->block, &source->stage, record->position);
    pl_count(&account->read, 1);
    pl_count(&account->bytes, record->payload.len);
    return pl_source_track(source, lane, record->ack);
}

pl_ack *pl_source_track_gap(pl_source_stage *source, pl_lane *lane, uint64_t position, size_t bytes, uint32_t edges)
{
    if (!pl_source_begin(source))
        return NULL;
    pl_ack *ack = pl_ack_block_add(source->block, &source->stage, position);
    pl_count(&source->stage.account.read, 1);
    pl_count(&source->stage.account.bytes, bytes);
    if (!pl_source_track(source, lane, ack))
        return NULL;
    pl_ack_add(ack, edges - 1);
    return ack;
}

bool pl_source_emit(pl_source_stage *source, const pl_emission *emission)
{
    pl_poll_item *item = source->poll.items ? &source->poll.items[source->poll.current] : NULL;
    pl_lane *lane = item ? item->lane : pl_lane_at(&source->stage.flow->lanes, emission->lane);
    if (!lane || !lane->open) {
        pl_error error = {.struct_size = sizeof error};
        (void)pl_fail(&error, PL_HALT, "the plugin emitted into lane %u, which is not open", emission->lane);
        pl_flow_halt(source->stage.flow, source->stage.name, &error);
        return false;
    }
    uint64_t position = item ? ++item->position : emission->position;
    if (source->buffer)
        return pl_source_keep(source, lane, position, PL_KEPT_RECORD, emission);
    return pl_source_hand_over(source, lane, position, emission);
}

bool pl_source_hand_over(pl_source_stage *source, pl_lane *lane, uint64_t position, const pl_emission *emission)
{
    pl_record *record = pl_source_begin(source) ? pl_flow_batch_add(source->building) : NULL;
    if (!record) {
        pl_stage_halt_no_memory(&source->stage);
        return false;
    }
    pl_error error;
    pl_error_open(&error);
    pl_status status = fill(source->building, record, emission, lane, &error);
    record->position = position;
    if (!track(source, lane, record, emission->flags)) {
        pl_stage_halt_no_memory(&source->stage);
        return false;
    }
    if (status == PL_OK)
        status = pl_source_inspect(&source->setup, source->document, source->building->arena, record, &error);
    if (status == PL_OK && record->time_unix_ns == 0)
        record->time_unix_ns = source->arrived_unix_ns ? source->arrived_unix_ns : pl_flow_unix(source->stage.flow);
    if (status != PL_OK) {
        reject(source, record, &error);
    } else if (record->time_unix_ns > lane->newest_unix_ns) {
        lane->newest_unix_ns = record->time_unix_ns;
        if (record->time_unix_ns > atomic_load_explicit(&source->stage.account.newest_unix_ns, memory_order_relaxed))
            atomic_store_explicit(&source->stage.account.newest_unix_ns, record->time_unix_ns, memory_order_relaxed);
    }
    pl_source_tell_of(source, lane);
    return !pl_source_batch_full(source);
}
