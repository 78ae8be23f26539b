/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_command_line: the arguments of each command, parsed and not executed.
 *
 * Input: the arguments, with a NUL between them. Each is masked as a message
 * would mask it, too.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/options.h"

static void check_vectors(const struct tm_options *options)
{
    const struct tm_recipe *recipe = &options->recipe;

    for (size_t i = 0; i < recipe->num_vectors; i++) {
        FUZZ_REQUIRE(recipe->vectors[i].path != NULL);
        FUZZ_REQUIRE(isfinite((float)options->weights[i]));
    }
}

static void check_options(const struct tm_options *options, unsigned command)
{
    const struct tm_settings *settings = &options->settings;

    check_vectors(options);
    FUZZ_REQUIRE(settings->threads <= 1024);
    FUZZ_REQUIRE(settings->memory > 0);
    FUZZ_REQUIRE(settings->io <= TM_IO_THREADS);
    FUZZ_REQUIRE(settings->progress <= TM_PROGRESS_NONE);
    FUZZ_REQUIRE(!options->recipe.has_dtype ||
                 tm_dtype_is_float(options->recipe.dtype));
    FUZZ_REQUIRE(options->out == NULL || options->out[0] != '\0');
    FUZZ_REQUIRE(settings->codec <= TM_CODEC_ZSTD);
    if (command == TM_FOR_VERIFY || command == TM_FOR_INSPECT)
        FUZZ_REQUIRE(options->out == NULL);
    for (size_t i = 0; i < options->num_overrides; i++) {
        FUZZ_REQUIRE(options->overrides[i].path[0] != '\0');
        FUZZ_REQUIRE(strchr(options->overrides[i].path, '=') == NULL);
    }
    if (command != TM_FOR_MERGE && command != TM_FOR_PLAN)
        FUZZ_REQUIRE(options->recipe.num_vectors == 0);
}

static void parse(int argc, char **argv, unsigned command)
{
    struct tm_options options;
    const enum tm_status status =
        tm_options_parse(argc, argv, command, &options);

    FUZZ_REQUIRE(status == TM_OK || status == TM_USAGE);
    if (status == TM_OK) {
        check_options(&options, command);
        FUZZ_REQUIRE(options.num_paths < (size_t)argc);
        for (size_t i = 0; i < options.num_paths; i++)
            FUZZ_REQUIRE(options.paths[i] != NULL);
    }
    tm_options_free(&options);
}

static void check_mask(const char *argument)
{
    const size_t length = strlen(argument);
    char *text = malloc(length + 1);

    FUZZ_REQUIRE(text != NULL);
    memcpy(text, argument, length + 1);
    tm_mask(text);
    FUZZ_REQUIRE(strlen(text) == length && tm_utf8_is_valid(text, length));
    free(text);
}

/* Cuts `text` at its NULs and points at the pieces; returns how many. */
static int split(char *text, size_t size, char **argv)
{
    int argc = 0;

    argv[argc++] = text;
    for (size_t i = 0; i < size; i++)
        if (text[i] == '\0')
            argv[argc++] = text + i + 1;
    argv[argc] = NULL;
    return argc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned commands[] = {
        TM_FOR_MERGE,  TM_FOR_PLAN,    TM_FOR_DIFF,   TM_FOR_APPLY,
        TM_FOR_VERIFY, TM_FOR_INSPECT, TM_FOR_METHODS};
    char *text = malloc(size + 2);
    char **argv = malloc((size + 4) * sizeof(*argv));

    tm_message_silence();
    FUZZ_REQUIRE(text != NULL && argv != NULL);
    text[0] = '\0'; /* an empty name for the command */
    if (size > 0)
        memcpy(text + 1, data, size);
    text[size + 1] = '\0';
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        /* getopt reorders what it is given. */
        const int argc = split(text, size + 1, argv);

        parse(argc, argv, commands[i]);
        for (int a = 0; a < argc && i == 0; a++)
            check_mask(argv[a]);
    }
    free(argv);
    free(text);
    return 0;
}
