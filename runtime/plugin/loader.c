#include <base/mem.h>
#include <base/str.h>
#include <dirent.h>
#include <dlfcn.h>
#include <plugin/loader.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PLUGIN_PATH_MAX = 4096 };

struct pl_loader {
    char *dirs[PL_PLUGIN_DIRS_MAX];
    size_t dir_count;
    pl_loaded_plugin plugins[PL_PLUGINS_MAX];
    size_t plugin_count;
    char *names[PL_PLUGINS_MAX + 1];
    size_t name_count;
    bool listed;
};

pl_loader *pl_loader_new(const pl_plugin_dirs *dirs)
{
    pl_loader *loader = pl_calloc(1, sizeof *loader);
    for (size_t i = 0; loader && i < dirs->count && i < PL_PLUGIN_DIRS_MAX; i++) {
        loader->dirs[i] = pl_strndup(dirs->paths[i], strlen(dirs->paths[i]));
        if (!loader->dirs[i]) {
            pl_loader_free(&loader);
            return NULL;
        }
        loader->dir_count++;
    }
    return loader;
}

void pl_loader_free(pl_loader **loader)
{
    if (!*loader)
        return;
    for (size_t i = 0; i < (*loader)->dir_count; i++)
        pl_free((*loader)->dirs[i]);
    for (size_t i = 0; i < (*loader)->plugin_count; i++)
        pl_free((*loader)->plugins[i].path);
    for (size_t i = 0; i < (*loader)->name_count; i++)
        pl_free((*loader)->names[i]);
    pl_free(*loader);
    *loader = NULL;
}

static void add_name(pl_loader *loader, const char *file)
{
    size_t length = strlen(file);
    if (length < 4 || strcmp(file + length - 3, ".so") != 0 || loader->name_count == PL_PLUGINS_MAX)
        return;
    for (size_t i = 0; i < loader->name_count; i++)
        if (strlen(loader->names[i]) == length - 3 && strncmp(loader->names[i], file, length - 3) == 0)
            return;
    char *name = pl_strndup(file, length - 3);
    if (name)
        loader->names[loader->name_count++] = name;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

const char *const *pl_loader_names(pl_loader *loader, size_t *count)
{
    for (size_t i = 0; !loader->listed && i < loader->dir_count; i++) {
        DIR *dir = opendir(loader->dirs[i]);
        for (struct dirent *entry; dir && (entry = readdir(dir));)
            add_name(loader, entry->d_name);
        if (dir)
            (void)closedir(dir);
    }
    if (!loader->listed)
        qsort((void *)loader->names, loader->name_count, sizeof(char *), by_name);
    loader->listed = true;
    *count = loader->name_count;
    return (const char *const *)loader->names;
}

/* Code runs from here with our rights: only root and we may have written it. */
static bool trusted(const char *path, pl_error *error)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        (void)pl_fail(error, PL_BAD_CONFIG, "%s: can't be read", path);
        return false;
    }
    if (info.st_uid != 0 && info.st_uid != geteuid()) {
        (void)pl_fail(error, PL_BAD_CONFIG,
                      "%s belongs to user %u; a plugin must belong to root or to the user who runs it", path,
                      info.st_uid);
        return false;
    }
    if (info.st_mode & S_IWOTH || (info.st_mode & S_IWGRP && info.st_gid != getegid() && info.st_gid != 0)) {
        (void)pl_fail(error, PL_BAD_CONFIG, "%s can be written to by others; take that right away: chmod go-w", path);
        return false;
    }
    return true;
}

static const pl_plugin *handshake(void *handle, const char *name, const char *path, pl_error *error)
{
    const pl_plugin *(*entry)(void) = NULL;
    *(void **)&entry = dlsym(handle, "pl_plugin_entry");
    if (!entry) {
        (void)pl_fail(error, PL_BAD_CONFIG, "%s exports no pl_plugin_entry; it is not a Plumbline plugin", path);
        return NULL;
    }
    const pl_plugin *plugin = entry();
    if (!plugin || plugin->magic != PL_MAGIC)
        (void)pl_fail(error, PL_BAD_CONFIG, "%s: magic %#x, expected %#x", path, plugin ? plugin->magic : 0, PL_MAGIC);
    else if (plugin->abi_major != PL_ABI_MAJOR || plugin->abi_minor > PL_ABI_MINOR)
        (void)pl_fail(error, PL_BAD_CONFIG, "%s was built for plugin ABI %u.%u; this is %u.%u: build it again", path,
                      plugin->abi_major, plugin->abi_minor, PL_ABI_MAJOR, PL_ABI_MINOR);
    else if (!PL_HAS(plugin, components) || !plugin->name || !plugin->components)
        (void)pl_fail(error, PL_BAD_CONFIG, "%s: its pl_plugin is incomplete (struct_size %u)", path,
                      plugin->struct_size);
    else if (strcmp(plugin->name, name) != 0)
        (void)pl_fail(error, PL_BAD_CONFIG, "%s calls itself '%s'; file and name must agree", path, plugin->name);
    else
        return plugin;
    return NULL;
}

