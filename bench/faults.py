#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What comes of everything that can fail: bench/faults.py [--share N].

Commands that make an output, on small models in memory. Every I/O operation
of each fails, with each error, once and from then on, is interrupted, comes up
short; and each run that failed is gone on with. tests/oracle.py judges. Prints
a table, and exits with 1 if a promise was broken."""

import argparse
import errno
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import checkpoints  # noqa: E402
import oracle  # noqa: E402
import program  # noqa: E402
import vectors  # noqa: E402

ERRORS = ["EIO", "ENOSPC", "EINTR", "EAGAIN"]
ENGINES = ["uring", "threads"]
MARKS = {"none": oracle.BY_THE_CLOCK, "all": oracle.EVERYWHERE}
SHUFFLES = 20

SHAPES = {"near": [300], "wide": [70], "same": [20], "none": [0]}
TYPES = {"near": "BF16", "wide": "F32", "same": "F16", "none": "F32"}


def jobs(path):
    """{name: a command that is run again and again}."""
    base, tuned = checkpoints.family(SHAPES, [TYPES] * 2)
    tuned["same"] = base["same"]
    made = vectors.made_of(path, base, tuned)
    b, t, v = made.base, made.tuned, made.vector
    merge = ["merge", "-b", b, "-t", t, "-w", "0.5"]
    args = {
        "merge": merge,
        "diff": ["diff", b, t],
        "apply": ["apply", b, v],
        "merge --as-vector": [*merge, "--as-vector"],
    }
    return {
        name: oracle.Job(path / f"job{i}", args[name], [b, t, v])
        for i, name in enumerate(args)
    }


def faults(count):
    """Every way in which operations fail; count(kind) is how many there are."""
    listed = [
        f"op=any,k={k},errno={name},for={how}"
        for k in range(1, count("any") + 1)
        for name in ERRORS
        for how in ("once", "ever")
    ]
    listed += [
        f"op={kind},k={k},short=1,for={how}"
        for kind in ("read", "write")
        for k in range(1, count(kind) + 1)
        for how in ("once", "ever")
    ]
    listed += [f"op=any,shuffle={s}" for s in range(1, SHUFFLES + 1)]
    random.Random(0).shuffle(listed)
    return listed


def meet(job, spec, engine, often):
    """One fault; what was wrong, or None."""
    name = spec.split("errno=")[1].split(",")[0] if "errno" in spec else None
    statuses = oracle.CLEAN if name else set()
    try:
        tried = job.attempt(
            statuses, spec, "--io", engine, fault=spec, often=often,
            may_stay=True,
        )  # fmt: skip
        cause = os.strerror(getattr(errno, name)) if name else ""
        assert tried.worked or cause in tried.result.err, tried
    except Exception as broken:  # a hang too
        return f"{spec}: {type(broken).__name__}: {broken}"
    return None


def row(name, job, engine, marks, share):
    often = MARKS[marks]

    def count(kind):
        return job.count(kind, "--io", engine, often=often)

    job.tries.clear()
    wrong = oracle.in_parallel(
        lambda spec: meet(job, spec, engine, often), faults(count)[::share]
    )
    wrong = [line for line in wrong if line]
    tries = job.tries
    print(
        f"{name:18} {engine:8} {marks:6} {count('any'):10} "
        f"{tries['all'] + len(wrong):8} {tries['worked']:9} "
        f"{tries['failed']:8} {tries['kept']:6} {len(wrong):6}",
        flush=True,
    )
    for line in wrong[:3]:
        print("    " + line[:2000], file=sys.stderr)
    return tries["all"] + len(wrong), len(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--share", type=int, default=1, metavar="N", help="one fault in N"
    )
    share = parser.parse_args().share
    start, met, wrong = time.monotonic(), 0, 0
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(dir=shm, prefix="taumerge-bench-"))
    print("command            engine   marks  operations   faults "
          " survived  cleanly   kept  wrong")  # fmt: skip
    try:
        for name, job in jobs(path).items():
            for engine in ENGINES:
                for marks in MARKS:
                    some = row(name, job, engine, marks, share)
                    met, wrong = met + some[0], wrong + some[1]
    finally:
        shutil.rmtree(path)
    seconds = time.monotonic() - start
    print(f"{met} faults, {wrong} promises broken, in {seconds:.0f} s")
    print(program.run("--version").out.splitlines()[0])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
