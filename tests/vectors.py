"""Makes stored vectors with the program, and takes them apart to damage them.

`Shard` and `reseal` put digests right again after a change, so that nothing
but the change is wrong.
"""

import json
import os
import struct
from collections import namedtuple

import numpy as np

import checkpoints
import program
import vector_decoder

INDEX = "__taumerge__"
HEAD = "<8sIIQII"
RECORD = "<BB6sQQ16s16s4s"
DELTA, ALONE, SAME = range(3)
RANS, ZSTD, SOLO, RAW = range(1, 5)

# Bits of an element, of every type that safetensors knows.
BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64,
    "U64": 64,
}  # fmt: skip


def diff(base, tuned, vector, *more, **how):
    """Stores a vector, and insists on success."""
    result = program.run("diff", base, tuned, "-o", vector, *more, **how)
    assert result.status == 0, result.err
    assert (vector / "vector.json").is_file()
    assert not program.sibling(vector).exists()
    return result


def apply(base, vector, out, *more, **how):
    """Puts a vector back on its base, and insists on success."""
    result = program.run("apply", base, vector, "-o", out, *more, **how)
    assert result.status == 0, result.err
    assert not program.sibling(out).exists()
    return result


def assert_same_tree(got, wanted):
    """Names and bytes; says which file differs, and where."""
    a, b = checkpoints.tree(got), checkpoints.tree(wanted)
    assert sorted(a) == sorted(b)
    for name, data in b.items():
        if a[name] != data:
            same = os.path.commonprefix([a[name], data])
            sizes = len(a[name]), len(data)
            raise AssertionError(f"{name}: from byte {len(same)}, {sizes}")


def round_trip(path, base, tuned, *more, decode=True):
    """Stores, restores in two ways, verifies; returns the vector."""
    vector = path / "vector"
    suffix = ".safetensors" if tuned.is_file() else ""
    out, decoded = path / f"out{suffix}", path / f"decoded{suffix}"
    diff(base, tuned, vector, *more)
    there = set(path.iterdir())
    apply(base, vector, out)
    assert set(path.iterdir()) == {*there, out}
    assert_same_tree(out, tuned)
    for args in (["verify", vector], ["verify", "--base", base, vector]):
        result = program.run(*args)
        assert result.status == 0, (args, result.err)
    if decode:
        vector_decoder.restore(base, vector, decoded)
        assert_same_tree(decoded, tuned)
    return vector


def any_bits(rng, dtype, shape):
    """A tensor of any bits."""
    size = int(np.prod(shape, dtype=np.int64)) * BITS[dtype] // 8
    return checkpoints.Tensor(dtype, list(shape), rng.bytes(size))


def near(rng, t, share=0.1):
    """The tensor with some of its bytes one off."""
    data = np.frombuffer(t.data, np.uint8).copy()
    data[rng.random(len(data)) < share] += 1
    return checkpoints.Tensor(t.dtype, t.shape, data.tobytes())


def cut(t, first):
    """The tensor's first rows."""
    size = len(t.data) // t.shape[0] * first
    return checkpoints.Tensor(t.dtype, [first, *t.shape[1:]], t.data[:size])


def check_files(path, base, tuned, *more):
    """A round trip of single files, given as tensors."""
    b = checkpoints.write_file(path / "base.safetensors", base)
    t = checkpoints.write_file(path / "tuned.safetensors", tuned)
    return round_trip(path, b, t, *more)


Made = namedtuple("Made", "base tuned vector merged")


def made_of(path, base, tuned, split=1):
    """On disk: both, the vector, and what merging it gives."""
    b = checkpoints.write_shards(path / "base", checkpoints.split(base, 2))
    shards = checkpoints.split(tuned, split)
    t = checkpoints.write_shards(path / "tuned", shards)
    made = Made(b, t, path / "vector", path / "merged")
    diff(b, t, made.vector)
    program.merge(b, [(made.vector, 0.5)], made.merged, "--allow-extra")
    return made


def size_of(vector):
    """Of the weights, stored."""
    return sum(f.stat().st_size for f in vector.glob("*.safetensors"))