static bool has_callbacks(const pl_component *component)
{
    bool callbacks = component->create && component->destroy && component->option_size >= sizeof(uint32_t);
    if (component->source)
        return callbacks && PL_HAS(component->source, next) && component->source->next;
    if (component->poller)
        return callbacks && PL_HAS(component->poller, poll) && component->poller->poll && component->poller->count &&
               component->poller->every_ns;
    return callbacks && PL_HAS(component->sink, write) && component->sink->write;
}

/* Looks at no member before struct_size says that it is there. */
static bool complete(const pl_component *component, const char *path, pl_error *error)
{
    bool whole = PL_HAS(component, sink) && component->name;
    const char *name = whole ? component->name : "?";
    int roles = whole ? !!component->source + !!component->poller + !!component->sink : 0;
    if (whole && roles != 1)
        (void)pl_fail(error, PL_BAD_CONFIG, "%s: component '%s' must be one of source, poller and sink", path, name);
    else if (!whole || !has_callbacks(component))
        (void)pl_fail(error, PL_BAD_CONFIG, "%s: component '%s' lacks a required member", path, name);
    else
        return true;
    return false;
}

static const pl_plugin *open_file(pl_loader *loader, const char *dir, const char *name, const char *path,
                                  pl_error *error)
{
    if (!trusted(dir, error) || !trusted(path, error))
        return NULL;
    if (loader->plugin_count == PL_PLUGINS_MAX) {
        (void)pl_fail(error, PL_BAD_CONFIG, "more than %d plugins", PL_PLUGINS_MAX);
        return NULL;
    }
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        (void)pl_fail(error, PL_BAD_CONFIG, "%s can't be loaded: %s", path, dlerror());
        return NULL;
    }
    const pl_plugin *plugin = handshake(handle, name, path, error);
    for (size_t i = 0; plugin && plugin->components[i]; i++)
        if (!complete(plugin->components[i], path, error))
            plugin = NULL;
    char *copy = plugin ? pl_strndup(path, strlen(path)) : NULL;
    if (plugin && copy)
        loader->plugins[loader->plugin_count++] = (pl_loaded_plugin){plugin, copy};
    return plugin;
}

static void not_found(pl_loader *loader, const char *name, pl_error *error)
{
    size_t count;
    const char *near = pl_nearest(name, pl_loader_names(loader, &count));
    if (loader->dir_count == 0)
        (void)pl_fail(error, PL_BAD_CONFIG, "no plugin '%s': there is no plugin directory", name);
    else if (near)
        (void)pl_fail(error, PL_BAD_CONFIG, "no plugin '%s'; did you mean '%s'?", name, near);
    else
        (void)pl_fail(error, PL_BAD_CONFIG, "no plugin '%s' in %s; `plumbline plugins` lists what is there", name,
                      loader->dirs[0]);
}

const pl_plugin *pl_loader_open(pl_loader *loader, const char *name, pl_error *error)
{
    for (size_t i = 0; i < loader->plugin_count; i++)
        if (strcmp(loader->plugins[i].plugin->name, name) == 0)
            return loader->plugins[i].plugin;
    for (size_t i = 0; i < loader->dir_count && name[0] && !strchr(name, '/'); i++) {
        char path[PLUGIN_PATH_MAX];
        int length = snprintf(path, sizeof path, "%s/%s.so", loader->dirs[i], name);
        if (length > 0 && (size_t)length < sizeof path && access(path, F_OK) == 0)
            return open_file(loader, loader->dirs[i], name, path, error);
    }
    not_found(loader, name, error);
    return NULL;
}

const char *pl_loader_path(const pl_loader *loader, const pl_plugin *plugin)
{
    for (size_t i = 0; i < loader->plugin_count; i++)
        if (loader->plugins[i].plugin == plugin)
            return loader->plugins[i].path;
    return "";
}

const pl_component *pl_plugin_component(const pl_plugin *plugin, bool sink)
{
    for (size_t i = 0; plugin->components[i]; i++)
        if (sink == !!plugin->components[i]->sink)
            return plugin->components[i];
    return NULL;
}

const void *pl_plugin_offer(const pl_plugin *plugin, const pl_component *component, const char *id)
{
    return plugin->abi_minor >= 3 && component->extension ? component->extension(NULL, id) : NULL;
}
