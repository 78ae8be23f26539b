/* SPDX-License-Identifier: Apache-2.0 */
/* row_neon: the kernels for 64-bit ARM, which always has what they need. */
#if defined(__aarch64__)

#define ROW_DOUBLES  2
#define TM_ROW_TABLE tm_row_neon
#include "kernels/row_template.h"

#endif
