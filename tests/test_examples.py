"""Every recipe in examples/recipes does what its first lines say: run as it
is, on a model of 32 small layers, and compared with the formula in numpy."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import checkpoints
import llama
import program
from golden_check import ulp, values
from program import run

RECIPES = program.TOP / "examples" / "recipes"
ALL = sorted(RECIPES.iterdir())
LAYERS = 32
NAMES = ["base", "math", "code", "chat", "toxic"]

SHAPES = llama.shapes(LAYERS)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """{type: a folder with models/ of that type}. Recipes that rank are
    tried on F32, where no two magnitudes are the same."""
    path = tmp_path_factory.mktemp("examples")
    for i, dtype in enumerate(("BF16", "F32")):
        llama.family(path / dtype / "models", NAMES, LAYERS, dtype, i)
    yield {d: path / d for d in ("BF16", "F32")}
    shutil.rmtree(path, ignore_errors=True)


def type_of(name):
    """The inputs' type for a recipe."""
    ranks = "\ndtype: float32\n" in (RECIPES / f"{name}.yaml").read_text()
    return "F32" if ranks else "BF16"


@pytest.fixture(scope="module")
def example(places):
    """example(name, ...): the tensors of the result, and the path."""

    def merged(name, *more):
        place = places[type_of(name)]
        out = place / "-".join([name, *more]).replace("=", "-")
        args = ["merge", RECIPES / f"{name}.yaml", "-o", out, *more]
        result = run(*args, cwd=place)
        assert result.status == 0, result.err
        assert "warning" not in result.err, result.err
        return checkpoints.load(out), out

    return merged


class Models:
    """The inputs of a recipe as arrays: differences are taken in float32, as
    the program does."""

    def __init__(self, place):
        self.tensors = {
            name: checkpoints.load(place / "models" / name) for name in NAMES
        }

    def __call__(self, model, name):
        return values(self.tensors[model][name])

    def delta(self, model, name, base="base"):
        a, b = (self(m, name).astype(np.float32) for m in (model, base))
        return (a - b).astype(np.float64)


def assert_near(got, wanted):
    """Rounded once: no more than half a unit of the last place off."""
    assert sorted(got) == sorted(wanted)
    for name, want in wanted.items():
        t = got[name]
        off = np.abs(values(t) - want)
        most = 0.501 * ulp(want, t.dtype) + 2e-6 * np.abs(want).max()
        assert (off <= most).all(), (name, off.max())


def everywhere(formula):
    return {name: formula(name) for name in SHAPES}


def layer_of(name):
    found = re.search(r"layers\.(\d+)\.", name)
    return int(found[1]) / (LAYERS - 1) if found else 0.0


def gradient(points, name):
    at = np.linspace(0, 1, len(points))
    return float(np.interp(layer_of(name), at, points))


# Weighted sums


def test_task_arithmetic(example, places):
    m = Models(places["BF16"])
    got, _ = example("task_arithmetic")
    assert_near(got, everywhere(lambda n: m("base", n)
        + 0.6 * m.delta("math", n) + 0.4 * m.delta("code", n)))  # fmt: skip


def test_negation(example, places):
    m = Models(places["BF16"])
    got, _ = example("negation")
    assert_near(got, everywhere(lambda n: m("base", n)
        - (n != "lm_head.weight") * 0.8 * m.delta("toxic", n)))  # fmt: skip
    assert got["lm_head.weight"] == m.tensors["base"]["lm_head.weight"]


def test_analogy(example, places):
    m = Models(places["BF16"])
    got, _ = example("analogy")
    assert_near(got, everywhere(lambda n: m("base", n) + m.delta("math", n)
        + m.delta("chat", n) - m.delta("toxic", n)))  # fmt: skip


def test_soup(example, places):
    m = Models(places["BF16"])
    got, _ = example("soup")
    assert_near(got, everywhere(lambda n: 0.25 * m("math", n)
        + 0.25 * m("code", n) + 0.5 * m("chat", n)))  # fmt: skip


def test_metagpt(example, places):
    m = Models(places["BF16"])
    models = NAMES[1:4]
    squares = [
        sum((m.delta(x, n) ** 2).sum() for n in SHAPES) for x in models
    ]
    weights = np.array(squares) / sum(squares)
    got, _ = example("metagpt")
    assert_near(got, everywhere(lambda n: m("base", n) + sum(
        w * m.delta(x, n) for x, w in zip(models, weights))))  # fmt: skip


def test_lines(example, places):
    m = Models(places["BF16"])

    def formula(n):
        factor = 0.3 + 0.7 * layer_of(n)
        parts = m.delta("math", n) + m.delta("code", n)
        return m("base", n) + factor * parts

    assert_near(example("lines")[0], everywhere(formula))


# Ranks


def largest(d, k):
    """d where it is one of the k largest, the first of equal ones."""
    order = np.argsort(-np.abs(d).ravel(), kind="stable")[:k]
    kept = np.zeros(d.size, bool)
    kept[order] = True
    return np.where(kept.reshape(d.shape), d, 0)


