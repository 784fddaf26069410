#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>
#include <flow/dead_letter.h>
#include <flow/replay.h>

enum { PACKETS_AT_ONCE = 16, REASON_SHOWN = 160 };

typedef struct receipt { /* of a letter, until it is settled */
    uint32_t lane;       /* that it was read from */
    uint64_t position;
    pl_letter_key key;
    bool put_back, left;
} receipt;

typedef struct barrier { /* a lane, and what is left in it */
    uint32_t lane;
    bool left;
    bool any;
    uint64_t position; /* settled before the first that is left, if any is */
} barrier;

struct pl_replay_stage {
    pl_stage stage; /* first */
    pl_replay_setup setup;
    pl_json_reader *json;
    pl_document *document;
    pl_flow_batch **out; /* by port */
    pl_lane **lanes;     /* that letters once came from */
    size_t lane_count, lane_capacity;
    uint64_t fates[PL_LETTER_FATES];
    pl_replay_tally *tallies;
    size_t tally_count;
    char unreadable[320];
    pthread_mutex_t lock; /* of all that follows */
    receipt *receipts;    /* in the order in which they were read */
    size_t receipt_count, receipt_capacity;
    barrier *barriers;
    size_t barrier_count;
};

/* ---- what is settled ----------------------------------------------------------------------- */

static bool add_receipt(pl_replay_stage *replay, receipt receipt)
{
    bool ok = true;
    pthread_mutex_lock(&replay->lock);
    if (replay->receipt_count == replay->receipt_capacity) {
        size_t capacity = replay->receipt_capacity ? replay->receipt_capacity * 2 : 256;
        struct receipt *grown = pl_realloc(replay->receipts, capacity, sizeof *grown);
        ok = grown != NULL;
        if (ok) {
            replay->receipts = grown;
            replay->receipt_capacity = capacity;
        }
    }
    if (ok)
        replay->receipts[replay->receipt_count++] = receipt;
    pthread_mutex_unlock(&replay->lock);
    return ok;
}

static barrier *barrier_of(pl_replay_stage *replay, uint32_t lane)
{
    for (size_t i = 0; i < replay->barrier_count; i++)
        if (replay->barriers[i].lane == lane)
            return &replay->barriers[i];
    barrier *grown = pl_realloc(replay->barriers, replay->barrier_count + 1, sizeof *grown);
    if (!grown)
        return NULL;
    replay->barriers = grown;
    replay->barriers[replay->barrier_count] = (barrier){.lane = lane};
    return &replay->barriers[replay->barrier_count++];
}

/* Takes the receipts up to the position; the keys of those put back go to the ledger. */
static pl_status take_receipts(pl_replay_stage *replay, barrier *barrier, uint64_t position, pl_error *error)
{
    size_t kept = 0;
    pl_letter_key keys[64];
    size_t count = 0;
    pl_status status = PL_OK;
    for (size_t i = 0; i < replay->receipt_count; i++) {
        receipt *at = &replay->receipts[i];
        if (at->lane != barrier->lane || at->position > position) {
            replay->receipts[kept++] = *at;
            continue;
        }
        barrier->left = barrier->left || at->left;
        if (!barrier->left) {
            barrier->any = true;
            barrier->position = at->position;
        }
        if (at->put_back)
            keys[count++] = at->key;
        if (count == sizeof keys / sizeof *keys) {
            status = status == PL_OK ? pl_ledger_write(replay->setup.ledger, keys, count, error) : status;
            count = 0;
        }
    }
    replay->receipt_count = kept;
    return status == PL_OK ? pl_ledger_write(replay->setup.ledger, keys, count, error) : status;
}

bool pl_replay_settled(void *stage, uint32_t lane, uint64_t *position)
{
    pl_replay_stage *replay = stage;
    pl_error error = {.struct_size = sizeof error};
    pthread_mutex_lock(&replay->lock);
    barrier *barrier = barrier_of(replay, lane);
    pl_status status = barrier ? take_receipts(replay, barrier, *position, &error)
                               : pl_fail(&error, PL_HALT, "no memory for what is settled");
    bool any = status == PL_OK && barrier->any;
    if (any)
        *position = barrier->position;
    pthread_mutex_unlock(&replay->lock);
    if (status != PL_OK)
        pl_flow_halt(replay->stage.flow, replay->stage.name, &error);
    return any;
}

/* ---- what is told at the end ------------------------------------------------------------------ */

