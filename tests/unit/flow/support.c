#include "support.h"

#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>
#include <stdio.h>

static void note_sources(void *self)
{
    kit *k = self;
    for (size_t i = 0; i < k->count; i++)
        if (k->instances[i] && !pl_instance_component(k->instances[i])->sink)
            pl_source_memory_freed((pl_source_stage *)k->stages[i]);
}

static void note_all(void *self)
{
    kit *k = self;
    for (size_t i = 0; i < k->count; i++)
        pl_stage_note(k->stages[i]);
}

static void capture(void *self, const char *line, size_t len)
{
    kit *k = self;
    size_t have = strlen(k->log);
    if (have + len + 2 < sizeof k->log)
        (void)snprintf(k->log + have, sizeof k->log - have, "%.*s\n", (int)len, line);
}

void kit_open(kit *k, uint64_t seed)
{
    *k = (kit){0};
    pl_log_capture(capture, k);
    pl_virtual_clock_init(&k->clock, KIT_T0);
    pl_log_setup(PL_LOG_TEXT, PL_INFO, &k->clock.clock); /* a new limit for each kind of line */
    pl_random_seed(&k->random, seed);
    k->flow.clock = &k->clock.clock;
    k->flow.seeded = true;
    k->flow.pipeline = "test";
    k->flow.on_halt = note_all;
    k->flow.self = k;
    k->flow.memory = (pl_memory){.limit = 64 << 20, .freed = note_sources, .self = k};
    assert_true(pl_flow_init(&k->flow));
}

void kit_close(kit *k)
{
    k->flow.memory.freed = NULL;
    for (size_t i = 0; i < k->count; i++)
        pl_instance_free(&k->instances[i]);
    for (size_t i = 0; i < k->count; i++)
        k->stages[i]->release(k->stages[i]);
    for (size_t i = 0; i < k->count; i++) {
        pl_stage *stage = k->stages[i];
        for (uint32_t p = 0; p < stage->port_count; p++) {
            for (uint32_t e = 0; e < stage->ports[p].edge_count; e++)
                pl_free((void *)stage->ports[p].edges[e].queues);
            pl_free(stage->ports[p].edges);
        }
        pl_free(stage->ports);
        pl_free((void *)stage->inputs);
        pl_free(stage);
    }
    for (size_t i = 0; i < k->queue_count; i++)
        pl_free(k->queues[i]);
    if (!atomic_load(&k->flow.aborting)) /* else it ends with what its records still held */
        assert_int_equal(atomic_load(&k->flow.memory.used), 0);
    pl_flow_release(&k->flow);
    pl_log_setup(PL_LOG_TEXT, PL_INFO, NULL);
    pl_log_capture(NULL, NULL);
}

static pl_stage *add(kit *k, pl_stage *stage, pl_instance *instance, const char *name)
{
    assert_non_null(stage);
    assert_true(k->count < KIT_STAGES);
    stage->name = name;
    pl_random_seed(&stage->random, pl_random_next(&k->random));
    stage->ports = pl_calloc(1, sizeof *stage->ports);
    stage->port_count = 1;
    k->instances[k->count] = instance;
    k->stages[k->count++] = stage;
    return stage;
}

static pl_instance *instance_of(kit *k, const char *name, const pl_component *component, void *stub)
{
    pl_error error = {.struct_size = sizeof error};
    pl_instance_setup setup = {.name = name, .component = component, .config = stub, .clock = k->flow.clock};
    pl_instance *instance = pl_instance_new(&setup, &error);
    assert_non_null(instance);
    return instance;
}

/* ---- the source -------------------------------------------------------------- */

static pl_status create_source(const pl_host *host, const void *config, void **self, pl_error *error)
{
    (void)error;
    kit_source_stub *stub = (kit_source_stub *)(uintptr_t)config;
    stub->host = host;
    for (size_t i = 0; i < 8; i++)
        stub->committed[i] = UINT64_MAX;
    *self = stub;
    return PL_OK;
}

static void destroy_source(void *self)
{
    ((kit_source_stub *)self)->destroyed = true;
}

