#include "support_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <plugin/http.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 64, REQUEST_MAX = 16384 };

typedef struct connection {
    int fd;
    pthread_t thread;
} connection;
static struct {
    int listener;
    uint16_t port;
    pthread_t thread;
    connection connections[MAX_CONNECTIONS];
    atomic_int accepted;
} server;

uint16_t server_port(void)
{
    return server.port;
}

int server_accepted(void)
{
    return atomic_load(&server.accepted);
}

static bool put(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;
    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

static bool puts_to(int fd, const char *text)
{
    return put(fd, text, strlen(text));
}

static void answer(int fd, const char *status_and_headers, const char *body)
{
    char head[1024];
    int len =
        snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n", status_and_headers, strlen(body));
    if (put(fd, head, (size_t)len))
        (void)puts_to(fd, body);
}

/* Reads one request with its body into text; false at the connection's end. */
static bool read_request(int fd, char text[REQUEST_MAX])
{
    size_t len = 0, whole = 0;
    for (;;) {
        ssize_t got = recv(fd, text + len, REQUEST_MAX - 1 - len, 0);
        if (got <= 0)
            return false;
        len += (size_t)got;
        text[len] = '\0';
        const char *end = strstr(text, "\r\n\r\n");
        const char *length = strstr(text, "Content-Length: ");
        if (end)
            whole = (size_t)(end + 4 - text) + (length && length < end ? strtoul(length + 16, NULL, 10) : 0);
        if (whole && len >= whole)
            return true;
        if (len >= REQUEST_MAX - 1)
            return false;
    }
}

static void wait_for_close(int fd)
{
    char byte;
    while (recv(fd, &byte, 1, 0) > 0)
        ;
}

static void answer_endless(int fd)
{
    char spaces[0x4000];
    memset(spaces, ' ', sizeof spaces);
    (void)puts_to(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 4096; i++) /* 64 MiB */
        if (!puts_to(fd, "4000\r\n") || !put(fd, spaces, sizeof spaces) || !puts_to(fd, "\r\n"))
            return;
}

static void answer_endless_headers(int fd)
{
    (void)puts_to(fd, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 1000000; i++)
        if (!puts_to(fd, "X-More: 0123456789012345678901234567890123456789\r\n"))
            return;
}

/* A gzip file of `count` spaces made by hand: fixed Huffman codes, one literal, then copies of 258 bytes. */
typedef struct bit_writer {
    unsigned char *bytes;
    size_t bit;
} bit_writer;
static void put_bits(bit_writer *to, unsigned code, int count, bool first_bit_last)
{
    for (int i = 0; i < count; i++, to->bit++) {
        unsigned one = code >> (first_bit_last ? i : count - 1 - i) & 1u;
        to->bytes[to->bit / 8] |= (unsigned char)(one << (to->bit % 8));
    }
}
static uint32_t crc_of_spaces(size_t count)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < count; i++) {
        crc ^= ' ';
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}
static size_t gzip_spaces(unsigned char *out, size_t copies)
{
    static const unsigned char header[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255};
    memcpy(out, header, sizeof header);
    bit_writer to = {out + sizeof header, 0};
    put_bits(&to, 1, 1, true);           /* the last block ... */
    put_bits(&to, 1, 2, true);           /* ... with fixed codes */
    put_bits(&to, 0x30 + ' ', 8, false); /* literal */
    for (size_t i = 0; i < copies; i++) {
        put_bits(&to, 0xc5, 8, false); /* length 258 */
        put_bits(&to, 0, 5, false);    /* distance 1 */
    }
    put_bits(&to, 0, 7, false); /* end of block */
    size_t len = sizeof header + (to.bit + 7) / 8, count = 1 + 258 * copies;
    uint32_t crc = crc_of_spaces(count);
    for (int i = 0; i < 4; i++)
        out[len++] = (unsigned char)(crc >> (8 * i));
    for (int i = 0; i < 4; i++)
        out[len++] = (unsigned char)(count >> (8 * i));
    return len;
}
static void answer_gzip(int fd, size_t copies, bool broken)
{
    size_t room = 64 + copies * 13 / 8;
    unsigned char *bytes = calloc(1, room);
    assert_non_null(bytes);
    size_t len = gzip_spaces(bytes, copies);
    if (broken)
        bytes[0] = 'x';
    char head[128];
    int head_len =
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n", len);
    if (put(fd, head, (size_t)head_len))
        (void)put(fd, bytes, len);
    free(bytes);
}

