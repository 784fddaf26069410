/* libFuzzer target: a script, a pattern or a saved state from anybody. The first byte chooses. Whatever comes, the call
 * ends within its time and memory with an error or a result. Built with -fsanitize=fuzzer,address,undefined. */
#include <base/log.h>
#include <script/match.h>
#include <script/script.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 4096, PATTERN_MAX = 64 };

static void quiet(void *self, const char *line, size_t len)
{
    (void)self, (void)line, (void)len;
}

static pl_status on_emit(void *self, const char *port, const pl_record *out, pl_error *error)
{
    (void)self, (void)port, (void)error;
    return out->ack ? PL_FAILED : PL_OK;
}

static pl_status on_defer(void *self, int64_t at, pl_str key, int ref, pl_error *error)
{
    (void)at, (void)key, (void)error;
    *(int *)self = ref;
    return PL_OK;
}

static void check_error(const pl_error *error)
{
    if (!error->message[0])
        abort(); /* refused without a word */
}

/* The bytes are a script; its functions are run on a record, and its state is saved and restored. */
static void run_script(pl_str text, pl_str state)
{
    char source[TEXT_MAX + 1];
    int ref = 0;
    pl_error error = {.struct_size = sizeof error};
    pl_script_host host = {&ref, on_emit, on_defer, NULL};
    memcpy(source, text.ptr, text.len);
    source[text.len] = '\0';
    pl_script_setup setup = {.component = "fuzz",
                             .path = "fuzz.lua",
                             .text = source,
                             .host = &host,
                             .state = state,
                             .memory_bytes = 4 << 20,
                             .time_limit_ns = 50000000};
    pl_script *script = pl_script_new(&setup, &error);
    pl_arena *arena = pl_arena_new(4096);
    pl_buf saved = PL_BUF(1 << 20);
    if (!script) {
        check_error(&error);
    } else {
        pl_record record = {.key = PL_S("k"), .time_unix_ns = 1};
        record.payload =
            pl_arena_str(arena, PL_S("{\"a\":1,\"b\":[1.50,{\"c\":null}],\"s\":\"x\",\"o\":{\"p\":\"q\"}}"));
        for (int i = 0; i < 2 && pl_script_has_on_record(script); i++)
            if (pl_script_record(script, &record, arena, &error) != PL_OK)
                check_error(&error);
        if (ref && pl_script_deferred(script, ref, &record, arena, &error) != PL_OK)
            check_error(&error);
        if (pl_script_timer_count(script) && pl_script_timer(script, 0, arena, &error) != PL_OK)
            check_error(&error);
        if (pl_script_save(script, &saved, &error) != PL_OK)
            check_error(&error);
    }
    pl_script_free(&script);
    pl_buf_release(&saved);
    pl_arena_free(&arena);
}

/* A pattern up to the first newline, then the subject. */
static void run_pattern(pl_str text)
{
    static pl_pattern pattern; /* 9 KiB */
    pl_matcher matcher = {.tick = NULL};
    const char *end = memchr(text.ptr, '\n', text.len);
    size_t len = end ? (size_t)(end - text.ptr) : 0;
    if (!end || len > PATTERN_MAX || pl_pattern_compile(&pattern, (pl_str){text.ptr, len}, true))
        return;
    pl_str subject = {end + 1, text.len - len - 1};
    pl_matcher_init(&matcher, &pattern, subject);
    matcher.steps_left = 100000;
    for (size_t i = 0; i <= subject.len && !matcher.exhausted; i++) {
        const char *stop = pl_match_at(&matcher, subject.ptr + i);
        if (stop && (stop < subject.ptr + i || stop > subject.ptr + subject.len))
            abort();
        for (uint8_t c = 0; stop && c < pattern.captures; c++)
            if (matcher.captures[c].len == PL_CAPTURE_OPEN)
                abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pl_str text = {(const char *)data + 1, size - 1};
    if (size < 2 || size > TEXT_MAX)
        return 0;
    pl_log_capture(quiet, NULL);
    switch (data[0] % 3) {
    case 0:
        run_script(text, (pl_str){NULL, 0});
        break;
    case 1:
        run_pattern(text);
        break;
    default:
        run_script(PL_S("function on_record(r) return { s = record.totable(r), n = #state, t = state } end"), text);
        break;
    }
    return 0;
}
