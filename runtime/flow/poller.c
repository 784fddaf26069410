/* What makes a source out of a poller: the tick, the attempts within it, and a gap record where a sample is missing, so
 * that ticks = samples + gaps; over restarts, too: the last tick that is settled is kept in data_dir/NAME.tick. */
#include <base/fs.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>
#include <flow/source.h>
#include <flow/source_buffer.h>
#include <inttypes.h>
#include <record/encode.h>
#include <stdlib.h>

enum {
    MISSED_MAX = 1000, /* gap records for ticks in a row that nobody could take; the last stands for the rest */
    GAPS_A_BATCH = 512,
    TICK_TEXT_MAX = 64
};
static const int64_t KEEP_NS = 1000000000; /* the last tick is written no more often */

static const pl_poller *poller_of(const pl_source_stage *source)
{
    return pl_instance_component(source->setup.instance)->poller;
}

static void *self_of(const pl_source_stage *source)
{
    return pl_instance_self(source->setup.instance);
}

/* Positions are wall time at first and then count on, so that those of a later run are greater. */
static pl_status start(pl_source_stage *source, int64_t now_ns, pl_error *error)
{
    pl_poll_state *poll = &source->poll;
    size_t count = poller_of(source)->count(self_of(source));
    pl_poll_item *items = pl_calloc(count, sizeof *items);
    if (!items)
        return pl_fail(error, PL_HALT, "no memory for %zu items", count);
    for (size_t i = 0; i < count; i++) {
        char name[192];
        (void)snprintf(name, sizeof name, "%s/%zu", source->stage.name, i);
        items[i].lane = pl_source_open_lane(source, PL_S(name));
        items[i].first = items[i].position = (uint64_t)pl_flow_unix(source->stage.flow);
        if (!items[i].lane) {
            pl_free(items);
            return pl_fail(error, PL_HALT, "no memory for %zu lanes", count);
        }
    }
    poll->retry = (pl_retry){.policy = source->setup.retry, .quiet = true};
    poll->items = items;
    poll->count = count;
    poll->next_tick_ns = now_ns;
    return PL_OK;
}

/* ---- gaps -------------------------------------------------------------------- */

typedef struct gap_run { /* ticks in a row without a sample */
    int64_t first_unix_ns, every_ns;
    uint64_t count;
    const char *reason;
} gap_run;

enum { GAP_FIELDS = 7 };

/* The record of tick `at` and, should there be more than one, all that follow it. Returns the number of fields. */
static uint32_t gap_fields(const pl_source_stage *source, size_t index, const gap_run *run, uint64_t at, uint64_t ticks,
                           pl_field fields[GAP_FIELDS])
{
    const pl_field all[GAP_FIELDS] = {
        {PL_S("schema"), {.type = PL_INT, .as.i = 1}},
        {PL_S("kind"), {.type = PL_STR, .as.s = PL_S("gap")}},
        {PL_S("source"), {.type = PL_STR, .as.s = PL_S(source->stage.name)}},
        {PL_S("item"), {.type = PL_INT, .as.i = (int64_t)index}},
        {PL_S("at"), {.type = PL_TIME, .as.i = run->first_unix_ns + (int64_t)at * run->every_ns}},
        {PL_S("reason"), {.type = PL_STR, .as.s = PL_S(run->reason)}},
        {PL_S("ticks"), {.type = PL_INT, .as.i = (int64_t)ticks}},
    };
    memcpy(fields, all, sizeof all);
    return GAP_FIELDS - (ticks > 1 ? 0 : 1);
}

static bool add_gap(pl_source_stage *source, pl_flow_batch *batch, size_t index, const pl_field *fields, uint32_t count)
{
    pl_poll_item *item = &source->poll.items[index];
    pl_record *record = pl_flow_batch_add(batch);
    pl_error error = {.struct_size = sizeof error};
    if (!record || pl_encode_payload(batch->arena, fields, count, &record->payload, &error) != PL_OK)
        return false;
    uint32_t edges = pl_port_references(pl_stage_port(&source->stage, "gaps"));
    record->ack = pl_source_track_gap(source, item->lane, ++item->position, record->payload.len, edges);
    if (!record->ack)
        return false;
    record->time_unix_ns = fields[4].value.as.i;
    record->lane = item->lane->index;
    record->position = item->position; /* or durable state would take it for one it has seen */
    record->stream = pl_arena_str(batch->arena, PL_S(source->stage.name));
    return true;
}

