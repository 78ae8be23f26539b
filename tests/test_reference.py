"""The reference itself, against numpy and against rational numbers: a wrong
reference would make the other tests agree on something wrong."""

from fractions import Fraction

import numpy as np
import pytest

import checkpoints
import reference
from checkpoints import Tensor

TINY = ["F8_E4M3", "F8_E5M2", "BF16", "F16"]


def all_bits(dtype):
    kind = reference.FLOATS[dtype][0]
    return np.arange(1 << 8 * np.dtype(kind).itemsize).astype(kind)


def exact_value(bits, dtype):
    """The finite number that the stored bits mean, by the book."""
    _, exp, man = reference.FLOATS[dtype]
    sign = -1 if bits >> (exp + man) else 1
    e, m = bits >> man & ((1 << exp) - 1), bits & ((1 << man) - 1)
    power = Fraction(2) ** (max(e, 1) - ((1 << (exp - 1)) - 1) - man)
    return sign * (m + (bool(e) << man)) * power


@pytest.mark.parametrize("work", ["F32", "F64"])
@pytest.mark.parametrize("dtype", TINY)
def test_widening_keeps_every_number(dtype, work):
    bits = all_bits(dtype)
    finite = bits[~reference.is_nonfinite(bits, dtype)]
    wide = reference.values(reference.widen(finite, dtype, work), work)
    for b, w in zip(finite.tolist(), wide.tolist()):
        assert Fraction(w) == exact_value(b, dtype)


@pytest.mark.parametrize("work", ["F32", "F64"])
@pytest.mark.parametrize("dtype", TINY)
def test_narrowing_gives_every_number_back(dtype, work):
    bits = all_bits(dtype)
    back = reference.narrow(
        reference.widen(bits, dtype, work), work, dtype
    )
    infinite = reference.is_nonfinite(bits, dtype)
    assert (back == bits)[~infinite].all()
    assert reference.is_nonfinite(back, dtype)[infinite].all()


@pytest.mark.parametrize("dtype", TINY)
def test_narrowing_rounds_ties_to_even(dtype):
    bits = all_bits(dtype)
    largest = 0x7E if dtype == "F8_E4M3" else reference.canonical_nan(dtype)
    low = bits[: largest - 1]
    low = low[~reference.is_nonfinite(low + 1, dtype)]
    a = reference.widen(low, dtype, "F64").view(np.float64)
    b = reference.widen(low + 1, dtype, "F64").view(np.float64)
    middle = (a + b) / 2

    def narrowed(values):
        return reference.narrow(values.view(np.uint64), "F64", dtype)

    assert (narrowed(middle) == low + (low & 1)).all()
    assert (narrowed(np.nextafter(middle, -np.inf)) == low).all()
    assert (narrowed(np.nextafter(middle, np.inf)) == low + 1).all()


def test_conversions_agree_with_numpy():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 64, 100000, np.uint64)
    near = rng.normal(0, 1, 100000) * 2.0 ** rng.integers(-160, 140, 100000)
    for f64 in (bits, near.view(np.uint64)):
        v = f64.view(np.float64)
        v = v[np.isfinite(v)]
        for dtype, kind in (("F32", np.float32), ("F16", np.float16)):
            with np.errstate(all="ignore"):
                want = v.astype(kind).view(reference.FLOATS[dtype][0])
            got = reference.narrow(v.view(np.uint64), "F64", dtype)
            assert (got == want).all()


def test_fused_operations_round_once():
    rng = np.random.default_rng(1)
    n = 20000
    x = rng.normal(0, 1, n).astype(np.float32)
    y = rng.normal(0, 1, n).astype(np.float32)
    # Addends that nearly cancel, and ones far smaller: hard to round.
    z = -(x * y) * (1 + rng.integers(-2, 3, n) * 2.0**-23)
    z[::2] = (x * y)[::2] * 2.0 ** rng.integers(-60, 60, n // 2)
    z = z.astype(np.float32)
    got = reference.fma32(x, y, z)
    for a, b, c, g in zip(*(v.tolist() for v in (x, y, z, got))):
        exact = Fraction(a) * Fraction(b) + Fraction(c)
        down, up = np.nextafter(np.float32(g), np.float32([-np.inf, np.inf]))
        error = abs(exact - Fraction(g))
        assert error <= abs(exact - Fraction(float(down)))
        assert error <= abs(exact - Fraction(float(up)))


def test_what_no_vector_touches_keeps_its_bits():
    bits = np.array([0x7FC1, 0xFF81, 0x8000, 0xFF80, 0x0001], np.uint16)
    base = ("BF16", bits.tobytes())
    same, _ = reference.merge(base, [(base, 0.3), (base, -7.0)])
    assert same == bits.tobytes()
    cast, _ = reference.merge(base, [(base, 0.3)], "F16")
    want = np.array([0x7E00, 0x7E00, 0x8000, 0xFC00, 0x0000], np.uint16)
    assert cast == want.tobytes()


def test_files_written_here_are_what_the_official_package_reads(tmp_path):
    rng = np.random.default_rng(2)
    made = {
        dtype: Tensor(dtype, [3, 2], rng.bytes(6 * size))
        for dtype, size in checkpoints.SIZES.items()
        if dtype != "BOOL"
    }
    path = checkpoints.write_file(tmp_path / "all", made, {"a": "b"}, pad=5)
    assert checkpoints.read_file(path) == made
