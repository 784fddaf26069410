#include <base/log.h>
#include <base/mem.h>
#include <flow/dead_letter.h>
#include <flow/transform.h>

enum { RUN_RECORDS = 1024, OUT_KEEP_BYTES = 256 * 1024 };

static void halt(pl_transform_stage *transform, const pl_error *error)
{
    pl_flow_halt(transform->stage.flow, transform->stage.name, error);
}

/* ---- out -------------------------------------------------------------------- */

/* How far the lane has come for those downstream: not beyond what is still buffered or deferred here, or to come by
 * another input. */
static pl_lane_mark progress(const pl_transform_stage *transform, const pl_merge_lane *any)
{
    const pl_merge *merge = &transform->merge;
    int64_t deferred = pl_defers_next(&transform->defers);
    bool pending = deferred != INT64_MAX;
    pl_lane_mark mark = {any->lane, pending ? deferred - 1 : INT64_MAX, !pending};
    for (uint32_t input = 0; input < merge->setup.input_count; input++) {
        bool expected;
        const pl_merge_lane *lane = pl_merge_find(merge, any->lane, input, &expected);
        if (!lane && !expected)
            continue;
        int64_t time = lane ? lane->newest_unix_ns : INT64_MIN;
        if (lane && lane->count && lane->heap[0].record->time_unix_ns <= time)
            time = lane->heap[0].record->time_unix_ns - 1;
        bool over = lane && lane->closed && lane->count == 0;
        if (!over || !mark.closed) /* a closed one holds nothing back, but its time is all there is if all are */
            mark.time_unix_ns = time < mark.time_unix_ns ? time : mark.time_unix_ns;
        mark.closed = mark.closed && over;
    }
    if (mark.time_unix_ns == INT64_MAX)
        mark.time_unix_ns = any->newest_unix_ns;
    return mark;
}

/* The lane as the first input that has brought it: what is told of a lane stands there. */
static pl_merge_lane *told_at(pl_merge *merge, pl_merge_lane *any)
{
    const pl_merge_lane *lane = NULL;
    for (uint32_t input = 0; !lane; input++) {
        bool expected;
        lane = pl_merge_find(merge, any->lane, input, &expected);
    }
    return &merge->lanes[lane - merge->lanes];
}

static bool add_news(pl_transform_stage *transform, pl_merge_lane *any)
{
    if (pl_merge_born(any))
        return true;
    pl_merge_lane *lane = told_at(&transform->merge, any);
    pl_lane_mark mark = progress(transform, lane);
    if (lane->told && mark.time_unix_ns == lane->told_unix_ns && mark.closed == lane->told_closed)
        return true;
    if (transform->news_count == transform->news_capacity) {
        size_t capacity = transform->news_capacity ? transform->news_capacity * 2 : 8;
        pl_lane_mark *grown = pl_realloc(transform->news, capacity, sizeof *grown);
        if (!grown)
            return false;
        transform->news = grown;
        transform->news_capacity = capacity;
    }
    transform->news[transform->news_count++] = mark;
    lane->told = true;
    lane->told_unix_ns = mark.time_unix_ns;
    lane->told_closed = mark.closed;
    return true;
}

/* What is to be told of the lanes' progress: of those that changed, or of all when what is put off holds back less, or
 * more, than before. */
static bool find_news(pl_transform_stage *transform)
{
    pl_merge *merge = &transform->merge;
    int64_t deferred = pl_defers_next(&transform->defers);
    bool all = deferred != transform->told_deferred;
    bool ok = true;
    transform->news_count = 0;
    transform->told_deferred = deferred;
    for (size_t i = 0; ok && i < (all ? merge->lane_count : merge->changed_count); i++)
        ok = add_news(transform, &merge->lanes[all ? i : merge->changed[i]]);
    pl_merge_forget_changes(merge);
    return ok;
}

static bool add_marks(const pl_transform_stage *transform, pl_flow_batch **batch)
{
    if (!*batch)
        *batch = pl_flow_batch_new(&transform->stage.flow->memory);
    bool ok = *batch != NULL;
    for (size_t i = 0; ok && i < transform->news_count; i++)
        ok = pl_flow_batch_mark(*batch, transform->news[i]);
    return ok;
}

