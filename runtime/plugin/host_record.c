/* What a plugin may ask about a record. */
#include <base/error.h>
#include <base/mem.h>
#include <base/str.h>
#include <plugin/host.h>

static void load(pl_instance *instance, const pl_record *record)
{
    if (instance->loaded == record)
        return;
    pl_document_load_record(instance->document, record, PL_CODEC_JSON);
    instance->loaded = record;
}

static const pl_path *known_path(pl_instance *instance, pl_str text)
{
    for (size_t i = 0; i < instance->path_count; i++) {
        instance->path_next = instance->path_next < instance->path_count ? instance->path_next : 0;
        pl_known_path *known = instance->paths[instance->path_next++];
        if (known->len == text.len && memcmp(known->text, text.ptr, text.len) == 0)
            return &known->path;
    }
    if (instance->path_count == PL_INSTANCE_PATHS_MAX || text.len >= PL_PATH_BYTES_MAX)
        return NULL;
    pl_error error = {.struct_size = sizeof error};
    pl_known_path *path = pl_calloc(1, sizeof *path);
    if (!path || pl_path_parse(text, &path->path, &error) != PL_OK) {
        pl_free(path);
        return NULL;
    }
    memcpy(path->text, text.ptr, text.len);
    path->len = text.len;
    instance->paths[instance->path_count++] = path;
    return &path->path;
}

pl_str pl_host_payload(const pl_host *host, const pl_record *record)
{
    (void)host;
    return record->payload;
}

bool pl_host_field(const pl_host *host, const pl_record *record, pl_str path, pl_value *value)
{
    pl_instance *instance = pl_instance_of(host);
    load(instance, record);
    const pl_path *known = known_path(instance, path);
    if (known)
        return pl_document_get(instance->document, known, value, NULL) == PL_OK;
    pl_path rare;
    pl_error error = {.struct_size = sizeof error};
    return pl_path_parse(path, &rare, &error) == PL_OK &&
           pl_document_get(instance->document, &rare, value, NULL) == PL_OK;
}

const pl_emission *pl_host_origin(const pl_host *host, const pl_record *record)
{
    pl_emission *origin = &pl_instance_of(host)->origin;
    *origin = (pl_emission){
        .struct_size = sizeof *origin,
        .lane = record->lane,
        .position = record->position,
        .time_unix_ns = record->time_unix_ns,
        .stream = record->stream,
        .key = record->key,
        .headers = record->headers,
        .header_count = record->header_count,
    };
    return origin;
}

bool pl_host_render(const pl_host *host, const pl_record *record, const char *template_text, pl_str *out)
{
    pl_instance *instance = pl_instance_of(host);
    pl_error error;
    pl_error_open(&error);
    if (!instance->template_text || strcmp(instance->template_text, template_text) != 0) {
        pl_template *fresh = pl_template_new(PL_S(template_text), &error);
        char *copy = pl_strndup(template_text, strlen(template_text));
        if (!fresh || !copy) {
            pl_template_free(&fresh);
            pl_free(copy);
            return false;
        }
        pl_template_free(&instance->template);
        pl_free(instance->template_text);
        instance->template = fresh;
        instance->template_text = copy;
    }
    load(instance, record);
    pl_buf_clear(&instance->rendered);
    if (pl_template_render(instance->template, instance->document, &instance->rendered, &error) != PL_OK)
        return false;
    *out = pl_buf_str(&instance->rendered);
    return true;
}

void pl_host_release_documents(pl_instance *instance)
{
    instance->loaded = NULL;
    for (size_t i = 0; i < instance->doc_count; i++)
        pl_json_unload(instance->docs[i].reader, PL_INSTANCE_DOC_KEEP_BYTES);
    instance->doc_count = 0;
}

void pl_host_release(pl_instance *instance)
{
    for (size_t i = 0; i < instance->path_count; i++)
        pl_free(instance->paths[i]);
    for (size_t i = 0; i < PL_INSTANCE_DOCS_MAX; i++)
        pl_json_reader_free(&instance->docs[i].reader);
    pl_json_reader_free(&instance->checker);
    pl_template_free(&instance->template);
    pl_free(instance->template_text);
}
