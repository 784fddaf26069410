/* What every Lua state of ours has: a capped heap, limits, the sandbox, the types decimal and record. Private to
 * runtime/script. One thread at a time. Functions that take a lua_State may raise (longjmp): callers hold nothing that
 * would have to be freed. */
#ifndef PL_SCRIPT_WORLD_H
#define PL_SCRIPT_WORLD_H
#include "heap.h"
#include "watch.h"

#include <base/arena.h>
#include <base/buf.h>
#include <base/clock.h>
#include <base/error.h>
#include <lauxlib.h>
#include <lua.h>
#include <record/decimal.h>
#include <record/document.h>
#include <record/record.h>
#include <stdlib.h>

enum {
    PL_WORLD_RING = 64,             /* records in turn: one that a script kept is found out at the next call */
    PL_WORLD_HOOK_COUNT = 1000,     /* VM instructions between two looks at the clock: about 5 us */
    PL_WORLD_DEPTH_MAX = 64,        /* nesting of built records and of state */
    PL_WORLD_TEXT_MAX = 64 << 20,   /* bytes of one built record */
    PL_WORLD_MESSAGE_MAX = 32 << 10 /* bytes of a failure's story */
};
#define PL_WORLD_MEMORY ((size_t)256 << 20)
#define PL_WORLD_TIME_NS INT64_C(1000000000)

/* Every userdata of ours, full or light, begins with one of these words: that is how it is told apart. */
enum {
    PL_MAGIC_DECIMAL = 0x43454444u, /* a pl_decimal's tag; it has no more limbs than it uses: most use one */
    PL_MAGIC_NUMBER = 0x43454445u,  /* one read from a JSON number and not computed with since: written as one again */
    PL_MAGIC_RECORD = 0x4345524Du,
    PL_MAGIC_ENVELOPE = 0x564E4550u,
    PL_MAGIC_HEADERS = 0x44414548u,
    PL_MAGIC_NULL = 0x4C4C554Eu,
    PL_MAGIC_REJECT = 0x4A455250u,
    PL_MAGIC_PATTERN = 0x54544150u
};

typedef struct pl_lua_record { /* the record, or an object or array within it */
    uint32_t magic;
    pl_json_node node;
    uint64_t call; /* world.call while it may be used */
} pl_lua_record;

typedef struct pl_lua_envelope { /* m, or its headers */
    uint32_t magic;
    uint64_t call; /* as above */
} pl_lua_envelope;

typedef struct pl_world pl_world;

struct pl_world {
    lua_State *L;
    pl_heap heap;
    const pl_clock *clock;
    const char *component;         /* for the log; NULL allowed */
    const char *library;           /* folder of `require`; NULL: none */
    int64_t limit_ns, deadline_ns; /* deadline 0: this call's first look at the clock is still to come */
    pl_watched watched;
    volatile sig_atomic_t hooked; /* the call has been going on for a while: a count hook looks at the clock */
    bool out_of_time;
    bool unwatched; /* nobody watches this call: the hook is there from its beginning */
    bool loading;   /* the main chunk runs: it may define globals */

    uint64_t call;         /* names the record call that is under way; 0: none */
    uint64_t calls;        /* so far */
    pl_record envelope;    /* what is given out inherits this; the script edits it as `m` */
    pl_arena *arena;       /* of the call */
    pl_document *document; /* of the call's record */
    bool has_record;
    int codec; /* pl_codec of the records */
    char decimal_text[PL_DECIMAL_TEXT_MAX];
    pl_error error; /* of what the document was asked; one on the stack would have to be opened each time */

    int ref_decimal, ref_record, ref_envelope, ref_headers, ref_array, ref_object; /* metatables */
    struct { /* userdata in turn, anchored by their refs */
        int ref;
        pl_lua_record *record;
    } record_ring[PL_WORLD_RING];
    struct {
        int ref;
        pl_lua_envelope *envelope;
    } envelope_ring[PL_WORLD_RING];
    int ref_loaded;
    int ref_emits; /* list of names that come first in a built record; 0: none */

