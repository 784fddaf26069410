/* Batches in the hands of the plugin: writing, settling, retrying, halving. */
#include <base/log.h>
#include <base/mem.h>
#include <flow/dead_letter.h>
#include <flow/sink.h>

enum { PLUGIN_SAYS_NOTHING = 100 }; /* ms between looks at a plugin that neither wakes nor settles */

static void halt(pl_sink_stage *sink, const pl_error *error)
{
    pl_flow_halt(sink->stage.flow, sink->stage.name, error);
}

static void load_unref(pl_sink_stage *sink, pl_load *load)
{
    if (!load || --load->references)
        return;
    sink->held_bytes -= load->bytes;
    for (uint32_t i = 0; i < load->batch_count; i++)
        pl_flow_batch_unref(load->batches[i]);
    pl_free(load->batches);
    pl_free((void *)load->records);
    pl_free(load);
}

static pl_write *write_new(pl_load *load, const pl_record **records, uint32_t count, uint32_t attempts)
{
    pl_write *write = pl_calloc(1, sizeof *write + count);
    if (!write)
        return NULL;
    load->references++;
    *write = (pl_write){.load = load,
                        .records = records,
                        .states = (uint8_t *)(write + 1),
                        .count = count,
                        .open = count,
                        .attempts = attempts};
    return write;
}

static void append(pl_sink_stage *sink, pl_write *write)
{
    write->previous = sink->queue_last;
    if (sink->queue_last)
        sink->queue_last->next = write;
    else
        sink->queue = write;
    sink->queue_last = write;
    sink->queued_count++;
}

static void prepend(pl_sink_stage *sink, pl_write *write)
{
    write->previous = NULL;
    write->next = sink->queue;
    if (sink->queue)
        sink->queue->previous = write;
    else
        sink->queue_last = write;
    sink->queue = write;
    sink->queued_count++;
}

/* Among those that are queued, where its records belong. */
static void insert(pl_sink_stage *sink, pl_write *write)
{
    pl_write *after = sink->queue;
    while (after && after->sequence < write->sequence)
        after = after->next;
    if (!after) {
        append(sink, write);
        return;
    }
    if (after == sink->queue) {
        prepend(sink, write);
        return;
    }
    write->next = after;
    write->previous = after->previous;
    after->previous->next = write;
    after->previous = write;
    sink->queued_count++;
}

static pl_write *take_first(pl_sink_stage *sink)
{
    pl_write *first = sink->queue;
    sink->queue = first->next;
    if (sink->queue)
        sink->queue->previous = NULL;
    else
        sink->queue_last = NULL;
    first->next = NULL;
    sink->queued_count--;
    return first;
}

static void write_free(pl_sink_stage *sink, pl_write *write)
{
    if (!write)
        return;
    load_unref(sink, write->load);
    pl_free(write);
}

static void taken_add(pl_sink_stage *sink, pl_write *write)
{
    write->previous = NULL;
    write->next = sink->taken;
    if (sink->taken)
        sink->taken->previous = write;
    sink->taken = write;
}

static void taken_remove(pl_sink_stage *sink, pl_write *write)
{
    if (write->previous)
        write->previous->next = write->next;
    else
        sink->taken = write->next;
    if (write->next)
        write->next->previous = write->previous;
    write->next = write->previous = NULL;
}

bool pl_sink_seal(pl_sink_stage *sink)
{
    if (!sink->gathered)
        return true;
    pl_write *write = write_new(sink->gathering, sink->gathering->records, sink->gathered, 0);
    if (!write)
        return false;
    load_unref(sink, sink->gathering);
    write->sequence = sink->sequence;
    sink->sequence += sink->gathered;
    sink->gathering = NULL;
    sink->gathered = 0;
    sink->gathered_bytes = 0;
    append(sink, write);
    return true;
}

/* ---- settling ------------------------------------------------------------------ */

void pl_sink_settle(void *self, uint64_t ticket, uint32_t first, uint32_t count, const pl_error *why)
{
    pl_sink_stage *sink = self;
    pl_inbox *inbox = &sink->inbox;
    pthread_mutex_lock(&inbox->lock);
    if (inbox->count == inbox->capacity) {
        size_t capacity = inbox->capacity ? inbox->capacity * 2 : 64;
        pl_settlement *grown = pl_realloc(inbox->items, capacity, sizeof *grown);
        if (grown) {
            inbox->items = grown;
            inbox->capacity = capacity;
        }
    }
    if (inbox->count < inbox->capacity) {
        pl_settlement *item = &inbox->items[inbox->count++];
        item->ticket = ticket;
        item->first = first;
        item->count = count;
        item->failed = why != NULL;
        if (why)
            item->why = *why;
    } else {
        inbox->lost = true;
    }
    pthread_mutex_unlock(&inbox->lock);
    pl_stage_note(&sink->stage);
}

