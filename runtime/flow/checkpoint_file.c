#include <base/mem.h>
#include <base/str.h>
#include <flow/checkpoint_file.h>

enum { HEADER_BYTES = 4 + 4 + 4 + 8, FILE_VERSION = 1 };

static void put(pl_buf *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        pl_buf_addc(out, (char)(value >> (8 * i)));
}

bool pl_checkpoint_encode(pl_checkpoint *checkpoint, pl_str state)
{
    pl_buf *out = &checkpoint->snapshot;
    pl_buf_clear(out);
    pl_buf_add(out, "PLCK", 4);
    put(out, FILE_VERSION, 4);
    put(out, 0, 4); /* CRC and length come last */
    put(out, 0, 8);
    size_t lanes = 0;
    for (size_t i = 0; i < checkpoint->seen_count; i++)
        lanes += checkpoint->seen[i].any ? 1 : 0;
    put(out, lanes, 4);
    for (size_t i = 0; i < checkpoint->seen_count; i++) {
        const pl_seen *seen = &checkpoint->seen[i];
        if (!seen->any) /* its position 0 is still to come */
            continue;
        put(out, strlen(seen->name), 4);
        pl_buf_adds(out, seen->name);
        put(out, seen->greatest, 8);
        put(out, seen->missing_count, 4);
        for (size_t j = 0; j < seen->missing_count; j++)
            put(out, seen->missing[j], 8);
    }
    put(out, state.len, 8);
    pl_buf_add(out, state.ptr, state.len);
    if (pl_buf_failed(out))
        return false;
    uint64_t length = out->len - HEADER_BYTES;
    uint32_t crc = pl_crc32c(0, out->data + HEADER_BYTES, length);
    for (int i = 0; i < 4; i++)
        out->data[8 + i] = (char)(crc >> (8 * i));
    for (int i = 0; i < 8; i++)
        out->data[12 + i] = (char)(length >> (8 * i));
    return true;
}

typedef struct cursor {
    const unsigned char *at, *end;
    bool bad;
} cursor;

static uint64_t take(cursor *in, int bytes)
{
    uint64_t value = 0;
    if (in->end - in->at < bytes) {
        in->bad = true;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)*in->at++ << (8 * i);
    return value;
}

static pl_str take_bytes(cursor *in, uint64_t length)
{
    if ((uint64_t)(in->end - in->at) < length) {
        in->bad = true;
        length = 0;
    }
    pl_str bytes = {(const char *)in->at, (size_t)length};
    in->at += length;
    return bytes;
}

static bool take_lane(pl_checkpoint *checkpoint, cursor *in)
{
    pl_str name = take_bytes(in, take(in, 4));
    pl_seen *seen = in->bad ? NULL : pl_checkpoint_add(checkpoint, name);
    if (!seen)
        return false;
    seen->any = true;
    seen->greatest = take(in, 8);
    size_t missing = (size_t)take(in, 4);
    if (in->bad || (size_t)(in->end - in->at) / 8 < missing)
        return false;
    seen->missing = pl_calloc(missing + 1, sizeof *seen->missing);
    if (!seen->missing)
        return false;
    for (; seen->missing_count < missing; seen->missing_count++)
        seen->missing[seen->missing_count] = take(in, 8);
    return true;
}

pl_status pl_checkpoint_decode(pl_checkpoint *checkpoint, pl_str *state, pl_error *error)
{
    const char *path = checkpoint->path;
    cursor in = {(const unsigned char *)checkpoint->restored.data,
                 (const unsigned char *)checkpoint->restored.data + checkpoint->restored.len, false};
    if (!pl_str_is(take_bytes(&in, 4), "PLCK") || take(&in, 4) != FILE_VERSION)
        return pl_fail(error, PL_HALT, "%s is no checkpoint of this version; move it away to begin without its state",
                       path);
    uint32_t crc = (uint32_t)take(&in, 4);
    uint64_t length = take(&in, 8);
    if (in.bad || (uint64_t)(in.end - in.at) != length || pl_crc32c(0, in.at, length) != crc)
        return pl_fail(error, PL_HALT, "%s is damaged (its checksum differs); move it away to begin without its state",
                       path);
    uint64_t lanes = take(&in, 4);
    for (uint64_t i = 0; i < lanes; i++)
        if (!take_lane(checkpoint, &in))
            return pl_fail(error, PL_HALT, "%s can't be read: lane %llu", path, (unsigned long long)i);
    *state = take_bytes(&in, take(&in, 8));
    if (in.bad)
        return pl_fail(error, PL_HALT, "%s can't be read: it ends in the state", path);
    return PL_OK;
}
