"""Commands about stored vectors on disks that fail: the right bytes, or a
clean error and nothing, and a run that can be gone on with."""

import os
import shutil

import numpy as np
import pytest

import checkpoints
import program
from checkpoints import raw, write_file
from oracle import (
    BY_THE_CLOCK,
    CLEAN,
    EVERYWHERE,
    Job,
    all_faults,
    all_transients,
    in_parallel,
    steps,
)
from program import CANNOT_CREATE, DATA, IO_ERROR, run, scaled, some
from vectors import diff

WORKS = ["diff", "diff two", "apply", "merge", "merge --as-vector"]

# Engines, and how often there are marks.
WAYS = [
    (io, often)
    for io in ("uring", "threads")
    for often in (BY_THE_CLOCK, EVERYWHERE)
]

# Of all faults every test here takes one in so many; bench/faults.py has all.
SHARE = 8


def job_of(made, which, path):
    """A command that is run again and again."""
    again = shutil.copytree(made.tuned, path / "again")
    merge = program.merge_args(made.base, [(made.vector, 0.5)], "")[:-2]
    merge.append("--allow-extra")
    args = {
        "diff": ["diff", made.base, made.tuned],
        "diff two": ["diff", made.base, made.tuned, again],
        "apply": ["apply", made.base, made.vector],
        "merge": merge,
        "merge --as-vector": [*merge, "--as-vector"],
    }[which]
    inputs = [made.base, made.tuned, made.vector, again]
    return Job(path / "job", args, inputs)


@pytest.fixture(params=WORKS)
def work(request, small_pair, shm_path):
    return job_of(small_pair, request.param, shm_path)


def ways_of(work, faults_of):
    """[(fault, engine, marks)]: all ways, and of each its share."""
    first = WORKS.index("merge") + len(work.args)
    return [
        (fault, io, often)
        for i, (io, often) in enumerate(WAYS)
        for fault in some(
            faults_of(work, "--io", io, often=often)[(first + i) % SHARE::SHARE]
        )
    ]  # fmt: skip


def test_every_operation_failing(work):
    def check(way):
        fault, io, often = way
        return work.meet(fault, "--io", io, often=often)

    tries = in_parallel(check, ways_of(work, all_faults))
    assert any(tried.kept for tried in tries)
    assert any(tried.worked for tried in tries) or program.SANITIZED
    assert not all(tried.worked or tried.kept for tried in tries)


def test_the_faults_are_real(work):
    for kind in ("open", "read", "write", "sync", "mkdir", "rename"):
        assert work.count(kind) > 0, kind
        what = f"op={kind},k=1,errno=EIO,for=ever"
        assert not work.attempt(CLEAN, what, fault=what).worked, kind


@pytest.mark.parametrize("kind, status", [("read", {IO_ERROR}),
    ("write", {IO_ERROR}), ("sync", {IO_ERROR})])  # fmt: skip
def test_the_status_of_a_failure(work, kind, status):
    what = f"op={kind},k=1,errno=EIO,for=ever"
    assert not work.attempt(status, what, fault=what).worked


def test_no_space(work):
    """At any time: 73, and how much is missing."""
    for often in (BY_THE_CLOCK, EVERYWHERE):
        for k in steps(work.count("write", often=often), scaled(8, 3)):
            what = f"op=write,k={k},errno=ENOSPC,for=ever"
            tried = work.meet(what, often=often)
            assert tried.result.status == CANNOT_CREATE
    assert tried.kept


def test_short_transfers_and_interruptions(work):
    def check(way):
        fault, io, often = way
        work.attempt(set(), fault, "--io", io, fault=fault, often=often)

    in_parallel(check, ways_of(work, all_transients))


@pytest.mark.parametrize("io, often", WAYS)
def test_completions_in_any_order(work, io, often):
    def check(seed):
        what = f"shuffle={seed}"
        work.attempt(set(), what, "--io", io, fault=what, often=often)

    in_parallel(check, range(1, scaled(6, 3)))


def test_bits_that_the_disk_flips_while_it_writes(work):
    """A vector whose bits flipped does not verify."""
    count, found = work.count("write"), 0
    for k in range(1, count + 1):
        work.clear()
        result = work.run(fault=f"op=write,k={k},flip=1")
        if result.status != 0:
            continue
        same = checkpoints.tree_hash(work.out) == work.hash
        if work.args[0] == "apply":
            continue
        paths = [work.out]
        if not (work.out / "taumerge.json").exists():
            paths = [p.parent for p in work.out.rglob("vector.json")]
        verified = run("verify", *paths)
        assert verified.status == (0 if same else DATA), k
        found += not same
    assert found or work.args[0] == "apply"


def test_bits_that_the_disk_flips_while_it_reads(work):
    """Whatever was read wrong is found, or is an input without digests."""
    if work.args[0] == "diff":
        pytest.skip("a checkpoint says nothing of its bytes")
    for k in range(1, work.count("read") + 1):
        work.clear()
        result = work.run(fault=f"op=read,k={k},flip=1")
        if work.args[0] == "apply":
            work.judge(result, {DATA}, k)


def test_every_operation_failing_of_any_kind(work):
    """The same for any kind, so that none is forgotten."""
    count = work.count("any")

    def check(k):
        what = f"op=any,k={k},errno=EIO"
        work.attempt(CLEAN, what, fault=what, may_stay=True)

    in_parallel(check, steps(count, scaled(40, 5)))


def test_an_input_that_changes_while_it_is_read(big_tmp):
    size = scaled(256, 64) << 20
    rng = np.random.default_rng(0)
    data = rng.bytes(1 << 20) * (size >> 20)
    b, t = (big_tmp / f"{n}.safetensors" for n in "bt")
    write_file(b, {"w": raw(data, "BF16")})
    write_file(t, {"w": raw(data[::-1], "BF16")})
    vector = big_tmp / "vector"
    diff(b, t, vector)
    (shard,) = vector.glob("*.safetensors")
    for args, out, victim in (
        (["diff", b, t], "new", t), (["apply", b, vector], "o.safetensors", b),
        (["apply", b, vector], "p.safetensors", shard),
    ):  # fmt: skip
        out = big_tmp / out
        running = program.start(*args, "-o", out)
        started = program.wait_for(program.sibling(out).exists)
        os.utime(victim, (1, 1))
        ran_on = running.poll() is None
        _, err = running.communicate(timeout=program.PATIENCE)
        program.check_sanitizers(err)
        if running.returncode == 0 and not ran_on:
            continue
        assert started
        assert running.returncode in (DATA, IO_ERROR), err
        assert victim.name in err and not out.exists(), err
        assert not program.sibling(out).exists()
