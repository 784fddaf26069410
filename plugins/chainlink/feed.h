/* One price feed: what the pipeline file says about it, what its contract must say of itself, one round decoded and
 * checked, and the contract_price record. One thread at a time. */
#ifndef CHAINLINK_FEED_H
#define CHAINLINK_FEED_H
#include "abi.h"
#include "rpc.h"

enum {
    FEED_PAIR_MAX = 40,
    FEED_DESCRIPTION_MAX = 64,
    FEED_ROUND_BYTES = 5 * ABI_WORD, /* roundId, answer, startedAt, updatedAt, answeredInRound */
    FEED_ADDRESS_TEXT = 2 + 40 + 1,
    FEED_FUTURE_S = 60,  /* how far updatedAt may lie after its block */
    FEED_HANDED_MAX = 32 /* rounds that are remembered as they were handed over */
};

typedef struct feed_config { /* element of the option `feeds` */
    const char *pair, *proxy, *description, *deviation;
    int64_t heartbeat, decimals;
} feed_config;

typedef struct feed_mark { /* up to this round everything was handed over, or given up */
    bool any;              /* else the rest is without meaning */
    uint64_t phase, round; /* round 0: none of this phase yet */
    uint64_t updated_s;    /* its updatedAt; 0: not known */
} feed_mark;

typedef struct feed_round {
    uint64_t phase, round;
    char answer[ABI_INTEGER_TEXT];
    uint64_t started_s, updated_s; /* started 0: the aggregator does not say */
} feed_round;

typedef struct feed {
    const feed_config *config;
    char description[FEED_DESCRIPTION_MAX]; /* "ETH / USD" */
    bool seen;                              /* the two below hold the round of the newest poll */
    uint64_t phase, round;
    feed_mark known;
    bool catching_up;                   /* rounds between `known` and the newest are still to be read */
    feed_mark before;                   /* while catching up over a change of phase: what was known before */
    feed_round handed[FEED_HANDED_MAX]; /* the rounds handed over last, each once, as they were then; round 0: none */
    size_t handed_next;
    feed_mark replaced; /* this round is another one now: those before it are still to be looked at again */
} feed;

typedef struct feed_block { /* as of which all feeds are read */
    uint64_t number;
    char hash[2 + 64 + 1];
    int64_t time_s;
} feed_block;

/* PL_BAD_CONFIG with error->option set relative to the feed ("pair", "proxy", ...). */
pl_status feed_check(const feed_config *config, pl_error *error);
void feed_init(feed *self, const feed_config *config);

/* Replies to description() and decimals() against what is expected: PL_HALT with what was found when they differ;
 * PL_RETRY for trouble of the node. */
pl_status feed_verify(const feed *self, const rpc_reply *description, const rpc_reply *decimals, pl_error *error);

/* Reply to `call`, latestRoundData() or getRoundData(): PL_REJECT unless it is 160 bytes with a round, an answer above
 * 0, and an updatedAt that is neither 0 nor after the block; PL_RETRY for trouble of the node. *round is untouched on
 * failure. */
pl_status feed_read(const feed *self, const char *call, const rpc_reply *reply, const feed_block *block,
                    feed_round *round, pl_error *error);
/* Reply to getRoundData(): there is no such round (a revert, or updatedAt 0). */
bool feed_absent(const rpc_reply *reply);
/* Reply to an aggregator's own latestRoundData(): its newest round; 0: none, or it is no aggregator. */
uint64_t feed_newest_round(const rpc_reply *reply);
/* Reply to phaseAggregators(): the address, NUL-ended; false: none. */
bool feed_address(const rpc_reply *reply, char address[FEED_ADDRESS_TEXT]);

/* The round as it was when it was handed over last; NULL: it was not, or is no longer remembered. */
const feed_round *feed_handed(const feed *self, uint64_t phase, uint64_t round);
/* It was handed over, and was another one then: its block was replaced. */
bool feed_differs(const feed *self, const feed_round *round);
/* Emits the record of the round in force at a block. A round older than the one before is warned about, and emitted. */
void feed_emit(feed *self, const pl_host *host, int64_t chain_id, const feed_block *block, const feed_round *round);
/* Emits the record of an earlier round, read at a block. */
void feed_emit_missed(feed *self, const pl_host *host, int64_t chain_id, const feed_block *block,
                      const feed_round *round);
#endif
