/* One call of the script: what it gives out joins the batches of the ports only if the whole call succeeds. */
#include <base/error.h>
#include <base/log.h>
#include <base/mem.h>
#include <flow/dead_letter.h>
#include <flow/transform.h>

enum { CALL_KEYS_MAX = 1 << 20 };

static __attribute__((noinline, cold)) pl_status no_memory(pl_error *error)
{
    return pl_fail(error, PL_HALT, "no memory");
}

static pl_flow_batch *out_of(pl_transform_stage *transform, uint32_t port)
{
    if (!transform->out[port])
        transform->out[port] = pl_flow_batch_new(&transform->stage.flow->memory);
    return transform->out[port];
}

static pl_status on_emit(void *self, const char *name, const pl_record *given, pl_error *error)
{
    pl_transform_stage *transform = self;
    pl_call *call = &transform->call;
    pl_port *port = name ? pl_stage_port(&transform->stage, name) : transform->stage.ports;
    uint32_t references = pl_port_references(port);
    if (references == 0 || call->silent)
        return PL_OK;
    uint32_t index = (uint32_t)(port - transform->stage.ports);
    pl_flow_batch *batch = out_of(transform, index);
    pl_record *record = batch ? pl_flow_batch_push(batch, given) : NULL;
    if (!record)
        return no_memory(error);
    record->ack = call->ack;
    record->flags = (call->input ? call->input->flags : 0) | (transform->script ? PL_RECORD_MADE : 0);
    if (!pl_flow_batch_keep(batch, call->batch) || (index > 0 && !pl_flow_batch_keep(batch, transform->out[0])))
        return no_memory(error);
    call->references += references;
    call->given++;
    return PL_OK;
}

static pl_status on_defer(void *self, int64_t at_unix_ns, pl_str key, int ref, pl_error *error)
{
    pl_transform_stage *transform = self;
    pl_call *call = &transform->call;
    if (transform->stage.flow->transaction) { /* it would keep the transaction open until the watermark moves */
        (void)pl_fail(error, PL_HALT,
                      "defer keeps a record beyond its transaction, so it can't be had with "
                      "delivery: exactly_once");
        pl_flow_halt(transform->stage.flow, transform->stage.name, error);
        return PL_FAILED;
    }
    at_unix_ns = at_unix_ns == INT64_MAX ? at_unix_ns - 1 : at_unix_ns; /* the end of time itself means "never" */
    bool known = pl_defers_find(&transform->defers, at_unix_ns, key) != NULL;
    for (size_t i = 0; !known && i < call->defer_count; i++)
        known = call->defers[i].at == at_unix_ns && call->defers[i].key_len == key.len &&
                memcmp(call->keys.data + call->defers[i].key_start, key.ptr, key.len) == 0;
    if (call->defer_count == call->defer_capacity) {
        size_t capacity = call->defer_capacity ? call->defer_capacity * 2 : 8;
        pl_asked *grown = pl_realloc(call->defers, capacity, sizeof *call->defers);
        if (!grown)
            return no_memory(error);
        call->defers = grown;
        call->defer_capacity = capacity;
    }
    size_t start = call->keys.len;
    pl_buf_add(&call->keys, key.ptr, key.len);
    if (pl_buf_failed(&call->keys))
        return no_memory(error);
    call->defers[call->defer_count++] = (pl_asked){at_unix_ns, start, key.len, ref, known};
    return known ? PL_AGAIN : PL_OK;
}

static void on_metric(void *self, const char *name, double value)
{
    pl_transform_stage *transform = self;
    pl_metric_observe(pl_metrics_add(&transform->metrics, PL_COUNTER, name, "1"), value);
}

static void begin(pl_transform_stage *transform, const pl_record *input, pl_flow_batch *batch, pl_ack *ack, bool silent)
{
    pl_call *call = &transform->call;
    call->deferred = false;
    call->input = input;
    call->batch = batch;
    call->ack = ack;
    call->silent = silent;
    call->references = call->given = 0;
    call->defer_count = 0;
    if (call->keys.len > 0 || pl_buf_failed(&call->keys))
        pl_buf_clear(&call->keys);
    for (uint32_t p = 0; p < transform->stage.port_count; p++)
        call->marks[p] = transform->out[p] ? transform->out[p]->count : 0;
}

