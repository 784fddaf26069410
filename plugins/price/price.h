/* What the price API plugins share: pairs and the ids that an API has for them, exact prices, the api_price record.
 * Compiled into each of them. All functions: one thread at a time. */
#ifndef PL_PRICE_H
#define PL_PRICE_H
#include "../http/number.h"

enum {
    PRICE_PAIRS_MAX = 100,
    PRICE_NAME_MAX = 16, /* of a base or quote currency, with its NUL */
    PRICE_ID_MAX = 64
};

typedef struct price_id { /* element of the option `ids` (MAP of STR), and of an API's own table */
    const char *key;      /* a pair; in a table: a base currency */
    const char *id;
} price_id;

typedef struct price_feed { /* one pair that is polled */
    const char *pair;
    const char *id;
    char quote[PRICE_NAME_MAX];       /* "usd", lower case */
    char last_price[NUMBER_TEXT_MAX]; /* "" before the first */
    int64_t changed_unix_ns;          /* when last_price was first seen */
} price_feed;

typedef struct price_sample {
    const char *source; /* the API's name */
    char price[NUMBER_TEXT_MAX];
    char volume[NUMBER_TEXT_MAX]; /* "": unknown */
    int64_t source_unix_ns, fetched_unix_ns;
} price_sample;

/* Checks `pairs` (LIST of STR), `ids` (MAP of STR) and `base_url` (NULL: fine). `known` ends with a NULL key.
 * PL_BAD_CONFIG with the option named. */
pl_status price_check(const pl_array *pairs, const pl_array *ids, const price_id *known, const char *base_url,
                      pl_error *error);

/* pairs->count feeds of pairs that price_check let pass; they borrow the config's strings. NULL: no memory; free(). */
price_feed *price_feeds(const pl_array *pairs, const pl_array *ids, const price_id *known);

/* When an answer arrived: the wall clock, cut to milliseconds, which every store keeps exactly. */
int64_t price_now(const pl_host *host);

/* Emits the api_price record of one sample: kind, schema, source, pair, price, source_ts, fetched_at, changed_at,
 * volume_24h when known. Keeps the feed's last price. */
void price_emit(const pl_host *host, price_feed *feed, const price_sample *sample);

/* Parses an answer that must be a JSON object. PL_REJECT says what it is instead. */
pl_status price_parse(const pl_host *host, const pl_json *json, pl_str answer, pl_doc **doc, pl_error *error);

/* Puts "SUBJECT: " before the error's message. */
void price_blame(pl_error *error, const char *subject);

/* The host's "pl.http/1" and "pl.json/1"; PL_HALT when it lacks one. */
pl_status price_extensions(const pl_host *host, const pl_http **http, const pl_json **json, pl_error *error);
#endif
