/* The host's extensions, by id. */
#include <base/fs.h>
#include <base/mem.h>
#include <base/str.h>
#include <inttypes.h>
#include <plugin/host.h>

static pl_status http_request(const pl_host *host, pl_str method, pl_str url, const pl_field *headers,
                              uint32_t header_count, pl_str body, int64_t timeout_ns, pl_str *answer, pl_error *error)
{
    return pl_http_request(pl_instance_of(host)->http, method, url, headers, header_count, body, timeout_ns, answer,
                           error);
}

static pl_status json_parse(const pl_host *host, pl_str text, pl_doc **doc, pl_error *error)
{
    pl_instance *instance = pl_instance_of(host);
    if (instance->doc_count == PL_INSTANCE_DOCS_MAX)
        return pl_fail(error, PL_REJECT, "more than %d documents at once", PL_INSTANCE_DOCS_MAX);
    pl_doc *next = &instance->docs[instance->doc_count];
    if (!next->reader)
        next->reader = pl_json_reader_new();
    if (!next->reader)
        return pl_fail(error, PL_RETRY, "no memory");
    pl_status status = pl_json_load_copy(next->reader, text, PL_JSON_FULL, error);
    if (status != PL_OK)
        return status;
    instance->doc_count++;
    *doc = next;
    return PL_OK;
}

static pl_status json_valid(const pl_host *host, pl_str text, pl_error *error)
{
    pl_instance *instance = pl_instance_of(host);
    if (!instance->checker)
        instance->checker = pl_json_reader_new();
    if (!instance->checker)
        return pl_fail(error, PL_RETRY, "no memory");
    pl_status status = pl_json_load_copy(instance->checker, text, PL_JSON_FULL, error);
    pl_json_unload(instance->checker, PL_INSTANCE_DOC_KEEP_BYTES);
    return status;
}

static bool json_get(const pl_doc *doc, pl_str path, pl_value *value)
{
    return pl_json_find(doc->reader, path, value, NULL) == PL_OK;
}

static int64_t json_count(const pl_doc *doc, pl_str text)
{
    pl_path path;
    pl_error error = {.struct_size = sizeof error};
    pl_value value;
    if (pl_path_parse(text, &path, &error) != PL_OK || pl_json_get(doc->reader, &path, &value, NULL) != PL_OK ||
        value.type != PL_JSON || value.as.s.len == 0 || value.as.s.ptr[0] != '[')
        return -1;
    return pl_json_count(doc->reader, &path);
}

static size_t budget_bytes(const pl_host *host)
{
    return pl_instance_of(host)->budget_bytes;
}

/* data_dir/store/INSTANCE-HASH: the key, a NUL, the value. */
static bool store_path(const pl_instance *instance, pl_str key, char *path, size_t size)
{
    int length = snprintf(path, size, "%s/store/%s-%016" PRIx64, instance->data_dir, instance->name, pl_str_hash(key));
    return length > 0 && (size_t)length < size;
}

static bool store_get(const pl_host *host, pl_str key, pl_str *value)
{
    pl_instance *instance = pl_instance_of(host);
    pl_error error = {.struct_size = sizeof error};
    char path[4096];
    pl_buf *stored = &instance->stored;
    pl_buf_clear(stored);
    if (!instance->data_dir || !store_path(instance, key, path, sizeof path) ||
        pl_fs_read(path, stored, &error) != PL_OK)
        return false;
    if (stored->len <= key.len || memcmp(stored->data, key.ptr, key.len) != 0 || stored->data[key.len] != '\0')
        return false;
    *value = (pl_str){stored->data + key.len + 1, stored->len - key.len - 1};
    return true;
}

static pl_status store_put(const pl_host *host, pl_str key, pl_str value, pl_error *error)
{
    pl_instance *instance = pl_instance_of(host);
    char path[4096];
    if (!instance->data_dir || key.len > 255 || value.len > PL_INSTANCE_STORE_MAX)
        return pl_fail(error, PL_HALT, "can't keep '%.*s': %s", (int)key.len, key.ptr,
                       instance->data_dir ? "too large" : "there is no data_dir");
    (void)snprintf(path, sizeof path, "%s/store", instance->data_dir);
    if (pl_fs_mkdirs(path, error) != PL_OK)
        return PL_FAILED;
    if (!store_path(instance, key, path, sizeof path))
        return pl_fail(error, PL_HALT, "the path of data_dir is too long");
    pl_buf_clear(&instance->stored);
    pl_buf_add(&instance->stored, key.ptr, key.len);
    pl_buf_addc(&instance->stored, '\0');
    pl_buf_add(&instance->stored, value.ptr, value.len);
    if (pl_buf_failed(&instance->stored))
        return pl_fail(error, PL_RETRY, "no memory");
    return pl_fs_replace(path, pl_buf_str(&instance->stored), error);
}

const void *pl_host_extension(const pl_host *host, const char *id)
{
    static const pl_http http = {sizeof http, http_request};
    static const pl_json json = {sizeof json, json_parse, json_get, json_count, json_valid};
    static const pl_budget budget = {sizeof budget, budget_bytes};
    static const pl_store store = {sizeof store, store_get, store_put};
    if (strcmp(id, "pl.http/1") == 0)
        return &http;
    if (strcmp(id, "pl.json/1") == 0)
        return &json;
    if (strcmp(id, "pl.budget/1") == 0)
        return &budget;
    if (strcmp(id, "pl.store/1") == 0 && pl_instance_of(host)->data_dir)
        return &store;
    if (strcmp(id, "pl.txn/1") == 0)
        return pl_instance_of(host)->txn;
    return NULL;
}