static __attribute__((noinline, cold)) void undo(pl_transform_stage *transform)
{
    pl_call *call = &transform->call;
    for (uint32_t p = 0; p < transform->stage.port_count; p++)
        if (transform->out[p])
            pl_flow_batch_cut(transform->out[p], call->marks[p]);
    for (size_t i = 0; i < call->defer_count; i++)
        if (!call->defers[i].known)
            pl_script_forget(transform->script, call->defers[i].ref);
}

/* The transform's account counts an input that gave out nothing yet with the first function it put off. */
static __attribute__((noinline)) bool keep_defers(pl_transform_stage *transform, const pl_record *asker)
{
    static const pl_record nobody = {0};
    pl_call *call = &transform->call;
    bool counted = !asker || call->given > 0 || call->deferred || asker->flags & PL_RECORD_REPLAY;
    if (!asker)
        asker = &nobody;
    for (size_t i = 0; i < call->defer_count; i++) {
        pl_str key = {call->keys.data ? call->keys.data + call->defers[i].key_start : "", call->defers[i].key_len};
        pl_deferred *waiting = pl_defers_find(&transform->defers, call->defers[i].at, key);
        if (waiting && !pl_deferred_join(waiting, asker))
            return false;
        if (!waiting)
            waiting =
                pl_defers_add(&transform->defers, call->defers[i].at, key, call->defers[i].ref, asker, call->batch);
        if (!waiting)
            return false;
        waiting->inputs += counted ? 0 : 1;
        transform->pending_inputs += counted ? 0 : 1;
        counted = true;
    }
    return true;
}

static void halt(pl_transform_stage *transform, const pl_error *error)
{
    pl_flow_halt(transform->stage.flow, transform->stage.name, error);
}

static void dead(pl_transform_stage *transform, const pl_record *record, const pl_error *error, bool in_script)
{
    pl_stage *stage = &transform->stage;
    pl_str reasons = in_script ? pl_script_reasons(transform->script) : (pl_str){NULL, 0};
    pl_dead_letter why = {"transform", error->code ? "script" : "reject", reasons.len ? reasons : PL_S(error->message),
                          1, NULL};
    pl_count(&stage->account.errors, 1);
    pl_log(PL_WARN, stage->name, "%s", error->message);
    pl_record seen = *record;
    seen.flags |= in_script ? PL_RECORD_MADE : 0;
    pl_dead_letter_add(stage, &seen, &why);
}

/* Ends the call; true when it succeeded. */
static bool finish(pl_transform_stage *transform, pl_status status, pl_error *error)
{
    if (status == PL_OK && transform->call.defer_count && !keep_defers(transform, transform->call.input))
        status = no_memory(error);
    if (status == PL_OK)
        return true;
    undo(transform);
    if (error->error_class == PL_HALT)
        halt(transform, error);
    return false;
}

static void pass_on(pl_transform_stage *transform, const pl_record *record, pl_flow_batch *batch, pl_error *error)
{
    begin(transform, record, batch, record->ack, false);
    if (on_emit(transform, NULL, record, error) != PL_OK)
        halt(transform, error);
}

/* What the script writes goes into the main batch's arena. NULL: no memory. */
static pl_arena *arena_of(pl_transform_stage *transform, pl_error *error)
{
    pl_flow_batch *out = out_of(transform, 0);
    if (!out)
        (void)no_memory(error);
    return out ? out->arena : NULL;
}

static pl_status call_deferred(pl_transform_stage *transform, int ref, const pl_record *envelope, pl_error *error)
{
    pl_arena *arena = arena_of(transform, error);
    return arena ? pl_script_deferred(transform->script, ref, envelope, arena, error) : PL_FAILED;
}

static pl_status call_timer(pl_transform_stage *transform, size_t index, pl_error *error)
{
    pl_arena *arena = arena_of(transform, error);
    return arena ? pl_script_timer(transform->script, index, arena, error) : PL_FAILED;
}

/* ---- records ------------------------------------------------------------------ */

