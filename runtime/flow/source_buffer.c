#include <flow/source_buffer.h>

#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>
#include <flow/dead_letter.h>
#include <record/encode.h>

enum { FEED_BATCHES = 16, SCRATCH_BYTES = 16 << 10 };
static const int64_t SAVE_EVERY_NS = 250000000; /* how far lanes are: what a kill repeats */

typedef struct kept_lane { /* owner of a pl_buffer_lane */
    struct kept_lane *next;
    pl_lane *lane;
    uint64_t given; /* newest position, as the plugin calls it */
    bool given_any, commit_due;
} kept_lane;

struct pl_source_buffer {
    pl_buffer *log;
    pl_arena *scratch; /* of one record */
    kept_lane *lanes;
    pl_retry sync_retry, save_retry;
    int64_t pending_since_ns, save_due_ns; /* monotonic */
    bool exhausted;                        /* the plugin has nothing more, ever */
    bool full;                             /* and was told so */
    bool stopping;
    int last_batches; /* that are still handed over when the pipeline stops */
};
typedef struct pl_source_buffer kept_source;

static void halt(pl_source_stage *source, const pl_error *error)
{
    pl_flow_halt(source->stage.flow, source->stage.name, error);
}

static void sooner(int64_t *resume_ns, int64_t at_ns)
{
    *resume_ns = at_ns < *resume_ns ? at_ns : *resume_ns;
}

/* ---- lanes ------------------------------------------------------------------------- */

static kept_lane *owner_of(pl_source_stage *source, pl_str name)
{
    pl_buffer_lane *lane = pl_buffer_lane_of(source->buffer->log, name);
    return lane ? lane->owner : NULL;
}

pl_lane *pl_source_buffer_find(pl_source_stage *source, pl_str name)
{
    kept_lane *known = owner_of(source, name);
    return known ? known->lane : NULL;
}

bool pl_source_buffer_adopt(pl_source_stage *source, pl_lane *lane)
{
    pl_buffer_lane *its = pl_buffer_lane_of(source->buffer->log, PL_S(lane->name));
    kept_lane *owner = its ? pl_calloc(1, sizeof *owner) : NULL;
    if (!owner)
        return false;
    owner->lane = lane;
    owner->next = source->buffer->lanes;
    source->buffer->lanes = owner;
    its->owner = owner;
    return true;
}

void pl_source_buffer_settled(pl_source_stage *source, pl_lane *lane)
{
    pl_buffer *log = source->buffer->log;
    pl_buffer_lane *its = pl_buffer_lane_of(log, PL_S(lane->name));
    if (its)
        pl_buffer_settle(log, its, lane->settled_position);
}

/* ---- from the plugin to disk -------------------------------------------------------- */

bool pl_source_buffer_taken(const pl_source_stage *source)
{
    const pl_buffer *log = source->buffer->log;
    return atomic_load_explicit(&source->stage.flow->stopping, memory_order_relaxed) ||
           pl_buffer_pending_count(log) >= PL_SOURCE_BATCH_RECORDS ||
           pl_buffer_pending_bytes(log) >= PL_SOURCE_BATCH_BYTES;
}

bool pl_source_buffer_synced(const pl_source_stage *source)
{
    return pl_buffer_pending_count(source->buffer->log) == 0;
}

/* What can't be written, such as a number that JSON does not have, goes to the dead letter at once. */
static void reject(pl_source_stage *source, const pl_lane *lane, const pl_kept *kept, const pl_error *error)
{
    pl_dead_letter why = {"source", "reject", PL_S(error->message), 1, NULL};
    pl_record record = {.stream = kept->stream,
                        .key = kept->key,
                        .payload = kept->payload,
                        .time_unix_ns = kept->arrived_unix_ns,
                        .position = kept->position,
                        .headers = kept->headers,
                        .header_count = kept->header_count,
                        .lane = lane->index};
    pl_count(&source->stage.account.errors, 1);
    pl_dead_letter_add(&source->stage, &record, &why);
}

