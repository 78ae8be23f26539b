"""Faults of the machine itself, nothing pretended: full disks, disks that
lose what was written, limits, missing system calls, inputs that change."""

import ctypes
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import checkpoints
import program
from checkpoints import raw, tree_hash, write_shards
from program import (
    CANNOT_CREATE,
    DATA,
    IO_ERROR,
    SANITIZED,
    SYSTEM,
    Result,
    command,
    scaled,
    sibling,
    some,
)

# What a run that failed has kept is gone on with, or thrown away.
RESUME = ["--resume"]
RESTART = ["--restart"]

# Small runs keep what they have done only where they are told to.
KEEPING = {"TAUMERGE_JOURNAL": "0"}

ENGINES = ["uring", "threads"]
COMMANDS = ["merge", "diff", "apply"]

# The kernel has given up on files with an error: any of these says so.
FAILED = {CANNOT_CREATE, IO_ERROR}


def run(args, *, prefix=(), env=None, timeout=program.PATIENCE, **how):
    """As program.run, behind another program that starts it."""
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    done = subprocess.run(
        [*map(str, prefix), *command(*args)],
        env=program.environment(**{**KEEPING, **(env or {})}),
        stdin=subprocess.DEVNULL, timeout=timeout, **how,
    )  # fmt: skip
    out, err = (
        (text or b"").decode(errors="surrogateescape")
        for text in (done.stdout, done.stderr)
    )
    program.check_sanitizers(err)
    return Result(done.returncode, out, err, None, None)


class Job:
    """A command, what it reads and what it must make."""

    def __init__(self, args, out, inputs, expected):
        self.args, self.out, self.inputs = [*args, "-o", out], out, inputs
        self.before = [tree_hash(p) for p in inputs]
        self.expected, self.bytes = expected

    def run(self, *options, **how):
        return run([*self.args, *options], **how)

    def check(self, result, statuses, mentions=(), at=None):
        """All or nothing, and said why. Says which it was."""
        out = at or self.out
        assert [tree_hash(p) for p in self.inputs] == self.before
        if result.status == 0:
            assert tree_hash(out) == self.expected, result.err
            assert not os.path.lexists(sibling(out)), result.err
            return True
        assert result.status in statuses, (result.status, result.err)
        first = result.err.splitlines()[0]
        assert first.startswith("taumerge: "), result.err
        for word in mentions:
            assert re.search(word, result.err), (word, result.err)
        assert not os.path.lexists(out), result.err
        return False

    def resume(self, at=None, **how):
        """The fault is gone: the bytes of a run that met none."""
        result = self.run(*RESUME, **how)
        assert self.check(result, (), at=at), result.err


class Trio:
    """A base, a fine-tune of it and the fine-tune as a vector."""

    def __init__(self, path, shards=2, side_files=0, tensors=None):
        self.path = path
        base, tuned = tensors or checkpoints.small(1)
        self.base = self.write("base", base, shards, side_files)
        self.tuned = self.write("tuned", tuned, shards, side_files)
        self.vector = path / "vector"
        result = program.run(
            "diff", self.base, self.tuned, "-o", self.vector
        )
        assert result.status == 0, result.err
        self.known = {}

    def write(self, name, tensors, shards, side_files):
        parts = checkpoints.split(tensors, shards)
        made = write_shards(self.path / name, parts)
        for i in range(side_files):
            (made / f"side{i:03}.txt").write_text("x")
        return made

    def job(self, name, out):
        base, tuned, vector = self.base, self.tuned, self.vector
        args, inputs = {
            "merge": (["merge", "-b", base, "-t", tuned, "-w", "0.4"], [tuned]),
            "diff": (["diff", base, tuned], [tuned]),
            "apply": (["apply", base, vector], [vector]),
        }[name]
        if name not in self.known:
            self.known[name] = self.make(args)
        return Job(args, out, [base, *inputs], self.known[name])

    def make(self, args):
        """What a run without faults makes: its hash, and how much it is."""
        made = self.path / "reference"
        result = program.run(*args, "-o", made)
        assert result.status == 0, result.err
        size = sum(f.stat().st_size for f in made.rglob("*"))
        known = tree_hash(made), size
        shutil.rmtree(made)
        return known


@pytest.fixture(scope="module")
def trio(tmp_path_factory):
    return Trio(tmp_path_factory.mktemp("trio"))


# Mounts of our own


