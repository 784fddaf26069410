/* Runs a command and writes what it took as JSON: wall, CPU, peak memory. From C, because a child starts with the peak
 * memory of the process that forked it, and an interpreter's is larger than what we measure.
 * Usage: measure REPORT COMMAND [ARGUMENTS...]. SIGTERM and SIGINT go on to the command. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t child;

static void pass_on(int number)
{
    if (child > 0) {
        (void)kill((pid_t)child, number);
    }
}

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

static int report(const char *path, double wall_s, const struct rusage *used, int status)
{
    FILE *file = fopen(path, "we");
    if (!file) {
        perror(path);
        return 1;
    }
    (void)fprintf(file,
                  "{\"wall_s\":%.6f,\"user_s\":%.6f,\"system_s\":%.6f,\"peak_rss_kb\":%ld,\"switches\":%ld,"
                  "\"signal\":%d,\"exit\":%d}\n",
                  wall_s, seconds(used->ru_utime), seconds(used->ru_stime), used->ru_maxrss,
                  used->ru_nvcsw + used->ru_nivcsw, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                  WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return fclose(file) ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        (void)fprintf(stderr, "usage: measure REPORT COMMAND [ARGUMENTS...]\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = pass_on};
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* whatever ends the harness ends us, and we the command */
    double begun_s = now_s();
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)signal(SIGTERM, SIG_DFL);
        (void)signal(SIGINT, SIG_DFL);
        (void)execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    if (pid < 0) {
        perror("fork");
        return 1;
    }
    child = pid;
    struct rusage used;
    int status;
    while (wait4(pid, &status, 0, &used) < 0) {
        if (errno != EINTR) {
            perror("wait4");
            return 1;
        }
    }
    return report(argv[1], now_s() - begun_s, &used, status);
}
