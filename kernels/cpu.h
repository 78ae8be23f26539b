/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu: which instruction set the kernels run with.
 *
 * Chosen once, before any thread starts, as the widest that the processor and
 * the operating system support; the environment variable TAUMERGE_CPU
 * (portable, avx2, avx512, neon) caps it, so that one machine can test them
 * all. Every instruction set gives the same bits (docs/numerics.md).
 */
#ifndef TM_KERNELS_CPU_H
#define TM_KERNELS_CPU_H

#include <stdbool.h>

enum tm_isa {
    TM_ISA_PORTABLE,
    TM_ISA_NEON,
    TM_ISA_AVX2,
    TM_ISA_AVX512,
    TM_NUM_ISAS
};

/* "portable", "neon", "avx2", "avx512". */
const char *tm_isa_name(enum tm_isa isa);

/* Whether this build has kernels for `isa` and this machine can run them. */
bool tm_isa_available(enum tm_isa isa);

/*
 * The widest available set not above the cap named by `cap` (the value of
 * TAUMERGE_CPU; NULL or "" for none). Returns false if `cap` is not a name of
 * a set, or names one that is not available here.
 */
bool tm_isa_choose(const char *cap, enum tm_isa *isa);

/*
 * Whether the calling thread rounds to nearest even and keeps subnormals, as
 * the numerics require: a library linked with -ffast-math may have changed
 * that behind our back.
 */
bool tm_fp_mode_is_default(void);

#endif
