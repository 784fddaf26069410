/* Sources, a script and a transactional store that misbehave at random, under the seeded scheduler. Whenever the flow
 * says so, another one starts over from what the store committed, as the graph does it. After every commit the store
 * holds each record up to its positions once, with all its children, and none beyond.
 *
 * PL_SEEDS sets how many seeds (default 500); PL_SEED runs just one. */
#include "support.h"
#include "support_seeds.h"

#include <flow/transaction.h>
#include <stdlib.h>
#include <string.h>

enum { RECORDS = 150, LANES = 3, SOURCES = 2, ROWS = 4096, LIVES = 200, BAD = 13, TICK = 1000000 /* a timer's */ };

typedef struct world world;

typedef struct from {
    world *world;
    const pl_host *host;
    uint32_t index;
    uint32_t lane[LANES], next[LANES];
    bool open[LANES], sought[LANES];
    char token[16];
} from;

typedef struct store { /* lives longer than a flow */
    uint8_t rows[SOURCES][LANES][RECORDS];
    uint32_t committed[SOURCES][LANES]; /* how many */
} store;

struct world {
    kit kit;
    pl_random random;
    store store;
    const char *script; /* NULL: none */
    bool keeps, lanes_close;
    uint32_t trouble, sources, lives; /* trouble: in 1,000 calls */
    from from[SOURCES];
    pl_source_stage *in[SOURCES];
    kit_sink_stub letters;
    /* The sink: */
    const pl_host *host;
    bool begun, ready;
    uint32_t rows[ROWS], row_count;
    struct {
        uint64_t ticket;
        uint32_t count;
    } open[64];
    uint32_t open_count, commits, begins, ticks;
    pl_stage *middle;
};

static bool chance(world *w, uint32_t of_1000)
{
    return pl_random_below(&w->random, 1000) < of_1000;
}

static void destroy(void *self)
{
    (void)self;
}

/* ---- the source ---------------------------------------------------------------------- */

static pl_status create_source(const pl_host *host, const void *config, void **self, pl_error *error)
{
    (void)error;
    from *source = (from *)(uintptr_t)config;
    source->host = host;
    *self = source;
    return PL_OK;
}

static bool emit(from *source, uint32_t lane)
{
    char payload[64];
    uint32_t number = source->next[lane]++;
    (void)snprintf(payload, sizeof payload, "{\"id\":%u}%s", (source->index * LANES + lane) * RECORDS + number,
                   number % 31 == 30 ? "}" : ""); /* no JSON: a dead letter of the source */
    pl_emission emission = {.struct_size = sizeof emission,
                            .lane = source->lane[lane],
                            .position = number,
                            .time_unix_ns = KIT_T0 + (int64_t)number * 1000,
                            .payload = PL_S(payload)};
    return source->host->emit(source->host, &emission);
}

static void take_away(from *source, uint32_t lane)
{
    uint64_t settled;
    source->host->lane_close(source->host, source->lane[lane], 0, &settled);
    source->open[lane] = source->sought[lane] = false;
    if (!atomic_load(&source->world->kit.flow.aborting) && settled != UINT64_MAX)
        assert_int_equal(settled + 1, source->world->store.committed[source->index][lane]);
}

static pl_status next_of(void *self, int64_t deadline_ns, int64_t *resume_ns, pl_error *error)
{
    from *source = self;
    world *w = source->world;
    (void)deadline_ns;
    if (chance(w, w->trouble))
        return pl_fail(error, PL_RETRY, "trouble");
    bool more = false;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%u/%u", source->index, lane);
        if (source->open[lane] && w->lanes_close && chance(w, 5))
            take_away(source, lane);
        if (!source->open[lane])
            source->lane[lane] = source->host->lane_open(source->host, PL_S(name));
        source->open[lane] = true;
        more = more || !source->sought[lane] || source->next[lane] < RECORDS;
    }
    for (uint64_t n = pl_random_below(&w->random, 40); more && n > 0; n--) {
        uint32_t lane = (uint32_t)pl_random_below(&w->random, LANES);
        if (source->sought[lane] && source->next[lane] < RECORDS && !emit(source, lane))
            return PL_OK;
    }
    *resume_ns = w->kit.clock.now + (int64_t)pl_random_below(&w->random, 300000000);
    return !more ? PL_END : chance(w, 500) ? PL_OK : PL_AGAIN;
}

