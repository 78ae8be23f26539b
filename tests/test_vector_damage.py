"""Damaged and hostile vectors: a message and nothing left behind, or the right
bytes."""

import json
import os
import shutil
import struct

import numpy as np
import pytest
import zstandard

import checkpoints
import program
import vector_decoder
import vectors
from checkpoints import raw
from program import (
    DATA,
    NO_INPUT,
    SANITIZED,
    USAGE,
    assert_refused,
    run,
    scaled,
)
from vectors import Shard, apply, assert_same_tree, diff, reseal

LIMITS = None if SANITIZED else {"AS": 2 << 30}
CHUNK = 1 << 18


@pytest.fixture(scope="module")
def chunky(tmp_path_factory):
    """Tensors of several chunks; what is in them does not shrink, so that
    those of `far` and `new` need no base to be decoded."""
    rng = np.random.default_rng(0)
    size = 2 * CHUNK + 999
    bits = rng.integers(0x3000, 0x3C00, size).astype(np.uint16)
    step = (rng.integers(0, 9, size) - 4).astype(np.uint16)
    base = {
        "near": raw(bits, "BF16"), "far": raw(rng.bytes(2 * size), "BF16"),
        "still": raw(bits, "BF16"),
    }  # fmt: skip
    few = bits.copy()
    few[5] += 1
    tuned = {
        "near": raw(bits + step, "BF16"),
        "far": raw(rng.bytes(2 * size), "BF16"),
        "still": raw(few, "BF16"),
        "new": raw(rng.bytes(2 * size), "BF16"),
    }
    return vectors.made_of(tmp_path_factory.mktemp("chunky"), base, tuned, 2)


def copy(made, path):
    return shutil.copytree(made.vector, path)


def commands(made, vector, out):
    return {
        "apply": ["apply", made.base, vector, "-o", out],
        "merge": [
            *program.merge_args(made.base, [(vector, 0.5)], out),
            "--allow-extra",
        ],
        "verify": ["verify", vector],
        "verify --base": ["verify", "--base", made.base, vector],
    }


def assert_same_weights(got, wanted):
    for file in checkpoints.files_of(wanted):
        assert (got / file.name).read_bytes() == file.read_bytes()


WRITING = ("apply", "merge")


def assert_harmless(made, vector, out, only=WRITING, mentions=()):
    """Refused, or the right bytes."""
    for name in only:
        args = commands(made, vector, out)[name]
        result = run(*args, limits=LIMITS)
        if result.status == 0:
            if name == "apply":
                assert_same_tree(out, made.tuned)
            else:
                assert_same_weights(out, made.merged)
            shutil.rmtree(out)
        else:
            assert_refused(result, {DATA, NO_INPUT}, out, mentions)


def assert_all_refuse(made, vector, out, mentions=(), but=(), status=DATA):
    for name, args in commands(made, vector, out).items():
        if name in but:
            continue
        result = run(*args, limits=LIMITS)
        assert_refused(result, status, out, mentions)
        assert all(len(line) < 1000 for line in result.err.splitlines())


# Single bits: test_flips.py takes every one; here is what is said of them


