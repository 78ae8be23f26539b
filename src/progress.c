/* SPDX-License-Identifier: Apache-2.0 */
/* progress: see progress.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "io/json.h"
#include "src/signals.h"

/* A bar that changes more often cannot be read. */
#define BAR_SECONDS  0.2
#define JSON_SECONDS 1.0

/* How much of a rate is the last interval; the rest is what it was. */
#define SMOOTHING 0.2

double tm_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

const char *tm_size_text(uint64_t bytes, char text[TM_SIZE_TEXT])
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes / 1000;
    unsigned unit = 0;

    if (bytes < 1000) {
        snprintf(text, TM_SIZE_TEXT, "%llu B", (unsigned long long)bytes);
        return text;
    }
    while (value >= 999.5 && unit < 5) {
        value /= 1000;
        unit++;
    }
    snprintf(text, TM_SIZE_TEXT, value < 9.95 ? "%.1f %s" : "%.0f %s", value,
             units[unit]);
    return text;
}

static const char *stage_name(enum tm_stage stage)
{
    static const char *const names[] = {"read", "compute", "write"};

    return names[stage];
}

void tm_progress_start(struct tm_progress *progress, enum tm_progress_kind kind,
                       uint64_t read_total, uint64_t write_total)
{
    if (kind == TM_PROGRESS_AUTO)
        kind = isatty(STDERR_FILENO) ? TM_PROGRESS_BAR : TM_PROGRESS_NONE;
    *progress = (struct tm_progress){
        .kind = kind,
        .read_total = read_total,
        .write_total = write_total,
        .started = tm_clock(),
    };
    progress->shown = progress->ticked = progress->started;
}

enum tm_stage tm_progress_limit(const struct tm_progress *progress)
{
    enum tm_stage most = TM_STAGE_READ;

    for (int i = TM_STAGE_COMPUTE; i <= TM_STAGE_WRITE; i++)
        if (progress->waits[i] > progress->waits[most])
            most = (enum tm_stage)i;
    return most;
}

static void smooth(double *rate, double now, bool first)
{
    *rate = first ? now : *rate + SMOOTHING * (now - *rate);
}

static void update_rates(struct tm_progress *p, double now, uint64_t read,
                         uint64_t written)
{
    const double seconds = now - p->shown;
    const bool first = p->read_then == 0 && p->written_then == 0;

    if (seconds <= 0)
        return;
    smooth(&p->read_rate, (double)(read - p->read_then) / seconds, first);
    smooth(&p->write_rate, (double)(written - p->written_then) / seconds,
           first);
    p->read_then = read;
    p->written_then = written;
    p->shown = now;
}

/*
 * Bytes done, both ways: they take about the same time. Where nobody knows
 * how much will be written, as of stored vectors, only reading counts.
 */
static uint64_t done_bytes(const struct tm_progress *p, uint64_t read,
                           uint64_t written)
{
    return read + (p->write_total > 0 ? written : 0);
}

static double done_share(const struct tm_progress *p, uint64_t read,
                         uint64_t written)
{
    const double total = (double)p->read_total + (double)p->write_total;
    const double share = (double)done_bytes(p, read, written) / total;

    if (total <= 0)
        return 1;
    return share < 1 ? share : 1; /* blocks are read whole: it may exceed */
}

/* Seconds left at the speed so far; -1 while nobody can tell. */
static double time_left(const struct tm_progress *p, double now, double share)
{
    const double elapsed = now - p->started;

    if (share <= 0 || elapsed < 0.5)
        return -1;
    return elapsed * (1 - share) / share;
}

static const char *time_text(double seconds, char text[TM_SIZE_TEXT])
{
    const long whole = (long)(seconds + 0.5);

    if (seconds < 0)
        snprintf(text, TM_SIZE_TEXT, "--:--");
    else if (whole >= 3600)
        snprintf(text, TM_SIZE_TEXT, "%ld:%02ld:%02ld", whole / 3600,
                 whole / 60 % 60, whole % 60);
    else
        snprintf(text, TM_SIZE_TEXT, "%ld:%02ld", whole / 60, whole % 60);
    return text;
}