class Namespace:
    """Where what is mounted is seen by nobody else, and goes at the end."""

    def __init__(self):
        self.keeper, self.enter = None, None
        for flags in (["-m"], ["-r", "-m"]):
            if flags == ["-m"] and os.geteuid() != 0:
                continue
            self.start(flags)
            if self.keeper is not None:
                return
        pytest.skip("no mounts of our own here")

    def start(self, flags):
        if not shutil.which("unshare") or not shutil.which("nsenter"):
            pytest.skip("no unshare or no nsenter")
        keeper = subprocess.Popen(
            ["unshare", *flags, "--propagation", "private",
             "sh", "-c", "echo ready; exec sleep 3600"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if keeper.stdout.readline() != b"ready\n":
            keeper.kill()
            keeper.communicate()
            return
        self.keeper = keeper
        self.enter = ["nsenter", "-t", str(keeper.pid), "-m"]
        if "-r" in flags:
            self.enter += ["-U", "--preserve-credentials"]

    def sh(self, script, *args):
        done = subprocess.run(
            [*self.enter, "sh", "-ec", script, "sh", *map(str, args)],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode == 0

    def need(self, script, *args):
        if not self.sh(script, *args):
            pytest.skip(f"not allowed here: {script}")

    def tmpfs(self, path, options):
        """Mounts a fresh one, over whatever is there."""
        path.mkdir(exist_ok=True)
        self.sh('umount "$1"', path)
        self.need('mount -t tmpfs -o "$2",mode=755 none "$1"', path, options)

    def remount(self, path, options):
        self.need('mount -o remount,"$2" "$1"', path, options)

    def see(self, path):
        """The path from out here."""
        return Path(f"/proc/{self.keeper.pid}/root{path}")

    def close(self):
        if self.keeper is not None:
            self.keeper.kill()
            self.keeper.communicate()


@pytest.fixture
def namespace():
    made = Namespace()
    yield made
    made.close()


class OnDisk:
    """A job whose output goes to a tmpfs of its own."""

    def __init__(self, namespace, trio, name, path):
        self.space, self.disk = namespace, path / "disk"
        self.job = trio.job(name, self.disk / "out")
        self.out = namespace.see(self.disk / "out")

    def run(self, *options):
        return self.job.run(*options, prefix=self.space.enter)

    def check(self, result, statuses, mentions=()):
        return self.job.check(result, statuses, mentions, at=self.out)

    def resume(self):
        self.job.resume(at=self.out, prefix=self.space.enter)


# Full disks


@pytest.fixture(scope="module")
def cluttered(tmp_path_factory):
    """Many side files of a byte: on a disk each takes a block, which nobody
    knows beforehand."""
    path = tmp_path_factory.mktemp("cluttered")
    return Trio(path, side_files=scaled(40, 12))


@pytest.mark.parametrize("name", ["diff", "apply"])
def test_no_room_from_the_start(tmp_path, namespace, trio, name):
    """Refused with what is missing, before anything is made; `merge` is in
    test_faults.py."""
    here = OnDisk(namespace, trio, name, tmp_path)
    namespace.tmpfs(here.disk, "size=4k")
    result = here.run()
    missing = [r"/disk: no space: .*\d.* more than is free"]
    assert not here.check(result, {CANNOT_CREATE}, missing)
    assert os.listdir(here.out.parent) == []
    namespace.remount(here.disk, "size=1m")
    here.resume()


@pytest.mark.parametrize("io", ENGINES)
@pytest.mark.parametrize("name", COMMANDS)
def test_room_that_lasts_until_the_side_files(
    tmp_path, namespace, cluttered, name, io
):
    """There is enough of it when it is looked at, not when it is used."""
    here = OnDisk(namespace, cluttered, name, tmp_path)
    late, size = 0, 4 * (here.job.bytes >> 12)
    while True:
        namespace.tmpfs(here.disk, f"size={size}k")
        result = here.run("--io", io)
        if here.check(result, {CANNOT_CREATE}, ["disk.*(space|room)"]):
            break
        late += "more than is free" not in result.err
        namespace.remount(here.disk, "size=4m")
        here.resume()
        size += scaled(12, 48)
        assert size < 4096
    assert late


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_without_inodes(tmp_path, namespace, cluttered, name):
    """No space either, says the kernel: at any file that is made."""
    here = OnDisk(namespace, cluttered, name, tmp_path)
    inodes, failed = 2, 0
    while True:
        options = f"size=4m,nr_inodes={inodes}"
        namespace.tmpfs(here.disk, options)
        result = here.run()
        if here.check(result, {CANNOT_CREATE}, ["disk/.*space"]):
            break
        failed += 1
        namespace.remount(here.disk, "size=4m,nr_inodes=1000")
        here.resume()
        inodes += 1 if failed < 8 else scaled(5, 15)
        assert inodes < 200
    assert failed > 3


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A fine-tune that shares nothing with its base: of unknown size as a
    vector, and not smaller than itself."""
    rng = np.random.default_rng(1)
    size = scaled(16, 8) << 20
    base, tuned = (
        {f"t{i}": raw(rng.bytes(size // 4), "F32") for i in range(4)}
        for _ in range(2)
    )
    path = tmp_path_factory.mktemp("noisy")
    yield Trio(path, tensors=(base, tuned))
    shutil.rmtree(path)


@pytest.mark.parametrize("io", ENGINES)
def test_a_vector_that_turns_out_too_large(tmp_path, namespace, noisy, io):
    here = OnDisk(namespace, noisy, "diff", tmp_path)
    for percent in some((1, 30, 60, 90, 99)):
        size = here.job.bytes // 100 * percent
        namespace.tmpfs(here.disk, f"size={size}")
        result = here.run("--io", io)
        assert not here.check(result, {CANNOT_CREATE}, ["disk"])
        namespace.remount(here.disk, f"size={4 * here.job.bytes}")
        here.resume()


def state_of(pid):
    """The letter that ps shows, or None for one that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()[0]


class Stopped:
    """A run that is stopped soon after its output has begun."""

    def __init__(self, args, out, prefix=(), delay=0.0, **how):
        out = Path(out)
        self.running = subprocess.Popen(
            [*prefix, *command(*args)],
            env=program.environment(**KEEPING),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, **how,
        )  # fmt: skip
        program.wait_for(
            lambda: sibling(out).exists() or self.running.poll() is not None
        )
        time.sleep(delay)
        if self.running.poll() is None:
            self.running.send_signal(signal.SIGSTOP)
            pid = self.running.pid
            program.wait_for(lambda: state_of(pid) in ("T", "Z", None))
        # Once it has its name all is read and written.
        self.in_time = state_of(self.running.pid) == "T" and not out.exists()

    def go_on(self):
        if self.running.poll() is None:
            self.running.send_signal(signal.SIGCONT)
        _, err = self.running.communicate(timeout=program.PATIENCE)
        program.check_sanitizers(err)
        return Result(self.running.returncode, "", err, None, None)


def fill(disk):
    """Takes all room of a disk; the file that does it."""
    ballast = disk / "ballast"
    piece = bytes(1 << 20)
    with open(ballast, "wb", buffering=0) as file:
        while piece:
            try:
                if file.write(piece) < len(piece):
                    piece = piece[: len(piece) // 2]
            except OSError:
                piece = piece[: len(piece) // 2]
    return ballast


@pytest.mark.parametrize("name", ["merge", "diff"])
@pytest.mark.parametrize("io", ENGINES)
def test_another_program_takes_the_room(tmp_path, namespace, noisy, name, io):
    """A merge has its own from the start; a vector grows as it is made."""
    here = OnDisk(namespace, noisy, name, tmp_path)
    for delay in (0, 0.003, 0.01):
        namespace.tmpfs(here.disk, f"size={4 * here.job.bytes}")
        args = [*here.job.args, "--io", io]
        stopped = Stopped(args, here.out, namespace.enter, delay)
        ballast = fill(here.out.parent)
        result = stopped.go_on()
        done = here.check(result, {CANNOT_CREATE}, ["disk/.*(space|room)"])
        assert not (done and stopped.in_time and name == "diff")
        ballast.unlink()
        if not done:
            here.resume()


# A disk that loses what was written to it


class Loop:
    """ext4 in a file with holes, on a tmpfs without room for any: what is
    written is lost later, when the kernel writes it back. No room at all: of
    a write that it does in part, the loop device says that all is well."""

    def __init__(self, namespace, path, size):
        if not shutil.which("mkfs.ext4") or os.geteuid() != 0:
            pytest.skip("no mkfs.ext4, or not root")
        self.space, self.store = namespace, path / "store"
        self.disk = path / "disk"
        self.disk.mkdir()
        namespace.tmpfs(self.store, f"size={size}")
        namespace.need(
            'truncate -s "$2" "$1" && mkfs.ext4 -q -F -m 0 -O ^has_journal '
            '-E nodiscard,lazy_itable_init=0 "$1"',
            self.store / "image", size,
        )  # fmt: skip
        self.mount()
        namespace.need('sync "$1"', self.disk)
        used = self.space.see(self.store / "image").stat().st_blocks * 512
        namespace.remount(self.store, f"size={used}")

    def mount(self):
        self.space.need(
            'mount -o loop,noatime "$1" "$2"',
            self.store / "image", self.disk,
        )  # fmt: skip

    def mount_again(self):
        """What is seen now is on the disk, and not only in the cache."""
        self.space.need('umount "$1"', self.disk)
        self.mount()


@pytest.mark.parametrize("name, io, direct", some([
    ("merge", "uring", "off"), ("merge", "threads", "on"),
    ("diff", "uring", "on"), ("diff", "threads", "off"),
    ("apply", "uring", "off"), ("apply", "threads", "on")]))  # fmt: skip
def test_a_disk_that_loses_what_was_written(
    tmp_path, namespace, noisy, name, io, direct
):
    """The first sync says so, a second one would not: it is final."""
    disk = Loop(namespace, tmp_path, scaled(256, 64) << 20)
    here = OnDisk(namespace, noisy, name, tmp_path)
    result = here.run("--io", io, "--direct", direct)
    assert not here.check(result, FAILED, [r"disk/"])
    namespace.remount(disk.store, f"size={scaled(512, 128) << 20}")
    here.resume()
    disk.mount_again()
    assert tree_hash(here.out) == here.job.expected


# Limits


@pytest.mark.skipif(SANITIZED, reason="libomp writes a file in /dev/shm")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_limit_on_the_size_of_files(tmp_path, trio, name):
    """At every size: refused, and gone on with once it is lifted."""
    job = trio.job(name, tmp_path / "out")
    for limit in [*range(0, 24000, 1500), 1 << 20, 1 << 24]:
        result = program.run(*job.args, env=KEEPING, limits={"FSIZE": limit})
        if job.check(result, {CANNOT_CREATE}, [str(tmp_path)]):
            break
        job.resume()
        shutil.rmtree(job.out)
    assert 1500 < limit < 1 << 24


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """As many shards as a large model has."""
    tensors = {f"t{i:03}": [7] for i in range(120)}
    models = checkpoints.family(tensors, ["BF16"] * 2)
    path = tmp_path_factory.mktemp("sharded")
    return Trio(path, shards=120, tensors=models)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("io", ENGINES)
def test_few_descriptors(tmp_path, sharded, name, io):
    job = sharded.job(name, tmp_path / "out")
    worked = set()
    for limit in some(range(4, 21, 2)) + [32, 64, 1024]:
        args = [*job.args, "--io", io, *RESTART]
        result = program.run(*args, env=KEEPING, limits={"NOFILE": limit})
        if result.status == 127:  # the loader needs some itself
            assert limit < 8 and not job.out.exists(), result.err
            continue
        if "ulimit -n" not in result.err and result.status != 0:
            assert "Too many open files" in result.err, (limit, result.err)
        worked.add(job.check(result, {SYSTEM, IO_ERROR, CANNOT_CREATE}))
        if result.status == 0:
            shutil.rmtree(job.out)
        else:
            job.resume()
            shutil.rmtree(job.out)
    assert worked == {True, False}


@pytest.mark.skipif(SANITIZED, reason="a sanitizer needs the addresses")
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("io", ENGINES)
def test_little_address_space(tmp_path, trio, name, io):
    """At any amount it works, or there is no memory; nothing between."""
    job = trio.job(name, tmp_path / "out")
    worked = set()
    for megabytes in [*range(8, 160, 7), 400]:
        args = [*job.args, "--io", io, "--threads", "4"]
        limits = {"AS": megabytes << 20}
        result = program.run(*args, env=KEEPING, limits=limits)
        if result.status == 127 or "shared libraries" in result.err:
            assert not job.out.exists(), result.err
            continue
        # Where the C library has no memory for a folder, that fails.
        done = job.check(result, {SYSTEM, CANNOT_CREATE, IO_ERROR})
        worked.add(done)
        if not done:
            job.resume()
        shutil.rmtree(job.out)
    assert True in worked


# Control groups


class Group:
    """A control group with one limit; version 1 or 2."""

    def __init__(self, controller):
        if os.geteuid() != 0:
            pytest.skip("not root")
        name = f"taumerge-test-{os.getpid()}"
        top = Path("/sys/fs/cgroup")
        self.old = (top / controller).is_dir()
        self.path = (top / controller if self.old else top) / name
        try:
            if not self.old:
                found = (top / "cgroup.subtree_control").read_text()
                assert controller in found.split()
            self.path.mkdir()
        except (OSError, AssertionError):
            pytest.skip(f"no control group for {controller}")

    def set(self, name, value):
        """Says whether there is such a knob."""
        try:
            (self.path / name).write_text(str(value))
        except OSError:
            return False
        return True

    def get(self, *names):
        for name in names:
            if (self.path / name).exists():
                return int((self.path / name).read_text())
        return None

    def limit_memory(self, size):
        if self.old:
            done = self.set("memory.limit_in_bytes", size)
            self.set("memory.memsw.limit_in_bytes", size)
        else:
            done = self.set("memory.max", size)
            self.set("memory.swap.max", 0)
        if not done:
            pytest.skip("no limit can be set")

    def prefix(self):
        script = 'echo $$ >"$0" && exec "$@"'
        return ["sh", "-c", script, self.path / "cgroup.procs"]

    def close(self):
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.05)


@pytest.fixture
def memory_group():
    group = Group("memory")
    yield group
    group.close()


@pytest.fixture
def pids_group():
    group = Group("pids")
    yield group
    group.close()


MIB = 1 << 20


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Larger than the limits here; of real bytes, so that no page is shared.
    Its vector is that of a fine-tune in which little has changed."""
    rng = np.random.default_rng(2)
    piece = rng.bytes(MIB)
    size = scaled(160, 24)
    base = {f"t{i}": raw(piece * (size // 4), "BF16") for i in range(4)}
    tuned = {**base, "t1": raw(piece[::-1] * (size // 4), "BF16")}
    path = tmp_path_factory.mktemp("large")
    yield Trio(path, tensors=(base, tuned))
    shutil.rmtree(path)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer needs more memory")
@pytest.mark.parametrize("name, io", [("merge", "uring"),
    ("merge", "threads"), ("diff", "uring"), ("apply", "uring")])
def test_within_a_memory_limit(big_tmp, memory_group, large, name, io):
    """A model that does not fit, in a container that is smaller than it."""
    job = large.job(name, big_tmp / "out")
    memory_group.limit_memory(128 * MIB)
    options = ["--memory", "64M", "--io", io, "--direct", "on"]
    result = job.run(*options, prefix=memory_group.prefix())
    assert job.check(result, ()), result.err
    peak = memory_group.get("memory.max_usage_in_bytes", "memory.peak")
    assert peak is None or peak <= 128 * MIB
    shutil.rmtree(job.out)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer needs more memory")
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_for_its_memory(big_tmp, memory_group, large, name):
    """No output; what was kept is gone on with where there is more."""
    job = large.job(name, big_tmp / "out")
    memory_group.limit_memory(12 * MIB)
    result = job.run("--memory", "256M", prefix=memory_group.prefix())
    if result.status == -signal.SIGKILL:
        assert not job.out.exists()
        assert [tree_hash(p) for p in job.inputs] == job.before
        job.resume()
    else:
        assert job.check(result, {SYSTEM}), result.err
    shutil.rmtree(job.out, ignore_errors=True)


@pytest.mark.parametrize("io", ENGINES)
@pytest.mark.parametrize("name", COMMANDS)
def test_few_threads(tmp_path, pids_group, trio, name, io):
    """Where only some can be started, it works with those, or says so."""
    job = trio.job(name, tmp_path / "out")
    for most in [*range(1, 12), 16, 24, 64]:
        if not pids_group.set("pids.max", most):
            pytest.skip("no limit can be set")
        options = ["--threads", "6", "--io", io]
        prefix = pids_group.prefix()
        result = job.run(*options, prefix=prefix)
        if SANITIZED and "AddressSanitizer" in result.err:
            continue
        # Without workers of the kernel, io_uring takes back what it was given.
        statuses = {SYSTEM, IO_ERROR} if io == "uring" else {SYSTEM}
        why = ["thread|Operation canceled"]
        if not job.check(result, statuses, why):
            assert not sibling(job.out).exists(), result.err
        shutil.rmtree(job.out, ignore_errors=True)
    assert result.status == 0


# System calls that are not there

# Of the first two columns of machines, as the kernel numbers them.
CALLS = {
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "statx": (332, 291),
    "renameat2": (316, 276), "fallocate": (285, 47), "flock": (73, 32),
    "preadv2": (327, 286), "sched_getaffinity": (204, 123),
    "madvise": (28, 233), "fstatfs": (138, 44), "getrandom": (318, 278),
    "sched_setaffinity": (203, 122),
}  # fmt: skip
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

# Installs a filter that answers some calls with an error, and starts the
# program: NUMBERS ERRNO ARCH PROGRAM...
LAUNCHER = """
import ctypes, os, struct, sys
numbers = [int(n) for n in sys.argv[1].split(",")]
code = [(0x20, 0, 0, 4), (0x15, 1, 0, int(sys.argv[3])),
        (0x06, 0, 0, 0x7FFF0000), (0x20, 0, 0, 0)]
for i, number in enumerate(numbers):
    code.append((0x15, len(numbers) - i, 0, number))
code.append((0x06, 0, 0, 0x7FFF0000))
code.append((0x06, 0, 0, 0x00050000 | int(sys.argv[2])))
text = b"".join(struct.pack("<HBBI", *c) for c in code)
memory = ctypes.create_string_buffer(text)
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
made = Filter(len(code), ctypes.addressof(memory))
prctl = ctypes.CDLL(None, use_errno=True).prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, ctypes.byref(made), 0, 0):
    sys.exit(99)
os.execv(sys.argv[4], sys.argv[4:])
"""


def without_calls(names, error):
    """A prefix under which these system calls fail."""
    if platform.machine() not in MACHINES or not hasattr(ctypes, "CDLL"):
        pytest.skip("no filter for this machine")
    column, arch = MACHINES[platform.machine()]
    numbers = ",".join(str(CALLS[n][column]) for n in names)
    return [sys.executable, "-I", "-S", "-c", LAUNCHER, numbers, error, arch]


def run_without(job, names, error, *options):
    result = job.run(*options, prefix=without_calls(names, error))
    if result.status == 99:
        pytest.skip("no filter can be installed")
    return result


EPERM, EAGAIN, ENOMEM, EINVAL, ENOLCK, ENOSYS, EOPNOTSUPP = (
    1, 11, 12, 22, 37, 38, 95,
)  # fmt: skip


@pytest.mark.parametrize("error", [EPERM, ENOSYS, ENOMEM])
@pytest.mark.parametrize("name", COMMANDS)
def test_io_uring_is_forbidden(tmp_path, trio, name, error):
    """As in most containers: one line says so, the bytes are the same."""
    job = trio.job(name, tmp_path / "out")
    asked = run_without(job, ["io_uring_setup"], error, "--io", "uring")
    if "uring" not in program.run("--version").out:
        pytest.skip("built without io_uring")
    why = [f"uring.*{os.strerror(error)}"]
    assert not job.check(asked, {SYSTEM}, why), asked.err
    result = run_without(job, ["io_uring_setup"], error, "--io", "auto")
    assert job.check(result, ()), result.err
    said = re.findall("io_uring is not to be had .*", result.err)
    assert len(said) == 1 and os.strerror(error) in said[0], result.err


@pytest.mark.parametrize("names, error", [
    (["io_uring_register"], EPERM), (["io_uring_register"], ENOMEM),
    (["io_uring_register"], EINVAL), (["statx"], EPERM), (["statx"], ENOSYS),
    (["renameat2"], EINVAL), (["renameat2"], ENOSYS),
    (["fallocate"], EOPNOTSUPP), (["fallocate"], ENOSYS),
    (["flock"], ENOLCK), (["preadv2"], EOPNOTSUPP), (["preadv2"], ENOSYS),
    (["sched_getaffinity", "sched_setaffinity"], EPERM),
    (["madvise"], ENOSYS), (["fstatfs"], ENOSYS), (["getrandom"], ENOSYS),
])  # fmt: skip
def test_calls_that_can_be_done_without(tmp_path, trio, names, error):
    """Old kernels, and file systems and sandboxes that lack things."""
    if SANITIZED and names[0] in ("madvise", "getrandom"):
        pytest.skip("a sanitizer needs it")
    for name in COMMANDS:
        job = trio.job(name, tmp_path / name)
        result = run_without(job, names, error)
        assert job.check(result, ()), result.err


def test_io_uring_that_stops_working(tmp_path, trio):
    """It was set up, and nothing more: an error, not a hang."""
    for name in COMMANDS:
        job = trio.job(name, tmp_path / name)
        result = run_without(job, ["io_uring_enter"], EPERM, "--io", "auto")
        job.check(result, {SYSTEM, IO_ERROR})


def test_force_without_an_exchange_of_names(tmp_path, trio):
    """The old output stays, or the new one is there: never neither."""
    job = trio.job("merge", tmp_path / "out")
    for error in (EINVAL, ENOSYS):
        shutil.copytree(trio.base, job.out, dirs_exist_ok=True)
        result = run_without(job, ["renameat2"], error, "-f")
        if result.status != 0:
            assert result.status == CANNOT_CREATE, result.err
            assert tree_hash(job.out) == tree_hash(trio.base)
            result = job.run("-f", *RESUME)
            assert result.status == 0, result.err
        assert tree_hash(job.out) == job.expected
        shutil.rmtree(job.out)


@pytest.mark.parametrize("missing", [["/proc"], ["/sys"], ["/proc", "/sys"],
                                     ["/dev/shm"]])  # fmt: skip
def test_without_what_a_container_may_lack(
    tmp_path, namespace, trio, missing
):
    if SANITIZED and "/proc" in missing:
        pytest.skip("a sanitizer needs it")
    for path in missing:
        namespace.need('mount -t tmpfs none "$1"', path)
    for name, io in ((n, io) for n in COMMANDS for io in ENGINES):
        job = trio.job(name, tmp_path / f"{name}-{io}")
        result = job.run("--io", io, prefix=namespace.enter)
        assert job.check(result, ()), result.err


# Streams


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("how", ["<&- >&- 2>&-", "<&- >&-", ">&- 2>/dev/full",
    ">/dev/full 2>&-", ">/dev/full 2>/dev/full"])  # fmt: skip
def test_streams_that_are_not_there(tmp_path, trio, name, how):
    """No data file gets their numbers, so nothing is written into it."""
    job = trio.job(name, tmp_path / "out")
    for option in ("-v", "--progress=json", "-q"):
        shell = ["sh", "-c", f'exec "$@" {how}', "sh"]
        result = job.run(option, prefix=shell)
        assert job.before == [tree_hash(p) for p in job.inputs]
        if result.status == 0:
            assert tree_hash(job.out) == job.expected
            shutil.rmtree(job.out)
        else:
            assert result.status in {SYSTEM, IO_ERROR}
            assert not job.out.exists()


@pytest.mark.parametrize("name", ["verify", "inspect", "digest"])
@pytest.mark.parametrize("how", [">&-", ">/dev/full"])
def test_an_answer_that_cannot_be_written(trio, name, how):
    args = ["inspect", "--digest"] if name == "digest" else [name]
    shell = ["sh", "-c", f'exec "$@" {how}', "sh"]
    result = run([*args, trio.vector, "--json"][:3], prefix=shell)
    assert result.status != 0 or name == "verify", result
    if result.status != 0:
        assert result.status == IO_ERROR, result
        assert result.err.startswith("taumerge: "), result


# Folders


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_is_read_only(tmp_path, namespace, trio, name):
    here = OnDisk(namespace, trio, name, tmp_path)
    namespace.tmpfs(here.disk, "size=1m")
    namespace.remount(here.disk, "ro")
    result = here.run()
    assert not here.check(result, {CANNOT_CREATE}, ["disk: .*ead-only"])
    namespace.remount(here.disk, "rw")
    here.resume()


def without_rights():
    """A prefix that takes from root what makes it root."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root, and no setpriv")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o555, 0o666])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_without_rights(tmp_path, trio, name, mode):
    folder = tmp_path / "folder"
    folder.mkdir()
    job = trio.job(name, folder / "out")
    folder.chmod(mode)
    try:
        result = job.run(prefix=without_rights())
    finally:
        folder.chmod(0o755)
    assert not job.check(result, {CANNOT_CREATE}, ["folder.*ermission"])
    assert os.listdir(folder) == []
    job.resume()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_loses_its_rights(tmp_path, noisy, name):
    """The last step is forbidden: nothing but that step is left to do."""
    folder = tmp_path / "folder"
    folder.mkdir()
    job = noisy.job(name, folder / "out")
    stopped = Stopped(job.args, job.out, without_rights())
    folder.chmod(0o555)
    try:
        result = stopped.go_on()
    finally:
        folder.chmod(0o755)
    done = job.check(result, {CANNOT_CREATE}, ["out.*ermission"])
    assert not (done and stopped.in_time)
    if not done:
        job.resume()
    shutil.rmtree(job.out)


