// simdjson behind scan.h, and doubles by <charconv>. Nothing here throws: simdjson is used by error codes and allocates
// with std::nothrow.
#include <charconv>
#include <cmath>
#include <memory>
#include <new>
#include <record/json.h>
#include <record/lexeme.h>
#include <record/scan.h>
#include <simdjson.h>

using simdjson::error_code;
using implementation = simdjson::internal::dom_parser_implementation;

struct pl_scanner {
    std::unique_ptr<implementation> parser;
    simdjson::dom::document document; // the tape of pl_scan_check; nobody reads it
    size_t capacity = 0;
};

namespace
{
constexpr size_t least_capacity = 1024;
constexpr size_t large_capacity = 1 << 18;
// simdjson refuses a container when the depth reaches its maximum, the root's being 1.
constexpr size_t depth_limit = PL_JSON_DEPTH_MAX + 1;

pl_scan_status status_of(error_code error)
{
    switch (error) {
    case simdjson::SUCCESS:
        return PL_SCAN_OK;
    case simdjson::EMPTY:
        return PL_SCAN_EMPTY;
    case simdjson::UTF8_ERROR:
        return PL_SCAN_UTF8;
    case simdjson::UNCLOSED_STRING:
        return PL_SCAN_UNCLOSED;
    case simdjson::UNESCAPED_CHARS:
        return PL_SCAN_CONTROL;
    case simdjson::DEPTH_ERROR:
        return PL_SCAN_DEPTH;
    case simdjson::MEMALLOC:
    case simdjson::CAPACITY:
        return PL_SCAN_MEMORY;
    default:
        return PL_SCAN_SYNTAX;
    }
}

// simdjson 3.1 added a parameter to parse_string (whether to put a replacement character for a wrong surrogate).
template <typename Parser>
auto parse_string(const Parser &parser, const uint8_t *from, uint8_t *to, int)
    -> decltype(parser.parse_string(from, to, false))
{
    return parser.parse_string(from, to, false);
}

template <typename Parser>
auto parse_string(const Parser &parser, const uint8_t *from, uint8_t *to, long)
    -> decltype(parser.parse_string(from, to))
{
    return parser.parse_string(from, to);
}

bool reserve(pl_scanner *scanner, size_t length)
{
    if (length < scanner->capacity)
        return true;
    size_t wanted = least_capacity;
    while (wanted <= length)
        wanted =
            wanted < large_capacity ? wanted * 2 : length + length / 4; // 14 bytes are needed for each: no rounding up
    scanner->capacity = 0;
    if (scanner->parser->allocate(wanted, depth_limit) != simdjson::SUCCESS)
        return false;
    scanner->capacity = wanted;
    return true;
}

const uint8_t *bytes(const char *text)
{
    return reinterpret_cast<const uint8_t *>(text);
}
} // namespace

extern "C" pl_scanner *pl_scanner_new(void)
{
    auto *made = new (std::nothrow) pl_scanner;
    if (made == nullptr)
        return nullptr;
    auto error = simdjson::get_active_implementation()->create_dom_parser_implementation(least_capacity, depth_limit,
                                                                                         made->parser);
    if (error != simdjson::SUCCESS) {
        delete made;
        return nullptr;
    }
    made->capacity = least_capacity;
    return made;
}

extern "C" void pl_scanner_free(pl_scanner **scanner)
{
    if (scanner == nullptr)
        return;
    delete *scanner;
    *scanner = nullptr;
}

extern "C" size_t pl_scanner_bytes(const pl_scanner *scanner)
{
    // simdjson: 4 bytes of index a byte of text; for the tape 8, for decoded strings 5/3.
    return sizeof *scanner + scanner->capacity * sizeof(uint32_t) + scanner->document.capacity() * 10;
}

extern "C" void pl_scanner_shrink(pl_scanner *scanner, size_t keep_bytes)
{
    if (pl_scanner_bytes(scanner) <= keep_bytes)
        return;
    scanner->document = simdjson::dom::document();
    scanner->capacity = 0;
    (void)reserve(scanner, least_capacity - 1); // should it fail, the next scan tries again and tells
}

extern "C" pl_scan_status pl_scan(pl_scanner *scanner, pl_str padded, const uint32_t **index, uint32_t *count)
{
    if (padded.len == 0)
        return PL_SCAN_EMPTY;
    if (padded.len > PL_JSON_BYTES_MAX || !reserve(scanner, padded.len))
        return PL_SCAN_MEMORY;
    auto error = scanner->parser->stage1(bytes(padded.ptr), padded.len, simdjson::stage1_mode::regular);
    if (error != simdjson::SUCCESS)
        return status_of(error);
    *index = scanner->parser->structural_indexes.get();
    *count = scanner->parser->n_structural_indexes;
    return PL_SCAN_OK;
}

extern "C" pl_scan_status pl_scan_check(pl_scanner *scanner)
{
    if (scanner->document.capacity() < scanner->capacity &&
        scanner->document.allocate(scanner->capacity) != simdjson::SUCCESS)
        return PL_SCAN_MEMORY;
    return status_of(scanner->parser->stage2(scanner->document));
}

extern "C" size_t pl_scan_unescape(const pl_scanner *scanner, const char *text, char *out)
{
    auto *to = reinterpret_cast<uint8_t *>(out);
    const uint8_t *end = parse_string(*scanner->parser, bytes(text), to, 0);
    return end == nullptr ? SIZE_MAX : static_cast<size_t>(end - to);
}

extern "C" size_t pl_double_format(double value, char out[PL_DOUBLE_TEXT_MAX])
{
    if (!std::isfinite(value))
        return 0;
    auto result = std::to_chars(out, out + PL_DOUBLE_TEXT_MAX - 3, value); // the shortest is at most 24 characters
    if (result.ec != std::errc())
        return 0;
    char *end = result.ptr;
    bool whole = true;
    for (const char *at = out; at < end; at++)
        whole = whole && *at != '.' && *at != 'e';
    if (whole) {
        *end++ = '.';
        *end++ = '0';
    }
    *end = '\0';
    return static_cast<size_t>(end - out);
}

extern "C" bool pl_double_parse(pl_str text, double *out)
{
    pl_lexeme lexeme;
    if (!pl_lexeme_split(text, &lexeme))
        return false;
    double value = 0;
    auto result = std::from_chars(text.ptr, text.ptr + text.len, value);
    if (result.ec == std::errc::result_out_of_range && pl_lexeme_magnitude(&lexeme) < 0)
        value = lexeme.negative ? -0.0 : 0.0;
    else if (result.ec != std::errc())
        return false;
    *out = value;
    return true;
}