def elect(parts, weights):
    """The sum of those that have the sign of the sum of all, and of their
    weights."""
    parts = [w * d for d, w in zip(parts, weights)]
    sign = np.where(sum(parts) >= 0, 1, -1)
    agree = [np.sign(p) == sign for p in parts]
    divisor = sum(w * a for a, w in zip(agree, weights))
    total = sum(p * a for a, p in zip(agree, parts))
    return total, np.where(divisor == 0, 1, divisor)


def test_ties(example, places):
    m = Models(places["F32"])

    def formula(n):
        density = gradient([1, 0.7, 0.1], n), 0.5, 0.33
        weights = (
            1.0, gradient([0, 0.3, 0.7, 1], n), 0.5 if "mlp" in n else 0.0
        )  # fmt: skip
        parts = [m.delta(x, n) for x in NAMES[1:4]]
        parts = [largest(d, int(k * d.size)) for d, k in zip(parts, density)]
        total, divisor = elect(parts, weights)
        return m("base", n) + total / divisor

    assert_near(example("ties")[0], everywhere(formula))


def test_ties_of_the_whole_model(example, places):
    """The threshold is the edge of the upper 15 bits that comes nearest."""
    m = Models(places["F32"])
    least = {}
    for x in ("math", "code"):
        d = np.concatenate([m.delta(x, n).ravel() for n in SHAPES])
        bits = np.abs(d).astype(np.float32).view(np.uint32) >> 16
        edges, kept = np.unique(bits, return_counts=True)
        kept = kept[::-1].cumsum()[::-1]
        edge = edges[np.argmin(np.abs(kept - 0.2 * len(d)))]
        least[x] = (edge << 16).astype(np.uint32).view(np.float32)

    def formula(n):
        parts = [
            np.where(np.abs(m.delta(x, n)) >= least[x], m.delta(x, n), 0)
            for x in least
        ]
        total, divisor = elect(parts, (1, 1))
        return m("base", n) + 0.9 * total / divisor

    assert_near(example("ties_whole_model")[0], everywhere(formula))


def test_breadcrumbs(example, places):
    m = Models(places["F32"])

    def kept(d):
        top, keep = int(0.01 * d.size), int(0.9 * d.size)
        return largest(d, top + keep) - largest(d, top)

    assert_near(example("breadcrumbs")[0], everywhere(lambda n: m("base", n)
        + 0.6 * kept(m.delta("math", n)) + 0.4 * kept(m.delta("code", n))
    ))  # fmt: skip


# So that an element that changed by little is not rounded to the base's.
EXACTLY = ["--set", "out_dtype=float32"]


def test_dare_ties(example, places):
    m = Models(places["F32"])
    got, _ = example("dare_ties", *EXACTLY)
    other, _ = example("dare_ties", *EXACTLY, "--seed", "7")
    assert_kept(m, got, lambda d: 0.5)
    assert_kept(m, other, lambda d: 0.5)
    assert other != got


def test_della(example, places):
    m = Models(places["F32"])
    got, _ = example("della", *EXACTLY)

    def chances(d):
        rows = np.abs(np.atleast_2d(d))
        rank = np.argsort(np.argsort(rows, 1), 1)
        return (0.5 + 0.2 * rank / (rows.shape[1] - 1)).reshape(d.shape)

    assert_kept(m, got, chances)


def assert_kept(m, got, chances):
    """As many elements changed as are to be expected, give or take five
    deviations: `chances` says how likely an element is kept."""
    assert all(t.dtype == "F32" for t in got.values())
    wanted = spread = changed = 0
    for n in SHAPES:
        lost = 1.0
        for x in ("math", "code"):
            d = m.delta(x, n)
            lost = lost * (1 - np.where(d != 0, chances(d), 0))
        wanted += (1 - lost).sum()
        spread += (lost * (1 - lost)).sum()
        changed += (values(got[n]) != m("base", n)).sum()
    assert abs(changed - wanted) < 5 * spread**0.5, (changed, wanted)


def test_sce(example, places):
    m = Models(places["F32"])

    def formula(n):
        parts = [m.delta(x, n) for x in NAMES[1:4]]
        spread = np.var(parts, axis=0)
        kept = largest(spread, int(np.count_nonzero(spread) * 0.1)) != 0
        parts = [d * kept for d in parts]
        squares = [(d * d).mean() for d in parts]
        weights = [q / sum(squares) for q in squares] if sum(squares) > 1e-6 \
            else [1 / 3] * 3  # fmt: skip
        total, divisor = elect_unweighted(parts, weights)
        return m("base", n) + total / np.maximum(divisor, 1e-6)

    assert_near(example("sce")[0], everywhere(formula))


def elect_unweighted(parts, weights):
    sign = np.where(sum(parts) >= 0, 1, -1)
    kept = [w * (np.sign(d) == sign) for d, w in zip(parts, weights)]
    return sum(k * d for k, d in zip(kept, parts)), sum(kept)


