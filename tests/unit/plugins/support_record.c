/* Records, fields and "pl.json/1" by the record room, as the runtime's own host does it, without its caches. */
#include "support_private.h"

#include <record/document.h>
#include <record/encode.h>
#include <record/template.h>
#include <stdlib.h>

enum { JSON_MAX = 16 << 20 };

struct pl_doc { /* one parsed text; all die at the next stub_reader_forget */
    pl_json_reader *reader;
    struct pl_doc *next;
};
struct stub_reader {
    pl_document *document;
    const pl_record *loaded; /* whose payload the document shows; NULL: none */
    pl_buf rendered;
    struct pl_doc *docs;
};

void stub_reader_open(stub *host)
{
    struct stub_reader *reader = stub_alloc(sizeof *reader);
    reader->document = pl_document_new();
    assert_non_null(reader->document);
    reader->rendered = PL_BUF(JSON_MAX);
    host->private->reader = reader;
}

void stub_reader_forget(stub *host)
{
    struct stub_reader *reader = host->private->reader;
    pl_document_unload(reader->document);
    reader->loaded = NULL;
    while (reader->docs) {
        struct pl_doc *doc = reader->docs;
        reader->docs = doc->next;
        pl_json_reader_free(&doc->reader);
        free(doc);
    }
}

void stub_reader_close(stub *host)
{
    stub_reader_forget(host);
    pl_document_free(&host->private->reader->document);
    pl_buf_release(&host->private->reader->rendered);
    free(host->private->reader);
}

static struct stub_reader *reader_for(const pl_host *host, const pl_record *record)
{
    struct stub_reader *reader = ((const stub *)(const void *)host)->private->reader;
    if (reader->loaded != record) {
        pl_document_load(reader->document, record->payload, PL_CODEC_JSON);
        reader->loaded = record;
    }
    return reader;
}

bool stub_field(const pl_host *host, const pl_record *record, pl_str path, pl_value *value)
{
    pl_path compiled;
    pl_error error = {.struct_size = sizeof error};
    if (pl_path_parse(path, &compiled, &error) != PL_OK) {
        fail_msg("field '%.*s': %s", (int)path.len, path.ptr, error.message);
    }
    return pl_document_get(reader_for(host, record)->document, &compiled, value, NULL) == PL_OK;
}

bool stub_render(const pl_host *host, const pl_record *record, const char *template_text, pl_str *out)
{
    struct stub_reader *reader = reader_for(host, record);
    pl_error error = {.struct_size = sizeof error};
    pl_template *compiled = pl_template_new(PL_S(template_text), &error);
    if (!compiled) {
        fail_msg("template '%s': %s", template_text, error.message);
    }
    pl_buf_clear(&reader->rendered);
    bool filled = pl_template_render(compiled, reader->document, &reader->rendered, &error) == PL_OK;
    pl_template_free(&compiled);
    *out = pl_buf_str(&reader->rendered);
    return filled;
}

char *stub_fields_json(stub *host, const pl_field *fields, uint32_t count)
{
    pl_buf text = PL_BUF(JSON_MAX);
    pl_error error = {.struct_size = sizeof error};
    (void)host;
    if (pl_encode_fields(&text, fields, count, &error) != PL_OK) {
        fail_msg("emitted fields: %s", error.message);
    }
    char *json = stub_copy(pl_buf_str(&text));
    pl_buf_release(&text);
    return json;
}

static pl_status json_parse(const pl_host *host, pl_str text, pl_doc **doc, pl_error *error)
{
    struct stub_reader *reader = ((const stub *)(const void *)host)->private->reader;
    pl_doc *made = stub_alloc(sizeof *made);
    made->reader = pl_json_reader_new();
    assert_non_null(made->reader);
    made->next = reader->docs;
    reader->docs = made;
    *doc = made;
    return pl_json_load_copy(made->reader, text, PL_JSON_FULL, error);
}

static pl_status json_valid(const pl_host *host, pl_str text, pl_error *error)
{
    pl_doc *doc;
    return json_parse(host, text, &doc, error);
}

static bool json_get(const pl_doc *doc, pl_str path, pl_value *value)
{
    return pl_json_find(doc->reader, path, value, NULL) == PL_OK;
}

static int64_t json_count(const pl_doc *doc, pl_str path)
{
    pl_path compiled;
    pl_value value;
    if (!json_get(doc, path, &value) || value.type != PL_JSON || value.as.s.len == 0 || value.as.s.ptr[0] != '[') {
        return -1;
    }
    return pl_path_parse(path, &compiled, NULL) == PL_OK ? pl_json_count(doc->reader, &compiled) : -1;
}

const pl_json stub_json_table = {
    .struct_size = sizeof(pl_json),
    .parse = json_parse,
    .get = json_get,
    .count = json_count,
    .valid = json_valid,
};
