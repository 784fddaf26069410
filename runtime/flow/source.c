#include <base/log.h>
#include <base/mem.h>
#include <flow/dead_letter.h>
#include <flow/source.h>
#include <flow/source_buffer.h>
#include <flow/transaction.h>

enum {
    RECORD_BYTES = sizeof(pl_record) + sizeof(pl_ack), /* what a record takes beside its payload, at least */
    NEXTS_A_BATCH = 64
};

static const int64_t LEAN_AFTER_NS = 1000000000;

static bool service_emit(void *self, const pl_emission *emission)
{
    return pl_source_emit(self, emission);
}

static uint32_t service_lane_open(void *self, pl_str name)
{
    pl_lane *lane = pl_source_open_lane(self, name);
    return lane ? lane->index : PL_LANE_NONE;
}

static void service_lane_close(void *self, uint32_t lane, int64_t deadline_ns, uint64_t *settled_position)
{
    pl_source_close_lane(self, lane, deadline_ns, settled_position);
}

static void service_wake(void *self)
{
    pl_source_stage *source = self;
    atomic_store(&source->woken, true);
    pl_stage_note(&source->stage);
}

static void halt(pl_source_stage *source, const pl_error *error)
{
    pl_flow_halt(source->stage.flow, source->stage.name, error);
}

/* ---- lanes ------------------------------------------------------------------------ */

static bool grow(pl_lane ***list, size_t capacity)
{
    pl_lane **grown = pl_realloc((void *)*list, capacity, sizeof *grown);
    if (grown)
        *list = grown;
    return grown != NULL;
}

/* The last lane of that name, if it was given up and has something out. */
static pl_lane *given_up(const pl_source_stage *source, const char *name)
{
    pl_lane *last = NULL;
    for (size_t i = 0; i < source->out_count; i++) {
        pl_lane *lane = source->out[i];
        if (lane->abandoned && strcmp(lane->name, name) == 0 && (!last || lane->index > last->index))
            last = lane;
    }
    return last;
}

pl_lane *pl_source_open_lane(pl_source_stage *source, pl_str name)
{
    pl_lane *known = source->buffer ? pl_source_buffer_find(source, name) : NULL;
    if (known)
        return known;
    if (source->lane_count == source->lane_capacity) { /* each list has room for all */
        size_t capacity = source->lane_capacity ? source->lane_capacity * 2 : 8;
        if (!grow(&source->lanes, capacity) || !grow(&source->out, capacity) || !grow(&source->told, capacity) ||
            (source->txn && !grow(&source->unsought, capacity)))
            return NULL;
        source->lane_capacity = capacity;
    }
    pl_lane *lane = pl_lane_open(&source->stage.flow->lanes, source->setup.rank, name);
    if (!lane)
        return NULL;
    source->lanes[source->lane_count++] = lane;
    lane->before = given_up(source, lane->name);
    if (source->txn) {
        lane->open = false; /* until it was sought */
        source->unsought[source->unsought_count++] = lane;
    }
    pl_source_tell_of(source, lane);
    if (source->buffer && !pl_source_buffer_adopt(source, lane))
        return NULL;
    return lane;
}

void pl_source_tell_of(pl_source_stage *source, pl_lane *lane)
{
    if (lane->news)
        return;
    lane->news = true;
    source->told[source->told_count++] = lane;
}

bool pl_source_track(pl_source_stage *source, pl_lane *lane, pl_ack *ack)
{
    if (!lane->listed)
        source->out[source->out_count++] = lane;
    lane->listed = true;
    ack->lane = lane->index;
    return pl_lane_push(lane, ack);
}

static bool add_marks(pl_source_stage *source, const pl_port *port)
{
    bool ok = true;
    if (!source->marks_known)
        source->marks_wanted = port && pl_port_reads_marks(port);
    source->marks_known = true;
    bool wanted = source->told_count && source->marks_wanted;
    if (wanted && !source->building)
        source->building = pl_flow_batch_new(&source->stage.flow->memory);
    for (size_t i = 0; i < source->told_count; i++) {
        pl_lane *lane = source->told[i];
        lane->news = false;
        if (wanted)
            ok = ok && source->building &&
                 pl_flow_batch_mark(source->building, (pl_lane_mark){lane, lane->newest_unix_ns, lane->at_end});
    }
    source->told_count = 0;
    return ok;
}

