"""Every method on models that are strange: of tensors without elements, of one
element, of one row, of five dimensions, of mixed types, all the same, with
values that are not finite, or without tensors at all."""

import json
import shutil
from itertools import product

import numpy as np
import pytest

import checkpoints
import llama
from golden_check import values
from program import DATA, USAGE, assert_refused, errors, run, some

SHAPES = {
    "none": [0], "no.rows": [0, 7], "no.columns": [7, 0], "scalar": [],
    "one": [1], "one.by.one": [1, 1], "row": [1, 37], "column": [37, 1],
    "two": [2], "odd": [13, 17], "deep": [2, 3, 1, 5, 7], "flat": [263],
    "wide": [3, 129], "layers.0.w": [5, 7], "layers.1.w": [5, 7],
    "layers.2.w": [5, 7],
}  # fmt: skip

# The types of a base and three fine-tunes.
TYPES = {
    "BF16": ["BF16"] * 4, "F16": ["F16"] * 4, "F32": ["F32"] * 4,
    "F64": ["F64"] * 4, "E4M3": ["F8_E4M3"] * 4, "E5M2": ["F8_E5M2"] * 4,
    "mixed": ["F32", "F16", "BF16", "F64"],
    "narrow": ["BF16", "F32", "F8_E4M3", "F16"],
}  # fmt: skip

METHODS = {
    m["name"]: m for m in json.loads(run("methods", "--json").out or "[]")
}

# Where a parameter is required.
VALUES = {"weight": 0.5, "t": 0.5, "beta": 0.5}


def recipe_for(name, path, **chosen):
    """A recipe with up to three models, defaults, and what is `chosen`."""
    method = METHODS[name]
    count = max(method["least"], min(method["most"] or 3, 3))
    levels = {True: {}, False: {}}
    for p in method["parameters"]:
        if p["required"] or p["name"] in chosen:
            value = chosen.get(p["name"], VALUES.get(p["name"]))
            levels[p["per_model"]][p["name"]] = value
    said = {
        "merge_method": name,
        "parameters": levels[False],
        "models": [
            {"model": str(path / str(i + 1)), "parameters": levels[True]}
            for i in range(count)
        ],
    }
    if method["base"] != "input":
        said["base_model"] = str(path / "0")
    return said


def merge(name, path, out, **chosen):
    said = recipe_for(name, path, **chosen)
    made = llama.recipe(out.parent / "r.yaml", **said)
    shutil.rmtree(out, ignore_errors=True)
    return run("merge", made, "-o", out)


def write(path, models):
    for i, model in enumerate(models):
        llama.write(path / str(i), model, 3)
    return path


def made(name, path, out, **chosen):
    result = merge(name, path, out, **chosen)
    assert result.status == 0, result.err
    return checkpoints.load(out)


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """{types: (path of four models, path of four times the base, tensors)}"""
    path, found = tmp_path_factory.mktemp("odd"), {}
    for name, types in TYPES.items():
        models = checkpoints.family(SHAPES, types)
        found[name] = (
            write(path / name, models),
            write(path / f"{name}-same", models[:1] * 4),
            models,
        )
    yield found
    shutil.rmtree(path, ignore_errors=True)


def test_there_are_methods():
    assert len(METHODS) > 20


@pytest.mark.parametrize("method, types", some(product(METHODS, TYPES)))
def test_every_shape_and_type(families, tmp_path, method, types):
    """Results are finite, and of the inputs' size."""
    path, _, models = families[types]
    got = made(method, path, tmp_path / "out")
    assert {n: t.shape for n, t in got.items()} == SHAPES
    for name, t in got.items():
        assert np.isfinite(values(t)).all(), name
        most = max(
            (np.abs(values(m[name])).max(initial=0) for m in models), default=0
        )
        assert np.abs(values(t)).max(initial=0) <= 4 * most, name


@pytest.mark.parametrize("method, types", some(product(METHODS, TYPES)))
def test_models_that_are_all_the_base(families, tmp_path, method, types):
    """Merging nothing changes nothing, not a bit."""
    _, same, models = families[types]
    got, wanted = made(method, same, tmp_path / "out"), dict(models[0])
    if (method, types) == ("arcee_fusion", "F64"):  # it works in float
        for name, t in wanted.items():
            wanted[name] = checkpoints.tensor(
                np.float64(np.float32(values(t))), "F64", t.shape
            )
    assert got == wanted


