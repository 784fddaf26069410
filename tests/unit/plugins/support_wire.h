/* A wire to a server on loopback, for one connection, that is cut when a word has passed: what was said or what was
 * answered is lost. The next connection finds nobody. */
#ifndef PL_TEST_SUPPORT_WIRE_H
#define PL_TEST_SUPPORT_WIRE_H
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct wire {
    int listener, client, server;
    const char *word;
    bool behind;   /* the server hears the word, and only its answer is lost */
    uint16_t port; /* of the wire */
    pthread_t thread;
} wire;

/* Connects to the server and listens at wire->port. The word is looked for in each piece that the client sends, and
 * must end a query there: with the zero byte behind it. */
void wire_open(wire *wire, uint16_t server_port, const char *word, bool behind);
void wire_join(wire *wire); /* once it is cut, or the client is gone */
#endif
