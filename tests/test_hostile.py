"""Names, links and folders made to do harm: whatever is given, nothing but
OUT and the folder that it is made in is written."""

import itertools
import json
import os
import re
import shutil
import socket
import stat

import pytest

import checkpoints
import program
import vectors
from checkpoints import raw, tree_hash, write_file, write_shards
from program import (
    CANNOT_CREATE,
    DATA,
    IO_ERROR,
    NO_INPUT,
    USAGE,
    errors,
    run,
    sibling,
)

# What a run that failed has kept is gone on with, or thrown away.
RESUME = ["--resume"]
RESTART = ["--restart"]
HOW = [[], RESUME, RESTART]

# Small runs keep what they have done only where they are told to.
KEEPING = {"TAUMERGE_JOURNAL": "0"}

COMMANDS = ["merge", "diff", "apply"]
REFUSED = (USAGE, DATA, NO_INPUT, CANNOT_CREATE, IO_ERROR)


def entry(path):
    """What can be seen of a file without following or waiting for it."""
    found = os.lstat(path)
    about = [stat.S_IFMT(found.st_mode), found.st_mode, found.st_uid]
    if stat.S_ISLNK(found.st_mode):
        about.append(os.readlink(path))
    elif stat.S_ISREG(found.st_mode):
        with open(path, "rb") as file:
            about.append(checkpoints.digest(file.read()))
    return about


def listing(top, *but):
    """Everything below a path, links not followed, but for some paths."""
    found, but = {}, {os.fsencode(p) for p in but}
    for folder, names, files in os.walk(os.fsencode(top)):
        for name in [*names, *files]:
            path = os.path.join(folder, name)
            if path not in but:
                found[path] = entry(path)
        names[:] = [n for n in names if os.path.join(folder, n) not in but]
    return found


class Place:
    """Inputs, a victim, and a folder for outputs, all watched."""

    def __init__(self, path, family):
        self.path = path
        self.base, self.tuned = path / "base", path / "tuned"
        shutil.copytree(family.base_path, self.base)
        shutil.copytree(family.tuned_paths[0], self.tuned)
        self.vector = path / "vector"
        vectors.diff(self.base, self.tuned, self.vector)
        self.victim = path / "victim"
        (self.victim / "folder").mkdir(parents=True)
        (self.victim / "folder" / "file").write_text("precious")
        (self.victim / "file").write_text("precious")
        self.work = path / "work"
        self.work.mkdir()
        self.out = self.work / "out"

    def args(self, name):
        return {
            "merge": ["merge", "-b", self.base, "-t", self.tuned],
            "diff": ["diff", self.base, self.tuned],
            "apply": ["apply", self.base, self.vector],
            "vector": ["merge", "-b", self.base, "-t", self.vector],
        }[name]

    def run(self, name, *options, out=None, env=KEEPING, **how):
        """Runs a command, and looks that it did no harm."""
        out = out or self.out
        own = (out, sibling(out))
        before = listing(self.path, *own)
        args = [*self.args(name), "-o", out, *options]
        result = run(*args, env=env, **how)
        assert listing(self.path, *own) == before, result
        check_text(result.err)
        assert (result.status == 0) == os.path.lexists(out), result
        return result

    def check(self, name, *options):
        """Success: the output is whole, and all of it is its own."""
        result = self.run(name, *options)
        assert result.status == 0, result.err
        assert not os.path.lexists(sibling(self.out))
        for path, about in listing(self.out).items():
            assert about[0] in (stat.S_IFREG, stat.S_IFDIR), path
            assert os.lstat(path).st_uid == os.geteuid(), path
        if name != "apply":
            verified = run("verify", self.out)
            assert verified.status == 0, verified.err
        return result

    def refuse(self, name, *options, mentions=(), statuses=REFUSED):
        result = self.run(name, *options)
        assert result.status in statuses, result
        assert errors(result), result
        for word in mentions:
            assert word in result.err, result.err
        return result


