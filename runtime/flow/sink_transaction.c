/* A sink in a transaction: begun before the first write, committed with the sources' positions once they have left. */
#include <flow/sink.h>
#include <flow/transaction.h>

enum { SOON_NS = 10 * 1000 * 1000 };

static void sooner(int64_t *resume_ns, int64_t at_ns)
{
    if (at_ns < *resume_ns)
        *resume_ns = at_ns;
}

void pl_sink_transaction_lost(pl_sink_stage *sink, const pl_error *error)
{
    if (error->error_class == PL_RETRY)
        pl_flow_start_over(sink->stage.flow, sink->stage.name, error);
    else
        pl_flow_halt(sink->stage.flow, sink->stage.name, error);
}

void pl_sink_transaction_abort(pl_sink_stage *sink)
{
    if (!sink->begun)
        return;
    pl_error error = {.struct_size = sizeof error};
    sink->begun = false;
    if (sink->setup.txn->abort(pl_instance_self(sink->setup.instance), &error) == PL_FAILED &&
        error.error_class != PL_RETRY)
        pl_flow_halt(sink->stage.flow, sink->stage.name, &error);
}

/* What a call said that changes nothing when it fails: true: it worked. Else it is called again at *resume_ns. */
static bool worked(pl_sink_stage *sink, pl_status status, const pl_error *error, int64_t *resume_ns)
{
    pl_instance_release_answers(sink->setup.instance);
    sink->now_ns = pl_flow_now(sink->stage.flow);
    if (status == PL_OK || status == PL_END) {
        pl_retry_worked(&sink->retry, &sink->stage);
        return true;
    }
    if (status == PL_AGAIN) {
        sooner(resume_ns, sink->now_ns + SOON_NS);
        return false;
    }
    pl_count(&sink->stage.account.errors, 1);
    if (error->error_class == PL_RETRY) {
        (void)pl_retry_failed(&sink->retry, &sink->stage, error, sink->now_ns);
        sooner(resume_ns, sink->retry.due_ns);
    } else {
        pl_flow_halt(sink->stage.flow, sink->stage.name, error);
    }
    return false;
}

static bool init(pl_sink_stage *sink, int64_t *resume_ns)
{
    pl_error error = {.struct_size = sizeof error};
    const pl_txn_sink *txn = sink->setup.txn;
    if (!sink->initialised)
        sink->initialised =
            !txn->init || worked(sink, txn->init(pl_instance_self(sink->setup.instance), &error), &error, resume_ns);
    return sink->initialised;
}

static bool answer(pl_sink_stage *sink, int64_t *resume_ns)
{
    const pl_txn_sink *txn = sink->setup.txn;
    pl_transaction *transaction = sink->stage.flow->transaction;
    for (const pl_lane *lane; (lane = pl_transaction_asked(transaction));) {
        uint64_t position = UINT64_MAX;
        if (txn->flags & PL_TXN_KEEPS_POSITIONS) {
            pl_error error = {.struct_size = sizeof error};
            pl_status status =
                txn->position(pl_instance_self(sink->setup.instance), PL_S(lane->name), &position, &error);
            if (status == PL_FAILED && sink->begun && error.error_class == PL_RETRY) {
                pl_instance_release_answers(sink->setup.instance);
                pl_sink_transaction_lost(sink, &error);
                return false;
            }
            if (!worked(sink, status, &error, resume_ns))
                return false;
            if (status == PL_END)
                position = UINT64_MAX;
        }
        pl_transaction_answer(transaction, lane, position);
    }
    return true;
}

static bool begin(pl_sink_stage *sink, int64_t *resume_ns)
{
    pl_error error = {.struct_size = sizeof error};
    if (sink->begun)
        return true;
    sink->begun =
        worked(sink, sink->setup.txn->begin(pl_instance_self(sink->setup.instance), &error), &error, resume_ns);
    if (sink->begun)
        pl_transaction_begun(sink->stage.flow->transaction, sink->now_ns);
    return sink->begun;
}

bool pl_sink_transaction_begin(pl_sink_stage *sink, int64_t *resume_ns)
{
    if (sink->now_ns < sink->retry.due_ns) {
        sooner(resume_ns, sink->retry.due_ns);
        return false;
    }
    return init(sink, resume_ns) && answer(sink, resume_ns) && (!sink->queue || begin(sink, resume_ns));
}

/* PL_OK: rows and positions are visible. */
static pl_status commit(pl_sink_stage *sink, pl_error *error)
{
    const pl_transaction *transaction = sink->stage.flow->transaction;
    const pl_sink *plugin = pl_instance_component(sink->setup.instance)->sink;
    void *self = pl_instance_self(sink->setup.instance);
    int64_t deadline_ns = pl_flow_deadline(sink->stage.flow, sink->now_ns);
    pl_status status = plugin->flush ? plugin->flush(self, deadline_ns, error) : PL_OK;
    if (status == PL_OK)
        status = sink->setup.txn->commit(self, transaction->positions, transaction->position_count,
                                         transaction->needs_token ? pl_buf_str(&transaction->token) : (pl_str){NULL, 0},
                                         deadline_ns, error);
    pl_instance_release_answers(sink->setup.instance);
    return status;
}

bool pl_sink_transaction_end(pl_sink_stage *sink, bool idle, int64_t *resume_ns)
{
    pl_transaction *transaction = sink->stage.flow->transaction;
    bool gathered = pl_transaction_gathered(transaction, sink->ended && idle, sink->now_ns);
    if (!gathered || !idle) {
        if (!pl_transaction_closed(transaction))
            sooner(resume_ns, atomic_load(&transaction->due_ns));
        return !pl_transaction_dirty(transaction);
    }
    pl_error error = {.struct_size = sizeof error};
    if (atomic_load(&sink->stage.flow->aborting) || !begin(sink, resume_ns))
        return false;
    pl_status status = commit(sink, &error);
    if (status == PL_AGAIN)
        sooner(resume_ns, sink->now_ns + SOON_NS);
    if (status == PL_FAILED)
        pl_sink_transaction_lost(sink, &error);
    if (status != PL_OK)
        return false;
    sink->begun = false;
    if (transaction->committed)
        transaction->committed(transaction->self);
    pl_transaction_open(transaction);
    return true;
}
