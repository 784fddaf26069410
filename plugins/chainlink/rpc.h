/* JSON-RPC 2.0 batches over "pl.http/1" (https://ethereum.github.io/execution-apis/). One thread at a time. */
#ifndef CHAINLINK_RPC_H
#define CHAINLINK_RPC_H
#include <plumbline/plugin.h>

enum {
    RPC_BATCH_MAX = 50, /* calls in one HTTP request: providers refuse longer batches */
    RPC_PARAMS_MAX = 256
};

/* The codes met in the wild, 2026-11-22. */
enum {
    RPC_REVERTED = 3,
    RPC_SERVER_ERROR = -32000, /* geth: reverted, or a block that is not there; the message tells */
    RPC_LIMITED = -32005,
    RPC_NO_METHOD = -32601,
    RPC_BAD_PARAMS = -32602
};

typedef struct rpc_node {
    const pl_host *host;
    const pl_http *http;
    const pl_json *json;
    const char *url; /* may hold a key: never in a message */
    int64_t timeout_ns;
} rpc_node;

typedef struct rpc_call {
    const char *method;
    char params[RPC_PARAMS_MAX]; /* a JSON array */
} rpc_call;

typedef struct rpc_reply {
    bool failed;
    bool reverted;     /* the contract refused the call */
    int32_t code;      /* failed: JSON-RPC error code, 0: the node left the call unanswered */
    char words[96];    /* failed: the node's message, one line */
    uint32_t pause_ms; /* failed: how long the node asks to wait, 0: it does not say */
    pl_value result;   /* lives until poll returns; PL_NIL for null */
} rpc_reply;

/* Sends the calls and fills replies[0..count-1]. PL_FAILED only when there is no answer to tell calls apart by: HTTP
 * errors with their class; PL_REJECT when the answer is not JSON-RPC; the class of an error object in place of a list.
 */
pl_status rpc_batch(const rpc_node *node, const rpc_call *calls, rpc_reply *replies, size_t count, pl_error *error);

/* Turns a failed reply to `what` into an error: PL_RETRY for limits and trouble of the node, PL_REJECT for a revert or
 * parameters refused, PL_HALT for a method the node does not have. Returns PL_FAILED. */
pl_status rpc_fail(const rpc_reply *reply, const char *what, pl_error *error);
#endif
