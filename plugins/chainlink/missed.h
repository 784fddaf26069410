/* The rounds between two looks at a feed: which they are, over changes of phase too, and reading them with
 * getRoundData(). One thread at a time. */
#ifndef CHAINLINK_MISSED_H
#define CHAINLINK_MISSED_H
#include "feed.h"

enum {
    MISSED_A_POLL = 100,         /* rounds read in one poll, over all feeds: the rest at the next ones */
    MISSED_REQUESTS_A_POLL = 40, /* at most 64 answers are held at once, and the poll itself needs up to 9 */
    MISSED_REQUESTS_A_FEED = 5,  /* addresses, newest rounds, 101 rounds in batches of 50 */
    MISSED_PHASES_MAX = 16       /* earlier phases looked at; what lies before is given up */
};

typedef struct missed {
    const pl_host *host;
    const rpc_node *node;
    int64_t most; /* rounds of one feed that are read after a gap; 0: none */
    int64_t chain_id;
    pl_metric *read, *given_up; /* rounds */
    bool quiet;                 /* reading them failed, and that was told */
    size_t room, requests;      /* what is left of the above in this poll */
    rpc_call calls[MISSED_A_POLL + 1];
    rpc_reply replies[MISSED_A_POLL + 1];
} missed;

/* [main] In create. */
void missed_init(missed *self, const pl_host *host, const rpc_node *node, int64_t most, int64_t chain_id);
/* A poll begins. */
void missed_begin(missed *self);
/* Emits what lies between feed->known and the newest round, oldest first, as far as there is room, and moves
 * feed->known. The known round is looked at again, too: blocks that were replaced may hold another one by its number.
 * at: the JSON of the block's parameter. Trouble is told once and leaves the rest to the next poll: it never costs the
 * newest round. */
void missed_catch_up(missed *self, feed *feed, const feed_block *block, const char *at, const feed_round *newest);
#endif