typedef struct pl_run { /* of records through the script */
    pl_transform_stage *transform;
    const pl_record *const *records;
    uint32_t count, taken;
    pl_flow_batch *batch;
    const pl_record *called; /* the script runs on it, or has; NULL: on none */
    uint64_t pending_before;
    pl_error error;
} pl_run;

/* A script whose state is rebuilt is given again what it has seen, so it makes again what it made of it; and so does
 * every script above it. */
static bool lets_go(const pl_transform_stage *transform, const pl_record *record)
{
    const pl_lanes *lanes = &transform->stage.flow->lanes;
    return transform->setup.rebuilt ? pl_lane_gave_up(lanes, record) : pl_lane_lets_go(lanes, record);
}

/* Its position is on disk, or another has it by now. */
static bool is_done_with(pl_run *run, const pl_record *record)
{
    pl_transform_stage *transform = run->transform;
    const pl_lanes *lanes = &transform->stage.flow->lanes;
    if (lets_go(transform, record))
        return true;
    if (!transform->setup.durable || record->flags & PL_RECORD_REPLAY)
        return false;
    const pl_lane *lane = pl_lane_at(lanes, record->lane);
    if (record->flags & PL_RECORD_RETURNED)
        lane = NULL; /* the checkpoint has its position already: only its input is held back */
    if (pl_checkpoint_covers(&transform->checkpoint, lane, record->position))
        return true;
    if (!pl_checkpoint_note(&transform->checkpoint, lane, record)) {
        (void)no_memory(&run->error);
        halt(transform, &run->error);
    }
    return false;
}

static void settle(pl_run *run, const pl_record *record)
{
    pl_transform_stage *transform = run->transform;
    pl_account *account = &transform->stage.account;
    bool pending = transform->pending_inputs > run->pending_before;
    if (!(record->flags & PL_RECORD_REPLAY) && !pending)
        pl_count(transform->call.given ? &account->delivered : &account->filtered, 1);
    pl_ack_pass(record->ack, transform->call.references);
}

static __attribute__((noinline, cold)) void settle_dead(pl_run *run, const pl_record *record, bool in_script)
{
    pl_transform_stage *transform = run->transform;
    if (!(record->flags & PL_RECORD_REPLAY))
        pl_count(&transform->stage.account.dead_lettered, 1);
    dead(transform, record, &run->error, in_script); /* takes over our reference */
    pl_error_open(&run->error);
}

/* Ends the call of the script that is under way. */
static void close_call(pl_run *run, pl_status status)
{
    const pl_record *record = run->called;
    run->called = NULL;
    if (finish(run->transform, status, &run->error))
        settle(run, record);
    else
        settle_dead(run, record, true);
}

/* Whether `when` lets it in; else it is settled. */
static __attribute__((noinline)) bool passes(pl_run *run, const pl_record *record)
{
    bool pass = true;
    if (pl_when_test(run->transform->when, record, &pass, &run->error) != PL_OK)
        settle_dead(run, record, false);
    else if (!pass)
        settle(run, record);
    else
        return true;
    return false;
}

/* What of a record's way comes before the script. false: it needs no script, and is settled. */
static bool open_call(pl_run *run, const pl_record *record, pl_arena **arena)
{
    pl_transform_stage *transform = run->transform;
    run->pending_before = transform->pending_inputs;
    transform->call.references = 0;
    transform->call.given = 0;
    if (is_done_with(run, record)) {
        settle(run, record);
        return false;
    }
    if (transform->when && !passes(run, record))
        return false;
    if (!transform->script) {
        pass_on(transform, record, run->batch, &run->error);
        settle(run, record);
        return false;
    }
    begin(transform, record, run->batch, record->ack, record->flags & PL_RECORD_REPLAY && transform->setup.rebuilt);
    run->called = record;
    *arena = arena_of(transform, &run->error);
    if (!*arena)
        close_call(run, PL_FAILED);
    return *arena != NULL;
}

