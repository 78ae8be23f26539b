/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message: what the program says on standard error.
 *
 * One line a message, "taumerge: " first. An error is reported once, by the
 * function that finds it, which returns the exit status that goes with it;
 * callers pass the status up and say nothing more. Names that come from files
 * need no care: control characters and bytes that are not UTF-8 are shown as
 * '?'. Any thread may call any of these.
 */
#ifndef TM_IO_MESSAGE_H
#define TM_IO_MESSAGE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* Exit status, after sysexits.h (design: exit status is a contract). */
enum tm_status {
    TM_OK = 0,
    TM_USAGE = 64,       /* a command or recipe that makes no sense */
    TM_BAD_DATA = 65,    /* a file that is damaged or does not fit */
    TM_NO_INPUT = 66,    /* a file that is not there */
    TM_INTERNAL = 70,    /* a bug in this program */
    TM_SYSTEM = 71,      /* memory, threads, descriptors */
    TM_CANT_CREATE = 73, /* the output; no space too */
    TM_IO_ERROR = 74,    /* reading or writing failed */
    TM_INTERRUPTED = 75, /* by a signal */
};

enum tm_verbosity { TM_QUIET = -1, TM_NORMAL = 0, TM_VERBOSE = 1 };

/* How much is printed beside errors. */
void tm_message_verbosity(enum tm_verbosity verbosity);

/* Prints nothing at all from now on: for fuzzers. */
void tm_message_silence(void);

/*
 * Prints "taumerge: " and the formatted line (lower case, subject first, no
 * full stop, no newline). Returns `status`.
 */
enum tm_status tm_error(enum tm_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * The same for what does not stop the run: "taumerge: warning: ...", unless
 * quiet.
 */
void tm_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line without the program's name, unless quiet: the report. */
void tm_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line that was asked for: "taumerge: ...", even when quiet. */
void tm_answer(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line for -v only. */
void tm_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Reports that an allocation failed; returns TM_SYSTEM. */
enum tm_status tm_no_memory(void);

/*
 * Shows `text` as the last line of a terminal, in place of what was shown
 * there before; messages then scroll above it. NULL takes it away.
 */
void tm_message_bar(const char *text);

/*
 * Makes `text` fit to print: control characters and invalid UTF-8 become '?',
 * in place.
 */
void tm_mask(char *text);

/* Whether `text` of `length` bytes is valid UTF-8. */
bool tm_utf8_is_valid(const char *text, size_t length);

#endif
