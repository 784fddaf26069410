/* What is known so far about one JSON document, and what was changed in it: the common body of the reader (json.h) and
 * the document (document.h). Private to record/. One thread at a time.
 *
 * Nodes are numbered in the order they are found; a container's members lie side by side, noted when one of them is
 * first asked for ("opened"). An edit never touches a node's place in its source text: it hangs beside the node, so
 * that the text around can be copied on the way out. */
#ifndef PL_RECORD_TREE_H
#define PL_RECORD_TREE_H
#include <base/arena.h>
#include <record/json.h>
#include <record/known.h>
#include <record/outline.h>
#include <record/scan.h>
#include <record/shape.h>

enum {
    PL_NODE_GONE = 1u << 0,     /* removed */
    PL_NODE_REPLACED = 1u << 1, /* its value is edit->value */
    PL_NODE_ADDED = 1u << 2,    /* its key is edit->key; it has no place in the source of its parent */
    PL_NODE_DIRTY = 1u << 3,    /* something below it changed */
    PL_NODE_SHADOWED = 1u << 4, /* a later member has the same key; known once the box was sifted */
    PL_NODE_BODY = 1u << 5      /* the root of the text that replaced its parent's value */
};

typedef struct pl_tree_node {
    uint32_t key_at, key_len; /* key in the source, without quotes; when edit->key is set, key_len is that one's */
    uint32_t raw_at, raw_len; /* the value in the source, without space around */
    uint32_t at;              /* its number among the source's structural offsets, or entries of its outline */
    uint32_t parent;          /* of the root: itself */
    uint32_t box;             /* 1 + number of its box, 0: not opened */
    uint32_t edit;            /* 1 + number of its edit, 0: none */
    uint16_t source, flags;   /* PL_NODE_* */
} pl_tree_node;

typedef struct pl_tree_box { /* an opened object or array */
    uint32_t first, count;   /* members in the source */
    uint32_t added, last;    /* 1 + first and last node of the members added by edits; 0: none */
    uint32_t live;           /* members that are neither gone nor shadowed; shadowed ones only once sifted */
    uint32_t filled;         /* slots in use, those of members now gone among them */
    uint32_t mask;           /* slots - 1 of the key table; 0: no table */
    uint32_t *slots;         /* 1 + node number, 0: free; in the scratch arena */
    bool object, sifted;     /* sifted: PL_NODE_SHADOWED is set where it belongs */
    bool shadows;            /* there are such members */
    bool holes;              /* an element of an array is gone: positions have to be counted */
    bool known;              /* the members are those of the tree's known shape */
} pl_tree_box;

typedef struct pl_tree_edit {
    pl_str key;     /* decoded key of an added member or of one with escapes; else null */
    pl_value value; /* texts in the scratch arena; of a node not replaced: PL_STR, its decoded string, or nil */
    uint32_t next;  /* 1 + the next added node of the same box, 0: none */
    uint32_t body;  /* 1 + node of the value's own text, once somebody looked into it; 0: none */
} pl_tree_edit;

typedef struct pl_tree_source { /* a text and its structure */
    pl_str text;
    const pl_outline_entry *outline; /* of a text that was checked whole; else NULL: the index tells */
    const uint32_t *index;
    uint64_t shape; /* of the outline */
    uint32_t count; /* of whichever it is */
    bool escapes;   /* there is a backslash somewhere */
} pl_tree_source;

enum { PL_TREE_SHAPES = 4 }; /* a script that merges sources has records of one shape and another in turn */

typedef struct pl_tree {
    pl_scanner *scanner;  /* of source 0 */
    pl_scanner *side;     /* of the texts that edits bring in; made when first needed */
    pl_arena *scratch;    /* decoded strings, values of edits, key tables; reset at every load */
    uint64_t seed;        /* of the key tables */
    size_t scratch_chunk; /* size of its first chunk */
    pl_tree_node *node;   /* [0] is the root */
    pl_tree_box *box;
    pl_tree_edit *edit;
    pl_tree_source *source;
    uint32_t nodes, boxes, edits, sources;
    uint32_t node_room, box_room, edit_room, source_room;
    pl_known *known; /* of the shape that was opened last: one of these */
    pl_known shapes[PL_TREE_SHAPES];
    uint32_t next_shape;                                /* which gives way to the next new one */
    pl_shape shape;                                     /* of a text that was checked before */
    pl_outline_entry noted[PL_OUTLINE_ENTRIES_MAX + 1]; /* by the check of source 0 */
    bool used;                                          /* since it was cleared last, */
    bool grown;                                         /* and since then it may hold more memory, */
    size_t kept;                                        /* where it was cleared to at most so many bytes */
} pl_tree;

static inline bool pl_tree_is_space(char byte)
{
    const uint64_t spaces = UINT64_C(1) << ' ' | 1u << '\n' | 1u << '\r' | 1u << '\t';
    return (unsigned char)byte <= ' ' && (spaces >> byte & 1); /* mostly it is some other byte */
}

bool pl_tree_init(pl_tree *tree); /* false: no memory, nothing held */
void pl_tree_release(pl_tree *tree);
size_t pl_tree_bytes(const pl_tree *tree);
/* Of a tree that was used since. */
void pl_tree_clear_used(pl_tree *tree, size_t keep_bytes);
/* Forgets the text; keeps the memory up to keep_bytes. */
static inline void pl_tree_clear(pl_tree *tree, size_t keep_bytes)
{
    if (tree->used || keep_bytes < tree->kept)
        pl_tree_clear_used(tree, keep_bytes);
}

