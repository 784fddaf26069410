/* Finds and opens plugins. A plugin is NAME.so in one of the directories; it is opened once and never closed, because a
 * library it links may have left threads and thread-local destructors behind. */
#ifndef PL_PLUGIN_LOADER_H
#define PL_PLUGIN_LOADER_H
#include <base/buf.h>
#include <plumbline/plugin.h>

enum { PL_PLUGIN_DIRS_MAX = 16, PL_PLUGINS_MAX = 128 };

typedef struct pl_plugin_dirs { /* searched in order */
    const char *paths[PL_PLUGIN_DIRS_MAX];
    size_t count;
} pl_plugin_dirs;

typedef struct pl_loaded_plugin {
    const pl_plugin *plugin;
    char *path;
} pl_loaded_plugin;

typedef struct pl_loader pl_loader; /* [main] only */
/* Copies the directories. Free with pl_loader_free: that frees the table, not the plugins. NULL: no memory. */
pl_loader *pl_loader_new(const pl_plugin_dirs *dirs);
void pl_loader_free(pl_loader **loader);

/* The plugin of that name. NULL: PL_BAD_CONFIG says why: not found (and the nearest name that is there), a file or
 * directory that others may write to, wrong magic, ABI or name, no entry symbol. */
const pl_plugin *pl_loader_open(pl_loader *loader, const char *name, pl_error *error);
/* Names of all NAME.so in the directories, sorted, each once; *count of them. Owned by the loader. */
const char *const *pl_loader_names(pl_loader *loader, size_t *count);
/* The file a plugin was opened from. */
const char *pl_loader_path(const pl_loader *loader, const pl_plugin *plugin);

/* The plugin's sink, or its source or poller; NULL: it has none. */
const pl_component *pl_plugin_component(const pl_plugin *plugin, bool sink);
/* What the component offers by that id before anything is created; NULL: nothing, or the plugin is older than that. */
const void *pl_plugin_offer(const pl_plugin *plugin, const pl_component *component, const char *id);
#endif
