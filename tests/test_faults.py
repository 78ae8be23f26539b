"""Disks that fail: a right output and exit 0, or a clean error and nothing."""

import os
import re
import shutil
import signal
import subprocess

import pytest

import checkpoints
import program
from checkpoints import write_shards
from program import CANNOT_CREATE, IO_ERROR, SANITIZED, assert_refused, scaled

# Anything but usage (64), an internal error (70) and interruption (75).
FAILED = {65, 66, 71, 73, 74}

KINDS = {
    "open": ["EACCES", "EMFILE"],
    "read": ["EIO"],
    "write": ["EIO", "ENOSPC"],
    "sync": ["EIO", "ENOSPC"],
    "close": ["EIO"],
    "allocate": ["ENOSPC"],
    "truncate": ["EIO"],
    "mkdir": ["EACCES"],
    "rename": ["EROFS"],
    "unlink": ["EIO"],
}


@pytest.fixture(scope="module")
def work(family, tmp_path_factory):
    """Merges the family into a folder in memory, where syncs cost nothing;
    knows the hash that it must give."""
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = tmp_path_factory.mktemp("faults")
    if shm:
        path = type(path)(shm) / f"taumerge-test-faults-{os.getpid()}"
        path.mkdir()
    out = path / "out"
    program.merge(family.base_path, family.vectors, out)
    work = Work(family, out, checkpoints.tree_hash(out))
    shutil.rmtree(out)
    yield work
    shutil.rmtree(path)


class Work:
    def __init__(self, family, out, expected):
        self.args = family.args(out)
        self.out = out
        self.expected = expected

    def run(self, fault, *options):
        # What an earlier failure left must not become this one's.
        for path in (self.out, program.sibling(self.out)):
            shutil.rmtree(path, ignore_errors=True)
        env = {"TAUMERGE_FAULT": fault}
        return program.run(*self.args, *options, env=env)

    def count(self, kind, *options):
        """How many operations of a kind a merge takes."""
        result = self.run(f"op={kind},log=1", *options)
        assert result.status == 0
        return int(re.search(r"fault: (\d+) op", result.err)[1])

    def check(self, result, statuses, what):
        """The promise: all or nothing. Says which it was."""
        if result.status == 0:
            said = re.findall(r"^taumerge: (?!warning: ).*", result.err, re.M)
            assert not said, (what, said)
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


@pytest.mark.parametrize("how", ["once", "ever"])
@pytest.mark.parametrize(
    "kind, errno", [(k, e) for k, names in KINDS.items() for e in names]
)
@pytest.mark.parametrize("io", ["uring", "threads"])
def test_every_operation_failing(work, io, kind, errno, how):
    count = work.count(kind, "--io", io)
    step = scaled(1, max(1, count // 3))
    for k in range(1, count + 1, step):
        what = f"op={kind},k={k},errno={errno},for={how}"
        result = work.run(what, "--io", io)
        worked = work.check(result, FAILED, what)
        if not worked and kind != "unlink":
            assert not program.sibling(work.out).exists(), what


def test_the_fault_engine_really_breaks_things(work):
    """Else the tests here would prove nothing."""
    for kind in ("open", "read", "write", "sync", "mkdir", "rename"):
        assert work.count(kind) > 0, kind
        result = work.run(f"op={kind},k=1,errno=EIO,for=ever")
        assert not work.check(result, FAILED, kind), kind


@pytest.mark.parametrize(
    "kind, errno, status",
    [
        ("read", "EIO", {IO_ERROR}),
        ("write", "EIO", {IO_ERROR}),
        ("sync", "EIO", {IO_ERROR}),
        ("write", "ENOSPC", {CANNOT_CREATE}),
        ("write", "EDQUOT", {CANNOT_CREATE}),
        ("allocate", "ENOSPC", {CANNOT_CREATE}),
        ("sync", "ENOSPC", {CANNOT_CREATE, IO_ERROR}),
        ("mkdir", "EROFS", {CANNOT_CREATE}),
        ("mkdir", "EACCES", {CANNOT_CREATE}),
    ],
)
def test_the_status_says_what_kind_of_failure(work, kind, errno, status):
    result = work.run(f"op={kind},k=1,errno={errno},for=ever")
    assert not work.check(result, status, kind)


def test_a_failed_read_names_file_and_offset(work):
    count = work.count("read")
    result = work.run(f"op=read,k={count},errno=EIO,for=ever")
    assert re.search(r"^taumerge: \S+: .*byte \d+", result.err), result.err


@pytest.mark.parametrize("io", ["uring", "threads"])
@pytest.mark.parametrize(
    "kind, errno",
    [
        ("read", "EINTR"),
        ("read", "EAGAIN"),
        ("write", "EINTR"),
        ("write", "EAGAIN"),
        ("sync", "EINTR"),
    ],
)
def test_interruptions_are_not_failures(work, io, kind, errno):
    count = work.count(kind, "--io", io)
    for k in range(1, count + 1, scaled(1, max(1, count // 3))):
        what = f"op={kind},k={k},errno={errno}"
        assert work.check(work.run(what, "--io", io), set(), what)


@pytest.mark.parametrize("kind", ["read", "write"])
@pytest.mark.parametrize("errno", ["EINTR", "EAGAIN"])
def test_interruptions_without_end_end(work, kind, errno):
    what = f"op={kind},k=2,errno={errno},for=ever"
    assert not work.check(work.run(what), FAILED, what)


@pytest.mark.parametrize("kind", ["read", "write"])
def test_direct_io_refused_at_any_time(work, kind):
    """EINVAL once means: not directly. It never means: give up."""
    count = work.count(kind, "--direct", "on")
    for k in range(1, count + 1, scaled(1, max(1, count // 3))):
        what = f"op={kind},k={k},errno=EINVAL"
        work.check(work.run(what, "--direct", "on"), FAILED, what)


@pytest.mark.parametrize("io", ["uring", "threads"])
def test_short_transfers_at_any_time(work, io):
    for kind in ("read", "write"):
        count = work.count(kind, "--io", io)
        for k in range(1, count + 1, scaled(1, max(1, count // 3))):
            what = f"op={kind},k={k},short=1"
            assert work.check(work.run(what, "--io", io), set(), what)


def test_verify_finds_every_bit_that_the_disk_flips(work):
    count = work.count("write")
    found = 0
    for k in range(1, count + 1, scaled(1, max(1, count // 3))):
        result = work.run(f"op=write,k={k},flip=1")
        if result.status != 0:
            continue
        same = checkpoints.tree_hash(work.out) == work.expected
        verified = program.run("verify", work.out)
        assert verified.status == (0 if same else program.DATA), k
        found += not same
    assert found


def test_a_sync_that_fails_once_is_final(work):
    """The kernel reports a lost write once; a second sync says all is well."""
    count = work.count("sync")
    for k in range(1, count):
        what = f"op=sync,k={k},errno=EIO,for=once"
        assert not work.check(work.run(what), {IO_ERROR}, what)


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
    assert checkpoints.tree_hash(out) == work.expected


@pytest.mark.skipif(SANITIZED, reason="a sanitizer needs the addresses")
@pytest.mark.parametrize("limit", [32, 64, 128, 256])
def test_little_address_space(tmp_path, family, work, limit):
    out = tmp_path / "out"
    limits = {"AS": limit << 20}
    result = program.run(*family.args(out), limits=limits)
    if result.status == 0:
        assert checkpoints.tree_hash(out) == work.expected
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