static void reject(pl_sink_stage *sink, const pl_write *write, const pl_record *record, const pl_error *why)
{
    pl_dead_letter letter = {"sink", "reject", PL_S(why->message), write->attempts, NULL};
    pl_count(&sink->stage.account.dead_lettered, 1);
    pl_count(&sink->stage.account.errors, 1);
    pl_log(PL_WARN, sink->stage.name, "a record was refused: %s", why->message);
    pl_dead_letter_add(&sink->stage, record, &letter);
}

static void settle_record(pl_sink_stage *sink, pl_write *write, uint32_t index, const pl_settlement *said)
{
    const pl_record *record = write->records[index];
    if (write->states[index] != PL_RECORD_OPEN)
        return;
    if (said->failed && said->why.error_class == PL_RETRY) {
        write->states[index] = PL_RECORD_AGAIN;
        write->open--;
        return;
    }
    write->states[index] = PL_RECORD_SETTLED;
    write->open--;
    if (said->failed) {
        reject(sink, write, record, &said->why);
        return;
    }
    pl_count(&sink->stage.account.delivered, 1);
    pl_ack_done(record->ack, sink->setup.dead_letters ? PL_OUTCOME_DEAD : PL_OUTCOME_DELIVERED);
}

/* Those of a finished write that are to be written again form a new one, ahead of all that is newer. false: none. */
static bool requeue(pl_sink_stage *sink, pl_write *write)
{
    uint32_t again = 0;
    uint64_t sequence = write->sequence;
    for (uint32_t i = 0; i < write->count; i++) {
        if (write->states[i] != PL_RECORD_AGAIN)
            continue;
        const pl_record *record = write->records[i];
        sequence = again ? sequence : write->sequence + i;
        write->records[again++] = record; /* this write is done with its own order */
    }
    if (!again)
        return false;
    pl_count(&sink->stage.account.retries, 1);
    pl_write *next = write_new(write->load, write->records, again, write->attempts);
    if (!next) {
        pl_stage_halt_no_memory(&sink->stage);
        return true;
    }
    next->sequence = sequence;
    next->failures = write->failures;
    insert(sink, next);
    return true;
}

static void finish(pl_sink_stage *sink, pl_write *write)
{
    taken_remove(sink, write);
    if (!requeue(sink, write) && write->answered)
        pl_retry_worked(&sink->retry, &sink->stage);
    write_free(sink, write);
}

/* The sink is not well: it gets a pause. The settlement may turn into a refusal, when the attempts are used up. */
static void retry_later(pl_sink_stage *sink, const pl_write *write, pl_settlement *said)
{
    pl_retry *retry = &sink->retry;
    if (retry->due_ns <= sink->now_ns)
        (void)pl_retry_failed(retry, &sink->stage, &said->why, sink->now_ns);
    else
        pl_retry_prolong(retry, &sink->stage, &said->why, sink->now_ns);
    if (retry->policy.attempts && write->failures + 1 >= retry->policy.attempts)
        said->why.error_class = retry->policy.then_halt ? PL_HALT : PL_REJECT;
}

static void apply(pl_sink_stage *sink, pl_settlement *said)
{
    pl_write *write = sink->taken;
    while (write && write->ticket != said->ticket)
        write = write->next;
    if (!write)
        return;
    if (said->failed && said->why.error_class == PL_RETRY && sink->setup.txn) {
        pl_sink_transaction_lost(sink, &said->why);
        return;
    }
    bool refused = said->failed && said->why.error_class == PL_REJECT;
    if (refused && sink->setup.reject_halts)
        said->why.error_class = PL_HALT;
    write->answered = write->answered || !said->failed || refused;
    if (said->failed && said->why.error_class == PL_RETRY)
        retry_later(sink, write, said);
    if (said->failed && (said->why.error_class == PL_HALT || said->why.error_class == PL_BAD_CONFIG)) {
        halt(sink, &said->why);
        return;
    }
    for (uint32_t i = 0; i < said->count && said->first + i < write->count; i++)
        settle_record(sink, write, said->first + i, said);
    if (write->open == 0) {
        write->failures++;
        finish(sink, write);
    }
}

void pl_sink_read_inbox(pl_sink_stage *sink)
{
    pl_inbox *inbox = &sink->inbox;
    pl_inbox *working = &sink->working;
    pthread_mutex_lock(&inbox->lock);
    pl_settlement *items = inbox->items;
    size_t count = inbox->count;
    size_t capacity = inbox->capacity;
    inbox->items = working->items;
    inbox->capacity = working->capacity;
    inbox->count = 0;
    bool lost = inbox->lost;
    pthread_mutex_unlock(&inbox->lock);
    working->items = items;
    working->capacity = capacity;
    for (size_t i = 0; i < count; i++)
        apply(sink, &items[i]);
    if (lost)
        pl_stage_halt_no_memory(&sink->stage);
}

