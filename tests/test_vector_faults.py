"""Commands about stored vectors on disks that fail: the right bytes, or a
clean error and nothing."""

import os
import re
import shutil

import numpy as np
import pytest

import checkpoints
import program
from checkpoints import raw, write_file
from program import CANNOT_CREATE, DATA, IO_ERROR, run, scaled
from vectors import diff

# Anything but usage (64), an internal error (70) and interruption (75).
FAILED = {65, 66, 71, 73, 74}

KINDS = {
    "open": ["EACCES", "EMFILE"], "read": ["EIO"], "write": ["EIO", "ENOSPC"],
    "sync": ["EIO", "ENOSPC"], "close": ["EIO"], "allocate": ["ENOSPC"],
    "truncate": ["EIO"], "mkdir": ["EACCES"], "rename": ["EROFS"],
    "unlink": ["EIO"],
}  # fmt: skip

WORKS = ["diff", "diff two", "apply", "merge", "merge --as-vector"]


class Work:
    """A command that is run again and again, and what it must give."""

    def __init__(self, made, which, path):
        self.out = path / "out"
        again = shutil.copytree(made.tuned, path / "again")
        args = program.merge_args(made.base, [(made.vector, 0.5)], self.out)
        args.append("--allow-extra")
        self.args = {
            "diff": ["diff", made.base, made.tuned, "-o", self.out],
            "diff two": ["diff", made.base, made.tuned, again, "-o", self.out],
            "apply": ["apply", made.base, made.vector, "-o", self.out],
            "merge": args,
            "merge --as-vector": [*args, "--as-vector"],
        }[which]
        result = run(*self.args)
        assert result.status == 0, result.err
        self.expected = checkpoints.tree_hash(self.out)
        shutil.rmtree(self.out)

    def run(self, fault, *options):
        for path in (self.out, program.sibling(self.out)):
            shutil.rmtree(path, ignore_errors=True)
        env = {"TAUMERGE_FAULT": fault}
        return run(*self.args, *options, env=env)

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
        lines = result.err.splitlines()
        assert result.status in statuses, (what, result)
        assert any(
            re.match(r"taumerge: \S*/\S+: ", line) for line in lines
        ), (what, result.err)
        assert not self.out.exists(), what
        return False


@pytest.fixture(params=WORKS)
def work(request, small_pair, shm_path):
    return Work(small_pair, request.param, shm_path)


@pytest.mark.parametrize("how", ["once", "ever"])
@pytest.mark.parametrize("io", ["uring", "threads"])
def test_every_operation_failing(work, io, how):
    for kind, errors in KINDS.items():
        count = work.count(kind, "--io", io)
        step = scaled(1, max(1, count // 3))
        for errno in errors:
            for k in range(1, count + 1, step):
                what = f"op={kind},k={k},errno={errno},for={how}"
                result = work.run(what, "--io", io)
                worked = work.check(result, FAILED, what)
                if not worked and kind != "unlink":
                    assert not program.sibling(work.out).exists(), what


def test_the_faults_are_real(work):
    for kind in ("open", "read", "write", "sync", "mkdir", "rename"):
        assert work.count(kind) > 0, kind
        result = work.run(f"op={kind},k=1,errno=EIO,for=ever")
        assert not work.check(result, FAILED, kind), kind


@pytest.mark.parametrize("kind, status", [("read", {IO_ERROR}),
    ("write", {IO_ERROR}), ("sync", {IO_ERROR})])  # fmt: skip
def test_the_status_of_a_failure(work, kind, status):
    result = work.run(f"op={kind},k=1,errno=EIO,for=ever")
    assert not work.check(result, status, kind)


def test_no_space(work):
    result = work.run("op=write,k=1,errno=ENOSPC,for=ever")
    assert not work.check(result, {CANNOT_CREATE}, "write")


def test_short_transfers_and_interruptions(work):
    for kind in ("read", "write"):
        count = work.count(kind)
        for k in range(1, count + 1, scaled(1, max(1, count // 3))):
            for error in ("short=1", "errno=EINTR", "errno=EAGAIN"):
                what = f"op={kind},k={k},{error}"
                assert work.check(work.run(what), set(), what)


def test_bits_that_the_disk_flips_while_it_writes(work):
    """A vector whose bits flipped does not verify."""
    count, found = work.count("write"), 0
    for k in range(1, count + 1):
        result = work.run(f"op=write,k={k},flip=1")
        if result.status != 0:
            continue
        same = checkpoints.tree_hash(work.out) == work.expected
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
        result = work.run(f"op=read,k={k},flip=1")
        if work.args[0] == "apply":
            work.check(result, {DATA}, k)


def test_every_operation_once_failing_without_a_trace(work):
    """The same for any kind, so that none is forgotten."""
    count = work.count("any")
    for k in range(1, count + 1, scaled(1, max(1, count // 5))):
        what = f"op=any,k={k},errno=EIO"
        work.check(work.run(what), FAILED, what)


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