    pl_buf text;    /* scratch: JSON being built */
    pl_buf message; /* the whole story of the last failure */
    struct pl_sort_key *keys;
    size_t key_count, key_capacity;
};

typedef struct pl_world_setup {
    const char *component, *library;
    const pl_clock *clock;
    size_t memory_bytes;   /* 0: PL_WORLD_MEMORY */
    int64_t time_limit_ns; /* 0: PL_WORLD_TIME_NS */
    uint64_t seed;
} pl_world_setup;

/* NULL pointer members are fine afterwards; false: no memory. pl_world_release either way. */
bool pl_world_init(pl_world *world, const pl_world_setup *setup);
void pl_world_release(pl_world *world);
static inline pl_world *pl_world_of(lua_State *L)
{
    return *(pl_world **)lua_getextraspace(L);
}

/* Calls `body` (no arguments, no results) protected and under the limits. PL_OK, or PL_FAILED with world->message
 * holding the whole story (first line: the message) and error the first line, class PL_REJECT, code 0 for reject() and
 * Lua's status else; PL_HALT when the heap is full even after collecting. world->message is "" on PL_OK. */
pl_status pl_world_call(pl_world *world, lua_CFunction body, pl_error *error);
/* The same in three steps, for who calls often: enter, one or more lua_pcall with PL_WORLD_HANDLER, which stands on the
 * stack, and leave with the first status that is not LUA_OK, its error on the top of the stack. */
enum { PL_WORLD_HANDLER = 1 };
void pl_world_enter(pl_world *world);
/* Within a lua_pcall: what follows is a call of its own, as far as limits go. */
void pl_world_again(pl_world *world);
pl_status pl_world_leave(pl_world *world, int status, pl_error *error);
/* For C code that works for long within one call: true when the call's time is over. */
bool pl_world_out_of_time(pl_world *world);
/* Raises "took longer than ..." at the script's line. */
int pl_world_raise_time(lua_State *L);
/* Loads a text chunk; messages name it `name`, counting lines from first_line. Leaves the function, or raises. */
void pl_world_load(lua_State *L, pl_str text, const char *name, int first_line);
/* Raises with a message that a pl_error holds. */
int pl_world_raise(lua_State *L, const pl_error *error);
static inline _Noreturn void pl_raise_memory(lua_State *L)
{
    luaL_error(L, "out of memory");
    abort(); /* luaL_error does not return, but its declaration does not say so */
}

/* What is below is one file each: opens its part of the world (called protected, stack balanced). */
void pl_open_sandbox(lua_State *L, uint64_t seed); /* sandbox.c */
void pl_open_strings(lua_State *L);                /* strings.c: find, match, gmatch, gsub, rep */
void pl_open_decimal(lua_State *L);                /* decimal_lua.c */
void pl_open_time(lua_State *L);                   /* time_lua.c: time, sorted, null, log */
void pl_open_record(lua_State *L);                 /* record_lua.c */
void pl_open_envelope(lua_State *L);               /* envelope_lua.c */

/* ---- magic ------------------------------------------------------------------ */
/* Never written; not const because lua_pushlightuserdata takes a void *. */
extern uint32_t pl_null_marker, pl_reject_marker;
/* The magic word of the userdata at index, 0: not a userdata. */
static inline uint32_t pl_magic_at(lua_State *L, int index)
{
    const uint32_t *word = lua_touserdata(L, index);
    return word ? *word : 0;
}
/* The userdata at index if it begins with that word, else NULL. */
static inline void *pl_userdata_at(lua_State *L, int index, uint32_t magic)
{
    uint32_t *word = lua_touserdata(L, index);
    return word && *word == magic ? word : NULL;
}
static inline bool pl_is_null(lua_State *L, int index)
{
    return lua_touserdata(L, index) == (const void *)&pl_null_marker;
}
static inline void pl_push_null(lua_State *L)
{
    lua_pushlightuserdata(L, &pl_null_marker);
}
/* "decimal", "null", "record", "object", "array", else Lua's own name. */
const char *pl_type_name(lua_State *L, int index);

