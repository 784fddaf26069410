/* string.find, match, gmatch and gsub on the bounded matcher; string.rep without its endless loop. */
#include "match.h"
#include "world.h"

#include <base/str.h>

typedef struct search { /* a userdata; the pattern's and the subject's texts are kept as its user values */
    uint32_t magic;
    pl_matcher matcher;
    pl_pattern pattern;
    const char *at, *last; /* gmatch: where to go on, end of the last match */
} search;

static pl_str check_str(lua_State *L, int index)
{
    pl_str text;
    text.ptr = luaL_checklstring(L, index, &text.len);
    return text;
}

static bool tick(void *self)
{
    return pl_world_out_of_time(self);
}

static void start_search(lua_State *L, search *s, pl_str subject, pl_str pattern, bool anchors)
{
    const char *problem = pl_pattern_compile(&s->pattern, pattern, anchors);
    if (problem)
        luaL_error(L, "%s: '%s'", problem, pattern.ptr);
    s->matcher.tick = tick;
    s->matcher.self = pl_world_of(L);
    pl_matcher_init(&s->matcher, &s->pattern, subject);
}

/* Raises when the search had to be given up. */
static const char *match_at(lua_State *L, search *s, const char *at)
{
    const char *end = pl_match_at(&s->matcher, at);
    if (!s->matcher.exhausted)
        return end;
    if (pl_world_of(L)->out_of_time)
        pl_world_raise_time(L);
    luaL_error(L,
               "pattern too costly: gave up after %d million steps over %d bytes; anchor it with ^ or use fewer of "
               "* + - on overlapping sets",
               (int)((PL_MATCH_STEPS + (uint64_t)PL_MATCH_STEPS_PER_BYTE * s->matcher.subject.len) / 1000000),
               (int)s->matcher.subject.len);
    return NULL;
}

static void push_capture(lua_State *L, const search *s, unsigned index, const char *start, const char *end)
{
    if (index == 0 && s->pattern.captures == 0) {
        lua_pushlstring(L, start, (size_t)(end - start));
        return;
    }
    if (index >= s->pattern.captures)
        luaL_error(L, "invalid capture index %%%d", (int)index + 1);
    pl_capture capture = s->matcher.captures[index];
    if (capture.len == PL_CAPTURE_POSITION)
        lua_pushinteger(L, capture.start - s->matcher.subject.ptr + 1);
    else
        lua_pushlstring(L, capture.start, (size_t)capture.len);
}

static int push_captures(lua_State *L, const search *s, const char *start, const char *end, bool whole)
{
    unsigned count = s->pattern.captures == 0 && whole ? 1 : s->pattern.captures;
    luaL_checkstack(L, (int)count, "too many captures");
    for (unsigned i = 0; i < count; i++)
        push_capture(L, s, i, start, end);
    return (int)count;
}

/* The optional third argument of find, match and gmatch, as an offset; past the end: len + 1. */
static size_t start_offset(lua_State *L, int index, size_t len)
{
    lua_Integer init = luaL_optinteger(L, index, 1);
    if (init > 0)
        return (size_t)init - 1 > len ? len + 1 : (size_t)init - 1;
    if (init == 0 || (lua_Unsigned)-init > len)
        return 0;
    return len - (size_t)-init;
}

static bool is_plain(pl_str pattern)
{
    return pattern.len == 0 || strcspn(pattern.ptr, "^$*+?.([%-") == pattern.len;
}

static int find_plain(lua_State *L, pl_str subject, pl_str pattern, size_t offset)
{
    const char *from = subject.ptr + offset;
    const char *found = pattern.len ? memmem(from, subject.len - offset, pattern.ptr, pattern.len) : from;
    if (!found) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, found - subject.ptr + 1);
    lua_pushinteger(L, found - subject.ptr + (lua_Integer)pattern.len);
    return 2;
}

static int find_or_match(lua_State *L, bool find)
{
    pl_str subject = check_str(L, 1), pattern = check_str(L, 2);
    size_t offset = start_offset(L, 3, subject.len);
    if (offset > subject.len) {
        lua_pushnil(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || is_plain(pattern)))
        return find_plain(L, subject, pattern, offset);
    search s;
    start_search(L, &s, subject, pattern, true);
    const char *at = subject.ptr + offset, *end = subject.ptr + subject.len;
    do {
        const char *stop = match_at(L, &s, at);
        if (stop && find) {
            lua_pushinteger(L, at - subject.ptr + 1);
            lua_pushinteger(L, stop - subject.ptr);
            return push_captures(L, &s, at, stop, false) + 2;
        }
        if (stop)
            return push_captures(L, &s, at, stop, true);
    } while (at++ < end && !s.pattern.anchored);
    lua_pushnil(L);
    return 1;
}

static int string_find(lua_State *L)
{
    return find_or_match(L, true);
}

