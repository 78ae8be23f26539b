/* SPDX-License-Identifier: Apache-2.0 */
/* sum_portable: the kernels in plain C, for any processor. */
#include "kernels/vec_portable.h"

#define TM_SUM_TABLE tm_sum_portable
#include "kernels/sum_template.h"
