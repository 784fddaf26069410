#include <base/fs.h>
#include <base/mem.h>
#include <base/str.h>
#include <config/merge.h>
#include <config/source.h>
#include <config/spec.h>

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_MAX_LEN = 64, WORKERS_MAX = 256, INPUTS_MAX = 1000, SCRIPT_NAMES = 200 };
enum { BUFFER_DEFAULT_BYTES = 1 << 30, BUFFER_MIN_BYTES = 1 << 20, BUFFER_SYNC_MAX_S = 10 };
static const int64_t second = 1000000000;

bool pl_spec_check_name(const pl_node *node, const char *what, pl_diags *diags)
{
    pl_str name = node->text;
    bool ok = name.len > 0;
    for (size_t i = 0; i < name.len && ok; i++)
        ok = (name.ptr[i] >= 'a' && name.ptr[i] <= 'z') || (name.ptr[i] >= '0' && name.ptr[i] <= '9') ||
             name.ptr[i] == '_' || name.ptr[i] == '-';
    if (ok && name.len <= NAME_MAX_LEN)
        return true;
    pl_diags_error(diags, node, "%s '%.80s': a name is made of a-z, 0-9, _ and -, at most %d of them", what,
                   node->written.ptr, NAME_MAX_LEN);
    return false;
}

/* ---- from ------------------------------------------------------------------ */

static bool read_input(const pl_reader *r, const pl_node *item, pl_from *input)
{
    if (item->broken)
        return false;
    if (item->type != PL_NODE_SCALAR || item->text.len == 0) {
        pl_diags_error(r->diags, item, "from of %s names components; found %s", r->what,
                       item->type == PL_NODE_SCALAR ? "an empty text" : pl_node_kind(item));
        return false;
    }
    const char *text = item->text.ptr, *dot = strchr(text, '.');
    pl_str name = {text, dot ? (size_t)(dot - text) : item->text.len}, copy = pl_arena_str(r->arena, name);
    if (dot && dot[1] == '\0') {
        pl_diags_error(r->diags, item, "an output's name is missing behind the dot of '%.80s'", item->written.ptr);
        return false;
    }
    *input = (pl_from){.name = copy.ptr, .port = dot ? dot + 1 : NULL, .component = -1, .node = item};
    return copy.ptr != NULL;
}

static void read_from(const pl_reader *r, pl_component_spec *spec)
{
    const pl_node *node = pl_read_node(r, "from", NULL);
    if (!node || node->type == PL_NODE_NULL)
        return;
    if (node->type == PL_NODE_MAP) {
        pl_diags_error(r->diags, node, "from of %s is a name or a list of names, not a map", r->what);
        return;
    }
    bool one = node->type == PL_NODE_SCALAR;
    size_t given = one ? 1 : node->count;
    if (given > INPUTS_MAX) {
        pl_diags_error(r->diags, node, "from of %s names more than %d components", r->what, INPUTS_MAX);
        given = INPUTS_MAX;
    }
    pl_from *inputs = pl_arena_alloc(r->arena, (given + 1) * sizeof *inputs);
    if (!inputs) {
        pl_diags_error(r->diags, node, "no memory");
        return;
    }
    for (size_t i = 0; i < given; i++) {
        const pl_node *item = one ? node : node->items[i];
        bool twice = false;
        for (size_t j = 0; j < spec->from_count && !twice && item->type == PL_NODE_SCALAR; j++)
            twice = pl_str_eq(inputs[j].node->text, item->text);
        if (twice)
            pl_diags_error(r->diags, item, "from of %s names '%.80s' twice", r->what, item->written.ptr);
        else if (read_input(r, item, &inputs[spec->from_count]))
            spec->from_count++;
    }
    spec->from = inputs;
}

/* ---- Shared by kinds --------------------------------------------------------- */

static void read_plugin(const pl_reader *r, pl_component_spec *spec)
{
    const pl_node *node = pl_read_node(r, "plugin", NULL);
    pl_read_text(r, "plugin", &spec->plugin, &spec->plugin_node);
    if (spec->plugin && !pl_spec_check_name(spec->plugin_node, "plugin", r->diags))
        spec->plugin = NULL;
    if (!node || (node->type == PL_NODE_NULL && !node->broken))
        pl_diags_error(r->diags, spec->key, "%s needs `plugin: NAME`", r->what);
}

static void read_with(const pl_reader *r, pl_component_spec *spec, const pl_node *defaults, const pl_yaml_setup *yaml)
{
    pl_node *with = pl_read_node(r, "with", NULL);
    if (with && with->type != PL_NODE_MAP && with->type != PL_NODE_NULL)
        pl_diags_error(r->diags, with, "with of %s is a map of options, not %s", r->what, pl_node_kind(with));
    spec->with = pl_merge_with(with, spec->plugin ? pl_node_get(defaults, spec->plugin) : NULL, yaml);
}

