/* SPDX-License-Identifier: Apache-2.0 */
/* cpu: what the processor and the operating system support. */
#include "kernels/cpu.h"

#include <float.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const names[TM_NUM_ISAS] = {
    [TM_ISA_PORTABLE] = "portable",
    [TM_ISA_NEON] = "neon",
    [TM_ISA_AVX2] = "avx2",
    [TM_ISA_AVX512] = "avx512",
};

const char *tm_isa_name(enum tm_isa isa)
{
    return names[isa];
}

#if defined(__x86_64__)

/* Not every compiler knows "f16c" as a name for __builtin_cpu_supports. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

/* __builtin_cpu_supports also asks whether the system saves the registers. */
static bool has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           has_f16c();
}

/*
 * VBMI2, which rans uses, came with the cores that no longer lower their
 * clock for 512-bit vectors (Ice Lake, Zen 4): asking for it leaves out those
 * that do (Skylake-SP, Cascade Lake), where AVX2 is the faster choice.
 */
static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vbmi2");
}

bool tm_isa_available(enum tm_isa isa)
{
    switch (isa) {
    case TM_ISA_PORTABLE:
        return true;
    case TM_ISA_AVX2:
        return has_avx2();
    case TM_ISA_AVX512:
        return has_avx512();
    default:
        return false;
    }
}

#elif defined(__aarch64__)

bool tm_isa_available(enum tm_isa isa)
{
    return isa == TM_ISA_PORTABLE || isa == TM_ISA_NEON;
}

#else

bool tm_isa_available(enum tm_isa isa)
{
    return isa == TM_ISA_PORTABLE;
}

#endif

bool tm_isa_choose(const char *cap, enum tm_isa *isa)
{
    bool capped = cap != NULL && cap[0] != '\0';

    for (int i = TM_NUM_ISAS - 1; i >= 0; i--) {
        if (capped && strcmp(cap, names[i]) != 0)
            continue;
        if (tm_isa_available((enum tm_isa)i)) {
            *isa = (enum tm_isa)i;
            return true;
        }
    }
    return false;
}

/*
 * Seen from its effects, so that it holds for every processor. The volatiles
 * keep the compiler from doing the sums itself.
 */
static bool rounds_to_nearest_even(void)
{
    volatile float one = 1.0f, half_ulp = FLT_EPSILON / 2;
    volatile float below = one + half_ulp;
    volatile float above = one + FLT_EPSILON + half_ulp;
    volatile float negative = -one - half_ulp;

    return below == 1.0f && above == 1.0f + 2 * FLT_EPSILON &&
           negative == -1.0f;
}

static bool keeps_subnormals(void)
{
    volatile float small = FLT_MIN;
    volatile float result = small / 2;
    volatile float again = result * 2;
    volatile double small64 = DBL_MIN;
    volatile double result64 = small64 / 2;
    volatile double again64 = result64 * 2;
    float stored = result;
    double stored64 = result64;
    uint32_t bits;
    uint64_t bits64;

    memcpy(&bits, &stored, sizeof(bits));
    memcpy(&bits64, &stored64, sizeof(bits64));
    return bits != 0 && bits64 != 0 && again == FLT_MIN && again64 == DBL_MIN;
}

/* ARM can also change what a half-precision number means. */
static bool half_is_ieee(void)
{
#if defined(__aarch64__)
    const uint64_t alternative_half = UINT64_C(1) << 26;
    uint64_t fpcr;

    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return (fpcr & alternative_half) == 0;
#else
    return true;
#endif
}

bool tm_fp_mode_is_default(void)
{
    return rounds_to_nearest_even() && keeps_subnormals() && half_is_ieee();
}
