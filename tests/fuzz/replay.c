/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay: runs a harness once with each file named on the command line, or
 * in a directory named there, so that what a fuzzer found stays found, with
 * any compiler. Linked with one harness; exit status 0 when all inputs went
 * through.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

static unsigned long inputs;

static bool fail(const char *path)
{
    fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
    return false;
}

/* In a buffer of just that size, so that sanitizers see its end. */
static bool replay_stream(FILE *stream, size_t size)
{
    uint8_t *data = malloc(size > 0 ? size : 1);
    bool ok = data != NULL && fread(data, 1, size, stream) == size;

    if (ok && LLVMFuzzerTestOneInput(data, size) == 0)
        inputs++;
    free(data);
    return ok;
}

static bool replay_file(const char *path, size_t size)
{
    FILE *stream = fopen(path, "rb");
    bool ok;

    if (stream == NULL)
        return fail(path);
    ok = replay_stream(stream, size);
    if (!ok)
        fail(path);
    fclose(stream);
    return ok;
}

static bool replay(const char *path);

static bool replay_directory(const char *path)
{
    struct dirent **names;
    const int count = scandir(path, &names, NULL, alphasort);
    bool ok = count >= 0;

    if (!ok)
        return fail(path);
    for (int i = 0; i < count; i++) {
        char inside[PATH_MAX];
        const int length =
            snprintf(inside, sizeof(inside), "%s/%s", path, names[i]->d_name);

        if (names[i]->d_name[0] != '.' && ok)
            ok = length < (int)sizeof(inside) && replay(inside);
        free(names[i]);
    }
    free(names);
    return ok;
}

static bool replay(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return fail(path);
    if (S_ISDIR(st.st_mode))
        return replay_directory(path);
    /* Should the harness abort, this is the input it was. */
    printf("%s\n", path);
    fflush(stdout);
    return replay_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!replay(argv[i]))
            return 1;
    printf("%lu inputs\n", inputs);
    return inputs > 0 ? 0 : 1;
}
