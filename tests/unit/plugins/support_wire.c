#include "support_wire.h"
#include "support_host.h"

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool pass(int from, int to, bool *cut, const wire *wire)
{
    char bytes[65536];
    ssize_t len = recv(from, bytes, sizeof bytes, 0);
    if (len <= 0) {
        return false;
    }
    *cut = memmem(bytes, (size_t)len, wire->word, strlen(wire->word) + 1) != NULL;
    return (*cut && !wire->behind) || send(to, bytes, (size_t)len, MSG_NOSIGNAL) == len;
}

static void *carry(void *opaque)
{
    wire *wire = opaque;
    bool cut = false, answer = false;
    wire->client = accept(wire->listener, NULL, NULL);
    while (!cut) {
        struct pollfd fds[] = {{.fd = wire->client, .events = POLLIN}, {.fd = wire->server, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 || (fds[0].revents && !pass(wire->client, wire->server, &cut, wire)) ||
            (fds[1].revents && !pass(wire->server, wire->client, &answer, wire))) {
            break;
        }
    }
    if (cut && wire->behind) { /* the server has answered, and nobody hears it */
        char bytes[256];
        (void)recv(wire->server, bytes, sizeof bytes, 0);
    }
    (void)close(wire->listener);
    (void)close(wire->client);
    (void)close(wire->server);
    return NULL;
}

static int tcp(uint16_t port, bool listens, uint16_t *bound)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(port)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    if (listens) {
        assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
        assert_int_equal(listen(fd, 4), 0);
        *bound = ntohs(address.sin_port);
    } else {
        assert_int_equal(connect(fd, (struct sockaddr *)&address, len), 0);
    }
    return fd;
}

void wire_open(wire *wire, uint16_t server_port, const char *word, bool behind)
{
    *wire = (struct wire){.word = word, .behind = behind};
    wire->listener = tcp(0, true, &wire->port);
    wire->server = tcp(server_port, false, NULL);
    assert_int_equal(pthread_create(&wire->thread, NULL, carry, wire), 0);
}

void wire_join(wire *wire)
{
    (void)pthread_join(wire->thread, NULL);
}
