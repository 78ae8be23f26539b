# SPDX-License-Identifier: Apache-2.0
"""How many weights come out other than the exact result, rounded once."""

import math
import shlex
import tempfile
from pathlib import Path

import numpy as np

import models
import peers
import recipes
from common import (
    Report,
    Trouble,
    need_space,
    program,
    recipe_command,
    remove,
    run_well,
    say,
    settings,
)

TENSORS = [
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.mlp.down_proj.weight",
]

# --- number formats --------------------------------------------------------


def widen(bits):
    """Stored bfloat16 as float64, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def narrow(x):
    """float64 to bfloat16, rounded once, to the nearest, ties to even."""
    f = x.astype(np.float32)
    odd = f.view(np.uint32).copy()
    inexact = f.astype(np.float64) != x
    # Towards zero and then the last bit set: the second rounding sees on
    # which side of a half x is.
    odd[inexact & (np.abs(f.astype(np.float64)) > np.abs(x))] -= 1
    odd[inexact] |= 1
    return ((odd + 0x7FFF + (odd >> 16 & 1)) >> 16).astype(np.uint16)


def at_half(x):
    """Elements that are halfway between two bfloat16 numbers, as far as
    float64 can tell: which way they round hangs on the last bit."""
    fraction, _ = np.frexp(x)
    place = np.abs(fraction) * 256
    return np.abs(place - np.floor(place) - 0.5) < 256 * 2.0**-40


def values(tool, out, names, dtype=np.uint16):
    """{name: elements} of some tensors of an output, as stored."""
    found = {n: np.frombuffer(data, dtype).reshape(entry["shape"])
             for n, entry, data in models.tensors(out) if n in names}
    if found.keys() != set(names):
        raise Trouble(f"{tool} left tensors out of {out}")
    return found  # fmt: skip


# --- the formulas ----------------------------------------------------------
# Of one tensor, in float64: b is the base, d are differences from it, w the
# weights. Each gives the exact values and the elements that are left out.

NOISE = 1e-6


def length(x):
    return math.sqrt(np.vdot(x, x))


def tied(magnitudes, order, at):
    """Elements as large as those either side of a place in the order: which
    of them are kept is the choice of a sort."""
    if at <= 0 or at >= magnitudes.size:
        return np.zeros(magnitudes.size, bool)
    low, high = magnitudes[order[at - 1]], magnitudes[order[at]]
    if high == 0 or high - low > NOISE * high:
        return np.zeros(magnitudes.size, bool)
    return np.abs(magnitudes - high) <= NOISE * high


def ranked(magnitudes, low, high):
    """Those whose rank is from low to high, and those at the borders."""
    order = np.argsort(magnitudes, axis=None, kind="stable")
    flat = magnitudes.ravel()
    kept = np.zeros(flat.size, bool)
    kept[order[low:high]] = True
    doubt = tied(flat, order, low) | tied(flat, order, high)
    return kept.reshape(magnitudes.shape), doubt.reshape(magnitudes.shape)


def either(*which):
    return np.logical_or.reduce(which)


def vote(d, w):
    """The sum of what has the sign of the whole sum, the sum of its weights,
    and where parts cancel."""
    parts = [p * x for p, x in zip(w, d)]
    whole = sum(parts)
    noise = NOISE * sum(np.abs(x) for x in parts)
    doubt = (np.abs(whole) <= noise) & (noise > 0)
    major = np.where(whole >= 0, 1, -1)
    kept = [np.sign(x) == major for x in parts]
    top = sum(np.where(k, x, 0) for k, x in zip(kept, parts))
    below = sum(np.where(k, p, 0.0) for k, p in zip(kept, w))
    return top, np.where(below == 0, 1, below), doubt


def scaled(d, mask):
    """What a mask keeps, with the sum of magnitudes of all."""
    kept = np.where(mask, d, 0)
    return kept * (np.abs(d).sum() / np.abs(kept).sum())


def task_arithmetic(b, d, p, masks):
    return b + sum(w * x for w, x in zip(p["weight"], d)), None


def linear(b, d, p, masks):
    w = p["weight"]
    xs = [b, *(b + x for x in d)]
    return sum(q * x for q, x in zip(w, xs)) / sum(w), None


def ties(b, d, p, masks):
    k = max(1, int(p["density"] * b.size))
    found = [ranked(np.abs(x), b.size - k, b.size) for x in d]
    d = [np.where(kept, x, 0) for x, (kept, _) in zip(d, found)]
    top, below, doubt = vote(d, p["weight"])
    return b + top / below, either(doubt, *(m for _, m in found))


def breadcrumbs(b, d, p, masks):
    n, k = b.size, int(p["density"] * b.size)
    low = max(0, n - k - int(p["gamma"] * n))
    found = [ranked(np.abs(x), low, low + k) for x in d]
    d = [np.where(kept, x, 0) for x, (kept, _) in zip(d, found)]
    total = sum(w * x for w, x in zip(p["weight"], d))
    return b + total, either(*(m for _, m in found))


def dare_ties(b, d, p, masks):
    d = [scaled(x, m) for x, m in zip(d, masks)]
    top, _, doubt = vote(d, p["weight"])
    return b + top, doubt


def della(b, d, p, masks):
    d = [scaled(x, m) for x, m in zip(d, masks)]
    top, below, doubt = vote(d, p["weight"])
    return b + top / below, doubt


def sce(b, d, p, masks):
    spread = np.var(np.stack(d), axis=0)
    k = int(np.count_nonzero(spread) * p["select_topk"])
    kept, tie = ranked(spread, b.size - k, b.size)
    d = [np.where(kept, x, 0) for x in d]
    _, _, doubt = vote(d, [1.0] * len(d))
    c = [np.vdot(x, x) / x.size for x in d]
    # mergekit's bound: where fine-tunes are near the base, all count alike.
    c = [1 / len(c)] * len(c) if sum(c) < 1e-6 else [x / sum(c) for x in c]
    major = np.where(sum(d) >= 0, 1, -1)
    agree = [np.where(np.sign(x) == major, q, 0) for x, q in zip(d, c)]
    top = sum(a * x for a, x in zip(agree, d))
    return b + top / np.maximum(sum(agree), 1e-6), doubt | tie


def slerp(b, d, p, masks):
    t, x = p["t"], b + d[0]
    c = np.vdot(b, x) / (length(b) * length(x))
    if abs(c) > 0.9995:
        return (1 - t) * b + t * x, None
    angle = math.acos(c)
    return (math.sin((1 - t) * angle) * b + math.sin(t * angle) * x) \
        / math.sin(angle), None  # fmt: skip


def multislerp(b, d, p, masks, eps=1e-8):
    w = [x / sum(p["weight"]) for x in p["weight"]]
    lengths = [length(x) for x in d]
    mean = sum(q * x / (n + eps) for q, x, n in zip(w, d, lengths))
    size = sum(q * n for q, n in zip(w, lengths)) / length(mean)
    return b + mean * math.cos(eps) * size, None


def model_stock(b, d, p, masks):
    n = len(d)
    c = np.mean([np.vdot(d[i], d[j]) / (length(d[i]) * length(d[j]))
                 for i in range(n) for j in range(i)])  # fmt: skip
    ratio = n * c / (1 + (n - 1) * c)
    return b + ratio * sum(d) / n, None


def karcher(b, d, p, masks, tolerance=1e-5):
    xs = [b, *(b + x for x in d)]
    lengths = [length(x) for x in xs]
    units = [x / n for x, n in zip(xs, lengths)]
    m = sum(units) / len(units)
    m /= length(m)
    for _ in range(10):
        step = np.zeros_like(m)
        for u in units:
            c = np.vdot(m, u)
            # The sine from what is across: 1 - c would cancel.
            across = u - c * m
            angle = math.atan2(length(across), c)
            if angle >= tolerance:
                step += angle / math.sin(angle) * across / len(units)
        size = length(step)
        if size < tolerance:
            break
        m = math.cos(size) * m + math.sin(size) * step / size
        m /= length(m)
    return m * sum(lengths) / len(lengths), None


FORMULAS = {
    f.__name__: f
    for f in (
        task_arithmetic, linear, slerp, multislerp, karcher, model_stock,
        ties, dare_ties, della, breadcrumbs, sce,
    )
}  # fmt: skip

# --- masks -----------------------------------------------------------------

# Methods whose masks are random, and one that keeps the same and adds up
# without a vote: with the weight of one model 1 and of the others 0 it shows
# that model's mask.
SHOWN_BY = {"dare_ties": "dare_linear", "della": "della_linear"}


class Tool:
    """One of the programs, with one dtype: makes outputs of recipes."""

    def __init__(self, args, name, dtype, family, tool=None):
        self.name, self.dtype, self.family = name, dtype, family
        self.mergekit = tool
        self.options = shlex.split(args.options)
        self.out = family.path / "out"

    def run(self, recipe, names, dtype=np.uint16):
        """Values of some tensors of what the recipe makes."""
        remove(self.out)
        try:
            if self.mergekit:
                peers.Mergekit(self.mergekit, recipe, self.out, self.name,
                               "--random-seed", 1).run()  # fmt: skip
            else:
                with tempfile.TemporaryDirectory() as scratch:
                    path = Path(scratch) / "recipe.yml"
                    path.write_text(recipe)
                    run_well(*recipe_command(path, self.out, "--seed", 1,
                                             *self.options))  # fmt: skip
            return values(self.name, self.out, names, dtype)
        finally:
            remove(self.out)

    def masks(self, method, names, bases):
        """{name: masks of the models}, as the tool drew them.

        An element that no fine-tune moved shows nothing, and needs no mask.
        """
        count = recipes.METHODS[method].models
        shown = {n: [] for n in names}
        for i in range(count):
            recipe = recipes.of_family(
                method, self.family, self.dtype, kind=SHOWN_BY[method],
                weight=[1.0 if j == i else 0.0 for j in range(count)],
                normalize=False, out_dtype="float32",
            )  # fmt: skip
            out = self.run(recipe, names, np.float32)
            for n in names:
                shown[n].append(out[n] != bases[n])
        return shown


# --- comparing -------------------------------------------------------------


def small_family(directory, width):
    """Models that mergekit takes for Llamas, of square tensors."""
    config = models.llama_config(10**9)
    config.update(
        vocab_size=width, hidden_size=width, intermediate_size=width,
        num_hidden_layers=1, num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
    )  # fmt: skip
    return models.Family(directory, f"square-{width}",
                         models.llama_shapes(config), 3, config,
                         tune=models.drifted_block)  # fmt: skip


def reference(method, family_values, names, masks):
    """{name: (bits, left out, halves)} by the formula."""
    m = recipes.METHODS[method]
    found = {}
    for n in names:
        b, *xs = [v[n] for v in family_values[: 1 + m.models]]
        y, doubt = FORMULAS[method](b, [x - b for x in xs],
                                    {**m.shared, **m.each},
                                    masks[n] if masks else None)  # fmt: skip
        if doubt is None:
            doubt = np.zeros(b.shape, bool)
        found[n] = narrow(y), doubt, at_half(y)
    return found


def count_off(got, wanted):
    """Shares of weights: those off, without and with those at a half, and
    what is not counted."""
    off = halves = halves_off = out = of = 0
    for n, (bits, doubt, half) in wanted.items():
        # Zeros of either sign are equal.
        zeros = (got[n] | bits) & 0x7FFF == 0
        wrong = (got[n] != bits) & ~zeros & ~doubt
        off += int((wrong & ~half).sum())
        halves += int((half & ~doubt).sum())
        halves_off += int((wrong & half).sum())
        out += int(doubt.sum())
        of += doubt.size
    return {"off": off / (of - out - halves),
            "off_with_halves": (off + halves_off) / (of - out),
            "left_out": out / of, "halves": halves / of}  # fmt: skip


def exact(args):
    """Shares of weights other than the exact result, rounded once."""
    for name in args.methods:
        if name not in FORMULAS:
            raise Trouble(f"{name} is none of {', '.join(FORMULAS)}")
    family = small_family(args.dir, args.width)
    need_space(args.dir, family.bytes + 2 * family.file_bytes,
               [family.path])  # fmt: skip
    family.make()
    tools = [Tool(args, "taumerge", "float32", family)]
    if not args.skip_mergekit:
        venv = peers.install(peers.venv_of(args))
        tools += [Tool(args, f"mergekit, {d}", d, family, venv)
                  for d in args.dtypes]  # fmt: skip
    stored = [values(program(), m, args.tensors) for m in family.models]
    wide = [{n: widen(x) for n, x in s.items()} for s in stored]
    report = Report("exact", args.dir, settings(args))
    rows, found = [], {}
    for method in args.methods:
        entry = share_off(method, tools, wide, args.tensors)
        found[method] = entry
        ours = entry["taumerge"]
        rows.append(
            [method, f"{100 * ours['left_out']:.2f} %",
             f"{100 * ours['halves']:.2f} %",
             *(f"{100 * entry[t.name]['off']:.4f} %" for t in tools),
             *(f"{100 * entry[t.name]['off_with_halves']:.4f} %"
               for t in tools)]
        )  # fmt: skip
    names = [t.name.replace("mergekit, ", "") for t in tools]
    report.table(
        f"Weights other than the exact result, rounded once: "
        f"{len(args.tensors)} tensors of {args.width} x {args.width}",
        ["", "left out", "halves", *names, *(f"{n} +" for n in names)], rows,
    )  # fmt: skip
    report.line(
        "left out: hangs on which of equal magnitudes a sort takes, or on "
        "the sign of a sum\nthat cancels; halves: between two bfloat16 "
        "numbers to the 40th bit, so that no float64\nsays which is right; "
        "+: with the halves, as float64 rounds them. bfloat16, float32:\n"
        "mergekit with such a dtype"
    )
    report.note("shares", found)
    report.line("")
    worst = max(found, key=lambda m: found[m]["taumerge"]["off"])
    report.target(f"most, percent ({worst})",
                  100 * found[worst]["taumerge"]["off"], 0.1, 4)  # fmt: skip
    return report


def share_off(method, tools, wide, names):
    """What each tool has off with one method."""
    entry, wanted = {}, None
    for tool in tools:
        masks = None
        if method in SHOWN_BY:
            masks = tool.masks(method, names, wide[0])
        # Masks are each tool's own; all else is the same for all.
        if masks is not None or wanted is None:
            wanted = reference(method, wide, names, masks)
        recipe = recipes.of_family(method, tool.family, tool.dtype)
        entry[tool.name] = count_off(tool.run(recipe, names), wanted)
        say(f"{method}: {tool.name}: {entry[tool.name]}")
    return entry
