"""`taumerge methods`: every method, in enough detail to write a recipe."""

import json

import pytest

import program
from program import USAGE, assert_refused, run

FAMILIES = {"linear", "gram", "threshold"}
KINDS = {"number", "whole", "flag", "choice"}


@pytest.fixture(scope="module")
def methods():
    result = run("methods", "--json")
    assert result.status == 0 and not result.err
    return {m["name"]: m for m in json.loads(result.out)}


def test_the_list_names_every_method(methods):
    result = run("methods")
    assert result.status == 0 and not result.err
    title, *lines = result.out.splitlines()
    assert title.split()[:3] == ["method", "family", "passes"]
    assert [line.split()[0] for line in lines] == list(methods)
    for line, method in zip(lines, methods.values()):
        assert line.endswith("  " + method["help"])
        assert method["family"] in line


def test_all_is_said_of_each(methods):
    for method in methods.values():
        assert method["family"] in FAMILIES
        assert method["base"] in {"needed", "optional", "input"}
        assert method["passes"] >= 1 and method["source"] and method["help"]
        most = method["most"]
        assert 1 <= method["least"] <= (most or method["least"])
        names = [p["name"] for p in method["parameters"]]
        assert len(set(names)) == len(names)


def test_all_is_said_of_each_parameter(methods):
    for method in methods.values():
        for p in method["parameters"]:
            assert p["kind"] in KINDS and p["help"]
            assert isinstance(p["per_model"], bool)
            assert (p["default"] is None) == p["required"]
            if p["kind"] == "choice" and not p["required"]:
                assert p["default"] in p["choices"]
            elif p["kind"] == "flag" and not p["required"]:
                assert p["default"] in (True, False)
            elif p["kind"] in ("number", "whole") and not p["required"]:
                least, most = p["least"], p["most"]
                assert least is None or least <= p["default"]
                assert most is None or p["default"] <= most


def test_what_needs_one_pass_and_what_needs_more(methods):
    for name in ("task_arithmetic", "linear", "passthrough", "nearswap"):
        assert methods[name]["passes"] == 1, name
    for name in ("slerp", "model_stock", "karcher", "ties", "sce"):
        assert methods[name]["passes"] > 1, name


def test_what_a_seed_matters_to(methods):
    random = {name for name, m in methods.items() if m["random"]}
    assert random == {"dare_linear", "dare_ties", "della", "della_linear"}


def test_one_method(methods):
    for name, method in methods.items():
        result = run("methods", name)
        assert result.status == 0 and not result.err
        assert result.out.startswith(f"{name}: {method['help']}\n")
        for p in method["parameters"]:
            line = next(
                line for line in result.out.splitlines()
                if line.split()[:1] == [p["name"]]
            )  # fmt: skip
            assert ("required" in line) == p["required"]
            for choice in p.get("choices", []):
                assert choice in line
        alone = run("methods", name, "--json")
        assert json.loads(alone.out) == [method]


@pytest.mark.parametrize(
    "args, mentions",
    [
        (["tie"], ["tie", "did you mean 'ties'?"]),
        (["SLERP"], ["did you mean 'slerp'?"]),
        (["frobnicate"], ["taumerge methods lists them"]),
        (["ties", "sce"], ["sce"]),
        (["--frobnicate"], ["--frobnicate"]),
    ],
)
def test_what_makes_no_sense(args, mentions):
    result = program.run("methods", *args)
    assert_refused(result, USAGE, mentions=mentions)
    assert not result.out