static void publish(pl_transform_stage *transform)
{
    pl_stage *stage = &transform->stage;
    if (transform->marks_wanted && !find_news(transform)) {
        pl_stage_halt_no_memory(&transform->stage);
        return;
    }
    for (uint32_t p = stage->port_count; p-- > 0;) { /* the main one last: others point into it */
        pl_flow_batch **batch = &transform->out[p];
        if (!stage->ports[p].edge_count) {
            if (*batch && pl_arena_bytes((*batch)->arena) > OUT_KEEP_BYTES) {
                pl_flow_batch_unref(*batch);
                *batch = NULL;
            }
            continue;
        }
        if (transform->news_count && !add_marks(transform, batch)) {
            pl_stage_halt_no_memory(&transform->stage);
            return;
        }
        if (!*batch || (!(*batch)->count && !(*batch)->mark_count))
            continue;
        pl_flow_batch *sent = *batch;
        *batch = NULL;
        if (!pl_stage_send(stage, &stage->ports[p], sent))
            pl_stage_halt_no_memory(&transform->stage);
    }
    pl_dead_letter_flush(stage);
}

/* ---- in --------------------------------------------------------------------- */

static bool out_full(const pl_transform_stage *transform)
{
    return transform->stage.outbox ||
           (transform->out[0] && (transform->out[0]->count >= PL_TRANSFORM_BATCH_RECORDS ||
                                  pl_arena_bytes(transform->out[0]->arena) > 2 * OUT_KEEP_BYTES));
}

static bool run_due_defers(pl_transform_stage *transform, int64_t before_unix_ns)
{
    bool ran = false;
    while (pl_defers_next(&transform->defers) < before_unix_ns && !out_full(transform)) {
        pl_deferred next = pl_defers_take(&transform->defers);
        pl_transform_deferred(transform, &next);
        ran = true;
    }
    return ran;
}

/* Everything whose event time has come: records and deferred functions, in the order of time. */
static bool run_merged(pl_transform_stage *transform)
{
    pl_merge *merge = &transform->merge;
    bool ran = false;
    merge->held_up = atomic_load(&transform->stage.flow->held_sources) > 0;
    for (int i = 0; i < RUN_RECORDS && !out_full(transform); i++) {
        int64_t bound = pl_merge_bound(merge, transform->listened_ns);
        int64_t head = pl_merge_head(merge);
        if (run_due_defers(transform, head < bound ? head : bound))
            ran = true;
        pl_merge_item item;
        if (out_full(transform) || !pl_merge_next(merge, bound, transform->listened_ns, &item))
            return ran;
        (void)pl_transform_records(transform, &item.record, 1, item.batch);
        transform->ran++;
        pl_flow_batch_unref(item.batch);
        ran = true;
    }
    return true;
}

/* Without `order` records run as they arrive, and time is the newest that was seen. */
static void run_packet(pl_transform_stage *transform, const pl_packet *packet, uint32_t input)
{
    pl_merge *merge = &transform->merge;
    for (uint32_t i = 0; i < packet->count;) {
        if (pl_defers_pending(&transform->defers))
            (void)run_due_defers(transform, packet->records[i]->time_unix_ns);
        i += pl_transform_records(transform, packet->records + i, packet->count - i, packet->batch);
    }
    transform->ran += packet->count;
    if (!pl_merge_observe(merge, packet, input, transform->listened_ns))
        pl_stage_halt_no_memory(&transform->stage);
}

/* false: there is none. */
static bool take_packet(pl_transform_stage *transform, uint32_t *records)
{
    pl_packet packet;
    uint32_t input;
    if (!pl_stage_take(&transform->stage, &packet, &input))
        return false;
    pl_account *account = &transform->stage.account;
    uint32_t replayed = 0;
    for (uint32_t i = 0; i < packet.count; i++)
        replayed += packet.records[i]->flags & PL_RECORD_REPLAY ? 1 : 0;
    pl_count(&account->read, packet.count - replayed);
    pl_count(&account->replayed, replayed);
    *records += packet.count ? packet.count : 1;
    transform->heard_ns = transform->now_ns;
    if (transform->setup.ordered) {
        if (!pl_merge_take(&transform->merge, &packet, input, transform->listened_ns))
            pl_stage_halt_no_memory(&transform->stage);
    } else {
        run_packet(transform, &packet, input);
    }
    pl_flow_batch_unref(packet.batch);
    return true;
}

