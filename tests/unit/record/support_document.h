/* One document under test and what is asked of it; each helper fails the test with the reason. */
#ifndef PL_TEST_SUPPORT_DOCUMENT_H
#define PL_TEST_SUPPORT_DOCUMENT_H
#include <record/document.h>

extern pl_arena *arena;
extern pl_document *doc;
extern pl_error error;

int set_up(void **state);
/* From here on load() gives the document an outline where one can be kept, as a source does for those behind it. */
int set_up_outlined(void **state);
int tear_down(void **state);
/* Loads a record, asks for each of its fields and one that is not there, and loads it again: where its shape is known
 * fields are then found by what was noted. */
void load_asked(pl_document *document, const pl_record *record);
/* A padded copy in the arena, and nothing readable behind the padding under ASan. */
void load(const char *text);
/* The record of a payload in the arena, with its outline if that is asked for and the payload valid. */
pl_record record_of(pl_str payload, bool outlined);
pl_path path_of(const char *text);
void set(const char *path, pl_value value);
void set_fails(const char *path, pl_value value, const char *message);
void remove_at(const char *path);
void absent(const char *path);
pl_value get(const char *path);
void expect_text(const char *path, int32_t type, const char *expected);
void expect_int(const char *path, int64_t expected);
/* What the document encodes to; it must be well-formed JSON, and the same when asked a second time. */
void encodes_to(const char *expected);

#define INT(number) ((pl_value){.type = PL_INT, .as.i = (number)})
#define STR(text) ((pl_value){.type = PL_STR, .as.s = PL_S(text)})
#define JSON(text) ((pl_value){.type = PL_JSON, .as.s = PL_S(text)})
#define DEC(text) ((pl_value){.type = PL_DECIMAL, .as.s = PL_S(text)})
#define NIL ((pl_value){.type = PL_NIL})
#endif
