/* What the record room's steps cost, as ratios to simdjson's bare structural scan of the same 242-byte record: the
 * machine and its load cancel out. CPU time; rounds alternate over the steps; the median of each is shown. Usage:
 * micro_record [ROUNDS] */
#include <record/decimal.h>
#include <record/document.h>
#include <record/encode.h>
#include <record/scan.h>
#include <stdlib.h>
#include <time.h>

enum { RECORDS = 20000, ROUNDS_MAX = 99 };

typedef struct bench {
    pl_str payload, pair, price, added, dropped;
    pl_scanner *scanner;
    pl_document *doc;
    pl_arena *arena;
    pl_buf out;
    pl_decimal a, b, two;
    uint64_t sink; /* keeps results alive */
} bench;

static void scan(bench *b)
{
    const uint32_t *index;
    uint32_t count = 0;
    b->sink += pl_scan(b->scanner, b->payload, &index, &count) == PL_SCAN_OK ? count : 0;
}

static void scan_and_check(bench *b)
{
    scan(b);
    b->sink += pl_scan_check(b->scanner) == PL_SCAN_OK;
}

static uint64_t get(bench *b, pl_str name)
{
    pl_value value;
    return pl_document_field(b->doc, name, &value, NULL) == PL_OK ? value.as.s.len : 0;
}

static void one_field(bench *b)
{
    pl_document_load(b->doc, b->payload, PL_CODEC_JSON);
    b->sink += get(b, b->pair);
}

static void two_fields(bench *b)
{
    one_field(b);
    b->sink += get(b, b->price);
}

static void validate_two_fields(bench *b)
{
    pl_document_load(b->doc, b->payload, PL_CODEC_JSON);
    b->sink += pl_document_validate(b->doc, NULL) == PL_OK;
    b->sink += get(b, b->pair) + get(b, b->price);
}

static void forward(bench *b)
{
    pl_str out;
    two_fields(b);
    b->sink += pl_document_encode(b->doc, b->arena, &out, NULL) == PL_OK;
}

static void edit_and_splice(bench *b)
{
    pl_str out;
    pl_value value = {.type = PL_INT, .as.i = (int64_t)(b->sink & 1023)};
    two_fields(b);
    b->sink += pl_document_set_field(b->doc, b->added, &value, NULL) == PL_OK;
    b->sink += pl_document_remove_field(b->doc, b->dropped, NULL) == PL_OK;
    b->sink += pl_document_encode(b->doc, b->arena, &out, NULL) == PL_OK;
    pl_arena_reset(b->arena);
}

static void decimal_parse(bench *b)
{
    b->sink += pl_decimal_parse(PL_S("3040.0814242677975"), &b->a) == PL_DECIMAL_OK;
}

static void decimal_mean(bench *b)
{
    pl_decimal sum;
    b->sink += pl_decimal_add(&b->a, &b->b, &sum) == PL_DECIMAL_OK;
    b->sink += pl_decimal_div(&sum, &b->two, &sum) == PL_DECIMAL_OK;
}

static void decimal_ratio(bench *b)
{
    pl_decimal ratio;
    b->sink += pl_decimal_div_to(&b->a, &b->b, 6, &ratio) == PL_DECIMAL_OK;
}

static void decimal_format(bench *b)
{
    char text[PL_DECIMAL_TEXT_MAX];
    b->sink += pl_decimal_format(&b->a, text);
}

static const struct {
    const char *name;
    void (*run)(bench *);
} steps[] = {
    {"structural scan (simdjson)", scan},
    {"scan and whole check", scan_and_check},
    {"load, read 1 of 10 fields", one_field},
    {"load, read 2 fields", two_fields},
    {"load, validate, read 2", validate_two_fields},
    {"load, read 2, forward", forward},
    {"load, read 2, add 1, drop 1, splice", edit_and_splice},
    {"decimal: parse 17 digits", decimal_parse},
    {"decimal: exact mean of two", decimal_mean},
    {"decimal: quotient to 6 places", decimal_ratio},
    {"decimal: format", decimal_format},
};
enum { STEPS = sizeof steps / sizeof *steps };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool set_up(bench *b)
{
    static const char text[] =
        "{\"kind\":\"api\",\"source\":\"coingecko\",\"pair\":\"ETH-USD\",\"price\":3040.0814242677975,"
        "\"volume_24h\":18234567890.1234567,\"round_id\":110680464442257331,\"source_ts\":\"2022-04-17T10:00:32Z\","
        "\"fetched_at\":\"2022-04-17T10:00:32Z\",\"seq\":123456,\"note\":\"abcdef\"}";
    *b = (bench){.pair = PL_S("pair"), .price = PL_S("price"), .added = PL_S("added"), .dropped = PL_S("note")};
    b->scanner = pl_scanner_new();
    b->doc = pl_document_new();
    b->arena = pl_arena_new(4096);
    pl_arena *input = b->arena ? pl_arena_new(4096) : NULL; /* lives as long as the process */
    if (!b->scanner || !b->doc || !input)
        return false;
    b->payload = pl_arena_str(input, PL_S(text));
    pl_decimal_from_int(2, &b->two);
    return pl_decimal_parse(PL_S("3040.0814242677975"), &b->a) == PL_DECIMAL_OK &&
           pl_decimal_parse(PL_S("3043.5188150917966"), &b->b) == PL_DECIMAL_OK;
}

int main(int argc, char **argv)
{
    static double took[STEPS][ROUNDS_MAX];
    bench b;
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 15;
    if (rounds < 1 || rounds > ROUNDS_MAX || !set_up(&b)) {
        (void)fprintf(stderr, "usage: micro_record [ROUNDS], 1 to %d\n", ROUNDS_MAX);
        return 2;
    }
    for (long round = 0; round < rounds; round++) {
        for (size_t step = 0; step < STEPS; step++) {
            clock_t start = clock();
            for (int i = 0; i < RECORDS; i++)
                steps[step].run(&b);
            took[step][round] = (double)(clock() - start) * 1e9 / CLOCKS_PER_SEC / RECORDS;
        }
    }
    (void)printf("record of %zu bytes, %ld rounds of %d (%llu)\n%-38s %8s %6s\n", b.payload.len, rounds, RECORDS,
                 (unsigned long long)(b.sink & 1), "step", "ns", "ratio");
    double base = 1;
    for (size_t step = 0; step < STEPS; step++) {
        qsort(took[step], (size_t)rounds, sizeof **took, by_value);
        double median = took[step][rounds / 2];
        base = step == 0 ? median : base;
        (void)printf("%-38s %8.1f %6.2f\n", steps[step].name, median, median / base);
    }
    return 0;
}