# What a terminal would obey, or what changes the direction of writing.
CONTROLS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f"
    "\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def check_text(text):
    """No control sequence gets to a terminal."""
    assert not CONTROLS.search(text), ascii(text)


@pytest.fixture
def place(family, tmp_path):
    return Place(tmp_path, family)


# Names of tensors

TENSORS = [
    "../escape", "/etc/passwd", "a/b/c", ".", "..", "", " ", "-rf", "\x1b[2J",
    "bell\x07", "tab\tnew\nline\r", "\x7f\x80\x9b", "\u202egnp.exe", "a\\b",
    "n" * 255, "n" * 4096, "é", "e\u0301", "%s%n%x", "$(id)", "`id`", "*",
    "__taumerge_", "CON", "\ufeff", "\U0010ffff", '"', "{}", "null",
]  # fmt: skip


def test_names_of_tensors(place):
    """They are only names: of nothing on the disk."""
    base = {n: raw(bytes([i, 60]), "BF16") for i, n in enumerate(TENSORS)}
    tuned = {n: raw(bytes([i, 61]), "BF16") for i, n in enumerate(TENSORS)}
    for path, tensors in ((place.base, base), (place.tuned, tuned)):
        shutil.rmtree(path)
        write_shards(path, checkpoints.split(tensors, 3))
    shutil.rmtree(place.vector)
    vectors.diff(place.base, place.tuned, place.vector)
    for name in ("merge", "diff", "apply", "vector"):
        place.check(name)
        if name in ("merge", "vector"):
            assert checkpoints.load(place.out) == tuned
        if name == "apply":
            vectors.assert_same_tree(place.out, place.tuned)
        for args in (["inspect"], ["inspect", "--digest"], ["verify"],
                     ["verify", "-v"]):  # fmt: skip
            check_text(run(*args, place.out).out)
        said = run("inspect", "--json", place.out)
        json.loads(said.out)
        shutil.rmtree(place.out)
    planned = run("plan", *place.args("merge")[1:])
    assert planned.status == 0
    check_text(planned.out)


@pytest.mark.parametrize("name", COMMANDS)
def test_names_that_are_complained_about(place, name):
    """The message shows them without what a terminal would obey."""
    bad = "\x1b]0;owned\x07\x1b[2J\r\n\x9b31m\u202e"
    tensors = {bad: raw(bytes(4), "F32"), "more": raw(bytes(8), "F32")}
    for path, count in ((place.base, 1), (place.tuned, 2)):
        shutil.rmtree(path)
        some = dict(list(tensors.items())[2 - count :])
        write_file(path / f"{bad}.safetensors", some)
    result = place.run(name)
    assert "\x1b" not in result.err and "\u202e" not in result.err


# Names of side files

ODD = [
    b"new\nline", b"\x1b[2J", b"bell\x07", b"\xff\xfe", b"caf\xe9.txt",
    b" ", b"-rf", b"...", b"..x", b"a\\b", b"n" * 255, b"~", b"CON", b"%n%s",
    b"$(id)", b"\xe2\x80\xae", b"\xed\xa0\x80", b"\xc0\xaf",
    b"CONFIG.JSON", b"Config.json", b"MODEL.SAFETENSORS.INDEX.JSON",
    b"taumerge.json", b"taumerge.xxh128", b"TAUMERGE.JSON", b"journal",
    b"manifest", b".out.taumerge", b"out", b"lock",
    b"model.safetensors.index.json", b"journal.tmp", b"state",
    b"vector-00001-of-00001.safetensors", b"model.json",
    b"model-00001-of-00001.safetensors", b".taumerge", b"results", b"files",
]  # fmt: skip


def clutter(folder, names, as_folders=False):
    for name in names:
        path = os.path.join(os.fsencode(folder), name)
        if os.path.lexists(path):
            continue
        if as_folders:
            os.mkdir(path)
            path = os.path.join(path, b"journal")
        with open(path, "wb") as file:
            file.write(b"side " + name)


