#include "world.h"

#include <base/log.h>
#include <base/mem.h>
#include <base/units.h>
#include <lualib.h>

/* ---- time ----------------------------------------------------------------------- */

bool pl_world_out_of_time(pl_world *world)
{
    int64_t now = pl_thread_cpu_ns(); /* a process that is stopped, or a busy machine, is no fault of the record */
    if (world->deadline_ns == 0)
        world->deadline_ns = now + world->limit_ns;
    world->out_of_time = world->out_of_time || now > world->deadline_ns;
    return world->out_of_time;
}

static void push_time_message(lua_State *L, int level)
{
    char limit[40];
    luaL_where(L, level);
    lua_pushfstring(L, "took longer than %s, the time limit of one call",
                    pl_format_duration(pl_world_of(L)->limit_ns, limit, sizeof limit));
    lua_concat(L, 2);
}

int pl_world_raise_time(lua_State *L)
{
    push_time_message(L, 1);
    return lua_error(L);
}

/* Once the time is over, every further instruction raises: a loop around pcall can't go on. */
static void on_count(lua_State *L, lua_Debug *activation)
{
    (void)activation;
    pl_world *world = pl_world_of(L);
    if (!pl_world_out_of_time(world))
        return;
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    push_time_message(L, 0);
    lua_error(L);
}

/* Also called in a signal handler. */
static void set_hook(pl_watched *watched)
{
    pl_world *world = (pl_world *)((char *)watched - offsetof(pl_world, watched));
    if (world->hooked)
        return;
    world->hooked = 1;
    lua_sethook(world->L, on_count, LUA_MASKCOUNT, PL_WORLD_HOOK_COUNT);
}

/* ---- protected calls --------------------------------------------------------------- */

static int message_handler(lua_State *L)
{
    if (pl_magic_at(L, 1) == PL_MAGIC_REJECT)
        return 1;
    const char *message = lua_tostring(L, 1);
    if (!message)
        message = luaL_tolstring(L, 1, NULL);
    luaL_traceback(L, L, message, 1);
    return 1;
}

/* The story also goes to error, which needs no memory. */
static pl_status tell_memory(pl_world *world, pl_error *error)
{
    lua_gc(world->L, LUA_GCCOLLECT);
    bool full = world->heap.used > world->heap.cap - world->heap.cap / 8;
    (void)pl_fail(
        error, full ? PL_HALT : PL_REJECT,
        full ? "the script's heap is full: %zu of %zu bytes are in use"
             : "out of memory: one call wanted more than the script's heap has left (%zu of %zu bytes are in use)",
        world->heap.used, world->heap.cap);
    pl_buf_clear(&world->message);
    pl_buf_adds(&world->message, error->message);
    return PL_FAILED;
}

static pl_status tell_text(pl_str text, pl_error *error)
{
    const char *end = memchr(text.ptr, '\n', text.len);
    size_t first = end ? (size_t)(end - text.ptr) : text.len;
    return pl_fail(error, PL_REJECT, "%.*s", (int)(first < 255 ? first : 255), text.ptr);
}

static pl_status tell_failure(pl_world *world, int status, pl_error *error)
{
    lua_State *L = world->L;
    error->code = pl_magic_at(L, -1) == PL_MAGIC_REJECT ? 0 : status;
    if (status == LUA_ERRMEM)
        return tell_memory(world, error);
    if (pl_magic_at(L, -1) == PL_MAGIC_REJECT) { /* reject() has written its reasons itself */
        pl_str reasons = pl_buf_str(&world->message);
        return tell_text(reasons.len ? reasons : PL_S("rejected"), error);
    }
    pl_str text = PL_S("an error in the error handler");
    if (lua_type(L, -1) == LUA_TSTRING)
        text.ptr = lua_tolstring(L, -1, &text.len);
    pl_buf_clear(&world->message);
    pl_buf_add(&world->message, text.ptr, text.len < PL_WORLD_MESSAGE_MAX ? text.len : PL_WORLD_MESSAGE_MAX);
    return tell_text(text, error);
}

void pl_world_enter(pl_world *world)
{
    world->out_of_time = false;
    world->deadline_ns = 0;
    world->unwatched = !pl_watch_enter(&world->watched);
    if (world->unwatched)
        set_hook(&world->watched);
    pl_buf_clear(&world->message);
}

static void drop_hook(pl_world *world)
{
    lua_sethook(world->L, NULL, 0, 0);
    world->hooked = 0;
}

