/* A small HTTP server on loopback for tests; the path asked for chooses how it behaves:
 *   /echo            the request itself           /status/CODE    that status and a JSON error
 *   /retry/VALUE     429 and Retry-After: VALUE (blanks as +)     /leak   404 that repeats a header's key
 *   /empty /html     nothing; 503 in HTML         /cap            exactly 4 MiB, of unknown length
 *   /endless /headers  64 MiB in chunks; header lines without end
 *   /gzip-small /gzip-bomb /gzip-broken           2,581 bytes; 10 MiB; not gzip
 *   /truncated /reset /garbage                    cut, RST, not HTTP
 *   /slow /never     a byte every 20 ms; no answer at all
 */
#ifndef PL_TEST_SUPPORT_SERVER_H
#define PL_TEST_SUPPORT_SERVER_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* cmocka group setup and teardown. Stopping waits for the connections' ends: free the clients first. */
int server_start(void **state);
int server_stop(void **state);
uint16_t server_port(void);
/* Connections so far. */
int server_accepted(void);
/* A listening socket on a free port of loopback, which nobody serves. */
int server_listen(int backlog, uint16_t *port);
#endif
