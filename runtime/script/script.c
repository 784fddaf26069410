#include "script_state.h"

#include <base/fs.h>
#include <base/mem.h>

/* ---- loading ------------------------------------------------------------------------ */

static void read_script(lua_State *L, const pl_script_setup *setup)
{
    pl_script *script = pl_script_of(L);
    pl_error error = {.struct_size = sizeof error};
    if (setup->text) {
        pl_world_load(L, PL_S(setup->text), setup->path, setup->first_line > 0 ? setup->first_line : 1);
        return;
    }
    pl_buf_clear(&script->world.text);
    pl_status status = pl_fs_read(setup->path, &script->world.text, &error);
    if (status == PL_END)
        (void)pl_fail(&error, PL_BAD_CONFIG, "there is no script %s", setup->path);
    if (status != PL_OK)
        pl_script_stop(L, &error);
    pl_world_load(L, pl_buf_str(&script->world.text), setup->path, 1);
}

/* The function is on the top of the stack, and popped. */
static void keep_on_record(lua_State *L, pl_script *script)
{
    lua_Debug function;
    lua_pushvalue(L, -1);
    lua_getinfo(L, ">u", &function);
    script->takes_envelope = function.isvararg || function.nparams > 1;
    script->ref_on_record = luaL_ref(L, LUA_REGISTRYINDEX);
}

static int load_script(lua_State *L)
{
    pl_script *script = pl_script_of(L);
    const pl_script_setup *setup = script->setup;
    lua_pushglobaltable(L);
    int globals = lua_gettop(L);
    script->world.loading = true;
    pl_open_flow(L);
    pl_open_options(L);
    if (setup->state.ptr)
        pl_keep_restore(L, setup->state);
    else
        lua_newtable(L);
    lua_setglobal(L, "state");
    read_script(L, setup);
    lua_call(L, 0, 0);
    pl_options_finish(L);
    lua_pushliteral(L, "on_record");
    if (lua_rawget(L, globals) == LUA_TFUNCTION)
        keep_on_record(L, script);
    else if (!lua_isnil(L, -1))
        luaL_error(L, "%s: on_record is a %s; a function was expected", setup->path, pl_type_name(L, -1));
    return 0;
}

static bool copy_names(pl_script *script, const pl_script_setup *setup)
{
    script->path = pl_strndup(setup->path, strlen(setup->path));
    script->component = setup->component ? pl_strndup(setup->component, strlen(setup->component)) : NULL;
    script->library = setup->library ? pl_strndup(setup->library, strlen(setup->library)) : NULL;
    return script->path && (script->component || !setup->component) && (script->library || !setup->library);
}

static bool open_script(pl_script *script, const pl_script_setup *setup)
{
    if (!copy_names(script, setup))
        return false;
    script->arena = pl_arena_new(4096);
    if (!script->arena)
        return false;
    pl_world_setup world = {.component = script->component,
                            .library = script->library,
                            .clock = setup->clock,
                            .memory_bytes = setup->memory_bytes,
                            .time_limit_ns = setup->time_limit_ns,
                            .seed = setup->seed};
    if (!pl_world_init(&script->world, &world))
        return false;
    script->world.codec = (int)setup->codec;
    return true;
}

/* describe_to: where options { } writes its help, or NULL. */
static pl_status load(pl_script **out, const pl_script_setup *setup, pl_buf *describe_to, pl_error *error)
{
    pl_script *script = pl_calloc(1, sizeof *script);
    *out = script;
    if (!script || !open_script(script, setup))
        return pl_fail(error, PL_BAD_CONFIG, "%s: not enough memory to open the script (its cap is %zu bytes)",
                       setup->path, setup->memory_bytes ? setup->memory_bytes : PL_WORLD_MEMORY);
    script->host = setup->host;
    script->setup = setup;
    script->describe_to = describe_to;
    script->ref_on_record = LUA_NOREF;
    pl_error_open(&script->stop);
    pl_status status = pl_world_call(&script->world, load_script, error);
    script->setup = NULL;
    if (status != PL_OK && script->stopped)
        *error = script->stop;
    error->error_class = PL_BAD_CONFIG;
    return status;
}

pl_script *pl_script_new(const pl_script_setup *setup, pl_error *error)
{
    pl_script *script;
    if (load(&script, setup, NULL, error) != PL_OK)
        pl_script_free(&script);
    return script;
}

void pl_script_serve(pl_script *script, const pl_script_host *host)
{
    script->host = host;
}

pl_status pl_script_describe(const pl_script_setup *setup, pl_buf *out, pl_error *error)
{
    pl_script_setup alone = {
        .path = setup->path, .text = setup->text, .first_line = setup->first_line, .library = setup->library};
    pl_script *script;
    pl_status status = load(&script, &alone, out, error);
    if (script && script->described)
        status = PL_OK;
    pl_script_free(&script);
    return status;
}

void pl_script_free(pl_script **script)
{
    if (!*script)
        return;
    pl_world_release(&(*script)->world);
    pl_arena_free(&(*script)->arena);
    pl_free((*script)->component);
    pl_free((*script)->path);
    pl_free((*script)->library);
    pl_free(*script);
    *script = NULL;
}

/* ---- what it declared ----------------------------------------------------------------- */

bool pl_script_has_on_record(const pl_script *script)
{
    return script->ref_on_record != LUA_NOREF;
}