/* Room for so many more nodes. false: no memory. Nodes move. */
bool pl_tree_reserve(pl_tree *tree, uint32_t more);

/* Compares a padded text with the shape of those before. PL_SHAPE_SAME: *source tells of it, until the next one is. */
pl_shape_match pl_tree_match(pl_tree *tree, pl_str padded, pl_tree_source *source);
/* Scans a padded text, of which a match said something else, and notes its root. */
pl_status pl_tree_scan(pl_tree *tree, pl_str padded, pl_shape_match match, pl_json_check check, pl_error *error);
/* Notes the root of a text that was checked whole; its outline stays as long as the text. */
pl_status pl_tree_load_outlined(pl_tree *tree, const pl_tree_source *source, pl_error *error);
/* Whichever it takes. */
pl_status pl_tree_load(pl_tree *tree, pl_str padded, pl_json_check check, pl_error *error);
/* Back to what was before a load, but for memory that was taken. */
void pl_tree_unload(pl_tree *tree);
/* The check that PL_JSON_FULL makes, of what is loaded. */
pl_status pl_tree_check(pl_tree *tree, pl_error *error);
/* A further text (padded): the number of its root node, flagged PL_NODE_BODY, child of parent. */
pl_status pl_tree_adopt(pl_tree *tree, pl_str padded, uint32_t parent, uint32_t *root, pl_error *error);

/* Another shape than the last one. */
void pl_tree_know_other(pl_tree *tree, const pl_tree_source *source);
/* From now on tree->known tells of the shape of a source that has one. */
static inline void pl_tree_know(pl_tree *tree, const pl_tree_source *source)
{
    if (tree->known->shape != source->shape)
        pl_tree_know_other(tree, source);
}

/* As pl_tree_open; for the first time, or what replaced the node. */
pl_status pl_tree_open_first(pl_tree *tree, uint32_t node, uint32_t *holder, pl_tree_box **box, pl_error *error);
/* The node that holds the members of `node`'s value: itself, or the body of what replaced it. PL_END: the value is no
 * container. *box is opened. Boxes move when others are opened: use the pointer at once. */
static inline pl_status pl_tree_open(pl_tree *tree, uint32_t node, uint32_t *holder, pl_tree_box **box, pl_error *error)
{
    const pl_tree_node *there = &tree->node[node];
    if (there->box == 0 || there->flags & PL_NODE_REPLACED)
        return pl_tree_open_first(tree, node, holder, box, error);
    *holder = node;
    *box = &tree->box[there->box - 1];
    return PL_OK;
}
/* As pl_tree_member, of any key. */
pl_status pl_tree_find(pl_tree *tree, const pl_tree_box *box, pl_str key, uint32_t *node);
/* The member of an opened object, or PL_END. What nearly all calls are, in few steps: a key that was asked for before.
 */
static inline pl_status pl_tree_member(pl_tree *tree, const pl_tree_box *box, pl_str key, uint32_t *node)
{
    if (box->known && !box->mask) {
        const pl_known_place *place = pl_known_place_of(tree->known, key);
        if (place) {
            *node = box->first + place->number - 1;
            if (place->number && !(tree->node[*node].flags & PL_NODE_GONE))
                return PL_OK;
            if (!box->added)
                return PL_END;
        }
    }
    return pl_tree_find(tree, box, key, node);
}
/* The element of an opened array, gone ones not counted, or PL_END. */
pl_status pl_tree_element(const pl_tree *tree, const pl_tree_box *box, uint32_t index, uint32_t *node);
/* Sets PL_NODE_SHADOWED on all but the last of equal keys. */
void pl_tree_sift(pl_tree *tree, pl_tree_box *box);
/* Removes the earlier members with the key of a member that is edited: nobody sees them. */
void pl_tree_drop_others(pl_tree *tree, pl_tree_box *box, uint32_t node);
/* Notes a new member or element at the end of holder's box. key null: an element. The value is nil, to be set. */
pl_status pl_tree_add(pl_tree *tree, uint32_t holder, pl_str key, uint32_t *node, pl_error *error);
/* One step of a walk over the live members; *cursor begins as 0. PL_END: no more. */
pl_status pl_tree_next(pl_tree *tree, uint32_t holder, uint32_t *cursor, uint32_t *node);
/* Whether a walk up from node meets no removed or replaced value. *depth: containers above it. */
bool pl_tree_alive(const pl_tree *tree, uint32_t node, uint32_t *depth);

pl_str pl_tree_key(const pl_tree *tree, uint32_t node);
pl_str pl_tree_raw(const pl_tree *tree, uint32_t node);
/* The value that a text of one value is, which stands `at` so many bytes in the source; a string's escapes stay. */
pl_status pl_raw_value(pl_str raw, size_t at, pl_value *value, pl_error *error);
/* The value as it stands in the source (edits do not show). */
pl_status pl_tree_value(pl_tree *tree, uint32_t node, pl_value *value, pl_error *error);
/* The edit beside a node, made when there is none; NULL: no memory. Edits move when others are made. */
pl_tree_edit *pl_tree_edit_of(pl_tree *tree, uint32_t node);
pl_status pl_tree_no_memory(pl_error *error);
/* PL_FAILED, PL_REJECT: "not JSON: WHAT at byte N". error may be NULL. */
pl_status pl_tree_malformed(pl_error *error, const char *what, size_t at);
#endif
