/* generate: seeded synthetic records. Record n depends on seed and n alone, so that a run can be taken up anywhere and
 * gives the same bytes. */
#include "template.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { LANES_MAX = 1024, KEY_MAX = 32, EMIT_A_CALL = 1000 };
static const int64_t SECOND_NS = INT64_C(1000000000), PACE_NS = 1000000;

/* The records that Plumbline's own benchmarks are stated for: 242 bytes, a round id beyond 2^53, an exact price, a
 * field to drop. */
static const char reference_template[] =
    "{\"seq\":{n},\"pair\":\"{key}\",\"feed\":\"0x{hex:40}\",\"round_id\":{rand:73786976294838206..92233720368547758},"
    "\"price\":\"{rand:1000.00000000..4999.99999999}\",\"volume_24h\":{rand:1000000.00..9999999.99},"
    "\"updated_at\":\"{time}\",\"source\":\"generate\",\"debug\":\"{pad}\"}";
/* As the price sources hand over, so that the accuracy pipelines run on it. */
static const char price_template[] =
    "{\"schema\":1,\"kind\":\"api\",\"source\":\"{pick:coingecko|coinpaprika}\",\"pair\":\"{key}\","
    "\"price\":\"{rand:1000.00000000..1099.99999999}\",\"source_ts\":\"{time}\",\"fetched_at\":\"{time}\","
    "\"volume_24h\":\"{rand:1000000.00..9999999.99}\"}";

typedef struct config {
    int64_t count, seed, lanes, keys, payload_bytes;
    double rate;
    const char *shape, *template, *start;
    int64_t step;
    bool resume;
} config;

typedef struct generate {
    const pl_host *host;
    const config *config;
    const pl_store *store; /* NULL: no resume */
    record_template compiled;
    text_buf text;
    uint64_t n;        /* the next record's number */
    uint64_t *settled; /* by lane: position up to which all was settled before this start */
    uint32_t *lanes;   /* global index of each */
    bool lanes_open;
    int64_t start_unix_ns;
    int64_t began_ns;  /* monotonic; 0: not yet */
    int64_t rewind_ns; /* "pl.rewind/1": settled records of so much event time are given again; 0: none */
    uint64_t paced;    /* records handed over since began_ns */
    atomic_bool interrupted;
} generate;

static pl_status bad_option(pl_error *error, const char *option, const char *message)
{
    (void)snprintf(error->option, sizeof error->option, "%s", option);
    return pl_fail(error, PL_BAD_CONFIG, "%s", message);
}

static pl_status check(const void *opaque, pl_error *error)
{
    const config *given = opaque;
    int64_t start;
    if (!text_time_parse(PL_S(given->start), &start)) {
        return bad_option(error, "start", "not a time; expected e.g. 2026-01-01T00:00:00Z");
    }
    if (!given->template) {
        return PL_OK;
    }
    record_template compiled;
    pl_status status = template_compile(given->template, &compiled, error);
    template_release(&compiled);
    return status;
}

static void destroy(void *opaque)
{
    generate *self = opaque;
    if (self) {
        template_release(&self->compiled);
        text_release(&self->text);
        free(self->settled);
        free(self->lanes);
        free(self);
    }
}

static pl_status create(const pl_host *host, const void *opaque, void **out, pl_error *error)
{
    const config *given = opaque;
    const char *text = given->template                      ? given->template
                       : strcmp(given->shape, "price") == 0 ? price_template
                                                            : reference_template;
    generate *self = calloc(1, sizeof *self);
    if (!self) {
        return pl_fail(error, PL_RETRY, "no memory");
    }
    self->host = host;
    self->config = given;
    self->store = given->resume ? host->extension(host, "pl.store/1") : NULL;
    self->settled = calloc((size_t)given->lanes, sizeof *self->settled);
    self->lanes = calloc((size_t)given->lanes, sizeof *self->lanes);
    pl_status status = template_compile(text, &self->compiled, error);
    if (status == PL_OK && (!self->settled || !self->lanes)) {
        status = pl_fail(error, PL_RETRY, "no memory for %lld lanes", (long long)given->lanes);
    }
    if (status != PL_OK) {
        destroy(self);
        return status;
    }
    (void)text_time_parse(PL_S(given->start), &self->start_unix_ns);
    *out = self;
    return PL_OK;
}

static void interrupt(void *opaque)
{
    atomic_store(&((generate *)opaque)->interrupted, true);
}

