/* The inside of a pl_script; private to runtime/script. */
#ifndef PL_SCRIPT_SCRIPT_STATE_H
#define PL_SCRIPT_SCRIPT_STATE_H
#include "script.h"
#include "world.h"

enum { PL_SCRIPT_TIMERS_MAX = 64, PL_SCRIPT_OPTIONS_MAX = 128, PL_SCRIPT_EMITS_MAX = 256 };

struct pl_script {
    pl_world world; /* first: a lua_State leads to it, and it to the script */
    const pl_script_host *host;
    const pl_script_setup *setup; /* while pl_script_new runs */
    char *component, *path, *library;
    pl_arena *arena; /* options, emits */
    const char **emits;
    bool has_options;
    bool stopped; /* the host, or the options, failed: `stop` says how, and no pcall may go on */
    pl_error stop;
    int ref_on_record, ref_with;
    bool takes_envelope; /* on_record has a second parameter */
    int returned;        /* how many values the function under way returned */
    pl_script_next next; /* of the run of records under way */
    void *next_self;
    pl_buf *save_to;
    pl_buf *describe_to; /* options { } writes its help there and ends the load */
    bool described;
    size_t timer_count;
    struct {
        int64_t period_ns;
        int ref;
    } timers[PL_SCRIPT_TIMERS_MAX];
};

static inline pl_script *pl_script_of(lua_State *L)
{
    return (pl_script *)(void *)pl_world_of(L);
}
/* Notes that the host, or the options, failed. */
void pl_script_note_stop(pl_script *script, const pl_error *error);
/* The same, and ends the call, through any pcall. */
int pl_script_stop(lua_State *L, const pl_error *error);
/* Copy in the script's arena, NUL-ended; raises for lack of memory. */
const char *pl_script_keep(lua_State *L, const char *text);

void pl_open_flow(lua_State *L);    /* flow_lua.c: emit, reject, defer, every, metric, emits */
void pl_open_options(lua_State *L); /* options_lua.c: options, its types, with */
/* After the main chunk: a `with` that no options {} asked for is an error. */
void pl_options_finish(lua_State *L);
/* Gives out what a function of the script returned (nothing, a record, a list) and left on the stack from `first` to
 * the top. Raises. */
void pl_give_results(pl_script *script, int first);
#endif
