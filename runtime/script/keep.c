/* State as bytes: a version byte, then one value. Equal states give equal bytes: keys are sorted, integers before text.
 *
 *   value   = tag body
 *   tags    : F T (false, true)  i zigzag varint  d 8 bytes of a double, little endian  s varint length, bytes
 *             D N length, digits of a decimal (N: read from a JSON number)  0 null
 *             t a o varint count, then so many key value (plain table, array{}, object{})
 */
#include "world.h"

#include <base/str.h>

enum { KEEP_VERSION = 1, KEEP_DEPTH_MAX = 150 };

/* ---- saving ----------------------------------------------------------------------- */

typedef struct saver {
    lua_State *L;
    pl_world *world;
    pl_buf *out;
    int seen; /* stack index: tables met so far */
    int depth;
} saver;

static void add_varint(pl_buf *out, uint64_t value)
{
    while (value >= 0x80) {
        pl_buf_addc(out, (char)(value | 0x80));
        value >>= 7;
    }
    pl_buf_addc(out, (char)value);
}

static void add_integer(pl_buf *out, int64_t value)
{
    pl_buf_addc(out, 'i');
    add_varint(out, ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0));
}

static void add_text(pl_buf *out, char tag, pl_str text)
{
    pl_buf_addc(out, tag);
    add_varint(out, text.len);
    pl_buf_add(out, text.ptr, text.len);
}

static int refuse(saver *s, const pl_trail *trail, const char *problem)
{
    return luaL_error(s->L, "%s: %s", pl_push_trail(s->L, trail, "state"), problem);
}

static char table_tag(saver *s, int index, const pl_trail *trail)
{
    if (!lua_getmetatable(s->L, index))
        return 't';
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->world->ref_array);
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->world->ref_object);
    char tag = lua_rawequal(s->L, -3, -2) ? 'a' : lua_rawequal(s->L, -3, -1) ? 'o' : '\0';
    lua_pop(s->L, 3);
    if (!tag)
        refuse(s, trail, "a table with a metatable can't be kept: state is plain data");
    return tag;
}

static void save(saver *s, int index, const pl_trail *trail);

static void save_table(saver *s, int index, const pl_trail *trail)
{
    lua_State *L = s->L;
    luaL_checkstack(L, 8, "state is nested too deep");
    if (++s->depth > KEEP_DEPTH_MAX)
        refuse(s, trail, "nested deeper than 150");
    lua_pushvalue(L, index);
    if (lua_rawget(L, s->seen) != LUA_TNIL)
        refuse(s, trail, "the same table stands in two places of state (or contains itself): keep a copy");
    lua_pop(L, 1);
    lua_pushvalue(L, index);
    lua_pushboolean(L, true);
    lua_rawset(L, s->seen);
    pl_buf_addc(s->out, table_tag(s, index, trail));
    size_t from = pl_sorted_keys(L, index, "state"), count = s->world->key_count - from;
    add_varint(s->out, count);
    for (size_t i = 0; i < count; i++) {
        pl_sort_key key = s->world->keys[from + i];
        pl_trail here = {trail, key.text, key.integer};
        if (key.text.ptr)
            add_text(s->out, 's', key.text);
        else
            add_integer(s->out, key.integer);
        pl_push_key(L, &key);
        lua_rawget(L, index);
        save(s, lua_gettop(L), &here);
        lua_pop(L, 1);
    }
    s->world->key_count = from;
    s->depth--;
}

static void save_other(saver *s, int index, const pl_trail *trail)
{
    char text[PL_DECIMAL_TEXT_MAX];
    const pl_decimal *decimal = pl_to_decimal(s->L, index);
    if (decimal)
        add_text(s->out, decimal->tag == PL_MAGIC_NUMBER ? 'N' : 'D', (pl_str){text, pl_decimal_format(decimal, text)});
    else if (pl_is_null(s->L, index))
        pl_buf_addc(s->out, '0');
    else if (pl_magic_at(s->L, index) == PL_MAGIC_RECORD)
        refuse(s, trail, "a record lives for one call only: keep its fields, or record.totable(r)");
    else
        luaL_error(s->L, "%s: a %s can't be kept: state is plain data", pl_push_trail(s->L, trail, "state"),
                   pl_type_name(s->L, index));
}

