"""Several recipes in a file, one made of the results of others."""

import json
import os
import shutil

import pytest

import checkpoints
import llama
from llama import models, recipe
from program import (
    CANNOT_CREATE,
    INTERNAL,
    IO_ERROR,
    USAGE,
    assert_refused,
    run,
    some,
)

LAYERS = 2
NAMES = ["base", "one", "two", "three"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("series")
    llama.family(path, NAMES, LAYERS)
    before = checkpoints.tree_hash(path)
    yield path
    assert checkpoints.tree_hash(path) == before, "inputs were written to"


def linear(*names, **more):
    """An average, in float so that nothing is rounded on the way."""
    return {
        "merge_method": "linear", "dtype": "float32",
        "models": models(*names, weight=[1] * len(names)), **more,
    }  # fmt: skip


def series(path, *documents):
    path.write_text("\n---\n".join(json.dumps(d) for d in documents) + "\n")
    return path


def names_below(path):
    """What lies in a folder, but for recipes."""
    return {n for n in os.listdir(path) if not n.endswith(".yaml")}


ABOVE = [
    linear("left", "right"),
    linear("one", "two", name="left"),
    linear("two", "three", name="right"),
]


def test_documents_that_need_others(place, tmp_path):
    """As if each was made by hand, and nothing is left of them."""
    made = series(tmp_path / "made.yaml", *ABOVE)
    out = tmp_path / "out"
    result = run("merge", made, "-o", out, cwd=place)
    assert result.status == 0, result.err
    assert names_below(tmp_path) == {"out"}
    for document in ABOVE[1:]:
        name = document["name"]
        step = recipe(tmp_path / f"{name}.yaml", **document)
        result = run("merge", step, "-o", tmp_path / name, cwd=place)
        assert result.status == 0, result.err
    last = linear(tmp_path / "left", tmp_path / "right")
    wanted = tmp_path / "wanted"
    last = recipe(tmp_path / "last.yaml", **last)
    assert run("merge", last, "-o", wanted, cwd=place).status == 0
    assert checkpoints.load(out) == checkpoints.load(wanted)
    assert run("verify", out).status == 0


def test_a_chain_and_one_of_its_links(place, tmp_path):
    made = series(
        tmp_path / "made.yaml",
        linear("c", "three"),
        linear("a", "two", name="b"),
        linear("b", "two", name="c"),
        linear("one", "two", name="a"),
    )
    for args, out in (([], "whole"), (["--document", "b"], "part")):
        result = run("merge", made, "-o", tmp_path / out, *args, cwd=place)
        assert result.status == 0, result.err
    assert names_below(tmp_path) == {"whole", "part"}
    whole = checkpoints.load(tmp_path / "whole")
    assert whole != checkpoints.load(tmp_path / "part")


def test_what_is_set_is_set_in_the_last(place, tmp_path):
    made = series(tmp_path / "made.yaml", *ABOVE)
    for name, options in (
        ("plain", []),
        ("set", ["--set", "models.0.weight=3"]),
        ("other", ["--dtype", "bfloat16"]),
    ):
        result = run(
            "merge", made, "-o", tmp_path / name, *options, cwd=place
        )
        assert result.status == 0, result.err
    plain, changed, other = (
        checkpoints.load(tmp_path / n) for n in ("plain", "set", "other")
    )
    assert plain != changed
    assert {t.dtype for t in plain.values()} == {"F32"}
    assert {t.dtype for t in other.values()} == {"BF16"}


@pytest.mark.parametrize(
    "documents, name",
    [
        ([linear("a"), linear("b", name="a"), linear("a", name="b")], "'a'"),
        ([linear("a"), linear("a", "one", name="a")], "a"),
        ([linear("x/y"), linear("one", name="x/y")], "x/y"),
        ([linear("a"), linear("nowhere", name="a")], "nowhere"),
    ],
    ids=["circle", "itself", "slash", "missing"],
)
def test_what_cannot_be_made(place, tmp_path, documents, name):
    made = series(tmp_path / "made.yaml", *documents)
    result = run("merge", made, "-o", tmp_path / "out", cwd=place)
    assert_refused(result, {USAGE, 66}, tmp_path / "out", [name])
    assert names_below(tmp_path) == set()


def test_an_output_that_exists_is_found_before_the_work(place, tmp_path):
    made = series(tmp_path / "made.yaml", *ABOVE)
    (tmp_path / "out").mkdir()
    result = run("merge", made, "-o", tmp_path / "out", cwd=place)
    assert result.status == CANNOT_CREATE
    assert "read " not in result.err
    assert names_below(tmp_path) == {"out"}


@pytest.mark.parametrize("k", [1, 40, 80])
def test_nothing_is_left_of_a_failure(place, tmp_path, k):
    made = series(tmp_path / "made.yaml", *ABOVE)
    result = run(
        "merge", made, "-o", tmp_path / "out", cwd=place,
        env={"TAUMERGE_FAULT": f"op=write,k={k},errno=EIO,for=ever"},
    )  # fmt: skip
    assert result.status in (0, IO_ERROR), result.err
    assert names_below(tmp_path) == ({"out"} if result.status == 0 else set())


def test_what_a_killed_run_left_is_replaced(place, tmp_path):
    made = series(tmp_path / "made.yaml", *ABOVE)
    left = tmp_path / ".out.left.taumerge"
    left.mkdir()
    (left / "old").write_text("old")
    result = run("merge", made, "-o", tmp_path / "out", cwd=place)
    assert result.status == 0, result.err
    assert names_below(tmp_path) == {"out"}


def goes_on(place, tmp_path, made, fault, wanted):
    """Ended by the fault, and gone on with: as if nothing had been."""
    out = tmp_path / "out"
    often = {"TAUMERGE_JOURNAL": "0"}
    ended = run(
        "merge", made, "-o", out, cwd=place,
        env={**often, "TAUMERGE_FAULT": fault},
    )  # fmt: skip
    assert ended.status not in (INTERNAL, USAGE), ended.err
    result = run("merge", made, "-o", out, "--resume", cwd=place, env=often)
    assert result.status == 0 or "exists" in result.err, result.err
    assert checkpoints.tree_hash(out) == wanted, fault
    assert names_below(tmp_path) == {"out"}, fault
    shutil.rmtree(out)
    return "was complete already" in result.err


def test_a_series_is_gone_on_with(place, tmp_path):
    """The documents that were complete are not made again. Faults are counted
    for each document by itself; with end=1 the power goes after one."""
    made = series(tmp_path / "made.yaml", *ABOVE)
    out = tmp_path / "out"
    assert run("merge", made, "-o", out, cwd=place).status == 0
    wanted = checkpoints.tree_hash(out)
    shutil.rmtree(out)
    for k in some(range(1, 40, 3)):
        goes_on(place, tmp_path, made, f"crash={k}", wanted)
        fault = f"op=write,k={k},errno=ENOSPC,for=ever"
        goes_on(place, tmp_path, made, fault, wanted)
    assert goes_on(place, tmp_path, made, "crash=0,end=1", wanted)


def test_a_series_that_is_kept_is_not_overwritten(place, tmp_path):
    made = series(tmp_path / "made.yaml", *ABOVE)
    out = tmp_path / "out"
    fault = {"TAUMERGE_JOURNAL": "0", "TAUMERGE_FAULT": "crash=0,end=1"}
    run("merge", made, "-o", out, cwd=place, env=fault)
    left = names_below(tmp_path)
    result = run("merge", made, "-o", out, cwd=place)
    assert_refused(result, CANNOT_CREATE, mentions=["--resume", "--restart"])
    assert names_below(tmp_path) == left
    result = run("merge", made, "-o", out, "--restart", cwd=place)
    assert result.status == 0, result.err
    assert names_below(tmp_path) == {"out"}


def test_a_plan_can_be_made_of_those_that_need_none(place, tmp_path):
    made = series(tmp_path / "made.yaml", *ABOVE)
    assert run("plan", made, "--document", "left", cwd=place).status == 0
    result = run("plan", made, cwd=place)
    assert_refused(result, USAGE, mentions=["'left'"])
    printed = run("plan", made, "--print-recipe", cwd=place)
    assert printed.status == 0 and "left" in printed.out
    assert names_below(tmp_path) == set()