@pytest.mark.parametrize("name", ["diff", "apply"])
@pytest.mark.parametrize("parent", ["gone", "gone/deep", "file"])
def test_a_folder_that_does_not_exist(tmp_path, trio, name, parent):
    (tmp_path / "file").touch()
    job = trio.job(name, tmp_path / parent / "out")
    result = job.run()
    assert not job.check(result, {CANNOT_CREATE}, [parent])
    assert os.listdir(tmp_path) == ["file"]


# Inputs that change


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def cut_to_nothing(path):
    os.truncate(path, 0)


def grow(path):
    with open(path, "ab") as file:
        file.write(b"more")


def touch(path):
    os.utime(path, (1, 1))


def replace(path):
    new = path.parent / "new"
    shutil.copy(path, new)
    with open(new, "r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(b"changed!" * 512)
    new.rename(path)


def remove(path):
    path.unlink()


CHANGES = [truncate, cut_to_nothing, grow, touch, replace, remove]


def victims(trio):
    """A file of each input of each command."""
    shard = checkpoints.shard_name(1, 2)
    (vector, *_) = sorted(trio.vector.glob("*.safetensors"))[-1:]
    return {
        "merge": [trio.base / shard, trio.tuned / shard],
        "diff": [trio.base / shard, trio.tuned / shard],
        "apply": [trio.base / shard, vector],
    }


def restored(path, change):
    """Changes a file; what puts it back."""
    copy = path.parent.parent / "copy"
    shutil.copy2(path, copy)
    change(path)
    return lambda: copy.rename(path)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", COMMANDS)
def test_an_input_that_changes(big_tmp, noisy, name, change):
    """While a run stands still: it never ends as if nothing had been."""
    for which, victim in enumerate(victims(noisy)[name]):
        for delay in some((0, 0.01)):
            job = noisy.job(name, big_tmp / "out")
            stopped = Stopped(job.args, job.out, delay=delay)
            put_back = restored(victim, change)
            try:
                result = stopped.go_on()
                check_change(job, result, stopped, victim, change)
            finally:
                put_back()
            shutil.rmtree(job.out, ignore_errors=True)
            shutil.rmtree(sibling(job.out), ignore_errors=True)


def check_change(job, result, stopped, victim, change):
    if result.status == 0:
        # The old file may have been read to its end.
        assert not stopped.in_time or change in (replace, remove), result.err
        assert tree_hash(job.out) == job.expected
        return
    assert result.status in {IO_ERROR, DATA, program.NO_INPUT}, result.err
    assert victim.name in result.err, result.err
    assert not job.out.exists()
    check_going_on(job, victim)


def check_going_on(job, victim):
    """With the changed input: refused, or as if made from it alone."""
    fresh = job.out.parent / "fresh"
    made = run([*job.args[:-1], fresh])
    for options in (RESUME, RESTART if RESUME else []):
        result = job.run(*options)
        if result.status == 0:
            assert made.status == 0
            assert tree_hash(job.out) == tree_hash(fresh), options
            shutil.rmtree(job.out)
        else:
            assert options == RESUME or made.status != 0, result.err
            assert victim.name in result.err or "another" in result.err
            assert not job.out.exists()
    shutil.rmtree(fresh, ignore_errors=True)


@pytest.mark.parametrize("change", [cut_to_nothing, grow, remove, os.mkfifo])
@pytest.mark.parametrize("name", ["merge", "diff", "apply"])
def test_a_side_file_that_changes(big_tmp, noisy, name, change):
    """It is copied last, as it then is, or the run fails: no hang."""
    job = noisy.job(name, big_tmp / "out")
    folder = {"merge": noisy.base, "diff": noisy.tuned,
              "apply": noisy.vector / "files"}[name]  # fmt: skip
    victim = folder / "config.json"
    stopped = Stopped(job.args, job.out)
    old = victim.read_bytes()
    try:
        if change == os.mkfifo:
            victim.unlink()
        change(victim)
        result = stopped.go_on()
        copied = victim.read_bytes() if victim.is_file() else None
    finally:
        victim.unlink(missing_ok=True)
        victim.write_bytes(old)
    if result.status == 0:
        kept = {old, copied} if name != "apply" else {old}
        where = "files/config.json" if name == "diff" else "config.json"
        assert (job.out / where).read_bytes() in kept
        assert program.run("verify", job.out).status == 0 or name == "apply"
        shutil.rmtree(job.out)
        return
    assert result.status in {IO_ERROR, DATA, program.NO_INPUT}, result.err
    assert "config.json" in result.err, result.err
    assert not job.out.exists()


# Signals

HARMLESS = [signal.SIGUSR1, signal.SIGWINCH, signal.SIGCONT, signal.SIGCHLD,
            signal.SIGPIPE, signal.SIGURG]  # fmt: skip


@pytest.mark.parametrize("io", ENGINES)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_storm_of_signals(tmp_path, noisy, name, io):
    """A thousand a second, and now and then it is stopped altogether."""
    job = noisy.job(name, tmp_path / "out")
    with open(tmp_path / "err", "w+") as err:
        running = program.start(*job.args, "--io", io, stderr=err)
        program.wait_for(sibling(job.out).exists)
        sent = 0
        while running.poll() is None:
            sent += 1
            running.send_signal(HARMLESS[sent % len(HARMLESS)])
            if sent % 20 == 0:
                running.send_signal(signal.SIGSTOP)
                running.send_signal(signal.SIGCONT)
            time.sleep(0.001)
        err.seek(0)
        text = err.read()
    program.check_sanitizers(text)
    result = Result(running.returncode, "", text, None, None)
    assert job.check(result, ()), text
    shutil.rmtree(job.out)
