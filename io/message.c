/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message: see message.h. A line is formatted and masked, then written under
 * a lock, so that lines of several threads never mix.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/message.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Longest line: a few rows of a terminal. Of a longer one (a tensor's name
 * may have megabytes) the middle goes, since a message begins with the
 * subject and ends with the cause.
 */
#define MAX_LINE  960
#define KEPT_HEAD 560
#define KEPT_TAIL 380

/* Longest bar: wider than any terminal it is cut for. */
#define MAX_BAR 512

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum tm_verbosity verbosity = TM_NORMAL;
static bool silenced;
static char bar[MAX_BAR];

void tm_message_verbosity(enum tm_verbosity level)
{
    verbosity = level;
}

void tm_message_silence(void)
{
    silenced = true;
}

/* Bytes of the UTF-8 sequence that starts at `s`, or 0 if it is not valid. */
static size_t utf8_sequence(const unsigned char *s, size_t length)
{
    unsigned char lowest = 0x80, highest = 0xbf;
    size_t bytes;

    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        bytes = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        bytes = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        bytes = 4;
    else
        return 0;
    if (s[0] == 0xe0) /* shorter forms exist */
        lowest = 0xa0;
    else if (s[0] == 0xed) /* surrogates */
        highest = 0x9f;
    else if (s[0] == 0xf0)
        lowest = 0x90;
    else if (s[0] == 0xf4) /* above U+10FFFF */
        highest = 0x8f;
    if (bytes > length || s[1] < lowest || s[1] > highest)
        return 0;
    for (size_t i = 2; i < bytes; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return bytes;
}

bool tm_utf8_is_valid(const char *text, size_t length)
{
    const unsigned char *s = (const unsigned char *)text;

    for (size_t i = 0; i < length;) {
        const size_t bytes = utf8_sequence(s + i, length - i);

        if (bytes == 0)
            return false;
        i += bytes;
    }
    return true;
}

/*
 * C0 controls, DEL, the C1 controls U+0080 to U+009F, and what changes lines
 * or the direction of writing: U+200E, U+200F, U+2028 to U+202E, U+2066 to
 * U+2069.
 */
static bool is_control(const unsigned char *s, size_t bytes)
{
    if (bytes == 1)
        return s[0] < 0x20 || s[0] == 0x7f;
    if (bytes == 2)
        return s[0] == 0xc2 && s[1] < 0xa0;
    if (bytes != 3 || s[0] != 0xe2)
        return false;
    if (s[1] == 0x80)
        return s[2] == 0x8e || s[2] == 0x8f || (s[2] >= 0xa8 && s[2] <= 0xae);
    return s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9;
}

void tm_mask(char *text)
{
    unsigned char *s = (unsigned char *)text;
    size_t left = strlen(text);

    while (left > 0) {
        size_t bytes = utf8_sequence(s, left);

        if (bytes == 0) {
            *s = '?';
            bytes = 1;
        } else if (is_control(s, bytes)) {
            memset(s, '?', bytes);
        }
        s += bytes;
        left -= bytes;
    }
}

/* Standard error may be closed or full: there is nobody left to tell. */
static void write_stderr(const char *text, size_t length)
{
    while (length > 0) {
        const ssize_t n = write(STDERR_FILENO, text, length);

        if (n <= 0)
            return;
        text += n;
        length -= (size_t)n;
    }
}

/* "\r" and "erase to the end of the line". */
static void erase_bar(void)
{
    if (bar[0] != '\0')
        write_stderr("\r\033[K", 4);
}

static void show_bar(void)
{
    if (bar[0] != '\0')
        write_stderr(bar, strlen(bar));
}

/* Formats into `line`, leaving out the middle of what is too long. */
static void format_line(char line[MAX_LINE + 2], const char *format,
                        va_list args)
{
    char *whole = NULL;
    va_list again;
    int length;

    va_copy(again, args);
    length = vsnprintf(line, MAX_LINE, format, args);
    if (length >= MAX_LINE && vasprintf(&whole, format, again) >= 0)
        snprintf(line, MAX_LINE, "%.*s ... %s", KEPT_HEAD, whole,
                 whole + length - KEPT_TAIL);
    va_end(again);
    free(whole);
}

static void print_line(const char *prefix, const char *format, va_list args)
{
    char line[MAX_LINE + 2];
    size_t length;

    if (silenced)
        return;
    format_line(line, format, args);
    tm_mask(line);
    length = strlen(line);
    line[length++] = '\n';
    pthread_mutex_lock(&lock);
    erase_bar();
    write_stderr(prefix, strlen(prefix));
    write_stderr(line, length);
    show_bar();
    pthread_mutex_unlock(&lock);
}

enum tm_status tm_error(enum tm_status status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line("taumerge: ", format, args);
    va_end(args);
    return status;
}

void tm_warning(const char *format, ...)
{
    va_list args;

    if (verbosity < TM_NORMAL)
        return;
    va_start(args, format);
    print_line("taumerge: warning: ", format, args);
    va_end(args);
}

void tm_info(const char *format, ...)
{
    va_list args;

    if (verbosity < TM_NORMAL)
        return;
    va_start(args, format);
    print_line("", format, args);
    va_end(args);
}

void tm_answer(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line("taumerge: ", format, args);
    va_end(args);
}

void tm_note(const char *format, ...)
{
    va_list args;

    if (verbosity < TM_VERBOSE)
        return;
    va_start(args, format);
    print_line("", format, args);
    va_end(args);
}

enum tm_status tm_no_memory(void)
{
    return tm_error(TM_SYSTEM, "out of memory");
}

void tm_message_bar(const char *text)
{
    if (silenced)
        return;
    pthread_mutex_lock(&lock);
    erase_bar();
    bar[0] = '\0';
    if (text != NULL) {
        snprintf(bar, sizeof(bar), "%s", text);
        show_bar();
    }
    pthread_mutex_unlock(&lock);
}
