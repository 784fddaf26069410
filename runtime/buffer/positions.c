/* How far each lane is settled: "PLBP", version, CRC-32C and number of lanes; for each lane its length of name, name
 * and position. Little endian; replaced atomically. */
#include <base/fs.h>
#include <base/str.h>
#include <buffer/private.h>

enum { HEAD_BYTES = 16, FILE_VERSION = 1, FILE_MAX_BYTES = 64 << 20 };

static bool path_of(const pl_buffer *buffer, char out[PL_BUFFER_PATH_MAX])
{
    int len = snprintf(out, PL_BUFFER_PATH_MAX, "%s/positions", buffer->path);
    return len > 0 && len < PL_BUFFER_PATH_MAX;
}

static bool encode(const pl_buffer *buffer, pl_buf *out)
{
    static const char nothing[HEAD_BYTES];
    uint32_t count = 0;
    pl_buf_add(out, nothing, sizeof nothing);
    for (size_t i = 0; i < buffer->lane_count; i++) {
        const pl_buffer_lane *lane = buffer->lanes[i];
        char number[8];
        if (!lane->settled_any)
            continue;
        pl_entry_put(number, strlen(lane->name), 4);
        pl_buf_add(out, number, 4);
        pl_buf_adds(out, lane->name);
        pl_entry_put(number, lane->settled, 8);
        pl_buf_add(out, number, 8);
        count++;
    }
    if (pl_buf_failed(out))
        return false;
    memcpy(out->data, "PLBP", 4);
    pl_entry_put(out->data + 4, FILE_VERSION, 4);
    pl_entry_put(out->data + 12, count, 4);
    pl_entry_put(out->data + 8, pl_crc32c(0, out->data + 12, out->len - 12), 4);
    return true;
}

pl_status pl_buffer_store_positions(const pl_buffer *buffer, pl_error *error)
{
    char path[PL_BUFFER_PATH_MAX];
    pl_buf text = PL_BUF(FILE_MAX_BYTES);
    pl_status status = PL_FAILED;
    if (path_of(buffer, path) && encode(buffer, &text))
        status = pl_fs_replace(path, pl_buf_str(&text), error);
    else
        (void)pl_fail(error, PL_RETRY, "no memory for the positions of %s", buffer->path);
    pl_buf_release(&text);
    if (status != PL_OK)
        error->error_class = PL_RETRY;
    return status;
}

static bool decode(pl_buffer *buffer, pl_str text)
{
    if (text.len < HEAD_BYTES || memcmp(text.ptr, "PLBP", 4) != 0 || pl_entry_get(text.ptr + 4, 4) != FILE_VERSION ||
        pl_crc32c(0, text.ptr + 12, text.len - 12) != (uint32_t)pl_entry_get(text.ptr + 8, 4))
        return false;
    uint64_t count = pl_entry_get(text.ptr + 12, 4);
    size_t at = HEAD_BYTES;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t len = text.len - at < 12 ? UINT64_MAX : pl_entry_get(text.ptr + at, 4);
        if (len > text.len - at - 12)
            return false;
        pl_buffer_lane *lane = pl_buffer_lane_of(buffer, (pl_str){text.ptr + at + 4, (size_t)len});
        if (!lane)
            return false;
        lane->settled_any = lane->last_any = true;
        lane->settled = lane->last = pl_entry_get(text.ptr + at + 4 + len, 8);
        at += 12 + (size_t)len;
    }
    return at == text.len;
}

pl_status pl_buffer_load_positions(pl_buffer *buffer, pl_error *error)
{
    char path[PL_BUFFER_PATH_MAX];
    pl_buf text = PL_BUF(FILE_MAX_BYTES);
    if (!path_of(buffer, path))
        return pl_fail(error, PL_HALT, "the path %s is too long", buffer->path);
    pl_status status = pl_fs_read(path, &text, error);
    if (status == PL_OK && !decode(buffer, pl_buf_str(&text)))
        status =
            pl_fail(error, PL_HALT,
                    "%s is damaged; move it away, and all that the disk buffer still holds is handed over again", path);
    pl_buf_release(&text);
    return status == PL_END ? PL_OK : status;
}
