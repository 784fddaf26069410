/* A small Ethereum node for the chainlink plugin's unit tests: it answers what a batch asks, as told. */
#ifndef PL_TEST_SUPPORT_CHAIN_H
#define PL_TEST_SUPPORT_CHAIN_H
#include "support_web.h"

#define ETH_PROXY "0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419"
#define BTC_PROXY "0xF4030086522a5bEEa4988F8cA5B36dbC97BeE88c"
#define HASH "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define OTHER_HASH "0xff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define ETH_ROUND "0000000000000000000000000000000000000000000000050000000000003316" /* phase 5, round 13078 */
#define LIMITED "{\"code\":-32005,\"message\":\"rate limited\",\"data\":{\"rate\":{\"backoff_seconds\":7}}}"
#define REVERTED "{\"code\":3,\"message\":\"execution reverted: no access\",\"data\":\"0x\"}"
#define TIME_S 1767225600 /* 2026-01-01T00:00:00Z */

/* What the node says; each test changes some, chain_reset makes it sound. */
typedef struct chain_node {
    const char *chain_id;
    const char *eth_description, *btc_description; /* text, or a result that begins with 0x */
    const char *decimals;
    char eth_round[400], btc_round[400]; /* the result */
    const char *eth_error, *btc_error;   /* error object instead, for latestRoundData */
    const char *verify_error;            /* error object for description() and decimals() */
    const char *block_error;
    const char *missed_error; /* error object for getRoundData() */
    uint64_t no_round;        /* this one reverts */
    long missed_age;          /* s; of the rounds that it gives */
    const char *second_hash;  /* of the block when asked for by number */
    bool no_hashes;           /* EIP-1898 is unknown */
    bool backwards;           /* answers in the reverse order */
    bool forgets_last;        /* leaves the last call of a batch out */
    bool null_block;
    int max_batch; /* calls in the longest batch so far */
} chain_node;
extern chain_node node;

/* Set up and tear down of a test: `host` has the chainlink plugin, whose requests go to the node. */
extern stub *host;
int chain_open_host(void **state);
int chain_close_host(void **state);
/* Options with the feeds of both proxies. */
extern const char chain_two_feeds[];

void chain_reset(void);
/* For web_serve. */
char *chain_serve(const web_request *request);
/* The result of latestRoundData() and the like; round_id and answer as 64 hex digits. */
void chain_make_round(char out[400], const char *round_id, const char *answer, long started, long updated);
#endif