/* Behind the samples that wait on disk, and as safe as they are. */
static void keep_gap(pl_source_stage *source, size_t index, const pl_field *fields, uint32_t count)
{
    pl_poll_item *item = &source->poll.items[index];
    pl_emission emission = {.struct_size = sizeof emission,
                            .time_unix_ns = fields[4].value.as.i,
                            .stream = PL_S(source->stage.name),
                            .fields = fields,
                            .field_count = count};
    (void)pl_source_keep(source, item->lane, ++item->position, PL_KEPT_GAP, &emission);
}

static bool send_gaps(pl_source_stage *source, pl_port *port, size_t from, size_t to, const gap_run *run)
{
    pl_flow_batch *batch = NULL;
    uint64_t most = MISSED_MAX / (to - from) > 0 ? MISSED_MAX / (to - from) : 1;
    uint64_t records = run->count < most ? run->count : most;
    for (size_t i = from; i < to; i++)
        for (uint64_t k = 0; k < records; k++) {
            pl_field fields[GAP_FIELDS];
            uint32_t count = gap_fields(source, i, run, k, k + 1 < records ? 1 : run->count - k, fields);
            pl_count(&source->stage.account.born, 1);
            if (source->buffer) {
                keep_gap(source, i, fields, count);
                continue;
            }
            if (!batch)
                batch = pl_flow_batch_new(&source->stage.flow->memory);
            if (!batch || !add_gap(source, batch, i, fields, count)) {
                pl_flow_batch_unref(batch);
                return false;
            }
            bool full = batch->count == GAPS_A_BATCH || (i + 1 == to && k + 1 == records);
            if (full && !pl_stage_send(&source->stage, port, batch))
                return false;
            batch = full ? NULL : batch;
        }
    return true;
}

/* Gaps of the items from..to-1. */
static void gaps(pl_source_stage *source, size_t from, size_t to, const gap_run *run)
{
    pl_port *port = pl_stage_port(&source->stage, "gaps");
    pl_error error = {.struct_size = sizeof error};
    if (run->count == 0 || from == to)
        return;
    if (pl_port_references(port) == 0) {
        pl_count(&source->stage.account.born, (uint64_t)(to - from) * run->count);
        return;
    }
    if (send_gaps(source, port, from, to, run))
        return;
    (void)pl_fail(&error, PL_HALT, "no memory for a gap record");
    pl_flow_halt(source->stage.flow, source->stage.name, &error);
}

/* ---- the last tick, kept over restarts ----------------------------------------- */

static bool tick_path(const pl_source_stage *source, char *path, size_t size)
{
    const pl_flow *flow = source->stage.flow;
    if (!flow->data_dir || flow->seeded) /* a replay begins with nothing */
        return false;
    int length = snprintf(path, size, "%s/%s.tick", flow->data_dir, source->stage.name);
    return length > 0 && (size_t)length < size;
}

static int64_t kept_tick(const pl_source_stage *source)
{
    char path[4096];
    pl_error error = {.struct_size = sizeof error};
    pl_buf text = PL_BUF(TICK_TEXT_MAX);
    int64_t tick_unix_ns = 0;
    if (tick_path(source, path, sizeof path) && pl_fs_read(path, &text, &error) == PL_OK && text.len > 0) {
        char *end = text.data;
        tick_unix_ns = strtoll(pl_buf_str(&text).ptr, &end, 10);
        tick_unix_ns = *end == '\n' && tick_unix_ns > 0 ? tick_unix_ns : 0;
    }
    pl_buf_release(&text);
    return tick_unix_ns;
}

static void keep_tick(pl_source_stage *source)
{
    pl_poll_state *poll = &source->poll;
    int64_t now_ns = pl_flow_now(source->stage.flow);
    bool last = atomic_load(&source->stage.flow->stopping);
    char path[4096], text[TICK_TEXT_MAX];
    pl_error error = {.struct_size = sizeof error};
    if (poll->kept_unix_ns == poll->committed_unix_ns ||
        (!last && poll->kept_unix_ns && now_ns - poll->kept_ns < KEEP_NS) || pl_source_pauses_commits(source) ||
        !tick_path(source, path, sizeof path))
        return;
    int length = snprintf(text, sizeof text, "%" PRId64 "\n", poll->committed_unix_ns);
    pl_status status = pl_fs_replace(path, (pl_str){text, (size_t)length}, &error);
    if (!pl_source_committed(source, status, &error))
        return;
    poll->kept_unix_ns = poll->committed_unix_ns;
    poll->kept_ns = now_ns;
}