/* ---- Lanes and positions -------------------------------------------------------------- */

static pl_str lane_name(size_t lane, char out[KEY_MAX])
{
    return (pl_str){out, (size_t)snprintf(out, KEY_MAX, "lane%zu", lane)};
}

/* A lane's position is the number of its newest record plus one. What a lane had settled is not given again; the others
 * go on from where the least of them stood. */
static void open_lanes(generate *self)
{
    uint64_t least = UINT64_MAX;
    for (size_t lane = 0; lane < (size_t)self->config->lanes; lane++) {
        char name[KEY_MAX], digits[KEY_MAX];
        pl_str value;
        self->lanes[lane] = self->host->lane_open(self->host, lane_name(lane, name));
        if (self->store && self->store->get(self->host, lane_name(lane, name), &value) && value.len < sizeof digits) {
            memcpy(digits, value.ptr, value.len);
            digits[value.len] = '\0';
            self->settled[lane] = strtoull(digits, NULL, 10);
        }
        least = self->settled[lane] < least ? self->settled[lane] : least;
    }
    uint64_t back = self->config->step > 0 ? (uint64_t)(self->rewind_ns / self->config->step) : UINT64_MAX;
    self->n = self->rewind_ns == 0 ? least : least > back ? least - back : 0;
    self->lanes_open = true;
}

static pl_status commit(void *opaque, uint32_t lane, uint64_t position, pl_error *error)
{
    generate *self = opaque;
    for (size_t i = 0; self->store && i < (size_t)self->config->lanes; i++) {
        if (self->lanes[i] == lane && position > self->settled[i]) {
            char name[KEY_MAX], digits[KEY_MAX];
            int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)position);
            return self->store->put(self->host, lane_name(i, name), (pl_str){digits, (size_t)len}, error);
        }
    }
    return PL_OK;
}

/* ---- Records ------------------------------------------------------------------------------ */

/* The first keys are the pairs that the example pipelines know. */
static pl_str key_name(uint64_t key, char out[KEY_MAX])
{
    static const char *const known[] = {"ETH-USD", "BTC-USD", "LINK-USD"};
    if (key < sizeof known / sizeof *known) {
        return PL_S(known[key]);
    }
    return (pl_str){out, (size_t)snprintf(out, KEY_MAX, "P%06llu-USD", (unsigned long long)key)};
}

/* false: the host wants no more now. */
static bool emit_one(generate *self)
{
    const config *given = self->config;
    uint64_t n = self->n++;
    template_values values = {
        .n = n,
        .time_unix_ns = self->start_unix_ns + (int64_t)n * given->step,
        .bytes = (size_t)given->payload_bytes,
        .random = {(uint64_t)given->seed * UINT64_C(0xD1342543DE82EF95) + n},
    };
    char name[KEY_MAX];
    uint64_t key = template_random_below(&values.random, (uint64_t)given->keys);
    size_t lane = (size_t)(key % (uint64_t)given->lanes); /* a key keeps to its lane, and so its order */
    bool again = n + 1 <= self->settled[lane];
    if (again && self->rewind_ns == 0) {
        return true;
    }
    values.key = key_name(key, name);
    self->text.len = 0;
    template_render(&self->compiled, &values, &self->text);
    pl_emission emission = {
        .struct_size = sizeof emission,
        .lane = self->lanes[lane],
        .position = n + 1,
        .time_unix_ns = values.time_unix_ns,
        .key = values.key,
        .payload = {self->text.data, self->text.len},
        .flags = again ? PL_EMIT_REPLAY : 0,
    };
    self->paced++;
    return self->host->emit(self->host, &emission);
}

/* How many records are due now; without a rate, as many as one call hands over. */
static uint64_t due(generate *self, int64_t now_ns)
{
    if (self->config->rate == 0) {
        return EMIT_A_CALL;
    }
    double owed = (double)(now_ns - self->began_ns) * self->config->rate / (double)SECOND_NS + 1;
    uint64_t total = owed < 0x1p62 ? (uint64_t)owed : UINT64_C(1) << 62;
    uint64_t more = total > self->paced ? total - self->paced : 0;
    return more < EMIT_A_CALL ? more : EMIT_A_CALL;
}

