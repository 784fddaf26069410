/* Sources, a script and sinks that misbehave at random, under the seeded scheduler: whatever happens, the account comes
 * out after every step, a commit never passes what is settled, and in the end nothing is missing.
 *
 * PL_SEEDS sets how many seeds (default 1500); PL_SEED runs just one. */
#include "support.h"
#include "support_seeds.h"

#include <stdlib.h>
#include <string.h>

enum { RECORDS = 200, LANES = 3, SINKS = 2, BAD = 13, SCRIPT_BAD = 17 };

typedef struct world world;

typedef struct wild_source {
    world *world;
    const pl_host *host;
    uint32_t index;
    uint32_t lane[LANES];
    uint32_t next[LANES], begun[LANES], committed[LANES]; /* committed: how many are */
    bool open[LANES];
} wild_source;

typedef struct wild_sink {
    world *world;
    const pl_host *host;
    uint32_t index;
    bool async, letters;
    struct {
        uint64_t ticket;
        uint32_t count;
        uint32_t ids[64];
    } open[32];
    uint32_t open_count;
    uint32_t last[2][LANES];   /* synchronous: greatest number + 1 that was settled, by source and lane */
    uint32_t newest[2][LANES]; /* greatest number + 1 that it was given, settled or not */
    uint8_t given[2][LANES][RECORDS];
} wild_sink;

struct world {
    kit kit;
    pl_random random;
    bool scripted, remembers, lanes_close; /* remembers: the script gives out nothing for what it has seen before */
    uint32_t trouble;                      /* in 100 calls */
    wild_source sources[2];
    uint32_t source_count;
    wild_sink sinks[SINKS + 1];
    pl_source_stage *in[2];
    /* By source, lane, number: edges that are done with it, and those that refused it. */
    uint8_t done[2][LANES][RECORDS], dead[2][LANES][RECORDS];
};

static bool chance(world *w, uint32_t of_100)
{
    return pl_random_below(&w->random, 100) < of_100;
}

static uint32_t id_of(uint32_t source, uint32_t lane, uint32_t number)
{
    return (source * LANES + lane) * RECORDS + number;
}

/* ---- the source -------------------------------------------------------------------- */

static pl_status create_source(const pl_host *host, const void *config, void **self, pl_error *error)
{
    (void)error;
    wild_source *source = (wild_source *)(uintptr_t)config;
    source->host = host;
    *self = source;
    return PL_OK;
}

static void destroy(void *self)
{
    (void)self;
}

static uint32_t children(const world *w, uint32_t id) /* see the scripts; what is filtered never reaches a sink */
{
    if (w->scripted && id % 5 == 0)
        return 0;
    if (w->scripted && id % SCRIPT_BAD == 0)
        return 1;
    return w->scripted && id % 5 == 1 ? 2 * SINKS : SINKS;
}

static bool is_done(const world *w, uint32_t source, uint32_t lane, uint32_t number)
{
    return w->done[source][lane][number] + w->dead[source][lane][number] >= children(w, id_of(source, lane, number));
}

static void take_away(wild_source *source, uint32_t lane)
{
    uint64_t settled;
    source->host->lane_close(source->host, source->lane[lane], 0, &settled);
    source->open[lane] = false;
    uint32_t from = settled == UINT64_MAX ? source->begun[lane] : (uint32_t)settled + 1;
    assert_true(from >= source->committed[lane]);
    for (uint32_t n = source->committed[lane]; n < from; n++) /* it commits what was settled until then, by itself */
        assert_true(is_done(source->world, source->index, lane, n));
    source->committed[lane] = from;
    source->next[lane] = source->begun[lane] = from;
}

static void open_lane(wild_source *source, uint32_t lane)
{
    char name[16];
    (void)snprintf(name, sizeof name, "%u/%u", source->index, lane);
    source->lane[lane] = source->host->lane_open(source->host, PL_S(name));
    source->open[lane] = true;
}

static bool emit(wild_source *source, uint32_t lane)
{
    char payload[64];
    uint32_t number = source->next[lane]++;
    (void)snprintf(payload, sizeof payload, "{\"id\":%u}", id_of(source->index, lane, number));
    pl_emission emission = {.struct_size = sizeof emission,
                            .lane = source->lane[lane],
                            .position = number,
                            .time_unix_ns = KIT_T0 + (int64_t)number * 1000,
                            .payload = PL_S(payload)};
    return source->host->emit(source->host, &emission);
}

