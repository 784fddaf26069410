/* plumbline test [--filter TEXT] [--verbose] PATH... */

#include <cli/cli.h>
#include <script/tester.h>

static const char usage[] =
    "usage: plumbline test [--filter TEXT] [--verbose] PATH...\n"
    "\n"
    "Runs the tests of scripts: files called *_test.lua, or folders that are searched for them.\n"
    "scripts/accuracy_test.lua tests scripts/accuracy.lua.\n"
    "\n"
    "  --filter TEXT  only tests whose name or file contains TEXT\n"
    "  --verbose      name the tests that passed, too\n"
    "  --help         this text\n"
    "\n"
    "Exit status: 0 all passed, 1 some failed, 2 bad usage or no tests.\n";

static int run_paths(pl_tester *tester, char **paths, int count)
{
    int bad = 0;
    for (int i = 0; i < count; i++) {
        pl_error error = {.struct_size = sizeof error};
        if (pl_tester_path(tester, paths[i], &error) != PL_OK) {
            (void)fprintf(stderr, "plumbline test: %s\n", error.message);
            bad = 2;
        }
    }
    (void)printf("%zu passed, %zu failed\n", tester->passed, tester->failed);
    if (tester->filter && !bad && tester->passed + tester->failed == 0) {
        (void)fprintf(stderr, "plumbline test: no test's name contains '%s'\n", tester->filter);
        bad = 2;
    }
    return bad ? bad : tester->failed > 0;
}

static int take_option(void *self, int option)
{
    pl_tester *tester = self;
    if (option == 'f')
        tester->filter = optarg;
    else
        tester->verbose = true;
    return -1;
}

int pl_cmd_test(int argc, char **argv)
{
    static const struct option options[] = {
        {"filter", required_argument, NULL, 'f'}, {"verbose", no_argument, NULL, 'v'}, PL_CLI_HELP, {0}};
    pl_tester tester = {.out = stdout};
    const pl_cli_command command = {
        .name = "test", .help = usage, .options = options, .take = take_option, .self = &tester};
    int status = pl_cli_options(&command, argc, argv, NULL);
    if (status >= 0)
        return status;
    if (optind == argc)
        return pl_cli_usage("test", "name at least one test or folder, such as scripts/");
    return run_paths(&tester, argv + optind, argc - optind);
}