bool pl_source_keep(pl_source_stage *source, pl_lane *lane, uint64_t position, pl_kept_kind kind,
                    const pl_emission *emission)
{
    kept_source *b = source->buffer;
    pl_error error = {.struct_size = sizeof error};
    pl_buffer_lane *its = pl_buffer_lane_of(b->log, PL_S(lane->name));
    kept_lane *owner = its ? its->owner : NULL;
    pl_kept kept = {.kind = kind,
                    .stream = emission->stream,
                    .key = emission->key,
                    .payload = emission->payload,
                    .time_unix_ns = emission->time_unix_ns,
                    .arrived_unix_ns = pl_flow_unix(source->stage.flow),
                    .position = position,
                    .headers = emission->headers,
                    .header_count = emission->header_count};
    if (!owner) {
        pl_stage_halt_no_memory(&source->stage);
        return false;
    }
    pl_status status = PL_OK;
    if (emission->field_count)
        status = pl_encode_payload(b->scratch, emission->fields, emission->field_count, &kept.payload, &error);
    if (!pl_buffer_pending_count(b->log))
        b->pending_since_ns = pl_flow_now(source->stage.flow);
    if (status == PL_OK)
        status = pl_buffer_append(b->log, its, &kept, &error);
    if (status == PL_OK) {
        owner->given = position;
        owner->given_any = owner->commit_due = true;
    } else if (error.error_class == PL_REJECT) {
        reject(source, lane, &kept, &error);
    } else {
        halt(source, &error);
    }
    pl_arena_reset(b->scratch);
    return !pl_source_buffer_taken(source) && !pl_buffer_full(b->log);
}

static void commit_given(pl_source_stage *source)
{
    const pl_source *plugin = pl_instance_component(source->setup.instance)->source;
    for (kept_lane *owner = source->buffer->lanes; owner && !pl_source_pauses_commits(source); owner = owner->next) {
        pl_error error = {.struct_size = sizeof error};
        pl_status status = PL_OK;
        if (!owner->commit_due)
            continue;
        if (plugin && plugin->commit)
            status = plugin->commit(pl_instance_self(source->setup.instance), owner->lane->index, owner->given, &error);
        owner->commit_due = !pl_source_committed(source, status, &error);
    }
}

static void sync_now(pl_source_stage *source)
{
    kept_source *b = source->buffer;
    pl_stage *stage = &source->stage;
    pl_error error = {.struct_size = sizeof error};
    if (pl_buffer_sync(b->log, &error) == PL_OK) {
        pl_retry_worked(&b->sync_retry, stage);
        commit_given(source);
        return;
    }
    pl_count(&stage->account.errors, 1);
    pl_count(&stage->account.retries, 1);
    if (error.error_class != PL_RETRY)
        halt(source, &error);
    else
        (void)pl_retry_failed(&b->sync_retry, stage, &error, pl_flow_now(stage->flow));
}

static void sync_when_due(pl_source_stage *source, int64_t *resume_ns)
{
    kept_source *b = source->buffer;
    if (!pl_buffer_pending_count(b->log))
        return;
    int64_t now_ns = pl_flow_now(source->stage.flow);
    int64_t due_ns = b->pending_since_ns + source->setup.buffer_sync_ns;
    if (b->exhausted || pl_source_buffer_taken(source) || pl_buffer_full(b->log))
        due_ns = 0;
    if (due_ns < b->sync_retry.due_ns)
        due_ns = b->sync_retry.due_ns;
    if (now_ns >= due_ns)
        sync_now(source);
    if (pl_buffer_pending_count(b->log))
        sooner(resume_ns, now_ns >= due_ns ? b->sync_retry.due_ns : due_ns);
}

static bool no_room(pl_source_stage *source)
{
    kept_source *b = source->buffer;
    bool full = pl_buffer_full(b->log);
    if (full && !b->full)
        pl_log(PL_WARN, source->stage.name, "the disk buffer is full (%llu bytes): the source waits",
               (unsigned long long)pl_buffer_bytes(b->log));
    else if (!full && b->full)
        pl_log(PL_INFO, source->stage.name, "the disk buffer has room again");
    b->full = full;
    return full;
}