static pl_status next_of(void *self, int64_t deadline_ns, int64_t *resume_ns, pl_error *error)
{
    (void)deadline_ns;
    wild_source *source = self;
    world *w = source->world;
    if (chance(w, w->trouble))
        return pl_fail(error, PL_RETRY, "trouble");
    if (chance(w, w->trouble)) {
        *resume_ns = w->kit.clock.now + (int64_t)pl_random_below(&w->random, 2000000000);
        return PL_AGAIN;
    }
    bool more = false;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        if (source->open[lane] && w->lanes_close && chance(w, 5))
            take_away(source, lane);
        if (!source->open[lane])
            open_lane(source, lane);
        more = more || source->next[lane] < RECORDS;
    }
    for (uint64_t n = pl_random_below(&w->random, 60); more && n > 0; n--) {
        uint32_t lane = (uint32_t)pl_random_below(&w->random, LANES);
        if (source->next[lane] < RECORDS && !emit(source, lane))
            return PL_OK;
    }
    return more || (w->lanes_close && chance(w, 80)) ? PL_OK : PL_END;
}

static pl_status commit(void *self, uint32_t lane_index, uint64_t position, pl_error *error)
{
    wild_source *source = self;
    world *w = source->world;
    if (chance(w, w->trouble / 2))
        return pl_fail(error, PL_RETRY, "trouble");
    for (uint32_t lane = 0; lane < LANES; lane++) {
        if (source->lane[lane] != lane_index)
            continue;
        assert_true(position + 1 > source->committed[lane]);
        assert_true(position < source->next[lane]);
        for (uint32_t n = source->committed[lane]; n <= position; n++)
            assert_true(is_done(w, source->index, lane, n));
        source->committed[lane] = (uint32_t)position + 1;
        return PL_OK;
    }
    fail_msg("a commit of a lane that is not open");
    return PL_OK;
}

/* ---- the sinks ------------------------------------------------------------------------ */

static pl_status create_sink(const pl_host *host, const void *config, void **self, pl_error *error)
{
    (void)error;
    wild_sink *sink = (wild_sink *)(uintptr_t)config;
    sink->host = host;
    *self = sink;
    return PL_OK;
}

static uint32_t id_in(wild_sink *sink, const pl_record *record)
{
    pl_value value;
    assert_true(sink->host->field(sink->host, record, PL_S("id"), &value));
    return (uint32_t)value.as.i;
}

static void settled(wild_sink *sink, uint32_t id)
{
    world *w = sink->world;
    uint32_t source = id / (LANES * RECORDS);
    uint32_t lane = id / RECORDS % LANES;
    uint32_t number = id % RECORDS;
    uint8_t *count = sink->letters ? &w->dead[source][lane][number] : &w->done[source][lane][number];
    *count = (uint8_t)(*count < 200 ? *count + 1 : *count);
    if (sink->letters || sink->async || w->scripted || w->lanes_close)
        return;
    assert_true(number >= sink->last[source][lane]); /* order within the lane */
    sink->last[source][lane] = number + 1;
}

static bool bad(const wild_sink *sink, uint32_t id)
{
    return !sink->letters && id % BAD == sink->index;
}

static void settle(wild_sink *sink, uint64_t ticket, const uint32_t *ids, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        settled(sink, ids[i]);
    sink->host->settle(sink->host, ticket, first, count, NULL);
}

static pl_status write_sync(wild_sink *sink, uint64_t ticket, const uint32_t *ids, uint32_t count, pl_error *error)
{
    world *w = sink->world;
    uint32_t begun = 0;
    if (chance(w, 30)) /* some are settled whatever becomes of the rest */
        for (begun = 0; begun < count / 2 && !bad(sink, ids[begun]); begun++)
            settle(sink, ticket, ids, begun, 1);
    if (chance(w, w->trouble))
        return pl_fail(error, PL_RETRY, "trouble");
    for (uint32_t i = begun; i < count; i++)
        if (bad(sink, ids[i]))
            return pl_fail(error, PL_REJECT, "bad");
    settle(sink, ticket, ids, begun, count - begun);
    return PL_OK;
}

/* What it is given for the first time comes in the lane's order, whatever was given back or read again in between. */
static void check_order(wild_sink *sink, const uint32_t *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t source = ids[i] / (LANES * RECORDS), lane = ids[i] / RECORDS % LANES, number = ids[i] % RECORDS;
        if (!sink->given[source][lane][number]) {
            assert_true(number >= sink->newest[source][lane]);
            sink->newest[source][lane] = number + 1;
        }
        sink->given[source][lane][number] = 1;
    }
}

