/* The parts of a JSON number's text. Private to record/. All [any]. */
#ifndef PL_RECORD_LEXEME_H
#define PL_RECORD_LEXEME_H
#include <plumbline/plugin.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct pl_lexeme {
    pl_str whole, fraction; /* digits; the fraction may be empty */
    int32_t exponent;       /* capped at +-100000: beyond it only the sign matters */
    bool negative;
    bool integer; /* neither point nor exponent was written */
} pl_lexeme;

/* false: not a number as JSON writes it (RFC 8259, section 6); *out is then unspecified. */
bool pl_lexeme_split(pl_str text, pl_lexeme *out);
/* A plain integer that fits: its value. */
bool pl_lexeme_int(const pl_lexeme *lexeme, int64_t *out);
/* The power of ten of the first digit that is not 0 (2 for 314.15, -1 for 0.5), capped as the exponent is; 0 for zero.
 */
int64_t pl_lexeme_magnitude(const pl_lexeme *lexeme);
/* Whether the nearest double is finite, as a number on the wire must be. Too small a number is: it is nearly 0. */
bool pl_lexeme_finite(pl_str text, const pl_lexeme *lexeme);
#ifdef __cplusplus
}
#endif
#endif
