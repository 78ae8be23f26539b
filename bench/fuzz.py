#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes for a given time and prints what was reached: bench/fuzz.py
--seconds 3600 [NAME...]; see bench/README.md."""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

from common import TOP, Report, Trouble, clock, say, settings

CORPUS = TOP / "tests" / "fuzz" / "corpus"
SANITIZERS = "address,undefined"

# What a harness is about: its dictionary and the sources it should reach.
Target = namedtuple("Target", "dictionary sources")

TARGETS = {
    "header": Target("json", ["io/safetensors.c", "io/json.c"]),
    "index": Target("json", ["io/index.c", "io/json.c"]),
    "command_line": Target("options", ["src/options.c"]),
    "recipe": Target("recipe", ["src/recipe/"]),
    "manifest": Target("json", ["io/vector_manifest.c"]),
    "vector_index": Target("json", ["io/vector_index.c"]),
    "chunk": Target(None, ["io/chunk.c", "kernels/planes.c"]),
    "rans": Target(None, ["kernels/rans"]),
    "container": Target(
        "json", ["io/vector", "src/verify_vector.c", "src/apply.c"]
    ),
    "journal": Target(None, ["io/journal", "src/journal", "src/resume"]),
}

# What tests/test_fuzz.py allows in a folder of the corpus, and a file there.
MOST_FILES, MOST_BYTES, LONGEST = 199, 100_000, 4096

# --- building --------------------------------------------------------------

SOURCES = ["bench", "build-aux", "docs", "examples", "io", "kernels", "m4",
           "src", "tests"]  # fmt: skip
MADE = re.compile(r".*\.(o|a|pyc|so)|\.deps|\.dirstamp|__pycache__")


def source_files():
    """What the build reads. The tree may be configured for another build,
    and then make builds nowhere else: so it is copied."""
    for name in ["configure.ac", "Makefile.am", "bootstrap", "README.md",
                 "CONTRIBUTING.md", "NEWS.md", "LICENSE"]:  # fmt: skip
        yield TOP / name
    for folder in SOURCES:
        for path, folders, names in os.walk(TOP / folder):
            folders[:] = [f for f in folders if not MADE.fullmatch(f)]
            yield from (Path(path) / n for n in names if not MADE.fullmatch(n))


def is_same(a, b):
    try:
        there = b.stat()
    except FileNotFoundError:
        return False
    here = a.stat()
    return (here.st_size, here.st_mtime_ns) == (there.st_size,
                                                there.st_mtime_ns)  # fmt: skip


def copy_sources(build):
    for file in source_files():
        there = build / file.relative_to(TOP)
        if not is_same(file, there):
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, there)


def do(build, *argv):
    """A step of a build; what it says is in a file."""
    with open(build / "fuzz-build.log", "a") as log:
        done = subprocess.run(
            [str(a) for a in argv], cwd=build, stdout=log, stderr=log
        )
    if done.returncode != 0:
        raise Trouble(f"{argv[0]} failed: see {build}/fuzz-build.log")


def prepare(build, *configure):
    """Copies, and configures what is not configured yet."""
    copy_sources(build)
    if not (build / "Makefile").exists():
        do(build, "autoreconf", "-fi")
        do(build, "./configure", "CC=clang", *configure)


def make(build, args, programs):
    say(f"building {len(programs)} programs in {build}")
    # The libraries first, as the Makefile does it.
    do(build, "make", f"-j{args.make_jobs}", "all")
    do(build, "make", f"-j{args.make_jobs}", *programs)


def build_fuzzers(args):
    build = args.dir / "fuzz"
    prepare(build, "--enable-fuzzers", f"--enable-sanitizers={SANITIZERS}")
    make(build, args, [f"tests/fuzz/fuzz_{n}" for n in args.names])
    return build


# --- one harness -----------------------------------------------------------

FINDING = re.compile(r"(crash|leak|timeout|oom|slow-unit)-[0-9a-f]+")
PROGRESS = re.compile(r"^#\d+\s.* cov: (\d+) ft: (\d+)", re.M)

Outcome = namedtuple("Outcome", "executions seconds edges features findings")


def fuzz_command(build, name, seconds, found, findings):
    fuzz = build / "tests" / "fuzz"
    argv = [
        fuzz / f"fuzz_{name}", f"-max_total_time={seconds}",
        "-print_final_stats=1", "-timeout=30", "-rss_limit_mb=4096",
        f"-max_len={LONGEST}", f"-artifact_prefix={findings}/",
    ]  # fmt: skip
    dictionary = TARGETS[name].dictionary
    if dictionary is not None:
        argv.append(f"-dict={fuzz / dictionary}.dict")
    return [*argv, found, CORPUS / name]


def statistic(text, name):
    found = re.findall(rf"^stat::{name}:\s+(\d+)", text, re.M)
    return int(found[-1]) if found else 0


def search(build, name, seconds, found, findings, log):
    """libFuzzer once, which ends early with what it finds."""
    argv = fuzz_command(build, name, seconds, found, findings)
    # The container's commands run one after another: their threads must sleep
    # in between, not spin.
    env = dict(os.environ, LC_ALL="C", OMP_WAIT_POLICY="passive")
    done = subprocess.run(
        [str(a) for a in argv], stdout=subprocess.PIPE, env=env,
        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    text = done.stdout.decode(errors="replace")
    with open(log, "a") as f:
        f.write(text)
    last = (PROGRESS.findall(text) or [(0, 0)])[-1]
    executions = statistic(text, "number_of_executed_units")
    return done.returncode, executions, int(last[0]), int(last[1])


def listed_findings(folder):
    return sorted(
        f for f in folder.iterdir() if FINDING.fullmatch(f.name)
    )


def fuzz(args, build, name):
    """A harness until its time is over; a finding does not end it, but ten
    do."""
    found, findings = args.corpus / name, args.dir / "findings" / name
    for folder in (found, findings):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(listed_findings(findings))
    log = findings / "log.txt"
    log.unlink(missing_ok=True)
    start, executions, edges, features, failed = clock(), 0, 0, 0, 0
    while failed < 10:
        left = round(args.seconds - (clock() - start))
        if left <= 0:
            break
        status, n, cov, ft = search(build, name, left, found, findings, log)
        executions += n
        edges, features = max(edges, cov), max(features, ft)
        failed += status != 0
    new = [f for f in listed_findings(findings) if f not in before]
    took = clock() - start
    say(f"{name}: {executions} executions in {took:.0f} s, "
        f"{len(new)} findings")  # fmt: skip
    return Outcome(executions, took, edges, features,
                   [str(f) for f in new])  # fmt: skip


# --- what was found, kept --------------------------------------------------


def keep_smallest(name, merged):
    """Adds what there is room for to the corpus in the tree, the smallest
    first; says how much that was."""
    there = CORPUS / name
    known = {f.read_bytes() for f in there.iterdir()}
    files, size = len(known), sum(map(len, known))
    new = [f.read_bytes() for f in merged.iterdir()]
    new = sorted((d for d in new if d not in known), key=lambda d: (len(d), d))
    added = 0
    for data in new:
        if files >= MOST_FILES or size + len(data) > MOST_BYTES:
            break
        digest = hashlib.sha256(data).hexdigest()[:8]
        (there / f"found-{digest}").write_bytes(data)
        files, size, added = files + 1, size + len(data), added + 1
    return added, len(new)


def merge(args, build, name):
    """Of what was found only what reaches what the seeds do not."""
    with tempfile.TemporaryDirectory(dir=args.dir) as scratch:
        merged = Path(scratch) / "merged"
        shutil.copytree(CORPUS / name, merged)
        done = subprocess.run(
            [build / "tests" / "fuzz" / f"fuzz_{name}", "-merge=1",
             f"-max_len={args.longest}", merged, args.corpus / name],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        if done.returncode != 0:
            raise Trouble(f"fuzz_{name} -merge=1 failed: "
                          f"{done.stderr.decode()[-1000:]}")  # fmt: skip
        added, of = keep_smallest(name, merged)
    say(f"{name}: {added} of {of} inputs that reach more are kept")


# --- coverage --------------------------------------------------------------

FLAGS = "-O1 -g -fprofile-instr-generate -fcoverage-mapping"


def can_cover():
    return all(map(shutil.which, ("llvm-profdata", "llvm-cov")))


def build_replays(args):
    """The harnesses as ordinary programs that count lines."""
    build = args.dir / "fuzz-coverage"
    prepare(build, f"CFLAGS={FLAGS}")
    make(build, args, [f"tests/fuzz/replay_{n}" for n in args.names])
    return build


def captured(*argv, env=None):
    done = subprocess.run([str(a) for a in argv], capture_output=True, env=env)
    if done.returncode != 0:
        raise Trouble(f"{argv[0]}: {done.stderr.decode()[-1000:]}")
    return done.stdout


def coverage(args, build, name):
    """(lines reached, lines there are) in the sources of a harness, by the
    corpus in the tree and what was found."""
    replay = build / "tests" / "fuzz" / f"replay_{name}"
    with tempfile.TemporaryDirectory(dir=args.dir) as scratch:
        raw, data = Path(scratch) / "raw", Path(scratch) / "data"
        folders = [f for f in (CORPUS / name, args.corpus / name)
                   if any(f.iterdir())]  # fmt: skip
        env = dict(os.environ, LLVM_PROFILE_FILE=str(raw))
        captured(replay, *folders, env=env)
        captured("llvm-profdata", "merge", "-o", data, raw)
        text = captured("llvm-cov", "export", "-summary-only",
                        f"-instr-profile={data}", replay)  # fmt: skip
    reached = there = 0
    for file in json.loads(text)["data"][0]["files"]:
        path = os.path.relpath(file["filename"], build.resolve())
        if path.startswith(tuple(TARGETS[name].sources)):
            lines = file["summary"]["lines"]
            reached, there = reached + lines["covered"], there + lines["count"]
    return reached, there


# --- the table -------------------------------------------------------------


def lines_text(lines):
    if lines is None or lines[1] == 0:
        return "-"
    return f"{100 * lines[0] / lines[1]:.1f} % of {lines[1]}"


def report_on(args, outcomes, lines):
    report = Report("fuzz", args.dir, settings(args))
    rows = [
        [name, o.executions, f"{o.executions / max(o.seconds, 1e-9):.0f}",
         o.edges, o.features, lines_text(lines.get(name)), len(o.findings)]
        for name, o in outcomes.items()
    ]  # fmt: skip
    report.table(
        f"{args.seconds} s each, {SANITIZERS}",
        ["harness", "executions", "per second", "edges", "features",
         "lines of its sources", "findings"],
        rows,
    )  # fmt: skip
    for name, o in outcomes.items():
        for path in o.findings:
            report.line(f"{name}: {path}")
    for name, o in outcomes.items():
        report.note(name, dict(o._asdict(), lines=lines.get(name)))
    return report


def arguments():
    p = argparse.ArgumentParser(prog="bench/fuzz.py", description=__doc__)
    p.add_argument("names", nargs="*", metavar="NAME",
                   help="harnesses; all, if none is named")
    p.add_argument("--seconds", type=int, default=60,
                   help="for each harness (%(default)s)")
    p.add_argument("--jobs", type=int, default=1,
                   help="harnesses at a time (%(default)s)")
    p.add_argument("--make-jobs", type=int, default=2,
                   help="for make (%(default)s)")
    p.add_argument("--dir", type=Path, default=Path("bench-data"),
                   help="for builds and findings (%(default)s)")
    p.add_argument("--corpus", type=Path,
                   help="keep what reaches more there, and begin with what "
                   "is there; otherwise it goes at the end")
    p.add_argument("--merge", action="store_true",
                   help="add the smallest of it to tests/fuzz/corpus")
    p.add_argument("--longest", type=int, default=1000, metavar="BYTES",
                   help="of an input that --merge adds (%(default)s)")
    p.add_argument("--no-coverage", action="store_true",
                   help="do not build again to count lines")
    p.add_argument("--json", action="store_true", help="print JSON")
    return p.parse_args()  # fmt: skip


def available():
    """The harnesses of this tree."""
    there = (TOP / "tests" / "fuzz").glob("fuzz_*.c")
    names = sorted(f.stem[len("fuzz_") :] for f in there)
    unknown = [n for n in names if n not in TARGETS]
    for name in unknown:
        TARGETS[name] = Target(None, [])
    return names


def fuzz_all(args):
    build = build_fuzzers(args)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        running = {n: pool.submit(fuzz, args, build, n) for n in args.names}
        outcomes = {n: r.result() for n, r in running.items()}
    for name in args.names if args.merge else []:
        merge(args, build, name)
    lines = {}
    if can_cover() and not args.no_coverage:
        build = build_replays(args)
        lines = {n: coverage(args, build, n) for n in args.names}
    return outcomes, lines


def check(args):
    names = available()
    wrong = sorted(set(args.names) - set(names))
    if wrong:
        raise Trouble(f"no harness {', '.join(wrong)}; there are "
                      f"{', '.join(names)}")  # fmt: skip
    if shutil.which("clang") is None:
        raise Trouble("clang is not there: libFuzzer comes with it")
    args.names = args.names or names


def main():
    args = arguments()
    try:
        check(args)
        args.dir.mkdir(parents=True, exist_ok=True)
        args.dir = args.dir.resolve()
        with tempfile.TemporaryDirectory(dir=args.dir) as scratch:
            args.corpus = (args.corpus or Path(scratch)).resolve()
            report = report_on(args, *fuzz_all(args))
    except Trouble as trouble:
        sys.exit(f"bench/fuzz.py: {trouble}")
    except KeyboardInterrupt:
        sys.exit("bench/fuzz.py: interrupted")
    report.print(args.json)
    if any(report.data[name]["findings"] for name in args.names):
        sys.exit(1)


if __name__ == "__main__":
    main()
