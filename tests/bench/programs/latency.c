/* Starts a command, gives it records at a steady rate, and tells how late they come out: from when a record was due
 * (not from when it could be written, so that a stall counts for all that it held up) to when its line was read. Usage:
 * latency REPORT RATE COUNT FIFO COMMAND [ARGUMENTS...]. Records go into FIFO, or the command's standard input where
 * FIFO is "-"; they come from its standard output. The first record is alone: it tells the start. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COUNT_MAX = 10000000, BLOCK = 1 << 16, START_TIMEOUT_S = 30, END_TIMEOUT_S = 30 };
static const int64_t SECOND_NS = 1000000000;
static const char SENT[] = "\"sent\":\"";

typedef struct run {
    int in, out; /* the command's: we write to in and read from out */
    pid_t pid;
    uint64_t count;        /* records, without the first */
    int64_t *late_ns;      /* of each that came out */
    atomic_ullong arrived; /* the first included */
    int64_t begun_ns, first_ns;
} run;

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

static void sleep_until(int64_t at_ns)
{
    struct timespec t = {.tv_sec = at_ns / SECOND_NS, .tv_nsec = at_ns % SECOND_NS};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

static void take(run *r, const char *line, size_t len, int64_t read_ns)
{
    const char *at = memmem(line, len, SENT, sizeof SENT - 1);
    if (!at) {
        return;
    }
    int64_t due_ns = strtoll(at + sizeof SENT - 1, NULL, 10);
    unsigned long long arrived = atomic_load(&r->arrived);
    if (arrived == 0) {
        r->first_ns = read_ns;
    } else if (arrived <= r->count) {
        r->late_ns[arrived - 1] = read_ns - due_ns;
    }
    atomic_store(&r->arrived, arrived + 1);
}

static void *reader(void *opaque)
{
    run *r = opaque;
    static char block[BLOCK];
    size_t held = 0;
    ssize_t n;
    while ((n = read(r->out, block + held, sizeof block - held)) > 0) {
        int64_t read_ns = now_ns();
        held += (size_t)n;
        char *at = block, *newline;
        while ((newline = memchr(at, '\n', held - (size_t)(at - block)))) {
            take(r, at, (size_t)(newline - at), read_ns);
            at = newline + 1;
        }
        held -= (size_t)(at - block);
        memmove(block, at, held);
        if (held == sizeof block) {
            break; /* no line is that long */
        }
    }
    return NULL;
}

static int send_record(const run *r, uint64_t n, int64_t due_ns)
{
    char text[512];
    int len = snprintf(text, sizeof text,
                       "{\"seq\":%llu,\"pair\":\"ETH-USD\",\"feed\":\"0x5f4ec3df9cbd43714fe2740f5e3616155c5b8419\","
                       "\"round_id\":92150341359198590,\"price\":\"3886.36920869\",\"volume_24h\":1875914.36,"
                       "\"updated_at\":\"2026-01-01T00:00:00Z\",\"sent\":\"%lld\",\"debug\":\"abcdefghijklmnop\"}\n",
                       (unsigned long long)n, (long long)due_ns);
    return write(r->in, text, (size_t)len) == len ? 0 : -1;
}

static int await(const run *r, uint64_t wanted, int timeout_s)
{
    int64_t deadline_ns = now_ns() + timeout_s * SECOND_NS;
    while (atomic_load(&r->arrived) < wanted) {
        if (now_ns() > deadline_ns) {
            (void)fprintf(stderr, "latency: %llu of %llu records came out\n",
                          (unsigned long long)atomic_load(&r->arrived), (unsigned long long)wanted);
            return -1;
        }
        sleep_until(now_ns() + 100000);
    }
    return 0;
}

static int start(run *r, const char *fifo, char **argv)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) {
        return -1;
    }
    r->begun_ns = now_ns();
    r->pid = fork();
    if (r->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(in[0], 0);
        (void)dup2(out[1], 1);
        (void)execvp(argv[0], argv);
        perror(argv[0]);
        _exit(127);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    r->out = out[0];
    r->in = strcmp(fifo, "-") == 0 ? in[1] : open(fifo, O_WRONLY | O_CLOEXEC);
    return r->pid < 0 || r->in < 0 ? -1 : 0;
}

static int feed(run *r, double rate)
{
    if (send_record(r, 0, now_ns()) || await(r, 1, START_TIMEOUT_S)) {
        return -1;
    }
    int64_t begun_ns = now_ns() + SECOND_NS / 10;
    for (uint64_t n = 1; n <= r->count; n++) {
        int64_t due_ns = begun_ns + (int64_t)((double)n / rate * 1e9);
        sleep_until(due_ns);
        if (send_record(r, n, due_ns)) {
            return -1;
        }
    }
    return await(r, r->count + 1, END_TIMEOUT_S);
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

static int report(const run *r, const char *path)
{
    struct rusage used;
    int status;
    (void)close(r->in);
    (void)kill(r->pid, SIGTERM);
    if (wait4(r->pid, &status, 0, &used) < 0) {
        return -1;
    }
    double wall_s = (double)(now_ns() - r->begun_ns) * 1e-9;
    qsort(r->late_ns, r->count, sizeof *r->late_ns, ascending);
    FILE *file = fopen(path, "we");
    if (!file) {
        perror(path);
        return -1;
    }
    (void)fprintf(
        file,
        "{\"wall_s\":%.6f,\"user_s\":%.6f,\"system_s\":%.6f,\"peak_rss_kb\":%ld,\"p50_us\":%.1f,\"p99_us\":%.1f,"
        "\"max_us\":%.1f,\"start_ms\":%.2f}\n",
        wall_s, seconds(used.ru_utime), seconds(used.ru_stime), used.ru_maxrss, (double)r->late_ns[r->count / 2] * 1e-3,
        (double)r->late_ns[r->count * 99 / 100] * 1e-3, (double)r->late_ns[r->count - 1] * 1e-3,
        (double)(r->first_ns - r->begun_ns) * 1e-6);
    return fclose(file);
}

int main(int argc, char **argv)
{
    static run r;
    double rate = argc > 5 ? strtod(argv[2], NULL) : 0;
    r.count = argc > 5 ? strtoull(argv[3], NULL, 10) : 0;
    if (rate <= 0 || r.count == 0 || r.count > COUNT_MAX) {
        (void)fprintf(stderr, "usage: latency REPORT RATE COUNT FIFO|- COMMAND [ARGUMENTS...]\n");
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    pthread_t thread;
    r.late_ns = calloc(r.count, sizeof *r.late_ns);
    if (!r.late_ns || start(&r, argv[4], argv + 5) || pthread_create(&thread, NULL, reader, &r)) {
        perror("latency");
        return 1;
    }
    if (feed(&r, rate)) {
        (void)kill(r.pid, SIGKILL);
        return 1;
    }
    return report(&r, argv[1]) ? 1 : 0;
}
