#include <base/error.h>
#include <base/mem.h>
#include <flow/dead_letter.h>
#include <flow/sink.h>
#include <flow/transaction.h>

enum {
    PACKETS_AT_ONCE = 64, /* then what is gathered gets its turn, though `when` refuses all that comes */
    FLUSH_PART = 4        /* of the memory, shared among the sinks: so much is worth a flush when it is spent */
};

static void service_wake(void *self)
{
    pl_stage_note(self);
}

/* ---- gathering ------------------------------------------------------------------ */

static pl_load *load_new(uint32_t capacity)
{
    pl_load *load = pl_calloc(1, sizeof *load);
    if (!load)
        return NULL;
    load->references = 1;
    load->records = pl_calloc(capacity, sizeof *load->records);
    if (!load->records) {
        pl_free(load);
        return NULL;
    }
    return load;
}

/* What is freed when nobody holds the batch any more. Batches that follow each other share the one they point into. */
static size_t weigh(pl_load *load, const pl_flow_batch *batch)
{
    if (batch == load->weighed)
        return 0;
    size_t bytes = batch->charged_bytes;
    for (uint32_t i = 0; i < batch->parent_count; i++)
        bytes += weigh(load, batch->parents[i]);
    if (!batch->parent_count)
        load->weighed = batch;
    return bytes;
}

static bool keep(pl_sink_stage *sink, pl_flow_batch *batch)
{
    pl_load *load = sink->gathering;
    if (load->batch_count && load->batches[load->batch_count - 1] == batch)
        return true;
    if (load->batch_count == load->batch_capacity) {
        uint32_t capacity = load->batch_capacity ? load->batch_capacity * 2 : 4;
        pl_flow_batch **grown = pl_realloc(load->batches, capacity, sizeof *grown);
        if (!grown)
            return false;
        load->batches = grown;
        load->batch_capacity = capacity;
    }
    pl_flow_batch_ref(batch, 1);
    load->batches[load->batch_count++] = batch;
    size_t bytes = weigh(load, batch);
    load->bytes += bytes;
    sink->held_bytes += bytes;
    return true;
}

/* False when the record does not come in: filtered, refused by `when`, or only rebuilding state. */
static bool wanted(pl_sink_stage *sink, const pl_record *record)
{
    pl_account *account = &sink->stage.account;
    if (record->flags & PL_RECORD_REPLAY)
        return false;
    pl_count(&account->read, 1);
    bool pass = !pl_lane_lets_go(&sink->stage.flow->lanes, record);
    pl_error error;
    pl_error_open(&error);
    if (pass && sink->when && pl_when_test(sink->when, record, &pass, &error) != PL_OK) {
        pl_dead_letter why = {"sink", "script", PL_S(error.message), 1, NULL};
        pl_count(&account->dead_lettered, 1);
        pl_dead_letter_add(&sink->stage, record, &why);
        return false;
    }
    if (!pass) {
        pl_count(&account->filtered, 1);
        pl_ack_done(record->ack, PL_OUTCOME_FILTERED);
    }
    return pass;
}

static bool gather(pl_sink_stage *sink, const pl_record *record, pl_flow_batch *batch)
{
    if (sink->gathered == sink->setup.batch_records) /* it could not be sealed: there was no memory */
        return false;
    if (!sink->gathering) {
        sink->gathering = load_new(sink->setup.batch_records);
        sink->gathered_ns = sink->now_ns;
    }
    if (!sink->gathering || !keep(sink, batch))
        return false;
    sink->gathering->records[sink->gathered++] = record;
    sink->gathered_bytes += record->payload.len + record->key.len;
    if (sink->gathered < sink->setup.batch_records && sink->gathered_bytes < sink->setup.batch_bytes)
        return true;
    return pl_sink_seal(sink);
}

/* Takes in while there is not more than one full batch waiting. */
static bool take_in(pl_sink_stage *sink)
{
    pl_packet packet;
    bool took = false;
    for (int i = 0; i < PACKETS_AT_ONCE && sink->queued_count < 2 && !sink->stage.outbox; i++) {
        if (!pl_stage_take(&sink->stage, &packet, NULL))
            break;
        took = true;
        for (uint32_t r = 0; r < packet.count; r++) {
            if (wanted(sink, packet.records[r]) && !gather(sink, packet.records[r], packet.batch))
                pl_stage_halt_no_memory(&sink->stage);
        }
        pl_flow_batch_unref(packet.batch);
    }
    return took;
}

/* ---- the step --------------------------------------------------------------------- */

static void seal_when_due(pl_sink_stage *sink, int64_t *resume_ns)
{
    if (!sink->gathered)
        return;
    int64_t due_ns = sink->gathered_ns + sink->setup.batch_wait_ns;
    if (sink->ended || sink->now_ns >= due_ns || pl_transaction_closed(sink->stage.flow->transaction)) {
        if (!pl_sink_seal(sink))
            pl_stage_halt_no_memory(&sink->stage);
    } else if (due_ns < *resume_ns) {
        *resume_ns = due_ns;
    }
}

