#include "feed.h"

#include <base/mem.h>
#include <base/str.h>
#include <stdlib.h>

typedef struct list { /* of items of one size */
    void *items;
    size_t count, capacity;
} list;

typedef struct waiting {
    int64_t at;
    pl_str key;
    int ref;
    pl_record envelope;
} waiting;

typedef struct input {
    pl_record record;
    size_t order;
} input;

typedef struct metric {
    const char *name;
    double value;
} metric;

struct pl_feed {
    pl_arena *arena;
    pl_script *script;
    pl_script_host host;
    pl_virtual_clock clock;
    bool clock_stands;
    const pl_record *current; /* whose call is under way */
    list inputs, waiting, outputs, rejects, metrics, timers;
    size_t kept_outputs, kept_waiting; /* of calls that succeeded */
    size_t timer_runs;
};

/* The new, last item, or NULL. */
static void *append(list *items, size_t size)
{
    if (items->count == items->capacity) {
        size_t capacity = items->capacity ? items->capacity * 2 : 16;
        void *grown = pl_realloc(items->items, capacity, size);
        if (!grown)
            return NULL;
        items->items = grown;
        items->capacity = capacity;
    }
    return (char *)items->items + items->count++ * size;
}

/* ---- what the script tells -------------------------------------------------------- */

static pl_str keep(pl_feed *feed, pl_str text, bool *good)
{
    pl_str copy = pl_arena_str(feed->arena, text);
    if (text.ptr && !copy.ptr)
        *good = false;
    return copy;
}

static bool copy_record(pl_feed *feed, const pl_record *record, pl_record *out)
{
    bool good = true;
    *out = *record;
    out->stream = keep(feed, record->stream, &good);
    out->key = keep(feed, record->key, &good);
    out->payload = keep(feed, record->payload, &good);
    return good; /* headers lie in the same arena: they are only ever made by the script */
}

static pl_status feed_emit(void *self, const char *port, const pl_record *out, pl_error *error)
{
    pl_feed *feed = self;
    pl_feed_output *output = append(&feed->outputs, sizeof *output);
    bool good = output != NULL;
    if (good) {
        output->port = port ? keep(feed, PL_S(port), &good).ptr : NULL;
        good = copy_record(feed, out, &output->record) && good;
    }
    return good ? PL_OK : pl_fail(error, PL_HALT, "out of memory");
}

static pl_status feed_defer(void *self, int64_t at, pl_str key, int ref, pl_error *error)
{
    pl_feed *feed = self;
    const waiting *all = feed->waiting.items;
    for (size_t i = 0; i < feed->waiting.count; i++)
        if (all[i].at == at && pl_str_eq(all[i].key, key))
            return PL_AGAIN;
    waiting *one = append(&feed->waiting, sizeof *one);
    bool good = one != NULL;
    if (good) {
        *one = (waiting){at, keep(feed, key, &good), ref, {.time_unix_ns = at}};
        good = copy_record(feed, feed->current, &one->envelope) && good;
        one->envelope.payload = (pl_str){NULL, 0};
        one->envelope.time_unix_ns = at;
    }
    return good ? PL_OK : pl_fail(error, PL_HALT, "out of memory");
}

static void feed_metric(void *self, const char *name, double value)
{
    pl_feed *feed = self;
    metric *all = feed->metrics.items;
    for (size_t i = 0; i < feed->metrics.count; i++) {
        if (strcmp(all[i].name, name) == 0) {
            all[i].value += value;
            return;
        }
    }
    bool good = true;
    metric *one = append(&feed->metrics, sizeof *one);
    if (one)
        *one = (metric){keep(feed, PL_S(name), &good).ptr, value};
    if (one && !one->name)
        feed->metrics.count--;
}

/* ---- time --------------------------------------------------------------------------- */

static void move_clock(pl_feed *feed, int64_t unix_ns)
{
    int64_t now = feed->clock.now + feed->clock.unix_offset;
    if (!feed->clock_stands && unix_ns > now)
        feed->clock.now += unix_ns - now;
}

