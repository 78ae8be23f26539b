# SPDX-License-Identifier: Apache-2.0
"""Measuring programs: children and what they used, the page cache, tables."""

import argparse
import ctypes
import json
import mmap
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent

MEGA, GIGA = 10**6, 10**9
MEBI, GIBI = 1 << 20, 1 << 30


class Trouble(Exception):
    """Something that the person at the terminal can do something about."""


# --- sizes -----------------------------------------------------------------


def parse_size(text):
    """Bytes: K, M, G are powers of 1000, Ki, Mi, Gi of 1024."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?)(i?)B?", text, re.I)
    if match is None:
        raise ValueError(f"not a size: {text}")
    number, unit, binary = match.groups()
    step = 1024 if binary else 1000
    return int(float(number) * step ** " KMGT".index(unit.upper() or " "))


def parse_budget(text):
    """Bytes as --memory means them: 64M is 64 MiB."""
    return parse_size(re.sub(r"([KMGT])$", r"\1i", text.upper()))


def size_text(size):
    for unit, name in ((GIGA, "GB"), (MEGA, "MB"), (1000, "kB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} B"


def mebi(size):
    return size / MEBI


def listed(of=str):
    """A type for options that take several values between commas."""

    def parse(text):
        return [of(part) for part in text.split(",") if part]

    parse.__name__ = "list"
    return parse


# What argparse says when it is none.
parse_size.__name__ = "size"


# --- children --------------------------------------------------------------

# A child of a large process starts with that process's peak memory in its
# books, so the program is started by a small one, which also holds the clock:
# starting and reading from a large one would add to a short run.
#
# ru_maxrss counts mapped files too. What a process allocated itself is
# sampled from /proc if asked for: the looks every 10 ms are too dear for
# timing the fast.
STARTER = """
import json, os, sys, time
report, sample, argv = sys.argv[1], sys.argv[2] == "1", sys.argv[3:]
own = 0
start = time.monotonic()
pid = os.posix_spawnp(argv[0], argv, os.environ)
if sample:
    while True:
        try:
            with open(f"/proc/{pid}/status") as f:
                for line in f:
                    if line.startswith("RssAnon:"):
                        own = max(own, int(line.split()[1]) * 1024)
        except OSError:
            pass
        done, status, used = os.wait4(pid, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
else:
    _, status, used = os.wait4(pid, 0)
seconds = time.monotonic() - start
with open(report, "w") as f:
    json.dump([os.waitstatus_to_exitcode(status), seconds,
               used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, own,
               used.ru_inblock * 512], f)
"""

# `read` is what came from disks, not from the page cache.
Run = namedtuple("Run", "status seconds cpu peak own read out err")


def run(*argv, sample=False, env=None, cwd=None):
    """Runs a program to its end and says what it took."""
    argv = [str(arg) for arg in argv]
    with tempfile.TemporaryDirectory() as scratch:
        report = os.path.join(scratch, "report")
        out = os.path.join(scratch, "out")
        with open(out, "wb+") as stdout:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", STARTER,
                 report, "1" if sample else "0", *argv],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=dict(os.environ, LC_ALL="C", **(env or {})),
                cwd=cwd,
            )  # fmt: skip
            stdout.seek(0)
            text = stdout.read().decode(errors="replace")
        err = done.stderr.decode(errors="replace")
        if done.returncode != 0:
            raise Trouble(f"{argv[0]} does not start: {err.strip()}")
        with open(report) as f:
            return Run(*json.load(f), text, err)


def run_well(*argv, **how):
    """Runs a program, and gives up if it fails."""
    done = run(*argv, **how)
    if done.status != 0:
        command = " ".join(map(str, argv))[:500]
        raise Trouble(
            f"status {done.status} of: {command}\n{done.err[-2000:].strip()}"
        )
    return done


def program():
    """The taumerge under test."""
    path = os.environ.get("TAUMERGE") or str(TOP / "taumerge")
    if not os.access(path, os.X_OK):
        raise Trouble(f"{path} is not there: run make, or set TAUMERGE")
    return path


def merge_command(base, vectors, out, *more, weights=None):
    """The command line of a merge that prints nothing but errors."""
    argv = [program(), "merge", "-q", "-b", base]
    for i, vector in enumerate(vectors):
        argv += ["-t", vector, "-w", weights[i] if weights else 0.5]
    return [*argv, "-o", out, *more]


def recipe_command(recipe, out, *more):
    """The command line of a merge by a recipe."""
    return [program(), "merge", "-q", recipe, "-o", out, *more]


# --- the disk and the page cache -------------------------------------------


def can_drop_caches():
    return os.access("/proc/sys/vm/drop_caches", os.W_OK)


def drop_caches(files):
    """Nothing of the files is in memory afterwards, and nothing waits to be
    written; without root only the files given are dropped."""
    os.sync()
    if can_drop_caches():
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
        return
    for path in files:
        with open(path, "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def chill(files):
    """Nothing of the files is in memory, but the program is: a program in
    use was started before, and fio's clock leaves out its own start."""
    drop_caches(files)
    run_well(program(), "--version")


def resident(path):
    """The share of a file that is in the page cache, as mincore sees it."""
    size = os.path.getsize(path)
    if size == 0:
        return 1.0
    pages = -(-size // mmap.PAGESIZE)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int,
        ctypes.c_int, ctypes.c_long,
    ]  # fmt: skip
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p,
    ]  # fmt: skip
    with open(path, "rb") as f:
        at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED,
                       f.fileno(), 0)  # fmt: skip
    if at == ctypes.c_void_p(-1).value:
        raise Trouble(f"{path}: {os.strerror(ctypes.get_errno())}")
    states = ctypes.create_string_buffer(pages)
    failed = libc.mincore(at, size, states)
    libc.munmap(at, size)
    if failed:
        raise Trouble(f"{path}: {os.strerror(ctypes.get_errno())}")
    # The lowest bit tells; the others are reserved.
    return sum(map(states.raw.count, range(1, 256, 2))) / pages


