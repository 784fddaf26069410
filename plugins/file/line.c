#include "file.h"

static const char DEAD_LETTER_PREFIX[] = "plumbline.";

bool lines_is_json(const file_lines *lines, pl_str text)
{
    pl_error error = {.struct_size = sizeof error};
    return lines->json && lines->json->valid(lines->host, text, &error) == PL_OK;
}

static pl_str header_text(const pl_field *header)
{
    bool has_text = header->value.type == PL_STR || header->value.type == PL_BYTES || header->value.type == PL_JSON ||
                    header->value.type == PL_DECIMAL;
    return has_text ? header->value.as.s : (pl_str){0};
}

static bool is_dead_letter(const pl_emission *origin)
{
    size_t len = sizeof DEAD_LETTER_PREFIX - 1;
    for (uint32_t i = 0; i < origin->header_count; i++) {
        pl_str name = origin->headers[i].name;
        if (name.len >= len && memcmp(name.ptr, DEAD_LETTER_PREFIX, len) == 0) {
            return true;
        }
    }
    return false;
}

/* NAME: a string, or NAME_base64 where the bytes are no UTF-8; null stays null. */
static void add_member(text_buf *out, const char *name, pl_str bytes)
{
    bool utf8 = text_utf8_valid(bytes);
    text_addc(out, '"');
    text_adds(out, name);
    text_adds(out, utf8 ? "\":" : "_base64\":\"");
    if (!utf8) {
        text_base64(out, bytes);
        text_addc(out, '"');
    } else if (bytes.ptr) {
        text_json_string(out, bytes);
    } else {
        text_adds(out, "null");
    }
}

static void add_header_value(text_buf *out, const pl_field *header)
{
    pl_str bytes = header_text(header);
    if (header->value.type == PL_NIL) {
        text_adds(out, "null");
    } else if (header->value.type != PL_STR && header->value.type != PL_BYTES) {
        text_buf bare = {0};
        text_value(&bare, &header->value);
        text_json_string(out, (pl_str){bare.data, bare.len});
        out->failed = out->failed || bare.failed;
        text_release(&bare);
    } else if (!text_utf8_valid(bytes)) {
        text_adds(out, "{\"base64\":\"");
        text_base64(out, bytes);
        text_adds(out, "\"}");
    } else {
        text_json_string(out, bytes);
    }
}

static bool same_name(const pl_field *a, const pl_field *b)
{
    return a->name.len == b->name.len && memcmp(a->name.ptr, b->name.ptr, a->name.len) == 0;
}

/* {"name":value}; the values of a name that repeats come as an array, in their order. */
static void add_headers(text_buf *out, const pl_emission *origin)
{
    const pl_field *headers = origin->headers;
    text_adds(out, "\"headers\":{");
    const char *comma = "";
    for (uint32_t i = 0; i < origin->header_count; i++) {
        uint32_t repeats = 0;
        bool seen = false;
        for (uint32_t k = 0; k < origin->header_count; k++) {
            seen = seen || (k < i && same_name(&headers[k], &headers[i]));
            repeats += same_name(&headers[k], &headers[i]);
        }
        if (seen) {
            continue;
        }
        text_adds(out, comma);
        comma = ",";
        text_json_string(out, headers[i].name);
        text_adds(out, repeats > 1 ? ":[" : ":");
        for (uint32_t k = i; k < origin->header_count; k++) {
            if (same_name(&headers[k], &headers[i])) {
                text_adds(out, k > i ? "," : "");
                add_header_value(out, &headers[k]);
            }
        }
        text_adds(out, repeats > 1 ? "]" : "");
    }
    text_addc(out, '}');
}

/* Within a line, byte for byte: without newlines, and without space around. */
static bool is_object_or_array(const file_lines *lines, pl_str payload)
{
    return payload.len > 1 && (payload.ptr[0] == '{' || payload.ptr[0] == '[') &&
           (payload.ptr[payload.len - 1] == '}' || payload.ptr[payload.len - 1] == ']') &&
           !memchr(payload.ptr, '\n', payload.len) && !memchr(payload.ptr, '\r', payload.len) &&
           lines_is_json(lines, payload);
}