/* True when the plugin was called. While the disk refuses what it gave before, it is not. */
static bool take_in(pl_source_stage *source, bool drained, int64_t now_ns, int64_t *resume_ns)
{
    kept_source *b = source->buffer;
    if (b->exhausted || b->sync_retry.failures || pl_source_buffer_taken(source) || no_room(source))
        return false;
    if (now_ns < source->resume_ns && !atomic_exchange(&source->woken, false)) {
        sooner(resume_ns, source->resume_ns);
        return false;
    }
    source->resume_ns = 0;
    if (now_ns < source->retry.due_ns) {
        sooner(resume_ns, source->retry.due_ns);
        return false;
    }
    bool lags = drained && pl_buffer_unread(b->log) && pl_source_admitted(source);
    int64_t deadline_ns = lags ? now_ns : pl_flow_deadline(source->stage.flow, now_ns);
    b->exhausted = pl_source_call(source, now_ns, deadline_ns) == PL_END;
    return true;
}

/* ---- from disk into the flow ---------------------------------------------------------- */

static bool give_gap(pl_source_stage *source, pl_lane *lane, const pl_kept *kept)
{
    pl_stage *stage = &source->stage;
    pl_port *port = pl_stage_port(stage, "gaps");
    uint32_t edges = pl_port_references(port);
    pl_ack *ack = pl_source_track_gap(source, lane, kept->position, kept->payload.len, edges ? edges : 1);
    if (!ack)
        return false;
    if (edges == 0) { /* the file has changed since: nobody asks for gaps any more */
        pl_ack_done(ack, PL_OUTCOME_FILTERED);
        return true;
    }
    pl_flow_batch *batch = pl_flow_batch_new(&stage->flow->memory);
    pl_record *record = batch ? pl_flow_batch_add(batch) : NULL;
    if (!record)
        return false;
    *record = (pl_record){.stream = pl_arena_str(batch->arena, kept->stream),
                          .payload = pl_arena_str(batch->arena, kept->payload),
                          .time_unix_ns = kept->time_unix_ns,
                          .position = kept->position,
                          .lane = lane->index,
                          .ack = ack};
    return pl_stage_send(stage, port, batch);
}

static void give_record(pl_source_stage *source, pl_lane *lane, const pl_kept *kept)
{
    pl_arena *scratch = source->buffer->scratch;
    pl_emission emission = {.struct_size = sizeof emission,
                            .time_unix_ns = kept->time_unix_ns,
                            .stream = kept->stream,
                            .key = kept->key,
                            .payload = kept->payload,
                            .header_count = kept->header_count};
    if (kept->header_count) {
        pl_field *headers = pl_arena_alloc(scratch, kept->header_count * sizeof *headers);
        if (!headers) {
            pl_stage_halt_no_memory(&source->stage);
            return;
        }
        pl_entry_headers(kept, headers);
        emission.headers = headers;
    }
    source->arrived_unix_ns = kept->arrived_unix_ns;
    (void)pl_source_hand_over(source, lane, kept->position, &emission);
    source->arrived_unix_ns = 0;
    pl_arena_reset(scratch);
}

/* Fills one batch; false: nothing was left. */
static bool give_batch(pl_source_stage *source)
{
    kept_source *b = source->buffer;
    bool any = false;
    while (!pl_source_batch_full(source)) {
        pl_kept kept;
        pl_buffer_lane *its;
        pl_error error = {.struct_size = sizeof error};
        pl_status status = pl_buffer_read(b->log, &kept, &its, &error);
        if (status == PL_FAILED)
            halt(source, &error);
        if (status != PL_OK)
            break;
        any = true;
        const kept_lane *owner = its->owner;
        pl_lane *lane = owner ? owner->lane : pl_source_open_lane(source, kept.lane);
        if (lane && kept.kind == PL_KEPT_RECORD)
            give_record(source, lane, &kept);
        else if (!lane || !give_gap(source, lane, &kept))
            pl_stage_halt_no_memory(&source->stage);
        if (atomic_load(&source->stage.flow->halted))
            break;
    }
    pl_source_publish(source);
    pl_dead_letter_flush(&source->stage);
    return any;
}

static bool feed(pl_source_stage *source, bool drained)
{
    const pl_buffer *log = source->buffer->log;
    bool any = false;
    bool admitted = true;
    for (int i = 0; i < FEED_BATCHES && drained && pl_buffer_unread(log); i++) {
        atomic_store(&source->waits_for_memory, true);
        admitted = pl_source_admitted(source);
        if (!admitted)
            break;
        atomic_store(&source->waits_for_memory, false);
        if (!give_batch(source))
            break;
        any = true;
        drained = pl_stage_drain(&source->stage);
    }
    pl_source_hold_up(source, pl_buffer_unread(log) && !(drained && admitted));
    return any && drained && admitted;
}

