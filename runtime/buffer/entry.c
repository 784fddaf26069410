#include <base/str.h>
#include <buffer/entry.h>

enum { HAS_STREAM = 1, HAS_KEY = 2, HAS_PAYLOAD = 4, HAS_ALL = 7 };
static const uint32_t TEXT_NULL = UINT32_MAX; /* instead of a length */

typedef struct lengths {
    size_t lane, stream, key, payload, headers;
} lengths;

static bool is_text(int32_t type)
{
    return type == PL_STR || type == PL_DECIMAL || type == PL_BYTES || type == PL_JSON;
}

/* ---- writing ------------------------------------------------------------------- */

static void put(pl_buf *out, uint64_t value, int bytes)
{
    char number[8];
    pl_entry_put(number, value, bytes);
    pl_buf_add(out, number, (size_t)bytes);
}

static void put_text(pl_buf *out, pl_str text)
{
    put(out, text.ptr ? text.len : TEXT_NULL, 4);
    pl_buf_add(out, text.ptr, text.ptr ? text.len : 0);
}

static void put_header(pl_buf *out, const pl_field *header)
{
    const pl_value *value = &header->value;
    put_text(out, header->name);
    put(out, (uint64_t)value->type, 1);
    if (is_text(value->type)) {
        put_text(out, value->as.s);
        return;
    }
    uint64_t bits = 0;
    if (value->type == PL_BOOL)
        bits = value->as.b;
    else if (value->type == PL_FLOAT)
        memcpy(&bits, &value->as.f, sizeof bits);
    else if (value->type != PL_NIL)
        bits = (uint64_t)value->as.i;
    put(out, bits, 8);
}

static bool fits(const pl_kept *kept)
{
    size_t left = PL_ENTRY_MAX_BYTES - PL_ENTRY_HEAD_BYTES - PL_ENTRY_BODY_BYTES;
    const size_t parts[] = {kept->lane.len, kept->stream.len, kept->key.len, kept->payload.len};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i] > left)
            return false;
        left -= parts[i];
    }
    return kept->header_count <= PL_ENTRY_HEADERS_MAX;
}

pl_status pl_entry_encode(pl_buf *out, uint32_t salt, const pl_kept *kept, pl_error *error)
{
    static const char nothing[PL_ENTRY_HEAD_BYTES + PL_ENTRY_BODY_BYTES];
    size_t before = out->len;
    if (!fits(kept))
        return pl_fail(error, PL_REJECT, "a record for the disk buffer has at most %d bytes", PL_ENTRY_MAX_BYTES);
    pl_buf_add(out, nothing, sizeof nothing);
    pl_buf_add(out, kept->lane.ptr, kept->lane.len);
    pl_buf_add(out, kept->stream.ptr, kept->stream.len);
    pl_buf_add(out, kept->key.ptr, kept->key.len);
    pl_buf_add(out, kept->payload.ptr, kept->payload.len);
    size_t headers_at = out->len;
    for (uint32_t i = 0; i < kept->header_count; i++)
        put_header(out, &kept->headers[i]);
    size_t size = out->len - before;
    if (pl_buf_failed(out) || size > PL_ENTRY_MAX_BYTES) {
        bool memory = pl_buf_failed(out);
        out->failed = false;
        out->len = before;
        return memory
                   ? pl_fail(error, PL_HALT, "no memory for the disk buffer")
                   : pl_fail(error, PL_REJECT, "a record for the disk buffer has at most %d bytes", PL_ENTRY_MAX_BYTES);
    }
    char *head = out->data + before;
    char *body = head + PL_ENTRY_HEAD_BYTES;
    body[0] = (char)kept->kind;
    body[1] = (char)((kept->stream.ptr ? HAS_STREAM : 0) | (kept->key.ptr ? HAS_KEY : 0) |
                     (kept->payload.ptr ? HAS_PAYLOAD : 0));
    pl_entry_put(body + 2, kept->header_count, 2);
    pl_entry_put(body + 4, kept->lane.len, 4);
    pl_entry_put(body + 8, (uint64_t)kept->time_unix_ns, 8);
    pl_entry_put(body + 16, (uint64_t)kept->arrived_unix_ns, 8);
    pl_entry_put(body + 24, kept->position, 8);
    pl_entry_put(body + 32, kept->stream.len, 4);
    pl_entry_put(body + 36, kept->key.len, 4);
    pl_entry_put(body + 40, kept->payload.len, 4);
    pl_entry_put(body + 44, out->len - headers_at, 4);
    pl_entry_put(head, size - PL_ENTRY_HEAD_BYTES, 4);
    uint32_t crc = pl_crc32c(salt, head, 4);
    pl_entry_put(head + 4, pl_crc32c(crc, body, size - PL_ENTRY_HEAD_BYTES), 4);
    return PL_OK;
}

/* ---- reading ------------------------------------------------------------------- */

static lengths lengths_of(const char *body)
{
    return (lengths){.lane = (size_t)pl_entry_get(body + 4, 4),
                     .stream = (size_t)pl_entry_get(body + 32, 4),
                     .key = (size_t)pl_entry_get(body + 36, 4),
                     .payload = (size_t)pl_entry_get(body + 40, 4),
                     .headers = (size_t)pl_entry_get(body + 44, 4)};
}

