/* A source in a transaction: it leaves with its positions, its lanes are told where to go on, and none is given up
 * before it is committed. */
#include <flow/source.h>
#include <flow/transaction.h>

enum { OUT_SHARE = 4, OUT_LEAST_NS = 100 * 1000 * 1000, DUE_POLL_NS = 1000 * 1000 };

int64_t pl_source_deadline(const pl_source_stage *source, int64_t now_ns)
{
    int64_t deadline_ns = pl_flow_deadline(source->stage.flow, now_ns);
    if (!source->inside)
        return deadline_ns;
    int64_t due_ns = atomic_load(&source->stage.flow->transaction->due_ns);
    int64_t soon_ns = now_ns + DUE_POLL_NS; /* the gate closes in a moment */
    return due_ns < soon_ns && soon_ns < deadline_ns ? soon_ns : due_ns < deadline_ns ? due_ns : deadline_ns;
}

bool pl_source_enter(pl_source_stage *source)
{
    bool inside = source->inside;
    if (!pl_transaction_enter(source->stage.flow->transaction, &source->inside))
        return false;
    if (!inside) {
        source->entered_ns = pl_flow_now(source->stage.flow);
        source->settled_before = pl_source_settled(source);
    }
    return true;
}

/* Systems end a transaction that takes too long, so there is as much inside as is settled in a part of commit_every. */
static void bound(pl_source_stage *source)
{
    int64_t took_ns = pl_flow_now(source->stage.flow) - source->entered_ns;
    int64_t span_ns = source->stage.flow->transaction->every_ns / OUT_SHARE;
    double share = (double)(span_ns > OUT_LEAST_NS ? span_ns : OUT_LEAST_NS) / (double)(took_ns > 0 ? took_ns : 1);
    double most = share * (double)(pl_source_settled(source) - source->settled_before);
    source->most_out = most > PL_SOURCE_BATCH_RECORDS ? (uint64_t)most : PL_SOURCE_BATCH_RECORDS;
}

/* What was read and not handed over: the next transaction has it. */
static uint64_t kept(const pl_source_stage *source)
{
    const pl_flow_batch *batch = source->building, *letters = source->stage.dead_batch;
    return (batch ? batch->count : 0) + (letters ? letters->count : 0);
}

static bool fail(pl_source_stage *source, const pl_error *error)
{
    if (error->error_class == PL_RETRY)
        pl_flow_start_over(source->stage.flow, source->stage.name, error);
    else
        pl_flow_halt(source->stage.flow, source->stage.name, error);
    return false;
}

static bool take_token(pl_source_stage *source, pl_str *token)
{
    *token = (pl_str){NULL, 0};
    if (!source->stage.flow->transaction->needs_token || !source->txn->group_token)
        return true;
    pl_error error = {.struct_size = sizeof error};
    return source->txn->group_token(pl_instance_self(source->setup.instance), token, &error) == PL_OK ||
           fail(source, &error);
}

void pl_source_leave(pl_source_stage *source)
{
    pl_transaction *transaction = source->stage.flow->transaction;
    pl_str token;
    if (!pl_transaction_closed(transaction) || pl_source_in_flight(source) != kept(source) ||
        !take_token(source, &token))
        return;
    bound(source);
    if (!pl_transaction_leave(transaction, source->out, source->out_count, token, &source->inside))
        pl_stage_halt_no_memory(&source->stage);
}

void pl_source_seek(pl_source_stage *source)
{
    size_t waiting = 0;
    for (size_t i = 0; i < source->unsought_count; i++) {
        pl_lane *lane = source->unsought[i];
        pl_error error = {.struct_size = sizeof error};
        uint64_t position;
        bool failed = false;
        if (!pl_transaction_where(source->stage.flow->transaction, lane, &position, &failed)) {
            source->unsought[waiting++] = lane;
            if (failed)
                pl_stage_halt_no_memory(&source->stage);
            continue;
        }
        lane->open = true;
        if (source->txn->seek(pl_instance_self(source->setup.instance), lane->index, position, &error) != PL_OK)
            (void)fail(source, &error);
    }
    source->unsought_count = waiting;
}

void pl_source_close_committed(pl_source_stage *source, pl_lane *lane, int64_t deadline_ns, uint64_t *settled_position)
{
    pl_stage *stage = &source->stage;
    pl_transaction *transaction = stage->flow->transaction;
    lane->at_end = true;
    for (;;) {
        (void)pl_stage_take_note(stage);
        bool handed_on = pl_stage_drain(stage) && pl_source_hand_on(source);
        pl_source_collect(source);
        if (handed_on && !source->inside && !pl_transaction_closed(transaction))
            break;
        if (source->inside)
            pl_transaction_want(transaction);
        if (stage->flow->seeded || pl_flow_now(stage->flow) >= deadline_ns || atomic_load(&stage->flow->aborting)) {
            pl_error error = {.struct_size = sizeof error};
            (void)pl_fail(&error, PL_RETRY, "'%s' was taken away before its records could be committed", lane->name);
            (void)fail(source, &error);
            lane->open = false;
            return;
        }
        if (stage->rest)
            stage->rest(stage->driver, deadline_ns);
    }
    lane->open = false;
    if (lane->settled_any)
        *settled_position = lane->settled_position;
}
