#include "template.h"

#include <stdlib.h>

/* ---- Random numbers --------------------------------------------------------------- */

uint64_t template_random_next(template_random *random)
{
    uint64_t z = random->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t template_random_below(template_random *random, uint64_t bound)
{
    uint64_t drawn = template_random_next(random);
    if (bound == 0) {
        return drawn;
    }
    __extension__ typedef unsigned __int128 wide; /* Lemire's multiply-shift; its bias is below 2^-64 * bound */
    return (uint64_t)(((wide)drawn * bound) >> 64);
}

/* ---- Compiling ---------------------------------------------------------------------- */

static pl_status bad(const char *text, const char *at, pl_error *error, const char *message)
{
    (void)snprintf(error->option, sizeof error->option, "template");
    return pl_fail(error, PL_BAD_CONFIG, "character %zu: %s", (size_t)(at - text) + 1, message);
}

/* A decimal number: its digits without the point in *units, its places in *decimals. */
static bool read_decimal(pl_str text, int64_t *units, int *decimals)
{
    bool negative = text.len > 0 && text.ptr[0] == '-', point = false;
    uint64_t number = 0;
    size_t digits = 0;
    *decimals = 0;
    for (size_t i = negative; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '.' && !point && digits > 0) {
            point = true;
        } else if (c >= '0' && c <= '9' && digits < 18) {
            number = 10 * number + (uint64_t)(c - '0');
            digits++;
            *decimals += point;
        } else {
            return false;
        }
    }
    *units = negative ? -(int64_t)number : (int64_t)number;
    return digits > 0;
}

static bool scale_up(int64_t *units, int places)
{
    for (int i = 0; i < places; i++) {
        if (__builtin_mul_overflow(*units, 10, units)) {
            return false;
        }
    }
    return true;
}

/* LO..HI, both included; the record has as many decimal places as the longer of them. */
static bool compile_range(pl_str argument, template_part *part)
{
    const char *dots = memmem(argument.ptr, argument.len, "..", 2);
    if (!dots) {
        return false;
    }
    pl_str low = {argument.ptr, (size_t)(dots - argument.ptr)};
    pl_str high = {dots + 2, argument.len - low.len - 2};
    int low_places, high_places;
    int64_t top;
    if (!read_decimal(low, &part->low, &low_places) || !read_decimal(high, &top, &high_places)) {
        return false;
    }
    part->decimals = low_places > high_places ? low_places : high_places;
    if (!scale_up(&part->low, part->decimals - low_places) || !scale_up(&top, part->decimals - high_places)) {
        return false;
    }
    part->span = (uint64_t)top - (uint64_t)part->low + 1;
    return top >= part->low;
}

static bool compile_picks(pl_str argument, template_part *part)
{
    part->picks = calloc(TEMPLATE_PICKS_MAX, sizeof *part->picks);
    const char *at = argument.ptr, *end = at + argument.len;
    while (part->picks && part->pick_count < TEMPLATE_PICKS_MAX) {
        const char *bar = memchr(at, '|', (size_t)(end - at));
        part->picks[part->pick_count++] = (pl_str){at, (size_t)((bar ? bar : end) - at)};
        if (!bar) {
            return true;
        }
        at = bar + 1;
    }
    return false;
}

static bool is(pl_str word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.ptr, text, word.len) == 0;
}

static bool compile_hole(pl_str name, pl_str argument, template_part *part)
{
    static const struct {
        const char *name;
        template_kind kind;
    } plain[] = {{"n", PART_N}, {"time", PART_TIME}, {"key", PART_KEY}, {"pad", PART_PAD}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (is(name, plain[i].name)) {
            part->kind = plain[i].kind;
            return argument.ptr == NULL;
        }
    }
    int64_t len;
    int decimals;
    if (is(name, "rand")) {
        part->kind = PART_RAND;
        return argument.ptr && compile_range(argument, part);
    }
    if (is(name, "pick")) {
        part->kind = PART_PICK;
        return argument.ptr && compile_picks(argument, part);
    }
    if (is(name, "hex") && argument.ptr && read_decimal(argument, &len, &decimals) && decimals == 0 && len >= 1 &&
        len <= 4096) {
        part->kind = PART_HEX;
        part->len = (size_t)len;
        return true;
    }
    return false;
}