def flipped(made, path, file, bit):
    copy(made, path)
    data = bytearray((path / file).read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    (path / file).write_bytes(data)
    return path


def test_damage_in_a_tensor_is_named(small_pair, shm_path):
    (file,) = small_pair.vector.glob("*.safetensors")
    begin, header = checkpoints.header_of(file)
    for name in ("near", "wide", "new"):
        start, end = (8 + begin + o for o in header[name]["data_offsets"])
        for byte in range(start + 16, end, max(1, (end - start) // 20)):
            vector, out = shm_path / "vector", shm_path / "out"
            flipped(small_pair, vector, file.name, 8 * byte + 3)
            words = [f"'{name}'", file.name]
            # A bit that nothing depends on may still give the right bytes.
            assert_harmless(small_pair, vector, out, mentions=words)
            assert_all_refuse(small_pair, vector, out, words, WRITING)
            shutil.rmtree(vector)


def test_damage_of_large_chunks_is_named(chunky, tmp_path):
    files = sorted(chunky.vector.glob("*.safetensors"))
    for file in files:
        begin, header = checkpoints.header_of(file)
        for name in set(header) - {"__metadata__", "__taumerge__"}:
            start, end = (8 + begin + o for o in header[name]["data_offsets"])
            vector, out = tmp_path / "vector", tmp_path / "out"
            byte = start + (end - start) * 2 // 3
            flipped(chunky, vector, file.name, 8 * byte)
            words = [f"'{name}'", file.name]
            assert_harmless(chunky, vector, out, mentions=words)
            assert_all_refuse(chunky, vector, out, words, WRITING)
            shutil.rmtree(vector)


# Files


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100, -1, -17, -500, "half"])
def test_a_shard_cut_short(small_pair, tmp_path, size):
    vector = copy(small_pair, tmp_path / "vector")
    (file,) = vector.glob("*.safetensors")
    data = file.read_bytes()
    size = len(data) // 2 if size == "half" else size
    file.write_bytes(data[:size])
    words = [file.name]
    assert_all_refuse(small_pair, vector, tmp_path / "out", words)


@pytest.mark.parametrize("more", [b"\0", b"x" * 4096])
def test_bytes_behind_a_shard(small_pair, tmp_path, more):
    vector = copy(small_pair, tmp_path / "vector")
    (file,) = vector.glob("*.safetensors")
    with open(file, "ab") as f:
        f.write(more)
    assert_all_refuse(small_pair, vector, tmp_path / "out", [file.name])


@pytest.mark.parametrize("which", ["shard", "vector.json", "config.json"])
@pytest.mark.parametrize(
    "how", ["gone", "link", "dangling", "folder", "fifo", "empty"]
)
def test_files_that_are_not_there(small_pair, tmp_path, which, how):
    vector = copy(small_pair, tmp_path / "vector")
    (file,) = vector.rglob("*.safetensors" if which == "shard" else which)
    file.unlink()
    if how == "link":
        (elsewhere,) = small_pair.vector.rglob(file.name)
        file.symlink_to(elsewhere)
    elif how == "dangling":
        file.symlink_to("nowhere")
    elif how == "folder":
        file.mkdir()
    elif how == "fifo":
        os.mkfifo(file)
    elif how == "empty":
        file.touch()
    # A merge needs no side files; without its manifest it is no vector.
    but = ["merge"] if which == "config.json" else []
    status = {DATA, NO_INPUT, *([USAGE] if which == "vector.json" else [])}
    out = tmp_path / "out"
    assert_all_refuse(small_pair, vector, out, [vector.name], but, status)
    for name in but:
        assert_harmless(small_pair, vector, tmp_path / "out", [name])


def test_a_folder_of_side_files_that_is_a_link(family, tmp_path):
    tuned = tmp_path / "tuned"
    shutil.copytree(family.tuned_paths[0], tuned)
    (tuned / "sub").mkdir()
    (tuned / "sub" / "file.txt").write_text("text")
    vector = tmp_path / "vector"
    diff(family.base_path, tuned, vector)
    (vector / "files" / "sub").rename(tmp_path / "sub")
    (vector / "files" / "sub").symlink_to(tmp_path / "sub")
    out = tmp_path / "out"
    result = run("apply", family.base_path, vector, "-o", out)
    assert_refused(result, {DATA, NO_INPUT}, out, ["sub"])


def test_files_that_nobody_listed(small_pair, tmp_path):
    """They are no part of the vector."""
    vector = copy(small_pair, tmp_path / "vector")
    (vector / "README.md").write_text("about")
    (vector / "files" / "more.txt").write_text("more")
    apply(small_pair.base, vector, tmp_path / "out")
    assert_same_tree(tmp_path / "out", small_pair.tuned)


# Manifests that lie; their own digests are right


def manifest_case(about):
    def add(change):
        MANIFESTS[about] = change
        return change

    return add


MANIFESTS = {}


def lies(about, path, *values):
    """Cases that set a member; `path` leads to it."""
    for value in values:

        def change(manifest, path=path, value=value):
            *way, last = path
            for key in way:
                manifest = manifest[key]
            if value is None:
                del manifest[last]
            else:
                manifest[last] = value

        shown = value[:30] if isinstance(value, str) else value
        MANIFESTS[f"{about}-{shown!r}"] = change


BAD_NAMES = [
    "../x.safetensors", "/tmp/x.safetensors", "a/../../x.safetensors", "",
    ".", "..", "a//b.safetensors", "./a.safetensors", "a/.", "a\0b",
    "a" * 5000,
]  # fmt: skip
SHARD = ("shards", 0)
SIDE = ("files", "config.json")
DIGEST = "0123456789abcdef" * 2

lies("format", ["format"], None, "", "safetensors", 7, [])
lies("version", ["version"], None, 0, -1, "1", 1.5, [], 1 << 70)
lies("tuned", ["tuned"], None, 3, [], {})
lies("single", ["tuned", "single_file"], None, 1, "true", True)
lies("shards", ["shards"], None, {}, [], [7], [[]], 3)
lies("file", [*SHARD, "file"], None, 7, *BAD_NAMES, "gone.safetensors")
lies("name", [*SHARD, "name"], None, 7, *BAD_NAMES, "config.json")
lies("bytes", [*SHARD, "bytes"], None, 0, -1, 1, 1 << 63, 1 << 64, "1", 1.5)
for key in ("header_xxh128", "data_xxh128"):
    lies(key, [*SHARD, key], None, "", "xyz", DIGEST, DIGEST[:-1], 7)
lies("files", ["files"], None, [], 7)
lies("side", list(SIDE), 7, {}, [])
lies("side-bytes", [*SIDE, "bytes"], None, 0, -1, 1 << 63, "1", 19)
lies("side-xxh128", [*SIDE, "xxh128"], None, "", DIGEST, 7)


@manifest_case("one-more-shard")
def one_more_shard(manifest):
    manifest["shards"].append(manifest["shards"][0])


@manifest_case("shard-twice")
def shard_twice(manifest):
    more = dict(manifest["shards"][0], name="other.safetensors")
    manifest["shards"].append(more)


for bad in BAD_NAMES:

    @manifest_case(f"side-name-{bad[:30]!r}")
    def side_name(manifest, name=bad):
        manifest["files"][name] = manifest["files"].pop("config.json")


@manifest_case("side-name-of-a-shard")
def side_name_of_a_shard(manifest):
    name = manifest["shards"][0]["name"]
    manifest["files"][name] = manifest["files"].pop("config.json")


@manifest_case("side-name-in-a-file")
def side_name_in_a_file(manifest):
    manifest["files"]["config.json/x"] = manifest["files"]["config.json"]


@pytest.mark.parametrize("about", MANIFESTS)
def test_a_manifest_that_lies(small_pair, tmp_path, about):
    """Nothing is believed, nothing is written anywhere else."""
    inside = tmp_path / "inside"
    inside.mkdir()
    vector = copy(small_pair, inside / "vector")
    reseal(vector, MANIFESTS[about])
    # What a merge does not use it need not look at.
    but = ["merge"] if about.startswith(("side", "data_xxh128")) else []
    if about.startswith("data_xxh128") and about[12:] == repr(DIGEST):
        but = ["merge", "apply"]
    out = inside / "out"
    status = {DATA, NO_INPUT}
    assert_all_refuse(small_pair, vector, out, ["vector"], but, status)
    for name in but:
        assert_harmless(small_pair, vector, out, [name])
    assert os.listdir(tmp_path) == ["inside"]
    assert os.listdir(inside) == ["vector"]


@pytest.mark.parametrize("version", [2, 99])
def test_a_later_version_is_refused_by_name(small_pair, tmp_path, version):
    vector = copy(small_pair, tmp_path / "vector")
    reseal(vector, lambda m: m.update(version=version))
    out = tmp_path / "out"
    words = ["version", version, "vector.json"]
    assert_all_refuse(small_pair, vector, out, words)


@pytest.mark.parametrize(
    "statistics",
    [None, 7, [], {}, {"tensors": 7}, {"tensors": {"near": 7}},
     {"tensors": {"near": [1, 2]}}, {"tensors": {"gone": [1, 2, 3, 4, 5]}},
     {"tensors": {"near": [-1, "x", None, 1e308, 1 << 70]}},
     {"histogram": {"mantissa_bits": 99, "first": -1, "counts": [-1] * 9}}],
)  # fmt: skip
def test_statistics_that_lie(small_pair, tmp_path, statistics):
    """They are about the numbers, and no part of them."""
    vector = copy(small_pair, tmp_path / "vector")

    def change(manifest):
        manifest["statistics"] = statistics
        if statistics is None:
            del manifest["statistics"]

    reseal(vector, change)
    assert_harmless(small_pair, vector, tmp_path / "out")


def test_members_that_a_later_version_adds(small_pair, tmp_path):
    vector = copy(small_pair, tmp_path / "vector")

    def change(manifest):
        manifest["new"] = {"a": [1, None]}
        manifest["shards"][0]["new"] = "x"
        manifest["tuned"]["new"] = 7
        manifest["files"]["config.json"]["new"] = []

    reseal(vector, change)
    apply(small_pair.base, vector, tmp_path / "out")
    assert_same_tree(tmp_path / "out", small_pair.tuned)
    vector_decoder.restore(small_pair.base, vector, tmp_path / "decoded")
    assert run("verify", vector).status == 0


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"{}\n", b"[]\n", b"null\n", b"\0" * 100, b"[" * 100000,
     b'{"format": "taumerge-vector", "version": 1}\n', b"\xff\xfe"],
)  # fmt: skip
def test_manifests_that_are_none(small_pair, tmp_path, text):
    vector = copy(small_pair, tmp_path / "vector")
    (vector / "vector.json").write_bytes(text)
    assert_all_refuse(small_pair, vector, tmp_path / "out", ["vector.json"])


