/* pl_buf_add where there usually is room: the pieces of a record are many and short. Private to record/. */
#ifndef PL_RECORD_PUT_H
#define PL_RECORD_PUT_H
#include <base/buf.h>

static inline void pl_put(pl_buf *out, const char *bytes, size_t len)
{
    if (out->capacity - out->len <= len || out->failed) { /* an empty buffer has no capacity */
        pl_buf_add(out, bytes, len);
        return;
    }
    if (len > 0)
        memcpy(out->data + out->len, bytes, len);
    out->len += len;
    out->data[out->len] = '\0';
}

static inline void pl_put_quoted(pl_buf *out, pl_str text)
{
    if (!pl_buf_reserve(out, text.len + 2))
        return;
    char *to = out->data + out->len;
    to[0] = '"';
    memcpy(to + 1, text.ptr, text.len);
    to[text.len + 1] = '"';
    to[text.len + 2] = '\0';
    out->len += text.len + 2;
}

static inline void pl_put_byte(pl_buf *out, char byte)
{
    pl_put(out, &byte, 1);
}
#endif