NOTHING = [
    (m["name"], p["name"], 0)
    for m in METHODS.values()
    for p in m["parameters"]
    if p["name"] in ("t", "lambda")
    or (p["name"] in ("weight", "density") and m["base"] == "needed")
]


@pytest.mark.parametrize("method, parameter, value", some(NOTHING))
def test_nothing_is_added(families, tmp_path, method, parameter, value):
    path, _, models = families["BF16"]
    got = made(method, path, tmp_path / "out", **{parameter: value})
    assert got == models[0]


NUMBERS = [
    (m["name"], p["name"])
    for m in METHODS.values()
    for p in m["parameters"]
    if p["kind"] in ("number", "whole") and (m["name"], p["name"]) not in {
        # Three scalars of different signs have no mean direction.
        ("multislerp", "eps"),
    }
]  # fmt: skip


@pytest.mark.parametrize("method, parameter", some(NUMBERS))
def test_parameters_at_the_ends_of_their_range(
    families, tmp_path, method, parameter
):
    """Finite numbers, or a refusal that says why."""
    (p,) = [
        p for p in METHODS[method]["parameters"] if p["name"] == parameter
    ]
    path = families["BF16"][0]
    for value in {p["least"], p["most"], 0, 1, -1, 1e-30} - {None}:
        if p["kind"] == "whole" and value != int(value):
            continue
        if p["least"] is not None and value < p["least"]:
            continue
        if p["most"] is not None and value > p["most"]:
            continue
        result = merge(method, path, tmp_path / "out", **{parameter: value})
        if result.status != 0:
            assert_refused(result, (USAGE, DATA), tmp_path / "out")
            assert "tensor '" in result.err
            assert "r.yaml:" in result.err or result.status == DATA
            continue
        for name, t in checkpoints.load(tmp_path / "out").items():
            assert np.isfinite(values(t)).all(), (value, name)


# What has to measure where numbers are infinite or NaN refuses them.
WEIGHS_ONLY = {
    "task_arithmetic", "linear", "breadcrumbs", "dare_linear", "della_linear",
    "lines", "passthrough",
}  # fmt: skip


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("method", METHODS)
def test_a_value_that_is_not_finite(families, tmp_path, method, value):
    models = [dict(m) for m in families["BF16"][2]]
    t = models[1]["odd"]
    numbers = values(t).copy().reshape(-1)
    numbers[3] = float(value)
    models[1]["odd"] = checkpoints.tensor(numbers, "BF16", t.shape)
    path = write(tmp_path / "models", models)
    result = merge(method, path, tmp_path / "out")
    if method in WEIGHS_ONLY:
        assert result.status == 0, result.err
        got = values(checkpoints.load(tmp_path / "out")["odd"]).reshape(-1)
        assert np.flatnonzero(~np.isfinite(got)).tolist() == [3]
        if method != "passthrough":
            assert "tensor 'odd': 1 infinite or NaN in" in result.err
        return
    assert_refused(result, DATA, tmp_path / "out")
    (told,) = errors(result)
    assert "tensor 'odd'" in told and method in told


@pytest.mark.parametrize("method", METHODS)
def test_models_without_tensors(tmp_path, method):
    path = write(tmp_path / "models", [{}] * 4)
    assert made(method, path, tmp_path / "out") == {}


@pytest.mark.parametrize("method", METHODS)
def test_tensors_that_are_no_numbers_of_a_model(families, tmp_path, method):
    """Integers are copied where all have the same."""
    models = [dict(m) for m in families["BF16"][2]]
    for i, model in enumerate(models):
        model["ids"] = checkpoints.raw(np.arange(5), "I64")
        model["mask"] = checkpoints.raw(bytes([1, 0, 1]), "BOOL")
    path = write(tmp_path / "models", models)
    got = made(method, path, tmp_path / "out")
    assert got["ids"] == models[0]["ids"] and got["mask"] == models[0]["mask"]
    for model in models[1:]:
        model["ids"] = checkpoints.raw(np.arange(5) ** 2, "I64")
    models[1]["ids"] = checkpoints.raw(np.arange(5) + 1, "I64")
    write(path, models)
    result = merge(method, path, tmp_path / "out")
    if method == "passthrough":  # of one model: there is nothing to compare
        assert result.status == 0, result.err
        return
    assert_refused(result, DATA, tmp_path / "out")
    assert all("'ids'" in told and "I64" in told for told in errors(result))
