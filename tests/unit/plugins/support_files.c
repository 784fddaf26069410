#include "support_files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char folder[64];

const char *at(const char *name)
{
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* `with` with %s for the folder, once or twice. */
const char *with(const char *format)
{
    static char text[1024];
    char *out = text;
    for (const char *in = format; *in; in++) {
        if (in[0] == '%' && in[1] == 's') {
            out += snprintf(out, (size_t)(text + sizeof text - out), "%s", folder);
            in++;
        } else {
            *out++ = *in;
        }
    }
    *out = '\0';
    return text;
}

void put(const char *name, const char *mode, const char *text)
{
    FILE *file = fopen(at(name), mode);
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

const char *get(const char *name)
{
    static char text[1 << 16];
    FILE *file = fopen(at(name), "r");
    assert_non_null(file);
    size_t len = fread(text, 1, sizeof text - 1, file);
    text[len] = '\0';
    (void)fclose(file);
    return text;
}

int files_set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/pl-unit-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

int files_tear_down(void **state)
{
    (void)state;
    DIR *open_one = opendir(folder);
    for (struct dirent *entry; open_one && (entry = readdir(open_one));) {
        if (entry->d_name[0] != '.') {
            (void)unlink(at(entry->d_name));
        }
    }
    (void)(open_one && closedir(open_one));
    return rmdir(folder);
}

void *interrupt_soon(void *opaque)
{
    stub *host = opaque;
    struct timespec pause = {.tv_nsec = 20 * 1000000};
    (void)nanosleep(&pause, NULL);
    host->component->interrupt(host->self);
    return NULL;
}