static int64_t run_timers(pl_transform_stage *transform)
{
    int64_t soonest = INT64_MAX;
    for (size_t i = 0; i < transform->timer_count; i++) {
        pl_timer *timer = &transform->timers[i];
        int64_t period = pl_script_timer_period(transform->script, i);
        if (transform->now_ns >= timer->due_ns) {
            pl_transform_timer(transform, i);
            timer->due_ns += period;
            if (timer->due_ns <= transform->now_ns) /* late: no burst to catch up */
                timer->due_ns = transform->now_ns + period;
        }
        soonest = timer->due_ns < soonest ? timer->due_ns : soonest;
    }
    return soonest;
}

/* ---- durable state ------------------------------------------------------------ */

static void take_snapshot(pl_transform_stage *transform)
{
    pl_error error = {.struct_size = sizeof error};
    pl_buf state = PL_BUF(PL_CHECKPOINT_MAX_BYTES);
    if (pl_script_save(transform->script, &state, &error) != PL_OK)
        halt(transform, &error);
    else if (!pl_checkpoint_take(&transform->checkpoint, pl_buf_str(&state), &transform->merge, transform->now_ns))
        pl_stage_halt_no_memory(&transform->stage);
    pl_buf_release(&state);
}

static void run_checkpoint(pl_transform_stage *transform)
{
    pl_error error = {.struct_size = sizeof error};
    bool final = transform->drained;
    if (pl_checkpoint_advance(&transform->checkpoint, &error) == PL_FAILED)
        halt(transform, &error);
    if (!pl_checkpoint_due(&transform->checkpoint, transform->now_ns, final))
        return;
    take_snapshot(transform);
    if (pl_checkpoint_advance(&transform->checkpoint, &error) == PL_FAILED)
        halt(transform, &error);
}

/* ---- the step ------------------------------------------------------------------- */

static bool start_merge(pl_transform_stage *transform)
{
    const pl_stage *stage = &transform->stage;
    size_t count = 0;
    for (uint32_t i = 0; i < stage->input_count; i++)
        count += stage->inputs[i]->source_count;
    pl_merge_source *sources = pl_calloc(count + 1, sizeof *sources);
    if (!sources)
        return false;
    count = 0;
    for (uint32_t i = 0; i < stage->input_count; i++)
        for (size_t s = 0; s < stage->inputs[i]->source_count; s++)
            sources[count++] = (pl_merge_source){i, stage->inputs[i]->sources[s]};
    transform->setup.merge.input_count = stage->input_count;
    transform->setup.merge.sources = sources;
    transform->setup.merge.source_count = count;
    bool ok = pl_merge_init(&transform->merge, &transform->setup.merge, transform->now_ns);
    pl_free(sources);
    return ok;
}

static bool start(pl_transform_stage *transform)
{
    transform->started = true;
    pl_stage *stage = &transform->stage;
    transform->heard_ns = transform->listened_ns = transform->looked_ns = transform->now_ns;
    transform->out = pl_calloc(stage->port_count + 1, sizeof *transform->out);
    transform->call.marks = pl_calloc(stage->port_count + 1, sizeof *transform->call.marks);
    transform->timer_count = transform->script ? pl_script_timer_count(transform->script) : 0;
    transform->timers = pl_calloc(transform->timer_count + 1, sizeof *transform->timers);
    if (!transform->out || !transform->call.marks || !transform->timers)
        return false;
    for (size_t i = 0; i < transform->timer_count; i++)
        transform->timers[i].due_ns = transform->now_ns + pl_script_timer_period(transform->script, i);
    for (uint32_t p = 0; p < stage->port_count; p++)
        transform->marks_wanted = transform->marks_wanted || pl_port_reads_marks(&stage->ports[p]);
    return start_merge(transform);
}

