/* libcurl, loaded by the first request. Linked, it and the libraries that it brings were 30 of the 39 that each start
 * had to load, which took 6 of its 10 ms and 4 MB, also where no plugin speaks HTTP (docs/benchmarks.md, "Start"). */
#ifndef PL_PLUGIN_LIBCURL_H
#define PL_PLUGIN_LIBCURL_H
#include <curl/curl.h>
#include <plumbline/plugin.h>

/* What we call of it, each without its "curl_". */
#define PL_LIBCURL(X)                                                                                                  \
    X(easy_cleanup)                                                                                                    \
    X(easy_getinfo)                                                                                                    \
    X(easy_header)                                                                                                     \
    X(easy_init)                                                                                                       \
    X(easy_reset)                                                                                                      \
    X(easy_setopt)                                                                                                     \
    X(easy_strerror)                                                                                                   \
    X(easy_unescape)                                                                                                   \
    X(free)                                                                                                            \
    X(getdate)                                                                                                         \
    X(global_init)                                                                                                     \
    X(multi_add_handle)                                                                                                \
    X(multi_cleanup)                                                                                                   \
    X(multi_info_read)                                                                                                 \
    X(multi_init)                                                                                                      \
    X(multi_perform)                                                                                                   \
    X(multi_poll)                                                                                                      \
    X(multi_remove_handle)                                                                                             \
    X(multi_setopt)                                                                                                    \
    X(multi_strerror)                                                                                                  \
    X(multi_wakeup)                                                                                                    \
    X(slist_append)                                                                                                    \
    X(slist_free_all)                                                                                                  \
    X(url)                                                                                                             \
    X(url_cleanup)                                                                                                     \
    X(url_get)                                                                                                         \
    X(url_set)                                                                                                         \
    X(url_strerror)

#define PL_LIBCURL_MEMBER(name) __typeof__(curl_##name) *(name);
typedef struct pl_libcurl {
    PL_LIBCURL(PL_LIBCURL_MEMBER)
} pl_libcurl;
#undef PL_LIBCURL_MEMBER

/* Its functions: curl_easy_init() is libcurl.easy_init(). Valid, and unchanged, once pl_libcurl_load returned PL_OK. */
extern pl_libcurl libcurl;

/* [any] Loads libcurl for the whole process and starts it; later calls answer as the first did. PL_HALT, with what to
 * install, when it is not there, lacks a function, or does not start. */
pl_status pl_libcurl_load(pl_error *error);
#endif
