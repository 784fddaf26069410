/* What the pipeline file says about an http source. */
#ifndef HTTP_CONFIG_H
#define HTTP_CONFIG_H
#include <plumbline/plugin.h>

enum { HTTP_EACH_MAX = 100, HTTP_FIELDS_MAX = 64, HTTP_HEADERS_MAX = 32, HTTP_TEXT_MAX = 4096 };

typedef struct http_entry { /* element of each MAP option: key, then a text */
    const char *key, *text;
} http_entry;

typedef struct http_config {
    const char *url, *method, *body, *items, *received_as, *key, *stream;
    pl_array each, headers, query, fields, types, constants; /* http_entry */
    pl_array optional;                                       /* const char * */
    int64_t every, timeout;
} http_config;

/* The `fields` type of an output; also what `types` may say. */
extern const char *const http_types[];

/* [main] No I/O. PL_BAD_CONFIG with the option named. */
pl_status http_check(const void *config, pl_error *error);

/* The text of the entry with that key, or NULL. */
const char *http_entry_text(const pl_array *entries, const char *key);
bool http_is_optional(const http_config *config, const char *field);

/* `text` with {name} and {value} filled from one entry of `each` (NULL: left as they are); malloc'ed, NULL: no memory
 * or longer than HTTP_TEXT_MAX. */
char *http_fill(const char *text, const http_entry *each);

enum { HTTP_OPTION_COUNT = 16 };
extern const pl_option http_options[HTTP_OPTION_COUNT];
#endif
