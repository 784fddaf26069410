/* scripts/accuracy.lua against its definition, worked out here by brute force over all records at once: seeded markets
 * with repeated, late and backward times, delivered twice and in any order. */
#include "support.h"

#include <base/buf.h>
#include <base/random.h>
#include <base/timestamp.h>
#include <record/document.h>
#include <script/feed.h>
#include <stdlib.h>

#define SCRIPT PL_SOURCE_DIR "/scripts/accuracy.lua"
#define LIBRARY PL_SOURCE_DIR "/scripts/lib"
#define SECOND INT64_C(1000000000)
#define START INT64_C(1651399200) /* 2022-05-01T10:00:00Z */

enum { API_MAX = 80, POLL_MAX = 80, ROW_MAX = 400, SOURCES = 3, SEEDS = 60 };
enum { MAX_AGE_S = 1200, SETTLE_S = 15, STALE_S = 3600 + 300 }; /* the script's defaults */

typedef struct api {
    int source;
    int64_t price, at; /* cents; seconds after START */
} api;

typedef struct poll {
    int round;
    int64_t price, updated, observed;
} poll;

typedef struct market {
    api apis[API_MAX];
    poll polls[POLL_MAX];
    size_t api_count, poll_count;
} market;

/* ---- a market ---------------------------------------------------------------------- */

static int64_t below(pl_random *random, uint64_t bound)
{
    return (int64_t)pl_random_below(random, bound);
}

static bool same_value_twice(const market *m, api value)
{
    for (size_t i = 0; i < m->api_count; i++)
        if (m->apis[i].source == value.source && m->apis[i].at == value.at)
            return true;
    return false;
}

static void make_apis(market *m, pl_random *random, int64_t span)
{
    size_t wanted = 10 + (size_t)below(random, API_MAX - 10);
    for (size_t tries = 0; tries < wanted; tries++) {
        api value = {(int)below(random, SOURCES), 199000 + below(random, 2000), below(random, (uint64_t)span)};
        if (below(random, 3) == 0 && m->api_count > 0)
            value.at = m->apis[m->api_count - 1].at; /* several sources at one time */
        if (!same_value_twice(m, value))
            m->apis[m->api_count++] = value;
    }
}

/* Rounds with times of their own, some of them back; each poll shows the round that the node knows of. */
static void make_polls(market *m, pl_random *random, int64_t span)
{
    poll now = {1, 200000, 0, 0};
    bool used[8000] = {false};
    for (int64_t at = 1 + below(random, 30); at < span && m->poll_count < POLL_MAX; at += 1 + below(random, 240)) {
        if (below(random, 3) == 0) {
            int64_t updated = at - below(random, below(random, 4) == 0 ? 1500 : 20);
            if (updated >= 0 && !used[updated]) {
                used[updated] = true;
                now = (poll){now.round + 1, 199000 + below(random, 2000), updated, 0};
            }
        }
        now.observed = at;
        if (now.round > 1)
            m->polls[m->poll_count++] = now;
    }
}

/* ---- the definition ------------------------------------------------------------------ */

typedef struct reference {
    int64_t n, sum, low, high, oldest;
} reference;

static reference reference_at(const market *m, int64_t at)
{
    reference ref = {0, 0, INT64_MAX, 0, INT64_MAX};
    for (int source = 0; source < SOURCES; source++) {
        const api *newest = NULL;
        for (size_t i = 0; i < m->api_count; i++)
            if (m->apis[i].source == source && m->apis[i].at <= at && (!newest || m->apis[i].at > newest->at))
                newest = &m->apis[i];
        if (!newest || at - newest->at > MAX_AGE_S)
            continue;
        ref.n++;
        ref.sum += newest->price;
        ref.low = newest->price < ref.low ? newest->price : ref.low;
        ref.high = newest->price > ref.high ? newest->price : ref.high;
        ref.oldest = newest->at < ref.oldest ? newest->at : ref.oldest;
    }
    return ref;
}

/* numerator / denominator to 6 digits, half to even; denominator above 0. Returns it without its sign, in millionths.
 */
static int64_t ratio(int64_t numerator, int64_t denominator, char out[64])
{
    int64_t scaled = (numerator < 0 ? -numerator : numerator) * 1000000;
    int64_t whole = scaled / denominator, rest = scaled % denominator * 2;
    if (rest > denominator || (rest == denominator && whole % 2 == 1))
        whole++;
    (void)snprintf(out, 64, "%s%lld.%06lld", numerator < 0 && whole > 0 ? "-" : "", (long long)(whole / 1000000),
                   (long long)(whole % 1000000));
    return whole;
}