void pl_source_publish(pl_source_stage *source)
{
    pl_stage *stage = &source->stage;
    pl_port *port = pl_stage_port(stage, NULL);
    if (!add_marks(source, port))
        pl_stage_halt_no_memory(&source->stage);
    pl_flow_batch *batch = source->building;
    source->building = NULL;
    if (!batch)
        return;
    uint32_t edges = pl_port_references(port);
    for (uint32_t i = 0; i < batch->count; i++) {
        if (edges != 1)
            pl_ack_pass(batch->records[i]->ack, edges);
    }
    if (!pl_stage_send(stage, port, batch))
        pl_stage_halt_no_memory(&source->stage);
}

bool pl_source_hand_on(pl_source_stage *source)
{
    bool any = source->building || source->stage.dead_batch;
    if (any && source->txn && !pl_source_enter(source))
        return false;
    pl_source_publish(source);
    pl_dead_letter_flush(&source->stage);
    return true;
}

/* ---- what is settled ---------------------------------------------------------------- */

pl_ack_block *pl_source_take_block(pl_source_stage *source)
{
    pl_ack_block *block = source->spare;
    if (!block)
        return pl_ack_block_new(PL_SOURCE_BATCH_RECORDS);
    source->spare = block->next;
    source->spare_count--;
    block->next = NULL;
    block->count = block->popped = 0;
    return block;
}

void pl_source_retire_block(pl_source_stage *source, pl_ack_block *block)
{
    if (source->spare_count == PL_SOURCE_SPARE_BLOCKS) {
        pl_free(block);
        return;
    }
    block->next = source->spare;
    source->spare = block;
    source->spare_count++;
}

static void retire(pl_source_stage *source, pl_ack_block *block)
{
    if (++block->popped == block->count && block != source->block)
        pl_source_retire_block(source, block);
}

static void collect_lane(pl_source_stage *source, pl_lane *lane)
{
    pl_account *account = &source->stage.account;
    pl_outcome outcome;
    for (pl_ack *ack; (ack = pl_lane_pop(lane, &outcome)); retire(source, ack->block)) {
        if (lane->abandoned) /* it counts as never read */
            continue;
        pl_count(outcome == PL_OUTCOME_DEAD        ? &account->dead_lettered
                 : outcome == PL_OUTCOME_DELIVERED ? &account->delivered
                                                   : &account->filtered,
                 1);
        lane->settled_position = ack->position;
        lane->settled_any = true;
        lane->commit_due = true;
    }
}

static bool may_commit(const pl_source_stage *source, const pl_lane *lane, uint64_t *position)
{
    *position = lane->settled_position;
    return !source->setup.settled || source->setup.settled(source->setup.self, lane->index, position);
}

bool pl_source_pauses_commits(const pl_source_stage *source)
{
    return pl_flow_now(source->stage.flow) < source->commit_retry.due_ns;
}

bool pl_source_committed(pl_source_stage *source, pl_status status, const pl_error *error)
{
    pl_retry *retry = &source->commit_retry;
    if (status != PL_FAILED)
        pl_retry_worked(retry, &source->stage);
    else if (error->error_class == PL_RETRY)
        (void)pl_retry_failed(retry, &source->stage, error, pl_flow_now(source->stage.flow));
    else
        halt(source, error);
    return status != PL_FAILED;
}

static void commit_lane(pl_source_stage *source, pl_lane *lane)
{
    uint64_t position;
    if (source->txn) /* the sink commits it, see pl_source_leave */
        return;
    const pl_source *plugin = pl_instance_component(source->setup.instance)->source;
    bool commits = plugin && plugin->commit && !source->buffer;
    if (commits && (pl_source_pauses_commits(source) || pl_lane_is_preceded(lane)))
        return;
    lane->commit_due = false;
    if (source->buffer)
        pl_source_buffer_settled(source, lane);
    if (!commits || !may_commit(source, lane, &position))
        return;
    pl_error error = {.struct_size = sizeof error};
    pl_status status = plugin->commit(pl_instance_self(source->setup.instance), lane->index, position, &error);
    lane->commit_due = !pl_source_committed(source, status, &error);
}