static pl_status after_call(pl_feed *feed, pl_status status, pl_error *error)
{
    if (status == PL_OK) {
        feed->kept_outputs = feed->outputs.count;
        feed->kept_waiting = feed->waiting.count;
        return PL_OK;
    }
    feed->outputs.count = feed->kept_outputs;
    const waiting *asked = feed->waiting.items;
    while (feed->waiting.count > feed->kept_waiting)
        pl_script_forget(feed->script, asked[--feed->waiting.count].ref);
    if (error->error_class == PL_HALT)
        return PL_FAILED;
    bool good = true;
    pl_str *reason = append(&feed->rejects, sizeof *reason);
    if (reason)
        *reason = keep(feed, pl_script_reasons(feed->script), &good);
    return reason && good ? PL_OK : pl_fail(error, PL_HALT, "out of memory");
}

/* The waiting function that is next: by time, then by key, so that it does not depend on who asked first. */
static size_t next_waiting(const pl_feed *feed)
{
    const waiting *all = feed->waiting.items;
    size_t best = feed->waiting.count;
    for (size_t i = 0; i < feed->waiting.count; i++)
        if (best == feed->waiting.count || all[i].at < all[best].at ||
            (all[i].at == all[best].at && pl_str_cmp(all[i].key, all[best].key) < 0))
            best = i;
    return best;
}

static pl_status run_waiting(pl_feed *feed, size_t index, pl_error *error)
{
    waiting *all = feed->waiting.items, one = all[index];
    all[index] = all[--feed->waiting.count];
    feed->kept_waiting = feed->waiting.count;
    move_clock(feed, one.at);
    feed->current = &one.envelope;
    pl_status status = pl_script_deferred(feed->script, one.ref, &one.envelope, feed->arena, error);
    feed->current = NULL;
    return after_call(feed, status, error);
}

/* The timer that is due next, or the count. */
static size_t next_timer(const pl_feed *feed)
{
    const int64_t *due = feed->timers.items;
    size_t best = feed->timers.count;
    for (size_t i = 0; i < feed->timers.count; i++)
        if (best == feed->timers.count || due[i] < due[best])
            best = i;
    return best;
}

static pl_status run_timer(pl_feed *feed, size_t index, pl_error *error)
{
    int64_t *due = feed->timers.items;
    pl_record envelope = {.time_unix_ns = due[index]};
    if (++feed->timer_runs > PL_FEED_TIMER_RUNS_MAX)
        return pl_fail(error, PL_HALT, "every(): more than %d runs between the records' times", PL_FEED_TIMER_RUNS_MAX);
    move_clock(feed, due[index]);
    due[index] += pl_script_timer_period(feed->script, index);
    feed->current = &envelope;
    pl_status status = pl_script_timer(feed->script, index, feed->arena, error);
    feed->current = NULL;
    return after_call(feed, status, error);
}

/* Everything that is due before `until`, in order of time. Timers only while there are records. */
static pl_status run_due(pl_feed *feed, int64_t until, bool timers, pl_error *error)
{
    for (;;) {
        size_t function = next_waiting(feed), timer = next_timer(feed);
        const waiting *all = feed->waiting.items;
        const int64_t *due = feed->timers.items;
        bool has_function = function < feed->waiting.count && all[function].at < until;
        bool has_timer = timers && timer < feed->timers.count && due[timer] <= until;
        pl_status status;
        if (has_timer && (!has_function || due[timer] <= all[function].at))
            status = run_timer(feed, timer, error);
        else if (has_function)
            status = run_waiting(feed, function, error);
        else
            return PL_OK;
        if (status != PL_OK)
            return status;
    }
}

/* ---- running ---------------------------------------------------------------------------- */