pl_status template_compile(const char *text, record_template *out, pl_error *error)
{
    *out = (record_template){0};
    for (const char *at = text; *at;) {
        if (out->count + 2 > TEMPLATE_PARTS_MAX) {
            return bad(text, at, error, "too many holes; at most 127");
        }
        template_part *part = &out->parts[out->count];
        const char *hole = at;
        while (*hole && !(hole[0] == '{' && hole[1] >= 'a' && hole[1] <= 'z')) {
            hole++;
        }
        if (hole > at) {
            *part = (template_part){.kind = PART_TEXT, .text = {at, (size_t)(hole - at)}};
            part = &out->parts[++out->count];
        }
        if (!*hole) {
            break;
        }
        const char *end = strchr(hole, '}');
        if (!end) {
            return bad(text, hole, error, "this hole is never closed by }");
        }
        pl_str name = {hole + 1, strcspn(hole + 1, ":}")};
        pl_str argument = {NULL, 0};
        if (name.ptr + name.len < end) {
            argument = (pl_str){name.ptr + name.len + 1, (size_t)(end - name.ptr) - name.len - 1};
        }
        *part = (template_part){.kind = PART_TEXT};
        out->count++; /* counted even when wrong, so that its memory is released */
        if (!compile_hole(name, argument, part)) {
            return bad(text, hole, error,
                       "expected {n}, {time}, {key}, {rand:LO..HI}, {pick:A|B|C}, {hex:LEN} or {pad}");
        }
        out->has_pad = out->has_pad || part->kind == PART_PAD;
        at = end + 1;
    }
    return PL_OK;
}

void template_release(record_template *compiled)
{
    for (size_t i = 0; i < compiled->count; i++) {
        free(compiled->parts[i].picks);
    }
    *compiled = (record_template){0};
}

/* ---- Rendering ------------------------------------------------------------------------ */

static void add_hex(text_buf *out, size_t len, template_random *random)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t bits = 0;
    if (!text_reserve(out, len)) {
        return;
    }
    for (size_t i = 0; i < len; i++, bits >>= 4) {
        if (i % 16 == 0) {
            bits = template_random_next(random);
        }
        out->data[out->len++] = digits[bits & 15];
    }
}

static void add_rand(text_buf *out, const template_part *part, template_random *random)
{
    int64_t units = (int64_t)((uint64_t)part->low + template_random_below(random, part->span));
    uint64_t scale = 1, size = units < 0 ? 0 - (uint64_t)units : (uint64_t)units;
    for (int i = 0; i < part->decimals; i++) {
        scale *= 10;
    }
    if (units < 0) {
        text_addc(out, '-');
    }
    text_int(out, (int64_t)(size / scale));
    if (part->decimals > 0) {
        text_addc(out, '.');
        uint64_t fraction = size % scale;
        for (scale /= 10; scale > 0; scale /= 10) {
            text_addc(out, (char)('0' + fraction / scale % 10));
        }
    }
}

static void add_part(const template_part *part, template_values *values, text_buf *out)
{
    switch (part->kind) {
    case PART_TEXT:
        text_add(out, part->text.ptr, part->text.len);
        break;
    case PART_N:
        text_int(out, (int64_t)values->n);
        break;
    case PART_TIME:
        text_time(out, values->time_unix_ns);
        break;
    case PART_KEY:
        text_add(out, values->key.ptr, values->key.len);
        break;
    case PART_RAND:
        add_rand(out, part, &values->random);
        break;
    case PART_PICK: {
        pl_str pick = part->picks[template_random_below(&values->random, part->pick_count)];
        text_add(out, pick.ptr, pick.len);
        break;
    }
    case PART_HEX:
        add_hex(out, part->len, &values->random);
        break;
    case PART_PAD:
        break;
    }
}

void template_render(const record_template *compiled, template_values *values, text_buf *out)
{
    size_t start = out->len, pad_at = 0;
    bool pad = false;
    for (size_t i = 0; i < compiled->count; i++) {
        if (compiled->parts[i].kind == PART_PAD && !pad) {
            pad = true;
            pad_at = out->len;
        }
        add_part(&compiled->parts[i], values, out);
    }
    size_t len = out->len - start;
    if (!pad || len >= values->bytes || !text_reserve(out, values->bytes - len)) {
        return;
    }
    size_t missing = values->bytes - len;
    memmove(out->data + pad_at + missing, out->data + pad_at, out->len - pad_at);
    for (size_t i = 0; i < missing; i++) {
        out->data[pad_at + i] = (char)('a' + i % 26);
    }
    out->len += missing;
}
