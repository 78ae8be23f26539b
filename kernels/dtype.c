/* SPDX-License-Identifier: Apache-2.0 */
/* dtype: names and sizes of the element types. */
#include "kernels/dtype.h"

#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    unsigned bits;
} types[TM_NUM_DTYPES] = {
    [TM_F8_E4M3] = {"F8_E4M3", 8},
    [TM_F8_E5M2] = {"F8_E5M2", 8},
    [TM_BF16] = {"BF16", 16},
    [TM_F16] = {"F16", 16},
    [TM_F32] = {"F32", 32},
    [TM_F64] = {"F64", 64},
    [TM_BOOL] = {"BOOL", 8},
    [TM_F4] = {"F4", 4},
    [TM_F6_E2M3] = {"F6_E2M3", 6},
    [TM_F6_E3M2] = {"F6_E3M2", 6},
    [TM_U8] = {"U8", 8},
    [TM_I8] = {"I8", 8},
    [TM_F8_E8M0] = {"F8_E8M0", 8},
    [TM_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [TM_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [TM_I16] = {"I16", 16},
    [TM_U16] = {"U16", 16},
    [TM_I32] = {"I32", 32},
    [TM_U32] = {"U32", 32},
    [TM_C64] = {"C64", 64},
    [TM_I64] = {"I64", 64},
    [TM_U64] = {"U64", 64},
    [TM_OPAQUE] = {"?", 0},
};

/* What torch calls the types that can be merged, with its short forms. */
static const struct {
    const char *name;
    enum tm_dtype dtype;
} torch_names[] = {
    {"float8_e4m3fn", TM_F8_E4M3},
    {"float8_e5m2", TM_F8_E5M2},
    {"bfloat16", TM_BF16},
    {"float16", TM_F16},
    {"half", TM_F16},
    {"float32", TM_F32},
    {"float", TM_F32},
    {"float64", TM_F64},
    {"double", TM_F64},
};

const char *tm_dtype_name(enum tm_dtype dtype)
{
    return types[dtype].name;
}

unsigned tm_dtype_bits(enum tm_dtype dtype)
{
    return types[dtype].bits;
}

enum tm_dtype tm_dtype_from_name(const char *name)
{
    for (unsigned i = 0; i < TM_OPAQUE; i++)
        if (strcmp(name, types[i].name) == 0)
            return (enum tm_dtype)i;
    return TM_OPAQUE;
}

bool tm_dtype_from_user(const char *name, enum tm_dtype *dtype)
{
    for (size_t i = 0; i < sizeof(torch_names) / sizeof(torch_names[0]); i++) {
        if (strcmp(name, torch_names[i].name) == 0) {
            *dtype = torch_names[i].dtype;
            return true;
        }
    }
    for (unsigned i = 0; i < TM_NUM_FLOATS; i++) {
        if (strcasecmp(name, types[i].name) == 0) {
            *dtype = (enum tm_dtype)i;
            return true;
        }
    }
    return false;
}
