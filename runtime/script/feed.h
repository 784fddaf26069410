/* A flow of one script, in memory: what `plumbline test` runs a script in. Records go in by event time, as
 * `order: { by: time }` would give them; deferred functions run once the watermark has passed them, all at the end. */
#ifndef PL_SCRIPT_FEED_H
#define PL_SCRIPT_FEED_H
#include "script.h"

enum { PL_FEED_RECORDS_MAX = 100000, PL_FEED_TIMER_RUNS_MAX = 10000 };

typedef struct pl_feed_output {
    const char *port; /* NULL: the main one */
    pl_record record;
} pl_feed_output;

typedef struct pl_feed pl_feed;

typedef struct pl_feed_setup {
    const char *script, *library; /* as in pl_script_setup */
    const pl_node *with;
    pl_diags *diags;
    int64_t now_unix_ns; /* the script's clock stands here; 0: it follows the records' times */
} pl_feed_setup;

/* NULL: error, no memory or the script does not load. Free with pl_feed_free, which nulls and allows NULL. */
pl_feed *pl_feed_new(const pl_feed_setup *setup, pl_error *error);
void pl_feed_free(pl_feed **feed);
/* Copies the record. false: no memory, or too many. */
bool pl_feed_add(pl_feed *feed, const pl_record *record);
/* Runs all of it. PL_FAILED: the flow itself could not go on; a record that failed is among the rejects. */
pl_status pl_feed_run(pl_feed *feed, pl_error *error);
/* In the order they were given out; live until pl_feed_free. */
size_t pl_feed_output_count(const pl_feed *feed);
const pl_feed_output *pl_feed_output_at(const pl_feed *feed, size_t index);
/* Reasons of the records that were rejected or failed. */
size_t pl_feed_reject_count(const pl_feed *feed);
pl_str pl_feed_reject_at(const pl_feed *feed, size_t index);
/* What the script told metric(), summed by name. */
size_t pl_feed_metric_count(const pl_feed *feed);
double pl_feed_metric_at(const pl_feed *feed, size_t index, const char **name);
#endif
