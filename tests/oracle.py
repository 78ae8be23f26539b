"""Runs commands while something fails, and judges what comes of it.

Whatever fails, and whenever, of a command that makes an output it is promised:

  - exit 0, and the output is complete and as it always is; or
  - another exit status, a message that names the file and the cause, and
    under the name of the output what was there before; and then
  - the same command with --resume, when nothing fails any more, makes the
    output as it always is, and leaves nothing else.

Inputs are never changed, and no run crashes, hangs or leaks.
"""

import collections
import errno
import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import checkpoints
import program
from program import CANNOT_CREATE, IO_ERROR, SYSTEM

# Marks (src/keeper.h): by the clock, so that a short run has none, or one after
# each unit, so that most faults meet a run of which something is kept.
BY_THE_CLOCK, EVERYWHERE = None, "0"

# For every kind of operation (io/fault.h): how it can fail, and the exit status
# then. None: the command works all the same.
FULL = {"ENOSPC": {CANNOT_CREATE}, "EDQUOT": {CANNOT_CREATE}}
FAULTS = {
    "open": {"EACCES": {CANNOT_CREATE, IO_ERROR},
             "EMFILE": {CANNOT_CREATE, IO_ERROR}},
    "read": {"EIO": {IO_ERROR}},
    "write": {"EIO": {IO_ERROR}, **FULL},
    "sync": {"EIO": {IO_ERROR}, **FULL},
    "close": {"EIO": {IO_ERROR}},
    "allocate": FULL,
    "truncate": {"EIO": {IO_ERROR}},
    "mkdir": {"EACCES": {CANNOT_CREATE}, "ENOSPC": {CANNOT_CREATE}},
    "rename": {"EROFS": {CANNOT_CREATE}},
    "unlink": {"EIO": set()},
}  # fmt: skip

# Without these there is no output.
NEEDED = {"read", "write", "sync", "allocate", "truncate", "mkdir", "rename"}

# Statuses of any failure that is the disk's or the system's.
CLEAN = {SYSTEM, CANNOT_CREATE, IO_ERROR}

# What happens again and again and is no failure.
TRANSIENT = {
    "read": ["errno=EINTR", "errno=EAGAIN", "short=1"],
    "write": ["errno=EINTR", "errno=EAGAIN", "short=1"],
    "sync": ["errno=EINTR"],
}

# Nothing works any more, renaming neither.
IS_STUCK = re.compile(r"op=any,.*for=ever")

MESSAGE = re.compile(r"^taumerge: (/.*?|\S*/\S+): ", re.M)

Try = collections.namedtuple("Try", "worked kept result")