def load_into_cache(files):
    """Reads files until they are in the page cache; the share that is."""
    share = 0.0
    for _ in range(3):
        for path in files:
            read_all(path)
        share = min(map(resident, files))
        if share > 0.9999:
            break
    return share


def read_all(path):
    buffer = bytearray(4 * MEBI)
    with open(path, "rb", buffering=0) as f:
        while f.readinto(buffer):
            pass


def remove(path):
    """A file or a directory, if it is there."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def disk_use(path):
    """Bytes that a file or a directory takes, holes not counted."""
    path = Path(path)
    if not path.exists():
        return 0
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.lstat().st_blocks * 512 for f in files)


def make_directory(path):
    """Makes a directory, but not its parents: a mistyped path must not fill
    a disk that nobody meant."""
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise Trouble(f"{path}: {error.strerror}") from None


def need_space(directory, wanted, existing=()):
    """Says how much a benchmark takes there, and refuses what does not fit.

    What `existing` already holds is not needed a second time.
    """
    make_directory(directory)
    fs = os.statvfs(directory)
    free = fs.f_bavail * fs.f_frsize
    there = min(sum(map(disk_use, existing)), wanted)
    say(f"needs {size_text(wanted)} in {directory} "
        f"({size_text(there)} is there, {size_text(free)} free)")  # fmt: skip
    # A full file system is slow, and other programs want to live.
    if wanted - there > free * 0.98:
        raise Trouble(
            f"{directory}: {size_text(wanted - there)} more are needed and "
            f"{size_text(free)} are free; see --size and --dir"
        )


# --- rounds and numbers ----------------------------------------------------


def rotated(things, by):
    """All of them, each time with another one first: what a run leaves to
    the next one (a warm processor, a busy disk) falls on each alike."""
    things = list(things)
    by %= max(1, len(things))
    return things[by:] + things[:by]


def do_rounds(count, contenders, before):
    """Seconds of each contender, a list per name. Each round runs all of
    them, each round in another order."""
    seconds = {name: [] for name in contenders}
    for r in range(count):
        for name in rotated(contenders, r):
            before()
            took = contenders[name]()
            seconds[name].append(took)
            say(f"round {r + 1}/{count}  {took:8.2f} s  {name}")
    return seconds


class Spread:
    """Values of one thing: median, least and most."""

    def __init__(self, values):
        self.values = list(values)
        self.median = statistics.median(self.values)
        self.min, self.max = min(self.values), max(self.values)

    def text(self, digits=2):
        if len(self.values) == 1:
            return f"{self.median:.{digits}f}"
        return (
            f"{self.median:.{digits}f} "
            f"({self.min:.{digits}f}-{self.max:.{digits}f})"
        )

    def data(self):
        return {"median": self.median, "min": self.min, "max": self.max,
                "values": self.values}  # fmt: skip


# --- printing --------------------------------------------------------------


def say(text):
    """What goes on: to stderr, so that stdout has the tables alone."""
    print(text, file=sys.stderr, flush=True)


def machine(directory):
    """What the numbers hold for, without names of machines."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    version = subprocess.run(
        [program(), "--version"], capture_output=True, text=True
    ).stdout
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "kernel": f"{platform.system()} {platform.release()}",
        "file_system": file_system(directory),
        "cold": "drop_caches" if can_drop_caches() else "posix_fadvise",
        "program": [" ".join(line.split()) for line in version.splitlines()],
    }


