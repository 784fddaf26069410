/* Nodes -> values of a pipeline, with a message for each that does not fit. Private to the config room. */
#ifndef PL_CONFIG_SPEC_H
#define PL_CONFIG_SPEC_H
#include <config/pipeline.h>

typedef struct pl_reader { /* of one map */
    const pl_node *map;
    const char *what;   /* "source 'prices'": how messages name the component */
    const char *prefix; /* "batch.": before the key, when the map is one of the component's; or "" */
    pl_arena *arena;
    pl_diags *diags;
    const char *const *known; /* NULL-ended, what the map may hold; NULL: only exact keys are found */
} pl_reader;

/* Value of the key; else of the unknown key that was reported as likely to be it: one slip of the pen is one message,
 * and what stands behind it is checked all the same. *found, where asked for, is the key's own node. NULL: absent. */
pl_node *pl_read_node(const pl_reader *reader, const char *key, pl_node **found);

/* Each leaves *out alone when the key is absent, null or wrong (reported). node, where asked for, may be NULL. */
void pl_read_text(const pl_reader *reader, const char *key, const char **out, const pl_node **node);
void pl_read_duration(const pl_reader *reader, const char *key, int64_t *out);
void pl_read_size(const pl_reader *reader, const char *key, int64_t *out);
void pl_read_integer(const pl_reader *reader, const char *key, int64_t min, int64_t max, int64_t *out);
/* The index of the word in the NULL-ended list. */
void pl_read_choice(const pl_reader *reader, const char *key, const char *const *words, int *out);
/* A text or a list of texts. */
void pl_read_texts(const pl_reader *reader, const char *key, const char ***out, size_t *count);
/* The map under a key, its keys checked; NULL: not given or none. */
const pl_node *pl_read_map(const pl_reader *reader, const char *key, const char *const *known);

/* Fills the spec of one component from its key and node. */
void pl_spec_read(pl_component_spec *spec, pl_kind kind, pl_node *key, pl_node *node, const pl_node *defaults,
                  const pl_yaml_setup *yaml);

/* True for [a-z0-9_-]+, at most 64 bytes; else says so at the node. */
bool pl_spec_check_name(const pl_node *node, const char *what, pl_diags *diags);

/* What can be said once all components are known: inputs resolved, the order, cycles, what is unused or shared wrongly.
 */
bool pl_wire(pl_pipeline *pipeline, const pl_node *dead_letter, pl_diags *diags);
#endif
