#include <base/mem.h>
#include <flow/stage.h>
#include <flow/transaction.h>

enum { TOKEN_MAX_BYTES = 1 << 20 };

pl_transaction *pl_transaction_new(pl_flow *flow, int64_t every_ns)
{
    pl_transaction *transaction = pl_calloc(1, sizeof *transaction);
    if (!transaction || pthread_mutex_init(&transaction->lock, NULL) != 0) {
        pl_free(transaction);
        return NULL;
    }
    transaction->flow = flow;
    transaction->every_ns = every_ns;
    transaction->token = PL_BUF(TOKEN_MAX_BYTES);
    atomic_init(&transaction->due_ns, INT64_MAX);
    return transaction;
}

void pl_transaction_free(pl_transaction **transaction)
{
    pl_transaction *gone = *transaction;
    if (!gone)
        return;
    pl_free(gone->positions);
    pl_free(gone->asks);
    pl_buf_release(&gone->token);
    pthread_mutex_destroy(&gone->lock);
    pl_free(gone);
    *transaction = NULL;
}

static void note_all(pl_stage *stages)
{
    for (pl_stage *stage = stages; stage; stage = stage->next_alike)
        pl_stage_note(stage);
}

void pl_transaction_want(pl_transaction *transaction)
{
    pthread_mutex_lock(&transaction->lock);
    bool news = !transaction->wanted;
    transaction->wanted = true;
    pthread_mutex_unlock(&transaction->lock);
    if (news)
        pl_stage_note(transaction->sink);
}

/* ---- the sources' side ------------------------------------------------------------ */

bool pl_transaction_enter(pl_transaction *transaction, bool *inside)
{
    if (*inside)
        return !pl_transaction_closed(transaction);
    bool first = false;
    pthread_mutex_lock(&transaction->lock);
    bool closed = atomic_load(&transaction->closed);
    if (!closed) {
        first = !pl_transaction_dirty(transaction);
        if (first)
            atomic_store(&transaction->due_ns, pl_flow_now(transaction->flow) + transaction->every_ns);
        transaction->inside++;
        *inside = true;
    }
    pthread_mutex_unlock(&transaction->lock);
    if (first)
        pl_stage_note(transaction->sink);
    return !closed;
}

static bool add_position(pl_transaction *transaction, const pl_lane *lane)
{
    if (transaction->position_count == transaction->position_capacity) {
        uint32_t capacity = transaction->position_capacity ? transaction->position_capacity * 2 : 16;
        pl_txn_position *grown = pl_realloc(transaction->positions, capacity, sizeof *grown);
        if (!grown)
            return false;
        transaction->positions = grown;
        transaction->position_capacity = capacity;
    }
    transaction->positions[transaction->position_count++] = (pl_txn_position){PL_S(lane->name), lane->settled_position};
    return true;
}

bool pl_transaction_leave(pl_transaction *transaction, pl_lane *const *lanes, size_t count, pl_str token, bool *inside)
{
    bool ok = true;
    pthread_mutex_lock(&transaction->lock);
    for (size_t i = 0; ok && i < count; i++) {
        if (lanes[i]->commit_due)
            ok = add_position(transaction, lanes[i]);
        lanes[i]->commit_due = false;
    }
    if (token.ptr) {
        pl_buf_clear(&transaction->token);
        pl_buf_add(&transaction->token, token.ptr, token.len);
        ok = ok && !pl_buf_failed(&transaction->token);
    }
    *inside = false;
    bool last = --transaction->inside == 0;
    pthread_mutex_unlock(&transaction->lock);
    if (last)
        pl_stage_note(transaction->sink);
    return ok;
}

static pl_transaction_ask *find(pl_transaction *transaction, const pl_lane *lane)
{
    for (size_t i = 0; i < transaction->ask_count; i++)
        if (transaction->asks[i].lane == lane)
            return &transaction->asks[i];
    return NULL;
}