static bool open_lanes(kit_source_stub *stub)
{
    stub->lanes = stub->lanes ? stub->lanes : 1;
    for (uint32_t i = 0; i < stub->lanes && !stub->lane[i]; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "lane%u", i);
        stub->lane[i] = stub->host->lane_open(stub->host, PL_S(name));
        if (!stub->lane[i])
            return false;
    }
    return true;
}

static bool emit(kit_source_stub *stub, uint32_t n)
{
    char payload[128];
    char format[64];
    (void)snprintf(format, sizeof format, "%s", stub->payload ? stub->payload : "{\"n\":%u}");
    const char *hole = strstr(format, "%u");
    (void)snprintf(payload, sizeof payload, "%.*s%u%s", (int)(hole - format), format, n, hole + 2);
    int64_t spacing_ns = stub->spacing_ns ? stub->spacing_ns : 1000000000;
    pl_emission emission = {.struct_size = sizeof emission,
                            .lane = stub->lane[n % stub->lanes],
                            .position = n,
                            .time_unix_ns = KIT_T0 + (int64_t)n * spacing_ns,
                            .payload = PL_S(payload)};
    return stub->host->emit(stub->host, &emission);
}

static pl_status next_of_source(void *self, int64_t deadline_ns, int64_t *resume_ns, pl_error *error)
{
    (void)deadline_ns;
    kit_source_stub *stub = self;
    stub->calls++;
    if (!open_lanes(stub))
        return pl_fail(error, PL_HALT, "no lane");
    pl_status status = stub->trouble ? stub->trouble(stub, resume_ns, error) : PL_OK;
    if (status != PL_OK)
        return status;
    for (uint32_t i = 0; i < (stub->a_call ? stub->a_call : 10); i++) {
        if (stub->given == stub->count)
            return PL_END;
        if (!emit(stub, stub->given++))
            return PL_OK;
    }
    return PL_OK;
}

static pl_status commit(void *self, uint32_t lane, uint64_t position, pl_error *error)
{
    kit_source_stub *stub = self;
    stub->commits_tried++;
    if (stub->commit_status == PL_FAILED)
        return pl_fail(error, PL_RETRY, "not now");
    for (uint32_t i = 0; i < stub->lanes; i++) {
        if (stub->lane[i] != lane)
            continue;
        assert_true(stub->committed[i] == UINT64_MAX || position > stub->committed[i]);
        stub->committed[i] = position;
        stub->commits++;
        return PL_OK;
    }
    fail_msg("commit of a lane that was never opened");
    return PL_OK;
}

pl_source_stage *kit_add_source_of(kit *k, const char *name, const pl_component *component, void *config,
                                   const pl_source_setup *more)
{
    pl_source_setup setup = more ? *more : (pl_source_setup){.codec = PL_CODEC_JSON, .validate = true};
    setup.instance = instance_of(k, name, component, config);
    setup.rank = (uint32_t)k->count;
    if (!setup.retry.max_ns)
        setup.retry = (pl_retry_policy){.min_ns = 100000000, .max_ns = 30000000000, .circuit = 5};
    return (pl_source_stage *)add(k, (pl_stage *)pl_source_stage_new(&k->flow, &setup), setup.instance, name);
}

pl_source_stage *kit_add_source(kit *k, const char *name, kit_source_stub *stub, const pl_source_setup *more)
{
    static const pl_source source = {sizeof source, PL_SOURCE_REPLAYS, next_of_source, commit};
    static const pl_component component = {.struct_size = sizeof component,
                                           .option_size = sizeof(pl_option),
                                           .name = "stub",
                                           .create = create_source,
                                           .destroy = destroy_source,
                                           .source = &source};
    return kit_add_source_of(k, name, &component, stub, more);
}

/* ---- the poller ---------------------------------------------------------------- */

static pl_status create_poller(const pl_host *host, const void *config, void **self, pl_error *error)
{
    (void)error;
    kit_poll_stub *stub = (kit_poll_stub *)(uintptr_t)config;
    stub->host = host;
    *self = stub;
    return PL_OK;
}

static void destroy_poller(void *self)
{
    (void)self;
}

static size_t count_of_poller(const void *self)
{
    const kit_poll_stub *stub = self;
    return stub->count ? stub->count : 1;
}

static int64_t every_of_poller(const void *self)
{
    const kit_poll_stub *stub = self;
    return stub->every_ns ? stub->every_ns : 10000000000;
}