/* An object or array stands as the JSON it is; any other payload as a string, so that both can be told apart and put
 * back as they were; bytes that are no UTF-8 as payload_base64. */
static void add_envelope(const file_lines *lines, text_buf *out, const pl_emission *origin, pl_str payload)
{
    text_addc(out, '{');
    add_headers(out, origin);
    text_addc(out, ',');
    add_member(out, "key", origin->key);
    text_addc(out, ',');
    add_member(out, "stream", origin->stream);
    text_adds(out, ",\"time\":");
    if (origin->time_unix_ns != 0) {
        text_addc(out, '"');
        text_time(out, origin->time_unix_ns);
        text_addc(out, '"');
    } else {
        text_adds(out, "null"); /* rejected before it had one */
    }
    text_addc(out, ',');
    if (is_object_or_array(lines, payload)) {
        text_adds(out, "\"payload\":");
        text_add(out, payload.ptr, payload.len);
    } else {
        add_member(out, "payload", payload);
    }
    text_addc(out, '}');
}

static void add_payload(const file_lines *lines, text_buf *out, pl_str payload)
{
    if (!payload.ptr) {
        text_adds(out, "null"); /* a tombstone */
    } else if (!memchr(payload.ptr, '\n', payload.len)) {
        text_add(out, payload.ptr, payload.len);
    } else if (lines_is_json(lines, payload)) {
        text_json_line(out, payload);
    } else if (text_utf8_valid(payload)) {
        text_json_string(out, payload); /* a bare text of several lines */
    } else {
        text_addc(out, '"');
        text_base64(out, payload);
        text_addc(out, '"');
    }
}

static pl_status add_csv(const file_lines *lines, text_buf *out, const pl_record *record, pl_error *error)
{
    const pl_array *columns = &lines->config->csv.columns;
    if (!lines->host->payload(lines->host, record).ptr) {
        return pl_fail(error, PL_REJECT, "a tombstone has no fields to write as CSV");
    }
    for (size_t i = 0; i < columns->count; i++) {
        pl_value value = {.type = PL_NIL};
        text_buf text = {0};
        if (i > 0) {
            text_addc(out, lines->delimiter);
        }
        const char *path = ((const char *const *)columns->items)[i];
        if (!lines->host->field(lines->host, record, PL_S(path), &value) || value.type == PL_NIL) {
            continue;
        }
        text_value(&text, &value);
        /* Absent and null are nothing, the empty string is "": PostgreSQL's COPY reads them so. */
        csv_write(out, (pl_str){text.data, text.len}, lines->delimiter, text.len == 0);
        out->failed = out->failed || text.failed;
        text_release(&text);
    }
    return PL_OK;
}

void lines_add_header(const file_lines *lines, text_buf *out)
{
    const pl_array *columns = &lines->config->csv.columns;
    for (size_t i = 0; i < columns->count; i++) {
        if (i > 0) {
            text_addc(out, lines->delimiter);
        }
        csv_write(out, PL_S(((const char *const *)columns->items)[i]), lines->delimiter, false);
    }
    text_addc(out, '\n');
}

pl_status lines_add(const file_lines *lines, text_buf *out, const pl_record *record, pl_error *error)
{
    size_t before = out->len;
    pl_status status = PL_OK;
    if (lines->csv) {
        status = add_csv(lines, out, record, error);
    } else {
        pl_str payload = lines->host->payload(lines->host, record);
        const pl_emission *origin = NULL;
        if (lines->envelope_auto || lines->envelope_always) {
            origin = lines->host->origin(lines->host, record);
        }
        if (origin && (lines->envelope_always || is_dead_letter(origin))) {
            add_envelope(lines, out, origin, payload);
        } else {
            add_payload(lines, out, payload);
        }
    }
    text_addc(out, '\n');
    if (status != PL_OK) {
        out->len = before;
    }
    return status;
}
