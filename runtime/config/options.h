/* Option tables (pl_option, declared by plugins and built by scripts) against the nodes of a `with`. */
#ifndef PL_CONFIG_OPTIONS_H
#define PL_CONFIG_OPTIONS_H
#include <base/arena.h>
#include <config/node.h>

typedef struct pl_option_table {
    const pl_option *options; /* count of them, `stride` bytes apart (pl_component.option_size; nested ones too) */
    size_t count;
    size_t stride;
} pl_option_table;

/* Checks all of `with` (NULL: nothing given) and fills the zeroed struct by offsets; texts and lists go to `arena`,
 * which must outlive it. config NULL: only check. `at`: where to point when a required option is missing; `what`: how
 * messages name the whole, e.g. "sink 'topic' (plugin kafka)". All mistakes are reported. false: there was an error (or
 * no memory, reported too).
 *
 * Rules beyond plugin.h: null and an empty ${...} mean not given. A single value is accepted where a LIST is expected,
 * as its one element. Quotes around a number are allowed (a ${VAR} in { } needs them). min and max of a LIST or MAP
 * bound its number of entries; a bound of +-INFINITY leaves that side open. An OBJECT that is not given gets the
 * defaults of its fields, unless it has a present_offset. BOOL is true or false only. A key that is `inherited` from
 * defaults and unknown here is passed over: another component of the plugin may know it.
 */
bool pl_options_check_and_fill(const pl_option_table *table, const pl_node *with, void *config, pl_arena *arena,
                               const pl_node *at, const char *what, pl_diags *diags);

/* Only the defaults, into the zeroed struct; what is required stays zero. false: no memory. */
bool pl_options_defaults(const pl_option_table *table, void *config, pl_arena *arena, pl_diags *diags);

/* Reports each key of `map` that none of the tables knows: for `defaults: { kafka: ... }`, against the plugin's source
 * and its sink. */
void pl_options_check_known(const pl_node *map, const pl_option_table *tables, size_t table_count, const char *what,
                            pl_diags *diags);

/* Help: name, type, default or "required", range, choices, example and doc of each option, nested ones indented. */
void pl_options_describe(const pl_option_table *table, int indent, pl_buf *out);

/* The node that pl_error.option names: "brokers[1]", "feeds[0].proxy", "columns.price"; as much of the path as there
 * is, so at least `with`. NULL only when with is NULL. */
const pl_node *pl_options_locate(const pl_node *with, const char *option);

/* Type of an option in words: "duration", "list of text", "one of ignore, update". Returns out. */
const char *pl_option_type_name(const pl_option *option, char *out, size_t out_size);
#endif