void pl_source_collect(pl_source_stage *source)
{
    size_t kept = 0;
    for (size_t i = 0; i < source->out_count; i++)
        collect_lane(source, source->out[i]);
    if (source->inside)
        pl_source_leave(source);
    for (size_t i = 0; i < source->out_count; i++) {
        pl_lane *lane = source->out[i];
        if (lane->commit_due && lane->open)
            commit_lane(source, lane);
        lane->listed = lane->count || (lane->commit_due && lane->open);
        if (lane->listed)
            source->out[kept++] = lane;
    }
    source->out_count = kept;
    if (source->poll.items)
        pl_poller_collect(source);
}

/* What the lane still has out counts as never read: whoever reads it next counts it. It stays in the list of lanes that
 * have something out until that is settled. */
static void abandon(pl_source_stage *source, pl_lane *lane)
{
    if (!lane->count)
        return;
    atomic_fetch_sub(&source->stage.account.read, lane->count);
    pl_lane_abandon(&source->stage.flow->lanes, lane);
}

static void tell_end(pl_source_stage *source, pl_lane *lane, bool at_end)
{
    lane->at_end = at_end;
    pl_source_tell_of(source, lane);
    pl_source_publish(source);
}

void pl_source_close_lane(pl_source_stage *source, uint32_t index, int64_t deadline_ns, uint64_t *settled_position)
{
    pl_flow *flow = source->stage.flow;
    pl_lane *lane = pl_lane_at(&flow->lanes, index);
    *settled_position = UINT64_MAX;
    for (size_t i = 0; i < source->unsought_count; i++)
        if (source->unsought[i] == lane) {
            source->unsought[i] = source->unsought[--source->unsought_count];
            pl_transaction_forget(flow->transaction, lane);
        }
    if (!lane || !lane->open)
        return;
    if (source->buffer) {
        pl_source_buffer_close_lane(source, lane, settled_position);
        return;
    }
    if (source->txn) {
        pl_source_close_committed(source, lane, deadline_ns, settled_position);
        return;
    }
    /* Its end makes what waits for event time go on, so that it is settled. But a script whose state is rebuilt makes
     * all of that again where the lane is read next, and with what comes until then. */
    atomic_fetch_add(&flow->closing_sources, flow->rebuilds ? 1 : 0);
    tell_end(source, lane, !flow->rebuilds);
    pl_dead_letter_flush(&source->stage);
    for (;;) {
        (void)pl_stage_take_note(&source->stage);
        (void)pl_stage_drain(&source->stage);
        for (pl_lane *at = lane; at; at = at->before)
            collect_lane(source, at);
        bool settled = lane->count == 0 && !pl_lane_is_preceded(lane);
        if (settled || flow->seeded || pl_flow_now(flow) >= deadline_ns || atomic_load(&flow->aborting))
            break;
        if (source->stage.rest)
            source->stage.rest(source->stage.driver, deadline_ns);
    }
    lane->open = false;
    abandon(source, lane);
    if (flow->rebuilds) {
        tell_end(source, lane, true);
        atomic_fetch_sub(&flow->closing_sources, 1);
    }
    uint64_t position;
    if (lane->settled_any && !pl_lane_is_preceded(lane) && may_commit(source, lane, &position))
        *settled_position = position;
}

/* ---- reading ------------------------------------------------------------------------ */

static pl_status call_next(pl_source_stage *source, int64_t now_ns, int64_t deadline_ns, pl_error *error)
{
    pl_instance *instance = source->setup.instance;
    const pl_component *component = pl_instance_component(instance);
    int64_t resume_ns = now_ns + PL_FLOW_TICK_NS;
    pl_status status = component->poller
                           ? pl_poller_next(source, now_ns, &resume_ns, error)
                           : component->source->next(pl_instance_self(instance), deadline_ns, &resume_ns, error);
    pl_instance_release_answers(instance);
    source->resume_ns = status == PL_AGAIN ? resume_ns : 0;
    return status;
}

/* Those below have not come to what they were given before, and the batch has room. */
static bool may_wait(pl_source_stage *source)
{
    const pl_flow_batch *batch = source->building;
    return batch && batch->count && !pl_source_full(source) &&
           !pl_port_wants(pl_stage_port(&source->stage, NULL), batch->count);
}

/* One batch: what is there at once goes on at once when somebody below waits for it; else more of what is ready joins
 * it. So batches are small when there is little to do, and large when there is much. */