static void when(int64_t seconds, char out[PL_TIMESTAMP_MAX])
{
    (void)pl_time_format((START + seconds) * SECOND, out);
}

static void add_row(const market *m, pl_buf *out, const char *basis, const poll *round, int64_t at)
{
    char text[PL_TIMESTAMP_MAX], deviation[64], spread[64];
    reference ref = reference_at(m, at);
    bool number = ref.n >= 2, over = false;
    when(at, text);
    pl_buf_printf(out, "%s %d %s n=%d", basis, round->round, text, (int)ref.n);
    if (number) {
        int64_t moved = (int64_t)100 * (ref.n * round->price - ref.sum);
        over = ratio(moved, ref.sum, deviation) > 500000;
        (void)ratio((int64_t)100 * ref.n * (ref.high - ref.low), ref.sum, spread);
        pl_buf_printf(out, " %s %s %d", deviation, spread, (int)(at - ref.oldest));
    }
    pl_buf_printf(out, " %s\n",
                  at - round->updated > STALE_S ? "stale"
                  : !number                     ? "inconclusive"
                  : over                        ? "over_band"
                                                : "ok");
}

/* When the values of `at` are compared: at the first look at the contract from then on, but no later than settle. */
static int64_t compared_at(const market *m, int64_t at)
{
    int64_t until = at + SETTLE_S;
    for (size_t i = 0; i < m->poll_count; i++)
        if (m->polls[i].observed >= at && m->polls[i].observed < until)
            until = m->polls[i].observed;
    return until;
}

static void expect_now(const market *m, pl_buf *out)
{
    for (size_t i = 0; i < m->api_count; i++) {
        int64_t at = m->apis[i].at, until = compared_at(m, at);
        const poll *force = NULL;
        bool again = false;
        for (size_t k = 0; k < i; k++)
            again = again || m->apis[k].at == at;
        for (size_t k = 0; !again && k < m->poll_count; k++)
            if (m->polls[k].observed <= until && m->polls[k].updated <= at &&
                (!force || m->polls[k].updated > force->updated))
                force = &m->polls[k];
        if (force)
            add_row(m, out, "now", force, at);
    }
}

static void expect_update(const market *m, pl_buf *out)
{
    for (size_t i = 0; i < m->poll_count; i++)
        if (i == 0 || m->polls[i].round != m->polls[i - 1].round)
            add_row(m, out, "update", &m->polls[i], m->polls[i].updated);
}

/* ---- the script -------------------------------------------------------------------------- */

static void add_record(pl_feed *feed, const pl_buf *json, int64_t at)
{
    pl_record record = {.payload = pl_buf_str(json), .time_unix_ns = (START + at) * SECOND};
    assert_true(pl_feed_add(feed, &record));
}

static void add_input(pl_feed *feed, const market *m, size_t index)
{
    char first[PL_TIMESTAMP_MAX], second[PL_TIMESTAMP_MAX];
    pl_buf json = PL_BUF(4096);
    if (index < m->api_count) {
        const api *value = &m->apis[index];
        when(value->at, first);
        pl_buf_printf(
            &json,
            "{\"kind\":\"api\",\"source\":\"s%d\",\"pair\":\"ETH-USD\",\"price\":\"%d.%02d\",\"fetched_at\":\"%s\"}",
            value->source, (int)(value->price / 100), (int)(value->price % 100), first);
        add_record(feed, &json, value->at);
    } else {
        const poll *value = &m->polls[index - m->api_count];
        when(value->updated, first);
        when(value->observed, second);
        pl_buf_printf(
            &json,
            "{\"kind\":\"contract\",\"feed\":\"ETH / USD\",\"pair\":\"ETH-USD\",\"phase_id\":5,\"agg_round\":\"%d\","
            "\"price\":\"%d.%02d\",\"updated_at\":\"%s\",\"observed_at\":\"%s\"}",
            value->round, (int)(value->price / 100), (int)(value->price % 100), first, second);
        add_record(feed, &json, value->observed);
    }
    pl_buf_release(&json);
}

static void add_value(pl_document *document, const char *format, const char *name, pl_buf *out)
{
    pl_value value;
    pl_error error;
    if (pl_document_field(document, PL_S(name), &value, &error) != PL_OK)
        return;
    char text[200];
    if (value.type == PL_INT)
        (void)snprintf(text, sizeof text, "%d", (int)value.as.i);
    else
        (void)snprintf(text, sizeof text, "%.*s", (int)value.as.s.len, value.as.s.ptr);
    pl_buf_printf(out, "%s%s", format, text);
}