static void read_then(const pl_reader *inner, const char *otherwise, pl_component_spec *spec)
{
    const char *const words[] = {otherwise, "halt", NULL};
    int word = 0;
    pl_read_choice(inner, "then", words, &word);
    spec->retry.then_halt = word == 1;
    spec->retry.then_node = pl_read_node(inner, "then", NULL);
    if (spec->retry.then_node && spec->retry.attempts == 0)
        pl_diags_error(inner->diags, spec->retry.then_node,
                       "retry.then of %s needs retry.attempts: without it, it is tried again for ever", inner->what);
}

/* otherwise: what becomes of it when the attempts are used up and the pipeline does not halt. */
static void read_retry(const pl_reader *r, const char *otherwise, pl_component_spec *spec)
{
    static const char *const keys[] = {"attempts", "min", "max", "circuit", "then", NULL};
    spec->retry.circuit = PL_RETRY_CIRCUIT;
    spec->retry.min_ns = second / 10;
    spec->retry.max_ns = 30 * second;
    pl_reader inner = {pl_read_map(r, "retry", keys), r->what, "retry.", r->arena, r->diags, keys};
    if (!inner.map)
        return;
    spec->retry.given = true;
    pl_read_integer(&inner, "attempts", 0, 1000000, &spec->retry.attempts);
    pl_read_duration(&inner, "min", &spec->retry.min_ns);
    pl_read_duration(&inner, "max", &spec->retry.max_ns);
    pl_read_integer(&inner, "circuit", 1, 1000000, &spec->retry.circuit);
    read_then(&inner, otherwise, spec);
    bool max_given = pl_read_node(&inner, "max", NULL) != NULL;
    if (spec->retry.min_ns <= 0)
        pl_diags_error(r->diags, pl_read_node(&inner, "min", NULL), "retry.min of %s must be above 0", r->what);
    else if (spec->retry.min_ns > spec->retry.max_ns && max_given)
        pl_diags_error(r->diags, pl_read_node(&inner, "max", NULL), "retry.max of %s is below its min", r->what);
    else if (spec->retry.min_ns > spec->retry.max_ns)
        spec->retry.max_ns = spec->retry.min_ns;
}

static void refuse_buffer(const pl_reader *r)
{
    const pl_node *key = pl_node_key(r->map, "buffer");
    if (key)
        pl_diags_error(r->diags, key, "buffer of %s: a disk buffer is a source's; give one to the source above",
                       r->what);
}

static void read_buffer(const pl_reader *r, pl_component_spec *spec)
{
    static const char *const keys[] = {"max_size", "sync", NULL};
    spec->buffer.max_bytes = BUFFER_DEFAULT_BYTES;
    spec->buffer.node = pl_node_key(r->map, "buffer");
    pl_reader inner = {pl_read_map(r, "buffer", keys), r->what, "buffer.", r->arena, r->diags, keys};
    if (!inner.map)
        return;
    spec->buffer.given = true;
    pl_read_size(&inner, "max_size", &spec->buffer.max_bytes);
    pl_read_duration(&inner, "sync", &spec->buffer.sync_ns);
    if (spec->buffer.max_bytes < BUFFER_MIN_BYTES)
        pl_diags_error(r->diags, pl_read_node(&inner, "max_size", NULL), "buffer.max_size of %s is at least 1MiB",
                       r->what);
    if (spec->buffer.sync_ns < 0 || spec->buffer.sync_ns > BUFFER_SYNC_MAX_S * second)
        pl_diags_error(r->diags, pl_read_node(&inner, "sync", NULL), "buffer.sync of %s is at most %ds", r->what,
                       BUFFER_SYNC_MAX_S);
}

/* ---- Sources and sinks ------------------------------------------------------- */

static void read_source(const pl_reader *r, pl_component_spec *spec)
{
    static const char *const codecs[] = {"json", "text", "bytes", NULL};
    static const char *const validates[] = {"full", "touched", NULL};
    int codec = PL_CODEC_JSON, validate = PL_VALIDATE_FULL;
    read_plugin(r, spec);
    pl_read_texts(r, "time", &spec->time, &spec->time_count);
    pl_read_choice(r, "codec", codecs, &codec);
    pl_read_choice(r, "validate", validates, &validate);
    spec->codec = (pl_codec)codec;
    spec->validate = (pl_validate)validate;
    read_retry(r, "gap", spec);
    read_buffer(r, spec);
}

