"""Memory that runs out: each allocation fails once, and all from one on.

tests/unit/failalloc.c, preloaded, makes them fail. What is promised: the
right output, or a message, a clean exit status and what can be gone on with
once there is memory.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

import checkpoints
import program
import vectors
from oracle import BY_THE_CLOCK, CLEAN, EVERYWHERE, Job, in_parallel

LIBRARY = program.BUILD / "tests" / "unit" / "failalloc.so"

pytestmark = [
    pytest.mark.skipif(
        program.SANITIZED, reason="sanitizers have an allocator of their own"
    ),
    pytest.mark.skipif(
        not LIBRARY.exists(), reason=f"{LIBRARY.name} is not built"
    ),
]

# Runs of each kind; below, the k are spread evenly.
RUNS = int(os.environ.get("TAUMERGE_TORTURE") or 250)

NAMES = ["merge", "diff", "apply", "merge --as-vector"]

SHAPES = {
    "layers.0.attention.weight": [9, 7],
    "norm": [5],
    "scale": [],
    "empty": [0, 3],
}


class Work:
    """Tiny models in memory, and what is made of them."""

    def __init__(self, path):
        self.path = path
        base, *tuned = checkpoints.family(SHAPES, ["BF16", "BF16", "F32"])
        self.merge = ["-b", self.write("base", base, 2)]
        for i, tensors in enumerate(tuned):
            self.merge += ["-t", self.write(f"t{i}", tensors, i + 1)]
            self.merge += ["-w", "-0.5"]
        self.vector = path / "vector"
        vectors.diff(path / "base", path / "t0", self.vector)
        self.reference = path / "reference"
        args = ["merge", *self.merge, "-o", self.reference, "--threads", "2"]
        assert program.run(*args).status == 0
        self.expected = checkpoints.tree_hash(self.reference)
        self.jobs = {}

    def job(self, name):
        """A command that makes an output."""
        base, tuned = self.path / "base", self.path / "t0"
        args = {
            "merge": ["merge", *self.merge],
            "diff": ["diff", base, tuned],
            "apply": ["apply", base, self.vector],
            "merge --as-vector": ["merge", *self.merge, "--as-vector"],
        }[name]
        if name not in self.jobs:
            inputs = [base, tuned, self.path / "t1", self.vector]
            args += ["--threads", "2"]
            self.jobs[name] = Job(self.path / name, args, inputs)
        return self.jobs[name]

    def write(self, name, tensors, shards):
        parts = checkpoints.split(tensors, shards)
        metadata = {"format": "pt", "a key that takes more": "than 16 bytes"}
        return checkpoints.write_shards(self.path / name, parts, metadata)

    def run(self, args, k, ever=False, log=False):
        return program.run(*args, env=failing(k, ever, log))

    def count(self, args):
        """How many allocations a run makes; for the run that says so."""
        result = self.run(args, 0, log=True)
        assert result.status == 0, result
        return calls(result)


def failing(k, ever=False, log=False):
    """The environment in which they fail."""
    return {
        "LD_PRELOAD": LIBRARY,
        "FAILALLOC": k,
        "FAILALLOC_EVER": "1" if ever else None,
        "FAILALLOC_LOG": "1" if log else None,
    }


def calls(result):
    return int(re.search(r"failalloc: (\d+) calls", result.err)[1])


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    if shm is None:
        shm = tmp_path_factory.mktemp("torture")
    path = Path(tempfile.mkdtemp(dir=shm, prefix="taumerge-test-"))
    yield Work(path)
    shutil.rmtree(path)


def each_k(count, runs=RUNS):
    """From 1 to a few more than there are, spread over so many runs."""
    return range(1, count + 4, max(1, count // runs))


def check_failure(result, what):
    assert result.status in CLEAN, (what, result)
    assert re.search("^taumerge: ", result.err, re.M), (what, result)


@pytest.mark.parametrize("often", [BY_THE_CLOCK, EVERYWHERE])
@pytest.mark.parametrize("ever", [False, True], ids=["once", "ever"])
@pytest.mark.parametrize("io", ["uring", "threads"])
@pytest.mark.parametrize("name", NAMES)
def test_what_makes_an_output(work, name, io, ever, often):
    job, options = work.job(name), ["--io", io]
    job.clear()
    counted = job.run(*options, often=often, **failing(0, log=True))
    assert counted.status == 0, counted
    count = calls(counted)

    def check(k):
        # The C library lists no folder without memory: then what is in it
        # stays, but the user is told.
        return job.attempt(
            CLEAN, k, *options, names=False, may_stay=True, often=often,
            **failing(k, ever),
        )  # fmt: skip

    runs = RUNS // (2 if name == "merge" else 8)
    tries = in_parallel(check, each_k(count, runs))
    # Allocations do fail.
    assert not all(tried.worked for tried in tries)
    assert any(tried.kept for tried in tries) or not often
    # And all is well again behind the last one.
    assert check(count + 99).worked


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