static pl_status fill_batch(pl_source_stage *source, int64_t now_ns, int64_t deadline_ns, pl_error *error)
{
    bool polls = pl_instance_component(source->setup.instance)->poller != NULL;
    pl_status status = call_next(source, now_ns, deadline_ns, error);
    for (int i = 0; status == PL_OK && !polls && i < NEXTS_A_BATCH && may_wait(source); i++) {
        status = call_next(source, now_ns, now_ns, error);
        if (status != PL_AGAIN)
            continue;
        source->resume_ns = 0; /* it was not given the time to wait: the next call is */
        return PL_OK;
    }
    return status;
}

/* After a busy time, what it had needed goes back to the system. */
static void rest_memory(pl_source_stage *source, pl_status status, int64_t now_ns)
{
    if (status != PL_AGAIN) {
        source->busy_ns = now_ns;
        source->lean = false;
    } else if (!source->lean && now_ns - source->busy_ns >= LEAN_AFTER_NS && pl_source_in_flight(source) == 0) {
        source->lean = true;
        if (pl_chunk_pool_trim(source->stage.flow->memory.chunks))
            pl_mem_trim();
    }
}

pl_status pl_source_call(pl_source_stage *source, int64_t now_ns, int64_t deadline_ns)
{
    pl_stage *stage = &source->stage;
    pl_error error = {.struct_size = sizeof error};
    pl_retry_begin(&source->retry, stage);
    pl_status status = fill_batch(source, now_ns, deadline_ns, &error);
    (void)pl_source_hand_on(source);
    rest_memory(source, status, now_ns);
    if (status != PL_FAILED) {
        pl_retry_worked(&source->retry, stage);
        return status;
    }
    pl_count(&stage->account.errors, 1);
    if (error.error_class == PL_HALT || error.error_class == PL_BAD_CONFIG ||
        !pl_retry_failed(&source->retry, stage, &error, pl_flow_now(stage->flow)))
        halt(source, &error);
    pl_count(&stage->account.retries, 1);
    return status;
}

void pl_source_end(pl_source_stage *source)
{
    for (size_t i = 0; i < source->lane_count; i++) {
        if (!source->lanes[i]->open)
            continue;
        source->lanes[i]->at_end = true;
        pl_source_tell_of(source, source->lanes[i]);
    }
    (void)pl_source_hand_on(source);
    source->state = PL_SOURCE_DRAINS;
}

/* Each source has a share of its own: what the others have handed over may wait, in event time, for this one to go on.
 */
bool pl_source_admitted(const pl_source_stage *source)
{
    const pl_memory *memory = &source->stage.flow->memory;
    const pl_account *account = &source->stage.account;
    uint64_t out = pl_source_in_flight(source);
    if (source->txn && out > source->most_out)
        return false;
    if (out == 0 || !pl_memory_spent(memory))
        return true;
    uint64_t mean_bytes = pl_counted(&account->bytes) / pl_counted(&account->read) + RECORD_BYTES;
    return out < source->setup.share_bytes / mean_bytes;
}

void pl_source_hold_up(pl_source_stage *source, bool held)
{
    if (held != source->held)
        atomic_fetch_add(&source->stage.flow->held_sources, held ? 1 : UINT32_MAX);
    source->held = held;
    if (held)
        pl_flow_tell_held(source->stage.flow);
}

static pl_stepped run(pl_source_stage *source, int64_t now_ns)
{
    if (now_ns < source->resume_ns && !atomic_exchange(&source->woken, false))
        return pl_step_idle(source->resume_ns);
    source->resume_ns = 0; /* so that a wake is not forgotten if there is no memory for it now */
    if (now_ns < source->retry.due_ns)
        return pl_step_idle(source->retry.due_ns);
    atomic_store(&source->waits_for_memory, true);
    pl_source_hold_up(source, !pl_source_admitted(source));
    if (source->held)
        return pl_step_idle(INT64_MAX);
    atomic_store(&source->waits_for_memory, false);
    if (pl_source_call(source, now_ns, pl_source_deadline(source, now_ns)) == PL_END)
        pl_source_end(source);
    return pl_step_again();
}

uint64_t pl_source_settled(const pl_source_stage *source)
{
    const pl_account *account = &source->stage.account;
    return pl_counted(&account->delivered) + pl_counted(&account->filtered) + pl_counted(&account->dead_lettered);
}

uint64_t pl_source_in_flight(const pl_source_stage *source)
{
    uint64_t settled = pl_source_settled(source), read = pl_counted(&source->stage.account.read);
    return read > settled ? read - settled : 0;
}

