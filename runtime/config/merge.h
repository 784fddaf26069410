/* One map out of a file, what it includes, and the overrides. Private to the config room. */
#ifndef PL_CONFIG_MERGE_H
#define PL_CONFIG_MERGE_H
#include <config/pipeline.h>

extern const char *const pl_top_keys[]; /* NULL-ended */

/* In all of these ${...} is substituted only where the value is used in the end: a variable that only an overridden
 * value or the defaults of a plugin that is not there would need may be unset. */

/* Loads and merges, nothing substituted but include; what is wrong with a file or a key at the top is reported once,
 * where it stands. NULL: nothing to go on with. */
pl_node *pl_merge_load(const pl_pipeline_setup *setup, const pl_yaml_setup *yaml);

/* Applies the overrides to the merged map, then substitutes all of it but `defaults`. */
void pl_merge_overrides(pl_node *root, pl_override *overrides, size_t count, const pl_yaml_setup *yaml);

/* `own` over `defaults`, key by key, keys of the latter as `inherited`, their values substituted. Either may be NULL;
 * what is no map is passed over. NULL: none there, or no memory. */
pl_node *pl_merge_with(pl_node *own, const pl_node *defaults, const pl_yaml_setup *yaml);

/* Sets a key of a map, new or not. false: no memory. */
bool pl_merge_put(pl_node *map, pl_node *key, pl_node *item, pl_arena *arena);

/* "sources", "transforms", "sinks". */
const char *pl_merge_section(pl_kind kind);
#endif
