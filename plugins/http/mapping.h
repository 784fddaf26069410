/* From the items of an answer to records, as `fields`, `types`, `optional`, `constants` and `received_as` say. */
#ifndef HTTP_MAPPING_H
#define HTTP_MAPPING_H
#include "config.h"
#include "number.h"

enum { MAPPING_OUTPUTS_MAX = 2 * HTTP_FIELDS_MAX + 1, MAPPING_ITEMS_MAX = 50000 };

typedef struct mapping_output {
    const char *name;
    char *path;     /* in the item; NULL: a constant, or the time of arrival */
    char *constant; /* its text; value points into it */
    pl_value value; /* of a constant */
    const char *type;
    bool optional;
} mapping_output;

typedef struct mapping { /* of one entry of `each` */
    const http_config *config;
    const pl_host *host;
    const pl_json *json;
    mapping_output *outputs; /* fields, constants, arrival; in the pipeline file's order */
    size_t count;
    char *key; /* name of an output; without outputs: a path in the item. NULL: none */
} mapping;

/* [main] each NULL: no placeholders. PL_BAD_CONFIG when a filled text is too long. Release it in any case. */
pl_status mapping_init(mapping *self, const pl_host *host, const pl_json *json, const http_config *config,
                       const http_entry *each, pl_error *error);
void mapping_release(mapping *self);

/* [worker] Emits a record for each item of the answer that is as it should be. PL_REJECT afterwards when one was not,
 * or when there are no items to be found, saying what is wrong with the first. */
pl_status mapping_run(const mapping *self, const pl_doc *doc, int64_t received_unix_ns, pl_error *error);
#endif
