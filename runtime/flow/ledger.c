#include <base/fs.h>
#include <base/mem.h>
#include <errno.h>
#include <fcntl.h>
#include <flow/ledger.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_BYTES = 33, KEPT_BYTES = PL_LEDGER_KEPT * LINE_BYTES, READ_MAX_BYTES = 2 * KEPT_BYTES };

typedef struct slot {
    pl_letter_key key;
    pl_ledger_state state; /* PL_LEDGER_NEW: free */
} slot;

struct pl_ledger {
    char *path;
    int fd;
    slot *slots; /* open addressing */
    size_t count, capacity;
};

static slot *find(slot *slots, size_t capacity, pl_letter_key key)
{
    size_t at = (key.high ^ key.low * 0x9E3779B97F4A7C15u) % capacity;
    while (slots[at].state != PL_LEDGER_NEW && (slots[at].key.high != key.high || slots[at].key.low != key.low))
        at = (at + 1) % capacity;
    return &slots[at];
}

static bool grow(pl_ledger *ledger)
{
    size_t capacity = ledger->capacity ? ledger->capacity * 2 : 1024;
    slot *slots = pl_calloc(capacity, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < ledger->capacity; i++)
        if (ledger->slots[i].state != PL_LEDGER_NEW)
            *find(slots, capacity, ledger->slots[i].key) = ledger->slots[i];
    pl_free(ledger->slots);
    ledger->slots = slots;
    ledger->capacity = capacity;
    return true;
}

static bool add(pl_ledger *ledger, pl_letter_key key, pl_ledger_state state)
{
    if (ledger->count * 2 >= ledger->capacity && !grow(ledger))
        return false;
    slot *at = find(ledger->slots, ledger->capacity, key);
    ledger->count += at->state == PL_LEDGER_NEW ? 1 : 0;
    *at = (slot){key, state};
    return true;
}

pl_ledger_state pl_ledger_look(const pl_ledger *ledger, pl_letter_key key)
{
    return ledger->capacity ? find(ledger->slots, ledger->capacity, key)->state : PL_LEDGER_NEW;
}

bool pl_ledger_mark(pl_ledger *ledger, pl_letter_key key)
{
    return add(ledger, key, PL_LEDGER_MARKED);
}

static bool read_half(const char *text, uint64_t *half)
{
    *half = 0;
    for (int i = 0; i < 16; i++) {
        char c = text[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 16;
        if (digit > 15)
            return false;
        *half = *half << 4 | digit;
    }
    return true;
}

/* The whole lines; what a crash left of the last one is no key, and says nothing. */
static pl_status take_lines(pl_ledger *ledger, pl_str text, pl_error *error)
{
    for (size_t at = 0; at < text.len;) {
        const char *line = text.ptr + at;
        const char *end = memchr(line, '\n', text.len - at);
        size_t len = end ? (size_t)(end - line) : text.len - at;
        pl_letter_key key;
        if (end && len == LINE_BYTES - 1 && read_half(line, &key.high) && read_half(line + 16, &key.low) &&
            !add(ledger, key, PL_LEDGER_SETTLED))
            return pl_fail(error, PL_HALT, "no memory for the letters that were put back");
        at += len + 1;
    }
    return PL_OK;
}

/* One run may write any number of lines: of a file that is too long the end is kept. */
static pl_status load(pl_ledger *ledger, pl_error *error)
{
    pl_buf text = PL_BUF(READ_MAX_BYTES);
    struct stat info;
    bool cut = stat(ledger->path, &info) == 0 && info.st_size > READ_MAX_BYTES;
    pl_status status = pl_fs_read_from(ledger->path, cut ? info.st_size - KEPT_BYTES : 0, &text, error);
    pl_str lines = pl_buf_str(&text);
    if (status == PL_OK && cut)
        status = pl_fs_replace(ledger->path, lines, error);
    if (status == PL_OK)
        status = take_lines(ledger, lines, error);
    bool torn = status == PL_OK && lines.len && lines.ptr[lines.len - 1] != '\n';
    pl_buf_release(&text);
    if (status == PL_FAILED)
        return PL_FAILED;
    ledger->fd = open(ledger->path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (ledger->fd < 0 || (torn && write(ledger->fd, "\n", 1) != 1))
        return pl_fail(error, PL_HALT, "cannot open %.180s: %s", ledger->path, strerror(errno));
    return PL_OK;
}

pl_ledger *pl_ledger_open(const char *path, pl_error *error)
{
    pl_ledger *ledger = pl_calloc(1, sizeof *ledger);
    if (ledger) {
        ledger->fd = -1;
        ledger->path = pl_strndup(path, strlen(path));
    }
    if (!ledger || !ledger->path) {
        (void)pl_fail(error, PL_HALT, "no memory");
        pl_ledger_close(&ledger);
        return NULL;
    }
    if (load(ledger, error) != PL_OK)
        pl_ledger_close(&ledger);
    return ledger;
}

void pl_ledger_close(pl_ledger **ledger)
{
    pl_ledger *gone = *ledger;
    if (!gone)
        return;
    if (gone->fd >= 0) {
        (void)fdatasync(gone->fd);
        (void)close(gone->fd);
    }
    pl_free(gone->slots);
    pl_free(gone->path);
    pl_free(gone);
    *ledger = NULL;
}

pl_status pl_ledger_write(pl_ledger *ledger, const pl_letter_key *keys, size_t count, pl_error *error)
{
    char lines[128 * LINE_BYTES + 1];
    for (size_t i = 0; i < count;) {
        size_t len = 0;
        for (; i < count && len < sizeof lines - 1; i++)
            len += (size_t)snprintf(lines + len, sizeof lines - len, "%016" PRIx64 "%016" PRIx64 "\n", keys[i].high,
                                    keys[i].low);
        if (write(ledger->fd, lines, len) != (ssize_t)len)
            return pl_fail(error, PL_HALT, "cannot write to %.180s: %s", ledger->path, strerror(errno));
    }
    return PL_OK;
}
