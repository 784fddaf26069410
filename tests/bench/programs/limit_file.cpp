// The hand-written limit of file_lua_file: what deviation.lua does, in C++ on simdjson, without a script, a runtime, a
// check of the whole record, or anything that could be configured. Usage: limit_file INPUT OUTPUT
#include <fcntl.h>
#include <simdjson.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string_view>
#include <vector>

namespace
{
__extension__ typedef __int128 wide;
constexpr size_t BLOCK = 1 << 18;
constexpr int PRICE_PLACES = 8, RESULT_PLACES = 4;
constexpr int64_t SCALE = 100000000; // 10^PRICE_PLACES
constexpr int64_t LOWEST = 1040 * SCALE;

struct record {
    std::string_view pair, price;
    const char *cut_from, *cut_to; // the field debug, with the comma before it
};

// Exact: a decimal text of at most PRICE_PLACES places, as an integer of so many.
bool parse_price(std::string_view text, int64_t &out)
{
    int64_t value = 0;
    int places = -1;
    for (char c : text) {
        if (c == '.' && places < 0) {
            places = 0;
        } else if (c >= '0' && c <= '9' && value < INT64_MAX / 10 - 9 && places < PRICE_PLACES) {
            value = value * 10 + (c - '0');
            places += places >= 0;
        } else {
            return false;
        }
    }
    for (int i = places < 0 ? 0 : places; i < PRICE_PLACES; i++) {
        value *= 10;
    }
    out = value;
    return true;
}

int64_t reference_of(std::string_view pair)
{
    return pair == "ETH-USD" ? 3000 : pair == "BTC-USD" ? 2900 : pair == "LINK-USD" ? 3100 : 3050;
}

// (price - reference) * 100 / reference, to RESULT_PLACES places, rounded half to even; the length of its text.
int format_deviation(int64_t price, int64_t reference, char out[32])
{
    wide numerator = static_cast<wide>(price - reference * SCALE) * 100 * 10000;
    const wide denominator = static_cast<wide>(reference) * SCALE;
    const bool negative = numerator < 0;
    numerator = negative ? -numerator : numerator;
    auto quotient = static_cast<uint64_t>(numerator / denominator);
    const wide twice = (numerator - static_cast<wide>(quotient) * denominator) * 2;
    quotient += twice > denominator || (twice == denominator && (quotient & 1));
    char digits[24];
    int count = 0;
    while (quotient || count < RESULT_PLACES + 2) {
        digits[count++] = static_cast<char>('0' + quotient % 10);
        quotient /= 10;
        if (count == RESULT_PLACES) {
            digits[count++] = '.';
        }
    }
    bool zero = true;
    for (int i = 0; i < count; i++) {
        zero = zero && (digits[i] == '0' || digits[i] == '.');
    }
    int len = 0;
    if (negative && !zero) {
        out[len++] = '-';
    }
    while (count) {
        out[len++] = digits[--count];
    }
    return len;
}

bool read_record(simdjson::ondemand::parser &parser, const char *line, size_t len, record &out)
{
    simdjson::ondemand::document doc;
    if (parser.iterate(line, len, len + simdjson::SIMDJSON_PADDING).get(doc)) {
        return false;
    }
    out = record{};
    simdjson::ondemand::object object;
    if (doc.get_object().get(object)) {
        return false;
    }
    for (auto field : object) {
        simdjson::ondemand::raw_json_string key;
        simdjson::ondemand::value value;
        if (field.key().get(key) || field.value().get(value)) {
            return false;
        }
        if (key == "pair") {
            if (value.get_string().get(out.pair)) {
                return false;
            }
        } else if (key == "price") {
            if (value.get_string().get(out.price)) {
                return false;
            }
        } else if (key == "debug") {
            const std::string_view token = value.raw_json_token();
            out.cut_from = key.raw() - 2;
            out.cut_to = token.data() + token.size();
        }
    }
    return !out.pair.empty() && out.cut_from && *out.cut_from == ',';
}

class output
{
  public:
    explicit output(int fd) : fd_(fd), buffer_(BLOCK)
    {
    }
    bool add(const char *text, size_t len)
    {
        if (len > buffer_.size() - used_ && !flush()) {
            return false;
        }
        memcpy(&buffer_[used_], text, len);
        used_ += len;
        return true;
    }
    bool flush()
    {
        for (size_t done = 0; done < used_;) {
            const ssize_t n = write(fd_, &buffer_[done], used_ - done);
            if (n < 0) {
                return false;
            }
            done += static_cast<size_t>(n);
        }
        used_ = 0;
        return true;
    }

  private:
    int fd_;
    std::vector<char> buffer_;
    size_t used_ = 0;
};

bool handle(simdjson::ondemand::parser &parser, const char *line, size_t len, output &out)
{
    record r;
    int64_t price;
    if (!read_record(parser, line, len, r) || !parse_price(r.price, price)) {
        return false;
    }
    if (price < LOWEST) {
        return true;
    }
    char text[64] = ",\"deviation_pct\":\"";
    const size_t head = strlen(text);
    const auto digits = static_cast<size_t>(format_deviation(price, reference_of(r.pair), text + head));
    memcpy(text + head + digits, "\"}\n", 3);
    const char *end = line + len - 1; // the record's brace
    return out.add(line, static_cast<size_t>(r.cut_from - line)) &&
           out.add(r.cut_to, static_cast<size_t>(end - r.cut_to)) && out.add(text, head + digits + 3);
}

bool copy(int in, output &out)
{
    simdjson::ondemand::parser parser;
    std::vector<char> block(BLOCK * 2 + simdjson::SIMDJSON_PADDING);
    size_t held = 0;
    for (;;) {
        const ssize_t n = read(in, &block[held], BLOCK);
        if (n <= 0) {
            return n == 0 && held == 0 && out.flush();
        }
        held += static_cast<size_t>(n);
        const char *at = block.data(), *end = at + held, *newline;
        while ((newline = static_cast<const char *>(memchr(at, '\n', static_cast<size_t>(end - at))))) {
            if (!handle(parser, at, static_cast<size_t>(newline - at), out)) {
                (void)fprintf(stderr, "limit_file: not a reference record: %.*s\n", static_cast<int>(newline - at), at);
                return false;
            }
            at = newline + 1;
        }
        held = static_cast<size_t>(end - at);
        if (held > BLOCK) {
            return false;
        }
        memmove(block.data(), at, held);
    }
}
} // namespace

int main(int argc, char **argv)
{
    if (argc != 3) {
        (void)fprintf(stderr, "usage: limit_file INPUT OUTPUT\n");
        return 2;
    }
    const int in = open(argv[1], O_RDONLY | O_CLOEXEC);
    const int fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (in < 0 || fd < 0) {
        perror(in < 0 ? argv[1] : argv[2]);
        return 1;
    }
    output out(fd);
    if (!copy(in, out) || fdatasync(fd)) {
        (void)fprintf(stderr, "limit_file: failed\n");
        return 1;
    }
    return 0;
}