static void save(saver *s, int index, const pl_trail *trail)
{
    pl_str text;
    double number;
    uint64_t bits;
    switch (lua_type(s->L, index)) {
    case LUA_TBOOLEAN:
        pl_buf_addc(s->out, lua_toboolean(s->L, index) ? 'T' : 'F');
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(s->L, index)) {
            add_integer(s->out, lua_tointeger(s->L, index));
            break;
        }
        number = lua_tonumber(s->L, index);
        memcpy(&bits, &number, sizeof bits);
        pl_buf_addc(s->out, 'd');
        for (int i = 0; i < 8; i++)
            pl_buf_addc(s->out, (char)(bits >> (8 * i)));
        break;
    case LUA_TSTRING:
        text.ptr = lua_tolstring(s->L, index, &text.len);
        add_text(s->out, 's', text);
        break;
    case LUA_TTABLE:
        save_table(s, index, trail);
        break;
    default:
        save_other(s, index, trail);
        break;
    }
}

void pl_keep_save(lua_State *L, int index, pl_buf *out)
{
    saver s = {L, pl_world_of(L), out, 0, 0};
    index = lua_absindex(L, index);
    lua_newtable(L);
    s.seen = lua_gettop(L);
    pl_buf_addc(out, KEEP_VERSION);
    save(&s, index, NULL);
    lua_pop(L, 1);
    if (pl_buf_failed(out))
        luaL_error(L, "state is larger than %d MiB", (int)(out->max >> 20));
}

/* ---- restoring ----------------------------------------------------------------------- */

typedef struct loader {
    lua_State *L;
    const char *at, *end;
    int depth;
} loader;

static int damaged(loader *in)
{
    return luaL_error(in->L, "the saved state is damaged");
}

static uint64_t read_varint(loader *in)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (in->at == in->end)
            damaged(in);
        uint8_t byte = (uint8_t)*in->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return value;
    }
    damaged(in);
    return 0;
}

static pl_str read_text(loader *in)
{
    uint64_t len = read_varint(in);
    if (len > (uint64_t)(in->end - in->at))
        damaged(in);
    pl_str text = {in->at, (size_t)len};
    in->at += len;
    return text;
}

static void restore(loader *in);

static void restore_table(loader *in, char tag)
{
    lua_State *L = in->L;
    luaL_checkstack(L, 6, "the saved state is nested too deep");
    if (++in->depth > KEEP_DEPTH_MAX)
        damaged(in);
    lua_newtable(L);
    for (uint64_t count = read_varint(in); count > 0; count--) {
        restore(in);
        if (lua_type(L, -1) != LUA_TSTRING && !lua_isinteger(L, -1))
            damaged(in);
        restore(in);
        lua_rawset(L, -3);
    }
    if (tag != 't') {
        lua_rawgeti(L, LUA_REGISTRYINDEX, tag == 'a' ? pl_world_of(L)->ref_array : pl_world_of(L)->ref_object);
        lua_setmetatable(L, -2);
    }
    in->depth--;
}

static void restore_float(loader *in)
{
    uint64_t bits = 0;
    double number;
    if (in->end - in->at < 8)
        damaged(in);
    for (int i = 0; i < 8; i++)
        bits |= (uint64_t)(uint8_t)*in->at++ << (8 * i);
    memcpy(&number, &bits, sizeof number);
    lua_pushnumber(in->L, number);
}

static void restore_decimal(loader *in, bool number)
{
    pl_decimal value;
    if (pl_decimal_parse(read_text(in), &value) != PL_DECIMAL_OK)
        damaged(in);
    pl_push_decimal(in->L, &value, number);
}

static void restore(loader *in)
{
    if (in->at == in->end)
        damaged(in);
    char tag = *in->at++;
    uint64_t bits;
    pl_str text;
    switch (tag) {
    case 'F':
    case 'T':
        lua_pushboolean(in->L, tag == 'T');
        break;
    case 'i':
        bits = read_varint(in);
        lua_pushinteger(in->L, (lua_Integer)((bits >> 1) ^ (bits & 1 ? UINT64_MAX : 0)));
        break;
    case 'd':
        restore_float(in);
        break;
    case 's':
        text = read_text(in);
        lua_pushlstring(in->L, text.ptr, text.len);
        break;
    case 'D':
    case 'N':
        restore_decimal(in, tag == 'N');
        break;
    case '0':
        pl_push_null(in->L);
        break;
    case 't':
    case 'a':
    case 'o':
        restore_table(in, tag);
        break;
    default:
        damaged(in);
        break;
    }
}

void pl_keep_restore(lua_State *L, pl_str bytes)
{
    loader in = {L, bytes.ptr, bytes.ptr + bytes.len, 0};
    if (bytes.len < 2 || bytes.ptr[0] != KEEP_VERSION)
        luaL_error(L, "the saved state is of a version that this program does not know");
    in.at++;
    restore(&in);
    if (in.at != in.end || !lua_istable(L, -1))
        damaged(&in);
}
