/* Option tables as help. */
#include <config/options.h>
#include <config/values.h>

static const pl_option *option_at(const pl_option_table *table, size_t index)
{
    size_t stride = table->stride ? table->stride : sizeof(pl_option);
    return (const void *)((const char *)table->options + index * stride);
}

static const char *simple_name(int32_t type)
{
    static const char *const names[] = {
        [PL_OPT_STR] = "text",           [PL_OPT_SECRET] = "secret text",
        [PL_OPT_ENUM] = "word",          [PL_OPT_PATH] = "file name",
        [PL_OPT_FIELD] = "field path",   [PL_OPT_TEMPLATE] = "text with {field} holes",
        [PL_OPT_DECIMAL] = "decimal",    [PL_OPT_PERCENT] = "percentage",
        [PL_OPT_INT] = "whole number",   [PL_OPT_DURATION_NS] = "duration",
        [PL_OPT_SIZE] = "size",          [PL_OPT_FLOAT] = "number",
        [PL_OPT_BOOL] = "true or false", [PL_OPT_OBJECT] = "map",
    };
    size_t known = sizeof names / sizeof *names;
    return type >= 0 && (size_t)type < known && names[type] ? names[type] : "value";
}

const char *pl_option_type_name(const pl_option *option, char *out, size_t out_size)
{
    if (option->type == PL_OPT_LIST || option->type == PL_OPT_MAP) {
        char inner[160] = "value";
        if (option->fields)
            (void)pl_option_type_name(option->fields, inner, sizeof inner);
        (void)snprintf(out, out_size, option->type == PL_OPT_LIST ? "list of %s" : "map to %s", inner);
        return out;
    }
    if (option->type != PL_OPT_ENUM || !option->choices) {
        (void)snprintf(out, out_size, "%s", simple_name(option->type));
        return out;
    }
    pl_buf words = PL_BUF(out_size ? out_size - 1 : 0);
    for (size_t i = 0; option->choices[i]; i++)
        pl_buf_printf(&words, "%s%s", i ? ", " : "one of ", option->choices[i]);
    (void)snprintf(out, out_size, "%s", words.data && !pl_buf_failed(&words) ? words.data : "word");
    pl_buf_release(&words);
    return out;
}

static void add_bound(const pl_option *option, double value, pl_buf *out)
{
    char text[80];
    pl_buf_adds(out, pl_value_bound(option, value, text, sizeof text));
}

static void add_range(const pl_option *option, pl_buf *out)
{
    const char *unit = option->type == PL_OPT_LIST || option->type == PL_OPT_MAP ? " entries" : "";
    if (option->min == option->max)
        return;
    pl_buf_adds(out, ", ");
    if (option->max >= 9.2e18) {
        pl_buf_adds(out, "at least ");
        add_bound(option, option->min, out);
    } else if (option->min <= -9.2e18) {
        pl_buf_adds(out, "at most ");
        add_bound(option, option->max, out);
    } else {
        add_bound(option, option->min, out);
        pl_buf_adds(out, " to ");
        add_bound(option, option->max, out);
    }
    pl_buf_adds(out, unit);
}

static void describe_one(const pl_option *option, size_t stride, int indent, pl_buf *out)
{
    char type[200];
    pl_buf_printf(out, "%*s%s: %s", indent, "", option->name, pl_option_type_name(option, type, sizeof type));
    add_range(option, out);
    if (option->flags & PL_OPT_REQUIRED)
        pl_buf_adds(out, ", required");
    else if (option->fallback)
        pl_buf_printf(out, ", default %s", option->fallback[0] ? option->fallback : "\"\"");
    if (option->flags & PL_OPT_DEPRECATED)
        pl_buf_adds(out, ", deprecated");
    pl_buf_addc(out, '\n');
    if (option->doc && option->doc[0])
        pl_buf_printf(out, "%*s%s\n", indent + 4, "", option->doc);
    if (option->example)
        pl_buf_printf(out, "%*sexample: %s: %s\n", indent + 4, "", option->name, option->example);
    const pl_option *object = option;
    while ((object->type == PL_OPT_LIST || object->type == PL_OPT_MAP) && object->fields)
        object = object->fields;
    if (object->type == PL_OPT_OBJECT && object->fields && indent < 40) {
        pl_option_table table = {object->fields, object->field_count, stride};
        pl_options_describe(&table, indent + 4, out);
    }
}

void pl_options_describe(const pl_option_table *table, int indent, pl_buf *out)
{
    for (size_t i = 0; i < table->count; i++)
        describe_one(option_at(table, i), table->stride, indent, out);
}
