/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpus: how many threads may compute.
 *
 * The smallest of the CPUs in the affinity mask, the cgroup's CPU quota
 * (rounded up) and `wish` (0: no wish); at least 1. OpenMP's own count knows
 * nothing of the quota, and threads beyond it are stopped for most of each
 * scheduling period.
 */
#ifndef TM_SRC_CPUS_H
#define TM_SRC_CPUS_H

unsigned tm_cpus_to_use(unsigned wish);

/*
 * How many of `count` threads can be started now, beside this one. OpenMP's
 * libraries end the program where one cannot.
 */
unsigned tm_cpus_startable(unsigned count);

#endif
