/* SPDX-License-Identifier: Apache-2.0 */
/* signals: see signals.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/signals.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

static atomic_int end;
static atomic_bool report;
static atomic_bool leaves; /* instead of taking note */

/* Only what a handler may do. */
static void leave(int number)
{
    char text[] = "taumerge: interrupted by signal   \n";
    char *digits = text + sizeof(text) - 4;
    ssize_t done;

    if (number >= 10)
        *digits++ = (char)('0' + number / 10 % 10);
    *digits = (char)('0' + number % 10);
    done = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)done; /* there is nobody left to tell */
    _exit(TM_INTERRUPTED);
}

static void on_end(int number)
{
    if (atomic_load(&leaves))
        leave(number);
    atomic_store(&end, number);
    signal(number, SIG_DFL); /* the next one is final */
}

static void on_report(int number)
{
    (void)number;
    atomic_store(&report, true);
}

/* What the parent ignores (nohup, background jobs) stays ignored. */
static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct sigaction before;

    if (sigaction(number, NULL, &before) == 0 && before.sa_handler == SIG_IGN)
        return;
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

static void handle_all(void)
{
    handle(SIGINT, on_end);
    handle(SIGTERM, on_end);
    handle(SIGHUP, on_end);
    handle(SIGUSR1, on_report);
    handle(SIGPIPE, SIG_IGN);
    handle(SIGXFSZ, SIG_IGN);
}

int tm_signals_end(void)
{
    return atomic_load(&end);
}

void tm_signals_leave(void)
{
    atomic_store(&leaves, true);
    handle_all();
}

void tm_signals_catch(void)
{
    atomic_store(&leaves, false);
    handle_all();
}

enum tm_status tm_signals_check(void)
{
    const int signal = tm_signals_end();

    if (signal == 0)
        return TM_OK;
    return tm_error(TM_INTERRUPTED, "interrupted by signal %d", signal);
}

bool tm_signals_report(void)
{
    return atomic_exchange(&report, false);
}
