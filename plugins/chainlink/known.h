/* What survives a restart: the round of each feed up to which everything is settled, in "pl.store/1". One thread at a
 * time. */
#ifndef CHAINLINK_KNOWN_H
#define CHAINLINK_KNOWN_H
#include "feed.h"

typedef struct known {
    const pl_host *host;
    const pl_json *json;
    const pl_store *store; /* NULL: nothing is kept */
    feed *feeds;           /* the plugin's */
    size_t count;
    int64_t chain_id;
    feed_mark *waiting;                 /* of waiting_tick: not settled yet */
    int64_t waiting_tick, current_tick; /* wall time, ns; 0: none. current: as the feeds are now */
} known;

/* [main] In create; the feeds as feed_init left them. false: no memory. */
bool known_init(known *self, const pl_host *host, feed *feeds, size_t count, int64_t chain_id);
void known_release(known *self);
/* [worker] Takes what was kept, for the feeds that it names on this chain. */
void known_restore(known *self);
/* [worker] The feeds are now as of the poll of that tick. */
void known_note(known *self, int64_t tick_unix_ns);
/* [worker] All up to that tick is settled: keeps what was known then. */
pl_status known_commit(known *self, int64_t tick_unix_ns, pl_error *error);
#endif
