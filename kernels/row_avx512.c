/* SPDX-License-Identifier: Apache-2.0 */
/*
 * row_avx512: the kernels for x86-64 with AVX-512 F, BW, VL and DQ; the
 * instruction set is asked for as in sum_avx512.c.
 */
#if defined(__x86_64__)

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/row_kernels.h"

#if defined(__clang__)
#pragma clang attribute push(                                                  \
    __attribute__((                                                            \
        target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq"))),          \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
#endif

#define ROW_DOUBLES  8
#define TM_ROW_TABLE tm_row_avx512
#include "kernels/row_template.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