def shards_of(vector):
    return [Shard(f) for f in sorted(vector.glob("*.safetensors"))]


def manifest_of(vector):
    return json.loads((vector / "vector.json").read_bytes())


class Shard:
    """A shard of a vector, in parts that can be changed and written back."""

    def __init__(self, path):
        self.path = path
        self.blobs = {
            name: words.tobytes()
            for name, _, _, words in vector_decoder.tensors(
                np.fromfile(path, np.uint8)
            )
        }
        index = self.blobs.pop(INDEX)
        self.magic, count, chunks, self.size, self.H, Z = struct.unpack_from(
            HEAD, index
        )
        at = 32 + 60 * count
        self.frame = index[-16 - Z : -16]
        self.start = vector_decoder.unzstd(self.frame)
        lengths = iter(struct.unpack_from(f"<{chunks}I", index, at))
        file = np.zeros(self.size, np.uint8)
        file[: self.H] = np.frombuffer(self.start, np.uint8)
        self.records, self.lengths = {}, {}
        for i, (name, entry, code, words) in enumerate(
            vector_decoder.tensors(file)
        ):
            record = struct.unpack_from(RECORD, index, 32 + 60 * i)
            self.records[name] = list(record)
            count = -(-len(words) // vector_decoder.CHUNK)
            count = 0 if record[0] == SAME else count
            self.lengths[name] = [next(lengths) for _ in range(count)]
        assert next(lengths, None) is None

    def chunks(self, name):
        at, found = 0, []
        for length in self.lengths[name]:
            found.append(self.blobs[name][at : at + length])
            at += length
        return found

    def set_chunks(self, name, chunks):
        self.lengths[name] = [len(c) for c in chunks]
        self.blobs[name] = b"".join(chunks)

    def codings(self):
        """How often each coding occurs; 0 is for equal chunks."""
        chunks = [c for name in self.blobs for c in self.chunks(name)]
        kinds = [c[0] if c else 0 for c in chunks]
        return {kind: kinds.count(kind) for kind in set(kinds)}

    def index(self, **changes):
        """The index; `changes` are to numbers of its head."""
        lengths = [n for found in self.lengths.values() for n in found]
        head = {
            "magic": self.magic, "T": len(self.records), "C": len(lengths),
            "size": self.size, "H": self.H, "Z": len(self.frame),
        }  # fmt: skip
        head.update(changes)
        index = struct.pack(HEAD, *head.values())
        for record in self.records.values():
            index += struct.pack(RECORD, *record)
        index += struct.pack(f"<{len(lengths)}I", *lengths) + self.frame
        return index + vector_decoder.hash128(index)

    def write(self, index=None, metadata=None):
        """Writes the file; its vector needs to be resealed."""
        index = self.index() if index is None else index
        blobs = {
            name: checkpoints.raw(blob, "U8", [len(blob)])
            for name, blob in {**self.blobs, INDEX: index}.items()
        }
        metadata = metadata or {"format": "taumerge-vector"}
        self.path.write_bytes(checkpoints.encode(blobs, metadata))


def reseal(vector, change=None, digests=True):
    """Puts the manifest right; `change` (of it, in place) comes last."""
    manifest = manifest_of(vector)
    for shard in manifest["shards"] if digests else []:
        data = (vector / shard["file"]).read_bytes()
        H = 8 + int.from_bytes(data[:8], "little")
        shard["bytes"] = len(data)
        shard["header_xxh128"] = checkpoints.digest(data[:H])
        shard["data_xxh128"] = checkpoints.digest(data[H:])
    for name in manifest["files"] if digests else []:
        data = (vector / "files" / name).read_bytes()
        entry = {"bytes": len(data), "xxh128": checkpoints.digest(data)}
        manifest["files"][name] = entry
    if change is not None:
        change(manifest)
    write_manifest(vector, manifest)


def write_manifest(vector, manifest):
    manifest.pop("xxh128", None)
    text = json.dumps(manifest, indent=2)[:-2].encode() + b",\n  "
    own = b'"xxh128": "%s"\n}\n' % checkpoints.digest(text).encode()
    (vector / "vector.json").write_bytes(text + own)