def test_arcee_fusion(example, places):
    """Every element is the base's or the fine-tune's, and few are the
    latter."""
    m = Models(places["F32"])
    got, _ = example("arcee_fusion", *EXACTLY)
    taken = changed = 0
    for n in SHAPES:
        x, b, t = values(got[n]), m("base", n), m("math", n)
        assert ((x == b) | (np.abs(x - t) <= 1e-8)).all(), n
        taken += (x != b).sum()
        changed += (t != b).sum()
    assert 0.02 * changed < taken < 0.5 * changed


# Angles


def arc(a, b, t):
    """From a to b, the lengths of which count as they are."""
    c = (a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b))
    if abs(c) > 0.9995:
        return (1 - t) * a + t * b
    th = np.arccos(c)
    return (np.sin((1 - t) * th) * a + np.sin(t * th) * b) / np.sin(th)


def test_slerp(example, places):
    m = Models(places["BF16"])

    def formula(n):
        t = 0.5
        if "self_attn" in n:
            t = gradient([0, 0.5, 0.3, 0.7, 1], n)
        elif "mlp" in n:
            t = gradient([1, 0.5, 0.7, 0.3, 0], n)
        return arc(m("math", n), m("code", n), t)

    got, _ = example("slerp")
    assert_near(got, everywhere(formula))
    for n, model in (("0.self_attn.q_proj", "math"), ("0.mlp.up_proj", "code"),
                     ("31.self_attn.k_proj", "code")):  # fmt: skip
        name = f"model.layers.{n}.weight"
        assert got[name].data == m.tensors[model][name].data


def test_nuslerp(example, places):
    m = Models(places["BF16"])
    assert_near(example("nuslerp")[0], everywhere(lambda n: m("base", n)
        + arc_of_differences(m.delta("math", n), m.delta("code", n), 0.25)
    ))  # fmt: skip


def arc_of_differences(a, b, t):
    """As arc, but for the whole range of angles."""
    c = (a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b))
    th = np.arccos(c)
    return (np.sin((1 - t) * th) * a + np.sin(t * th) * b) / np.sin(th)


def test_model_stock(example, places):
    m = Models(places["BF16"])

    def formula(n):
        parts = [m.delta(x, n) for x in NAMES[1:4]]
        size = [np.linalg.norm(d) for d in parts]
        cosines = [
            (parts[i] * parts[j]).sum() / max(size[i] * size[j], 1e-6)
            for i in range(3) for j in range(i)
        ]  # fmt: skip
        c = np.mean(np.clip(cosines, -1, 1))
        t = 3 * c / (1 + 2 * c)
        return m("base", n) + t * sum(parts) / 3

    assert_near(example("model_stock")[0], everywhere(formula))


def test_karcher(example, places):
    m = Models(places["BF16"])

    def formula(n):
        parts = [m(x, n) for x in NAMES[1:4]]
        size = [np.linalg.norm(p) for p in parts]
        units = [p / s for p, s in zip(parts, size)]
        mean = sum(units) / np.linalg.norm(sum(units))
        for _ in range(20):
            step = sum(towards(mean, u) for u in units) / 3
            length = np.linalg.norm(step)
            if length < 1e-6:
                break
            mean = mean * np.cos(length) + step / length * np.sin(length)
        return np.mean(size) * mean

    assert_near(example("karcher")[0], everywhere(formula))


def towards(mean, unit):
    c = min(1.0, (mean * unit).sum())
    th = np.arccos(c)
    return (unit - c * mean) * (th / np.sin(th)) if th > 1e-7 else 0 * mean


# Layers


def test_frankenmerge(example, places):
    m = Models(places["BF16"])
    got, out = example("frankenmerge")
    stack = [("math", i) for i in range(16)]
    stack += [("chat", i) for i in range(8, 24)]
    stack += [("math", i) for i in range(16, 32)]
    wanted = {
        n: m.tensors["math"][n] for n in SHAPES if "layers" not in n
    }
    for to, (model, layer) in enumerate(stack):
        for name in llama.BLOCK:
            source = f"model.layers.{layer}.{name}.weight"
            target = f"model.layers.{to}.{name}.weight"
            wanted[target] = m.tensors[model][source]
    assert got == wanted
    assert (out / "config.json").read_text() == llama.config(48)


# All of them


def test_every_example_is_tested():
    here = re.findall(r'example\("(\w+)"', Path(__file__).read_text())
    assert set(here) == {f.stem for f in ALL}


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_plan_of_an_example(places, path):
    result = run("plan", path, cwd=places[type_of(path.stem)])
    assert result.status == 0, result.err
    assert not result.err, result.err


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_an_example_says_what_it_is_for(path):
    lines = path.read_text().splitlines()
    comment = [line for line in lines if line.startswith("# ")]
    assert 2 <= len(comment) <= 4 and lines[0] == comment[0]
