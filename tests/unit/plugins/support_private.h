/* What support_host.c, support_record.c and support_config.c share; tests include support_host.h only. */
#ifndef PL_TEST_SUPPORT_PRIVATE_H
#define PL_TEST_SUPPORT_PRIVATE_H
#include "support_host.h"

#include <pthread.h>
#include <record/record.h>

typedef struct stub_batch {
    pl_batch batch;
    const pl_record **pointers;
    struct stub_given *given;
} stub_batch;
typedef struct stub_given { /* one record handed to a sink */
    pl_record record;
    char *payload, *key, *stream;
    pl_field *headers;
    int state; /* STUB_OUT, STUB_DURABLE, or a class */
    char why[sizeof((pl_error *)0)->message];
} stub_given;

typedef struct stub_entry { /* of the in-memory store */
    char *key, *value;
    size_t key_len, value_len;
} stub_entry;
typedef struct stub_answer {
    const char *id;
    const void *table;
} stub_answer;
struct pl_metric {
    char name[64];
    int32_t kind;
    double sum;
};
enum { STUB_METRICS_MAX = 32, STUB_ANSWERS_MAX = 8 };

struct stub_private {
    pthread_mutex_t lock;
    stub_entry *entries;
    size_t entry_count, entry_room;
    bool store_fails;
    char *store_value; /* what get last gave */
    struct pl_metric metrics[STUB_METRICS_MAX];
    size_t metric_count;
    stub_answer answers[STUB_ANSWERS_MAX];
    size_t answer_count;
    pl_emission origin;
    struct stub_reader *reader;   /* support_record.c */
    struct stub_options *options; /* support_config.c */
};

/* calloc that fails the test. */
void *stub_alloc(size_t size);
char *stub_copy(pl_str text); /* NUL-ended; NULL stays NULL */
/* Room for one more in an array of `size`-byte items. */
void *stub_grow(void *items, size_t count, size_t *room, size_t size);

/* support_record.c */
void stub_reader_open(stub *host);
void stub_reader_close(stub *host);
/* Records are about to die: caches must not outlive them. */
void stub_reader_forget(stub *host);
bool stub_field(const pl_host *host, const pl_record *record, pl_str path, pl_value *value);
bool stub_render(const pl_host *host, const pl_record *record, const char *template_text, pl_str *out);
extern const pl_json stub_json_table;
/* The fields as one JSON object, malloc'ed and NUL-ended. */
char *stub_fields_json(stub *host, const pl_field *fields, uint32_t count);

/* support_config.c */
pl_status stub_fill(stub *host, const char *with_yaml);
void stub_options_close(stub *host);
#endif
