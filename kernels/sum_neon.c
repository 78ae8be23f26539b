/* SPDX-License-Identifier: Apache-2.0 */
/* sum_neon: the kernels for 64-bit ARM, which always has what they need. */
#if defined(__aarch64__)

#include "kernels/vec_neon.h"

#define TM_SUM_TABLE tm_sum_neon
#include "kernels/sum_template.h"

#endif
