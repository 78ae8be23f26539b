"""Flips bits of stored vectors, one at a time, and looks at what the commands
make of it: for tests/test_flips.py and bench/flips.py.

A process for each of some ten thousand bits would take minutes:
tests/flip_bits calls the commands one after another.
"""

import shutil
import subprocess
import threading
from collections import namedtuple

import numpy as np

import checkpoints
import program
import vectors
from checkpoints import raw

DRIVER = program.BUILD / "tests" / "flip_bits"

# One thread computes: the driver runs twice.
ONE = ["-q", "--threads", 1]

Flip = namedtuple("Flip", "file bit")
Outcome = namedtuple("Outcome", "flip status harmless")


def commands(made, vector, out):
    """What is run, and where its output is."""
    merge = program.merge_args(made.base, [(vector, 0.5)], out)
    return {
        "verify": (["verify", vector], None),
        "verify --base": (
            ["verify", "--base", made.base, "--threads", 1, vector], None
        ),
        "apply": (["apply", made.base, vector, "-o", out, *ONE], out),
        "merge": ([*merge, "--allow-extra", *ONE], out),
    }  # fmt: skip


# The driver


class Driver:
    """A command, run with the bits of one file of a vector flipped."""

    def __init__(self, made, vector, out, which):
        self.made, self.vector, self.which = made, vector, which
        self.args, self.out = commands(made, vector, out)[which]
        self.outcomes = []

    def run(self, file, bits):
        before = (self.vector / file).read_bytes()
        argv = [DRIVER, self.vector / file, self.out or "-", *self.args]
        running = subprocess.Popen(
            [str(a) for a in argv],
            # Between two runs the threads sleep, and do not spin.
            env=program.environment(OMP_WAIT_POLICY="passive"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # A pipe holds less than all of either.
        errors = threading.Thread(target=self.read_errors, args=[running])
        errors.start()
        feeding = threading.Thread(target=feed, args=[running, bits])
        feeding.start()
        self.read(running.stdout, file, bits)
        feeding.join()
        errors.join()
        program.check_sanitizers(self.errors)
        assert running.wait() == 0, (file, running.returncode, self.errors)
        assert (self.vector / file).read_bytes() == before

    def read_errors(self, running):
        self.errors = running.stderr.read()

    def read(self, lines, file, bits):
        """Line for line, so that what was made does not heap up."""
        for bit, line in zip(["-", *bits], lines):
            name, status, *left = line.split()
            what = (self.which, str(file), name)
            assert name == str(bit) and not left, (what, line)
            harmless = self.take(name, what) if status == "0" else False
            if bit == "-":
                assert status == "0", what
            else:
                flip = Flip(file, bit)
                self.outcomes.append(Outcome(flip, int(status), harmless))
        missing = len(bits) - sum(o.flip.file == file for o in self.outcomes)
        assert missing <= 0, (self.which, str(file), "the driver died", missing)

    def take(self, name, what):
        """What a run that worked has made must be right; it goes."""
        if self.out is None:
            return True
        made = self.out.with_name(f"{self.out.name}.{name}")
        if self.which == "apply":
            wanted = checkpoints.tree(self.made.tuned)
        elif name == "-":
            self.wanted = checkpoints.tree(made)
            wanted = {
                f.name: f.read_bytes()
                for f in checkpoints.files_of(self.made.merged)
            }
            wanted = dict(self.wanted, **wanted)
        else:
            wanted = self.wanted
        assert checkpoints.tree(made) == wanted, what
        shutil.rmtree(made)
        return True


def feed(running, bits):
    try:
        running.stdin.write("".join(f"{bit}\n" for bit in bits))
        running.stdin.close()
    except BrokenPipeError:
        pass  # the driver died, which its status tells


def by_file(flips):
    found = {}
    for file, bit in flips:
        found.setdefault(file, []).append(bit)
    return found


def run_part(made, path, which, flips, outcomes, errors):
    """On a copy of the vector, as the bits flip where it lies."""
    try:
        path.mkdir()
        vector = shutil.copytree(made.vector, path / "vector")
        driver = Driver(made, vector, path / "out", which)
        for file, bits in by_file(flips).items():
            driver.run(file, bits)
        outcomes += driver.outcomes
    except BaseException as error:  # the other thread raises it
        errors.append(error)


def flip_all(made, path, which, flips):
    """Runs a command with each of the flips, in two processes at a time."""
    outcomes, errors, threads = [], [], []
    for i in range(2):
        part = path / f"part{i}"
        threads.append(
            threading.Thread(
                target=run_part,
                args=(made, part, which, flips[i::2], outcomes, errors),
            )
        )
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(2):
        shutil.rmtree(path / f"part{i}", ignore_errors=True)
    if errors:
        raise errors[0]
    assert len(outcomes) == len(flips)
    return outcomes


def bits_of(vector):
    """Every bit of all files of a vector."""
    return [
        Flip(file.relative_to(vector), bit)
        for file in sorted(vector.rglob("*"))
        if file.is_file()
        for bit in range(8 * file.stat().st_size)
    ]


def random_flips(vector, count, seed):
    """Any bit of any file with the same chance."""
    rng = np.random.default_rng(seed)
    files = sorted(f for f in vector.rglob("*") if f.is_file())
    ends = np.cumsum([8 * f.stat().st_size for f in files])
    flips = []
    for at in rng.choice(int(ends[-1]), count, replace=False):
        i = int(np.searchsorted(ends, at, "right"))
        first = int(ends[i - 1]) if i > 0 else 0
        flips.append(Flip(files[i].relative_to(vector), int(at) - first))
    return flips


def family_of_all_kinds():
    """Small tensors of several types, in every coding there is."""
    rng = np.random.default_rng(7)
    shapes = {"near": [1900], "half": [90], "wide": [60], "long": [9],
              "tiny": [64], "same": [20], "none": [0]}  # fmt: skip
    types = {"near": "BF16", "half": "F16", "wide": "F32", "long": "F64",
             "tiny": "F8_E4M3", "same": "F16", "none": "F32"}  # fmt: skip
    base, tuned = checkpoints.family(shapes, [types] * 2)
    tuned["same"] = base["same"]
    tuned["new"] = checkpoints.tensor([i / 30 for i in range(30)], "BF16")
    counts = raw(np.arange(40, dtype=np.int32), "I32")
    noise = rng.integers(0, 256, 24, np.uint8)
    base.update(count=counts, noise=raw(noise, "U8"))
    tuned.update(count=counts, noise=raw(noise, "U8"))
    # Of another base they are deltas: merges copy integers that are equal.
    base["far"] = raw(rng.bytes(80), "BF16")
    tuned["far"] = raw(rng.bytes(80), "BF16")
    tuned["zero"] = base["zero"] = raw(bytes(64), "F32")
    tuned["less"] = raw(bytes(64), "F32")
    base["less"] = raw(np.full(16, 1.5, np.float32), "F32")
    return base, tuned


def family_of_large_tensors():
    """Some megabytes in chunks of several codings."""
    rng = np.random.default_rng(3)
    words = vectors.vector_decoder.CHUNK
    base, tuned = {}, {}
    for i, dtype in enumerate(["BF16", "F16", "BF16", "F32"]):
        size = words + 12345 * i
        values = checkpoints.base_values(rng, size)
        near = checkpoints.tuned_values(rng, values)
        base[f"near{i}"] = checkpoints.tensor(values, dtype)
        tuned[f"near{i}"] = checkpoints.tensor(near, dtype)
    base["far"] = raw(rng.bytes(4 * words + 66), "BF16")
    tuned["far"] = raw(rng.bytes(4 * words + 66), "BF16")
    tuned["new"] = raw(rng.bytes(70000), "BF16")
    return base, tuned
