#include <base/str.h>
#include <cli/cli.h>
#include <locale.h>
#include <plumbline/version.h>
#include <signal.h>
#include <stdlib.h>

typedef struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} command;

static const command commands[] = {
    {"run", "run pipelines until their sources end, a time is over, or a signal comes", pl_cmd_run},
    {"check", "check pipelines and their scripts without connecting to anything", pl_cmd_check},
    {"plugins", "list the plugins, or describe one with all its options", pl_cmd_plugins},
    {"test", "run the tests of scripts (*_test.lua)", pl_cmd_test},
    {"topics", "look at the topics of pipelines, and make or grow them", pl_cmd_topics},
    {"buffer", "list or verify the disk buffers of sources", pl_cmd_buffer},
    {"replay-dead-letter", "put dead letters back at the component that gave them up", pl_cmd_replay},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void help(FILE *out)
{
    (void)fprintf(out, "usage: plumbline COMMAND [ARGUMENTS]\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        (void)fprintf(out, "  %-18s %s\n", commands[i].name, commands[i].summary);
    (void)fprintf(out, "\n`plumbline COMMAND --help` tells more. `plumbline --version` prints the version.\n"
                       "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 records left unacknowledged.\n");
}

static int unknown(const char *word)
{
    const char *names[COMMANDS + 1] = {NULL};
    for (size_t i = 0; i < COMMANDS; i++)
        names[i] = commands[i].name;
    const char *near = pl_nearest(word, names);
    (void)fprintf(stderr, "plumbline: no command '%s'", word);
    if (near)
        (void)fprintf(stderr, "; did you mean '%s'?", near);
    (void)fprintf(stderr, "\n`plumbline --help` lists the commands\n");
    return PL_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    (void)setlocale(LC_NUMERIC, "C");
    (void)signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        help(stderr);
        return PL_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        help(stdout);
        return PL_EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("plumbline %s (plugin ABI %u.%u)\n", PL_VERSION, PL_ABI_MAJOR, PL_ABI_MINOR);
        return PL_EXIT_DONE;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return unknown(argv[1]);
}
