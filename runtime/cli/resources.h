/* What the components of several pipelines say of things that live on servers ("pl.provision/1"): gathered, looked at,
 * changed. [main] */
#ifndef PL_CLI_RESOURCES_H
#define PL_CLI_RESOURCES_H
#include <cli/cli.h>

typedef enum {
    PL_RESOURCE_OK,      /* there, as declared as far as it is declared */
    PL_RESOURCE_MISSING, /* not there, and nobody declares it */
    PL_RESOURCE_MAKE,    /* not there, and declared */
    PL_RESOURCE_GROW,    /* there, less of it than declared */
    PL_RESOURCE_DIFFERS, /* there, not as declared, and that can't be changed here */
    PL_RESOURCE_UNKNOWN, /* its name is a pattern */
    PL_RESOURCE_MADE,    /* by this run, and now as declared */
    PL_RESOURCE_GROWN
} pl_resource_state;
extern const char *const pl_resource_states[]; /* "ok", "missing" ... by state */

typedef struct pl_mention { /* what one component says of one thing */
    pl_graph *graph;
    pl_node_plan *node;
    const pl_provision *provision;
    pl_resource said;
    const pl_node *at; /* where the file names it */
    struct pl_mention *next;
} pl_mention;

typedef struct pl_subject { /* one thing */
    pl_mention *mentions;   /* in the order of the files; never NULL */
    pl_mention *asked;      /* whose word counts: the first that declares it, else the first */
    bool there;             /* once looked at */
    const pl_property *found;
    uint32_t found_count;
    pl_resource_state state;
} pl_subject;

typedef struct pl_reliance { /* what goes wrong when a thing grows */
    const pl_node_plan *node;
    const pl_graph *graph;
    char why[128]; /* "by: pair" */
} pl_reliance;

typedef struct pl_unlike { /* two things that a source reads together, and should not be unlike */
    const pl_graph *graph;
    const pl_node_plan *source, *transform;
    const char *property;
    const pl_subject *one, *other;
    const char *one_value, *other_value;
} pl_unlike;

typedef struct pl_resources {
    const char *kind; /* all others are passed over */
    pl_arena *arena;
    pl_subject *subjects;
    size_t count, capacity;
    bool failed; /* no memory */
} pl_resources;

/* Lists what the planned pipelines name. Two components that contradict each other are an error in diags, with both
 * places. false: no memory. Free with pl_resources_release. */
bool pl_resources_gather(pl_resources *resources, const char *kind, const pl_cli_files *files, pl_loader *loader,
                         pl_diags *diags);
void pl_resources_release(pl_resources *resources);

/* Looks at the thing and sets its state. Connects: the first call to a server may take ten seconds. */
pl_status pl_resource_look(pl_resources *resources, pl_subject *subject, pl_error *error);
/* Makes what is PL_RESOURCE_MAKE, grows what is PL_RESOURCE_GROW, looks again. */
pl_status pl_resource_change(pl_resources *resources, pl_subject *subject, pl_error *error);

/* The property as it was found, as it is declared; NULL: not. */
const pl_property *pl_resource_found(const pl_subject *subject, const char *name);
const pl_property *pl_resource_said(const pl_mention *mention, const char *name);

/* Calls tell for each component that rests on the number of the thing's parts, as far as these files show it. */
void pl_resource_relied_on(const pl_subject *subject, void (*tell)(void *to, const pl_reliance *), void *to);
/* Calls tell for each pair of things that a source reads together for a transform with `by` or state, and that are
 * unlike: as they are, or as they are declared where they are not there or can grow. */
void pl_resources_unlike(const pl_resources *resources, void (*tell)(void *to, const pl_unlike *), void *to);
#endif