/* The numbers, as bar and report share them. */
static void write_numbers(const struct tm_progress *p, double now,
                          uint64_t read, uint64_t written, char *text,
                          size_t size)
{
    const double share = done_share(p, read, written);
    char total[TM_SIZE_TEXT], done[TM_SIZE_TEXT], left[TM_SIZE_TEXT];

    snprintf(text, size,
             "%3.0f %%  %s of %s  read %.2f GB/s  write %.2f GB/s  left %s  "
             "limit: %s",
             100 * share, tm_size_text(done_bytes(p, read, written), done),
             tm_size_text(p->read_total + p->write_total, total),
             p->read_rate / 1e9, p->write_rate / 1e9,
             time_text(time_left(p, now, share), left),
             stage_name(tm_progress_limit(p)));
}

static size_t terminal_width(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 80;
    return size.ws_col;
}

static void show_bar(const struct tm_progress *p, double now, uint64_t read,
                     uint64_t written)
{
    char numbers[256], line[512];
    const size_t width = terminal_width();
    size_t cells, filled;

    write_numbers(p, now, read, written, numbers, sizeof(numbers));
    cells = width > strlen(numbers) + 5 ? width - strlen(numbers) - 5 : 0;
    if (cells > 40)
        cells = 40;
    filled = (size_t)((double)cells * done_share(p, read, written));
    if (cells > 3)
        snprintf(line, sizeof(line), "[%.*s%.*s] %s", (int)filled,
                 "########################################",
                 (int)(cells - filled),
                 "----------------------------------------", numbers);
    else
        snprintf(line, sizeof(line), "%s", numbers);
    if (strlen(line) >= width)
        line[width - 1] = '\0';
    tm_message_bar(line);
}

static void show_json(const struct tm_progress *p, double now, uint64_t read,
                      uint64_t written)
{
    struct tm_json_writer writer = {
        .sink = tm_json_to_file, .context = stderr, .compact = true};
    const double left = time_left(p, now, done_share(p, read, written));

    tm_json_begin(&writer, NULL, '{');
    tm_json_real(&writer, "seconds", now - p->started);
    tm_json_integer(&writer, "bytes_read", read);
    tm_json_integer(&writer, "bytes_to_read", p->read_total);
    tm_json_integer(&writer, "bytes_written", written);
    tm_json_integer(&writer, "bytes_to_write", p->write_total);
    tm_json_real(&writer, "read_bytes_per_second", p->read_rate);
    tm_json_real(&writer, "write_bytes_per_second", p->write_rate);
    if (left >= 0)
        tm_json_real(&writer, "seconds_left", left);
    tm_json_string(&writer, "limit", stage_name(tm_progress_limit(p)));
    tm_json_finish(&writer, '}');
    fputc('\n', stderr);
    fflush(stderr);
}

static void answer_signal(const struct tm_progress *p, double now,
                          uint64_t read, uint64_t written)
{
    char numbers[256];

    write_numbers(p, now, read, written, numbers, sizeof(numbers));
    tm_answer("%s", numbers);
}

void tm_progress_tick(struct tm_progress *progress, uint64_t read,
                      uint64_t written, enum tm_stage stage)
{
    struct tm_progress *p = progress;
    const double now = tm_clock();
    const double pause =
        p->kind == TM_PROGRESS_JSON ? JSON_SECONDS : BAR_SECONDS;

    p->waits[stage] += now - p->ticked;
    p->ticked = now;
    if (now - p->shown >= pause) {
        update_rates(p, now, read, written);
        if (p->kind == TM_PROGRESS_BAR)
            show_bar(p, now, read, written);
        else if (p->kind == TM_PROGRESS_JSON)
            show_json(p, now, read, written);
    }
    if (tm_signals_report())
        answer_signal(p, now, read, written);
}

void tm_progress_finish(struct tm_progress *progress, uint64_t read,
                        uint64_t written)
{
    if (progress->kind == TM_PROGRESS_BAR)
        tm_message_bar(NULL);
    else if (progress->kind == TM_PROGRESS_JSON)
        show_json(progress, tm_clock(), read, written);
}