static bool tally(pl_replay_stage *replay, pl_letter_fate fate, const pl_letter *letter, const char *held_by)
{
    const char *newline = letter->reason.len ? memchr(letter->reason.ptr, '\n', letter->reason.len) : NULL;
    pl_str reason = {letter->reason.ptr, newline ? (size_t)(newline - letter->reason.ptr) : letter->reason.len};
    reason.len = reason.len < REASON_SHOWN ? reason.len : REASON_SHOWN;
    for (size_t i = 0; i < replay->tally_count; i++) {
        pl_replay_tally *at = &replay->tallies[i];
        if (i == PL_REPLAY_TALLIES ||
            (at->fate == fate && pl_str_is(letter->component, at->component) && pl_str_is(reason, at->reason))) {
            at->count++;
            return true;
        }
    }
    pl_replay_tally *grown = pl_realloc(replay->tallies, replay->tally_count + 1, sizeof *grown);
    if (!grown)
        return false;
    replay->tallies = grown;
    bool last = replay->tally_count == PL_REPLAY_TALLIES;
    pl_replay_tally *added = &replay->tallies[replay->tally_count];
    *added = (pl_replay_tally){.component =
                                   last ? pl_strndup("", 0) : pl_strndup(letter->component.ptr, letter->component.len),
                               .reason = pl_strndup(last || !reason.len ? "" : reason.ptr, last ? 0 : reason.len),
                               .fate = fate,
                               .held_by = held_by,
                               .count = 1};
    replay->tally_count++;
    return added->component && added->reason;
}

uint64_t pl_replay_count(const pl_replay_stage *replay, pl_letter_fate fate)
{
    return replay->fates[fate];
}

const pl_replay_tally *pl_replay_tallies(const pl_replay_stage *replay, size_t *count)
{
    *count = replay->tally_count;
    return replay->tallies;
}

const char *pl_replay_unreadable(const pl_replay_stage *replay)
{
    return replay->unreadable;
}

static void note_unreadable(pl_replay_stage *replay, const pl_record *found, const pl_error *error)
{
    const pl_lane *lane = pl_lane_at(&replay->stage.flow->lanes, found->lane);
    char *first = replay->unreadable;
    char text[sizeof replay->unreadable];
    (void)snprintf(text, sizeof text, "%.120s, position %llu: %.160s", lane ? lane->name : "",
                   (unsigned long long)found->position, error->message);
    if (!first[0])
        memcpy(first, text, sizeof text);
    pl_log(PL_WARN, replay->stage.name, "no dead letter: %s", text);
}

/* ---- one letter ----------------------------------------------------------------------------------- */

static const pl_replay_target *target_of(const pl_replay_stage *replay, pl_str name)
{
    for (size_t i = 0; i < replay->setup.target_count; i++)
        if (pl_str_is(name, replay->setup.targets[i].name))
            return &replay->setup.targets[i];
    return NULL;
}

static bool chosen(const pl_replay_stage *replay, const pl_letter *letter)
{
    const pl_replay_setup *setup = &replay->setup;
    return (!setup->stage || pl_str_is(letter->component, setup->stage)) &&
           (!setup->reason || (letter->reason.len &&
                               memmem(letter->reason.ptr, letter->reason.len, setup->reason, strlen(setup->reason)))) &&
           (!setup->limit || replay->fates[PL_LETTER_PUT_BACK] < setup->limit);
}

/* What becomes of it; its key is marked when it is about to be put back. *known: where that came from. false: no
 * memory. */
static bool judge(pl_replay_stage *replay, const pl_letter *letter, const pl_replay_target **target,
                  pl_ledger_state *known, pl_letter_fate *fate)
{
    bool own = letter->key.high == replay->stage.flow->seed;
    *target = target_of(replay, letter->component);
    *known = pl_ledger_look(replay->setup.ledger, letter->key);
    *fate = *known != PL_LEDGER_NEW          ? PL_LETTER_BEFORE
            : own || !chosen(replay, letter) ? PL_LETTER_NOT_CHOSEN
            : !*target                       ? PL_LETTER_NO_STAGE
            : (*target)->held_by             ? PL_LETTER_HELD
                                             : PL_LETTER_PUT_BACK;
    return *fate != PL_LETTER_PUT_BACK || pl_ledger_mark(replay->setup.ledger, letter->key);
}

