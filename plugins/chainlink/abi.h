/* Ethereum's contract ABI as far as price feeds need it: 32-byte words, one string, and exact decimal text of 256-bit
 * integers. https://docs.soliditylang.org/en/latest/abi-spec.html. Pure functions. [any] */
#ifndef CHAINLINK_ABI_H
#define CHAINLINK_ABI_H
#include <plumbline/plugin.h>

enum {
    ABI_WORD = 32,         /* bytes, big endian */
    ABI_INTEGER_TEXT = 80, /* int256: a sign, 78 digits, NUL */
    ABI_SCALED_TEXT = 128  /* the same with a point, and up to ABI_DECIMALS_MAX zeros before it */
};
enum { ABI_DECIMALS_MAX = 38 };

/* Decodes "0x" and pairs of hex digits into bytes; *len is how many. false: not that, or more than `room` bytes. */
bool abi_from_hex(pl_str hex, uint8_t *bytes, size_t room, size_t *len);
/* A JSON-RPC quantity: "0x" and 1 to 16 hex digits. */
bool abi_quantity(pl_str hex, uint64_t *value);
/* Unsigned word as a number; false: it does not fit. */
bool abi_u64(const uint8_t word[ABI_WORD], uint64_t *value);
/* Word as two's complement int256 in decimal, NUL-ended. */
void abi_int_text(const uint8_t word[ABI_WORD], char out[ABI_INTEGER_TEXT]);
/* The number times 10^-decimals, with exactly `decimals` digits behind the point. decimals: 0 to ABI_DECIMALS_MAX. */
void abi_scale(const char *integer, unsigned decimals, char out[ABI_SCALED_TEXT]);
/* The one `string` that a call returned, NUL-ended, all but printable ASCII as '?'; false: not such an encoding, or it
 * does not fit. */
bool abi_string(const uint8_t *bytes, size_t len, char *out, size_t room);
#endif