# Shards that lie; all digests are right


LIES = {}


def lie(about, *words, but=()):
    """Adds the decorated function, which changes a Shard, as a case; it may
    return the index to write."""

    def add(change):
        LIES[about] = change, words, but
        return change

    return add


def record_case(about, name, field, value, *words, but=()):
    @lie(about, *words, but=but)
    def change(shard):
        shard.records[name][field] = value


def head_case(about, **changes):
    @lie(about)
    def change(shard):
        return shard.index(**changes)


for number in (3, 4, 255):
    record_case(f"state-{number}", "near", 0, number, "state", number)
record_case("delta-as-same", "near", 0, vectors.SAME)
record_case("delta-as-alone", "near", 0, vectors.ALONE)
record_case("alone-as-delta", "new", 0, vectors.DELTA)
record_case("alone-as-same", "new", 0, vectors.SAME)
record_case("same-as-delta", "same", 0, vectors.DELTA)
record_case("same-as-alone", "same", 0, vectors.ALONE)
for number in (0, 12, 255):
    record_case(f"base-type-{number}", "near", 1, number)
    record_case(f"base-type-of-same-{number}", "same", 1, number)
record_case("base-type-other", "near", 1, 8, but=["verify"])
record_case("base-type-converted", "near", 1, 3, but=["verify"])
record_case("set-bit", "near", 2, b"\0\0\1\0\0\0")
for number in (0, 299, 1 << 32, 1 << 63, (1 << 64) - 1):
    record_case(f"base-words-{number}", "near", 3, number, but=["verify"])
