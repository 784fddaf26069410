/* A growing byte buffer that states its maximum when it is made. Sticky failure: after an append failed,
 * further appends do nothing, and pl_buf_failed tells. */
#ifndef PL_BASE_BUF_H
#define PL_BASE_BUF_H
#include <plumbline/plugin.h>

typedef struct pl_buf {
    char *data; /* data[len] is always NUL once anything was appended */
    size_t len, capacity, max;
    bool failed;
} pl_buf;

#define PL_BUF(max_bytes) ((pl_buf){.max = (max_bytes)})
void pl_buf_release(pl_buf *buf); /* frees; the buffer is empty and usable again */
void pl_buf_clear(pl_buf *buf);   /* len 0, failed false; keeps the memory */
/* Room for extra more bytes, so that plain writes to data + len may follow. */
bool pl_buf_reserve(pl_buf *buf, size_t extra);
void pl_buf_add(pl_buf *buf, const void *bytes, size_t len);
void pl_buf_adds(pl_buf *buf, const char *text);
void pl_buf_addc(pl_buf *buf, char byte);
void pl_buf_printf(pl_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline bool pl_buf_failed(const pl_buf *buf)
{
    return buf->failed;
}
static inline pl_str pl_buf_str(const pl_buf *buf)
{
    return (pl_str){buf->data ? buf->data : "", buf->len};
}
#endif
