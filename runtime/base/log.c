#include <base/log.h>
#include <base/str.h>
#include <base/timestamp.h>

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

enum { KINDS = 256, A_MINUTE = 10, LINE_MAX_BYTES = 4096, MESSAGE_MAX = 3072, COMPONENT_MAX = 64 };
static const int64_t minute_ns = 60000000000;

typedef struct kind { /* of line, as the rate limit tells them apart */
    uint64_t hash;    /* 0: free */
    int64_t since_ns;
    unsigned printed, held;
    int32_t level;
    char component[COMPONENT_MAX];
    char start[80]; /* of the first such message, up to its first digit */
} kind;

static struct {
    pthread_mutex_t lock;
    kind kinds[KINDS];
    bool kinds_used; /* or they are still as zero as they began: 40 kB that a quiet process never touches */
    pl_log_format format;
    int32_t level;
    const pl_clock *clock;
    void (*write)(void *self, const char *line, size_t len);
    void *self;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = PL_INFO, .clock = &pl_system_clock};

typedef struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
} line;

void pl_log_setup(pl_log_format format, int32_t level, const pl_clock *clock)
{
    pthread_mutex_lock(&state.lock);
    state.format = format;
    state.level = level;
    state.clock = clock ? clock : &pl_system_clock;
    if (state.kinds_used)
        memset(state.kinds, 0, sizeof state.kinds);
    state.kinds_used = false;
    pthread_mutex_unlock(&state.lock);
}

void pl_log_capture(void (*write)(void *self, const char *line, size_t len), void *self)
{
    pthread_mutex_lock(&state.lock);
    state.write = write;
    state.self = self;
    pthread_mutex_unlock(&state.lock);
}

static void add(line *out, const char *text, size_t len)
{
    size_t room = sizeof out->text - 8 - out->len; /* the last bytes are kept for the closing ones */
    len = len < room ? len : room;
    memcpy(out->text + out->len, text, len);
    out->len += len;
}

/* Length of the well-formed character at p, 0: none, a control character among them. */
static size_t printable(const char *p, size_t left)
{
    unsigned char lead = (unsigned char)*p;
    if (lead < 0x80)
        return lead >= 0x20 && lead != 0x7f;
    for (size_t len = 2; len <= 4 && len <= left; len++)
        if (pl_utf8_valid((pl_str){p, len}))
            return lead == 0xc2 && (unsigned char)p[1] < 0xa0 ? 0 : len; /* U+0080..U+009F: C1 controls */
    return 0;
}

static void add_escaped(line *out, const char *text, size_t len, bool json)
{
    for (size_t i = 0; i < len;) {
        size_t step = printable(text + i, len - i);
        char escape[12];
        if (step == 1 && json && (text[i] == '"' || text[i] == '\\')) {
            (void)snprintf(escape, sizeof escape, "\\%c", text[i]);
        } else if (step > 0) {
            if (out->len + step > sizeof out->text - 16)
                return;
            add(out, text + i, step);
            i += step;
            continue;
        } else if (text[i] == '\n' || text[i] == '\t') {
            (void)snprintf(escape, sizeof escape, "\\%c", text[i] == '\n' ? 'n' : 't');
        } else {
            (void)snprintf(escape, sizeof escape, json ? "\\u00%02x" : "\\x%02x", (unsigned char)text[i]);
        }
        if (out->len + strlen(escape) > sizeof out->text - 16)
            return;
        add(out, escape, strlen(escape));
        i++;
    }
}