void pl_world_again(pl_world *world)
{
    world->out_of_time = false;
    world->deadline_ns = 0;
    world->key_count = 0;
    pl_watch_again(&world->watched);
    if (!world->hooked)
        return;
    drop_hook(world);
    if (world->unwatched)
        set_hook(&world->watched);
}

pl_status pl_world_leave(pl_world *world, int status, pl_error *error)
{
    pl_watch_leave(&world->watched);
    if (world->hooked)
        drop_hook(world);
    pl_status result = status == LUA_OK ? PL_OK : tell_failure(world, status, error);
    world->key_count = 0;
    world->loading = false;
    lua_settop(world->L, PL_WORLD_HANDLER);
    return result;
}

pl_status pl_world_call(pl_world *world, lua_CFunction body, pl_error *error)
{
    pl_world_enter(world);
    lua_pushcfunction(world->L, body);
    return pl_world_leave(world, lua_pcall(world->L, 0, 0, PL_WORLD_HANDLER), error);
}

int pl_world_raise(lua_State *L, const pl_error *error)
{
    return luaL_error(L, "%s", error->message);
}

/* ---- loading ------------------------------------------------------------------------- */

typedef struct chunk_text {
    pl_str text;
    int newlines; /* still to be given before the text, so that lines count as in the file it stands in */
} chunk_text;

static const char *read_chunk(lua_State *L, void *self, size_t *size)
{
    static const char newlines[] = "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n";
    (void)L;
    chunk_text *chunk = self;
    if (chunk->newlines > 0) {
        int most = (int)sizeof newlines - 1;
        *size = (size_t)(chunk->newlines < most ? chunk->newlines : most);
        chunk->newlines -= (int)*size;
        return newlines;
    }
    const char *text = chunk->text.ptr;
    *size = chunk->text.len;
    chunk->text.len = 0;
    return *size ? text : NULL;
}

void pl_world_load(lua_State *L, pl_str text, const char *name, int first_line)
{
    chunk_text chunk = {text, first_line - 1};
    if (text.len > 0 && text.ptr[0] == LUA_SIGNATURE[0])
        luaL_error(L, "%s: this is compiled Lua; only source text is loaded", name);
    lua_pushfstring(L, "@%s", name);
    if (lua_load(L, read_chunk, &chunk, lua_tostring(L, -1), "t") != LUA_OK)
        lua_error(L);
    lua_remove(L, -2);
}

/* ---- life ------------------------------------------------------------------------------- */

static int open_world(lua_State *L)
{
    uint64_t seed = (uint64_t)lua_tointeger(L, 1);
    luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
    luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
    luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
    luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 1);
    lua_settop(L, 0);
    pl_open_decimal(L);
    pl_open_time(L);
    pl_open_record(L);
    pl_open_envelope(L);
    pl_open_strings(L);
    pl_open_sandbox(L, seed);
    return 0;
}

static void warn(void *self, const char *text, int more)
{
    const pl_world *world = self;
    (void)more;
    if (text[0] != '@')
        pl_log(PL_WARN, world->component, "script: %s", text);
}

bool pl_world_init(pl_world *world, const pl_world_setup *setup)
{
    *world = (pl_world){.component = setup->component,
                        .library = setup->library,
                        .clock = setup->clock ? setup->clock : &pl_system_clock,
                        .limit_ns = setup->time_limit_ns ? setup->time_limit_ns : PL_WORLD_TIME_NS,
                        .text = PL_BUF(PL_WORLD_TEXT_MAX),
                        .message = PL_BUF((size_t)2 * PL_WORLD_MESSAGE_MAX)};
    world->heap.cap = setup->memory_bytes ? setup->memory_bytes : PL_WORLD_MEMORY;
    pl_error_open(&world->error);
    world->document = pl_document_new();
    world->L = world->document ? lua_newstate(pl_heap_allocate, &world->heap) : NULL;
    if (!world->L)
        return false;
    *(pl_world **)lua_getextraspace(world->L) = world;
    lua_setwarnf(world->L, warn, world);
    lua_pushcfunction(world->L, open_world);
    lua_pushinteger(world->L, (lua_Integer)setup->seed);
    if (lua_pcall(world->L, 1, 0, 0) != LUA_OK)
        return false;
    world->watched.slow = set_hook;
    lua_pushcfunction(world->L, message_handler); /* at PL_WORLD_HANDLER, for good */
    return true;
}

void pl_world_release(pl_world *world)
{
    if (world->L)
        lua_close(world->L);
    world->L = NULL;
    pl_heap_release(&world->heap);
    pl_document_free(&world->document);
    pl_buf_release(&world->text);
    pl_buf_release(&world->message);
    pl_free(world->keys);
    world->keys = NULL;
}
