/* YAML text -> nodes. libyaml's event interface under limits, so that hostile files are refused in milliseconds: at
 * most PL_YAML_MAX_BYTES, PL_YAML_MAX_DEPTH, one document, UTF-8; no anchors, aliases, tags, duplicate or compound
 * keys.
 *
 * ${VAR}, ${VAR:-default} (unset or empty), ${file:PATH} (at most 64 KiB, one trailing newline dropped; PATH is
 * relative to the working directory) and $${ for a literal ${ are substituted in values, never in keys, after parsing:
 * what comes in can't add structure, and a number that came from a variable is as good as one in the file. */
#ifndef PL_CONFIG_LOAD_H
#define PL_CONFIG_LOAD_H
#include <config/node.h>

enum {
    PL_YAML_MAX_BYTES = 1 << 20,
    PL_YAML_MAX_DEPTH = 64,
    PL_SUBSTITUTE_MAX_BYTES = 64 << 10 /* one scalar, after substitution (inline scripts: PL_YAML_MAX_BYTES) */
};

typedef struct pl_yaml_setup {
    pl_arena *arena;
    pl_diags *diags;
    bool literal;                                          /* do not substitute */
    const char *(*variable)(void *self, const char *name); /* NULL: getenv. NULL result: unset */
    void *self;
} pl_yaml_setup;

/* Reads and parses a file. NULL: refused, said in diags. An unset variable is reported and its node stays, as NULL, so
 * that the rest can be checked. An empty file gives a NULL node. */
pl_node *pl_yaml_load(const char *path, const pl_yaml_setup *setup);
/* The same for text in memory, which is copied; `file` is what messages call it. */
pl_node *pl_yaml_parse(pl_str text, const char *file, const pl_yaml_setup *setup);
#endif