/* Ticks since the kept one that nobody took. The one that would be due is taken now. */
static void gaps_since_last_run(pl_source_stage *source, int64_t unix_ns, int64_t every_ns)
{
    int64_t last_unix_ns = kept_tick(source);
    if (last_unix_ns == 0 || last_unix_ns > unix_ns || (unix_ns - last_unix_ns) / every_ns < 2)
        return;
    gap_run run = {.first_unix_ns = last_unix_ns + every_ns,
                   .every_ns = every_ns,
                   .count = (uint64_t)((unix_ns - last_unix_ns) / every_ns - 1),
                   .reason = "nothing ran at this tick"};
    gaps(source, 0, source->poll.count, &run);
}

/* ---- ticks ---------------------------------------------------------------------- */

static void give_up(pl_source_stage *source, size_t index, const char *reason)
{
    pl_poll_item *item = &source->poll.items[index];
    item->done = true;
    gap_run run = {.first_unix_ns = source->poll.tick_unix_ns, .count = 1, .reason = reason};
    gaps(source, index, index + 1, &run);
}

/* The tick is over once every item is a sample or a gap. */
static void complete_tick(pl_poll_state *poll)
{
    for (size_t i = 0; i < poll->count; i++)
        if (!poll->items[i].done)
            return;
    poll->complete_unix_ns = poll->tick_unix_ns;
}

static const char *why_no_sample(const pl_poll_state *poll, size_t index)
{
    if (poll->retry.asked)
        return "the server asked to wait";
    return poll->items[index].failures || !poll->retry.open ? "no answer before the next tick"
                                                            : "not asked: the circuit is open";
}

static void begin_tick(pl_source_stage *source, int64_t now_ns)
{
    pl_poll_state *poll = &source->poll;
    int64_t every_ns = poller_of(source)->every_ns(self_of(source));
    for (size_t i = 0; poll->started && i < poll->count; i++)
        if (!poll->items[i].done)
            give_up(source, i, why_no_sample(poll, i));
    if (poll->started)
        complete_tick(poll);
    int64_t unix_ns = pl_flow_unix(source->stage.flow);
    if (!poll->started)
        gaps_since_last_run(source, unix_ns, every_ns);
    if (poll->started && now_ns - poll->next_tick_ns >= every_ns) {
        gap_run run = {.first_unix_ns = unix_ns - (now_ns - poll->next_tick_ns),
                       .every_ns = every_ns,
                       .count = (uint64_t)((now_ns - poll->next_tick_ns) / every_ns),
                       .reason = "the tick was missed"};
        gaps(source, 0, poll->count, &run);
        poll->next_tick_ns += (int64_t)run.count * every_ns;
    }
    int64_t most = every_ns / 10 < 1000000000 ? every_ns / 10 : 1000000000;
    int64_t jitter = (int64_t)pl_random_below(&source->stage.random, (uint64_t)most);
    poll->tick_ns = now_ns;
    poll->tick_unix_ns = unix_ns;
    poll->next_tick_ns += every_ns;
    if (!poll->started)
        poll->next_tick_ns += jitter; /* several instances started at once spread out */
    poll->started = true;
    if (poll->retry.sound && !poll->retry.open)
        poll->retry.failures = 0; /* what failed was an item's own */
    if (!poll->retry.open)
        poll->turn = 0;
    poll->retry.sound = false;
    for (size_t i = 0; i < poll->count; i++) {
        poll->items[i].done = false;
        poll->items[i].failures = 0;
    }
}

static void answered(pl_source_stage *source)
{
    pl_poll_state *poll = &source->poll;
    if (poll->retry.open)
        for (size_t i = 0; i < poll->count; i++)
            poll->items[i].quiet = false; /* that the circuit is closed says it for all */
    pl_retry_worked(&poll->retry, &source->stage);
    poll->retry.sound = true;
    poll->turn = 0;
}

static void warn(pl_source_stage *source, pl_poll_item *item, const pl_error *error)
{
    if (!item->quiet)
        pl_log(PL_WARN, source->stage.name, "%s; no sample at this tick", error->message);
    item->quiet = true;
}

/* The items are of one host: what it did to one holds for all. PL_FAILED: the pipeline stops. */
static pl_status try_later(pl_source_stage *source, size_t index, pl_error *error)
{
    pl_poll_state *poll = &source->poll;
    pl_poll_item *item = &poll->items[index];
    pl_retry *retry = &poll->retry;
    pl_count(&source->stage.account.retries, 1);
    (void)pl_retry_failed(retry, &source->stage, error, pl_flow_now(source->stage.flow));
    item->quiet = item->quiet || retry->open; /* the log has that */
    warn(source, item, error);
    if (!retry->asked && retry->due_ns > poll->next_tick_ns)
        retry->due_ns = poll->next_tick_ns; /* a probe a tick is no more than is asked of it when all is well */
    item->failures++;
    poll->turn = (index + 1) % poll->count; /* another is the next probe */
    bool used_up = retry->policy.attempts && item->failures >= retry->policy.attempts;
    if (used_up && retry->policy.then_halt)
        error->error_class = PL_HALT;
    else if (used_up || retry->due_ns >= poll->next_tick_ns)
        give_up(source, index, error->message);
    return used_up && retry->policy.then_halt ? PL_FAILED : PL_OK;
}