static pl_status seek(void *self, uint32_t lane_index, uint64_t position, pl_error *error)
{
    from *source = self;
    const world *w = source->world;
    (void)error;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        if (!source->open[lane] || source->lane[lane] != lane_index)
            continue;
        uint32_t committed = w->store.committed[source->index][lane];
        assert_false(source->sought[lane]);
        assert_true(position == (w->keeps && committed ? committed - 1 : UINT64_MAX));
        source->next[lane] = committed; /* its own group, or what it was told: the same */
        source->sought[lane] = true;
        return PL_OK;
    }
    fail_msg("a lane was sought that is not open");
    return PL_OK;
}

static pl_status group_token(void *self, pl_str *token, pl_error *error)
{
    from *source = self;
    (void)error;
    assert_false(source->world->keeps);
    (void)snprintf(source->token, sizeof source->token, "group-%u", source->world->lives);
    *token = PL_S(source->token);
    return PL_OK;
}

/* ---- the sink -------------------------------------------------------------------------- */

static pl_status create_sink(const pl_host *host, const void *config, void **self, pl_error *error)
{
    (void)error;
    world *w = (world *)(uintptr_t)config;
    w->host = host;
    w->begun = w->ready = false;
    w->row_count = w->open_count = 0;
    *self = w;
    return PL_OK;
}

static pl_status init(void *self, pl_error *error)
{
    world *w = self;
    assert_false(w->ready);
    if (chance(w, 300))
        return chance(w, 500) ? PL_AGAIN : pl_fail(error, PL_RETRY, "no connection");
    w->ready = true;
    return PL_OK;
}

static pl_status position_of(void *self, pl_str lane, uint64_t *position, pl_error *error)
{
    world *w = self;
    assert_true(w->ready && w->keeps);
    if (chance(w, 200))
        return chance(w, 500) ? PL_AGAIN : pl_fail(error, PL_RETRY, "no connection");
    uint32_t committed = w->store.committed[lane.ptr[0] - '0'][lane.ptr[2] - '0'];
    *position = (uint64_t)committed - 1;
    return committed ? PL_OK : PL_END;
}

static pl_status begin(void *self, pl_error *error)
{
    world *w = self;
    (void)error;
    assert_true(w->ready && !w->begun && !w->row_count);
    if (chance(w, w->trouble * 3))
        return PL_AGAIN;
    w->begun = true;
    w->begins++;
    return PL_OK;
}

static pl_status write_of(void *self, const pl_batch *batch, int64_t deadline_ns, pl_error *error)
{
    world *w = self;
    uint32_t ids[64];
    (void)deadline_ns;
    assert_true(w->begun && batch->count <= 64);
    if (chance(w, w->trouble) || w->open_count == 64)
        return PL_AGAIN;
    if (chance(w, w->trouble / 4))
        return pl_fail(error, PL_RETRY, "the connection is lost");
    for (uint32_t i = 0; i < batch->count; i++) {
        pl_value value;
        assert_true(w->host->field(w->host, batch->records[i], PL_S("id"), &value));
        ids[i] = (uint32_t)value.as.i;
        if (ids[i] % BAD == 0)
            return pl_fail(error, PL_REJECT, "bad");
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        assert_true(w->row_count < ROWS);
        w->rows[w->row_count++] = ids[i];
    }
    w->open[w->open_count].ticket = batch->ticket;
    w->open[w->open_count++].count = batch->count;
    return PL_OK;
}

static pl_status flush(void *self, int64_t deadline_ns, pl_error *error)
{
    world *w = self;
    (void)deadline_ns;
    while (w->open_count && chance(w, 600)) {
        pl_error why = {.struct_size = sizeof why, .error_class = PL_RETRY, .message = "given back"};
        w->open_count--;
        w->host->settle(w->host, w->open[w->open_count].ticket, 0, w->open[w->open_count].count,
                        chance(w, w->trouble / 8) ? &why : NULL);
    }
    if (chance(w, w->trouble / 20))
        return pl_fail(error, PL_RETRY, "the connection is lost");
    return w->open_count ? PL_AGAIN : PL_OK;
}

static uint32_t children(const world *w, uint32_t id)
{
    bool broken = id % RECORDS % 31 == 30; /* no JSON */
    if (broken || (w->script && (id % 5 == 0 || id % 17 == 0)))
        return 0;
    return id % BAD == 0 ? 0 : w->script && id % 5 == 1 ? 2 : 1;
}

static void look_at(const world *w)
{
    for (uint32_t s = 0; s < w->sources; s++)
        for (uint32_t lane = 0; lane < LANES; lane++)
            for (uint32_t n = 0; n < RECORDS; n++)
                assert_int_equal(w->store.rows[s][lane][n],
                                 n < w->store.committed[s][lane] ? children(w, (s * LANES + lane) * RECORDS + n) : 0);
}

