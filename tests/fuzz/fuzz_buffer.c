/* libFuzzer: a segment of the disk buffer from anybody. Nothing crashes or runs over; every byte is accounted for, as
 * entries, damage or a torn tail; what is whole goes through writing and reading unchanged.
 *
 * Input: the first byte chooses: bytes of a file, or a payload to be written as an entry and damaged at a place. */
#include <base/str.h>
#include <buffer/segment.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADERS_MAX = 64 };

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void rewrite(void *self, const pl_kept *kept)
{
    pl_field headers[HEADERS_MAX];
    pl_kept copy = *kept;
    pl_kept back;
    size_t size;
    pl_error error = {.struct_size = sizeof error};
    ++*(size_t *)self;
    if (kept->header_count > HEADERS_MAX)
        return;
    pl_entry_headers(kept, headers);
    copy.headers = headers;
    pl_buf out = PL_BUF(4u << 20);
    require(pl_entry_encode(&out, 9, &copy, &error) == PL_OK);
    require(pl_entry_decode(out.data, out.len, 9, &back, &size) == PL_OK && size == out.len);
    require(back.kind == kept->kind && back.position == kept->position && back.time_unix_ns == kept->time_unix_ns);
    require(pl_str_eq(back.lane, kept->lane) && pl_str_eq(back.stream, kept->stream));
    require(pl_str_eq(back.key, kept->key) && pl_str_eq(back.payload, kept->payload));
    require(!back.payload.ptr == !kept->payload.ptr && back.header_count == kept->header_count);
    pl_buf_release(&out);
}

static void look(pl_str bytes, bool newest)
{
    pl_segment_survey survey = {.newest = newest};
    size_t told = 0;
    pl_segment_look(bytes, &survey, rewrite, &told);
    require(told == survey.records && survey.damaged_bytes <= bytes.len + PL_SEGMENT_HEAD_BYTES);
    require(!survey.torn || (newest && survey.torn_at <= bytes.len));
    require((survey.places > 0) == (survey.damaged_bytes > 0) || bytes.len == 0);
}

/* The fuzzer can't guess a CRC: its bytes as the body of an entry, with a right one. */
static void as_body(const uint8_t *data, size_t size)
{
    pl_buf file = PL_BUF(4u << 20);
    char head[PL_SEGMENT_HEAD_BYTES];
    char entry[PL_ENTRY_HEAD_BYTES];
    pl_segment_head fields = {1, 1, 9};
    pl_segment_head_write(&fields, head);
    pl_buf_add(&file, head, sizeof head);
    pl_entry_put(entry, size, 4);
    pl_entry_put(entry + 4, pl_crc32c(pl_crc32c(9, entry, 4), data, size), 4);
    pl_buf_add(&file, entry, sizeof entry);
    pl_buf_add(&file, data, size);
    look(pl_buf_str(&file), true);
    pl_buf_release(&file);
}

/* Three entries, one byte of them changed: at most one is lost, and that is told. */
static void as_payload(const uint8_t *data, size_t size, size_t at, char change)
{
    pl_buf file = PL_BUF(16u << 20);
    char head[PL_SEGMENT_HEAD_BYTES];
    pl_segment_head fields = {1, 1, 9};
    pl_error error = {.struct_size = sizeof error};
    pl_segment_head_write(&fields, head);
    pl_buf_add(&file, head, sizeof head);
    for (uint64_t i = 0; i < 3; i++) {
        pl_kept kept = {
            .kind = PL_KEPT_RECORD, .lane = PL_S("l"), .payload = {(const char *)data, size}, .position = i};
        require(pl_entry_encode(&file, 9, &kept, &error) == PL_OK);
    }
    file.data[at % file.len] = (char)(file.data[at % file.len] ^ change);
    pl_segment_survey survey = {.newest = true};
    size_t told = 0;
    pl_segment_look(pl_buf_str(&file), &survey, rewrite, &told);
    require(told >= 2 && told <= 3);
    require(change == 0 || survey.places || survey.torn);
    pl_buf_release(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    size_t at = (size_t)data[1] << 8 | data[2];
    if (data[0] % 4 == 0)
        look((pl_str){(const char *)data + 4, size - 4}, data[0] & 4);
    else if (data[0] % 4 == 1)
        as_body(data + 4, size - 4);
    else
        as_payload(data + 4, size - 4, at, (char)data[3]);
    return 0;
}