static void drain(pl_transform_stage *transform)
{
    transform->merge.ended = true;
    if (transform->setup.ordered ? run_merged(transform) : run_due_defers(transform, INT64_MAX))
        return;
    transform->drained = !transform->merge.buffered && !pl_defers_pending(&transform->defers);
}

static int64_t resume_at(const pl_transform_stage *transform, int64_t timer_ns)
{
    const pl_merge *merge = &transform->merge;
    int64_t resume = timer_ns;
    if (merge->buffered || pl_defers_pending(&transform->defers)) {
        int64_t idle = transform->setup.ordered ? pl_merge_resume(merge, transform->listened_ns)
                                                : transform->heard_ns + transform->setup.merge.idle_ns;
        if (transform->setup.ordered && idle != INT64_MAX)
            idle += transform->now_ns - transform->listened_ns;
        resume = idle < resume ? idle : resume;
    }
    if (transform->setup.durable && !pl_checkpoint_done(&transform->checkpoint)) {
        int64_t look = transform->now_ns + PL_FLOW_TICK_NS;
        resume = look < resume ? look : resume;
    }
    return resume;
}

static pl_stepped finish(pl_transform_stage *transform)
{
    if (!pl_stage_drain(&transform->stage))
        return pl_step_idle(INT64_MAX);
    if (!transform->closed)
        pl_stage_close(&transform->stage);
    transform->closed = true;
    if (transform->setup.durable)
        run_checkpoint(transform);
    if (!transform->setup.durable || pl_checkpoint_done(&transform->checkpoint))
        return pl_step_done();
    return pl_step_idle(transform->now_ns + PL_FLOW_TICK_NS / 10);
}

/* Counts the time since the last look if we were listening then, that is, if there was or is nothing to take in, and
 * nothing kept the others from speaking. */
static void listen(pl_transform_stage *transform, bool quiet)
{
    bool stalled = pl_flow_stalled(transform->stage.flow);
    if (quiet && !stalled && !transform->stalled)
        transform->listened_ns += transform->now_ns - transform->looked_ns;
    transform->looked_ns = transform->now_ns;
    transform->stalled = stalled;
}

static pl_stepped blocked(pl_transform_stage *transform)
{
    listen(transform, false);
    transform->rested = false;
    return pl_step_idle(INT64_MAX);
}

/* Nobody below waits for what is ready, and there is room for more. */
static bool may_wait(const pl_transform_stage *transform)
{
    const pl_stage *stage = &transform->stage;
    for (uint32_t p = 0; p < stage->port_count; p++)
        if (transform->out[p] && transform->out[p]->count && pl_port_wants(&stage->ports[p], transform->out[p]->count))
            return false;
    return !out_full(transform) && transform->merge.buffered < RUN_RECORDS &&
           pl_flow_now(stage->flow) - transform->now_ns < PL_STAGE_WORK_NS;
}

/* One packet, and more as long as those below have enough to do and have not waited long. */
static bool hear(pl_transform_stage *transform)
{
    if (transform->rested)
        listen(transform, true);
    uint32_t records = 0;
    bool took = take_packet(transform, &records);
    while (took && records < RUN_RECORDS && may_wait(transform) && take_packet(transform, &records))
        ;
    listen(transform, !took);
    return took;
}

static pl_stepped work(pl_transform_stage *transform)
{
    pl_stage *stage = &transform->stage;
    if (atomic_load(&stage->flow->aborting))
        return pl_step_done();
    if (!transform->started && !start(transform)) {
        pl_stage_halt_no_memory(&transform->stage);
        return pl_step_done();
    }
    if (transform->drained)
        return finish(transform);
    if (!pl_stage_drain(stage))
        return blocked(transform);
    bool ended = pl_stage_inputs_ended(stage); /* before taking: what came in before the end is not missed */
    bool worked = hear(transform);
    if (!worked && ended)
        drain(transform);
    else if (transform->setup.ordered)
        worked = run_merged(transform) || worked;
    else if (transform->now_ns - transform->heard_ns >= transform->setup.merge.idle_ns)
        worked = run_due_defers(transform, INT64_MAX) || worked;
    int64_t timer_ns = run_timers(transform);
    publish(transform);
    if (transform->setup.durable)
        run_checkpoint(transform);
    transform->rested = !worked && !ended;
    return transform->rested ? pl_step_idle(resume_at(transform, timer_ns)) : pl_step_again();
}