static pl_status next(void *opaque, int64_t deadline_ns, int64_t *resume_ns, pl_error *error)
{
    generate *self = opaque;
    uint64_t count = (uint64_t)self->config->count;
    (void)deadline_ns;
    if (!self->lanes_open) {
        open_lanes(self);
        self->began_ns = self->host->now_ns(self->host);
    }
    *resume_ns = INT64_MAX;
    if (atomic_load_explicit(&self->interrupted, memory_order_relaxed)) {
        return PL_AGAIN;
    }
    int64_t now = self->host->now_ns(self->host);
    uint64_t more = due(self, now);
    for (uint64_t i = 0; i < more && (count == 0 || self->n < count); i++) {
        if (!emit_one(self)) {
            break;
        }
    }
    if (self->text.failed) {
        return pl_fail(error, PL_HALT, "no memory for a record of %lld bytes", (long long)self->config->payload_bytes);
    }
    if (count > 0 && self->n >= count) {
        return PL_END;
    }
    if (more == EMIT_A_CALL) {
        return PL_OK;
    }
    int64_t gap = (int64_t)((double)SECOND_NS / self->config->rate);
    *resume_ns = now + (gap > PACE_NS ? gap : PACE_NS);
    return PL_AGAIN;
}

static pl_status go_back(void *opaque, int64_t span_ns, pl_error *error)
{
    (void)error;
    ((generate *)opaque)->rewind_ns = span_ns;
    return PL_OK;
}

static const void *extension(void *self, const char *id)
{
    static const pl_rewind rewind = {.struct_size = sizeof rewind, .rewind = go_back};
    (void)self;
    return strcmp(id, "pl.rewind/1") == 0 ? &rewind : NULL;
}

/* ---- Declaration --------------------------------------------------------------------------- */

static const char *const shapes[] = {"reference", "price", NULL};
static const pl_option options[] = {
    {PL_OPTION(config, count, INT, "0", "records in all; 0: without end"), .min = 0, .max = 0x1p53},
    {PL_OPTION(config, rate, FLOAT, "0", "records a second; 0: as fast as they are taken"), .min = 0, .max = 1e9},
    {PL_OPTION(config, seed, INT, "1", "the same seed gives the same records")},
    {PL_OPTION(config, shape, ENUM, "reference",
               "built-in records: reference (242 bytes, of the benchmarks), price (an API value)"),
     .choices = shapes},
    {PL_OPTION(config, template, STR, NULL,
               "records of your own: text with {n}, {time}, {key}, {rand:LO..HI}, {pick:A|B|C}, {hex:LEN}, {pad}"),
     .example = "'{\"id\":{n},\"at\":\"{time}\",\"price\":\"{rand:1.00..9.99}\"}'"},
    {PL_OPTION(config, payload_bytes, SIZE, "242", "{pad} fills a record up to this size"), .min = 0, .max = 1 << 24},
    {PL_OPTION(config, keys, INT, "3", "distinct keys; ETH-USD, BTC-USD and LINK-USD are the first"), .min = 1,
     .max = 1e9},
    {PL_OPTION(config, lanes, INT, "1", "lanes, as a topic's partitions; a key keeps to one"), .min = 1,
     .max = LANES_MAX},
    {PL_OPTION(config, start, STR, "\"2026-01-01T00:00:00Z\"", "event time of the first record")},
    {PL_OPTION(config, step, DURATION_NS, "1ms", "event time between two records"), .min = 0, .max = 86400e9},
    {PL_OPTION(config, resume, BOOL, "false", "remember what was delivered, and go on behind it after a restart")},
};

static const pl_source source = {
    .struct_size = sizeof(pl_source),
    .flags = PL_SOURCE_REPLAYS,
    .next = next,
    .commit = commit,
};

static const pl_component component = {
    .struct_size = sizeof(pl_component),
    .option_size = sizeof(pl_option),
    .name = "generate",
    .summary = "makes seeded synthetic records, for tests and benchmarks",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .config_size = sizeof(config),
    .check = check,
    .create = create,
    .interrupt = interrupt,
    .destroy = destroy,
    .source = &source,
    .extension = extension,
};

static const pl_component *const components[] = {&component, NULL};

const pl_plugin *pl_plugin_entry(void)
{
    static const pl_plugin plugin = {
        .magic = PL_MAGIC,
        .abi_major = PL_ABI_MAJOR,
        .abi_minor = PL_ABI_MINOR,
        .struct_size = sizeof(pl_plugin),
        .name = "generate",
        .version = PLUGIN_VERSION,
        .components = components,
    };
    return &plugin;
}