static void read_sink(const pl_reader *r, pl_component_spec *spec)
{
    static const char *const keys[] = {"records", "bytes", "wait", NULL};
    static const char *const rejects[] = {"dead_letter", "halt", NULL};
    int reject = 0;
    read_plugin(r, spec);
    read_from(r, spec);
    pl_read_text(r, "when", &spec->when, &spec->when_node);
    read_retry(r, "dead_letter", spec);
    pl_read_choice(r, "reject", rejects, &reject);
    spec->reject_halts = reject == 1;
    refuse_buffer(r);
    spec->batch.wait_ns = -1;
    pl_reader inner = {pl_read_map(r, "batch", keys), r->what, "batch.", r->arena, r->diags, keys};
    if (!inner.map)
        return;
    pl_read_integer(&inner, "records", 1, 1000000, &spec->batch.records);
    pl_read_size(&inner, "bytes", &spec->batch.bytes);
    pl_read_duration(&inner, "wait", &spec->batch.wait_ns);
}

/* ---- Transforms ---------------------------------------------------------------- */

/* The file beside a missing one that is called nearly the same. */
static void suggest_file(pl_diags *diags, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *folder = slash ? pl_strndup(path, (size_t)(slash - path) + 1) : pl_strndup(".", 1);
    DIR *open = folder ? opendir(folder) : NULL;
    char *names[SCRIPT_NAMES + 1] = {NULL};
    size_t count = 0;
    for (const struct dirent *entry; open && count < SCRIPT_NAMES && (entry = readdir(open));) {
        size_t len = strlen(entry->d_name);
        if (len > 4 && strcmp(entry->d_name + len - 4, ".lua") == 0 && (names[count] = pl_strndup(entry->d_name, len)))
            count++;
    }
    const char *near = pl_nearest(name, (const char *const *)names);
    if (near)
        pl_diags_hint(diags, "did you mean '%s'?", near);
    while (count > 0)
        pl_free(names[--count]);
    if (open)
        (void)closedir(open);
    pl_free(folder);
}

static void read_script(const pl_reader *r, pl_component_spec *spec)
{
    const char *named = NULL;
    struct stat found;
    pl_read_text(r, "script", &named, &spec->script_node);
    if (!named)
        return;
    char *path = pl_fs_beside(spec->script_node->file, named);
    spec->script = path ? pl_arena_str(r->arena, PL_S(path)).ptr : NULL;
    pl_free(path);
    if (!spec->script) {
        pl_diags_error(r->diags, spec->script_node, "no memory");
    } else if (stat(spec->script, &found) != 0 || access(spec->script, R_OK) != 0) {
        pl_diags_error(r->diags, spec->script_node, "script of %s: cannot read %.200s: %s", r->what, spec->script,
                       strerror(errno));
        if (errno == ENOENT)
            suggest_file(r->diags, spec->script);
    } else if (!S_ISREG(found.st_mode)) {
        pl_diags_error(r->diags, spec->script_node, "script of %s: %.200s is no file", r->what, spec->script);
    }
}

static void read_code(const pl_reader *r, pl_component_spec *spec)
{
    const pl_node *lua = NULL;
    read_script(r, spec);
    pl_read_text(r, "lua", &spec->lua, &lua);
    if (lua)
        spec->lua_first_line = lua->line + (lua->block ? 1 : 0);
    pl_read_text(r, "when", &spec->when, &spec->when_node);
    pl_node *script_key, *lua_key, *when_key, *with;
    (void)pl_read_node(r, "script", &script_key);
    (void)pl_read_node(r, "lua", &lua_key);
    (void)pl_read_node(r, "when", &when_key);
    (void)pl_read_node(r, "with", &with);
    if (spec->script_node && lua)
        pl_diags_error(r->diags, lua_key, "%s has both script and lua: choose one", r->what);
    else if (!script_key && !lua_key && !when_key)
        pl_diags_error(r->diags, spec->key, "%s needs script, lua or when", r->what);
    if (with && !script_key && !lua_key)
        pl_diags_error(r->diags, with, "%s has no script that could take options", r->what);
}

static void read_order(const pl_reader *r, pl_component_spec *spec)
{
    static const char *const keys[] = {"by", "slack", "idle", NULL}, *const by[] = {"time", NULL};
    int choice = 0;
    spec->order.by = by[0];
    spec->order.idle_ns = 15 * second;
    pl_reader inner = {pl_read_map(r, "order", keys), r->what, "order.", r->arena, r->diags, keys};
    if (!inner.map)
        return;
    spec->order.enabled = true;
    pl_read_choice(&inner, "by", by, &choice);
    pl_read_duration(&inner, "slack", &spec->order.slack_ns);
    pl_read_duration(&inner, "idle", &spec->order.idle_ns);
}

