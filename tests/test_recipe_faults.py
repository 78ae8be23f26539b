"""Methods that measure tensors before they make them, where disks, memory and
patience run out: the same bytes, or a clean error and nothing.

Tensors here are larger than a unit (src/unit.h). With little memory they are
read again for each phase; with more, all of their units are kept, and wait
for each other."""

import json
import os
import random
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import checkpoints
import program
from llama import models, recipe
from oracle import (
    BY_THE_CLOCK,
    CLEAN,
    EVERYWHERE,
    Job,
    all_faults,
    all_transients,
    in_parallel,
)
from program import (
    CANNOT_CREATE,
    DATA,
    INTERRUPTED,
    IO_ERROR,
    run,
    scaled,
    smallest_memory,
)

LIBRARY = program.BUILD / "tests" / "unit" / "failalloc.so"

# Several units at 64 KiB elements each; one that is small; one of one row.
SHAPES = {
    "large.weight": [640, 512],
    "small.weight": [8, 5],
    "norm.weight": [70],
    "second.weight": [200, 1000],
}

# name: (method, parameters of the models, of the merge)
METHODS = {
    "ties": ("ties", {"density": [0.3, 0.6]}, {}),
    "ties of the model": (
        "ties", {"density": [0.3, 0.6]}, {"scope": "model", "rescale": True}
    ),
    "della": ("della", {"density": [0.5, 0.7], "epsilon": [0.1, 0.1]}, {}),
}  # fmt: skip

# The least that there may be, and enough for all units of a tensor.
ROOMS = {"swept": None, "kept": "256M"}

WORKS = [(method, room) for method in METHODS for room in ROOMS]


