#include <base/str.h>
#include <dlfcn.h>
#include <plugin/libcurl.h>
#include <pthread.h>

/* The name under which libcurl's ABI has been found since 7.16.0 (2006). */
static const char LIBRARY[] = "libcurl.so.4";

pl_libcurl libcurl;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pl_error failure = {.struct_size = sizeof failure};
static pl_status ready = PL_FAILED;

static bool find(void *handle, const char *name, void *function)
{
    void *found = dlsym(handle, name);
    memcpy(function, &found, sizeof found); /* POSIX: an object pointer from dlsym may be a function's */
    if (!found)
        (void)pl_fail(&failure, PL_HALT, "%s has no %s; a libcurl of 7.88 or newer is wanted", LIBRARY, name);
    return found;
}

static void load(void)
{
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        (void)pl_fail(&failure, PL_HALT, "HTTP needs libcurl (Debian's package is libcurl4): %s", dlerror());
        return;
    }
#define FIND(name)                                                                                                     \
    if (!find(handle, "curl_" #name, (void *)&libcurl.name))                                                           \
        return;
    PL_LIBCURL(FIND)
#undef FIND
    CURLcode code = libcurl.global_init(CURL_GLOBAL_DEFAULT);
    ready = code == CURLE_OK ? PL_OK
                             : pl_fail(&failure, PL_HALT, "libcurl does not start: %s", libcurl.easy_strerror(code));
}

pl_status pl_libcurl_load(pl_error *error)
{
    (void)pthread_once(&once, load);
    return ready == PL_OK ? PL_OK : pl_fail(error, PL_HALT, "%s", failure.message);
}