static void make_visible(world *w, const pl_txn_position *positions, uint32_t count)
{
    for (uint32_t i = 0; i < w->row_count; i++)
        if (w->rows[i] == TICK)
            w->ticks++;
        else
            w->store.rows[w->rows[i] / RECORDS / LANES][w->rows[i] / RECORDS % LANES][w->rows[i] % RECORDS]++;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t *committed = &w->store.committed[positions[i].lane.ptr[0] - '0'][positions[i].lane.ptr[2] - '0'];
        assert_true(positions[i].position >= *committed);
        *committed = (uint32_t)positions[i].position + 1;
    }
    w->commits++;
    look_at(w);
}

static pl_status commit(void *self, const pl_txn_position *positions, uint32_t count, pl_str token, int64_t deadline_ns,
                        pl_error *error)
{
    world *w = self;
    (void)deadline_ns;
    assert_true(w->begun && !w->open_count && (count > 0 || w->row_count > 0));
    if (w->keeps)
        assert_null(token.ptr);
    else if (count)
        assert_memory_equal(token.ptr, w->from[0].token, token.len);
    if (chance(w, w->trouble))
        return PL_AGAIN;
    if (chance(w, w->trouble / 2)) {
        if (chance(w, 500))
            make_visible(w, positions, count); /* and the answer is lost */
        return pl_fail(error, PL_RETRY, "nobody knows");
    }
    make_visible(w, positions, count);
    w->begun = false;
    w->row_count = 0;
    return PL_OK;
}

static pl_status abort_of(void *self, pl_error *error)
{
    world *w = self;
    (void)error;
    assert_true(w->begun);
    w->begun = false;
    w->row_count = 0;
    return PL_OK;
}

static const void *sink_extension(void *self, const char *id)
{
    static const pl_txn_sink keeping = {.struct_size = sizeof keeping,
                                        .flags = PL_TXN_KEEPS_POSITIONS,
                                        .begin = begin,
                                        .commit = commit,
                                        .abort = abort_of,
                                        .position = position_of,
                                        .init = init};
    static const pl_txn_sink grouped = {
        .struct_size = sizeof grouped, .begin = begin, .commit = commit, .abort = abort_of, .init = init};
    const world *w = self;
    (void)id;
    return w->keeps ? &keeping : &grouped;
}

/* ---- one run ------------------------------------------------------------------------------ */

static const char script[] = "function on_record(r)\n"
                             "  if r.id % 5 == 0 then return end\n"
                             "  if r.id % 17 == 0 then error('no') end\n"
                             "  if r.id % 5 == 1 then return { { id = r.id }, { id = r.id } } end\n"
                             "  return r\n"
                             "end\n";

static void build(world *w, uint64_t seed)
{
    static const pl_source source = {sizeof source, PL_SOURCE_REPLAYS, next_of, NULL};
    static const pl_txn_source source_txn = {
        .struct_size = sizeof source_txn, .seek = seek, .group_token = group_token};
    static const pl_component above = {.struct_size = sizeof above,
                                       .option_size = sizeof(pl_option),
                                       .name = "from",
                                       .create = create_source,
                                       .destroy = destroy,
                                       .source = &source};
    static const pl_sink sink = {sizeof sink, 0, write_of, flush};
    static const pl_component below = {.struct_size = sizeof below,
                                       .option_size = sizeof(pl_option),
                                       .name = "store",
                                       .create = create_sink,
                                       .destroy = destroy,
                                       .sink = &sink};
    static const char *const names[] = {"one", "two"};
    kit_open(&w->kit, seed);
    w->kit.flow.memory.limit = (size_t)(100 + pl_random_below(&w->random, 900)) << 10;
    w->kit.flow.transaction =
        pl_transaction_new(&w->kit.flow, 10000000 + (int64_t)pl_random_below(&w->random, 500000000));
    assert_non_null(w->kit.flow.transaction);
    for (uint32_t s = 0; s < w->sources; s++) {
        w->from[s] = (from){.world = w, .index = s};
        pl_source_setup setup = {.codec = PL_CODEC_JSON, .validate = true, .share_bytes = 32 << 10, .txn = &source_txn};
        w->in[s] = kit_add_source_of(&w->kit, names[s], &above, &w->from[s], &setup);
    }
    pl_stage *middle = w->script ? &kit_add_transform(&w->kit, "script", w->script, NULL)->stage : NULL;
    w->middle = middle;
    for (uint32_t s = 0; middle && s < w->sources; s++)
        kit_connect(&w->kit, &w->in[s]->stage, NULL, middle);
    pl_sink_setup setup = {.batch_records = 1 + (uint32_t)pl_random_below(&w->random, 64),
                           .batch_wait_ns = (int64_t)pl_random_below(&w->random, 1000000000),
                           .txn = sink_extension(w, "pl.txn/1")};
    pl_sink_stage *out = kit_add_sink_of(&w->kit, "store", &below, w, &setup);
    w->kit.flow.transaction->sink = &out->stage;
    w->kit.flow.transaction->needs_token = !w->keeps;
    for (uint32_t s = 0; s < w->sources; s++)
        if (!middle || s == 0)
            kit_connect(&w->kit, middle ? middle : &w->in[s]->stage, NULL, &out->stage);
    w->letters = (kit_sink_stub){.async = true};
    (void)kit_letters(&w->kit, &w->letters);
}