@pytest.mark.parametrize("as_folders", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("how", HOW, ids=" ".join)
def test_names_of_side_files(place, how, as_folders):
    """Copied under their names or left out; never in place of our own."""
    clutter(place.base, ODD, as_folders)
    result = place.check("merge", *how)
    below = "/journal" if as_folders else ""
    for name in ("CONFIG.JSON", "Config.json", "journal", "out"):
        copied = (place.out / (name + below)).read_bytes()
        assert copied == b"side " + name.encode(), name
    told = json.loads((place.out / "taumerge.json").read_text())
    assert told and result.err.count("taumerge.json") < 5
    index = json.loads(
        (place.out / "model.safetensors.index.json").read_text()
    )
    assert set(index["weight_map"]) == set(checkpoints.load(place.out))


def test_folders_with_the_names_of_shards_to_come(place):
    """The output is dealt out anew, so that its shards have those names."""
    names = [checkpoints.shard_name(i, n).encode() for n in (1, 3, 4, 5)
             for i in range(n)]  # fmt: skip
    clutter(place.base, names, as_folders=True)
    for size in ("4K", "5K", "8K"):
        place.check("merge", "--shard-size", size)
        shutil.rmtree(place.out)


@pytest.mark.parametrize("as_folders", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("how", HOW, ids=" ".join)
def test_names_of_side_files_come_back(place, how, as_folders):
    """Those of a fine-tune, from its vector; but for names that are no
    UTF-8, which are left out."""
    good = [n for n in ODD if is_text(n)]
    # A shard that no index names is a shard all the same, but not this one.
    good = [n for n in good if not n.endswith(b".safetensors")]
    if not as_folders:
        good.remove(b"model.safetensors.index.json")
    clutter(place.tuned, good, as_folders)
    place.check("diff", *how)
    shutil.rmtree(place.vector)
    place.out.rename(place.vector)
    place.check("apply", *how)
    vectors.assert_same_tree(place.out, place.tuned)


@pytest.mark.parametrize("as_folders", [False, True], ids=["file", "folder"])
def test_names_that_no_vector_can_hold(place, as_folders):
    """Left out, and said so; the rest comes back."""
    clutter(place.tuned, [n for n in ODD if not is_text(n)], as_folders)
    result = place.check("diff")
    assert "its name is not UTF-8" in result.err
    shutil.rmtree(place.vector)
    place.out.rename(place.vector)
    place.check("apply")
    assert (place.out / "config.json").is_file()


def is_text(name):
    try:
        return bool(name.decode())
    except UnicodeDecodeError:
        return False


def test_one_file_beside_names_of_ours(place):
    """A single file has its reports beside it: those of others stay."""
    one = write_file(place.path / "one.safetensors", checkpoints.small(0)[0])
    for kind, name in itertools.product(
        ("file", "folder", "link", "dangling"), (".json", ".xxh128")
    ):
        out = place.work / "o.safetensors"
        beside = place.work / f"o.safetensors{name}"
        make_trap(place, beside, kind)
        before = listing(place.path)
        args = ["merge", "-b", one, "-t", one, "-o", out]
        result = run(*args, env=KEEPING)
        assert result.status == CANNOT_CREATE, result
        assert beside.name in result.err or kind == "dangling", result.err
        after = listing(place.path, sibling(out))
        assert after == before
        remove(beside)
        shutil.rmtree(sibling(out), ignore_errors=True)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


# Links


def make_trap(place, path, kind):
    """Something that leads elsewhere, or is not what it seems."""
    if kind == "link":
        path.symlink_to(place.victim / "file")
    elif kind == "folder link":
        path.symlink_to(place.victim / "folder")
    elif kind == "dangling":
        path.symlink_to(place.victim / "new")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "parent":
        path.symlink_to("..")
    elif kind == "hard link":
        os.link(place.victim / "file", path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "memory":
        path.symlink_to("/proc/self/mem")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        bind(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("trap")


def bind(path):
    """A socket; names of sockets are short."""
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


TRAPS = [
    "link", "folder link", "dangling", "loop", "parent", "hard link", "zero",
    "memory", "fifo", "socket", "folder", "file",
]  # fmt: skip


@pytest.mark.parametrize("kind", TRAPS)
@pytest.mark.parametrize("name", ["merge", "diff"])
def test_side_files_that_lead_elsewhere(place, name, kind):
    """A file behind a link is copied, all else is left out and named."""
    folder = place.base if name == "merge" else place.tuned
    (folder / "sub").mkdir()
    for path in (folder / "trap", folder / "sub" / "trap"):
        make_trap(place, path, kind)
    result = place.check(name)
    files = place.out if name == "merge" else place.out / "files"
    for path in (files / "trap", files / "sub" / "trap"):
        if kind in ("link", "hard link"):
            assert path.read_text() == "precious"
        elif kind != "file" and os.path.lexists(path):
            assert kind == "memory" and path.read_bytes() == b""
    if kind in ("loop", "dangling", "zero", "fifo", "socket"):
        assert "trap" in result.err, result.err


def test_shards_behind_links(place):
    """As in the cache of the hub: read, and written to a place of its own."""
    program.merge(place.base, [(place.tuned, None)], place.path / "plain")
    wanted = tree_hash(place.path / "plain")
    for folder in (place.base, place.tuned):
        store = place.path / "store" / folder.name
        checkpoints.link_like_a_hub_cache(folder, store)
    place.check("merge")
    assert tree_hash(place.out) == wanted
    shutil.rmtree(place.out)
    place.check("diff")
    shutil.rmtree(place.out)
    place.check("apply")


@pytest.mark.parametrize("kind", [k for k in TRAPS if k != "file"])
@pytest.mark.parametrize("name", [*COMMANDS, "vector"])
def test_weights_that_are_something_else(place, name, kind):
    """Refused at once, by name: as the base and as what is put on it."""
    shard = checkpoints.shard_name(0, 2)
    tuned = next((place.tuned).glob("*.safetensors"))
    vector = next((place.vector).glob("*.safetensors"))
    second = {"merge": tuned, "diff": tuned}.get(name, vector)
    for path in (place.base / shard, second):
        kept = path.read_bytes()
        path.unlink()
        make_trap(place, path, kind)
        place.refuse(name, mentions=[path.name])
        remove(path)
        path.write_bytes(kept)
    place.check(name)


@pytest.mark.parametrize("kind", ["fifo", "socket", "/dev/zero", "/dev/null",
    "/dev/full", "/proc/self/mem", "/dev/stdin", "folder"])  # fmt: skip
@pytest.mark.parametrize("way", ["plain", "link", "inside"])
def test_checkpoints_that_are_something_else(place, kind, way):
    """Given as such, behind a link, and as the only file in a folder."""
    path = place.path / "bad.safetensors"
    if way == "inside":
        (place.path / "in").mkdir()
        path = place.path / "in" / "model.safetensors"
    if kind.startswith("/"):
        if way == "plain":
            path = kind
        else:
            path.symlink_to(kind)
    else:
        target = path if way != "link" else place.path / "target"
        make_trap(place, target, kind)
        if way == "link":
            path.symlink_to(target)
    given = path.parent if way == "inside" else path
    for args in (
        ["merge", "-b", given, "-t", place.tuned, "-o", place.out],
        ["merge", "-b", place.base, "-t", given, "-o", place.out],
        ["diff", given, place.tuned, "-o", place.out],
        ["diff", place.base, given, "-o", place.out],
        ["apply", given, place.vector, "-o", place.out],
        ["apply", place.base, given, "-o", place.out],
        ["inspect", given], ["inspect", "--digest", given], ["verify", given],
        ["plan", "-b", given, "-t", given],
    ):  # fmt: skip
        before = listing(place.path)
        result = run(*args, timeout=program.PATIENCE)
        # A socket cannot even be opened.
        statuses = [USAGE, DATA, NO_INPUT]
        statuses += [IO_ERROR] if kind == "socket" else []
        assert result.status in statuses, (args, result)
        assert errors(result), (args, result)
        assert listing(place.path) == before


# The folder that OUT is made in, as somebody else has left it


STAGED = [k for k in TRAPS if k not in ("folder", "zero", "memory")]


@pytest.mark.parametrize("how", HOW, ids=" ".join)
@pytest.mark.parametrize("kind", STAGED)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_trap_in_place_of_the_folder(place, name, kind, how):
    """Not a folder: neither followed, nor written, nor removed."""
    make_trap(place, sibling(place.out), kind)
    was = entry(sibling(place.out))
    place.refuse(name, *how, statuses=[CANNOT_CREATE],
                 mentions=[sibling(place.out).name])  # fmt: skip
    assert entry(sibling(place.out)) == was


@pytest.mark.parametrize("how", HOW, ids=" ".join)
@pytest.mark.parametrize("kind", TRAPS)
@pytest.mark.parametrize("name", COMMANDS)
def test_traps_in_the_folder(place, name, kind, how):
    """Under every name that will be written: removed, or all is refused."""
    place.check(name)
    names = [n.name for n in place.out.iterdir()]
    shutil.rmtree(place.out)
    place.out.mkdir()
    place.out.rename(sibling(place.out))
    for trap in [*names, "journal", "more"]:
        make_trap(place, sibling(place.out) / trap, kind)
    result = place.run(name, *how)
    if result.status == 0:
        assert not (place.out / "more").exists()
        shutil.rmtree(place.out)
        sibling(place.out).mkdir()
        shutil.rmtree(sibling(place.out))
        place.check(name)
    else:
        assert result.status in REFUSED, result
        assert sibling(place.out).name in result.err


@pytest.mark.parametrize("how", HOW, ids=" ".join)
def test_a_folder_of_traps_in_the_folder(place, how):
    """What is cleared away is not followed, however deep."""
    staged = sibling(place.out)
    deep = staged
    for i in range(40):
        deep = deep / f"d{i}"
    deep.mkdir(parents=True)
    for folder in (staged, staged / "d0", deep):
        for kind in TRAPS:
            make_trap(place, folder / f"x {kind}", kind)
    result = place.run("merge", *how)
    if result.status == 0:
        assert checkpoints.load(place.out)
        assert not (place.out / "d0").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
@pytest.mark.parametrize("how", HOW, ids=" ".join)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_is_somebody_elses(place, name, how):
    """In /tmp anybody can make it first, and would own our output."""
    place.work.chmod(0o1777)
    staged = sibling(place.out)
    staged.mkdir(mode=0o777)
    os.chown(staged, 65534, 65534)
    result = place.run(name, *how)
    if result.status == 0:
        assert os.stat(place.out).st_uid == 0, "the output is not ours"
    else:
        assert result.status == CANNOT_CREATE, result
        assert staged.name in result.err


@pytest.mark.parametrize("kind", STAGED)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_trap_in_place_of_the_output(place, name, kind):
    make_trap(place, place.out, kind)
    was = entry(place.out)
    args = [*place.args(name), "-o", place.out]
    for options in ([], ["-f"], [*RESUME], ["-f", *RESUME]):
        before = listing(place.path, place.out, sibling(place.out))
        result = run(*args, *options, env=KEEPING)
        after = listing(place.path, place.out, sibling(place.out))
        assert after == before
        if result.status == 0:
            assert "-f" in options
            assert place.out.is_dir() or kind == "folder link"
            return
        assert result.status == CANNOT_CREATE, result
        assert entry(place.out) == was


# A kept run that somebody has laid hands on


def kept_run(place, name):
    """A run that failed late, and has kept something."""
    env = {**KEEPING, "TAUMERGE_FAULT": "op=rename,k=1,errno=EROFS"}
    result = place.run(name, env=env)
    assert result.status == CANNOT_CREATE, result
    staged = sibling(place.out)
    if not (staged / "journal").is_file():
        pytest.skip("nothing was kept")
    return staged


@pytest.mark.parametrize("kind", TRAPS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_kept_run_with_traps(place, name, kind):
    """A file of it is exchanged: done again or refused, never followed."""
    place.check(name)
    wanted = tree_hash(place.out)
    shutil.rmtree(place.out)
    staged = kept_run(place, name)
    kept = place.path / "kept"
    shutil.copytree(staged, kept)
    for victim in sorted(p.relative_to(kept) for p in kept.rglob("*")):
        if (kept / victim).is_dir():
            continue
        shutil.rmtree(staged, ignore_errors=True)
        shutil.rmtree(place.out, ignore_errors=True)
        shutil.copytree(kept, staged)
        (staged / victim).unlink()
        make_trap(place, staged / victim, kind)
        result = place.run(name, *RESUME)
        if result.status == 0:
            assert tree_hash(place.out) == wanted, (victim, result.err)
            linked = [p for p in listing(place.out).values()
                      if p[0] == stat.S_IFLNK]  # fmt: skip
            assert not linked
        else:
            assert result.status in REFUSED, result


# Vectors and indices that name what they should not


NAMES = ["../x", "/abs/x", "a/../../x", "a/../x", "./x", "x/", "x//y", "..",
         "\0", "x\0y", "x/" * 3000 + "x", "/".join(["d"] * 300)]  # fmt: skip


@pytest.mark.parametrize("name", [n[:20] for n in NAMES])
@pytest.mark.parametrize("what", ["side", "shard"])
def test_names_in_a_vector(place, what, name):
    """Those that lead out are refused; the files are even there."""
    name = next(n for n in NAMES if n.startswith(name))
    for folder in (place.vector, place.vector / "files"):
        target = folder / name if "\0" not in name and len(name) < 99 else None
        if target is not None and place.path in target.resolve().parents:
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copy(place.vector / "files" / "config.json", target)

    def change(manifest):
        if what == "side":
            manifest["files"][name] = manifest["files"].pop("config.json")
        else:
            manifest["shards"][0]["name"] = name

    manifest = vectors.manifest_of(place.vector)
    change(manifest)
    vectors.write_manifest(place.vector, manifest)
    place.refuse("apply", mentions=["vector"])
    assert run("verify", place.vector).status in (DATA, NO_INPUT)


def test_a_name_twice_in_a_vector(place):
    """JSON would allow it; which one is meant nobody knows."""
    path = place.vector / "vector.json"
    manifest = vectors.manifest_of(place.vector)
    one = json.dumps(manifest["files"]["config.json"])
    text = path.read_text()
    at = text.index('"config.json"')
    text = f'{text[:at]}"config.json": {one}, {text[at:]}'
    own = text.rindex(',\n  "xxh128"') + 4
    digest = checkpoints.digest(text[:own].encode())
    path.write_text(f'{text[:own]}"xxh128": "{digest}"\n}}\n')
    place.refuse("apply", mentions=["vector.json"], statuses=[DATA])


INDEXED = ["../victim/file.safetensors", "/dev/zero", "a/../../x.safetensors",
           "/dev/stdin", "sub/../model.safetensors", "..", "."]  # fmt: skip


@pytest.mark.parametrize("name", INDEXED)
def test_names_in_an_index(place, name):
    """`merge` is in test_bad.py."""
    shard = place.base / checkpoints.shard_name(0, 2)
    shutil.copy(shard, place.victim / "file.safetensors")
    where = dict.fromkeys(checkpoints.read_file(shard), name)
    for folder in (place.base, place.tuned):
        checkpoints.write_index(folder, where)
        place.refuse("diff", mentions=["model.safetensors.index.json"],
                     statuses=[DATA, NO_INPUT])  # fmt: skip
    place.refuse("apply", statuses=[DATA, NO_INPUT])
    for args in (["inspect"], ["verify"], ["inspect", "--digest"]):
        assert run(*args, place.base).status in (DATA, NO_INPUT), args
