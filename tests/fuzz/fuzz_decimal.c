/* libFuzzer: decimals. What parses is what JSON calls a number, keeps its digits, and obeys the laws of arithmetic.
 *
 * Input: two texts, split by the first space. */
#include <base/arena.h>
#include <record/decimal.h>
#include <record/json.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* simdjson's verdict on the text as a JSON document; spaces around a number are fine there. */
static void check_grammar(pl_str text, pl_decimal_status status)
{
    if (text.len == 0 || strchr(" \t\r\n", text.ptr[0]) || strchr(" \t\r\n", text.ptr[text.len - 1]))
        return;
    pl_value value;
    pl_json_reader *reader = pl_json_reader_new();
    bool json = pl_json_load_copy(reader, text, PL_JSON_FULL, NULL) == PL_OK;
    bool number = json && pl_json_value(reader, PL_JSON_ROOT, &value, NULL) == PL_OK &&
                  (value.type == PL_INT || value.type == PL_DECIMAL);
    pl_json_reader_free(&reader);
    require(!number || status != PL_DECIMAL_SYNTAX);
    require(status != PL_DECIMAL_OK || number);
}

static void check_text(const pl_decimal *value)
{
    char text[PL_DECIMAL_TEXT_MAX];
    pl_decimal back;
    size_t length = pl_decimal_format(value, text);
    require(length < sizeof text && strlen(text) == length);
    require(pl_decimal_parse((pl_str){text, length}, &back) == PL_DECIMAL_OK && pl_decimal_same(value, &back));
    pl_decimal_trim(value, &back);
    require(pl_decimal_cmp(value, &back) == 0 && back.scale <= value->scale);
    require(pl_decimal_hash(value) == pl_decimal_hash(&back));
}

static void check_pair(const pl_decimal *a, const pl_decimal *b)
{
    pl_decimal c, d, whole;
    require(pl_decimal_cmp(a, b) == -pl_decimal_cmp(b, a));
    if (pl_decimal_add(a, b, &c) == PL_DECIMAL_OK && pl_decimal_sub(&c, b, &d) == PL_DECIMAL_OK)
        require(pl_decimal_cmp(a, &d) == 0);
    if (pl_decimal_is_zero(b)) {
        require(pl_decimal_div(a, b, &c) == PL_DECIMAL_BY_ZERO);
        return;
    }
    if (pl_decimal_mul(a, b, &c) == PL_DECIMAL_OK && pl_decimal_div_to(&c, b, a->scale, &d) == PL_DECIMAL_OK)
        require(pl_decimal_same(a, &d));
    if (pl_decimal_div(a, b, &c) == PL_DECIMAL_OK)
        check_text(&c);
    if (pl_decimal_floor_div(a, b, &whole) == PL_DECIMAL_OK && pl_decimal_mod(a, b, &d) == PL_DECIMAL_OK &&
        pl_decimal_mul(&whole, b, &c) == PL_DECIMAL_OK && pl_decimal_add(&c, &d, &c) == PL_DECIMAL_OK)
        require(pl_decimal_cmp(a, &c) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *space = size > 0 ? memchr(data, ' ', size) : NULL;
    size_t first = space ? (size_t)(space - data) : size;
    pl_str text_a = {(const char *)data, first};
    pl_str text_b = space ? (pl_str){(const char *)space + 1, size - first - 1} : (pl_str){"7", 1};
    pl_decimal a, b;
    pl_decimal_status status_a = pl_decimal_parse(text_a, &a), status_b = pl_decimal_parse(text_b, &b);
    check_grammar(text_a, status_a);
    if (status_a == PL_DECIMAL_OK)
        check_text(&a);
    if (status_a == PL_DECIMAL_OK && status_b == PL_DECIMAL_OK)
        check_pair(&a, &b);
    return 0;
}
