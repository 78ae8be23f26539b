"""Disks that fail: a right output and exit 0, or a clean error, nothing under
the output's name, and a run that can be gone on with (tests/oracle.py)."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

import checkpoints
import oracle
import program
from checkpoints import write_shards
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
from program import (
    CANNOT_CREATE,
    IO_ERROR,
    SANITIZED,
    assert_refused,
    scaled,
    some,
)

# Anything but usage (64), an internal error (70) and interruption (75).
FAILED = {65, 66, 71, 73, 74}

# Engines, and how often there are marks.
WAYS_LISTED = [
    (io, often)
    for often in (BY_THE_CLOCK, EVERYWHERE)
    for io in ("uring", "threads")
]
WAYS = [
    pytest.param(io, often, id=f"{io}-{'marks' if often else 'none'}")
    for io, often in WAYS_LISTED
]


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory):
    """A folder in memory, where syncs cost nothing."""
    path = tmp_path_factory.mktemp("faults")
    if os.access("/dev/shm", os.W_OK):
        path = type(path)("/dev/shm") / f"taumerge-test-faults-{os.getpid()}"
        path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def work(family, in_memory):
    """Merges the family again and again."""
    inputs = [family.base_path, *family.tuned_paths]
    return Job(in_memory / "merge", family.args("")[:-2], inputs)


@pytest.fixture(scope="module")
def others(family, in_memory):
    """Merges that end in another way: with a file and what is beside it, and
    in the place of an older output."""
    base, tuned = in_memory / "b.safetensors", in_memory / "t.safetensors"
    checkpoints.write_file(base, family.base)
    checkpoints.write_file(tuned, family.tuned[0])
    args = program.merge_args(base, [(tuned, 0.5)], "")[:-2]
    inputs = [family.base_path, *family.tuned_paths]
    return {
        "one file": Job(
            in_memory / "file", args, [base, tuned], "out.safetensors"
        ),
        "an old output": Job(
            in_memory / "force", [*family.args("")[:-2], "--force"], inputs,
            old=family.tuned_paths[0],
        ),
    }  # fmt: skip


def meet_all(job, faults, *options, often=BY_THE_CLOCK):
    """They are what they should be; [whether it worked]."""
    tries = in_parallel(lambda f: job.meet(f, *options, often=often), faults)
    return [tried.worked for tried in tries]


@pytest.mark.parametrize("how", ["once", "ever"])
@pytest.mark.parametrize("io, often", WAYS)
def test_every_operation_failing(work, io, often, how):
    options = ["--io", io]
    faults = all_faults(work, *options, often=often, hows=[how])
    # What differs from way to way is when something fails, not how.
    share = faults[WAYS_LISTED.index((io, often)) % 2 :: 2]
    worked = meet_all(work, some(share), *options, often=often)
    assert not all(worked)


@pytest.mark.parametrize("often", [BY_THE_CLOCK, EVERYWHERE])
@pytest.mark.parametrize("name", ["one file", "an old output"])
def test_other_ways_to_end(others, name, often):
    job = others[name]
    ends = ("rename", "unlink", "sync", "mkdir", "close")
    faults = all_faults(job, often=often, hows=["once"])
    faults = [f for f in faults if f[3:].split(",")[0] in ends]
    meet_all(job, some(faults), often=often)


@pytest.mark.parametrize("io, often", WAYS)
def test_failing_while_going_on(work, io, often):
    """A run that failed, and fails again when it is gone on with."""
    first = f"op=write,k={work.count('write', often=EVERYWHERE) // 2}"
    options = ["--io", io, "--resume"]

    def begin():
        work.clear()
        result = work.run("--io", io, fault=first, often=EVERYWHERE)
        assert " is done and kept in " in result.err

    begin()
    log = work.run(*options, fault="log=1", often=often)
    count = oracle.operations(log)

    def check(k):
        for errno in ("EIO", "ENOSPC"):
            begin()
            what = f"op=any,k={k},errno={errno},for=ever"
            worked = work.go_on(
                CLEAN, what, *options, fault=what, often=often
            ).worked
        return worked

    tried = in_parallel(check, steps(count, scaled(25, 8)))
    assert not all(tried)


def test_the_fault_engine_really_breaks_things(work):
    """Else the tests here would prove nothing."""
    for kind in ("open", "read", "write", "sync", "mkdir", "rename"):
        assert work.count(kind) > 0, kind
        what = f"op={kind},k=1,errno=EIO,for=ever"
        assert not work.attempt(CLEAN, what, fault=what).worked, kind


@pytest.mark.parametrize(
    "kind, errno, status",
    [
        ("read", "EIO", {IO_ERROR}),
        ("write", "EIO", {IO_ERROR}),
        ("sync", "EIO", {IO_ERROR}),
        ("write", "ENOSPC", {CANNOT_CREATE}),
        ("write", "EDQUOT", {CANNOT_CREATE}),
        ("allocate", "ENOSPC", {CANNOT_CREATE}),
        ("sync", "ENOSPC", {CANNOT_CREATE}),
        ("truncate", "ENOSPC", {CANNOT_CREATE}),
        ("mkdir", "EROFS", {CANNOT_CREATE}),
        ("mkdir", "EACCES", {CANNOT_CREATE}),
    ],
)
def test_the_status_says_what_kind_of_failure(work, kind, errno, status):
    what = f"op={kind},k=1,errno={errno},for=ever"
    assert not work.attempt(status, what, fault=what).worked, kind


def test_a_failed_read_names_file_tensor_and_offset(work):
    told = set()
    for k in range(1, work.count("read") + 1):
        result = work.meet(f"op=read,k={k},errno=EIO,for=ever").result
        told |= set(re.findall(
            r"^taumerge: (\S+)\.safetensors: tensor '(\S+)': read at byte "
            r"(\d+) failed: Input/output error$", result.err, re.M,
        ))  # fmt: skip
    assert len(told) > 4


def test_no_space_in_the_middle(work):
    """How much more it takes, how much there is, and how to go on."""
    more = []
    for k in range(1, work.count("write", often=EVERYWHERE) + 1):
        what = f"op=write,k={k},errno=ENOSPC,for=ever"
        tried = work.meet(what, often=EVERYWHERE)
        told = re.search(
            r"^taumerge: \S+: the output needs [\d.]+ k?B( more)?, "
            r"[\d.]+ \w+ is free$", tried.result.err, re.M,
        )  # fmt: skip
        assert told, tried
        more.append((tried.kept, bool(told[1])))
    assert set(more) == {(False, False), (True, True)}


@pytest.mark.parametrize("io, often", WAYS)
def test_interruptions_are_not_failures(work, io, often):
    """Nor are transfers that come up short."""
    faults = some(all_transients(work, "--io", io, often=often))

    def check(what):
        work.attempt(set(), what, "--io", io, fault=what, often=often)

    in_parallel(check, faults)


@pytest.mark.parametrize("kind", ["read", "write"])
@pytest.mark.parametrize("errno", ["EINTR", "EAGAIN"])
def test_interruptions_without_end_end(work, kind, errno):
    what = f"op={kind},k=2,errno={errno},for=ever"
    assert not work.meet(what).worked


@pytest.mark.parametrize("io, often", WAYS)
def test_completions_in_any_order(work, io, often):
    def check(seed):
        what = f"shuffle={seed}"
        work.attempt(set(), what, "--io", io, fault=what, often=often)

    in_parallel(check, range(1, scaled(20, 6)))


@pytest.mark.parametrize("io, often", WAYS)
def test_nothing_but_short_transfers(work, io, often):
    for kind in ("read", "write", "any"):
        what = f"op={kind},short=1"
        work.attempt(set(), what, "--io", io, fault=what, often=often)


@pytest.mark.parametrize("kind", ["read", "write"])
def test_direct_io_refused_at_any_time(work, kind):
    """EINVAL once means: not directly. It never means: give up."""
    count = work.count(kind, "--direct", "on")
    for k in range(1, count + 1, scaled(1, max(1, count // 3))):
        what = f"op={kind},k={k},errno=EINVAL"
        work.attempt(CLEAN, what, "--direct", "on", fault=what)


def test_verify_finds_every_bit_that_the_disk_flips(work):
    count = work.count("write")
    found = 0
    for k in range(1, count + 1, scaled(1, max(1, count // 3))):
        work.clear()
        result = work.run(fault=f"op=write,k={k},flip=1")
        if result.status != 0:
            continue
        same = checkpoints.tree_hash(work.out) == work.hash
        verified = program.run("verify", work.out)
        assert verified.status == (0 if same else program.DATA), k
        found += not same
    assert found


def test_flipped_bits_are_not_gone_on_with(work):
    """What the disk has changed in what is kept is made again."""
    writes = work.count("write", often=EVERYWHERE)
    last = f"op=write,k={writes - 1},errno=EIO,for=ever"
    names = set()
    for k in range(2, writes - 1):
        work.clear()
        work.run(fault=last, often=EVERYWHERE)
        kept = program.sibling(work.out) / "output"
        files = sorted(kept.glob("*.safetensors"))
        name = files[k % len(files)]
        data = bytearray(name.read_bytes())
        data[k * len(data) // writes] ^= 1 << k % 8
        name.write_bytes(data)
        work.end(k)
        names.add(name.name)
    assert names


# Memory under faults


BUDGET = 32 << 20


@pytest.mark.skipif(SANITIZED, reason="a sanitizer takes memory")
@pytest.mark.parametrize("often", [BY_THE_CLOCK, EVERYWHERE])
@pytest.mark.parametrize(
    "fault",
    ["shuffle=7", "op=any,short=1", "op=read,k=30,errno=EIO,for=ever",
     "op=write,k=20,errno=ENOSPC", "op=sync,k=1,errno=EIO,for=ever"],
)  # fmt: skip
def test_faults_take_no_memory(big_tmp, fault, often):
    """--memory, and 16 MiB for the program and its libraries."""
    names = [big_tmp / f"{n}.safetensors" for n in "bt"]
    for name in names:
        checkpoints.write_sparse(name, {"w": ("BF16", [16384, 2048])})
    out, notes = big_tmp / "out", big_tmp / "notes"
    args = program.merge_args(names[0], [(names[1], 1.0)], out)
    args += ["--memory", BUDGET, "--direct", "off"]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program.MEASURE, notes,
         *program.command(*args)],
        env=program.environment(TAUMERGE_FAULT=fault, TAUMERGE_JOURNAL=often),
        capture_output=True, text=True, timeout=program.PATIENCE,
    )  # fmt: skip
    status, peak = map(int, notes.read_text().split())
    assert (status == 0) == ("k=" not in fault), done.stderr
    assert peak <= BUDGET + (16 << 20), (peak, done.stderr)


# The real thing


SMALL_DISK = """
mount -t tmpfs -o size={size},mode=755 none {mount} || exit 99
"$@"
status=$?
ls -A {mount} >&2
exit $status
"""


def on_small_disk(tmp_path, size, *args):
    """Runs the program with `tmp_path/disk` as a tmpfs of that size."""
    mount = tmp_path / "disk"
    mount.mkdir(exist_ok=True)
    script = SMALL_DISK.format(size=size, mount=mount)
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", *program.command(*args)],
        env=program.environment(),
        capture_output=True,
        text=True,
        timeout=program.PATIENCE,
    )
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("no user namespaces here")
    program.check_sanitizers(done.stderr)
    return done


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare")
@pytest.mark.parametrize("size", ["4k", "8k", "16k", "20k", "24k", "32k"])
def test_a_disk_too_small(tmp_path, family, size):
    out = tmp_path / "disk" / "out"
    done = on_small_disk(tmp_path, size, *family.args(out))
    assert done.returncode == CANNOT_CREATE, done.stderr
    messages = done.stderr.splitlines()
    assert messages and all(m.startswith("taumerge: ") for m in messages)
    assert re.search(r"space", messages[0]), messages


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare")
def test_what_is_missing_on_the_disk_is_said_beforehand(tmp_path, family):
    out = tmp_path / "disk" / "out"
    done = on_small_disk(tmp_path, "20k", *family.args(out))
    assert re.search(r"\d.* (missing|more|short|needed|need)", done.stderr)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare")
def test_a_disk_just_large_enough(tmp_path, family):
    out = tmp_path / "disk" / "out"
    done = on_small_disk(tmp_path, "1m", *family.args(out))
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "out"


@pytest.mark.skipif(
    program.SANITIZED, reason="libomp writes a file in /dev/shm"
)
@pytest.mark.parametrize("limit", [0, 1, 4096, 9000, 12000])
def test_a_limit_on_the_size_of_files(tmp_path, family, limit):
    out = tmp_path / "out"
    result = program.run(*family.args(out), limits={"FSIZE": limit})
    assert_refused(result, {CANNOT_CREATE, IO_ERROR}, out, [str(tmp_path)])


@pytest.mark.parametrize("limit", [8, 16, 24, 64])
def test_few_descriptors(tmp_path, limit):
    """Many more files than may be open: it works, or it says so at once."""
    base, *tuned = checkpoints.family(
        {f"t{i:03}": [40] for i in range(200)}, ["BF16"] * 4
    )
    b = write_shards(tmp_path / "b", checkpoints.split(base, 200))
    vectors = [
        (write_shards(tmp_path / f"t{i}", checkpoints.split(t, 50 + i)), 0.5)
        for i, t in enumerate(tuned)
    ]
    out = tmp_path / "out"
    limits = {"NOFILE": limit}
    result = program.run(*program.merge_args(b, vectors, out), limits=limits)
    if result.status == 0:
        assert checkpoints.load(out) == checkpoints.expected(
            base, [(t, 0.5) for t in tuned]
        )
        return
    assert limit < 64, result.err
    assert_refused(result, FAILED, out)


@pytest.mark.parametrize("limit", [0, 65536])
@pytest.mark.parametrize("io", ["uring", "threads", "auto"])
def test_little_locked_memory(tmp_path, family, work, io, limit):
    """Registered buffers are never required; neither is io_uring."""
    out = tmp_path / "out"
    limits = {"MEMLOCK": limit}
    result = program.run(*family.args(out), "--io", io, limits=limits)
    if io == "uring" and result.status == program.SYSTEM:
        return
    assert result.status == 0, result.err
    assert checkpoints.tree_hash(out) == work.hash


@pytest.mark.skipif(SANITIZED, reason="a sanitizer needs the addresses")
@pytest.mark.parametrize("limit", [32, 64, 128, 256])
def test_little_address_space(tmp_path, family, work, limit):
    out = tmp_path / "out"
    limits = {"AS": limit << 20}
    result = program.run(*family.args(out), limits=limits)
    if result.status == 0:
        assert checkpoints.tree_hash(out) == work.hash
    else:
        assert_refused(result, {program.SYSTEM}, out)


def test_a_storm_of_signals(tmp_path):
    """Every system call interrupted again and again: the same bytes."""
    size = scaled(128, 16) << 18
    tensors = {"a.weight": ("F32", [size])}
    paths = [tmp_path / f"{name}.safetensors" for name in "bt"]
    for path in paths:
        checkpoints.write_sparse(path, tensors)
    out = tmp_path / "out"
    args = program.merge_args(paths[0], [(paths[1], 1.0)], out)
    with open(tmp_path / "err", "w") as err:
        running = program.start(*args, stderr=err)
        program.wait_for(program.sibling(out).exists)
        while running.poll() is None:
            running.send_signal(signal.SIGUSR1)
    text = (tmp_path / "err").read_text()
    program.check_sanitizers(text)
    assert running.wait() == 0, text
    done = checkpoints.load(out)
    assert done["a.weight"].data == bytes(4 * size)
    assert program.run("verify", out).status == 0
