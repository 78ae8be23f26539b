/* SPDX-License-Identifier: Apache-2.0 */
/*
 * row_avx2: the kernels for x86-64 with AVX2, FMA and F16C; the instruction
 * set is asked for as in sum_avx2.c.
 */
#if defined(__x86_64__)

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/row_kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))),         \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

#define ROW_DOUBLES  4
#define TM_ROW_TABLE tm_row_avx2
#include "kernels/row_template.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