static pl_status poll_item(void *self, size_t index, int64_t tick_unix_ns, pl_error *error)
{
    kit_poll_stub *stub = self;
    if (index == 0 && stub->polls < 256)
        stub->polled_ns[stub->polls] = stub->host->now_ns(stub->host);
    stub->polls += index == 0;
    stub->calls++;
    stub->asked[index]++;
    stub->ticked_unix_ns = tick_unix_ns;
    pl_status status = stub->answer ? stub->answer(stub, index, error) : PL_OK;
    if (status != PL_OK)
        return status;
    stub->samples[index]++;
    pl_field fields[] = {{PL_S("item"), {.type = PL_INT, .as.i = (int64_t)index}},
                         {PL_S("n"), {.type = PL_INT, .as.i = stub->polls}}};
    pl_field header = {PL_S("h"), {.type = PL_STR, .as.s = PL_S("v")}};
    pl_emission emission = {.struct_size = sizeof emission,
                            .time_unix_ns = tick_unix_ns,
                            .stream = PL_S("s"),
                            .fields = fields,
                            .field_count = 2,
                            .headers = &header,
                            .header_count = 1};
    (void)stub->host->emit(stub->host, &emission);
    return PL_OK;
}

static pl_status commit_tick(void *self, int64_t tick_unix_ns, pl_error *error)
{
    kit_poll_stub *stub = self;
    assert_true(tick_unix_ns > stub->committed_unix_ns);
    if (stub->commit_fails && stub->commit_fails-- > 0)
        return pl_fail(error, PL_RETRY, "the disk is full");
    stub->committed_unix_ns = tick_unix_ns;
    stub->commits++;
    return PL_OK;
}

pl_source_stage *kit_add_poller(kit *k, const char *name, kit_poll_stub *stub, const pl_source_setup *more)
{
    static const pl_poller poller = {sizeof poller, 0, count_of_poller, every_of_poller, poll_item, commit_tick};
    static const pl_component component = {.struct_size = sizeof component,
                                           .option_size = sizeof(pl_option),
                                           .name = "stub",
                                           .create = create_poller,
                                           .destroy = destroy_poller,
                                           .poller = &poller};
    return kit_add_source_of(k, name, &component, stub, more);
}

/* ---- the sink ------------------------------------------------------------------ */

static pl_status create_sink(const pl_host *host, const void *config, void **self, pl_error *error)
{
    (void)error;
    kit_sink_stub *stub = (kit_sink_stub *)(uintptr_t)config;
    stub->host = host;
    *self = stub;
    return PL_OK;
}

static void destroy_sink(void *self)
{
    ((kit_sink_stub *)self)->destroyed = true;
}

void kit_take(kit_sink_stub *stub, const pl_batch *batch, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        pl_str payload = stub->host->payload(stub->host, batch->records[i]);
        assert_true(stub->text_count < KIT_LOG);
        (void)snprintf(stub->text[stub->text_count++], sizeof stub->text[0], "%.*s", (int)payload.len,
                       payload.ptr ? payload.ptr : "");
    }
    stub->host->settle(stub->host, batch->ticket, first, count, NULL);
}

static pl_status write_of_sink(void *self, const pl_batch *batch, int64_t deadline_ns, pl_error *error)
{
    (void)deadline_ns;
    kit_sink_stub *stub = self;
    if (stub->writes < KIT_LOG)
        stub->sizes[stub->writes] = batch->count;
    stub->writes++;
    pl_status status = stub->trouble ? stub->trouble(stub, batch, error) : PL_OK;
    if (status != PL_OK)
        return status;
    if (!stub->async) {
        kit_take(stub, batch, 0, batch->count);
        return PL_OK;
    }
    if (stub->open_count == 64) /* then it is the test that settles */
        return PL_OK;
    stub->open[stub->open_count].ticket = batch->ticket;
    stub->open[stub->open_count++].count = batch->count;
    return PL_OK;
}