record_case("words-of-alone", "new", 3, 30)
record_case("probe-of-alone", "new", 4, 1)
record_case("digest-of-alone", "new", 5, b"\1" * 16)
record_case("probe", "near", 4, 1, but=["verify"])
record_case("base-digest", "near", 5, b"\1" * 16, but=["verify"])
# A merge looks at the chunks' digests; what it makes of them is right.
record_case(
    "tuned-digest", "near", 6, b"\1" * 16, "'near'", but=["verify", "merge"]
)
record_case("chunks-digest", "near", 7, b"\1" * 4, "'near'", but=["verify"])
record_case("tuned-digest-same", "same", 6, b"\1" * 16, but=["verify"])
record_case("tuned-digest-none", "none", 6, b"\1" * 16)

head_case("magic", magic=b"TMINDEX2")
head_case("magic-other", magic=b"\0" * 8)
for number in (0, 1, 2, 4, 6, 1 << 31, (1 << 32) - 1):
    head_case(f"T-{number}", T=number)
    head_case(f"C-{number}", C=number)
for number in (0, 8, 1 << 31, (1 << 32) - 1):
    head_case(f"H-{number}", H=number)
    head_case(f"Z-{number}", Z=number)
for number in (0, 1, 1 << 40, 1 << 63, (1 << 64) - 1):
    head_case(f"size-{number}", size=number)