def job_of(place, path, method, room):
    """A merge that is run again and again."""
    name, own, all_ = METHODS[method]
    said = recipe(
        path / "recipe.yaml", merge_method=name,
        base_model=str(place / "base"), parameters=all_,
        models=models(place / "one", place / "two",
                      weight=[0.4, -0.7], **own),
    )  # fmt: skip
    args = ["merge", said]
    memory = ROOMS[room] or str(smallest_memory([*args, "-o", path / "out"]))
    args += ["--memory", memory]
    result = run("plan", *args[1:], "--json")
    assert result.status == 0, result.err
    for tensor in json.loads(result.out)["tensors"]:
        swept = room == "swept" and tensor["bytes"] > 100000
        assert tensor["read_again"] == swept, tensor
    inputs = [place / name for name in ("base", "one", "two")]
    return Job(path / "job", args, [*inputs, said])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base and two fine-tunes of it."""
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(
        tempfile.mkdtemp(dir=shm or tmp_path_factory.mktemp("recipes"),
                         prefix="taumerge-test-")
    )  # fmt: skip
    made = checkpoints.family(SHAPES, ["BF16"] * 3)
    for name, model in zip(("base", "one", "two"), made):
        parts = checkpoints.split(model, 2 if name == "base" else 1)
        checkpoints.write_shards(path / name, parts, side_files=False)
    before = checkpoints.tree_hash(path)
    yield path
    after = checkpoints.tree_hash(path)
    shutil.rmtree(path)
    assert after == before, "the program wrote to its inputs"


@pytest.fixture(params=WORKS, ids=lambda w: "-".join(w).replace(" ", "-"))
def work(request, place, shm_path):
    return job_of(place, shm_path, *request.param)


# Disks that fail


# Marks come after every unit, or after every tensor where all of its units are
# kept; a second test has none.
OFTEN = [EVERYWHERE, BY_THE_CLOCK]


@pytest.mark.parametrize("often", OFTEN)
def test_every_operation_failing(work, often):
    faults = all_faults(work, often=often)
    most = scaled(45, 20)
    share = faults[:: -(-len(faults) // most)]
    tries = in_parallel(lambda f: work.meet(f, often=often), share)
    assert any(tried.kept for tried in tries) or often is BY_THE_CLOCK


@pytest.mark.parametrize(
    "kind, errno, status",
    [("read", "EIO", IO_ERROR), ("write", "EIO", IO_ERROR),
     ("write", "ENOSPC", CANNOT_CREATE)],
)  # fmt: skip
def test_the_status_of_a_failure(work, kind, errno, status):
    count = work.count(kind)
    for k in {1, count // 2, count}:
        what = f"op={kind},k={k},errno={errno},for=ever"
        assert work.meet(what).result.status == status


@pytest.mark.parametrize("often", OFTEN)
def test_short_transfers_and_interruptions(work, often):
    faults = all_transients(work, often=often)

    def check(what):
        work.attempt(set(), what, fault=what, often=often)

    in_parallel(check, faults[:: -(-len(faults) // scaled(30, 8))])


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("io", ["uring", "threads"])
def test_reads_that_arrive_in_any_order(work, io, threads):
    """Units are measured as they come, and added up in their order."""
    options = ["--io", io, "--threads", threads]
    for seed in range(1, scaled(8, 3)):
        what = f"shuffle={seed}"
        often = OFTEN[seed % 2]
        work.attempt(set(), what, *options, fault=what, often=often)


# Memory that runs out


@pytest.mark.skipif(
    program.SANITIZED, reason="sanitizers have an allocator of their own"
)
@pytest.mark.skipif(
    not LIBRARY.exists(), reason=f"{LIBRARY.name} is not built"
)
@pytest.mark.parametrize("ever", [None, "1"], ids=["once", "ever"])
def test_every_allocation_failing(work, ever):
    def one(k, log=None):
        return {"LD_PRELOAD": LIBRARY, "FAILALLOC": k, "FAILALLOC_EVER": ever,
                "FAILALLOC_LOG": log}  # fmt: skip

    def check(k):
        return work.attempt(
            CLEAN, k, "--threads", "2", names=False, may_stay=True,
            often=OFTEN[k % 2], **one(k),
        ).worked  # fmt: skip

    work.clear()
    counted = work.run("--threads", "2", **one(0, "1"), often=EVERYWHERE)
    assert counted.status == 0, counted.err
    count = int(re.search(r"failalloc: (\d+) calls", counted.err)[1])
    worked = in_parallel(check, range(1, count, max(1, count // 50)))
    assert not all(worked)
    assert check(count + 99), "all is well again behind the last one"


# Whole files of nothing


def sparse(path, shape):
    """A base and two fine-tunes that take no space on the disk."""
    for name in ("base", "one", "two"):
        made = path / f"{name}.safetensors"
        checkpoints.write_sparse(made, {"w": ("BF16", shape)})
    return [path / f"{n}.safetensors" for n in ("base", "one", "two")]


MEASURED = {
    "ties": ("ties", {"weight": [1, 1], "density": [0.5, 0.5]}, {}),
    "della": (
        "della", {"weight": [1, 1], "density": [0.5, 0.5],
                  "epsilon": [0.1, 0.1]}, {}
    ),
    "karcher": ("karcher", {}, {}),
    "nuslerp": (
        "nuslerp", {"weight": [1, 1]},
        {"nuslerp_flatten": False, "nuslerp_row_wise": True},
    ),
}  # fmt: skip


def measured_args(path, method, shape):
    base, one, two = sparse(path, shape)
    name, own, all_ = MEASURED[method]
    said = {"merge_method": name, "parameters": all_,
            "models": models(one, two, **own)}  # fmt: skip
    if name in ("ties", "della"):
        said["base_model"] = str(base)
    return recipe(path / "recipe.yaml", **said)


@pytest.mark.skipif(program.SANITIZED, reason="a sanitizer takes memory")
@pytest.mark.parametrize("room", ["swept", "kept"])
@pytest.mark.parametrize("method", MEASURED)
def test_memory_is_kept_to(big_tmp, method, room):
    """--memory, and 16 MiB for the program and its libraries."""
    rows = {"swept": 25600, "kept": 1100}[room]
    made = measured_args(big_tmp, method, [rows, 4096])
    options = ["--memory", "64M"]
    told = json.loads(run("plan", made, "--json", *options).out)
    (tensor,) = told["tensors"]
    assert tensor["bytes"] > told["memory"]["span"]
    assert tensor["read_again"] == (room == "swept")
    out = big_tmp / "out.safetensors"
    result = program.run_measured(
        big_tmp, "merge", made, "-o", out, *options, "--direct", "off"
    )
    assert result.status == 0, result.err
    assert result.peak <= (64 + 16) << 20, result.peak


# What follows from measuring


@pytest.mark.parametrize("room", ROOMS)
def test_a_tensor_that_cannot_be_merged(tmp_path, room):
    """Said once, however many units wait for it."""
    names = {"one": 1.0, "two": 1.0, "three": -1.0}
    for name, x in names.items():
        w = checkpoints.tensor([x, -x] * 200000, "BF16")
        checkpoints.write_shards(
            tmp_path / name, [{"w.weight": w}], side_files=False
        )
    said = recipe(
        tmp_path / "recipe.yaml", merge_method="multislerp",
        models=models(*(tmp_path / n for n in names), weight=[1, 1, 2]),
    )  # fmt: skip
    out = tmp_path / "out"
    args = ["merge", said, "-o", out]
    memory = ROOMS[room] or str(smallest_memory(args))
    for seed in range(1, 9):
        env = {"TAUMERGE_FAULT": f"shuffle={seed}"}
        result = run(*args, "--memory", memory, env=env)
        program.assert_refused(result, DATA, out, ["'w.weight'", "zero"])
        assert len(result.err.splitlines()) == 1, result.err


def test_a_model_without_an_element(tmp_path):
    """There is nothing to measure, and a file to write all the same."""
    shapes = {"a.weight": [0, 4], "b.weight": [0]}
    made = checkpoints.family(shapes, ["BF16"] * 3)
    for name, model in zip(("base", "one", "two"), made):
        checkpoints.write_shards(tmp_path / name, [model], side_files=False)
    said = recipe(
        tmp_path / "recipe.yaml", merge_method="ties",
        base_model=str(tmp_path / "base"), parameters={"scope": "model"},
        models=models(tmp_path / "one", tmp_path / "two", weight=[1, 1],
                      density=[0.5, 0.5]),
    )  # fmt: skip
    out = tmp_path / "out"
    result = run("merge", said, "-o", out)
    assert result.status == 0, result.err
    assert checkpoints.load(out) == made[0]
    assert run("verify", out).status == 0


def test_only_what_is_measured_is_read_for_it(tmp_path):
    """A tensor that is taken whole has no part in the model's threshold."""
    shapes = {"a.mlp": [40, 50], "b.attn": [60, 70], "c.mlp": [30]}
    made = checkpoints.family(shapes, ["BF16"] * 2)
    for name, model in zip(("base", "one"), made):
        checkpoints.write_shards(tmp_path / name, [model], side_files=False)
    density = [{"filter": "mlp", "value": 1.0}, {"value": 0.5}]
    said = recipe(
        tmp_path / "recipe.yaml", merge_method="ties",
        base_model=str(tmp_path / "base"), parameters={"scope": "model"},
        models=models(tmp_path / "one", weight=[1], density=[density]),
    )  # fmt: skip
    told = json.loads(run("plan", said, "--json").out)
    assert told["read_again_bytes"] == 2 * 2 * 60 * 70
    args = ["merge", said, "-o", tmp_path / "out", "--progress", "json"]
    result = run(*args)
    assert result.status == 0, result.err
    last = json.loads(
        [t for t in result.err.splitlines() if t.startswith("{")][-1]
    )
    assert last["bytes_read"] == last["bytes_to_read"] == told["read_bytes"]