/* The script is done with the record before. */
static const pl_record *next_record(void *self, pl_arena **arena)
{
    pl_run *run = self;
    if (run->called)
        close_call(run, PL_OK);
    while (run->taken < run->count) {
        const pl_record *record = run->records[run->taken];
        if (run->taken > 0 && pl_defers_next(&run->transform->defers) < record->time_unix_ns)
            return NULL;
        run->taken++;
        if (open_call(run, record, arena))
            return record;
    }
    return NULL;
}

static __attribute__((noinline, cold)) void close_failed(pl_run *run)
{
    pl_error error = run->error;
    pl_arena *arena;
    if (!run->called && !next_record(run, &arena)) /* no memory to begin with: that is the next record's failure */
        return;
    run->error = error;
    close_call(run, PL_FAILED);
}

uint32_t pl_transform_records(pl_transform_stage *transform, const pl_record *const *records, uint32_t count,
                              pl_flow_batch *batch)
{
    pl_run run;
    run.transform = transform;
    run.records = records;
    run.count = count;
    run.taken = 0;
    run.batch = batch;
    run.called = NULL;
    pl_error_open(&run.error);
    pl_arena *arena;
    if (!transform->script)
        (void)next_record(&run, &arena);
    else if (pl_script_records(transform->script, next_record, &run, &run.error) != PL_OK)
        close_failed(&run);
    return run.taken;
}

/* ---- deferred functions and timers ------------------------------------------------ */

/* All who asked are of lanes that were given up, and ask again where these are read next: the state is rebuilt. Without
 * that a script may remember that it asked. */
static void let_go(pl_transform_stage *transform, pl_deferred *deferred)
{
    pl_script_forget(transform->script, deferred->ref);
    pl_count(&transform->stage.account.filtered, deferred->inputs);
    transform->pending_inputs -= deferred->inputs;
    pl_deferred_release(deferred, PL_OUTCOME_FILTERED);
}

void pl_transform_deferred(pl_transform_stage *transform, pl_deferred *deferred)
{
    if (transform->setup.rebuilt && !deferred->unowned &&
        pl_lanes_gave_up_all(&transform->stage.flow->lanes, deferred->group)) {
        let_go(transform, deferred);
        return;
    }
    pl_error error = {.struct_size = sizeof error};
    pl_record *envelope = &deferred->envelope;
    envelope->ack = deferred->group;
    if (deferred->live)
        envelope->flags &= ~(uint32_t)PL_RECORD_REPLAY;
    begin(transform, envelope, deferred->batch, deferred->group, !deferred->live && transform->setup.rebuilt);
    transform->call.deferred = true;
    pl_status status = call_deferred(transform, deferred->ref, envelope, &error);
    pl_account *account = &transform->stage.account;
    _Atomic uint64_t *outcome = transform->call.given ? &account->delivered : &account->filtered;
    pl_checkpoint_touch(&transform->checkpoint);
    if (finish(transform, status, &error)) {
        pl_ack_add(deferred->group, transform->call.references);
    } else if (deferred->live) {
        outcome = &account->dead_lettered;
        pl_ack_add(deferred->group, 1); /* the dead letter's */
        dead(transform, envelope, &error, true);
    }
    pl_count(outcome, deferred->inputs);
    transform->pending_inputs -= deferred->inputs;
    pl_deferred_release(deferred, PL_OUTCOME_FILTERED);
}

void pl_transform_timer(pl_transform_stage *transform, size_t index)
{
    pl_error error = {.struct_size = sizeof error};
    begin(transform, NULL, NULL, NULL, false);
    pl_checkpoint_touch(&transform->checkpoint);
    if (finish(transform, call_timer(transform, index, &error), &error))
        pl_count(&transform->stage.account.born, transform->call.given);
    else if (error.error_class != PL_HALT)
        pl_log(PL_WARN, transform->stage.name, "%s", error.message);
}

bool pl_transform_calls_init(pl_transform_stage *transform)
{
    transform->script_host =
        (pl_script_host){.self = transform, .emit = on_emit, .defer = on_defer, .metric = on_metric};
    transform->call.keys = PL_BUF(CALL_KEYS_MAX);
    return true;
}

void pl_transform_calls_release(pl_transform_stage *transform)
{
    pl_free(transform->call.defers);
    pl_free(transform->call.marks);
    pl_buf_release(&transform->call.keys);
}
