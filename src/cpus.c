/* SPDX-License-Identifier: Apache-2.0 */
/* cpus: see cpus.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/cpus.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned affinity(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1; /* more CPUs than a cpu_set_t holds: --threads can say */
    return (unsigned)CPU_COUNT(&set);
}

/* Version 1 of cgroups: quota and period in files of their own. */
static bool read_number(const char *path, long long *number)
{
    FILE *file = fopen(path, "re");
    const bool found = file != NULL && fscanf(file, "%lld", number) == 1;

    if (file != NULL)
        fclose(file);
    return found;
}

/* Version 2: "quota period" or "max period". */
static bool read_pair(const char *path, long long *quota, long long *period)
{
    FILE *file = fopen(path, "re");
    const bool found =
        file != NULL && fscanf(file, "%lld %lld", quota, period) == 2;

    if (file != NULL)
        fclose(file);
    return found;
}

/* The path of this process's cgroup in version 2: the line "0::/path". */
static bool own_cgroup(char path[PATH_MAX])
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[PATH_MAX];
    bool found = false;

    while (file != NULL && !found && fgets(line, sizeof(line), file)) {
        if (strncmp(line, "0::/", 4) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        found = snprintf(path, PATH_MAX, "%s", line + 3) < PATH_MAX;
    }
    if (file != NULL)
        fclose(file);
    return found;
}

static unsigned in_cpus(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return UINT_MAX;
    return (unsigned)((quota + period - 1) / period);
}

/* The tightest quota from this process's cgroup up to the root. */
static unsigned quota_v2(void)
{
    char group[PATH_MAX], path[PATH_MAX + 64];
    unsigned least = UINT_MAX;
    char *slash;

    if (!own_cgroup(group))
        return UINT_MAX;
    do {
        long long quota, period;

        snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", group);
        if (read_pair(path, &quota, &period) && in_cpus(quota, period) < least)
            least = in_cpus(quota, period);
        slash = strrchr(group, '/');
        if (slash != NULL)
            *slash = '\0';
    } while (slash != NULL);
    return least;
}

static unsigned quota_v1(void)
{
    long long quota, period;

    if (!read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", &quota) ||
        !read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us", &period))
        return UINT_MAX;
    return in_cpus(quota, period);
}

unsigned tm_cpus_to_use(unsigned wish)
{
    const unsigned limits[] = {quota_v1(), quota_v2(),
                               wish > 0 ? wish : UINT_MAX};
    unsigned count = affinity();

    for (unsigned i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        if (limits[i] < count)
            count = limits[i];
    return count > 0 ? count : 1;
}

static void *wait_for_gate(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

unsigned tm_cpus_startable(unsigned count)
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *threads = calloc((size_t)count + 1, sizeof(*threads));
    unsigned started = 0;

    if (threads == NULL)
        return 0;
    pthread_mutex_lock(&gate); /* all of them are there at once */
    while (started < count &&
           pthread_create(&threads[started], NULL, wait_for_gate, &gate) == 0)
        started++;
    pthread_mutex_unlock(&gate);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    return started;
}
