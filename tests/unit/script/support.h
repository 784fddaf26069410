/* A script, the flow around it as lists of what it told, and one-line checks. */
#ifndef TEST_SCRIPT_SUPPORT_H
#define TEST_SCRIPT_SUPPORT_H
#include <base/arena.h>
#include <script/script.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { KIT_OUTPUTS = 64, KIT_TEXT = 8192 };

typedef struct kit {
    pl_script *script;
    pl_script_host host;
    pl_arena *arena;
    pl_virtual_clock clock;
    pl_error error;
    struct {
        char port[64], payload[KIT_TEXT], key[64];
        pl_record record; /* its texts lie in the arena */
    } outputs[KIT_OUTPUTS];
    size_t output_count;
    struct {
        int64_t at;
        char key[64];
        int ref;
    } defers[KIT_OUTPUTS];
    size_t defer_count;
    double metric; /* the last one told */
    pl_status emit_status;
} kit;

/* Loads the script, called t.lua; fails the test when it does not load. */
void kit_open(kit *kit, const char *text);
/* The same with a setup whose other members are taken as they are. NULL text: setup's. Returns false when it does not
 * load. */
bool kit_try(kit *kit, const char *text, pl_script_setup setup);
void kit_close(kit *kit);
/* One record with this JSON payload, stream "s", key "k", time 1000. Outputs of before are forgotten. */
pl_status kit_record(kit *kit, const char *json);
/* Runs on_record and expects exactly these payloads; NULL-ended. */
void kit_expect(kit *kit, const char *json, ...);
/* Runs on_record and expects PL_FAILED with a story that contains the text. */
void kit_fails(kit *kit, const char *json, const char *part);

/* Whole scripts: the main chunk runs without an error; raises one that contains the text. */
void lua_passes(const char *text);
void lua_fails(const char *text, const char *part);
/* function on_record(r, m) BODY end: the record in, the one payload out ("" : none). */
void body_gives(const char *body, const char *json, const char *payload);
void body_fails(const char *body, const char *json, const char *part);
#endif