static void print(int32_t level, const char *component, const char *message, size_t len)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    const char *name = names[level < PL_DEBUG ? PL_DEBUG : level > PL_ERROR ? PL_ERROR : level];
    bool json = state.format == PL_LOG_JSON;
    char when[PL_TIMESTAMP_MAX];
    line out = {.len = 0};
    int64_t now = state.clock->unix_ns(state.clock);
    size_t stamp = pl_time_format(now - now % 1000000, when);
    if (!strchr(when, '.')) /* a whole second: keep the columns */
        memcpy(when + stamp - 1, ".000Z", sizeof ".000Z");
    char head[PL_TIMESTAMP_MAX + 64];
    (void)snprintf(head, sizeof head, json ? "{\"time\":\"%s\",\"level\":\"%s\"" : "%s %s", when, name);
    add(&out, head, strlen(head));
    if (component) {
        add(&out, json ? ",\"component\":\"" : " ", json ? 14 : 1);
        add_escaped(&out, component, strnlen(component, COMPONENT_MAX), json);
        add(&out, json ? "\"" : ":", 1);
    }
    add(&out, json ? ",\"message\":\"" : " ", json ? 12 : 1);
    add_escaped(&out, message, len, json);
    if (json) {
        memcpy(out.text + out.len, "\"}", 2);
        out.len += 2;
    }
    if (state.write) {
        out.text[out.len] = '\0';
        state.write(state.self, out.text, out.len);
        return;
    }
    out.text[out.len++] = '\n';
    while (write(STDERR_FILENO, out.text, out.len) < 0 &&
           errno == EINTR) { /* one write: lines of processes don't mix */
    }
}

static void tell_held(kind *one)
{
    char message[160];
    int len = snprintf(message, sizeof message, "%u more like \"%s\" in the last minute were not shown", one->held,
                       one->start);
    print(one->level, one->component[0] ? one->component : NULL, message,
          len < 0                     ? 0
          : len < (int)sizeof message ? (size_t)len
                                      : sizeof message - 1);
}

/* Frees what was counted a minute ago; the caller's kind, a new one if need be. */
static kind *find_kind(uint64_t hash, int64_t now)
{
    kind *oldest = &state.kinds[0], *found = NULL, *empty = NULL;
    state.kinds_used = true;
    for (kind *one = state.kinds; one < state.kinds + KINDS; one++) {
        if (one->hash && now - one->since_ns >= minute_ns) {
            if (one->held > 0)
                tell_held(one);
            one->hash = 0;
        }
        if (!one->hash && !empty)
            empty = one;
        if (one->hash == hash)
            found = one;
        if (one->since_ns < oldest->since_ns)
            oldest = one;
    }
    if (found || empty)
        return found ? found : empty;
    if (oldest->held > 0)
        tell_held(oldest);
    oldest->hash = 0;
    return oldest;
}

static bool admit(int32_t level, const char *component, const char *message, size_t len)
{
    size_t shared = 0;
    while (shared < len && !isdigit((unsigned char)message[shared]))
        shared++;
    uint64_t hash = pl_str_hash((pl_str){message, shared}) ^ ((uint64_t)level + 1) * 0x9e3779b97f4a7c15u;
    if (component)
        hash ^= pl_str_hash(PL_S(component)) * 31;
    hash |= 1; /* never 0 */
    int64_t now = state.clock->now_ns(state.clock);
    kind *mine = find_kind(hash, now);
    if (!mine->hash) {
        *mine = (kind){.hash = hash, .since_ns = now, .level = level};
        (void)snprintf(mine->component, sizeof mine->component, "%s", component ? component : "");
        (void)snprintf(mine->start, sizeof mine->start, "%.*s", (int)(shared < 72 ? shared : 72), message);
    }
    if (mine->printed < A_MINUTE) {
        mine->printed++;
        return true;
    }
    mine->held++;
    return false;
}

void pl_log(int32_t level, const char *component, const char *format, ...)
{
    char message[MESSAGE_MAX];
    pthread_mutex_lock(&state.lock);
    bool wanted = level >= state.level;
    pthread_mutex_unlock(&state.lock);
    if (!wanted)
        return;
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (len < 0)
        return;
    size_t kept = (size_t)len < sizeof message ? (size_t)len : sizeof message - 1;
    while (kept > 0 && message[kept - 1] == '\n')
        kept--;
    pthread_mutex_lock(&state.lock);
    if (admit(level, component, message, kept))
        print(level, component, message, kept);
    pthread_mutex_unlock(&state.lock);
}
