/* A source as somebody else would write it: built outside the tree against an installed copy, from plugin.h alone. It
 * counts down from `from` to 1, one record a number, and ends.
 */
#include <plumbline/plugin.h>
#include <stdlib.h>

typedef struct config {
    int64_t from;
    const char *word;
} config;

typedef struct countdown {
    const pl_host *host;
    const config *config;
    uint32_t lane;
    bool open;
    int64_t left;
} countdown;

static const pl_option options[] = {
    {PL_OPTION(config, from, INT, "3", "the first number"), .min = 1, .max = 1000},
    {PL_OPTION(config, word, STR, "lift off", "what the last record says")},
};

static pl_status create(const pl_host *host, const void *given, void **self, pl_error *error)
{
    countdown *made = calloc(1, sizeof *made);
    if (!made) {
        return pl_fail(error, PL_HALT, "out of memory");
    }
    made->host = host;
    made->config = given;
    made->left = made->config->from;
    *self = made;
    return PL_OK;
}

static void destroy(void *self)
{
    free(self);
}

static pl_status next(void *opaque, int64_t deadline_ns, int64_t *resume_ns, pl_error *error)
{
    countdown *self = opaque;
    (void)deadline_ns, (void)resume_ns, (void)error;
    if (!self->open) {
        self->lane = self->host->lane_open(self->host, PL_S("countdown"));
        self->open = true;
    }
    while (self->left > 0) {
        pl_field fields[] = {{PL_S("n"), {.type = PL_INT, .as.i = self->left}},
                             {PL_S("word"), {.type = PL_STR, .as.s = PL_S(self->config->word)}}};
        pl_emission out = {.struct_size = sizeof out,
                           .lane = self->lane,
                           .position = (uint64_t)(self->config->from - self->left),
                           .fields = fields,
                           .field_count = self->left == 1 ? 2 : 1};
        self->left--;
        if (!self->host->emit(self->host, &out)) {
            return PL_OK;
        }
    }
    return PL_END;
}

static const pl_source source = {.struct_size = sizeof source, .next = next};

static const pl_component component = {
    .struct_size = sizeof component,
    .option_size = sizeof(pl_option),
    .name = "countdown",
    .summary = "counts down",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .config_size = sizeof(config),
    .create = create,
    .destroy = destroy,
    .source = &source,
};
static const pl_component *const components[] = {&component, NULL};
static const pl_plugin plugin = {.magic = PL_MAGIC,
                                 .abi_major = PL_ABI_MAJOR,
                                 .abi_minor = PL_ABI_MINOR,
                                 .struct_size = sizeof plugin,
                                 .name = "countdown",
                                 .version = "1.0",
                                 .components = components};

const pl_plugin *pl_plugin_entry(void)
{
    return &plugin;
}
