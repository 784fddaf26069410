/* ${VAR}, ${VAR:-default}, ${file:PATH}, $${ in one scalar. Private to the config room. */
#ifndef PL_CONFIG_SUBSTITUTE_H
#define PL_CONFIG_SUBSTITUTE_H
#include <config/load.h>

/* Sets text and tainted of a scalar whose `written` is known; it becomes NULL when it was all ${...} and came out
 * empty, or when something was wrong (reported at the ${). false: no memory. */
bool pl_substitute(pl_node *node, const pl_yaml_setup *setup);
/* The same for a value and all below it. Once more does no harm. */
bool pl_substitute_all(pl_node *node, const pl_yaml_setup *setup);
#endif