def test_a_density_of_one_in_some_tensors(tmp_path):
    """What is kept whole here counts for what is kept there: of vectors that
    are alike everywhere, half of each tensor that is trimmed."""
    shapes = {"a.mlp": [90, 100], "b.attn": [100, 100]}
    base = {
        n: checkpoints.tensor(np.zeros(s), "BF16") for n, s in shapes.items()
    }
    checkpoints.write_shards(tmp_path / "base", [base], side_files=False)
    rng = np.random.default_rng(0)
    paths = []
    for name in ("one", "two"):
        tuned = {
            n: checkpoints.tensor(rng.normal(size=s), "BF16")
            for n, s in shapes.items()
        }
        paths.append(tmp_path / name)
        checkpoints.write_shards(paths[-1], [tuned], side_files=False)
    density = [[{"filter": "mlp", "value": 1.0}, {"value": 0.5}], 0.5]
    said = recipe(
        tmp_path / "recipe.yaml", merge_method="ties",
        base_model=str(tmp_path / "base"),
        parameters={"scope": "model", "normalize": False},
        models=models(*paths, weight=[1, 1e-6], density=density),
    )  # fmt: skip
    out = tmp_path / "out"
    result = run("merge", said, "-o", out)
    assert result.status == 0, result.err
    kept = {}
    for name, made in checkpoints.load(out).items():
        bits = np.frombuffer(made.data, "u2").astype("u4") << 16
        kept[name] = np.mean(abs(bits.view("f4")) > 1e-4)
    assert kept["a.mlp"] > 0.999
    assert kept["b.attn"] == pytest.approx(0.5, abs=0.02)


