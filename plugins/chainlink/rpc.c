#include "rpc.h"

#include <ctype.h>
#include <stdlib.h>

enum { PATH_TEXT_MAX = 64, PAUSE_MAX_S = 24 * 60 * 60 };

static char *make_body(const rpc_call *calls, size_t count, size_t *len)
{
    char *body = NULL;
    FILE *out = open_memstream(&body, len);
    if (!out)
        return NULL;
    for (size_t i = 0; i < count; i++)
        (void)fprintf(out, "%c{\"jsonrpc\":\"2.0\",\"id\":%zu,\"method\":\"%s\",\"params\":%s}", i ? ',' : '[', i + 1,
                      calls[i].method, calls[i].params);
    (void)fputc(']', out);
    bool written = !ferror(out);
    if (fclose(out) != 0 || !written) {
        free(body);
        return NULL;
    }
    return body;
}

/* One line of printable ASCII. */
static void copy_words(pl_str text, char *out, size_t room)
{
    size_t len = text.len < room - 1 ? text.len : room - 1;
    for (size_t i = 0; i < len; i++)
        out[i] = isprint((unsigned char)text.ptr[i]) ? text.ptr[i] : ' ';
    out[len] = '\0';
}

static bool get(const rpc_node *node, const pl_doc *doc, const char *prefix, const char *name, pl_value *value)
{
    char path[PATH_TEXT_MAX];
    (void)snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] && name[0] ? "." : "", name);
    return node->json->get(doc, PL_S(path), value);
}

/* The error object at prefix. */
static void read_error(const rpc_node *node, const pl_doc *doc, const char *prefix, rpc_reply *reply)
{
    pl_value value;
    *reply = (rpc_reply){.failed = true};
    if (get(node, doc, prefix, "error.code", &value) && value.type == PL_INT && value.as.i >= INT32_MIN &&
        value.as.i <= INT32_MAX)
        reply->code = (int32_t)value.as.i;
    if (get(node, doc, prefix, "error.message", &value) && value.type == PL_STR)
        copy_words(value.as.s, reply->words, sizeof reply->words);
    if (get(node, doc, prefix, "error.data.rate.backoff_seconds", &value) && value.type == PL_INT && value.as.i > 0)
        reply->pause_ms = (uint32_t)(value.as.i < PAUSE_MAX_S ? value.as.i : PAUSE_MAX_S) * 1000u;
    reply->reverted =
        reply->code == RPC_REVERTED || (reply->code == RPC_SERVER_ERROR && strstr(reply->words, "revert"));
}

static void read_reply(const rpc_node *node, const pl_doc *doc, int64_t element, rpc_reply *replies, size_t count)
{
    char prefix[PATH_TEXT_MAX / 2];
    pl_value id, value;
    (void)snprintf(prefix, sizeof prefix, "[%lld]", (long long)element);
    if (!get(node, doc, prefix, "id", &id) || id.type != PL_INT || id.as.i < 1 || (uint64_t)id.as.i > count)
        return;
    rpc_reply *reply = &replies[id.as.i - 1];
    if (get(node, doc, prefix, "error", &value) && value.type != PL_NIL)
        read_error(node, doc, prefix, reply);
    else if (get(node, doc, prefix, "result", &value))
        *reply = (rpc_reply){.result = value};
}

static pl_status read_answer(const rpc_node *node, pl_str answer, rpc_reply *replies, size_t count, pl_error *error)
{
    pl_doc *doc = NULL;
    pl_value value;
    if (answer.len > 0 && answer.ptr[0] == '<')
        return pl_fail(error, PL_REJECT, "the node's answer is HTML, not JSON-RPC");
    if (node->json->parse(node->host, answer, &doc, error) != PL_OK) {
        char reason[128];
        (void)snprintf(reason, sizeof reason, "%.120s", error->message);
        return pl_fail(error, error->error_class, "the node's answer: %s", reason);
    }
    int64_t elements = node->json->count(doc, PL_S(""));
    if (elements < 0) {
        rpc_reply whole;
        if (!get(node, doc, "", "error", &value) || value.type == PL_NIL)
            return pl_fail(error, PL_REJECT, "the node's answer is not a list, as a batch needs");
        read_error(node, doc, "", &whole);
        return rpc_fail(&whole, "the batch", error);
    }
    for (size_t i = 0; i < count; i++)
        replies[i] = (rpc_reply){.failed = true};
    for (int64_t i = 0; i < elements && i < RPC_BATCH_MAX; i++)
        read_reply(node, doc, i, replies, count);
    return PL_OK;
}

static pl_status send_batch(const rpc_node *node, const rpc_call *calls, rpc_reply *replies, size_t count,
                            pl_error *error)
{
    const pl_field header = {PL_S("Content-Type"), {.type = PL_STR, .as.s = PL_S("application/json")}};
    size_t len = 0;
    pl_str answer;
    char *body = make_body(calls, count, &len);
    if (!body)
        return pl_fail(error, PL_RETRY, "no memory for a request");
    pl_status status = node->http->request(node->host, PL_S("POST"), PL_S(node->url), &header, 1, (pl_str){body, len},
                                           node->timeout_ns, &answer, error);
    free(body);
    return status == PL_OK ? read_answer(node, answer, replies, count, error) : status;
}

pl_status rpc_batch(const rpc_node *node, const rpc_call *calls, rpc_reply *replies, size_t count, pl_error *error)
{
    for (size_t at = 0; at < count; at += RPC_BATCH_MAX) {
        size_t part = count - at < RPC_BATCH_MAX ? count - at : RPC_BATCH_MAX;
        if (send_batch(node, calls + at, replies + at, part, error) != PL_OK)
            return PL_FAILED;
    }
    return PL_OK;
}

pl_status rpc_fail(const rpc_reply *reply, const char *what, pl_error *error)
{
    error->code = reply->code;
    error->retry_after_ms = reply->pause_ms;
    if (reply->code == 0 && reply->words[0] == '\0')
        return pl_fail(error, PL_RETRY, "the node left %s unanswered", what);
    if (reply->reverted)
        return pl_fail(error, PL_REJECT, "%s reverted: %s", what, reply->words);
    if (reply->code == RPC_LIMITED)
        return pl_fail(error, PL_RETRY, "the node limits its rate: %s", reply->words);
    int32_t error_class = reply->code == RPC_NO_METHOD ? PL_HALT : reply->code == RPC_BAD_PARAMS ? PL_REJECT : PL_RETRY;
    return pl_fail(error, error_class, "the node refused %s: %s (code %d)", what, reply->words, reply->code);
}
