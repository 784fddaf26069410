/* An error to be filled in. */
#ifndef PL_BASE_ERROR_H
#define PL_BASE_ERROR_H
#include <plumbline/plugin.h>

/* Clearing all of its 300 bytes would show in what a record costs. [any] */
static inline void pl_error_open(pl_error *error)
{
    error->struct_size = sizeof *error;
    error->error_class = error->code = 0;
    error->retry_after_ms = 0;
    error->option[0] = error->message[0] = '\0';
}
#endif