/* Those above ask how much work they hand over, see pl_port_wants. */
static void measure(pl_transform_stage *transform)
{
    if (!transform->ran)
        return;
    int64_t took_ns = (pl_flow_now(transform->stage.flow) - transform->now_ns) / transform->ran;
    uint32_t before = atomic_load_explicit(&transform->stage.record_ns, memory_order_relaxed);
    uint32_t now = took_ns < 1 ? 1 : took_ns < INT32_MAX ? (uint32_t)took_ns : INT32_MAX;
    now = before ? before - before / 4 + now / 4 : now;
    atomic_store_explicit(&transform->stage.record_ns, now ? now : 1, memory_order_relaxed);
    transform->ran = 0;
}

static pl_stepped step(pl_stage *stage, int64_t now_ns)
{
    pl_transform_stage *transform = (pl_transform_stage *)stage;
    transform->now_ns = now_ns;
    pl_stepped next = work(transform);
    measure(transform);
    pl_flow_tell_settled(stage->flow);
    return next;
}

/* ---- life ----------------------------------------------------------------------- */

static void release(pl_stage *stage)
{
    pl_transform_stage *transform = (pl_transform_stage *)stage;
    for (uint32_t p = 0; transform->out && p < stage->port_count; p++)
        pl_flow_batch_unref(transform->out[p]);
    pl_free((void *)transform->out);
    pl_free(transform->timers);
    pl_free(transform->news);
    pl_defers_free(&transform->defers);
    pl_merge_release(&transform->merge);
    pl_checkpoint_release(&transform->checkpoint);
    pl_transform_calls_release(transform);
    pl_script_free(&transform->script);
    pl_when_free(&transform->when);
    pl_stage_release_base(stage);
}

static pl_status load(pl_transform_stage *transform, pl_error *error)
{
    pl_transform_setup *setup = &transform->setup;
    if (setup->durable && pl_checkpoint_open(&transform->checkpoint, setup->checkpoint_path, PL_CHECKPOINT_EVERY_NS,
                                             &setup->script.state, error) != PL_OK)
        return PL_FAILED;
    if (setup->when) {
        transform->when = pl_when_new(setup->when, setup->when_path, setup->when_line, setup->script.clock, error);
        if (!transform->when)
            return PL_FAILED;
    }
    setup->script.host = &transform->script_host;
    if (setup->checked && *setup->checked) {
        transform->script = *setup->checked;
        *setup->checked = NULL;
        pl_script_serve(transform->script, setup->script.host);
    } else if (setup->script.path || setup->script.text) {
        transform->script = pl_script_new(&setup->script, error);
    }
    return transform->script || !(setup->script.path || setup->script.text) ? PL_OK : PL_FAILED;
}

pl_transform_stage *pl_transform_stage_new(pl_flow *flow, const pl_transform_setup *setup, const char *name,
                                           pl_error *error)
{
    pl_transform_stage *transform = pl_calloc(1, sizeof *transform);
    if (!transform) {
        (void)pl_fail(error, PL_HALT, "no memory");
        return NULL;
    }
    transform->stage.flow = flow;
    transform->stage.name = name;
    transform->stage.step = step;
    transform->stage.release = release;
    transform->stage.reads_marks = setup->ordered;
    transform->told_deferred = INT64_MAX;
    transform->setup = *setup;
    transform->defers.groups = &flow->groups;
    flow->rebuilds = flow->rebuilds || setup->rebuilt;
    if (!pl_transform_calls_init(transform) || load(transform, error) != PL_OK) {
        release(&transform->stage);
        pl_free(transform);
        return NULL;
    }
    return transform;
}
