"""Runs the program under test.

Environment: TAUMERGE is its path (default: taumerge at the top of the tree),
TAUMERGE_BUILD the build directory (default: the top of the tree),
TAUMERGE_SUITE one of normal, asan, tsan: under the sanitizers the tests
take fewer steps.
"""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("TAUMERGE_BUILD") or TOP).resolve()
PROGRAM = str(Path(os.environ.get("TAUMERGE") or TOP / "taumerge").resolve())
SUITE = os.environ.get("TAUMERGE_SUITE", "normal")
SANITIZED = SUITE != "normal"

USAGE, DATA, NO_INPUT, INTERNAL = 64, 65, 66, 70
SYSTEM, CANNOT_CREATE, IO_ERROR, INTERRUPTED = 71, 73, 74, 75

# Reading and writing a gigabyte takes seconds, a sanitizer makes it a minute.
PATIENCE = {"normal": 60, "asan": 180, "tsan": 300}[SUITE]

SANITIZER_REPORT = re.compile(r"Sanitizer|runtime error")


def some(items):
    """All of them, or under a sanitizer a share: a run there takes several
    times as long, and the others run the same code."""
    return list(items)[:: {"normal": 1, "asan": 3, "tsan": 6}[SUITE]]


Result = namedtuple("Result", "status out err seconds peak")


def scaled(normal, sanitized):
    """A size or a number of steps, by suite."""
    return sanitized if SANITIZED else normal


def command(*args):
    return [PROGRAM, *map(str, args)]


def environment(**changes):
    """Ours, in a plain locale, with the changes given (None removes)."""
    env = dict(os.environ, LC_ALL="C")
    for name in ("TAUMERGE_FAULT", "TAUMERGE_CPU", "TAUMERGE_JOURNAL"):
        env.pop(name, None)
    for name, value in changes.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = str(value)
    return env


# The leak checker stops all threads at the end and looks at their stacks. Once
# in some thousand runs it crashes itself, over a thread that is just ending.
CHECKER_CRASHED = "LeakSanitizer has encountered a fatal error"


def check_sanitizers(err):
    if CHECKER_CRASHED in err:
        pytest.skip("the leak checker itself crashed")
    assert not SANITIZER_REPORT.search(err), err


def run(*args, env=None, limits=None, timeout=PATIENCE, cwd=None, **how):
    """Runs the program to its end.

    `env` changes the environment; `limits` is {resource: value}, with the
    names of setrlimit without the RLIMIT_; the rest goes to subprocess.
    """

    def limit():
        for name, value in (limits or {}).items():
            what = getattr(resource, "RLIMIT_" + name)
            resource.setrlimit(what, (value, value))

    how.setdefault("stdin", subprocess.DEVNULL)
    how.setdefault("stdout", subprocess.PIPE)
    how.setdefault("stderr", subprocess.PIPE)
    start = time.monotonic()
    done = subprocess.run(
        command(*args),
        env=environment(**(env or {})),
        preexec_fn=limit if limits else None,
        timeout=timeout,
        cwd=cwd,
        **how,
    )
    seconds = time.monotonic() - start
    out = (done.stdout or b"").decode(errors="surrogateescape")
    err = (done.stderr or b"").decode(errors="surrogateescape")
    check_sanitizers(err)
    assert done.returncode >= 0, f"signal {-done.returncode}: {err}"
    return Result(done.returncode, out, err, seconds, None)


# A child of a large process starts with that process's peak memory in its
# books, so the program is started by a small one.
MEASURE = """
import os, sys
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(pid, 0)
with open(sys.argv[1], "w") as f:
    f.write(f"{os.waitstatus_to_exitcode(status)} {used.ru_maxrss * 1024}")
"""


def run_measured(tmp_path, *args, timeout=PATIENCE, **how):
    """Runs the program and says how much memory it had at its peak."""
    notes = tmp_path / "measured"
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", MEASURE, notes, *command(*args)],
        env=environment(),
        timeout=timeout,
        capture_output=True,
        text=True,
        **how,
    )
    seconds = time.monotonic() - start
    check_sanitizers(done.stderr)
    status, peak = map(int, notes.read_text().split())
    return Result(status, done.stdout, done.stderr, seconds, peak)


def merge_args(base, vectors, out):
    """The arguments of a merge; `vectors` is a list of (path, weight)."""
    args = ["merge", "-b", base]
    for path, weight in vectors:
        args += ["-t", path]
        if weight is not None:
            args += ["-w", repr(weight)]
    return [*args, "-o", out]


def merge(base, vectors, out, *more, **how):
    """Merges, and insists on success."""
    result = run(*merge_args(base, vectors, out), *more, **how)
    assert result.status == 0, result.err
    assert out.exists()
    assert not sibling(out).exists()
    return result


def smallest_memory(args, **how):
    """The smallest --memory that works, in bytes, as the program says it
    when it is given too little."""
    refused = run(*args, "--memory", "1", **how)
    assert_refused(refused, USAGE)
    number, unit = re.findall(r"(\d+(?:\.\d+)?) ?([KMGT]?)", refused.err)[-1]
    return int(float(number) * 1024 ** " KMGT".index(unit or " "))


def sibling(out):
    """Where the program builds OUT."""
    return out.parent / f".{out.name}.taumerge"


def errors(result):
    """The lines of stderr that are errors, without the program's name."""
    lines = result.err.splitlines()
    assert all(line.startswith("taumerge: ") for line in lines), result.err
    lines = [line[len("taumerge: ") :] for line in lines]
    return [line for line in lines if not line.startswith("warning: ")]


def assert_refused(result, status, out=None, mentions=()):
    """A clean refusal: status, message, nothing left behind."""
    wanted = status if isinstance(status, (set, tuple)) else {status}
    assert result.status in wanted, (result.status, result.err)
    assert result.err.startswith("taumerge: "), result.err
    for word in mentions:
        assert str(word) in result.err, (word, result.err)
    printable = all(c == "\n" or c.isprintable() for c in result.err)
    assert printable, ascii(result.err)
    if out is not None:
        assert not os.path.lexists(out)
        assert not os.path.lexists(sibling(out))


def start(*args, env=None, **how):
    """Starts the program, to be sent signals, also where a shell has started
    the tests in the background and so with SIGINT ignored."""
    how.setdefault("stdin", subprocess.DEVNULL)
    how.setdefault("stdout", subprocess.PIPE)
    how.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen(
        command(*args),
        env=environment(**(env or {})),
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **how,
    )


def wait_for(condition, seconds=10.0):
    """Waits for something to come true; says whether it did."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.001)
    return False


def instruction_sets():
    """The values of TAUMERGE_CPU that this machine can run."""
    line = re.search(r"^ *kernels .*\(of (.*)\)$", run("--version").out, re.M)
    return line[1].split()