static bool add_ask(pl_transaction *transaction, pl_lane *lane)
{
    if (transaction->ask_count == transaction->ask_capacity) {
        size_t capacity = transaction->ask_capacity ? transaction->ask_capacity * 2 : 16;
        pl_transaction_ask *grown = pl_realloc(transaction->asks, capacity, sizeof *grown);
        if (!grown)
            return false;
        transaction->asks = grown;
        transaction->ask_capacity = capacity;
    }
    transaction->asks[transaction->ask_count++] = (pl_transaction_ask){.lane = lane};
    return true;
}

bool pl_transaction_where(pl_transaction *transaction, pl_lane *lane, uint64_t *position, bool *failed)
{
    pthread_mutex_lock(&transaction->lock);
    pl_transaction_ask *ask = find(transaction, lane);
    bool asks = !ask, known = ask && ask->answered;
    if (asks)
        *failed = !add_ask(transaction, lane);
    if (known) {
        *position = ask->position;
        *ask = transaction->asks[--transaction->ask_count];
    }
    pthread_mutex_unlock(&transaction->lock);
    if (asks)
        pl_stage_note(transaction->sink);
    return known;
}

void pl_transaction_forget(pl_transaction *transaction, const pl_lane *lane)
{
    pthread_mutex_lock(&transaction->lock);
    pl_transaction_ask *ask = find(transaction, lane);
    if (ask)
        *ask = transaction->asks[--transaction->ask_count];
    pthread_mutex_unlock(&transaction->lock);
}

/* ---- the sink's side ----------------------------------------------------------------- */

pl_lane *pl_transaction_asked(pl_transaction *transaction)
{
    pl_lane *lane = NULL;
    pthread_mutex_lock(&transaction->lock);
    for (size_t i = 0; !lane && i < transaction->ask_count; i++)
        if (!transaction->asks[i].answered)
            lane = transaction->asks[i].lane;
    pthread_mutex_unlock(&transaction->lock);
    return lane;
}

void pl_transaction_answer(pl_transaction *transaction, const pl_lane *lane, uint64_t position)
{
    pthread_mutex_lock(&transaction->lock);
    pl_transaction_ask *ask = find(transaction, lane);
    if (ask) {
        ask->position = position;
        ask->answered = true;
    }
    pthread_mutex_unlock(&transaction->lock);
    note_all(transaction->flow->sources);
}

void pl_transaction_begun(pl_transaction *transaction, int64_t now_ns)
{
    pthread_mutex_lock(&transaction->lock);
    if (!pl_transaction_dirty(transaction))
        atomic_store(&transaction->due_ns, now_ns + transaction->every_ns);
    pthread_mutex_unlock(&transaction->lock);
}

bool pl_transaction_gathered(pl_transaction *transaction, bool last, int64_t now_ns)
{
    pthread_mutex_lock(&transaction->lock);
    bool was_closed = atomic_load(&transaction->closed);
    bool closed = was_closed || (pl_transaction_dirty(transaction) &&
                                 (last || transaction->wanted || now_ns >= atomic_load(&transaction->due_ns)));
    atomic_store_explicit(&transaction->closed, closed, memory_order_release);
    bool gathered = closed && transaction->inside == 0;
    pthread_mutex_unlock(&transaction->lock);
    if (closed && !was_closed) {
        note_all(transaction->flow->sources);
        note_all(transaction->flow->sinks); /* what they have gathered waits for no more */
    }
    return gathered;
}

void pl_transaction_open(pl_transaction *transaction)
{
    pthread_mutex_lock(&transaction->lock);
    transaction->position_count = 0;
    pl_buf_clear(&transaction->token);
    transaction->wanted = false;
    atomic_store(&transaction->due_ns, INT64_MAX);
    atomic_store(&transaction->closed, false);
    pthread_mutex_unlock(&transaction->lock);
    note_all(transaction->flow->sources);
}