static pl_status flush_of_sink(void *self, int64_t deadline_ns, pl_error *error)
{
    (void)error;
    kit_sink_stub *stub = self;
    bool given_time = deadline_ns > stub->host->now_ns(stub->host);
    stub->flushes++;
    stub->long_flushes += given_time && stub->open_count ? 1 : 0;
    if (!stub->async || stub->mute || (stub->late && !given_time))
        return PL_AGAIN;
    while (stub->open_count) {
        stub->open_count--;
        stub->host->settle(stub->host, stub->open[stub->open_count].ticket, 0, stub->open[stub->open_count].count,
                           NULL);
    }
    return PL_OK;
}

pl_sink_stage *kit_add_sink_of(kit *k, const char *name, const pl_component *component, void *config,
                               const pl_sink_setup *more)
{
    pl_error error = {.struct_size = sizeof error};
    pl_sink_setup setup = more ? *more : (pl_sink_setup){0};
    setup.instance = instance_of(k, name, component, config);
    setup.batch_records = setup.batch_records ? setup.batch_records : 100;
    setup.batch_bytes = setup.batch_bytes ? setup.batch_bytes : 1 << 20;
    if (!setup.retry.max_ns) {
        setup.retry.min_ns = 100000000;
        setup.retry.max_ns = 30000000000;
        setup.retry.circuit = setup.retry.circuit ? setup.retry.circuit : 5;
    }
    return (pl_sink_stage *)add(k, (pl_stage *)pl_sink_stage_new(&k->flow, &setup, name, &error), setup.instance, name);
}

pl_sink_stage *kit_add_sink(kit *k, const char *name, kit_sink_stub *stub, const pl_sink_setup *more)
{
    static const pl_sink sink = {sizeof sink, 0, write_of_sink, flush_of_sink};
    static const pl_component component = {.struct_size = sizeof component,
                                           .option_size = sizeof(pl_option),
                                           .name = "stub",
                                           .create = create_sink,
                                           .destroy = destroy_sink,
                                           .sink = &sink};
    return kit_add_sink_of(k, name, &component, stub, more);
}

/* ---- the transform ---------------------------------------------------------------- */

pl_transform_stage *kit_add_transform(kit *k, const char *name, const char *lua, const pl_transform_setup *more)
{
    pl_error error = {.struct_size = sizeof error};
    pl_transform_setup setup = more ? *more : (pl_transform_setup){0};
    setup.script.component = name;
    setup.script.path = lua ? "t.lua" : NULL;
    setup.script.text = lua;
    setup.script.first_line = 1;
    setup.script.clock = k->flow.clock;
    setup.merge.idle_ns = setup.merge.idle_ns ? setup.merge.idle_ns : 15000000000;
    pl_transform_stage *transform = pl_transform_stage_new(&k->flow, &setup, name, &error);
    if (!transform)
        fail_msg("%s", error.message);
    return (pl_transform_stage *)add(k, (pl_stage *)transform, NULL, name);
}

/* ---- wiring and running ------------------------------------------------------------- */

static pl_queue *queue_between(kit *k, pl_stage *producer, pl_stage *consumer)
{
    assert_true(k->queue_count < KIT_QUEUES);
    pl_queue *queue = pl_calloc(1, sizeof *queue);
    queue->producer = producer;
    queue->consumer = consumer;
    consumer->inputs = pl_realloc((void *)consumer->inputs, consumer->input_count + 1, sizeof(pl_queue *));
    consumer->inputs[consumer->input_count++] = queue;
    k->queues[k->queue_count++] = queue;
    return queue;
}

void kit_connect(kit *k, pl_stage *from, const char *port_name, pl_stage *to)
{
    pl_port *port = pl_stage_port(from, port_name);
    if (!port) {
        from->ports = pl_realloc(from->ports, from->port_count + 1, sizeof *from->ports);
        port = &from->ports[from->port_count++];
        *port = (pl_port){.name = port_name};
    }
    port->edges = pl_realloc(port->edges, port->edge_count + 1, sizeof *port->edges);
    pl_queue **queues = pl_calloc(1, sizeof(pl_queue *));
    queues[0] = queue_between(k, from, to);
    port->edges[port->edge_count++] = (pl_edge){.queues = queues, .queue_count = 1};
    for (uint32_t i = 0; i < k->count && !port_name; i++) {
        k->ranks[i] = i;
        if (!k->instances[i] || pl_instance_component(k->instances[i])->sink)
            break;
        queues[0]->sources = k->stages[i] == from ? &k->ranks[i] : k->ranks;
        queues[0]->source_count = k->stages[i] == from ? 1 : i + 1;
        if (k->stages[i] == from)
            break;
    }
}

