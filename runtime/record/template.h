/* Templates with {field} holes: price.{pair}, {quotes["a.b"].x}. "{{" and "}}" stand for the braces themselves.
 * Compiled once; read-only afterwards, so that any thread may render. */
#ifndef PL_RECORD_TEMPLATE_H
#define PL_RECORD_TEMPLATE_H
#include <base/buf.h>
#include <record/document.h>

typedef struct pl_template pl_template;
/* NULL: PL_BAD_CONFIG says what is wrong and at which character (from 1), or no memory. Free with pl_template_free. */
pl_template *pl_template_new(pl_str text, pl_error *error);
void pl_template_free(pl_template **tmpl); /* nulls; NULL is allowed */
/* True when there are no holes: rendering always gives the same text. */
bool pl_template_is_constant(const pl_template *tmpl);
/* Holes, in order; NULL beyond the last. */
const pl_path *pl_template_hole(const pl_template *tmpl, size_t index);
/* Appends the text with each hole filled by the scalar's text (strings as they are, times as RFC 3339).
 * PL_END: a field is absent, null, an object or an array; error names it (PL_REJECT). PL_FAILED: as pl_document_get, or
 * no memory. The buffer keeps what it had before. */
pl_status pl_template_render(const pl_template *tmpl, pl_document *document, pl_buf *out, pl_error *error);
#endif
