/* SPDX-License-Identifier: Apache-2.0 */
/* commands: what they have in common. See commands.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "src/signals.h"

void tm_command_help(const char *usage, unsigned command)
{
    printf("usage: taumerge %s\n\n", usage);
    tm_options_print(command);
}

void tm_print_name(const char *name)
{
    char text[4096]; /* no path is longer */

    snprintf(text, sizeof(text), "%s", name);
    tm_mask(text);
    fputs(text, stdout);
}

enum tm_status tm_flush_stdout(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return TM_OK;
    return tm_error(TM_IO_ERROR, "standard output: write failed: %s",
                    strerror(errno));
}

enum tm_status tm_command_on_paths(int argc, char **argv, unsigned command,
                                   const char *usage, tm_paths_command *run)
{
    struct tm_options options;
    enum tm_status flushed,
        status = tm_options_parse(argc, argv, command, &options);

    if (status == TM_OK && options.help) {
        tm_command_help(usage, command);
    } else if (status == TM_OK && options.num_paths == 0) {
        status = tm_error(TM_USAGE, "no path is given: taumerge %s", usage);
    } else if (status == TM_OK) {
        tm_message_verbosity(options.settings.verbosity);
        tm_signals_catch();
        status = run(&options);
    }
    flushed = tm_flush_stdout();
    tm_options_free(&options);
    return status != TM_OK ? status : flushed;
}
