/* SPDX-License-Identifier: Apache-2.0 */
/* row_portable: the kernels for any processor. */
#define ROW_DOUBLES  2
#define TM_ROW_TABLE tm_row_portable
#include "kernels/row_template.h"