static pl_lane *lane_of(pl_replay_stage *replay, pl_str name)
{
    for (size_t i = replay->lane_count; i-- > 0;)
        if (pl_str_is(name, replay->lanes[i]->name))
            return replay->lanes[i];
    if (replay->lane_count == replay->lane_capacity) {
        size_t capacity = replay->lane_capacity ? replay->lane_capacity * 2 : 8;
        pl_lane **grown = pl_realloc((void *)replay->lanes, capacity, sizeof *grown);
        if (!grown)
            return NULL;
        replay->lanes = grown;
        replay->lane_capacity = capacity;
    }
    pl_lane *lane = pl_lane_open(&replay->stage.flow->lanes, 0, name);
    if (lane)
        replay->lanes[replay->lane_count++] = lane;
    return lane;
}

/* As the record was, in the batch of the target's port. NULL: no memory. */
static pl_record *restore(pl_replay_stage *replay, const pl_letter *letter, const pl_record *found, uint32_t port,
                          pl_flow_batch *parent)
{
    pl_flow_batch **batch = &replay->out[port];
    if (!*batch)
        *batch = pl_flow_batch_new(&replay->stage.flow->memory);
    pl_lane *lane = lane_of(replay, letter->lane);
    pl_record *record = *batch && lane ? pl_flow_batch_add(*batch) : NULL;
    if (!record || !pl_flow_batch_keep(*batch, parent))
        return NULL;
    *record = letter->record;
    record->lane = lane->index;
    record->flags = PL_RECORD_RETURNED | letter->attempts << PL_RECORD_ATTEMPTS_SHIFT;
    record->ack = found->ack;
    if (record->time_unix_ns > lane->newest_unix_ns)
        lane->newest_unix_ns = record->time_unix_ns;
    return record;
}

/* What a source gave up comes in as if it had been read just now. false: it was given up again. */
static bool take_in(pl_replay_stage *replay, const pl_replay_target *target, pl_record *record, uint32_t port)
{
    pl_error error = {.struct_size = sizeof error};
    pl_flow_batch *batch = replay->out[port];
    if (!target->intake)
        return true;
    pl_status status = pl_source_inspect(target->intake, replay->document, batch->arena, record, &error);
    if (status == PL_OK && record->time_unix_ns == 0)
        record->time_unix_ns = pl_flow_unix(replay->stage.flow);
    if (status == PL_OK)
        return true;
    pl_dead_letter why = {"source", "reject", PL_S(error.message), 1, target->name};
    pl_count(&replay->stage.account.errors, 1);
    pl_dead_letter_add(&replay->stage, record, &why); /* takes over our reference */
    pl_flow_batch_cut(batch, batch->count - 1);
    return false;
}

static bool put_back(pl_replay_stage *replay, const pl_letter *letter, const pl_replay_target *target,
                     const pl_record *found, pl_flow_batch *parent)
{
    pl_port *port = pl_stage_port(&replay->stage, target->name);
    pl_account *account = &replay->stage.account;
    if (!port)
        return false;
    uint32_t index = (uint32_t)(port - replay->stage.ports);
    pl_record *record = restore(replay, letter, found, index, parent);
    if (!record)
        return false;
    if (take_in(replay, target, record, index)) {
        pl_count(&account->delivered, 1);
        pl_ack_pass(found->ack, pl_port_references(port));
    } else {
        pl_count(&account->dead_lettered, 1);
    }
    return true;
}

static bool handle(pl_replay_stage *replay, const pl_record *found, pl_flow_batch *texts)
{
    pl_letter letter;
    const pl_replay_target *target = NULL;
    pl_letter_fate fate = PL_LETTER_UNREADABLE;
    pl_ledger_state known = PL_LEDGER_NEW;
    pl_error error = {.struct_size = sizeof error};
    pl_count(&replay->stage.account.read, 1);
    pl_status status = pl_letter_read(replay->json, found, texts->arena, &letter, &error);
    if (status != PL_OK && error.error_class == PL_RETRY)
        return false;
    if (status != PL_OK)
        note_unreadable(replay, found, &error);
    else if (!judge(replay, &letter, &target, &known, &fate))
        return false;
    bool told = fate == PL_LETTER_PUT_BACK || fate == PL_LETTER_NO_STAGE || fate == PL_LETTER_HELD;
    if (told && !tally(replay, fate, &letter, target ? target->held_by : NULL))
        return false;
    replay->fates[fate]++;
    bool goes = fate == PL_LETTER_PUT_BACK && !replay->setup.dry_run;
    receipt receipt = {.lane = found->lane,
                       .position = found->position,
                       .key = letter.key,
                       .put_back = goes,
                       .left = replay->setup.dry_run || (!goes && known != PL_LEDGER_SETTLED)};
    if (!add_receipt(replay, receipt))
        return false;
    if (goes)
        return put_back(replay, &letter, target, found, texts);
    pl_count(&replay->stage.account.filtered, 1);
    pl_ack_done(found->ack, PL_OUTCOME_FILTERED);
    return true;
}