static pl_sink_stage *connect_letters(kit *k, pl_sink_stage *letters)
{
    for (size_t i = 0; i + 1 < k->count; i++)
        k->stages[i]->dead_letters = queue_between(k, k->stages[i], &letters->stage);
    return letters;
}

pl_sink_stage *kit_letters(kit *k, kit_sink_stub *stub)
{
    pl_sink_setup setup = {.dead_letters = true};
    return connect_letters(k, kit_add_sink(k, "dead_letter", stub, &setup));
}

pl_sink_stage *kit_letters_of(kit *k, const pl_component *component, void *config, const pl_sink_setup *more)
{
    return connect_letters(k, kit_add_sink_of(k, "dead_letter", component, config, more));
}

pl_stepped kit_step(kit *k, pl_stage *stage)
{
    (void)pl_stage_take_note(stage);
    pl_stepped stepped = stage->step(stage, k->clock.now);
    for (size_t i = 0; i < k->count; i++) {
        if (k->stages[i] != stage)
            continue;
        k->done[i] = stepped.state == PL_STEP_DONE;
        k->resume_ns[i] = stepped.state == PL_STEP_AGAIN ? 0 : stepped.resume_ns;
    }
    k->steps++;
    if (k->after_step)
        k->after_step(k);
    return stepped;
}

static bool able(const kit *k, size_t i)
{
    return !k->done[i] && (k->resume_ns[i] <= k->clock.now || atomic_load(&k->stages[i]->noted));
}

bool kit_run(kit *k, uint64_t steps)
{
    for (uint64_t s = 0; s < steps;) {
        size_t ables = 0;
        int64_t soonest = INT64_MAX;
        bool all_done = true;
        for (size_t i = 0; i < k->count; i++) {
            ables += able(k, i) ? 1 : 0;
            all_done = all_done && k->done[i];
            soonest = !k->done[i] && k->resume_ns[i] < soonest ? k->resume_ns[i] : soonest;
        }
        if (all_done)
            return true;
        if (!ables && soonest == INT64_MAX)
            return false;
        if (!ables) {
            k->clock.now = soonest;
            continue;
        }
        uint64_t pick = pl_random_below(&k->random, ables);
        for (size_t i = 0; i < k->count; i++)
            if (able(k, i) && pick-- == 0) {
                kit_step(k, k->stages[i]);
                break;
            }
        s++;
    }
    return false;
}

void kit_run_for(kit *k, int64_t ns)
{
    int64_t until = k->clock.now + ns;
    for (int64_t soonest = 0; soonest < until && k->steps < 1000000;) {
        soonest = INT64_MAX;
        for (size_t i = 0; i < k->count; i++) {
            int64_t next_ns = able(k, i) ? k->clock.now : k->resume_ns[i];
            soonest = !k->done[i] && next_ns < soonest ? next_ns : soonest;
        }
        if (soonest < until)
            (void)kit_run(k, 1);
    }
    k->clock.now = k->clock.now < until ? until : k->clock.now;
}

void kit_stop(kit *k, pl_stage *source)
{
    atomic_store(&k->flow.stopping, true);
    pl_stage_note(source);
    assert_true(kit_run(k, 10000));
}

void kit_expect(const pl_stage *stage, uint64_t read, uint64_t delivered, uint64_t filtered, uint64_t dead_lettered)
{
    assert_int_equal(pl_counted(&stage->account.read), read);
    assert_int_equal(pl_counted(&stage->account.delivered), delivered);
    assert_int_equal(pl_counted(&stage->account.filtered), filtered);
    assert_int_equal(pl_counted(&stage->account.dead_lettered), dead_lettered);
}

const char *kit_text(const kit_sink_stub *stub)
{
    static char joined[1 << 16];
    size_t length = 0;
    joined[0] = '\0';
    for (uint32_t i = 0; i < stub->text_count && length < sizeof joined - 80; i++)
        length += (size_t)snprintf(joined + length, sizeof joined - length, "%s%s", i ? " " : "", stub->text[i]);
    return joined;
}
