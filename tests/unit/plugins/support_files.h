/* A temporary folder for a test, and files in it. One at a time. */
#ifndef PL_TEST_SUPPORT_FILES_H
#define PL_TEST_SUPPORT_FILES_H
#include "support_host.h"

/* For cmocka_unit_test_setup_teardown; tear_down removes the folder with all that is in it. */
int files_set_up(void **state);
int files_tear_down(void **state);
/* Path of a file in the folder; valid until the next call. */
const char *at(const char *name);
/* The text with each %s replaced by the folder; valid until the next call. */
const char *with(const char *format);
/* Writes text to a file, opened with `mode` of fopen. */
void put(const char *name, const char *mode, const char *text);
/* The text of a file, up to 64 KiB; valid until the next call. */
const char *get(const char *name);
/* A thread's function: interrupts the stub's instance after 20 ms. */
void *interrupt_soon(void *host);
#endif
