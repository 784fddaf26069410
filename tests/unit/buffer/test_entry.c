/* Entries and segments as bytes. */
#include "support.h"

enum { SALT = 0x5EED };

static pl_kept full_entry(const pl_field *headers, uint32_t count)
{
    return (pl_kept){.kind = PL_KEPT_GAP,
                     .lane = PL_S("prices/0"),
                     .stream = PL_S("coingecko"),
                     .key = PL_S(""),
                     .payload = {"{\"n\":\0 1}", 9},
                     .time_unix_ns = -5,
                     .arrived_unix_ns = INT64_MAX,
                     .position = UINT64_MAX - 1,
                     .headers = headers,
                     .header_count = count};
}

static pl_str encode(pl_buf *out, const pl_kept *kept)
{
    pl_error error = {.struct_size = sizeof error};
    *out = PL_BUF(1 << 20);
    assert_int_equal(pl_entry_encode(out, SALT, kept, &error), PL_OK);
    return pl_buf_str(out);
}

static void all_comes_back(void **state)
{
    (void)state;
    const pl_field headers[] = {{PL_S("a"), {.type = PL_STR, .as.s = PL_S("text")}},
                                {PL_S("a"), {.type = PL_BYTES, .as.s = {"\0\xff", 2}}},
                                {PL_S(""), {.type = PL_STR, .as.s = {NULL, 0}}},
                                {PL_S("i"), {.type = PL_INT, .as.i = -3}},
                                {PL_S("f"), {.type = PL_FLOAT, .as.f = 0.1}},
                                {PL_S("b"), {.type = PL_BOOL, .as.b = true}},
                                {PL_S("n"), {.type = PL_NIL}}};
    enum { COUNT = sizeof headers / sizeof *headers };
    pl_kept kept = full_entry(headers, COUNT);
    pl_kept back;
    pl_field found[COUNT];
    size_t size;
    pl_buf out;
    pl_str bytes = encode(&out, &kept);
    assert_int_equal(pl_entry_decode(bytes.ptr, bytes.len, SALT, &back, &size), PL_OK);
    assert_int_equal(size, bytes.len);
    assert_int_equal(back.kind, PL_KEPT_GAP);
    assert_true(pl_str_eq(back.lane, kept.lane) && pl_str_eq(back.stream, kept.stream));
    assert_true(pl_str_eq(back.payload, kept.payload));
    assert_true(back.key.ptr && back.key.len == 0); /* empty is not null */
    assert_true(back.time_unix_ns == -5 && back.arrived_unix_ns == INT64_MAX && back.position == UINT64_MAX - 1);
    assert_int_equal(back.header_count, COUNT);
    pl_entry_headers(&back, found);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(pl_str_eq(found[i].name, headers[i].name));
        assert_int_equal(found[i].value.type, headers[i].value.type);
    }
    assert_true(pl_str_is(found[0].value.as.s, "text") && found[1].value.as.s.len == 2);
    assert_null(found[2].value.as.s.ptr);
    assert_true(found[3].value.as.i == -3 && found[4].value.as.f == 0.1 && found[5].value.as.b);
    pl_buf_release(&out);
}

static void null_is_not_empty(void **state)
{
    (void)state;
    pl_kept kept = {.kind = PL_KEPT_RECORD, .lane = PL_S("l")}, back;
    size_t size;
    pl_buf out;
    pl_str bytes = encode(&out, &kept);
    assert_int_equal(pl_entry_decode(bytes.ptr, bytes.len, SALT, &back, &size), PL_OK);
    assert_true(!back.stream.ptr && !back.key.ptr && !back.payload.ptr);
    pl_buf_release(&out);
}

static void no_flipped_bit_passes(void **state)
{
    (void)state;
    const pl_field header = {PL_S("h"), {.type = PL_STR, .as.s = PL_S("v")}};
    pl_kept kept = full_entry(&header, 1), back;
    size_t size;
    pl_buf out;
    pl_str bytes = encode(&out, &kept);
    for (size_t i = 0; i < bytes.len * 8; i++) {
        out.data[i / 8] = (char)(out.data[i / 8] ^ 1 << i % 8);
        assert_int_not_equal(pl_entry_decode(bytes.ptr, bytes.len, SALT, &back, &size), PL_OK);
        out.data[i / 8] = (char)(out.data[i / 8] ^ 1 << i % 8);
    }
    assert_int_equal(pl_entry_decode(bytes.ptr, bytes.len, SALT + 1, &back, &size), PL_FAILED);
    for (size_t len = 0; len < bytes.len; len++) {
        assert_int_equal(pl_entry_decode(bytes.ptr, len, SALT, &back, &size), PL_AGAIN);
        assert_int_equal(size, len < PL_ENTRY_HEAD_BYTES ? PL_ENTRY_HEAD_BYTES : bytes.len);
    }
    pl_buf_release(&out);
}

