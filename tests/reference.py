"""The numbers of docs/numerics.md, version 1, once more, in numpy.

    t_i = widen(x_i) - widen(b)        0 where the widened bits are equal
    s   = fma(w_K, t_K, ... fma(w_1, t_1, 0))
    out = round(widen(b) + s)          b's own bits where s is zero

Written from the text, to be checked by eye and not to be fast. Conversions
are integer arithmetic on the bits; fused operations are exact sums rounded
once. It shares nothing with the program but the text.
"""

from fractions import Fraction

import numpy as np

# name: (numpy type of the stored bits, exponent bits, mantissa bits)
FLOATS = {
    "F8_E4M3": (np.uint8, 4, 3),
    "F8_E5M2": (np.uint8, 5, 2),
    "BF16": (np.uint16, 8, 7),
    "F16": (np.uint16, 5, 10),
    "F32": (np.uint32, 8, 23),
    "F64": (np.uint64, 11, 52),
}


def bits_of(data, dtype):
    """The stored bits of `data` (bytes) as an array of integers."""
    return np.frombuffer(data, np.dtype(FLOATS[dtype][0]).newbyteorder("<"))


def is_nonfinite(bits, dtype):
    _, exp, man = FLOATS[dtype]
    magnitude = bits & bits.dtype.type((1 << sign_bit(dtype)) - 1)
    if dtype == "F8_E4M3":  # no infinities, and one NaN only
        return magnitude == 0x7F
    return magnitude >> bits.dtype.type(man) == (1 << exp) - 1


def sign_bit(dtype):
    return 8 * np.dtype(FLOATS[dtype][0]).itemsize - 1


def canonical_nan(dtype):
    if dtype == "F8_E4M3":
        return 0x7F
    _, exp, man = FLOATS[dtype]
    return ((1 << exp) - 1) << man | 1 << (man - 1)


def widen(bits, dtype, work):
    """Stored bits to the bits of the working type `work` (F32 or F64)."""
    out_type, wexp, wman = FLOATS[work]
    if dtype == work:
        return bits.astype(out_type)
    _, exp, man = FLOATS[dtype]
    b = bits.astype(np.uint64)
    u = np.uint64
    sign = b >> u(sign_bit(dtype))
    e = (b >> u(man)) & u((1 << exp) - 1)
    m = b & u((1 << man) - 1)
    bias, wbias = (1 << (exp - 1)) - 1, (1 << (wexp - 1)) - 1
    wide_e = e + u(wbias - bias)
    wide_m = m << u(wman - man)
    special = is_nonfinite(bits, dtype)
    wide_e = np.where(special, u((1 << wexp) - 1), wide_e)
    small = (e == 0) & (m != 0)
    if wbias > bias:  # a subnormal of the narrow type is normal in the wide
        # its value is m * 2^(1 - bias - man): normalise by the top bit of m
        top = np.zeros_like(m)
        for k in range(man):
            top = np.where(m >> u(k) != 0, u(k), top)
        wide_e = np.where(small, top + u(wbias + 1 - bias - man), wide_e)
        fraction = (m - (u(1) << top)) << (u(wman) - top)
        wide_m = np.where(small, fraction, wide_m)
    else:  # BF16 to F32: the same exponents, so the same subnormals
        wide_e = np.where(small, u(0), wide_e)
    zero = (e == 0) & (m == 0)
    wide_e = np.where(zero, u(0), wide_e)
    wide_m = np.where(zero, u(0), wide_m)
    wide = sign << u(sign_bit(work)) | wide_e << u(wman) | wide_m
    return wide.astype(out_type)