static int string_match(lua_State *L)
{
    return find_or_match(L, false);
}

static int gmatch_next(lua_State *L)
{
    search *s = lua_touserdata(L, lua_upvalueindex(1));
    const char *end = s->matcher.subject.ptr + s->matcher.subject.len;
    for (; s->at <= end; s->at++) {
        const char *start = s->at, *stop = match_at(L, s, start);
        if (stop && stop != s->last) {
            s->at = s->last = stop;
            return push_captures(L, s, start, stop, true);
        }
    }
    return 0;
}

static int string_gmatch(lua_State *L)
{
    pl_str subject = check_str(L, 1), pattern = check_str(L, 2);
    size_t offset = start_offset(L, 3, subject.len);
    lua_settop(L, 2);
    search *s = lua_newuserdatauv(L, sizeof *s, 0);
    s->magic = PL_MAGIC_PATTERN;
    start_search(L, s, subject, pattern, false);
    s->at = subject.ptr + offset;
    s->last = NULL;
    lua_pushvalue(L, 1); /* keeps the subject's bytes alive */
    lua_pushcclosure(L, gmatch_next, 2);
    return 1;
}

/* ---- gsub --------------------------------------------------------------------- */

static void add_template(lua_State *L, luaL_Buffer *out, const search *s, const char *start, const char *end)
{
    size_t len;
    const char *text = lua_tolstring(L, 3, &len);
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '%') {
            luaL_addchar(out, text[i]);
            continue;
        }
        char c = text[++i]; /* at the end: the NUL that follows every Lua string */
        if (c == '%') {
            luaL_addchar(out, '%');
        } else if (c == '0') {
            luaL_addlstring(out, start, (size_t)(end - start));
        } else if (c >= '1' && c <= '9') {
            push_capture(L, s, (unsigned)(c - '1'), start, end);
            luaL_tolstring(L, -1, NULL);
            lua_remove(L, -2);
            luaL_addvalue(out);
        } else {
            luaL_error(L, "invalid use of '%%' in the replacement: write %%%% for a percent sign");
        }
    }
}

static void add_replacement(lua_State *L, luaL_Buffer *out, const search *s, const char *start, const char *end)
{
    switch (lua_type(L, 3)) {
    case LUA_TFUNCTION:
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(L, s, start, end, true), 1);
        break;
    case LUA_TTABLE:
        push_capture(L, s, 0, start, end);
        lua_gettable(L, 3);
        break;
    default:
        add_template(L, out, s, start, end);
        return;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(out, start, (size_t)(end - start));
    } else if (lua_isstring(L, -1)) {
        luaL_addvalue(out);
    } else {
        luaL_error(L, "gsub: the replacement is a %s; text, a number, nil or false was expected", pl_type_name(L, -1));
    }
}

static int string_gsub(lua_State *L)
{
    pl_str subject = check_str(L, 1), pattern = check_str(L, 2);
    int type = lua_type(L, 3);
    luaL_argexpected(L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE, 3,
                     "string/function/table");
    lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)subject.len + 1), count = 0;
    lua_settop(L, 4);
    search s;
    start_search(L, &s, subject, pattern, true);
    const char *at = subject.ptr, *last = NULL, *end = subject.ptr + subject.len;
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    while (count < most) {
        const char *stop = match_at(L, &s, at);
        if (stop && stop != last) {
            count++;
            add_replacement(L, &out, &s, at, stop);
            at = last = stop;
        } else if (at < end) {
            luaL_addchar(&out, *at++);
        } else {
            break;
        }
        if (s.pattern.anchored)
            break;
    }
    luaL_addlstring(&out, at, (size_t)(end - at));
    luaL_pushresult(&out);
    lua_pushinteger(L, count);
    return 2;
}

/* ---- rep ------------------------------------------------------------------------ */

/* The library's own loops n times even where there is nothing to repeat. */
static int string_rep(lua_State *L)
{
    size_t separator = 0;
    pl_str text = check_str(L, 1);
    lua_Integer count = luaL_checkinteger(L, 2);
    if (!lua_isnoneornil(L, 3))
        (void)luaL_checklstring(L, 3, &separator);
    if (count <= 0 || text.len + separator == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if ((lua_Unsigned)count > pl_world_of(L)->heap.cap / (text.len + separator))
        return luaL_error(L, "string.rep: the result would be larger than the script's heap");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

void pl_open_strings(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"find", string_find}, {"match", string_match}, {"gmatch", string_gmatch}, {"gsub", string_gsub}, {NULL, NULL}};
    lua_getglobal(L, "string");
    luaL_setfuncs(L, functions, 0);
    lua_getfield(L, -1, "rep");
    lua_pushcclosure(L, string_rep, 1);
    lua_setfield(L, -2, "rep");
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_pop(L, 1);
}