/* ---- the step ----------------------------------------------------------------------------------------- */

static bool take_packet(pl_replay_stage *replay)
{
    pl_packet packet;
    if (!pl_stage_take(&replay->stage, &packet, NULL))
        return false;
    pl_flow_batch *texts = pl_flow_batch_new(&replay->stage.flow->memory);
    bool ok = texts && pl_flow_batch_keep(texts, packet.batch);
    for (uint32_t i = 0; ok && i < packet.count; i++)
        ok = handle(replay, packet.records[i], texts);
    if (!ok)
        pl_stage_halt_no_memory(&replay->stage);
    if (texts)
        pl_flow_batch_seal(texts);
    pl_flow_batch_unref(texts);
    pl_flow_batch_unref(packet.batch);
    return true;
}

static void publish(pl_replay_stage *replay)
{
    pl_stage *stage = &replay->stage;
    for (uint32_t p = 0; p < stage->port_count; p++) {
        pl_flow_batch *batch = replay->out[p];
        replay->out[p] = NULL;
        if (!batch)
            continue;
        bool ok = true;
        for (size_t i = 0; ok && i < replay->lane_count; i++)
            ok = pl_flow_batch_mark(batch, (pl_lane_mark){replay->lanes[i], replay->lanes[i]->newest_unix_ns, false});
        if (!pl_stage_send(stage, &stage->ports[p], batch) || !ok)
            pl_stage_halt_no_memory(stage);
    }
    pl_dead_letter_flush(stage);
}

static pl_stepped work(pl_replay_stage *replay)
{
    pl_stage *stage = &replay->stage;
    if (atomic_load(&stage->flow->aborting))
        return pl_step_done();
    if (!replay->out)
        replay->out = pl_calloc(stage->port_count + 1, sizeof *replay->out);
    if (!replay->out) {
        pl_stage_halt_no_memory(stage);
        return pl_step_done();
    }
    if (!pl_stage_drain(stage))
        return pl_step_idle(INT64_MAX);
    bool ended = pl_stage_inputs_ended(stage);
    bool took = false;
    for (int i = 0; i < PACKETS_AT_ONCE && !stage->outbox && take_packet(replay); i++) {
        took = true;
        publish(replay);
    }
    if (took || !ended)
        return took ? pl_step_again() : pl_step_idle(INT64_MAX);
    if (stage->outbox)
        return pl_step_again();
    pl_stage_close(stage);
    return pl_step_done();
}

static pl_stepped step(pl_stage *stage, int64_t now_ns)
{
    (void)now_ns;
    pl_stepped next = work((pl_replay_stage *)stage);
    pl_flow_tell_settled(stage->flow);
    return next;
}

/* ---- life ------------------------------------------------------------------------------------------------ */

static void release(pl_stage *stage)
{
    pl_replay_stage *replay = (pl_replay_stage *)stage;
    for (uint32_t p = 0; replay->out && p < stage->port_count; p++)
        pl_flow_batch_unref(replay->out[p]);
    for (size_t i = 0; i < replay->tally_count; i++) {
        pl_free(replay->tallies[i].component);
        pl_free(replay->tallies[i].reason);
    }
    pl_free(replay->tallies);
    pl_free((void *)replay->out);
    pl_free((void *)replay->lanes);
    pl_free(replay->receipts);
    pl_free(replay->barriers);
    pl_json_reader_free(&replay->json);
    pl_document_free(&replay->document);
    pthread_mutex_destroy(&replay->lock);
    pl_stage_release_base(stage);
}

pl_replay_stage *pl_replay_stage_new(pl_flow *flow, const pl_replay_setup *setup)
{
    pl_replay_stage *replay = pl_calloc(1, sizeof *replay);
    if (!replay || pthread_mutex_init(&replay->lock, NULL) != 0) {
        pl_free(replay);
        return NULL;
    }
    replay->setup = *setup;
    replay->stage.flow = flow;
    replay->stage.step = step;
    replay->stage.release = release;
    replay->json = pl_json_reader_new();
    replay->document = pl_document_new();
    if (replay->json && replay->document)
        return replay;
    release(&replay->stage);
    pl_free(replay);
    return NULL;
}