static void read_state(const pl_reader *r, pl_component_spec *spec)
{
    static const char *const kinds[] = {"none", "durable", NULL}, *const keys[] = {"rebuild", NULL};
    const pl_node *node = pl_read_node(r, "state", NULL);
    int kind = PL_STATE_NONE;
    spec->state.node = node;
    if (pl_node_is(node, "rebuild")) {
        pl_diags_error(r->diags, node, "state of %s: say how far back it is rebuilt: { rebuild: 2h }", r->what);
        return;
    }
    if (!node || node->type != PL_NODE_MAP) {
        pl_read_choice(r, "state", kinds, &kind);
        spec->state.kind = (pl_state_kind)kind;
        return;
    }
    pl_reader inner = {pl_read_map(r, "state", keys), r->what, "state.", r->arena, r->diags, keys};
    size_t before = pl_diags_errors(r->diags);
    pl_read_duration(&inner, "rebuild", &spec->state.span_ns);
    spec->state.kind = PL_STATE_REBUILD;
    const pl_node *span = pl_read_node(&inner, "rebuild", NULL);
    if (spec->state.span_ns <= 0 && !(span && span->broken) && pl_diags_errors(r->diags) == before)
        pl_diags_error(r->diags, node, "state of %s: say how far back it is rebuilt: { rebuild: 2h }", r->what);
}

static void read_workers(const pl_reader *r, pl_component_spec *spec)
{
    spec->workers = 1;
    pl_read_integer(r, "workers", 1, WORKERS_MAX, &spec->workers);
    pl_read_text(r, "by", &spec->by, &spec->by_node);
    if (spec->workers > 1 && !spec->by) {
        pl_diags_error(r->diags, pl_read_node(r, "workers", NULL),
                       "%s has several workers: what its script joins must meet in one of them", r->what);
        pl_diags_hint(r->diags, "add `by: FIELD` (a field path), or `by: lane`");
    }
}

static void read_transform(const pl_reader *r, pl_component_spec *spec)
{
    static const char *const keys[] = {"memory", "time", NULL};
    read_from(r, spec);
    read_code(r, spec);
    read_order(r, spec);
    read_state(r, spec);
    read_workers(r, spec);
    pl_reader inner = {pl_read_map(r, "limits", keys), r->what, "limits.", r->arena, r->diags, keys};
    if (inner.map) {
        pl_read_size(&inner, "memory", &spec->limits.memory_bytes);
        pl_read_duration(&inner, "time", &spec->limits.time_ns);
    }
    if (!pl_read_node(r, "from", NULL))
        pl_diags_error(r->diags, spec->key, "%s needs `from`: what it reads", r->what);
}

/* ---- One component ------------------------------------------------------------- */

static const char *const source_keys[] = {"plugin", "with", "time", "codec", "validate", "retry", "buffer", NULL};
static const char *const transform_keys[] = {"from",    "script", "lua",   "with",   "when", "order",
                                             "workers", "by",     "state", "limits", NULL};
static const char *const sink_keys[] = {"from", "plugin", "with", "when", "batch", "retry", "reject", "buffer", NULL};
static const char *const *const kind_keys[] = {source_keys, transform_keys, sink_keys};

static void read_kind(const pl_reader *r, pl_component_spec *spec)
{
    if (spec->kind == PL_KIND_SOURCE)
        read_source(r, spec);
    else if (spec->kind == PL_KIND_TRANSFORM)
        read_transform(r, spec);
    else
        read_sink(r, spec);
}

void pl_spec_read(pl_component_spec *spec, pl_kind kind, pl_node *key, pl_node *node, const pl_node *defaults,
                  const pl_yaml_setup *yaml)
{
    static pl_node nothing; /* an empty map: the defaults of a component that is none */
    char what[NAME_MAX_LEN + 32];
    (void)snprintf(what, sizeof what, "%s '%.*s'", pl_kind_name(kind), NAME_MAX_LEN, key->text.ptr);
    *spec = (pl_component_spec){.kind = kind, .name = key->text.ptr, .node = node, .key = key};
    pl_reader reader = {node, what, "", yaml->arena, yaml->diags, kind_keys[kind]};
    (void)pl_spec_check_name(key, pl_kind_name(kind), yaml->diags);
    if (node->type != PL_NODE_MAP) {
        pl_diags_error(yaml->diags, node->type == PL_NODE_NULL ? key : node, "%s is a map, not %s", what,
                       pl_node_kind(node));
        pl_diags_suggest(yaml->diags, "", kind_keys[kind]);
        pl_reader none = {&nothing, what, "", yaml->arena, NULL, NULL};
        read_kind(&none, spec);
        return;
    }
    pl_node_check_keys(node, kind_keys[kind], what, yaml->diags);
    read_kind(&reader, spec);
    read_with(&reader, spec, defaults, yaml);
}
