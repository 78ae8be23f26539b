/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dtype: the element types of safetensors.
 *
 * The first TM_NUM_FLOATS are the floating-point types that can be merged;
 * everything else is only ever compared and copied as bytes. TM_OPAQUE is a
 * type this program has no name for: its tensors are bytes whose number the
 * file's offsets give.
 */
#ifndef TM_KERNELS_DTYPE_H
#define TM_KERNELS_DTYPE_H

#include <stdbool.h>
#include <stddef.h>

enum tm_dtype {
    TM_F8_E4M3,
    TM_F8_E5M2,
    TM_BF16,
    TM_F16,
    TM_F32,
    TM_F64,
    TM_NUM_FLOATS,
    TM_BOOL = TM_NUM_FLOATS,
    TM_F4,
    TM_F6_E2M3,
    TM_F6_E3M2,
    TM_U8,
    TM_I8,
    TM_F8_E8M0,
    TM_F8_E4M3FNUZ,
    TM_F8_E5M2FNUZ,
    TM_I16,
    TM_U16,
    TM_I32,
    TM_U32,
    TM_C64,
    TM_I64,
    TM_U64,
    TM_OPAQUE,
    TM_NUM_DTYPES
};

/* The name safetensors gives `dtype`; "?" for TM_OPAQUE. */
const char *tm_dtype_name(enum tm_dtype dtype);

/* Bits of one element; 0 for TM_OPAQUE. */
unsigned tm_dtype_bits(enum tm_dtype dtype);

/* Whether kernels can compute with `dtype`. */
static inline bool tm_dtype_is_float(enum tm_dtype dtype)
{
    return dtype < TM_NUM_FLOATS;
}

/* The type that safetensors calls `name`; TM_OPAQUE if there is none. */
enum tm_dtype tm_dtype_from_name(const char *name);

/*
 * The floating-point type a user calls `name`: torch's names (bfloat16,
 * float8_e4m3fn ...) and safetensors' (BF16 ..., in either case). Returns
 * false if `name` is neither.
 */
bool tm_dtype_from_user(const char *name, enum tm_dtype *dtype);

#endif