/* ---- writing ------------------------------------------------------------------- */

/* Splits a write that is in no list in two, of which the first has so many records. false: no memory, it halted. */
static bool split(pl_sink_stage *sink, pl_write *write, uint32_t first)
{
    pl_write *left = write_new(write->load, write->records, first, write->attempts);
    pl_write *right = write_new(write->load, write->records + first, write->count - first, write->attempts);
    if (!left || !right) {
        pl_stage_halt_no_memory(&sink->stage);
        write_free(sink, left);
        write_free(sink, right);
        write_free(sink, write);
        return false;
    }
    left->sequence = write->sequence;
    right->sequence = write->sequence + first;
    left->failures = right->failures = write->failures;
    insert(sink, right);
    insert(sink, left);
    write_free(sink, write);
    return true;
}

/* The error holds for all that the plugin has not settled. */
static void failed(pl_sink_stage *sink, pl_write *write, const pl_error *error)
{
    pl_sink_read_inbox(sink); /* what it settled before it failed */
    if (sink->setup.txn && error->error_class == PL_RETRY) {
        pl_sink_transaction_lost(sink, error);
        return;
    }
    bool known = false;
    for (pl_write *taken = sink->taken; taken; taken = taken->next)
        known = known || taken == write;
    if (!known && (error->error_class == PL_HALT || error->error_class == PL_BAD_CONFIG))
        halt(sink, error); /* though all was settled before */
    if (!known)
        return;
    if (error->error_class == PL_REJECT && write->count > 1 && write->open == write->count) {
        taken_remove(sink, write);
        (void)split(sink, write, write->count / 2);
        return;
    }
    if (error->error_class == PL_REJECT && write->open > 1) { /* some are settled: the others again, apart */
        for (uint32_t i = 0; i < write->count; i++)
            if (write->states[i] == PL_RECORD_OPEN)
                write->states[i] = PL_RECORD_AGAIN;
        write->open = 0;
        finish(sink, write);
        return;
    }
    pl_settlement said = {write->ticket, 0, write->count, true, *error};
    apply(sink, &said);
}

/* The oldest write, or NULL: it must wait. While the circuit is open it is the only one that the plugin has, and one
 * record will do to find out, unless attempts are counted: those are a batch's. */
static pl_write *next_write(pl_sink_stage *sink, int64_t *resume_ns)
{
    const pl_retry *retry = &sink->retry;
    if (sink->now_ns < retry->due_ns)
        *resume_ns = retry->due_ns;
    if (sink->now_ns < retry->due_ns || (retry->open && sink->taken))
        return NULL;
    if (retry->open && !retry->policy.attempts && sink->queue->count > 1 && !split(sink, take_first(sink), 1))
        return NULL;
    pl_retry_begin(&sink->retry, &sink->stage);
    return take_first(sink);
}

void pl_sink_write_queued(pl_sink_stage *sink, int64_t *resume_ns)
{
    pl_instance *instance = sink->setup.instance;
    const pl_sink *plugin = pl_instance_component(instance)->sink;
    pl_flow *flow = sink->stage.flow;
    while (sink->queue && !sink->stage.outbox && !atomic_load(&flow->aborting)) {
        pl_write *write = next_write(sink, resume_ns);
        if (!write)
            return;
        pl_batch batch = {sizeof batch, write->count, ++sink->next_ticket, write->records};
        write->ticket = batch.ticket;
        write->attempts++;
        taken_add(sink, write);
        pl_error error = {.struct_size = sizeof error};
        pl_status status =
            plugin->write(pl_instance_self(instance), &batch, pl_flow_deadline(flow, sink->now_ns), &error);
        pl_instance_release_answers(instance);
        sink->now_ns = pl_flow_now(flow);
        if (status == PL_AGAIN) {
            taken_remove(sink, write);
            write->attempts--;
            prepend(sink, write);
            *resume_ns = sink->now_ns + PLUGIN_SAYS_NOTHING * 1000000;
            return;
        }
        if (status == PL_FAILED)
            failed(sink, write, &error);
        pl_sink_read_inbox(sink);
    }
}

void pl_sink_drop_writes(pl_sink_stage *sink)
{
    while (sink->queue)
        write_free(sink, take_first(sink));
    while (sink->taken) {
        pl_write *write = sink->taken;
        taken_remove(sink, write);
        write_free(sink, write);
    }
    load_unref(sink, sink->gathering);
    sink->gathering = NULL;
}
