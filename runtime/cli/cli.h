/* The command line: one file a subcommand. Exit codes: 0 done; 1 failed or halted; 2 usage or configuration;
 * 3 records left unacknowledged at the deadline. */
#ifndef PL_CLI_CLI_H
#define PL_CLI_CLI_H
#include <config/pipeline.h>
#include <getopt.h>
#include <graph/graph.h>
#include <plugin/loader.h>

enum { PL_EXIT_DONE = 0, PL_EXIT_FAILED = 1, PL_EXIT_USAGE = 2, PL_EXIT_UNSETTLED = 3 };
enum { PL_CLI_OVERRIDES_MAX = 64, PL_CLI_FILES_MAX = 64 };

int pl_cmd_run(int argc, char **argv);
int pl_cmd_check(int argc, char **argv);
int pl_cmd_plugins(int argc, char **argv);
int pl_cmd_test(int argc, char **argv);
int pl_cmd_buffer(int argc, char **argv);
int pl_cmd_replay(int argc, char **argv);
int pl_cmd_topics(int argc, char **argv);

/* --plugin-dir given so far, then PLUMBLINE_PLUGIN_PATH, then the directories beside the binary. Static storage. */
void pl_cli_add_plugin_dir(const char *path);
const pl_plugin_dirs *pl_cli_plugin_dirs(void);
/* --data-dir, else the file's, else $STATE_DIRECTORY, $XDG_STATE_HOME/plumbline, ~/.local/state/plumbline. */
const char *pl_cli_data_dir(const char *given, const pl_pipeline *pipeline, char *buffer, size_t size);
/* Prints what was gathered to stderr, with a closing count if there were errors. Returns the number of errors. */
size_t pl_cli_report(pl_diags *diags);
/* One line on stderr: `plumbline SUBCOMMAND: ...; see plumbline SUBCOMMAND --help`. Returns PL_EXIT_USAGE. */
int pl_cli_usage(const char *subcommand, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The pipelines of a command line, loaded. */
typedef struct pl_cli_files {
    pl_pipeline *pipelines[PL_CLI_FILES_MAX]; /* NULL: that one could not be read */
    pl_graph *graphs[PL_CLI_FILES_MAX];       /* after pl_cli_plan; NULL where the pipeline is */
    size_t count;
    pl_override overrides[PL_CLI_OVERRIDES_MAX];
    size_t override_count;
} pl_cli_files;

/* A command's options: its own, and those that commands share, so far as it lists them. */
typedef struct pl_cli_command {
    const char *name, *help;
    const struct option *options;        /* PL_CLI_SET, PL_CLI_PLUGIN_DIR, PL_CLI_HELP and its own; ends with {0} */
    int (*take)(void *self, int option); /* one of its own, its value in optarg. -1: go on, else the exit code */
    void *self;
} pl_cli_command;
#define PL_CLI_SET                                                                                                     \
    {                                                                                                                  \
        "set", required_argument, NULL, 's'                                                                            \
    }
#define PL_CLI_PLUGIN_DIR                                                                                              \
    {                                                                                                                  \
        "plugin-dir", required_argument, NULL, 'P'                                                                     \
    }
#define PL_CLI_HELP                                                                                                    \
    {                                                                                                                  \
        "help", no_argument, NULL, 'h'                                                                                 \
    }
/* Takes all options; --set goes to files, which may be NULL where there is none. -1: go on at argv[optind], else the
 * exit code. */
int pl_cli_options(const pl_cli_command *command, int argc, char **argv, pl_cli_files *files);
/* What is left of argv are pipeline files. -1: one at least, and not too many; else the exit code. */
int pl_cli_want_files(const pl_cli_command *command, int argc);

/* Loads each path; all mistakes go to diags. */
void pl_cli_load(pl_cli_files *files, char *const *paths, size_t count, pl_diags *diags);
/* Plans what was loaded: plugins, options, scripts are checked, nothing is made. All mistakes go to diags. */
void pl_cli_plan(pl_cli_files *files, pl_loader *loader, pl_diags *diags);
/* Frees the graphs, too: before the loader. */
void pl_cli_unload(pl_cli_files *files);
#endif
