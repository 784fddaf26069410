#include <base/buf.h>
#include <base/mem.h>

#include <stdint.h>

void pl_buf_release(pl_buf *buf)
{
    pl_free(buf->data);
    *buf = PL_BUF(buf->max);
}

void pl_buf_clear(pl_buf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->data)
        buf->data[0] = '\0';
}

bool pl_buf_reserve(pl_buf *buf, size_t extra)
{
    if (buf->failed)
        return false;
    if (buf->data && buf->capacity - buf->len > extra) /* one more for the NUL */
        return true;
    if (buf->len > buf->max || extra > buf->max - buf->len || buf->max == SIZE_MAX) {
        buf->failed = true;
        return false;
    }
    size_t wanted = buf->len + extra + 1;
    size_t size = buf->capacity < 32 ? 64 : buf->capacity > SIZE_MAX / 2 ? SIZE_MAX : buf->capacity * 2;
    if (size < wanted)
        size = wanted;
    if (size > buf->max + 1)
        size = buf->max + 1;
    char *grown = pl_realloc(buf->data, size, 1);
    if (!grown) {
        buf->failed = true;
        return false;
    }
    buf->data = grown;
    buf->capacity = size;
    buf->data[buf->len] = '\0';
    return true;
}

void pl_buf_add(pl_buf *buf, const void *bytes, size_t len)
{
    if (!pl_buf_reserve(buf, len))
        return;
    if (len > 0)
        memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void pl_buf_adds(pl_buf *buf, const char *text)
{
    pl_buf_add(buf, text, strlen(text));
}

void pl_buf_addc(pl_buf *buf, char byte)
{
    pl_buf_add(buf, &byte, 1);
}

void pl_buf_printf(pl_buf *buf, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    size_t room = buf->data ? buf->capacity - buf->len : 0;
    int wanted = buf->failed ? -1 : vsnprintf(room ? buf->data + buf->len : NULL, room, format, arguments);
    va_end(arguments);
    if (wanted < 0) {
        buf->failed = true;
    } else if ((size_t)wanted < room) {
        buf->len += (size_t)wanted;
    } else if (pl_buf_reserve(buf, (size_t)wanted)) {
        (void)vsnprintf(buf->data + buf->len, buf->capacity - buf->len, format, again);
        buf->len += (size_t)wanted;
    } else if (buf->data) {
        buf->data[buf->len] = '\0'; /* the first try may have written a part */
    }
    va_end(again);
}
