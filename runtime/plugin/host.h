/* The inside of an instance, shared by the files of this room. */
#ifndef PL_PLUGIN_HOST_H
#define PL_PLUGIN_HOST_H
#include <base/buf.h>
#include <observe/metrics.h>
#include <plugin/http.h>
#include <plugin/instance.h>
#include <record/document.h>
#include <record/record.h>
#include <record/template.h>
#include <stdatomic.h>

enum {
    PL_INSTANCE_PATHS_MAX = 64,
    PL_INSTANCE_DOCS_MAX = 64,
    PL_INSTANCE_RENDER_MAX = 64 << 10,
    PL_INSTANCE_STORE_MAX = 1 << 20,
    PL_INSTANCE_DOC_KEEP_BYTES = 256 << 10 /* of memory, between answers */
};

struct pl_doc {
    pl_json_reader *reader;
};

typedef struct pl_known_path { /* parsed once; plugins ask for the same few again and again */
    char text[PL_PATH_BYTES_MAX];
    size_t len;
    pl_path path;
} pl_known_path;

struct pl_instance {
    pl_host host; /* first: a pl_host * is a pl_instance * */
    char *name;
    const pl_component *component;
    void *self;
    const pl_clock *clock;
    const char *data_dir;
    size_t budget_bytes;
    const pl_txn *txn;
    pl_services services;
    pl_http_client *http;
    pl_metrics metrics;
    /* The worker's own: */
    pl_document *document; /* of `loaded` */
    const pl_record *loaded;
    pl_emission origin;
    pl_known_path *paths[PL_INSTANCE_PATHS_MAX];
    size_t path_count, path_next; /* the one behind that asked for last: most ask in the same order for each record */
    char *template_text;
    pl_template *template;
    pl_buf rendered, stored;
    struct pl_doc docs[PL_INSTANCE_DOCS_MAX];
    size_t doc_count;
    pl_json_reader *checker; /* of pl_json.valid */
};

pl_instance *pl_instance_of(const pl_host *host);
/* See pl_host. */
pl_str pl_host_payload(const pl_host *host, const pl_record *record);
bool pl_host_field(const pl_host *host, const pl_record *record, pl_str path, pl_value *value);
const pl_emission *pl_host_origin(const pl_host *host, const pl_record *record);
bool pl_host_render(const pl_host *host, const pl_record *record, const char *template_text, pl_str *out);
const void *pl_host_extension(const pl_host *host, const char *id);

void pl_host_release_documents(pl_instance *instance);
void pl_host_release(pl_instance *instance); /* what the two files below made */
#endif