/* ---- the step -------------------------------------------------------------------------- */

static void save_when_due(pl_source_stage *source, int64_t *resume_ns)
{
    kept_source *b = source->buffer;
    pl_stage *stage = &source->stage;
    if (!pl_buffer_dirty(b->log))
        return;
    int64_t now_ns = pl_flow_now(stage->flow);
    if (now_ns >= b->save_due_ns) {
        pl_error error = {.struct_size = sizeof error};
        if (pl_buffer_save(b->log, &error) == PL_OK)
            pl_retry_worked(&b->save_retry, stage);
        else
            (void)pl_retry_failed(&b->save_retry, stage, &error, now_ns);
        b->save_due_ns = now_ns + SAVE_EVERY_NS;
    }
    if (pl_buffer_dirty(b->log))
        sooner(resume_ns, b->save_due_ns);
}

pl_stepped pl_source_buffer_run(pl_source_stage *source, bool drained, int64_t now_ns)
{
    kept_source *b = source->buffer;
    int64_t resume_ns = INT64_MAX;
    bool worked = take_in(source, drained, now_ns, &resume_ns);
    sync_when_due(source, &resume_ns);
    worked = feed(source, drained) || worked;
    save_when_due(source, &resume_ns);
    if (b->full && !no_room(source)) /* what was settled made room */
        worked = true;
    if (b->exhausted && !pl_buffer_pending_count(b->log) && !pl_buffer_unread(b->log)) {
        pl_source_end(source);
        return pl_step_again();
    }
    return worked ? pl_step_again() : pl_step_idle(resume_ns);
}

bool pl_source_buffer_stop(pl_source_stage *source, bool drained)
{
    kept_source *b = source->buffer;
    if (!b->stopping && pl_buffer_pending_count(b->log))
        sync_now(source);
    b->stopping = true;
    while (drained && b->last_batches > 0 && pl_buffer_unread(b->log) && pl_source_admitted(source)) {
        b->last_batches--;
        if (!give_batch(source))
            break;
        drained = pl_stage_drain(&source->stage);
    }
    if (!drained && b->last_batches > 0 && pl_buffer_unread(b->log) && pl_source_admitted(source))
        return false;
    if (pl_buffer_unread(b->log))
        pl_log(PL_INFO, source->stage.name, "the disk buffer keeps what was not handed over for the next start");
    return true;
}

void pl_source_buffer_close_lane(pl_source_stage *source, pl_lane *lane, uint64_t *settled_position)
{
    kept_lane *owner = owner_of(source, PL_S(lane->name));
    if (pl_buffer_pending_count(source->buffer->log))
        sync_now(source);
    if (owner && owner->given_any && !pl_buffer_pending_count(source->buffer->log))
        *settled_position = owner->given;
}

/* ---- life ------------------------------------------------------------------------------ */

bool pl_source_buffer_attach(pl_source_stage *source)
{
    if (!source->setup.buffer)
        return true;
    kept_source *b = pl_calloc(1, sizeof *b);
    pl_arena *scratch = pl_arena_new(SCRATCH_BYTES);
    if (!b || !scratch) {
        pl_free(b);
        pl_arena_free(&scratch);
        return false;
    }
    b->log = source->setup.buffer;
    b->scratch = scratch;
    b->last_batches = FEED_BATCHES;
    b->sync_retry.policy = b->save_retry.policy = (pl_retry_policy){.min_ns = 100000000, .max_ns = 5000000000};
    source->buffer = b;
    return true;
}

void pl_source_buffer_free(pl_source_stage *source)
{
    kept_source *b = source->buffer;
    if (!b)
        return;
    for (kept_lane *next; b->lanes; b->lanes = next) {
        next = b->lanes->next;
        pl_free(b->lanes);
    }
    pl_buffer_close(&b->log);
    pl_arena_free(&b->scratch);
    pl_free(b);
    source->buffer = NULL;
}