static pl_stepped work(pl_source_stage *source, int64_t now_ns)
{
    pl_stage *stage = &source->stage;
    if (atomic_load(&stage->flow->aborting)) {
        pl_source_collect(source);
        return pl_step_done();
    }
    bool drained = pl_stage_drain(stage);
    if (source->txn)
        drained = pl_source_hand_on(source) && drained;
    pl_source_collect(source);
    if (source->unsought_count)
        pl_source_seek(source);
    if (source->state == PL_SOURCE_RUNS) {
        if (atomic_load(&stage->flow->stopping)) {
            if (source->buffer && !pl_source_buffer_stop(source, drained))
                return pl_step_idle(now_ns + PL_FLOW_TICK_NS);
            pl_source_end(source);
            pl_source_hold_up(source, false);
            return pl_step_again();
        }
        if (source->buffer)
            return pl_source_buffer_run(source, drained, now_ns);
        if (source->inside && pl_transaction_closed(stage->flow->transaction))
            return pl_step_idle(now_ns + PL_FLOW_TICK_NS); /* settled records wake it, and then the open gate */
        if (!drained)
            pl_source_hold_up(source, true);
        return drained ? run(source, now_ns) : pl_step_idle(INT64_MAX);
    }
    if (drained && source->state == PL_SOURCE_DRAINS) {
        pl_stage_close(stage);
        source->state = PL_SOURCE_ENDED;
    }
    if (source->state == PL_SOURCE_ENDED && !source->out_count && !source->inside)
        return pl_step_done();
    return pl_step_idle(now_ns + PL_FLOW_TICK_NS);
}

static pl_stepped step(pl_stage *stage, int64_t now_ns)
{
    pl_source_stage *source = (pl_source_stage *)stage;
    pl_stepped next = work(source, now_ns);
    int64_t due_ns = source->commit_retry.due_ns;
    if (next.state == PL_STEP_IDLE && due_ns > now_ns && due_ns < next.resume_ns)
        next.resume_ns = due_ns;
    pl_flow_tell_settled(stage->flow); /* what nobody reads is settled here */
    return next;
}

static void free_blocks(pl_ack_block *block)
{
    for (pl_ack_block *next; block; block = next) {
        next = block->next;
        pl_free(block);
    }
}

static void release(pl_stage *stage)
{
    pl_source_stage *source = (pl_source_stage *)stage;
    for (size_t i = 0; i < source->lane_count; i++)
        for (pl_lane *lane = source->lanes[i]; lane->count; lane->count--) {
            pl_ack *ack = lane->ring[lane->head];
            lane->head = (lane->head + 1) & (lane->capacity - 1);
            if (++ack->block->popped == ack->block->count && ack->block != source->block)
                pl_free(ack->block);
        }
    free_blocks(source->spare);
    pl_free(source->block);
    pl_flow_batch_unref(source->building);
    pl_document_free(&source->document);
    pl_free((void *)source->lanes);
    pl_free((void *)source->out);
    pl_free((void *)source->told);
    pl_free((void *)source->unsought);
    pl_poller_release(source);
    pl_source_buffer_free(source);
    pl_stage_release_base(stage);
}

pl_source_stage *pl_source_stage_new(pl_flow *flow, const pl_source_setup *setup)
{
    pl_source_stage *source = pl_calloc(1, sizeof *source);
    pl_document *document = pl_document_new();
    if (source)
        source->setup = *setup;
    if (!source || !document || !pl_source_buffer_attach(source)) {
        pl_free(source);
        pl_document_free(&document);
        return NULL;
    }
    source->stage.flow = flow;
    source->stage.step = step;
    source->stage.release = release;
    source->retry.policy = setup->retry;
    source->commit_retry.policy = (pl_retry_policy){.min_ns = 100000000, .max_ns = 5000000000};
    source->document = document;
    source->txn = setup->txn;
    source->most_out = PL_SOURCE_BATCH_RECORDS;
    pl_services services = {.self = source,
                            .emit = service_emit,
                            .lane_open = service_lane_open,
                            .lane_close = service_lane_close,
                            .wake = service_wake};
    pl_instance_serve(setup->instance, &services);
    source->stage.next_alike = flow->sources;
    flow->sources = &source->stage;
    return source;
}

void pl_source_memory_freed(pl_source_stage *source)
{
    if (atomic_exchange(&source->waits_for_memory, false))
        pl_stage_note(&source->stage);
}