def file_system(directory):
    done = subprocess.run(
        ["stat", "-f", "-c", "%T", directory], capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


class Report:
    """What a benchmark found: tables to read, or JSON."""

    def __init__(self, name, directory, settings):
        self.data = {
            "benchmark": name,
            "settings": settings,
            "machine": machine(directory),
        }
        self.lines = []

    def table(self, title, head, rows):
        """Columns, the first flush left, the others flush right."""
        rows = [[str(cell) for cell in row] for row in [head, *rows]]
        widths = [max(map(len, column)) for column in zip(*rows)]
        self.lines += ["", title, ""]
        for i, row in enumerate(rows):
            cells = [row[0].ljust(widths[0])]
            cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:])]
            self.lines.append("  " + "  ".join(cells).rstrip())
            if i == 0:
                self.lines.append("  " + "  ".join("-" * w for w in widths))

    def line(self, text):
        self.lines += ["", text]

    def target(self, name, value, limit, digits=2, at_least=False):
        """A number that is promised, and whether it is kept."""
        kept = value >= limit if at_least else value <= limit
        sign = ">=" if at_least else "<="
        self.data.setdefault("targets", []).append(
            {"name": name, "value": value, "limit": limit, "kept": kept}
        )
        self.lines.append(
            f"{'  ok  ' if kept else '  MISS'}  {name}: "
            f"{value:.{digits}f} (target {sign} {limit:g})"
        )

    def note(self, name, value):
        self.data[name] = value

    def print(self, as_json):
        if as_json:
            print(json.dumps(self.data, indent=2))
            return
        m = self.data["machine"]
        print(
            f"{m['processor']}, {m['cores']} cores, "
            f"{m['memory_bytes'] / GIBI:.0f} GiB, {m['kernel']}, "
            f"{m['file_system']}"
        )
        print("; ".join(m["program"]))
        print("\n".join(self.lines))


def clock():
    return time.monotonic()


# --- the command line ------------------------------------------------------


class Benchmarks:
    """The command line of a program that is several benchmarks."""

    def __init__(self, prog, description):
        self.prog = prog
        self.parser = argparse.ArgumentParser(
            prog=prog, description=description,
            epilog="Sizes: 4G is 4 * 10^9 bytes, 4Gi is 4 * 2^30.",
        )  # fmt: skip
        self.names = self.parser.add_subparsers(dest="name", required=True)

    def command(self, function, rounds, name=None):
        """A benchmark: a function of the arguments that returns a Report."""
        p = self.names.add_parser(
            name or function.__name__, help=function.__doc__.split(".")[0],
            description=function.__doc__,
        )  # fmt: skip
        p.set_defaults(do=function)
        p.add_argument("--dir", type=Path, default=Path("bench-data"),
                       help="where the data is made and kept (%(default)s)")
        p.add_argument("--rounds", type=int, default=rounds,
                       help="of everything (%(default)s)")
        p.add_argument("--options", default="", metavar="TEXT",
                       help="more options for taumerge, as one word")
        p.add_argument("--remove", action="store_true",
                       help="remove the data afterwards")
        p.add_argument("--json", action="store_true",
                       help="print JSON instead of tables")
        return p  # fmt: skip

    def main(self, afterwards):
        """Runs the one that is asked for; `afterwards` removes the data."""
        args = self.parser.parse_args()
        args.dir = args.dir.resolve()
        started = clock()
        try:
            program()
            make_directory(args.dir)
            try:
                report = args.do(args)
            finally:
                if args.remove:
                    afterwards()
        except Trouble as trouble:
            sys.exit(f"{self.prog}: {trouble}")
        except KeyboardInterrupt:
            sys.exit(f"{self.prog}: interrupted")
        say(f"took {clock() - started:.0f} s")
        report.print(args.json)


def size_argument(p, default, help):
    p.add_argument("--size", type=parse_size, default=parse_size(default),
                   metavar="SIZE", help=f"{help} ({default})")  # fmt: skip


def settings(args):
    """The arguments, for a Report."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(args).items()
        if name != "do"
    }
