/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands: one function each, one file each. They take the arguments after
 * the program's name (argv[0] is the command's) and return the exit status;
 * what is wrong has then been reported.
 */
#ifndef TM_SRC_COMMANDS_H
#define TM_SRC_COMMANDS_H

#include "io/message.h"
#include "src/options.h"

enum tm_status tm_command_merge(int argc, char **argv);
enum tm_status tm_command_plan(int argc, char **argv);
enum tm_status tm_command_diff(int argc, char **argv);
enum tm_status tm_command_apply(int argc, char **argv);
enum tm_status tm_command_verify(int argc, char **argv);
enum tm_status tm_command_inspect(int argc, char **argv);
enum tm_status tm_command_methods(int argc, char **argv);

/* The usage line and the options of a command, to stdout. */
void tm_command_help(const char *usage, unsigned command);

/* A name that comes from outside, masked, to stdout. */
void tm_print_name(const char *name);

/* Flushes stdout; TM_IO_ERROR, reported, if anything did not get through. */
enum tm_status tm_flush_stdout(void);

/* What a command does with the paths it was given. */
typedef enum tm_status tm_paths_command(const struct tm_options *options);

/* A command whose arguments are paths: parses, helps, runs, flushes. */
enum tm_status tm_command_on_paths(int argc, char **argv, unsigned command,
                                   const char *usage, tm_paths_command *run);

#endif