def narrow(bits, work, dtype):
    """Bits of the working type to bits of `dtype`, rounded to nearest even
    where that is the narrower one."""
    out_type, exp, man = FLOATS[dtype]
    _, wexp, wman = FLOATS[work]
    u = np.uint64
    b = bits.astype(np.uint64)
    sign = b >> u(sign_bit(work))
    magnitude = b & u((1 << sign_bit(work)) - 1)
    winf = ((1 << wexp) - 1) << wman
    nan = magnitude > u(winf)
    if man >= wman:
        wide = widen(bits, work, dtype)
        return np.where(nan, u(canonical_nan(dtype)), wide).astype(out_type)

    bias, wbias = (1 << (exp - 1)) - 1, (1 << (wexp - 1)) - 1
    e = (magnitude >> u(wman)).astype(np.int64)
    m = magnitude & u((1 << wman) - 1)
    full = np.where(e > 0, m | u(1 << wman), m)  # with the hidden bit
    e = np.maximum(e, 1)
    # The value is full * 2^(e - wbias - wman). Drop as many bits as the
    # narrow type lacks, more where the result is subnormal in it.
    target = np.maximum(e - wbias + bias, 1)  # narrow exponent field
    drop = (wman - man) + (target - (e - wbias + bias))
    drop = np.minimum(drop, wman + 2)  # beyond that nothing but stickiness
    d = drop.astype(np.uint64)
    kept = full >> d
    rest = full & ((u(1) << d) - u(1))
    half = u(1) << (d - u(1))
    up = (rest > half) | ((rest == half) & (kept & u(1) == 1))
    kept = kept + up.astype(np.uint64)
    # A carry out of the mantissa moves the exponent by itself: the field is
    # added, not or-ed; the hidden bit counts one, subnormals have none.
    field = (target - 1).astype(np.uint64) << u(man)
    out = field + kept
    out = np.where(magnitude == 0, u(0), out)
    if dtype == "F8_E4M3":
        out = np.where(out > u(0x7E), u(0x7F), out)  # overflow is NaN
        nan |= magnitude == u(winf)
        overflow_nan = out == u(0x7F)
        nan |= overflow_nan
    else:
        out = np.minimum(out, u(((1 << exp) - 1) << man))
    out |= sign << u(sign_bit(dtype))
    return np.where(nan, u(canonical_nan(dtype)), out).astype(out_type)


def values(bits, work):
    return bits.view(np.float32 if work == "F32" else np.float64)


def fma32(x, y, z):
    """x * y + z in F32, rounded once.

    The product of two F32 is exact in F64. The sum is rounded to odd there
    (with the exact error of the sum): 53 bits are enough for that to make
    the second rounding the only one that counts.
    """
    p = x.astype(np.float64) * y.astype(np.float64)
    return add_to_odd(p, z.astype(np.float64)).astype(np.float32)


def add_to_odd(a, b):
    """a + b in F64; where inexact, the neighbour with an odd last bit."""
    s = a + b
    b_part = s - a
    error = (a - (s - b_part)) + (b - b_part)
    bits = s.view(np.int64)
    fix = np.isfinite(s) & (error != 0) & (bits & 1 == 0)
    outwards = (error > 0) == (s > 0)
    return (bits + np.where(fix, np.where(outwards, 1, -1), 0)).view(
        np.float64
    )


def fma64(x, y, z):
    """x * y + z in F64, rounded once: in rational numbers, so slowly."""
    special = x * y + z
    out = special.copy()
    finite = np.isfinite(x) & np.isfinite(y)
    # A product too large for F64 is not infinite before z is added.
    out[finite & ~np.isfinite(z)] = z[finite & ~np.isfinite(z)]
    for i in np.flatnonzero(finite & np.isfinite(z)):
        exact = Fraction(x[i]) * Fraction(y[i]) + Fraction(z[i])
        try:
            out[i] = float(exact)
        except OverflowError:
            out[i] = np.inf if exact > 0 else -np.inf
    return out


def merge(base, inputs, out_dtype=None):
    """Merges one tensor. `base` is (dtype, bytes), `inputs` a list of
    ((dtype, bytes), weight). Returns (bytes, counts)."""
    base_dtype, base_data = base
    out_dtype = out_dtype or base_dtype
    used = [(x, w) for x, w in inputs if w != 0]
    work = "F64" if "F64" in [base_dtype] + [x[0] for x, _ in used] else "F32"
    real = np.float32 if work == "F32" else np.float64
    fma = fma32 if work == "F32" else fma64

    b = bits_of(base_data, base_dtype)
    wide_b = widen(b, base_dtype, work)
    vb = values(wide_b, work)
    nonfinite = is_nonfinite(b, base_dtype)
    counts = {"nonfinite_inputs": int(nonfinite.sum())}
    s = np.zeros(len(b), real)
    with np.errstate(all="ignore"):
        for (dtype, data), weight in used:
            x = bits_of(data, dtype)
            bad = is_nonfinite(x, dtype)
            counts["nonfinite_inputs"] += int(bad.sum())
            nonfinite |= bad
            wide_x = widen(x, dtype, work)
            t = np.where(wide_x == wide_b, real(0), values(wide_x, work) - vb)
            s = fma(np.full(len(b), real(weight)), t.astype(real), s)
        total = (vb + s).astype(real)
    uint = FLOATS[work][0]
    out = narrow(total.view(uint), work, out_dtype)
    kept = b if out_dtype == base_dtype else narrow(wide_b, work, out_dtype)
    out = np.where(s == 0, kept, out).astype(FLOATS[out_dtype][0])
    wrong = is_nonfinite(out, out_dtype)
    counts["nonfinite_outputs"] = int(wrong.sum())
    counts["overflows"] = int((wrong & ~nonfinite).sum())
    return out.tobytes(), counts