/* ---- decimal_lua.c ------------------------------------------------------------ */
/* NULL: something else. */
static inline const pl_decimal *pl_to_decimal(lua_State *L, int index)
{
    const uint32_t *word = lua_touserdata(L, index);
    return word && (*word | 1u) == PL_MAGIC_NUMBER ? (const void *)word : NULL;
}
_Static_assert(offsetof(pl_decimal, tag) == 0 && (PL_MAGIC_DECIMAL | 1u) == PL_MAGIC_NUMBER, "as pl_to_decimal looks");
void pl_push_decimal(lua_State *L, const pl_decimal *value, bool number);
/* A decimal, an integer, or text that is a number (JSON's or the script's own). Raises with `what` in the message. */
void pl_check_decimal(lua_State *L, int index, const char *what, pl_decimal *out);

/* decimal { "0.5", doc = ".." }, the option type; its table is at index 2 (options_lua.c). */
int pl_declare_decimal(lua_State *L);

/* ---- record_lua.c -------------------------------------------------------------- */
/* Makes `record` the one that r stands for, and m its envelope; NULL: no record, only an envelope of `envelope`. */
void pl_world_begin(pl_world *world, const pl_record *record, const pl_record *envelope, pl_arena *arena);
void pl_world_end(pl_world *world); /* r and m expire */
void pl_push_record(lua_State *L);
void pl_push_envelope(lua_State *L);
/* A value of a document as Lua sees it. node: where it stands, for objects and arrays. */
void pl_push_value(lua_State *L, const pl_value *value, pl_json_node node);
/* Raises unless the userdata at index belongs to the call under way. */
pl_lua_record *pl_check_record(lua_State *L, int index);
/* Leaves a table with everything of the object or array (or scalar: the value itself). */
void pl_push_copy(lua_State *L, pl_json_node node);
/* The JSON text of the node; lives until the next edit. */
pl_str pl_record_text(lua_State *L, pl_json_node node);
/* A Lua value as a pl_value for pl_document_set; texts live in the stack slot or world->text until the next use. */
pl_value pl_lua_value(lua_State *L, int index);

/* ---- build.c ------------------------------------------------------------------- */
/* Appends the JSON of the value at index. ordered: the names of emits {...} come first, in their order; all others are
 * sorted. Raises, naming the field, for what JSON can't hold. */
void pl_build_json(lua_State *L, int index, bool ordered, pl_buf *out);

/* Keys of the table at index, integers first, each kind sorted, in world->keys from the returned position to
 * key_count; texts are anchored by the table. The caller puts key_count back to the returned position. Raises for keys
 * of other types, with `path` in the message. */
typedef struct pl_sort_key {
    pl_str text; /* null: an integer */
    int64_t integer;
} pl_sort_key;
size_t pl_sorted_keys(lua_State *L, int index, const char *path);
void pl_push_key(lua_State *L, const pl_sort_key *key);

/* ---- keep.c: state ------------------------------------------------------------- */
/* Appends the table at index; raises with the path of what can't be kept. */
void pl_keep_save(lua_State *L, int index, pl_buf *out);
/* Leaves the table. Raises when the bytes are damaged. */
void pl_keep_restore(lua_State *L, pl_str bytes);

/* ---- a path like state.api["ETH-USD"][3] for messages ----------------------------- */
typedef struct pl_trail {
    const struct pl_trail *up;
    pl_str key; /* null: an index */
    int64_t index;
} pl_trail;
/* Pushes the path as a string. */
const char *pl_push_trail(lua_State *L, const pl_trail *trail, const char *root);
#endif
