"""Memory that runs out: each allocation fails once, and all from one on.

tests/unit/failalloc.c, preloaded, makes them fail. What is promised: the
right output, or a message, a clean exit status and nothing left behind.
"""

import os
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import checkpoints
import program
from program import CANNOT_CREATE, IO_ERROR, SYSTEM

LIBRARY = program.BUILD / "tests" / "unit" / "failalloc.so"

pytestmark = [
    pytest.mark.skipif(
        program.SANITIZED, reason="sanitizers have an allocator of their own"
    ),
    pytest.mark.skipif(
        not LIBRARY.exists(), reason=f"{LIBRARY.name} is not built"
    ),
]

# Where the C library cannot list or open for want of memory, the failure is
# the file's.
CLEAN = {SYSTEM, CANNOT_CREATE, IO_ERROR}

# Runs of each kind; below, the k are spread evenly.
RUNS = int(os.environ.get("TAUMERGE_TORTURE") or 250)

SHAPES = {
    "layers.0.attention.weight": [9, 7],
    "norm": [5],
    "scale": [],
    "empty": [0, 3],
}


class Work:
    """A tiny merge in memory, and what comes out of it."""

    def __init__(self, path):
        self.path = path
        base, *tuned = checkpoints.family(SHAPES, ["BF16", "BF16", "F32"])
        self.merge = ["-b", self.write("base", base, 2)]
        for i, tensors in enumerate(tuned):
            self.merge += ["-t", self.write(f"t{i}", tensors, i + 1)]
            self.merge += ["-w", "-0.5"]
        self.reference = path / "reference"
        args = ["merge", *self.merge, "-o", self.reference, "--threads", "2"]
        assert program.run(*args).status == 0
        self.expected = checkpoints.tree_hash(self.reference)

    def write(self, name, tensors, shards):
        parts = checkpoints.split(tensors, shards)
        metadata = {"format": "pt", "a key that takes more": "than 16 bytes"}
        return checkpoints.write_shards(self.path / name, parts, metadata)

    def run(self, args, k, ever=False, log=False):
        env = {
            "LD_PRELOAD": LIBRARY,
            "FAILALLOC": k,
            "FAILALLOC_EVER": "1" if ever else None,
            "FAILALLOC_LOG": "1" if log else None,
        }
        return program.run(*args, env=env)

    def count(self, args):
        """How many allocations a run makes; for the run that says so."""
        result = self.run(args, 0, log=True)
        assert result.status == 0, result
        return int(re.search(r"failalloc: (\d+) calls", result.err)[1])


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    if shm is None:
        shm = tmp_path_factory.mktemp("torture")
    path = Path(tempfile.mkdtemp(dir=shm, prefix="taumerge-test-"))
    yield Work(path)
    shutil.rmtree(path)


def each_k(count):
    """From 1 to a few more than there are, spread over RUNS runs."""
    return range(1, count + 4, max(1, count // RUNS))


def in_parallel(check, ks):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(check, ks))


def check_failure(result, what):
    assert result.status in CLEAN, (what, result)
    assert re.search("^taumerge: ", result.err, re.M), (what, result)


@pytest.mark.parametrize("ever", [False, True], ids=["once", "ever"])
@pytest.mark.parametrize("io", ["uring", "threads"])
def test_merge(work, io, ever):
    args = ["merge", *work.merge, "--threads", "2", "--io", io]
    count = work.count([*args, "-o", work.path / "counted"])
    shutil.rmtree(work.path / "counted")

    def check(k):
        out = work.path / f"out{k}"
        result = work.run([*args, "-o", out], k, ever)
        sibling = program.sibling(out)
        if result.status == 0:
            assert checkpoints.tree_hash(out) == work.expected, (k, result)
            assert not sibling.exists(), (k, result)
            shutil.rmtree(out)
            return True
        check_failure(result, k)
        assert not out.exists(), (k, result)
        if sibling.exists():
            # The C library lists no folder without memory: then what is in
            # it stays, but the user is told.
            assert ever, (k, result)
            assert f"cannot remove '{sibling.name}'" in result.err, (k, result)
            shutil.rmtree(sibling)
        return False

    worked = in_parallel(check, each_k(count))
    # Allocations do fail, and all is well again behind the last one.
    assert not all(worked)
    assert any(worked)


@pytest.mark.parametrize("ever", [False, True], ids=["once", "ever"])
@pytest.mark.parametrize("command", ["plan", "inspect", "digest", "verify"])
def test_other_commands(work, command, ever):
    args = {
        "plan": ["plan", *work.merge, "--threads", "2", "--json"],
        "inspect": ["inspect", "--json", work.path / "base"],
        "digest": ["inspect", "--digest", work.path / "base"],
        "verify": ["verify", work.reference],
    }[command]
    count = work.count(args)

    def check(k):
        result = work.run(args, k, ever)
        if result.status != 0:
            check_failure(result, k)
        return result.status == 0

    assert not all(in_parallel(check, each_k(count)))
    assert checkpoints.tree_hash(work.reference) == work.expected


def test_verify_never_blames_the_files(work):
    """Without memory, nothing is known of them: no status 65 or 66."""
    args = ["verify", work.reference, "--json"]

    def check(k):
        result = work.run(args, k)
        assert result.status == 0 or result.status in CLEAN, (k, result)

    in_parallel(check, each_k(work.count(args)))
