/* file: lines of a file, a pipe or standard input as records, and records as lines. */
#include "file.h"

static const char *const source_formats[] = {"jsonl", "csv", "text", "bytes", NULL};
static const char *const sink_formats[] = {"jsonl", "csv", NULL};
static const char *const modes[] = {"append", "truncate", NULL};
static const char *const syncs[] = {"batch", "interval", NULL};
static const char *const envelopes[] = {"auto", "always", "never", NULL};

static const pl_option path_element = {.type = PL_OPT_PATH};
static const pl_option column_element = {.type = PL_OPT_STR};
static const pl_option field_element = {.type = PL_OPT_FIELD};

static const pl_option source_csv[] = {
    {PL_OPTION(file_csv_options, header, BOOL, "true", "the first line names the columns")},
    {PL_OPTION(file_csv_options, delimiter, STR, "\",\"", "what stands between fields: one character, or tab")},
    {PL_OPTION(file_csv_options, columns, LIST, NULL, "names of the columns, instead of the header's"),
     .fields = &column_element, .field_count = 1, .element_size = sizeof(const char *), .example = "[at, price]"},
};
static const pl_option sink_csv[] = {
    {PL_OPTION(file_csv_options, header, BOOL, "true", "a new file begins with a line of the columns' names")},
    {PL_OPTION(file_csv_options, delimiter, STR, "\",\"", "what stands between fields: one character, or tab")},
    {PL_OPTION(file_csv_options, columns, LIST, NULL, "fields to write, in this order"), .fields = &field_element,
     .field_count = 1, .element_size = sizeof(const char *), .example = "[pair, quotes.USD.price]"},
};

static const pl_option source_options[] = {
    {PL_OPTION(file_source_config, path, LIST, NULL, "the file, or several; - is standard input"),
     .flags = PL_OPT_REQUIRED, .fields = &path_element, .field_count = 1, .element_size = sizeof(const char *),
     .example = "prices.jsonl"},
    {PL_OPTION(file_source_config, format, ENUM, "jsonl",
               "jsonl, text: a record a line; csv: a record a row, its fields text; bytes: the file is one record"),
     .choices = source_formats},
    {PL_OPTION(file_source_config, max_record, SIZE, "1MiB", "a longer record stops the pipeline"), .min = 16,
     .max = 1 << 30},
    {PL_OPTION(file_source_config, resume, BOOL, "false",
               "remember what was delivered, and go on behind it after a restart")},
    {PL_OPTION(file_source_config, follow, BOOL, "false", "at its end wait for more, as tail -F does")},
    {PL_OPTION(file_source_config, csv, OBJECT, NULL, "how rows are read"), .fields = source_csv,
     .field_count = sizeof source_csv / sizeof *source_csv, .element_size = sizeof(file_csv_options)},
};

static const pl_option sink_options[] = {
    {PL_OPTION(file_sink_config, path, PATH, NULL, "the file; - is standard output"), .flags = PL_OPT_REQUIRED,
     .example = "out.jsonl"},
    {PL_OPTION(file_sink_config, format, ENUM, "jsonl", "jsonl: the payload on a line; csv: chosen fields"),
     .choices = sink_formats},
    {PL_OPTION(file_sink_config, mode, ENUM, "append", "truncate: begin anew at each start"), .choices = modes},
    {PL_OPTION(file_sink_config, sync, ENUM, "batch",
               "when written lines are made durable (fsync): after each batch, or at an interval"),
     .choices = syncs},
    {PL_OPTION(file_sink_config, sync_every, DURATION_NS, "200ms", "that interval"), .min = 1e6, .max = 60e9},
    {PL_OPTION(file_sink_config, envelope, ENUM, "auto",
               "write headers, key, stream and time too; auto: for dead letters"),
     .choices = envelopes},
    {PL_OPTION(file_sink_config, csv, OBJECT, NULL, "how rows are written"), .fields = sink_csv,
     .field_count = sizeof sink_csv / sizeof *sink_csv, .element_size = sizeof(file_csv_options)},
};

static const pl_component source = {
    .struct_size = sizeof(pl_component),
    .option_size = sizeof(pl_option),
    .name = "file",
    .summary = "reads files, pipes or standard input, a record a line",
    .options = source_options,
    .option_count = sizeof source_options / sizeof *source_options,
    .config_size = sizeof(file_source_config),
    .check = file_source_check,
    .create = file_source_create,
    .interrupt = file_source_interrupt,
    .destroy = file_source_destroy,
    .source = &file_source,
    .extension = file_source_extension,
};

static const pl_component sink = {
    .struct_size = sizeof(pl_component),
    .option_size = sizeof(pl_option),
    .name = "file",
    .summary = "appends records to a file or standard output, a line each",
    .options = sink_options,
    .option_count = sizeof sink_options / sizeof *sink_options,
    .config_size = sizeof(file_sink_config),
    .check = file_sink_check,
    .create = file_sink_create,
    .interrupt = file_sink_interrupt,
    .destroy = file_sink_destroy,
    .sink = &file_sink,
    .extension = file_sink_extension,
};

static const pl_component *const components[] = {&source, &sink, NULL};

const pl_plugin *pl_plugin_entry(void)
{
    static const pl_plugin plugin = {
        .magic = PL_MAGIC,
        .abi_major = PL_ABI_MAJOR,
        .abi_minor = PL_ABI_MINOR,
        .struct_size = sizeof(pl_plugin),
        .name = "file",
        .version = PLUGIN_VERSION,
        .components = components,
    };
    return &plugin;
}