static pl_status write_of(void *self, const pl_batch *batch, int64_t deadline_ns, pl_error *error)
{
    (void)deadline_ns;
    wild_sink *sink = self;
    uint32_t ids[64];
    if (chance(sink->world, sink->world->trouble) || sink->open_count == 32)
        return PL_AGAIN;
    assert_true(batch->count <= 64);
    for (uint32_t i = 0; i < batch->count; i++)
        ids[i] = id_in(sink, batch->records[i]);
    if (!sink->world->scripted && !sink->letters) /* the script puts some off */
        check_order(sink, ids, batch->count);
    if (!sink->async)
        return write_sync(sink, batch->ticket, ids, batch->count, error);
    sink->open[sink->open_count].ticket = batch->ticket;
    sink->open[sink->open_count].count = batch->count;
    memcpy(sink->open[sink->open_count++].ids, ids, sizeof ids);
    return PL_OK;
}

/* One of the open batches, record by record, some given back. */
static void settle_one(wild_sink *sink)
{
    world *w = sink->world;
    uint32_t at = (uint32_t)pl_random_below(&w->random, sink->open_count);
    for (uint32_t i = sink->open[at].count; i > 0; i--) {
        pl_error why = {.struct_size = sizeof why, .error_class = PL_REJECT, .message = "bad"};
        if (bad(sink, sink->open[at].ids[i - 1])) {
            sink->host->settle(sink->host, sink->open[at].ticket, i - 1, 1, &why);
        } else if (chance(w, w->trouble)) {
            why.error_class = PL_RETRY;
            sink->host->settle(sink->host, sink->open[at].ticket, i - 1, 1, &why);
        } else {
            settle(sink, sink->open[at].ticket, sink->open[at].ids, i - 1, 1);
        }
    }
    sink->open[at] = sink->open[--sink->open_count];
}

static pl_status flush(void *self, int64_t deadline_ns, pl_error *error)
{
    (void)deadline_ns;
    (void)error;
    wild_sink *sink = self;
    while (sink->open_count && chance(sink->world, 50))
        settle_one(sink);
    return sink->open_count ? PL_AGAIN : PL_OK;
}

/* ---- one run ---------------------------------------------------------------------------- */

static void look(kit *k)
{
    for (size_t i = 0; i < k->count; i++) {
        const pl_account *account = &k->stages[i]->account;
        uint64_t finished =
            pl_counted(&account->delivered) + pl_counted(&account->filtered) + pl_counted(&account->dead_lettered);
        assert_true(pl_counted(&account->read) >= finished);
    }
    assert_false(atomic_load(&k->flow.halted));
}

#define ON_RECORD                                                                                                      \
    "  if r.id % 5 == 0 then return end\n"                                                                             \
    "  if r.id % 17 == 0 then error('no') end\n"                                                                       \
    "  if r.id % 5 == 1 then return { { id = r.id }, { id = r.id } } end\n"                                            \
    "  if r.id % 5 == 2 then\n"                                                                                        \
    "    local id = r.id\n"                                                                                            \
    "    defer(m.time + 5000, 'k' .. id, function() return { id = id } end)\n"                                         \
    "    return\n"                                                                                                     \
    "  end\n"                                                                                                          \
    "  return r\n"                                                                                                     \
    "end\n"

static const char script[] = "function on_record(r, m)\n" ON_RECORD;
static const char remembering[] = "local seen = {}\n"
                                  "function on_record(r, m)\n"
                                  "  if seen[r.id] then return end\n"
                                  "  seen[r.id] = true\n" ON_RECORD;

