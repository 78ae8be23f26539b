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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import checkpoints
import program
from llama import models, recipe
from program import (
    CANNOT_CREATE,
    DATA,
    INTERRUPTED,
    IO_ERROR,
    SYSTEM,
    run,
    scaled,
    smallest_memory,
)

# Anything but usage (64), an internal error (70) and interruption (75).
FAILED = {65, 66, 71, 73, 74}

KINDS = {
    "open": ["EACCES"], "read": ["EIO"], "write": ["EIO", "ENOSPC"],
    "sync": ["EIO"], "close": ["EIO"], "allocate": ["ENOSPC"],
    "truncate": ["EIO"], "rename": ["EROFS"],
}  # fmt: skip

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


class Work:
    """A merge that is run again and again, and what it must give."""

    def __init__(self, place, path, method, room, *more):
        self.out = path / "out"
        name, own, all_ = METHODS[method]
        said = recipe(
            path / "recipe.yaml", merge_method=name,
            base_model=str(place / "base"), parameters=all_,
            models=models(place / "one", place / "two",
                          weight=[0.4, -0.7], **own),
        )  # fmt: skip
        self.args = ["merge", said, "-o", self.out, *more, "--memory"]
        least = smallest_memory(self.args[:-1])
        self.args.append(ROOMS[room] or str(least))
        plan = ["plan", said, "--json", "--memory", self.args[-1]]
        result = run(*plan)
        assert result.status == 0, result.err
        for tensor in json.loads(result.out)["tensors"]:
            swept = room == "swept" and tensor["bytes"] > 100000
            assert tensor["read_again"] == swept, tensor
        result = run(*self.args)
        assert result.status == 0, result.err
        self.expected = checkpoints.tree_hash(self.out)

    def clear(self):
        for path in (self.out, program.sibling(self.out)):
            shutil.rmtree(path, ignore_errors=True)

    def run(self, fault, *options):
        self.clear()
        return run(*self.args, *options, env={"TAUMERGE_FAULT": fault})

    def count(self, kind, *options):
        result = self.run(f"op={kind},log=1", *options)
        assert result.status == 0, result.err
        return int(re.search(r"fault: (\d+) op", result.err)[1])

    def check(self, result, statuses, what):
        """All or nothing; says which it was."""
        if result.status == 0:
            assert checkpoints.tree_hash(self.out) == self.expected, what
            assert not program.sibling(self.out).exists(), what
            return True
        assert result.status in statuses, (what, result)
        assert re.match(r"taumerge: \S*/\S+: ", result.err), (what, result)
        assert not self.out.exists(), what
        assert not program.sibling(self.out).exists(), what
        return False


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
    return Work(place, shm_path, *request.param)


# Disks that fail


@pytest.mark.parametrize("how", ["once", "ever"])
def test_every_operation_failing(work, how):
    for kind, errors in KINDS.items():
        count = work.count(kind)
        step = max(1, count // scaled(40, 3))
        for errno in errors:
            for k in range(1, count + 1, step):
                what = f"op={kind},k={k},errno={errno},for={how}"
                work.check(work.run(what), FAILED, what)


@pytest.mark.parametrize(
    "kind, errno, status",
    [("read", "EIO", IO_ERROR), ("write", "EIO", IO_ERROR),
     ("write", "ENOSPC", CANNOT_CREATE)],
)  # fmt: skip
def test_the_status_of_a_failure(work, kind, errno, status):
    count = work.count(kind)
    for k in {1, count // 2, count}:
        what = f"op={kind},k={k},errno={errno},for=ever"
        assert not work.check(work.run(what), {status}, what)


def test_short_transfers_and_interruptions(work):
    for kind in ("read", "write"):
        count = work.count(kind)
        for k in range(1, count + 1, max(1, count // scaled(20, 3))):
            for error in ("short=1", "errno=EINTR", "errno=EAGAIN"):
                what = f"op={kind},k={k},{error}"
                assert work.check(work.run(what), set(), what)


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("io", ["uring", "threads"])
def test_reads_that_arrive_in_any_order(work, io, threads):
    """Units are measured as they come, and added up in their order."""
    options = ["--io", io, "--threads", threads]
    for seed in range(1, scaled(8, 3)):
        what = f"shuffle={seed}"
        assert work.check(work.run(what, *options), set(), what)


# Memory that runs out


@pytest.mark.skipif(
    program.SANITIZED, reason="sanitizers have an allocator of their own"
)
@pytest.mark.skipif(
    not LIBRARY.exists(), reason=f"{LIBRARY.name} is not built"
)
@pytest.mark.parametrize("ever", [None, "1"], ids=["once", "ever"])
def test_every_allocation_failing(work, ever):
    args = [*work.args, "--threads", "2"]
    args.remove("-o")
    args.remove(work.out)

    def run_one(k, out, log=None):
        env = {
            "LD_PRELOAD": LIBRARY, "FAILALLOC": k,
            "FAILALLOC_EVER": ever, "FAILALLOC_LOG": log,
        }  # fmt: skip
        return run(*args, "-o", out, env=env)

    def check(k):
        out = work.out.parent / f"out{k}"
        result = run_one(k, out)
        if result.status == 0:
            assert checkpoints.tree_hash(out) == work.expected, (k, result)
        else:
            assert result.status in {SYSTEM, CANNOT_CREATE, IO_ERROR}, k
            assert re.search("^taumerge: ", result.err, re.M), (k, result)
            assert not out.exists(), (k, result)
        left = program.sibling(out)
        if left.exists():
            # The C library lists no folder without memory.
            assert ever and "cannot remove" in result.err, (k, result)
        for path in (out, left):
            shutil.rmtree(path, ignore_errors=True)
        return result.status == 0

    counted = run_one(0, work.out.parent / "counted", "1")
    assert counted.status == 0, counted.err
    count = int(re.search(r"failalloc: (\d+) calls", counted.err)[1])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        worked = list(pool.map(check, range(1, count, max(1, count // 100))))
    assert not all(worked)
    assert check(count + 3), "all is well again behind the last one"


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
    out = big_tmp / "out.safetensors"
    pick = random.Random(1)
    ended = 0
    for i in range(scaled(16, 6)):
        running = program.start(*slow[i % 2])
        program.wait_for(program.sibling(out).exists)
        time.sleep(pick.random() * scaled(0.3, 1.0))
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=program.PATIENCE)
        program.check_sanitizers(err)
        if running.returncode == 0:
            for path in big_tmp.glob("out.*"):
                path.unlink()
            continue
        ended += 1
        assert running.returncode in (INTERRUPTED, -signal.SIGINT), err
        assert not out.exists() and not program.sibling(out).exists(), err
    assert ended


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
    assert not program.sibling(out).exists()
