/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sum_avx512: the kernels for x86-64 with AVX-512 F, BW, VL and DQ.
 *
 * The instruction set is asked for here and not on the compiler's command
 * line, so that nothing else in the program is compiled for it by accident.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/sum_kernels.h"

#if defined(__clang__)
#pragma clang attribute push(                                                  \
    __attribute__((                                                            \
        target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq"))),          \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
#endif

#include "kernels/vec_avx512.h"

#define TM_SUM_TABLE tm_sum_avx512
#include "kernels/sum_template.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