/* /status/CODE answers with that status; /retry/VALUE with 429 and Retry-After: VALUE (blanks as +). */
static void answer_status(int fd, const char *path)
{
    char head[256];
    if (strncmp(path, "/retry/", 7) == 0) {
        (void)snprintf(head, sizeof head, "429 Slow\r\nRetry-After: %.*s", (int)strcspn(path + 7, " "), path + 7);
        for (char *c = head; *c; c++)
            *c = *c == '+' ? ' ' : *c;
        answer(fd, head, "Throttled");
        return;
    }
    (void)snprintf(head, sizeof head, "%.3s Status\r\nLocation: https://elsewhere.example/secret-path?key=1", path + 8);
    answer(fd, head, "{\"error\":\"id not found\"}");
}

static bool is_path(const char *request, const char *path)
{
    const char *at = strchr(request, ' ');
    return at && strncmp(at + 1, path, strlen(path)) == 0;
}

/* False: the connection ends. */
static bool serve(int fd, const char *request)
{
    if (is_path(request, "/echo"))
        return answer(fd, "200 OK", request), true;
    if (is_path(request, "/status/") || is_path(request, "/retry/"))
        return answer_status(fd, strchr(request, ' ') + 1), true;
    if (is_path(request, "/leak"))
        return answer(fd, "404 Not Found", "no key s3cret-key-in-header here"), true;
    if (is_path(request, "/empty"))
        return answer(fd, "200 OK", ""), true;
    if (is_path(request, "/html"))
        return answer(fd, "503 Down", "<html><h1>down</h1></html>"), true;
    if (is_path(request, "/cap")) { /* exactly 4 MiB, of unknown length */
        (void)puts_to(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        for (int i = 0; i < PL_HTTP_ANSWER_MAX / 64; i++)
            (void)puts_to(fd, "0123456789012345678901234567890123456789012345678901234567890123");
        return false;
    }
    if (is_path(request, "/endless"))
        return answer_endless(fd), false;
    if (is_path(request, "/headers"))
        return answer_endless_headers(fd), false;
    if (is_path(request, "/gzip-small"))
        return answer_gzip(fd, 10, false), true;
    if (is_path(request, "/gzip-bomb"))
        return answer_gzip(fd, 40000, false), true;
    if (is_path(request, "/gzip-broken"))
        return answer_gzip(fd, 10, true), true;
    if (is_path(request, "/truncated"))
        return (void)puts_to(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":"), false;
    if (is_path(request, "/slow")) {
        (void)puts_to(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        while (puts_to(fd, " ") && poll(NULL, 0, 20) == 0)
            ;
        return false;
    }
    if (is_path(request, "/garbage"))
        return (void)puts_to(fd, "SSH-2.0-OpenSSH_9.2\r\n"), false;
    if (is_path(request, "/reset")) {
        struct linger now = {1, 0};
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        return false;
    }
    wait_for_close(fd); /* "/never" */
    return false;
}

static void *serve_connection(void *context)
{
    const connection *self = context;
    char request[REQUEST_MAX];
    while (read_request(self->fd, request) && serve(self->fd, request))
        ;
    (void)close(self->fd);
    return NULL;
}

static void *accept_all(void *context)
{
    (void)context;
    for (int i = 0; i < MAX_CONNECTIONS; i++) {
        int fd = accept(server.listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        server.connections[i].fd = fd;
        atomic_fetch_add(&server.accepted, 1); /* before it is served: who has an answer may ask for the count */
        if (pthread_create(&server.connections[i].thread, NULL, serve_connection, &server.connections[i]) != 0)
            abort();
    }
    return NULL;
}

int server_listen(int backlog, uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

int server_start(void **state)
{
    (void)state;
    (void)unsetenv("http_proxy"); /* loopback must not go through anybody's proxy */
    (void)unsetenv("all_proxy");
    (void)unsetenv("ALL_PROXY");
    server.listener = server_listen(16, &server.port);
    return pthread_create(&server.thread, NULL, accept_all, NULL);
}

int server_stop(void **state)
{
    (void)state;
    (void)shutdown(server.listener, SHUT_RDWR);
    (void)pthread_join(server.thread, NULL);
    (void)close(server.listener);
    for (int i = 0; i < atomic_load(&server.accepted); i++)
        (void)pthread_join(server.connections[i].thread, NULL);
    return 0;
}