static void too_much_is_refused(void **state)
{
    (void)state;
    static char much[PL_ENTRY_MAX_BYTES];
    pl_error error = {.struct_size = sizeof error};
    pl_buf out = PL_BUF((size_t)4 * PL_ENTRY_MAX_BYTES);
    pl_kept kept = {.kind = PL_KEPT_RECORD, .lane = PL_S("l"), .payload = {much, sizeof much}};
    pl_buf_adds(&out, "before");
    assert_int_equal(pl_entry_encode(&out, SALT, &kept, &error), PL_FAILED);
    assert_int_equal(error.error_class, PL_REJECT);
    kept.payload.len = 1;
    kept.header_count = PL_ENTRY_HEADERS_MAX + 1;
    assert_int_equal(pl_entry_encode(&out, SALT, &kept, &error), PL_FAILED);
    kept.header_count = 0;
    out.max = 10; /* no more memory */
    assert_int_equal(pl_entry_encode(&out, SALT, &kept, &error), PL_FAILED);
    assert_int_equal(error.error_class, PL_HALT);
    assert_true(pl_str_is(pl_buf_str(&out), "before"));
    pl_buf_release(&out);
}

static void a_header_is_there_twice(void **state)
{
    (void)state;
    pl_segment_head head = {12, 1700000000000000000, SALT}, back;
    char bytes[PL_SEGMENT_HEAD_BYTES];
    bool damaged;
    pl_error error = {.struct_size = sizeof error};
    pl_segment_head_write(&head, bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] ^= 0x10;
        assert_int_equal(pl_segment_head_read((pl_str){bytes, sizeof bytes}, &back, &damaged, &error), PL_OK);
        assert_true(damaged && back.number == 12 && back.salt == SALT);
        bytes[i] ^= 0x10;
    }
    assert_int_equal(pl_segment_head_read((pl_str){bytes, sizeof bytes}, &back, &damaged, &error), PL_OK);
    assert_false(damaged);
    assert_int_equal(pl_segment_head_read((pl_str){bytes, sizeof bytes - 1}, &back, &damaged, &error), PL_FAILED);
    bytes[3] ^= 1;
    bytes[40] ^= 1;
    assert_int_equal(pl_segment_head_read((pl_str){bytes, sizeof bytes}, &back, &damaged, &error), PL_FAILED);
    assert_int_equal(error.error_class, PL_HALT);
}

/* A payload that holds a whole entry of another segment is no entry of this one, even when damage lets it surface. */
static void a_payload_is_no_entry(void **state)
{
    (void)state;
    pl_kept inner = {.kind = PL_KEPT_RECORD, .lane = PL_S("forged"), .payload = PL_S("x")};
    pl_buf forged, outer;
    pl_error error = {.struct_size = sizeof error};
    pl_str bytes = encode(&forged, &inner);
    pl_kept carrier = {.kind = PL_KEPT_RECORD, .lane = PL_S("l"), .payload = bytes};
    pl_segment_head head = {1, 1, SALT + 77};
    outer = PL_BUF(1 << 20);
    char start[PL_SEGMENT_HEAD_BYTES];
    pl_segment_head_write(&head, start);
    pl_buf_add(&outer, start, sizeof start);
    assert_int_equal(pl_entry_encode(&outer, head.salt, &carrier, &error), PL_OK);
    outer.data[PL_SEGMENT_HEAD_BYTES + 20] ^= 1;
    pl_segment_survey survey = {.newest = true};
    pl_segment_look(pl_buf_str(&outer), &survey, NULL, NULL);
    assert_int_equal(survey.records, 0);
    assert_int_equal(survey.places, 1);
    pl_buf_release(&forged);
    pl_buf_release(&outer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_comes_back),          cmocka_unit_test(null_is_not_empty),
        cmocka_unit_test(no_flipped_bit_passes),   cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(a_header_is_there_twice), cmocka_unit_test(a_payload_is_no_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