const char *const *pl_script_emits(const pl_script *script)
{
    return script->emits;
}

size_t pl_script_timer_count(const pl_script *script)
{
    return script->timer_count;
}

int64_t pl_script_timer_period(const pl_script *script, size_t index)
{
    return index < script->timer_count ? script->timers[index].period_ns : 0;
}

/* ---- calls ------------------------------------------------------------------------------- */

/* The frame of `body` is the last of a traceback; it is none of the script's. */
static void cut_last_frame(pl_buf *story)
{
    static const char frame[] = "\n\t[C]: in ?";
    size_t len = sizeof frame - 1;
    if (story->len < len || memcmp(story->data + story->len - len, frame, len) != 0)
        return;
    story->len -= len;
    story->data[story->len] = '\0';
}

/* Calls `body` with the function `ref`, protected. */
static pl_status call(pl_script *script, lua_CFunction body, int ref, pl_error *error)
{
    pl_world *world = &script->world;
    script->stopped = false;
    pl_world_enter(world);
    lua_pushcfunction(world->L, body);
    lua_rawgeti(world->L, LUA_REGISTRYINDEX, ref);
    pl_status status = pl_world_leave(world, lua_pcall(world->L, 1, 0, PL_WORLD_HANDLER), error);
    pl_world_end(world);
    if (status == PL_OK)
        return PL_OK;
    if (error->code)
        cut_last_frame(&world->message);
    if (script->stopped)
        *error = script->stop;
    return status;
}

/* on_record(r, m) is at 1. What protects a call costs about as much as a short call, so all of a run share it. */
static int run_records(lua_State *L)
{
    pl_script *script = pl_script_of(L);
    pl_world *world = &script->world;
    const pl_record *record;
    pl_arena *arena;
    while ((record = script->next(script->next_self, &arena))) {
        pl_world_again(world);
        pl_world_begin(world, record, NULL, arena);
        lua_pushvalue(L, 1);
        pl_push_record(L);
        if (script->takes_envelope)
            pl_push_envelope(L);
        lua_call(L, script->takes_envelope ? 2 : 1, LUA_MULTRET);
        pl_give_results(script, 2);
        lua_settop(L, 1);
    }
    return 0;
}

pl_status pl_script_records(pl_script *script, pl_script_next next, void *self, pl_error *error)
{
    pl_arena *arena;
    if (script->ref_on_record == LUA_NOREF)
        return next(self, &arena) ? pl_fail(error, PL_HALT, "%s has no on_record", script->path) : PL_OK;
    script->next = next;
    script->next_self = self;
    return call(script, run_records, script->ref_on_record, error);
}

typedef struct one_record {
    const pl_record *record;
    pl_arena *arena;
} one_record;

static const pl_record *next_once(void *self, pl_arena **arena)
{
    one_record *one = self;
    const pl_record *record = one->record;
    *arena = one->arena;
    one->record = NULL;
    return record;
}

pl_status pl_script_record(pl_script *script, const pl_record *record, pl_arena *arena, pl_error *error)
{
    one_record one = {record, arena};
    return pl_script_records(script, next_once, &one, error);
}

/* A deferred function or a timer is at 1, and gets m alone. */
static int run_function(lua_State *L)
{
    pl_push_envelope(L);
    lua_call(L, 1, LUA_MULTRET);
    pl_give_results(pl_script_of(L), 1);
    return 0;
}

static pl_status call_function(pl_script *script, int ref, const pl_record *envelope, pl_arena *arena, pl_error *error)
{
    pl_world_begin(&script->world, NULL, envelope, arena);
    return call(script, run_function, ref, error);
}

pl_status pl_script_deferred(pl_script *script, int ref, const pl_record *envelope, pl_arena *arena, pl_error *error)
{
    pl_status status = call_function(script, ref, envelope, arena, error);
    pl_script_forget(script, ref);
    return status;
}

pl_status pl_script_timer(pl_script *script, size_t index, pl_arena *arena, pl_error *error)
{
    const pl_clock *clock = script->world.clock;
    pl_record envelope = {.time_unix_ns = clock->unix_ns(clock)};
    if (index >= script->timer_count)
        return pl_fail(error, PL_HALT, "%s has no timer %zu", script->path, index);
    return call_function(script, script->timers[index].ref, &envelope, arena, error);
}

void pl_script_forget(pl_script *script, int ref)
{
    luaL_unref(script->world.L, LUA_REGISTRYINDEX, ref);
}

pl_str pl_script_reasons(const pl_script *script)
{
    return pl_buf_str(&script->world.message);
}

/* ---- state --------------------------------------------------------------------------------- */

static int save_state(lua_State *L)
{
    if (lua_getglobal(L, "state") != LUA_TTABLE)
        return luaL_error(L, "state is a %s; it must stay a table", pl_type_name(L, -1));
    pl_keep_save(L, -1, pl_script_of(L)->save_to);
    return 0;
}

pl_status pl_script_save(pl_script *script, pl_buf *out, pl_error *error)
{
    size_t before = out->len;
    script->save_to = out;
    pl_status status = pl_world_call(&script->world, save_state, error);
    script->save_to = NULL;
    if (status == PL_OK)
        return PL_OK;
    out->len = before;
    if (out->data)
        out->data[before] = '\0';
    error->error_class = PL_HALT;
    return PL_FAILED;
}

size_t pl_script_heap_bytes(const pl_script *script)
{
    return script->world.heap.used;
}