/* Of five lengths of 32 bits the sum can't overflow. */
static bool adds_up(const char *body, size_t body_len)
{
    lengths l = lengths_of(body);
    uint64_t sum = (uint64_t)l.lane + l.stream + l.key + l.payload + l.headers + PL_ENTRY_BODY_BYTES;
    unsigned kind = (unsigned char)body[0];
    unsigned has = (unsigned char)body[1];
    return (kind == PL_KEPT_RECORD || kind == PL_KEPT_GAP) && has <= HAS_ALL && sum == body_len &&
           (l.stream == 0 || has & HAS_STREAM) && (l.key == 0 || has & HAS_KEY) &&
           (l.payload == 0 || has & HAS_PAYLOAD);
}

static pl_status extent(const char *bytes, size_t len, size_t *size)
{
    *size = PL_ENTRY_HEAD_BYTES;
    if (len < PL_ENTRY_HEAD_BYTES)
        return PL_AGAIN;
    size_t body_len = (size_t)pl_entry_get(bytes, 4);
    if (body_len < PL_ENTRY_BODY_BYTES || body_len > PL_ENTRY_MAX_BYTES - PL_ENTRY_HEAD_BYTES)
        return PL_FAILED;
    *size = PL_ENTRY_HEAD_BYTES + body_len;
    return len < *size ? PL_AGAIN : PL_OK;
}

bool pl_entry_plausible(const char *bytes, size_t len, size_t *size)
{
    return extent(bytes, len, size) == PL_OK && adds_up(bytes + PL_ENTRY_HEAD_BYTES, *size - PL_ENTRY_HEAD_BYTES);
}

/* One text of a header; false: it runs beyond the end. */
static bool take_text(const char **at, const char *end, pl_str *text)
{
    if (end - *at < 4)
        return false;
    uint32_t len = (uint32_t)pl_entry_get(*at, 4);
    *at += 4;
    *text = (pl_str){NULL, 0};
    if (len == TEXT_NULL)
        return true;
    if ((size_t)(end - *at) < len)
        return false;
    *text = (pl_str){*at, len};
    *at += len;
    return true;
}

static bool take_header(const char **at, const char *end, pl_field *header)
{
    if (!take_text(at, end, &header->name) || end - *at < 1)
        return false;
    int32_t type = (unsigned char)*(*at)++;
    header->value = (pl_value){.type = type};
    if (is_text(type))
        return take_text(at, end, &header->value.as.s);
    if (type > PL_JSON || end - *at < 8)
        return false;
    uint64_t bits = pl_entry_get(*at, 8);
    *at += 8;
    if (type == PL_BOOL)
        header->value.as.b = bits != 0;
    else if (type == PL_FLOAT)
        memcpy(&header->value.as.f, &bits, sizeof bits);
    else
        header->value.as.i = (int64_t)bits;
    return true;
}

static bool headers_whole(const pl_kept *kept)
{
    const char *at = kept->header_bytes.ptr;
    const char *end = at + kept->header_bytes.len;
    pl_field ignored;
    for (uint32_t i = 0; i < kept->header_count; i++)
        if (!take_header(&at, end, &ignored))
            return false;
    return at == end;
}

void pl_entry_headers(const pl_kept *kept, pl_field *out)
{
    const char *at = kept->header_bytes.ptr;
    const char *end = at + kept->header_bytes.len;
    for (uint32_t i = 0; i < kept->header_count; i++)
        (void)take_header(&at, end, &out[i]); /* whole: pl_entry_decode looked */
}

static pl_str part(const char **at, size_t len, bool there)
{
    pl_str text = {there ? *at : NULL, len};
    *at += len;
    return text;
}

pl_status pl_entry_decode(const char *bytes, size_t len, uint32_t salt, pl_kept *kept, size_t *size)
{
    pl_status status = extent(bytes, len, size);
    if (status != PL_OK)
        return status;
    const char *body = bytes + PL_ENTRY_HEAD_BYTES;
    size_t body_len = *size - PL_ENTRY_HEAD_BYTES;
    if (!adds_up(body, body_len))
        return PL_FAILED;
    uint32_t crc = pl_crc32c(pl_crc32c(salt, bytes, 4), body, body_len);
    if (crc != (uint32_t)pl_entry_get(bytes + 4, 4))
        return PL_FAILED;
    lengths l = lengths_of(body);
    unsigned has = (unsigned char)body[1];
    const char *at = body + PL_ENTRY_BODY_BYTES;
    *kept = (pl_kept){.kind = (pl_kept_kind)body[0],
                      .header_count = (uint32_t)pl_entry_get(body + 2, 2),
                      .time_unix_ns = (int64_t)pl_entry_get(body + 8, 8),
                      .arrived_unix_ns = (int64_t)pl_entry_get(body + 16, 8),
                      .position = pl_entry_get(body + 24, 8)};
    kept->lane = part(&at, l.lane, true);
    kept->stream = part(&at, l.stream, has & HAS_STREAM);
    kept->key = part(&at, l.key, has & HAS_KEY);
    kept->payload = part(&at, l.payload, has & HAS_PAYLOAD);
    kept->header_bytes = part(&at, l.headers, true);
    return headers_whole(kept) ? PL_OK : PL_FAILED;
}