static int by_time(const void *left, const void *right)
{
    const input *a = left, *b = right;
    if (a->record.time_unix_ns != b->record.time_unix_ns)
        return a->record.time_unix_ns < b->record.time_unix_ns ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static pl_status start_timers(pl_feed *feed, int64_t from, pl_error *error)
{
    for (size_t i = 0; i < pl_script_timer_count(feed->script); i++) {
        int64_t *due = append(&feed->timers, sizeof *due);
        if (!due)
            return pl_fail(error, PL_HALT, "out of memory");
        *due = from + pl_script_timer_period(feed->script, i);
    }
    return PL_OK;
}

pl_status pl_feed_run(pl_feed *feed, pl_error *error)
{
    input *inputs = feed->inputs.items;
    if (!feed->inputs.count)
        return PL_OK;
    qsort(inputs, feed->inputs.count, sizeof *inputs, by_time);
    move_clock(feed, inputs[0].record.time_unix_ns);
    if (start_timers(feed, inputs[0].record.time_unix_ns, error) != PL_OK)
        return PL_FAILED;
    for (size_t i = 0; i < feed->inputs.count; i++) {
        const pl_record *record = &inputs[i].record;
        if (run_due(feed, record->time_unix_ns, true, error) != PL_OK)
            return PL_FAILED;
        move_clock(feed, record->time_unix_ns);
        feed->current = record;
        pl_status status = pl_script_record(feed->script, record, feed->arena, error);
        feed->current = NULL;
        if (after_call(feed, status, error) != PL_OK)
            return PL_FAILED;
    }
    return run_due(feed, INT64_MAX, false, error);
}

bool pl_feed_add(pl_feed *feed, const pl_record *record)
{
    input *one = feed->inputs.count < PL_FEED_RECORDS_MAX ? append(&feed->inputs, sizeof *one) : NULL;
    if (!one)
        return false;
    one->order = feed->inputs.count;
    return copy_record(feed, record, &one->record);
}

static pl_script *load_script(pl_feed *feed, const pl_feed_setup *setup, pl_error *error)
{
    pl_script_setup script = {.path = setup->script,
                              .library = setup->library,
                              .with = setup->with,
                              .diags = setup->diags,
                              .clock = &feed->clock.clock,
                              .host = &feed->host,
                              .seed = 1};
    return pl_script_new(&script, error);
}

pl_feed *pl_feed_new(const pl_feed_setup *setup, pl_error *error)
{
    pl_feed *feed = pl_calloc(1, sizeof *feed);
    if (feed)
        feed->arena = pl_arena_new(1 << 16);
    if (!feed || !feed->arena) {
        (void)pl_fail(error, PL_HALT, "out of memory");
        pl_feed_free(&feed);
        return NULL;
    }
    feed->host = (pl_script_host){feed, feed_emit, feed_defer, feed_metric};
    pl_virtual_clock_init(&feed->clock, setup->now_unix_ns);
    feed->clock_stands = setup->now_unix_ns != 0;
    feed->script = load_script(feed, setup, error);
    if (!feed->script)
        pl_feed_free(&feed);
    return feed;
}

void pl_feed_free(pl_feed **feed)
{
    if (!*feed)
        return;
    pl_script_free(&(*feed)->script);
    pl_arena_free(&(*feed)->arena);
    pl_free((*feed)->inputs.items);
    pl_free((*feed)->waiting.items);
    pl_free((*feed)->outputs.items);
    pl_free((*feed)->rejects.items);
    pl_free((*feed)->metrics.items);
    pl_free((*feed)->timers.items);
    pl_free(*feed);
    *feed = NULL;
}

size_t pl_feed_output_count(const pl_feed *feed)
{
    return feed->outputs.count;
}

const pl_feed_output *pl_feed_output_at(const pl_feed *feed, size_t index)
{
    const pl_feed_output *all = feed->outputs.items;
    return &all[index];
}

size_t pl_feed_reject_count(const pl_feed *feed)
{
    return feed->rejects.count;
}

pl_str pl_feed_reject_at(const pl_feed *feed, size_t index)
{
    const pl_str *all = feed->rejects.items;
    return all[index];
}

size_t pl_feed_metric_count(const pl_feed *feed)
{
    return feed->metrics.count;
}

double pl_feed_metric_at(const pl_feed *feed, size_t index, const char **name)
{
    const metric *all = feed->metrics.items;
    *name = all[index].name;
    return all[index].value;
}
