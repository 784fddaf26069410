/* A buffer in a folder of the test's own on the real filesystem, and system calls that fail when told to. */
#ifndef TEST_BUFFER_SUPPORT_H
#define TEST_BUFFER_SUPPORT_H
#include <base/mem.h>
#include <base/str.h>
#include <buffer/buffer.h>
#include <buffer/segment.h>
/* cmocka.h wants these before itself. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

typedef struct faults { /* of the system calls; each counts down, and fails while it is 0. -1: never */
    int opens, writes, syncs, dir_syncs;
    int code;        /* errno; 0: ENOSPC */
    bool short_once; /* the next write takes half */
    int forced_syncs;
} faults;

typedef struct place {
    char folder[64];
    pl_buffer *buffer;
    faults faults;
    pl_buffer_io io;
    pl_virtual_clock clock;
    char said[8192]; /* what was reported, a line each */
    pl_error error;
} place;

int place_setup(void **state);    /* *state: a place, its folder empty */
int place_teardown(void **state); /* closes, and removes the folder */
/* Opens the buffer; max_bytes 0: 64 MiB. Must work. */
void place_open(place *p, uint64_t max_bytes, uint64_t segment_bytes);
void place_close(place *p);
/* Does the work in a child that kills itself with SIGKILL after it. */
void place_killed_after(place *p, void (*work)(place *p));
/* Appends a record "LANE:NUMBER" at that position; must work. */
void place_append(place *p, const char *lane, uint64_t number);
void place_sync(place *p);
/* Reads all there is; returns "a:1 a:2 ..", in static memory. */
const char *place_read(place *p);
/* The path of the n-th segment, from 0; in static memory. */
const char *place_segment(place *p, size_t n);
size_t place_segments(place *p, const char *suffix);
pl_str place_load(const char *path); /* free ptr with pl_free */
void place_store(const char *path, const char *bytes, size_t len);
void place_settle(place *p, const char *lane, uint64_t position);
#endif
