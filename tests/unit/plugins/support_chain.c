#include "support_chain.h"

#include <stdlib.h>

chain_node node;

void chain_make_round(char out[400], const char *round_id, const char *answer, long started, long updated)
{
    (void)snprintf(out, 400, "0x%s%s%064lx%064lx%s", round_id, answer, started, updated, round_id);
}

void chain_reset(void)
{
    memset(&node, 0, sizeof node);
    node.chain_id = "0x1";
    node.eth_description = "ETH / USD";
    node.btc_description = "BTC / USD";
    node.decimals = "8";
    node.missed_age = 60;
    node.second_hash = HASH;
    /* 304359857420 = 0x46dd42dd0c */
    chain_make_round(node.eth_round, ETH_ROUND, "00000000000000000000000000000000000000000000000000000046dd42dd0c",
                     TIME_S - 90, TIME_S - 60);
    chain_make_round(node.btc_round, ETH_ROUND, "0000000000000000000000000000000000000000000000000000000000000001",
                     TIME_S - 90, TIME_S - 60);
}

static void put_text(FILE *out, const char *text)
{
    if (strncmp(text, "0x", 2) == 0) {
        (void)fprintf(out, "\"result\":\"%s\"", text);
        return;
    }
    (void)fprintf(out, "\"result\":\"0x%064x%064zx", 32, strlen(text));
    for (size_t i = 0; i < 32; i++)
        (void)fprintf(out, "%02x", i < strlen(text) ? (unsigned)text[i] : 0);
    (void)fprintf(out, "\"");
}

/* getRoundData(uint80): any round there is. */
static void answer_missed(FILE *out, const char *call)
{
    char id[2 * 32 + 1], round[400];
    (void)snprintf(id, sizeof id, "%s", strstr(call, "0x9a6fc8f5") + 10);
    chain_make_round(round, id, "0000000000000000000000000000000000000000000000000000000000000007", TIME_S - 90,
                     TIME_S - node.missed_age);
    if (node.missed_error)
        (void)fprintf(out, "\"error\":%s", node.missed_error);
    else if (strtoull(id + 48, NULL, 16) == node.no_round)
        (void)fprintf(out, "\"error\":%s", REVERTED);
    else
        (void)fprintf(out, "\"result\":\"%s\"", round);
}

static void answer_call(FILE *out, const char *call)
{
    bool eth = strstr(call, ETH_PROXY) != NULL;
    const char *error = eth ? node.eth_error : node.btc_error;
    bool round = strstr(call, "0xfeaf968c") != NULL;
    if (node.no_hashes && strstr(call, "blockHash"))
        (void)fprintf(out, "\"error\":{\"code\":-32602,\"message\":\"invalid argument 1: hex string expected\"}");
    else if (strstr(call, "0x9a6fc8f5"))
        answer_missed(out, call);
    else if (strstr(call, "0xc1597304"))
        (void)fprintf(out, "\"result\":\"0x%064x\"", 0); /* phaseAggregators(): none */
    else if (!round && node.verify_error)
        (void)fprintf(out, "\"error\":%s", node.verify_error);
    else if (round && error)
        (void)fprintf(out, "\"error\":%s", error);
    else if (round)
        (void)fprintf(out, "\"result\":\"%s\"", eth ? node.eth_round : node.btc_round);
    else if (strstr(call, "0x7284e416"))
        put_text(out, eth ? node.eth_description : node.btc_description);
    else if (strncmp(node.decimals, "0x", 2) == 0)
        (void)fprintf(out, "\"result\":\"%s\"", node.decimals);
    else
        (void)fprintf(out, "\"result\":\"0x%064x\"", (unsigned)strtoul(node.decimals, NULL, 10));
}

static void answer_one(FILE *out, const char *call)
{
    (void)fprintf(out, "{\"jsonrpc\":\"2.0\",\"id\":%ld,", strtol(strstr(call, "\"id\":") + 5, NULL, 10));
    if (strstr(call, "eth_chainId"))
        (void)fprintf(out, "\"result\":\"%s\"", node.chain_id);
    else if (strstr(call, "eth_getBlockByNumber") && node.block_error)
        (void)fprintf(out, "\"error\":%s", node.block_error);
    else if (strstr(call, "eth_getBlockByNumber") && node.null_block)
        (void)fprintf(out, "\"result\":null");
    else if (strstr(call, "eth_getBlockByNumber"))
        (void)fprintf(
            out, "\"result\":{\"number\":\"0x16e3600\",\"hash\":\"%s\",\"timestamp\":\"0x%x\",\"transactions\":[]}",
            strstr(call, "latest") ? HASH : node.second_hash, TIME_S);
    else
        answer_call(out, call);
    (void)fprintf(out, "}");
}

char *chain_serve(const web_request *request)
{
    char *calls[64], *text = NULL, *body = strdup(request->body);
    size_t size = 0;
    int count = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    assert_string_equal(request->method, "POST");
    assert_string_equal(request->headers, "Content-Type: application/json\n");
    for (char *at = strstr(body, "{\"jsonrpc\""); at; count++) {
        calls[count] = at;
        at = strstr(at + 1, "{\"jsonrpc\"");
        if (at)
            at[-1] = '\0';
    }
    node.max_batch = count > node.max_batch ? count : node.max_batch;
    (void)fputc('[', out);
    for (int i = 0; i < count - (node.forgets_last && count > 1); i++) {
        if (i > 0)
            (void)fputc(',', out);
        answer_one(out, calls[node.backwards ? count - 1 - i : i]);
    }
    (void)fputc(']', out);
    assert_int_equal(fclose(out), 0);
    free(body);
    return text;
}

stub *host;

int chain_open_host(void **state)
{
    (void)state;
    chain_reset();
    host = stub_open("chainlink", STUB_SOURCE);
    web_install(host);
    web_serve(chain_serve);
    return 0;
}

int chain_close_host(void **state)
{
    (void)state;
    stub_close(&host);
    web_clear();
    return 0;
}

const char chain_two_feeds[] = "{ rpc: \"http://127.0.0.1:1/secret\", feeds: ["
                               "{ pair: ETH-USD, proxy: \"" ETH_PROXY "\", heartbeat: 1h, deviation: 0.5% }, "
                               "{ pair: BTC-USD, proxy: \"" BTC_PROXY "\" } ] }";