static void tell_outputs(const pl_feed *feed, pl_buf *out)
{
    pl_document *document = pl_document_new();
    for (size_t i = 0; i < pl_feed_output_count(feed); i++) {
        pl_document_load(document, pl_feed_output_at(feed, i)->record.payload, PL_CODEC_JSON);
        add_value(document, "", "basis", out);
        add_value(document, " ", "agg_round", out);
        add_value(document, " ", "at", out);
        add_value(document, " n=", "n_sources", out);
        add_value(document, " ", "deviation_pct", out);
        add_value(document, " ", "ref_spread_pct", out);
        add_value(document, " ", "ref_age_s", out);
        add_value(document, " ", "verdict", out);
        pl_buf_addc(out, '\n');
    }
    pl_document_free(&document);
}

/* shuffled: any order of arrival, and some records twice. */
static void run(const market *m, pl_random *random, bool shuffled, pl_buf *out)
{
    size_t order[API_MAX + POLL_MAX], count = m->api_count + m->poll_count;
    pl_feed_setup setup = {.script = SCRIPT, .library = LIBRARY};
    pl_error error = {.message = ""};
    pl_feed *feed = pl_feed_new(&setup, &error);
    assert_non_null(feed);
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    for (size_t i = count; shuffled && i > 1; i--) {
        size_t k = (size_t)below(random, i), kept = order[i - 1];
        order[i - 1] = order[k];
        order[k] = kept;
    }
    for (size_t i = 0; i < count; i++) {
        add_input(feed, m, order[i]);
        if (shuffled && below(random, 8) == 0)
            add_input(feed, m, order[i]);
    }
    assert_int_equal(pl_feed_run(feed, &error), PL_OK);
    if (pl_feed_reject_count(feed) > 0)
        fail_msg("%s", pl_feed_reject_at(feed, 0).ptr);
    tell_outputs(feed, out);
    pl_feed_free(&feed);
}

/* ---- comparing ---------------------------------------------------------------------------- */

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines sorted, each once. */
static void sort_lines(pl_buf *text)
{
    char *lines[ROW_MAX], *at = text->data;
    size_t count = 0;
    pl_buf sorted = PL_BUF(1 << 20);
    while (at && *at) {
        assert_true(count < ROW_MAX);
        lines[count++] = at;
        at += strcspn(at, "\n");
        *at++ = '\0';
    }
    qsort(lines, count, sizeof *lines, compare_lines);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(lines[i], lines[i - 1]) != 0)
            pl_buf_printf(&sorted, "%s\n", lines[i]);
    pl_buf_release(text);
    *text = sorted;
}

static void assert_same_text(const pl_buf *expected, const pl_buf *got, uint64_t seed)
{
    const char *a = pl_buf_str(expected).ptr, *b = pl_buf_str(got).ptr;
    while (*a && *a == *b)
        a++, b++;
    if (*a == *b)
        return;
    while (a > expected->data && a[-1] != '\n')
        a--, b--;
    fail_msg("seed %d: expected %.*s, got %.*s", (int)seed, (int)strcspn(a, "\n"), a, (int)strcspn(b, "\n"), b);
}

static void test_model(void **state)
{
    (void)state;
    size_t rows = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        market m = {.api_count = 0};
        pl_random random;
        pl_buf expected = PL_BUF(1 << 20), plain = PL_BUF(1 << 20), shuffled = PL_BUF(1 << 20);
        pl_random_seed(&random, seed);
        make_apis(&m, &random, 600 + below(&random, 6600));
        make_polls(&m, &random, 600 + below(&random, 6600));
        expect_now(&m, &expected);
        expect_update(&m, &expected);
        run(&m, &random, false, &plain);
        run(&m, &random, true, &shuffled);
        sort_lines(&expected);
        sort_lines(&plain);
        sort_lines(&shuffled);
        assert_same_text(&expected, &plain, seed);
        assert_same_text(&expected, &shuffled, seed);
        for (const char *c = pl_buf_str(&expected).ptr; *c; c++)
            rows += *c == '\n';
        pl_buf_release(&expected);
        pl_buf_release(&plain);
        pl_buf_release(&shuffled);
    }
    assert_true(rows > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
    return cmocka_run_group_tests_name("accuracy model", tests, NULL, NULL);
}
