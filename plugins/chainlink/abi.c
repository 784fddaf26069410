#include "abi.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool has_prefix(pl_str hex)
{
    return hex.len >= 2 && hex.ptr[0] == '0' && hex.ptr[1] == 'x';
}

bool abi_from_hex(pl_str hex, uint8_t *bytes, size_t room, size_t *len)
{
    if (!has_prefix(hex) || hex.len % 2 != 0 || hex.len / 2 - 1 > room)
        return false;
    for (size_t i = 2; i < hex.len; i += 2) {
        int high = hex_digit(hex.ptr[i]), low = hex_digit(hex.ptr[i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i / 2 - 1] = (uint8_t)(high << 4 | low);
    }
    *len = hex.len / 2 - 1;
    return true;
}

bool abi_quantity(pl_str hex, uint64_t *value)
{
    uint64_t sum = 0;
    if (!has_prefix(hex) || hex.len < 3 || hex.len > 2 + 16)
        return false;
    for (size_t i = 2; i < hex.len; i++) {
        int digit = hex_digit(hex.ptr[i]);
        if (digit < 0)
            return false;
        sum = sum << 4 | (uint64_t)digit;
    }
    *value = sum;
    return true;
}

bool abi_u64(const uint8_t word[ABI_WORD], uint64_t *value)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < ABI_WORD; i++) {
        if (i < ABI_WORD - 8 && word[i] != 0)
            return false;
        sum = sum << 8 | word[i];
    }
    *value = sum;
    return true;
}

void abi_int_text(const uint8_t word[ABI_WORD], char out[ABI_INTEGER_TEXT])
{
    bool negative = word[0] & 0x80u;
    uint32_t limbs[ABI_WORD / 4]; /* magnitude, most significant first */
    uint32_t carry = negative ? 1 : 0;
    for (size_t i = ABI_WORD / 4; i-- > 0;) {
        const uint8_t *b = word + 4 * i;
        uint32_t limb = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
        limbs[i] = negative ? ~limb + carry : limb;
        carry = carry && limbs[i] == 0;
    }
    char reversed[ABI_INTEGER_TEXT];
    size_t len = 0;
    uint32_t rest;
    do { /* one long division by ten a digit */
        uint64_t remainder = 0;
        rest = 0;
        for (size_t i = 0; i < ABI_WORD / 4; i++) {
            uint64_t part = remainder << 32 | limbs[i];
            limbs[i] = (uint32_t)(part / 10);
            remainder = part % 10;
            rest |= limbs[i];
        }
        reversed[len++] = (char)('0' + remainder);
    } while (rest != 0);
    if (negative)
        *out++ = '-';
    while (len > 0)
        *out++ = reversed[--len];
    *out = '\0';
}

void abi_scale(const char *integer, unsigned decimals, char out[ABI_SCALED_TEXT])
{
    size_t at = 0, len;
    if (*integer == '-') {
        out[at++] = '-';
        integer++;
    }
    len = strlen(integer);
    if (decimals == 0) {
        memcpy(out + at, integer, len + 1);
        return;
    }
    size_t whole = len > decimals ? len - decimals : 0;
    if (whole == 0)
        out[at++] = '0';
    memcpy(out + at, integer, whole);
    at += whole;
    out[at++] = '.';
    for (size_t zeros = decimals - (len - whole); zeros > 0; zeros--)
        out[at++] = '0';
    memcpy(out + at, integer + whole, len - whole + 1);
}

/* Offset and length, before the text itself. */
enum { ABI_STRING_HEAD = 2 * ABI_WORD };

bool abi_string(const uint8_t *bytes, size_t len, char *out, size_t room)
{
    uint64_t offset, size;
    if (len < ABI_STRING_HEAD || !abi_u64(bytes, &offset) || offset != ABI_WORD || !abi_u64(bytes + ABI_WORD, &size))
        return false;
    if (size > len - ABI_STRING_HEAD || size >= room)
        return false;
    for (size_t i = 0; i < size; i++) { /* it goes into messages: one line of plain text */
        uint8_t byte = bytes[ABI_STRING_HEAD + i];
        out[i] = byte >= 0x20 && byte < 0x7f ? (char)byte : '?';
    }
    out[size] = '\0';
    return true;
}
