/* A value of a pipeline file with the place where it stands. Nodes live in the arena of the file that was loaded; text
 * is UTF-8 followed by a NUL. Immutable once loaded. */
#ifndef PL_CONFIG_NODE_H
#define PL_CONFIG_NODE_H
#include <base/arena.h>
#include <config/diags.h>
#include <plumbline/plugin.h>

typedef enum {
    PL_NODE_NULL,     /* nothing, ~, null; also a value that is all ${...} and came out empty */
    PL_NODE_SCALAR,   /* text; what type it is the reader decides */
    PL_NODE_SEQUENCE, /* items[0 .. count-1] */
    PL_NODE_MAP       /* keys[i] : items[i], in the file's order; keys are SCALARs, no two alike */
} pl_node_type;

typedef struct pl_source_file pl_source_file; /* text of a file, for excerpts */

typedef struct pl_node {
    pl_node_type type;
    pl_str text;              /* SCALAR: after ${...} was substituted */
    pl_str written;           /* SCALAR: before; what a message may quote */
    bool quoted;              /* in quotes, or a block (| or >) */
    bool block;               /* a block (|, >): its text begins on the line after `line` */
    bool tainted;             /* text came, in part, from ${...}: show `written`, never `text` */
    bool broken;              /* NULL because of an error that was reported: say no more about it */
    bool inherited;           /* key of a component's `with` that came from `defaults` */
    const char *file;         /* as named by the user; "--set" for an override */
    int line, column;         /* of the first character, from 1; columns in characters */
    int end_line, end_column; /* just behind the last one */
    size_t count;
    struct pl_node **items;
    struct pl_node **keys; /* MAP */
    pl_source_file *source;
} pl_node;

/* Value of a key, or NULL: absent, or map is NULL or not a MAP. */
pl_node *pl_node_get(const pl_node *map, const char *key);
/* The key's own node (for a message that points at the key), or NULL. */
pl_node *pl_node_key(const pl_node *map, const char *key);
/* True for a SCALAR whose text is `text`. */
bool pl_node_is(const pl_node *node, const char *text);
/* "nothing", "a list", "a map", "text": for messages. */
const char *pl_node_kind(const pl_node *node);
/* From now on the value of this node (and of all below it) is shown as *** in excerpts. Call before reporting. */
void pl_node_hide(const pl_node *node);
/* Reports each key of the map that is not in the NULL-ended list: "unknown key 'x' in WHAT", with the nearest word. */
void pl_node_check_keys(const pl_node *map, const char *const *known, const char *what, pl_diags *diags);
#endif
