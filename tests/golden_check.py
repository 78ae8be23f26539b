"""Compares merges with what mergekit made of the same recipes.

The archive tests/golden/mergekit.tar.xz holds checkpoints, recipes and
values; tests/golden/README.md says what its index means.
"""

import json
import tarfile
from pathlib import Path

import numpy as np

import checkpoints
import reference

ARCHIVE = Path(__file__).with_name("golden") / "mergekit.tar.xz"

# Deviations that a figure of a random merge may be off. A run makes some
# hundred of them, from one seed: more than 4 happens, 6 does not.
LIMIT = 6


def cases():
    """The entries of the index, which comes first in the archive."""
    with tarfile.open(ARCHIVE) as tar:
        return json.load(tar.extractfile(tar.next()))["cases"]


def unpack(path):
    with tarfile.open(ARCHIVE) as tar:
        for entry in tar:
            file = path / entry.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(tar.extractfile(entry).read())


def values(t):
    """The numbers of a tensor as float64, in its shape."""
    bits = reference.bits_of(t.data, t.dtype)
    wide = reference.widen(bits, t.dtype, "F64")
    return reference.values(wide, "F64").reshape(t.shape)


def cast(x, dtype):
    """Numbers rounded to a type."""
    return values(checkpoints.tensor(x, dtype))


def ulp(x, dtype):
    """The distance from |x| to the next larger number of the type."""
    _, exp, man = reference.FLOATS[dtype]
    _, e = np.frexp(np.abs(x))
    least = 2 - (1 << (exp - 1))
    return np.ldexp(1.0, np.maximum(e - 1, least) - man)


def complaints(root, case, got):
    """What is wrong with the tensors of a merge."""
    bad = wrong_tensors(case, got)
    if bad:
        return bad
    if case["kind"] == "random":
        return wrong_figures(root, case, got)
    if "choice" in case:
        bad += neither(root, case, got)
    for kind, tolerance in (("expected", "tolerance"),
                            ("exact", "tolerance_exact")):  # fmt: skip
        if kind in case:
            bad += wrong_values(root, case, got, kind, case[tolerance])
    return bad


def wrong_tensors(case, got):
    """Names, types, shapes and sums."""
    wanted = case["tensors"]
    bad = [f"{n}: not expected" for n in got if n not in wanted]
    for name, want in wanted.items():
        if name not in got:
            bad.append(f"{name}: missing")
            continue
        t = got[name]
        if (t.dtype, t.shape) != (want["dtype"], want["shape"]):
            bad.append(f"{name}: {t.dtype} {t.shape}, expected {want}")
        elif "sums" in case:
            x = values(t)
            off = case["sums"] * max(want["sum_abs"], 1e-30)
            for key, sum_ in (("sum", x.sum()), ("sum_abs", abs(x).sum())):
                if not abs(sum_ - want[key]) <= off:
                    bad.append(f"{name}: {key} {sum_}, expected {want[key]}")
    return bad


def wrong_values(root, case, got, kind, tolerance):
    ambiguous = {}
    if "ambiguous" in case:
        ambiguous = checkpoints.load(root / case["ambiguous"])
    bad = []
    for name, want in checkpoints.load(root / case[kind]).items():
        counts = np.ones(values(want).size, bool)
        if name in ambiguous:
            bits = np.frombuffer(ambiguous[name].data, np.uint8)
            bits = np.unpackbits(bits, bitorder="little")[: len(counts)]
            counts = bits == 0
        bad += [
            f"{name} ({kind}): {what}"
            for what in differences(got[name], want, tolerance, counts)
        ]
    return bad


def differences(got, want, tolerance, counts):
    """An element is right within `max_ulp` units of the last place or within
    `rel_to_max` of the tensor's largest magnitude."""
    g, w = values(got).ravel()[counts], values(want).ravel()[counts]
    d = np.where((g == w) | (np.isnan(g) & np.isnan(w)), 0, np.abs(g - w))
    near = tolerance["rel_to_max"] * abs(w[np.isfinite(w)]).max(initial=0)
    unit = 1.001 * tolerance.get("max_ulp", 0) * ulp(w, want.dtype)
    off = ~(d <= np.maximum(unit, near))
    bad = []
    if off.sum() > tolerance.get("outliers", 0) * len(w):
        i = np.argmax(np.where(off, d, -1))
        bad.append(
            f"{off.sum()} of {len(w)} elements are off, the worst is "
            f"{g[i]!r}, expected {w[i]!r}"
        )
    differ = (~(d <= near)).sum()
    if "max_fraction" in tolerance:
        most = max(2, tolerance["max_fraction"] * len(w))
        if differ > most:
            bad.append(f"{differ} of {len(w)} elements differ, not {most}")
    return bad


def neither(root, case, got):
    """Elements that are neither the base's nor the fine-tune's."""
    both = [checkpoints.load(root / case[m]) for m in ("base", "choice")]
    bad = []
    for name, t in got.items():
        x = values(t)
        b, y = (cast(values(model[name]), t.dtype) for model in both)
        far = np.minimum(np.abs(x - b), np.abs(x - y)) > 1e-6 * abs(b).max()
        if far.any():
            bad.append(f"{name}: {far.sum()} elements are neither")
    return bad


def figures(merged, base, tuned):
    """Of a tensor that random masks made."""
    e = merged - base
    found = {"changed": (e != 0).mean(), "sum_abs": np.abs(e).sum()}
    for i, x in enumerate(tuned):
        d = x - base
        if (d * d).sum():
            found[f"along_{i}"] = (e * d).sum() / (d * d).sum()
    return found


def wrong_figures(root, case, got):
    base, *tuned = (
        checkpoints.load(root / m) for m in (case["base"], *case["models"])
    )
    bad = []
    for name, wanted in case["statistics"].items():
        found = figures(
            values(got[name]), values(base[name]),
            [values(model[name]) for model in tuned],
        )  # fmt: skip
        bad += [
            f"{name}: {key} {found[key]:.6g}, expected {want['mean']:.6g} "
            f"+- {want['std']:.2g}"
            for key, want in wanted.items()
            if not abs(found[key] - want["mean"]) <= LIMIT * want["std"]
        ]
    return bad