@lie("index-version", "version")
def index_version(shard):
    return shard.index(magic=b"TMINDEX2")


for size in (0, 7, 8, 31, 32, 100):

    @lie(f"index-cut-{size}")
    def index_cut(shard, size=size):
        return shard.index()[:size]


@lie("index-longer")
def index_longer(shard):
    index = shard.index()[:-16] + b"\0"
    return index + vector_decoder.hash128(index)


@lie("index-digest")
def index_digest(shard):
    return shard.index()[:-1] + b"x"


def compress(shard, start):
    packer = zstandard.ZstdCompressor()
    shard.frame = packer.compress(start)


def header_of(shard):
    return json.loads(shard.start[8:])


def set_header(shard, header, size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    start = struct.pack("<Q", len(text) if size is None else size) + text
    shard.size += len(start) - shard.H
    shard.H = len(start)
    compress(shard, start)


@lie("frame-damaged")
def frame_damaged(shard):
    shard.frame = shard.frame[:4] + bytes(len(shard.frame) - 4)


@lie("frame-twice")
def frame_twice(shard):
    shard.frame *= 2


@lie("frame-of-more")
def frame_of_more(shard):
    compress(shard, shard.start + b" ")


@lie("frame-bomb")
def frame_bomb(shard):
    compress(shard, shard.start + b" " * (64 << 20))
    shard.H += 64 << 20
    shard.size += 64 << 20


@lie("header-number")
def header_number(shard):
    set_header(shard, shard.start[8:], size=shard.H)


@lie("header-not-json")
def header_not_json(shard):
    set_header(shard, b"{" * (shard.H - 8))


@lie("header-other-name")
def header_other_name(shard):
    header = header_of(shard)
    header["near2"] = header.pop("near")
    set_header(shard, header)


@lie("header-one-less")
def header_one_less(shard):
    header = header_of(shard)
    del header["none"]
    set_header(shard, header)


@lie("header-larger-tensor", but=["verify"])
def header_larger_tensor(shard):
    header = header_of(shard)
    entry = max(header, key=lambda n: header[n].get("data_offsets", [0, 0])[1])
    header[entry]["shape"][0] += 4
    header[entry]["data_offsets"][1] += 8
    set_header(shard, header)
    shard.size += 8


@lie("header-overlap")
def header_overlap(shard):
    header = header_of(shard)
    header["new"]["data_offsets"] = header["near"]["data_offsets"]
    set_header(shard, header)


@lie("header-petabyte")
def header_petabyte(shard):
    header = header_of(shard)
    entry = max(header, key=lambda n: header[n].get("data_offsets", [0, 0])[1])
    start = header[entry]["data_offsets"][0]
    header[entry]["shape"] = [1 << 49]
    header[entry]["dtype"] = "BF16"
    header[entry]["data_offsets"] = [start, start + (1 << 50)]
    set_header(shard, header)
    shard.size = shard.H + start + (1 << 50)


@lie("blob-missing")
def blob_missing(shard):
    del shard.blobs["near"]


@lie("blob-more")
def blob_more(shard):
    shard.blobs["more"] = b"1234"


@lie("blob-longer")
def blob_longer(shard):
    shard.blobs["near"] += b"\0"


@lie("blob-of-same")
def blob_of_same(shard):
    shard.blobs["same"] = b"\0"


@lie("lengths-shifted")
def lengths_shifted(shard):
    """The sum is right, but each has a byte of the other one."""
    shard.lengths["near"][0] += 1
    shard.lengths["wide"][0] -= 1


@lie("length-huge")
def length_huge(shard):
    shard.lengths["near"][0] = (1 << 32) - 1


@lie("chunk-more")
def chunk_more(shard):
    shard.lengths["near"].append(0)


@lie("chunk-less")
def chunk_less(shard):
    shard.lengths["near"] = []
    shard.blobs["near"] = b""


@lie("chunk-same-without-base")
def chunk_same_without_base(shard):
    shard.set_chunks("new", [b""])


@lie("chunk-same", "'near'", but=["verify"])
def chunk_same(shard):
    shard.set_chunks("near", [b""])


for size in (1, 8, 15):

    @lie(f"chunk-of-{size}")
    def chunk_short(shard, size=size):
        shard.set_chunks("near", [shard.blobs["near"][:size]])


def rebuilt(chunk, payload=None, coding=None, zeros=None, digest=None):
    """The chunk with changes, its checksum right."""
    kind, gap, _, words = struct.unpack_from("<B3sIQ", chunk)
    payload = chunk[16:] if payload is None else payload
    return struct.pack(
        "<B3sIQ",
        kind if coding is None else coding,
        gap if zeros is None else zeros,
        vector_decoder.hash64(payload) & 0xFFFFFFFF,
        words if digest is None else digest,
    ) + payload  # fmt: skip


def chunk_case(about, name, *words, **changes):
    @lie(about, *words)
    def change(shard):
        shard.set_chunks(name, [rebuilt(shard.blobs[name], **changes)])


for number in (0, 5, 99, 255):
    chunk_case(f"coding-{number}", "near", "'near'", "coding",
               coding=number)  # fmt: skip
chunk_case("chunk-set-bit", "near", "'near'", zeros=b"\0\1\0")
chunk_case("payload-empty", "near", payload=b"")
chunk_case("payload-too-long", "near", payload=bytes(601))
chunk_case("payload-far-too-long", "near", payload=bytes(1 << 20))


def decoded_case(about, name, **changes):
    """What only decoding finds: not for verify without a base, where the
    coding needs one."""

    @lie(about, f"'{name}'", but=["verify"])
    def change(shard):
        shard.set_chunks(name, [rebuilt(shard.blobs[name], **changes)])


for number in range(1, 5):
    decoded_case(f"zeros-as-coding-{number}", "near", coding=number,
                 payload=bytes(200))  # fmt: skip
    decoded_case(f"ones-as-coding-{number}", "near", coding=number,
                 payload=b"\xff" * 500)  # fmt: skip
    decoded_case(f"short-as-coding-{number}", "near", coding=number,
                 payload=b"\1\1\1")  # fmt: skip
decoded_case("rans-of-f32-as-raw", "wide", coding=4)
decoded_case("words-digest", "near", digest=1)
decoded_case("words-digest-of-alone", "new", digest=1)


@lie("a-difference-without-a-base", "'new'")
def difference_without_base(shard):
    chunk = rebuilt(shard.blobs["new"], coding=2, payload=bytes(8))
    shard.set_chunks("new", [chunk])


@lie("rans-of-bytes-that-have-none")
def rans_without_base(shard):
    chunk = rebuilt(shard.blobs["new"], coding=1, payload=bytes(50))
    shard.set_chunks("new", [chunk])


OF_NEW = ("header-larger-tensor", "rans-of-bytes-that-have-none")


@pytest.mark.parametrize("about", LIES)
def test_a_shard_that_lies(small_pair, tmp_path, about):
    change, words, but = LIES[about]
    vector = copy(small_pair, tmp_path / "vector")
    (file,) = vector.glob("*.safetensors")
    shard = Shard(file)
    index = change(shard)
    shard.write(index)
    reseal(vector)
    # A merge has no use for what the base lacks.
    unused = "'new'" in words or "alone" in about or about in OF_NEW
    for which, args in commands(small_pair, vector, tmp_path / "out").items():
        if which in but or (unused and which == "merge"):
            assert_harmless(small_pair, vector, tmp_path / "out", ["merge"])
            continue
        result = run(*args, limits=LIMITS)
        said = [vector.name, *words]
        assert_refused(result, DATA, tmp_path / "out", said)
        assert result.seconds < scaled(10, 100)


def test_the_metadata_says_what_it_is(small_pair, tmp_path):
    vector = copy(small_pair, tmp_path / "vector")
    (file,) = vector.glob("*.safetensors")
    Shard(file).write(metadata={"format": "pt"})
    reseal(vector)
    assert_harmless(small_pair, vector, tmp_path / "out")


CHUNKS = {
    "swapped": lambda c: [c[1], c[0], c[2]],
    "first-twice": lambda c: [c[0], c[0], c[2]],
    "last-first": lambda c: [c[2], c[1], c[0]],
    "one-more": lambda c: [*c, c[0]],
    "one-less": lambda c: c[:-1],
    "same-for-first": lambda c: [b"", *c[1:]],
    "all-same": lambda c: [b"", b"", b""],
}


@pytest.mark.parametrize("name", ["near", "far", "still", "new"])
@pytest.mark.parametrize("how", CHUNKS)
def test_chunks_in_another_order(chunky, tmp_path, name, how):
    """Each is whole, and so are all digests but the tensor's."""
    vector = copy(chunky, tmp_path / "vector")
    (shard,) = (s for s in vectors.shards_of(vector) if name in s.records)
    before = shard.chunks(name)
    after = CHUNKS[how](before)
    if before == after:
        pytest.skip("the same")
    shard.set_chunks(name, after)
    shard.write()
    reseal(vector)
    out = tmp_path / "out"
    for which, args in commands(chunky, vector, out).items():
        # Without the base nobody can tell; new has no part in a merge.
        if which == "verify" or (which == "merge" and name == "new"):
            continue
        result = run(*args, limits=LIMITS)
        assert_refused(result, DATA, out, [f"'{name}'"])
    result = run("verify", vector)
    assert result.status in (0, DATA)


def test_tensors_that_changed_places(tmp_path):
    """Blobs and records of two tensors of one shape: what each one is says
    its digest, and where it belongs the header."""
    base, tuned = checkpoints.family({"a": [400], "b": [400]}, ["BF16"] * 2)
    made = vectors.made_of(tmp_path, base, tuned)
    (shard,) = vectors.shards_of(made.vector)
    shard.blobs["a"], shard.blobs["b"] = shard.blobs["b"], shard.blobs["a"]
    shard.lengths["a"], shard.lengths["b"] = (
        shard.lengths["b"], shard.lengths["a"]
    )  # fmt: skip
    shard.write()
    reseal(made.vector)
    out = tmp_path / "out"
    for which in ("apply", "merge", "verify --base"):
        args = commands(made, made.vector, out)[which]
        assert_refused(run(*args), DATA, out, ["'a'"])


def test_two_shards_that_changed_places(chunky, tmp_path):
    vector = copy(chunky, tmp_path / "vector")

    def change(manifest):
        a, b = manifest["shards"]
        a["name"], b["name"] = b["name"], a["name"]

    reseal(vector, change)
    assert_all_refuse(
        chunky, vector, tmp_path / "out", ["vector"], ["verify", "merge"]
    )


def test_one_tensor_in_two_shards(chunky, tmp_path):
    vector = copy(chunky, tmp_path / "vector")

    def change(manifest):
        a, b = manifest["shards"]
        manifest["shards"] = [a, dict(a, name=b["name"])]

    reseal(vector, change)
    assert_all_refuse(chunky, vector, tmp_path / "out", ["vector"])


@pytest.mark.parametrize("seed", range(10))
def test_payloads_of_noise(small_pair, shm_path, seed):
    """Checksums are right, so that the decoders see it; nothing crashes."""
    rng = np.random.default_rng(seed)
    for _ in range(scaled(15, 1)):
        a_payload_of_noise(small_pair, shm_path, rng)


def a_payload_of_noise(small_pair, shm_path, rng):
    vector = shm_path / "vector"
    shutil.rmtree(vector, ignore_errors=True)
    copy(small_pair, vector)
    (file,) = vector.glob("*.safetensors")
    shard = Shard(file)
    name = str(rng.choice(["near", "wide", "new"]))
    (chunk,) = shard.chunks(name)
    payload = bytearray(chunk[16:])
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(payload)))
        payload[at] = int(rng.integers(256))
    if rng.random() < 0.3:
        del payload[int(rng.integers(len(payload))) :]
    shard.set_chunks(name, [rebuilt(chunk, payload=bytes(payload))])
    shard.write()
    reseal(vector)
    assert_harmless(small_pair, vector, shm_path / "out")
    result = run("verify", "--base", small_pair.base, vector, limits=LIMITS)
    assert result.status in (0, DATA), result.err