static pl_status poll_item(pl_source_stage *source, size_t index, pl_error *error)
{
    pl_poll_item *item = &source->poll.items[index];
    source->poll.current = index;
    pl_retry_begin(&source->poll.retry, &source->stage);
    pl_status status = poller_of(source)->poll(self_of(source), index, source->poll.tick_unix_ns, error);
    if (status != PL_FAILED) {
        item->done = true;
        answered(source);
        if (item->quiet)
            pl_log(PL_INFO, source->stage.name, "samples again");
        item->quiet = false;
        return PL_OK;
    }
    if (error->error_class != PL_RETRY && error->error_class != PL_REJECT)
        return PL_FAILED;
    if (atomic_load(&source->stage.flow->stopping))
        return PL_OK;
    pl_count(&source->stage.account.errors, 1);
    if (error->error_class == PL_RETRY)
        return try_later(source, index, error);
    answered(source);
    warn(source, item, error);
    give_up(source, index, error->message);
    return PL_OK;
}

/* While the pause lasts, nothing that failed is asked again; where the circuit is open, nothing at all. The first that
 * is asked after it is the probe: when it fails, the next pause holds the others back. */
static bool waits(const pl_poll_state *poll, const pl_poll_item *item, int64_t now_ns)
{
    return poll->retry.due_ns > now_ns && (poll->retry.open || item->failures);
}

pl_status pl_poller_next(pl_source_stage *source, int64_t now_ns, int64_t *resume_ns, pl_error *error)
{
    pl_poll_state *poll = &source->poll;
    if (!poll->items && (start(source, now_ns, error) != PL_OK || !poll->items))
        return PL_FAILED;
    if (now_ns >= poll->next_tick_ns)
        begin_tick(source, now_ns);
    int64_t soonest = poll->next_tick_ns;
    /* In a second round, those that failed last: the others tell whether the host is well. */
    for (size_t k = 0, first = poll->turn; k < 2 * poll->count; k++) {
        size_t index = (first + k) % poll->count;
        pl_poll_item *item = &poll->items[index];
        bool doubtful = k >= poll->count;
        if (item->done || item->quiet != doubtful)
            continue;
        if (!waits(poll, item, now_ns) && poll_item(source, index, error) != PL_OK)
            return PL_FAILED;
        if (pl_source_full(source))
            return PL_OK;
        if (!item->done && poll->retry.due_ns < soonest)
            soonest = poll->retry.due_ns;
    }
    complete_tick(poll);
    *resume_ns = soonest;
    return PL_AGAIN;
}

/* ---- what is settled -------------------------------------------------------- */

/* One tick at a time is waited for; what was completed meanwhile is the next. */
static bool set_mark(pl_poll_state *poll)
{
    if (poll->marked_unix_ns || poll->complete_unix_ns == poll->committed_unix_ns)
        return poll->marked_unix_ns != 0;
    poll->marked_unix_ns = poll->complete_unix_ns;
    for (size_t i = 0; i < poll->count; i++)
        poll->items[i].marked = poll->items[i].position;
    return true;
}

static bool mark_settled(const pl_source_stage *source)
{
    const pl_poll_state *poll = &source->poll;
    if (source->buffer)
        return pl_source_buffer_synced(source);
    for (size_t i = 0; i < poll->count; i++) {
        const pl_poll_item *item = &poll->items[i];
        bool none = item->marked == item->first;
        if (!none && (!item->lane->settled_any || item->lane->settled_position < item->marked))
            return false;
    }
    return true;
}

static bool commit(pl_source_stage *source)
{
    const pl_poller *poller = poller_of(source);
    pl_error error = {.struct_size = sizeof error};
    if (!PL_HAS(poller, commit) || !poller->commit)
        return true;
    return !pl_source_pauses_commits(source) &&
           pl_source_committed(source, poller->commit(self_of(source), source->poll.marked_unix_ns, &error), &error);
}

void pl_poller_collect(pl_source_stage *source)
{
    pl_poll_state *poll = &source->poll;
    while (set_mark(poll) && mark_settled(source) && commit(source)) {
        poll->committed_unix_ns = poll->marked_unix_ns;
        poll->marked_unix_ns = 0;
    }
    keep_tick(source);
}

void pl_poller_release(pl_source_stage *source)
{
    pl_free(source->poll.items);
}