static void build(world *w, uint64_t seed)
{
    static const pl_source source = {sizeof source, PL_SOURCE_REPLAYS, next_of, commit};
    static const pl_component from = {.struct_size = sizeof from,
                                      .option_size = sizeof(pl_option),
                                      .name = "wild",
                                      .create = create_source,
                                      .destroy = destroy,
                                      .source = &source};
    static const pl_sink sink = {sizeof sink, 0, write_of, flush};
    static const pl_component to = {.struct_size = sizeof to,
                                    .option_size = sizeof(pl_option),
                                    .name = "wild",
                                    .create = create_sink,
                                    .destroy = destroy,
                                    .sink = &sink};
    memset(w, 0, sizeof *w);
    kit_open(&w->kit, seed);
    pl_random_seed(&w->random, seed + 1000000);
    w->kit.after_step = look;
    w->kit.flow.memory.limit = (size_t)(100 + pl_random_below(&w->random, 900)) << 10;
    w->trouble = (uint32_t)pl_random_below(&w->random, 4) * 10;
    w->scripted = chance(w, 25);
    w->lanes_close = chance(w, 30);
    w->remembers = w->scripted && w->lanes_close;
    w->source_count = chance(w, 50) ? 2 : 1;
    static const char *const names[] = {"one", "two"};
    for (uint32_t s = 0; s < w->source_count; s++) {
        w->sources[s] = (wild_source){.world = w, .index = s};
        pl_source_setup setup = {.codec = PL_CODEC_JSON, .share_bytes = 32 << 10};
        w->in[s] = kit_add_source_of(&w->kit, names[s], &from, &w->sources[s], &setup);
    }
    pl_transform_setup ordered = {.ordered = chance(w, 50)};
    const char *lua = w->remembers ? remembering : script;
    pl_stage *middle = w->scripted ? &kit_add_transform(&w->kit, "script", lua, &ordered)->stage : NULL;
    for (uint32_t s = 0; middle && s < w->source_count; s++)
        kit_connect(&w->kit, &w->in[s]->stage, NULL, middle);
    static const char *const sinks[] = {"first", "second"};
    for (uint32_t i = 0; i < SINKS; i++) {
        w->sinks[i] = (wild_sink){.world = w, .index = i, .async = chance(w, 50)};
        pl_sink_setup setup = {.batch_records = 1 + (uint32_t)pl_random_below(&w->random, 64),
                               .batch_wait_ns = (int64_t)pl_random_below(&w->random, 1000000000)};
        pl_sink_stage *out = kit_add_sink_of(&w->kit, sinks[i], &to, &w->sinks[i], &setup);
        for (uint32_t s = 0; s < w->source_count; s++)
            if (!middle || s == 0)
                kit_connect(&w->kit, middle ? middle : &w->in[s]->stage, NULL, &out->stage);
    }
    w->sinks[SINKS] = (wild_sink){.world = w, .index = SINKS, .letters = true, .async = chance(w, 50)};
    pl_sink_setup letters = {.batch_records = 64, .dead_letters = true};
    (void)kit_letters_of(&w->kit, &to, &w->sinks[SINKS], &letters);
}

static void judge(const world *w)
{
    for (uint32_t s = 0; s < w->source_count; s++) {
        const pl_account *account = &w->in[s]->stage.account;
        assert_int_equal(pl_source_in_flight(w->in[s]), 0);
        if (!w->lanes_close)
            assert_int_equal(pl_counted(&account->read), LANES * RECORDS);
        for (uint32_t lane = 0; lane < LANES; lane++) {
            assert_int_equal(w->sources[s].committed[lane], RECORDS);
            for (uint32_t n = 0; n < RECORDS; n++) {
                uint32_t id = id_of(s, lane, n);
                uint32_t refusals = 0;
                for (uint32_t i = 0; i < SINKS; i++)
                    refusals += id % BAD == i ? 1 : 0;
                if (w->scripted || w->lanes_close)
                    continue;
                assert_int_equal(w->done[s][lane][n], SINKS - refusals); /* no crash: exactly once */
                assert_int_equal(w->dead[s][lane][n], refusals);
            }
        }
    }
    for (size_t i = 0; i < w->kit.count; i++) {
        const pl_account *account = &w->kit.stages[i]->account;
        assert_int_equal(pl_counted(&account->read), pl_counted(&account->delivered) + pl_counted(&account->filtered) +
                                                         pl_counted(&account->dead_lettered));
    }
}

static void run_seed(void *self, uint64_t seed)
{
    world *w = self;
    build(w, seed);
    if (!kit_run(&w->kit, 200000))
        fail_msg("seed %llu does not end", (unsigned long long)seed);
    judge(w);
    kit_close(&w->kit);
}

static void test_whatever_happens(void **state)
{
    (void)state;
    static world w;
    (void)seeds_run(run_seed, &w, 1500);
}

/* The same seed is the same run, step by step. */
static void test_a_seed_is_a_run(void **state)
{
    (void)state;
    static world w;
    uint64_t steps[2];
    int64_t ended[2];
    bool different = false;
    for (uint64_t seed = 0; seed < 20; seed++) {
        for (int i = 0; i < 2; i++) {
            build(&w, seed);
            assert_true(kit_run(&w.kit, 200000));
            different = different || (seed && w.kit.steps != steps[0]);
            steps[i] = w.kit.steps;
            ended[i] = w.kit.clock.now;
            kit_close(&w.kit);
        }
        assert_int_equal(steps[0], steps[1]);
        assert_int_equal(ended[0], ended[1]);
    }
    assert_true(different);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_whatever_happens, seeds_tell),
        cmocka_unit_test(test_a_seed_is_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