# Patience that runs out, and files that change


@pytest.fixture
def slow(big_tmp):
    """A merge that takes a while: its arguments, with little memory and with
    enough to keep a tensor."""
    made = measured_args(big_tmp, "ties", [scaled(16384, 4096), 4096])
    args = ["merge", made, "-o", big_tmp / "out.safetensors", "--memory"]
    return [*args, "32M"], [*args, "1G"]


def test_interrupted_in_the_middle(slow, big_tmp):
    """And gone on with, in as little memory or in more."""
    out = big_tmp / "out.safetensors"
    pick = random.Random(1)
    assert run(*slow[1]).status == 0
    expected = checkpoints.tree_hash(out)
    ended = 0
    for i in range(scaled(16, 6)):
        for path in big_tmp.glob("out.*"):
            path.unlink()
        running = program.start(*slow[i % 2], "--resume")
        program.wait_for(program.sibling(out).exists)
        time.sleep(pick.random() * scaled(0.3, 1.0))
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=program.PATIENCE)
        program.check_sanitizers(err)
        if running.returncode == 0:
            assert checkpoints.tree_hash(out) == expected
            continue
        ended += 1
        assert running.returncode in (INTERRUPTED, -signal.SIGINT), err
        assert not out.exists(), err
        if running.returncode == INTERRUPTED:
            kept = program.sibling(out).exists()
            assert kept or " is done and kept in " not in err, err
    assert ended
    result = run(*slow[0], "--resume")
    assert result.status == 0 or out.exists(), result.err
    assert checkpoints.tree_hash(out) == expected
    assert not program.sibling(out).exists()


@pytest.mark.parametrize("room", [0, 1], ids=["swept", "kept"])
@pytest.mark.parametrize("name", ["base", "two"])
def test_an_input_that_changes(slow, big_tmp, name, room):
    out = big_tmp / "out.safetensors"
    victim = big_tmp / f"{name}.safetensors"
    running = program.start(*slow[room])
    started = program.wait_for(program.sibling(out).exists)
    os.utime(victim, (1, 1))
    ran_on = running.poll() is None
    _, err = running.communicate(timeout=program.PATIENCE)
    program.check_sanitizers(err)
    if running.returncode == 0 and not ran_on:
        return
    assert started
    assert running.returncode in (DATA, IO_ERROR), err
    assert victim.name in err and not out.exists(), err
    kept = program.sibling(out).exists()
    assert kept == (" is done and kept in " in err), err