static void tear_down(world *w)
{
    pl_transaction *transaction = w->kit.flow.transaction;
    kit_close(&w->kit);
    pl_transaction_free(&transaction);
}

/* Until a flow comes to its end; each that lost its transaction is followed by another. */
static void live(world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    pl_random_seed(&w->random, seed + 2000000);
    w->trouble = (uint32_t)pl_random_below(&w->random, 4) * 20;
    w->script = chance(w, 500) ? script : NULL;
    w->keeps = chance(w, 500);
    w->lanes_close = chance(w, 300);
    w->sources = w->keeps && chance(w, 500) ? 2 : 1;
    for (bool over = true; over; w->lives++) {
        if (w->lives == LIVES / 2)
            w->trouble = w->lanes_close = 0; /* it has been enough */
        assert_true(w->lives < LIVES);
        build(w, seed * LIVES + w->lives);
        if (!kit_run(&w->kit, 200000))
            fail_msg("seed %llu does not end", (unsigned long long)seed);
        over = atomic_load(&w->kit.flow.start_over);
        assert_false(atomic_load(&w->kit.flow.halted));
        if (over)
            assert_false(w->begun); /* it was told to abort */
        else
            assert_false(pl_transaction_dirty(w->kit.flow.transaction));
        for (uint32_t s = 0; !over && s < w->sources; s++)
            assert_int_equal(pl_source_in_flight(w->in[s]), 0);
        tear_down(w);
        look_at(w);
    }
    for (uint32_t s = 0; s < w->sources; s++)
        for (uint32_t lane = 0; lane < LANES; lane++)
            assert_int_equal(w->store.committed[s][lane], RECORDS);
}

/* The watermark that it waits for does not move while the gate is closed. */
static void defer_halts(void **state)
{
    (void)state;
    static world w;
    w = (world){.script = "function on_record(r, m) defer(m.time + 1, 'k', function() end) end\n", .sources = 1};
    pl_random_seed(&w.random, 1);
    build(&w, 1);
    (void)kit_run(&w.kit, 200000);
    assert_true(atomic_load(&w.kit.flow.halted));
    assert_non_null(strstr(w.kit.log, "script: defer keeps a record beyond its transaction, so it can't be had with "
                                      "delivery: exactly_once; the pipeline stops"));
    tear_down(&w);
    look_at(&w);
}

/* What no source handed over is in a transaction as well, also while nothing else comes, and at the end. */
static void what_timers_give_out_is_committed(void **state)
{
    (void)state;
    static world w;
    char ticking[512];
    (void)snprintf(ticking, sizeof ticking, "every('3ms', function() return { id = %d } end)\n%s", TICK, script);
    w = (world){.script = ticking, .sources = 1};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        w.ticks = 0;
        w.store = (store){0};
        pl_random_seed(&w.random, seed);
        build(&w, seed);
        assert_true(kit_run(&w.kit, 200000));
        assert_false(w.begun);
        assert_true(w.ticks > 0);
        assert_int_equal(w.ticks, pl_counted(&w.middle->account.born));
        tear_down(&w);
    }
}

typedef struct account {
    world world;
    uint64_t lives, commits;
} account;

static void live_and_count(void *self, uint64_t seed)
{
    account *sum = self;
    live(&sum->world, seed);
    sum->lives += sum->world.lives;
    sum->commits += sum->world.commits;
}

static void nothing_is_lost_and_nothing_doubled(void **state)
{
    (void)state;
    static account sum;
    uint64_t count = seeds_run(live_and_count, &sum, 500);
    if (count > 1) {
        print_message("%llu lives, %llu commits\n", (unsigned long long)sum.lives, (unsigned long long)sum.commits);
        assert_true(sum.lives > 2 * count);       /* transactions were lost */
        assert_true(sum.commits > sum.lives / 2); /* and others not */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defer_halts),
        cmocka_unit_test(what_timers_give_out_is_committed),
        cmocka_unit_test_teardown(nothing_is_lost_and_nothing_doubled, seeds_tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