/* Sources wait for memory, and what the plugin has taken and not settled is a good part of it. */
static bool must_free(const pl_sink_stage *sink)
{
    const pl_flow *flow = sink->stage.flow;
    return atomic_load(&flow->held_sources) && pl_memory_spent(&flow->memory) &&
           sink->held_bytes >= flow->memory.limit / FLUSH_PART / flow->sink_count;
}

/* The plugin gets to work on what it has taken: always when it woke us, and now and then. It is given time to settle
 * all when nothing more comes, or nothing can come. */
static void let_plugin_work(pl_sink_stage *sink, int64_t *resume_ns)
{
    pl_instance *instance = sink->setup.instance;
    const pl_sink *plugin = pl_instance_component(instance)->sink;
    if (!sink->taken)
        return;
    if (plugin->flush) {
        pl_error error = {.struct_size = sizeof error};
        bool all = !sink->queue && (sink->ended || must_free(sink));
        int64_t deadline_ns = all ? pl_flow_deadline(sink->stage.flow, sink->now_ns) : sink->now_ns;
        pl_status status = plugin->flush(pl_instance_self(instance), deadline_ns, &error);
        pl_instance_release_answers(instance);
        pl_sink_read_inbox(sink);
        if (status == PL_FAILED)
            pl_count(&sink->stage.account.errors, 1);
        if (status == PL_FAILED && sink->setup.txn)
            pl_sink_transaction_lost(sink, &error);
        else if (status == PL_FAILED && (error.error_class == PL_HALT || error.error_class == PL_BAD_CONFIG))
            pl_flow_halt(sink->stage.flow, sink->stage.name, &error);
    }
    int64_t look_ns = sink->now_ns + PL_FLOW_TICK_NS;
    if (sink->taken && look_ns < *resume_ns)
        *resume_ns = look_ns;
}

static pl_stepped work(pl_sink_stage *sink)
{
    pl_stage *stage = &sink->stage;
    if (atomic_load(&stage->flow->aborting)) {
        pl_sink_transaction_abort(sink);
        return pl_step_done();
    }
    int64_t resume_ns = INT64_MAX;
    if (!pl_stage_drain(stage))
        return pl_step_idle(sink->now_ns + PL_FLOW_TICK_NS);
    pl_sink_read_inbox(sink);
    sink->ended = pl_stage_inputs_ended(stage) || sink->ended;
    bool took = take_in(sink);
    seal_when_due(sink, &resume_ns);
    uint32_t queued = sink->queued_count;
    if (!sink->setup.txn || pl_sink_transaction_begin(sink, &resume_ns))
        pl_sink_write_queued(sink, &resume_ns);
    bool wrote = sink->queued_count < queued;
    let_plugin_work(sink, &resume_ns);
    pl_dead_letter_flush(stage);
    bool idle = !sink->gathered && !sink->queue && !sink->taken && !stage->outbox;
    if (sink->busy == idle)
        atomic_fetch_add(&stage->flow->busy_sinks, idle ? UINT32_MAX : 1);
    sink->busy = !idle;
    bool whole = !sink->setup.txn || pl_sink_transaction_end(sink, idle, &resume_ns);
    if (sink->ended && idle && whole && pl_stage_inputs_ended(stage)) {
        pl_stage_close(stage);
        return pl_step_done();
    }
    return took || wrote ? pl_step_again() : pl_step_idle(resume_ns);
}

static pl_stepped step(pl_stage *stage, int64_t now_ns)
{
    pl_sink_stage *sink = (pl_sink_stage *)stage;
    sink->now_ns = now_ns;
    pl_stepped next = work(sink);
    pl_flow_tell_settled(stage->flow);
    return next;
}

/* ---- life --------------------------------------------------------------------------- */

static void release(pl_stage *stage)
{
    pl_sink_stage *sink = (pl_sink_stage *)stage;
    pl_sink_drop_writes(sink);
    pl_when_free(&sink->when);
    pl_free(sink->inbox.items);
    pl_free(sink->working.items);
    pthread_mutex_destroy(&sink->inbox.lock);
    pl_stage_release_base(stage);
}

pl_sink_stage *pl_sink_stage_new(pl_flow *flow, const pl_sink_setup *setup, const char *name, pl_error *error)
{
    pl_sink_stage *sink = pl_calloc(1, sizeof *sink);
    if (!sink || pthread_mutex_init(&sink->inbox.lock, NULL) != 0) {
        pl_free(sink);
        (void)pl_fail(error, PL_HALT, "no memory");
        return NULL;
    }
    sink->stage.flow = flow;
    sink->stage.name = name;
    sink->stage.step = step;
    sink->stage.release = release;
    atomic_init(&sink->stage.record_ns, 1);
    sink->setup = *setup;
    sink->retry.policy = setup->retry;
    pl_services services = {.self = sink, .settle = pl_sink_settle, .wake = service_wake};
    pl_instance_serve(setup->instance, &services);
    if (setup->when)
        sink->when = pl_when_new(setup->when, setup->when_path, setup->when_line, flow->clock, error);
    if (setup->when && !sink->when) {
        release(&sink->stage);
        pl_free(sink);
        return NULL;
    }
    sink->stage.next_alike = flow->sinks;
    flow->sinks = &sink->stage;
    flow->sink_count++;
    return sink;
}