class Job:
    """A command that makes an output, run again and again.

    `path` is a folder of its own; `args` lack -o; `inputs` are what it reads;
    `old` is put where the output will be, for --force.
    """

    def __init__(self, path, args, inputs, out="out", old=None):
        self.path, self.args, self.name, self.old = path, args, out, old
        self.inputs = inputs
        self.here = threading.local()
        self.folders = 0
        self.lock = threading.Lock()
        self.tries = collections.Counter()
        self.before = self.inputs_now()
        self.clear()
        self.nothing = self.seen()
        result = self.run()
        assert result.status == 0, result.err
        self.expected = self.seen()
        self.hash = checkpoints.tree_hash(self.out)
        assert not program.sibling(self.out).exists()

    def inputs_now(self):
        return [checkpoints.tree_hash(path) for path in self.inputs]

    # A thread's own folder

    @property
    def folder(self):
        if not hasattr(self.here, "folder"):
            with self.lock:
                self.folders += 1
                self.here.folder = self.path / f"folder{self.folders}"
        return self.here.folder

    @property
    def out(self):
        return self.folder / self.name

    def clear(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if self.old is not None:
            shutil.copytree(self.old, self.out)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)

    def seen(self):
        """What a user finds: all but the directory that a run works in."""
        own = program.sibling(self.out).name
        tree = checkpoints.tree(self.folder)
        return {
            name: data
            for name, data in tree.items()
            if name.split(os.sep)[0] != own
        }

    # Runs

    def run(self, *options, fault=None, often=BY_THE_CLOCK, **env):
        env = {"TAUMERGE_FAULT": fault, "TAUMERGE_JOURNAL": often, **env}
        args = [*self.args, "-o", self.out, *options]
        return program.run(*args, env=env)

    def count(self, kind, *options, often=BY_THE_CLOCK):
        """How many operations of a kind it takes."""
        self.clear()
        result = self.run(*options, fault=f"op={kind},log=1", often=often)
        assert result.status == 0, result.err
        return operations(result)

    def judge(self, result, statuses, what, cause=None, names=True):
        """Whether it worked, if what it did is one of the two good things."""
        assert self.inputs_now() == self.before, what
        if result.status == 0:
            said = re.findall(r"^taumerge: (?!warning: ).*", result.err, re.M)
            assert not said, (what, said)
            assert self.seen() == self.expected, what
            return True
        assert result.status in statuses, (what, result)
        # A name that could not be taken back: what has it is complete.
        stuck = self.expected if IS_STUCK.search(str(what)) else self.nothing
        assert self.seen() in (self.nothing, stuck), (what, result)
        if names:
            self.judge_message(result, what, cause)
        assert re.search("^taumerge: ", result.err, re.M), (what, result)
        return False

    def judge_message(self, result, what, cause):
        """It names a file that has to do with it, and the cause."""
        names = MESSAGE.findall(result.err)
        known = [str(self.folder), *(str(path) for path in self.inputs)]
        assert any(n.startswith(tuple(known)) for n in names), (what, result)
        if cause is not None:
            assert cause in result.err, (what, result)

    def judge_kept(self, result, what, may_stay):
        """Something is kept if the user is told how to go on with it."""
        kept = program.sibling(self.out).exists()
        if result.status == 0:
            told = False
        else:
            told = " is done and kept in " in result.err
            assert told == ("--resume" in result.err), (what, result)
        stays = may_stay and "warning: " in result.err
        assert kept == told or stays, (what, result)
        return told

    def end(self, what, *options, often=BY_THE_CLOCK):
        """Nothing fails any more: the output, and nothing but it."""
        result = self.run("--resume", *options, often=often)
        assert result.status == 0, (what, result)
        assert self.seen() == self.expected, what
        assert not program.sibling(self.out).exists(), (what, result)

    def tidy(self, what, often):
        """What could not be removed can be later, and is in nobody's way."""
        left = program.sibling(self.out)
        if not left.exists():
            return
        if (left / "journal").exists():
            self.end(what, often=often)
        else:
            shutil.rmtree(left)

    def attempt(self, statuses, what, *options, **how):
        """A run in which something fails, and one in which nothing does."""
        self.clear()
        return self.go_on(statuses, what, *options, **how)

    def go_on(
        self, statuses, what, *options, cause=None, names=True,
        may_stay=False, often=BY_THE_CLOCK, **how
    ):  # fmt: skip
        """The same, from where the folder is. `names`: a message has the name
        of a file; `may_stay`: what cannot be removed, which is said."""
        result = self.run(*options, often=often, **how)
        worked = self.judge(result, statuses, what, cause, names)
        if "--resume" in options:
            kept = program.sibling(self.out).exists() and not worked
            assert worked or kept, (what, result)
        else:
            kept = self.judge_kept(result, what, may_stay)
        if worked:
            self.tidy(what, often)
        else:
            more = [o for o in options if o != "--resume"]
            self.end((what, result.err), *more, often=often)
        with self.lock:
            self.tries["all"] += 1
            self.tries["worked" if worked else "failed"] += 1
            self.tries["kept"] += kept
        return Try(worked, kept, result)

    def meet(self, fault, *options, often=BY_THE_CLOCK):
        """A run that meets a fault as io/fault.h has it."""
        said = dict(part.split("=") for part in fault.split(","))
        kind, name = said["op"], said.get("errno", "EIO")
        statuses = FAULTS[kind].get(name, CLEAN)
        tried = self.attempt(
            statuses, fault, *options, fault=fault, often=often,
            cause=os.strerror(getattr(errno, name)),
            may_stay=kind in ("unlink", "open"),
        )  # fmt: skip
        if tried.worked:
            assert kind not in NEEDED or name in ("EINTR", "EAGAIN"), fault
        else:
            judge_place(kind, tried.result, fault)
        return tried


def judge_place(kind, result, what):
    """Where it was, and how much is missing."""
    if kind in ("read", "write"):
        assert re.search(r" at byte \d+ failed: ", result.err), (what, result)
    if kind in ("write", "sync") and result.status == CANNOT_CREATE:
        assert re.search(
            r"^taumerge: \S+: the output needs (up to )?\d.* is free$",
            result.err, re.M,
        ), (what, result)  # fmt: skip


def operations(result):
    return int(re.search(r"fault: (\d+) op", result.err)[1])


def steps(count, most):
    """From 1 to `count`, in at most about so many steps."""
    return range(1, count + 1, -(-count // most) if count > 0 else 1)


def in_parallel(check, items):
    """Calls it for each, on all processors; what it has returned."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(check, items))


def all_faults(job, *options, often=BY_THE_CLOCK, hows=("once", "ever")):
    """[fault]: each kind of operation, each of them, in each way."""
    faults = []
    for kind, names in FAULTS.items():
        for k in range(1, job.count(kind, *options, often=often) + 1):
            faults += [
                f"op={kind},k={k},errno={name},for={how}"
                for name in names
                for how in hows
            ]
    return faults


def all_transients(job, *options, often=BY_THE_CLOCK):
    """[fault]: each operation that is interrupted or comes up short."""
    return [
        f"op={kind},k={k},{how}"
        for kind, hows in TRANSIENT.items()
        for k in range(1, job.count(kind, *options, often=often) + 1)
        for how in hows
    ]
