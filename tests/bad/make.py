#!/usr/bin/env python3
"""Makes the bad inputs that README.md lists, each in a folder of its own.

    make.py FOLDER          makes them all
    make.py --readme        prints the list for README.md

A case is a name, a line that says what is wrong, words that the message must
have, and a function that makes it in an empty folder and returns the path to
give to the program. Nothing is random.
"""

import json
import os
import struct
import sys
import zipfile
from collections import namedtuple
from io import BytesIO
from pathlib import Path

Case = namedtuple("Case", "about words make")

CASES = {}


def case(name, about, *words):
    """Adds the decorated function as a case."""

    def add(make):
        assert name not in CASES
        CASES[name] = Case(about, words, make)
        return make

    return add


def as_file(name, about, content, *words):
    """Adds a case that is one file of the given bytes (or a function that
    makes them, where they are many)."""

    @case(name, about, *words)
    def make(path):
        file = path / "bad.safetensors"
        file.write_bytes(content() if callable(content) else content)
        return file


def file_of(header, data=b"", length=None):
    """A file with this header (text, bytes or an object) and data."""
    if not isinstance(header, (str, bytes)):
        header = json.dumps(header)
    if isinstance(header, str):
        header = header.encode()
    length = len(header) if length is None else length
    return struct.pack("<Q", length) + header + data


def entry(shape=(4,), start=0, end=8, dtype="BF16", **more):
    return {
        "dtype": dtype, "shape": list(shape), "data_offsets": [start, end],
        **more,
    }  # fmt: skip


DATA = bytes(range(1, 9))
GOOD = {"a.weight": entry()}
GOOD_FILE = file_of(GOOD, DATA)

# A1, A2: the eight bytes at the start

for size in (0, 1, 7, 8):
    as_file(
        f"len-{size}", f"a file of {size} bytes", b"\x10\0\0\0\0\0\0\0"[:size]
    )

for name, about, length in (
    ("n-zero", "a header of no bytes", 0),
    ("n-beyond-file", "a header that ends after the file", 200),
    ("n-one-beyond", "a header one byte longer than the file",
     len(GOOD_FILE) - 7),
    ("n-100000001", "a header over the limit of 100,000,000", 100000001),
    ("n-2e63", "a header of 2^63 bytes", 1 << 63),
    ("n-max", "a header of 2^64 - 1 bytes", (1 << 64) - 1),
    ("n-wraps", "a header whose end wraps around to the start", (1 << 64) - 8),
):  # fmt: skip
    as_file(name, about, file_of(GOOD, DATA, length))

# A4: more than the tensors


def zipped():
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr(zipfile.ZipInfo("archive/data.pkl"), b"\x80\x02.")
    return out.getvalue()


as_file("trailing-byte", "one byte after the last tensor", GOOD_FILE + b"\0")
as_file("polyglot-zip", "a zip after the last tensor", GOOD_FILE + zipped())
as_file("data-missing", "no data at all", file_of(GOOD), "a.weight")
as_file("data-one-short", "the last byte missing", GOOD_FILE[:-1], "a.weight")

# A5: tensors that do not tile the data

for name, about, *spans in (
    ("hole", "a hole between two tensors", (0, 8), (10, 18)),
    ("hole-first", "data before the first tensor", (2, 10), (10, 18)),
    ("overlap", "two tensors that share bytes", (0, 8), (6, 14)),
    ("same-span", "two tensors on the same bytes", (0, 8), (0, 8)),
    ("inside", "a tensor inside another one", (0, 16), (4, 12)),
):
    tensors = {
        f"{letter}.weight": entry([(end - start) // 2], start, end)
        for letter, (start, end) in zip("ab", spans)
    }
    data = bytes(max(end for _, end in spans))
    as_file(name, about, file_of(tensors, data), ".weight")

for name, about, *span in (
    ("reversed", "a tensor that ends before it starts", 8, 0),
    ("end-wraps", "a tensor that ends at 2^64 - 1", 0, (1 << 64) - 1),
    ("end-signed", "a tensor that ends at 2^63", 0, 1 << 63),
):
    as_file(name, about, file_of({"a.weight": entry([4], *span)}, DATA))

# A6: shapes whose product overflows

for name, about, shape, dtype in (
    ("ovf-zero", "a shape whose product wraps to 0", [1 << 32, 1 << 32], "U8"),
    ("ovf-four", "a shape whose product wraps to 4",
     [4194305, 4194305, 211106198978564], "U8"),
    ("ovf-exact", "a shape whose size wraps to the right one",
     [(1 << 63) + 4], "BF16"),
    ("ovf-dtype", "elements that fit and bytes that do not", [1 << 61], "F64"),
    ("ovf-then-zero", "a product that overflows before it meets a zero",
     [1 << 40, 1 << 40, 0, 1 << 40], "U8"),
    ("ovf-near-max", "a size just under 2^64", [(1 << 63) - 1], "BF16"),
    ("ovf-bits", "bytes that fit and bits that do not", [1 << 62], "U8"),
):  # fmt: skip
    span = {"ovf-zero": (0, 0), "ovf-four": (0, 4)}.get(name, (0, 8))
    as_file(
        name, about,
        file_of({"a.weight": entry(shape, *span, dtype)}, bytes(span[1])),
    )  # fmt: skip

# A7: shape, type and span disagree

for name, about, shape, dtype in (
    ("size-less", "fewer bytes than the shape asks for", [5], "BF16"),
    ("size-more", "more bytes than the shape asks for", [3], "BF16"),
    ("size-dtype", "the size of another type", [4], "F32"),
    ("size-empty", "bytes for an empty shape", [0, 4], "BF16"),
    ("size-sub-byte", "a sub-byte type that ends inside a byte", [15], "F4"),
):
    tensors = {"a.weight": entry(shape, dtype=dtype)}
    as_file(name, about, file_of(tensors, DATA), "a.weight")

# A8: what is not a plain number

for name, text in (
    ("negative", "-{}"), ("fraction", "{}.0"), ("exponent", "{}e0"),
    ("leading-zero", "0{}"), ("plus", "+{}"), ("hex", "0x{}"),
    ("string", '"{}"'), ("nested", "[{}]"), ("null", "null"),
    ("true", "true"), ("2e63", str(1 << 63)), ("2e64", str(1 << 64)),
    ("digits", "9" * 400), ("many-zeros", "0" * 5000 + "{}"),
):  # fmt: skip
    for place, right in (("shape", 4), ("offset", 8)):
        wrong = text.format(right)
        shape, end = (wrong, 8) if place == "shape" else (4, wrong)
        shown = wrong if len(wrong) < 24 else f"{wrong[:4]}..."
        as_file(
            f"num-{place}-{name}",
            f"`{shown}` as {place}",
            file_of(
                f'{{"a.weight":{{"dtype":"BF16","shape":[{shape}],'
                f'"data_offsets":[0,{end}]}}}}',
                DATA,
            ),
        )


# A9: strings


def named(name):
    """A header with one tensor whose name is these bytes of JSON."""
    rest = b'":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}}'
    return file_of(b'{"' + name + rest, DATA)


as_file("str-utf8", "a name that is not UTF-8", named(b"a\xff\xfe"))
as_file("str-overlong", "a name with an overlong sequence", named(b"a\xc0\x80"))
as_file("str-surrogate-utf8", "a surrogate in UTF-8", named(b"\xed\xa0\x80"))
as_file("str-surrogate", "half of a surrogate pair", named(rb"a\ud800"))
as_file("str-low-first", "a surrogate pair reversed", named(rb"\udc00\ud800"))
as_file("str-nul", "a zero byte in a name", named(rb"a\u0000b"))
as_file("str-newline", "a raw line feed in a name", named(b"a\nb"))
as_file("str-escape", "an escape that JSON lacks", named(rb"a\x41"))
as_file("str-open", "a name that never ends", file_of(b'{"a.weight', DATA))
as_file(
    "str-control-message",
    "control sequences in a name that is complained about",
    file_of({"\x1b]0;owned\x07\x1b[31m\r\n": entry([5])}, DATA),
)
as_file(
    "str-long-message",
    "a name of 1 MiB that is complained about",
    lambda: file_of({"n" * (1 << 20): entry([5])}, DATA),
)

# A10: duplicates

as_file(
    "dup-tensor",
    "a tensor twice",
    file_of(
        '{"a.weight":%s,"a.weight":%s}' % ((json.dumps(entry()),) * 2), DATA
    ),
    "a.weight",
)
as_file(
    "dup-escaped",
    "a tensor twice, once spelled with an escape",
    file_of(
        '{"a.weight":%s,"\\u0061.weight":%s}' % ((json.dumps(entry()),) * 2),
        DATA,
    ),
    "a.weight",
)
as_file(
    "dup-empty",
    "an empty tensor twice",
    file_of('{"a.weight":%s,"a.weight":%s}'
            % ((json.dumps(entry([0], 0, 0)),) * 2)),
    "a.weight",
)  # fmt: skip
as_file(
    "dup-key",
    "a key twice in an entry",
    file_of(
        '{"a.weight":{"dtype":"BF16","shape":[4],"shape":[4],'
        '"data_offsets":[0,8]}}',
        DATA,
    ),
)
as_file(
    "dup-metadata",
    "metadata twice",
    file_of(
        '{"__metadata__":{},"a.weight":%s,"__metadata__":{}}'
        % json.dumps(entry()),
        DATA,
    ),
)

# A11: size as a weapon

as_file(
    "deep-arrays",
    "arrays nested a million deep",
    lambda: file_of(b"[" * 1000000),
)
as_file(
    "deep-objects",
    "objects nested a million deep in a value",
    lambda: file_of(b'{"a":' * 1000000),
)
as_file(
    "deep-shape",
    "arrays nested deep in a shape",
    lambda: file_of(
        b'{"a.weight":{"dtype":"BF16","shape":%s4%s,"data_offsets":[0,8]}}'
        % (b"[" * 100000, b"]" * 100000),
        DATA,
    ),
)
as_file(
    "many-tensors",
    "half a million tensors, and a byte too many",
    lambda: file_of(
        "{%s}" % ",".join(
            '"t%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i
            for i in range(500000)
        ),
        b"\0",
    ),
)  # fmt: skip
as_file(
    "large-metadata",
    "20 MB of metadata, and a byte too many",
    lambda: file_of(
        {"__metadata__": {"k": "v" * 20000000}, **GOOD}, DATA + b"\0"
    ),
)
as_file(
    "many-dimensions",
    "a shape of 100,000 dimensions, and a byte too many",
    lambda: file_of({"a.weight": entry([1] * 100000 + [4])}, DATA + b"\0"),
)

# What is not an object of tensors

for name, about, text in (
    ("json-array", "an array", "[]"),
    ("json-number", "a number", "12345678"),
    ("json-string", "a string", '"{}"'),
    ("json-spaces", "nothing but spaces", " " * 64),
    ("json-cut", "JSON that ends early", '{"a.weight":{"dtype":"BF16",'),
    ("json-comma", "a comma after the last entry",
     '{"a.weight":%s,}' % json.dumps(entry())),
    ("json-two", "two objects", "{}{}"),
    ("json-garbage", "garbage after the object", "{} x"),
    ("json-nul-padded", "padding with zero bytes", "{}\0\0\0\0\0\0"),
    ("json-comment", "a comment", "{} // hello"),
    ("json-bom", "a byte order mark", "\ufeff{}"),
    ("json-nan", "NaN for an entry", '{"a.weight":NaN}'),
    ("entry-number", "a number for an entry", '{"a.weight":1}'),
    ("entry-empty", "an entry without keys", '{"a.weight":{}}'),
    ("entry-no-dtype", "an entry without dtype",
     '{"a.weight":{"shape":[4],"data_offsets":[0,8]}}'),
    ("entry-no-shape", "an entry without shape",
     '{"a.weight":{"dtype":"BF16","data_offsets":[0,8]}}'),
    ("entry-no-offsets", "an entry without offsets",
     '{"a.weight":{"dtype":"BF16","shape":[4]}}'),
    ("entry-dtype-number", "a number for a type",
     '{"a.weight":{"dtype":16,"shape":[4],"data_offsets":[0,8]}}'),
    ("entry-shape-object", "an object for a shape",
     '{"a.weight":{"dtype":"BF16","shape":{},"data_offsets":[0,8]}}'),
    ("entry-one-offset", "one offset",
     '{"a.weight":{"dtype":"BF16","shape":[4],"data_offsets":[8]}}'),
    ("entry-three-offsets", "three offsets",
     '{"a.weight":{"dtype":"BF16","shape":[4],"data_offsets":[0,8,8]}}'),
    ("entry-extra-key", "a key that safetensors does not have",
     '{"a.weight":{"dtype":"BF16","shape":[4],"data_offsets":[0,8],"x":1}}'),
    ("metadata-number", "a number in the metadata",
     '{"__metadata__":{"a":1},"a.weight":%s}' % json.dumps(entry())),
    ("metadata-array", "an array for the metadata",
     '{"__metadata__":[],"a.weight":%s}' % json.dumps(entry())),
):  # fmt: skip
    as_file(name, about, file_of(text, DATA if "weight" in text else b""))

# A13: indexes


def as_index(name, about, index, *words):
    """Adds a case that is a directory of two good shards and this index."""

    @case(name, about, *words)
    def make(path):
        (path / "one.safetensors").write_bytes(GOOD_FILE)
        other = file_of({"b.weight": entry()}, DATA)
        (path / "two.safetensors").write_bytes(other)
        (path.parent / "outside.safetensors").write_bytes(other)
        (path / "loop.safetensors").symlink_to("loop.safetensors")
        (path / "folder.safetensors").mkdir()
        text = index if isinstance(index, str) else json.dumps(index)
        (path / "model.safetensors.index.json").write_text(text)
        return path


def weight_map(b):
    """An index that is right about one tensor and says `b` of the other."""
    names = {"a.weight": "one.safetensors", "b.weight": b}
    return {"metadata": {}, "weight_map": names}


for name, about, index, *words in (
    ("index-missing-shard", "a shard that is not there",
     weight_map("gone.safetensors"), "gone.safetensors"),
    ("index-parent", "a shard outside the directory",
     weight_map("../outside.safetensors"), "../outside.safetensors"),
    ("index-parent-inside", "a path that leaves and comes back",
     weight_map("x/../../outside.safetensors"), "outside.safetensors"),
    ("index-absolute", "an absolute path",
     weight_map("/etc/passwd"), "/etc/passwd"),
    ("index-empty-name", "an empty file name", weight_map("")),
    ("index-dot", "the directory itself for a shard", weight_map(".")),
    ("index-loop", "a symbolic link to itself",
     weight_map("loop.safetensors"), "loop.safetensors"),
    ("index-folder", "a directory for a shard",
     weight_map("folder.safetensors"), "folder.safetensors"),
    ("index-wrong-shard", "a tensor that its shard lacks",
     weight_map("one.safetensors"), "b.weight", "one.safetensors"),
    ("index-nul", "a zero byte in a file name",
     weight_map("two\0.safetensors")),
    ("index-number", "a number for a file name", weight_map(2)),
    ("index-array", "an array for the map",
     {"metadata": {}, "weight_map": []}),
    ("index-no-map", "no map at all", {"metadata": {"total_size": 16}}),
    ("index-empty-map", "an empty map", {"metadata": {}, "weight_map": {}}),
    ("index-dup", "a tensor twice",
     '{"weight_map":{"a.weight":"one.safetensors",'
     '"a.weight":"two.safetensors"}}', "a.weight"),
    ("index-not-json", "something else than JSON", "\x7fELF"),
    ("index-empty", "an empty file", ""),
    ("index-cut", "JSON that ends early", '{"weight_map":{"a.wei'),
    ("index-deep", "arrays nested deep", "[" * 200000),
):  # fmt: skip
    as_index(name, about, index, *words)


@case("index-two-shards", "a tensor that two shards have", "a.weight")
def two_shards(path):
    both = {"a.weight": entry(), "b.weight": entry([4], 8, 16)}
    (path / "one.safetensors").write_bytes(GOOD_FILE)
    (path / "two.safetensors").write_bytes(file_of(both, DATA * 2))
    index = weight_map("two.safetensors")
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


# A16: other formats, recognised by how they begin

as_file("magic-zip", "a checkpoint of torch.save", zipped(), "PyTorch")
as_file(
    "magic-pickle",
    "a checkpoint of torch.save before 1.6",
    bytes.fromhex("80028a0a6cfc9c46f9206aa85019") + b"." * 100,
    "pickle",
)
as_file("magic-gguf", "a GGUF file", b"GGUF\3\0\0\0" + bytes(100), "GGUF")
as_file(
    "magic-lfs",
    "a pointer of git-lfs instead of the file",
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:" + b"0" * 64 + b"\nsize 5368709120\n",
    "lfs",
)
as_file("magic-html", "a page that says: log in", b"<!DOCTYPE html>" * 30)
as_file(
    "magic-json",
    "JSON without the eight bytes",
    json.dumps(GOOD).encode() + DATA,
)
as_file("magic-hdf5", "an HDF5 file", b"\x89HDF\r\n\x1a\n" + bytes(100))


# A17: what is not a file of data


@case("no-weights", "a directory without weights", "safetensors")
def no_weights(path):
    (path / "config.json").write_text("{}")
    return path


@case("only-pickles", "a directory with pickled weights only", "safetensors")
def only_pickles(path):
    (path / "pytorch_model.bin").write_bytes(zipped())
    return path


@case("fifo", "a named pipe")
def fifo(path):
    os.mkfifo(path / "bad.safetensors")
    return path / "bad.safetensors"


@case("fifo-in-directory", "a directory whose weights are a named pipe")
def fifo_in_directory(path):
    os.mkfifo(path / "model.safetensors")
    return path


@case("device", "a device that never ends")
def device(path):
    (path / "bad.safetensors").symlink_to("/dev/zero")
    return path / "bad.safetensors"


@case("dangling", "a symbolic link to nothing")
def dangling(path):
    (path / "bad.safetensors").symlink_to("nothing")
    return path / "bad.safetensors"


@case("loop", "a symbolic link to itself")
def loop(path):
    (path / "bad.safetensors").symlink_to("bad.safetensors")
    return path / "bad.safetensors"


@case("sparse", "a terabyte of zeros")
def sparse(path):
    with open(path / "bad.safetensors", "wb") as f:
        f.truncate(1 << 40)
    return path / "bad.safetensors"


@case("sparse-header", "a terabyte of zeros after a large length")
def sparse_header(path):
    with open(path / "bad.safetensors", "wb") as f:
        f.write(struct.pack("<Q", 1 << 39))
        f.truncate(1 << 40)
    return path / "bad.safetensors"


def readme():
    return "".join(
        f"- `{name}`: {case.about}\n" for name, case in CASES.items()
    )


def main():
    if sys.argv[1:] == ["--readme"]:
        print(readme(), end="")
        return
    for name, made in CASES.items():
        path = Path(sys.argv[1], name)
        path.mkdir(parents=True)
        made.make(path)


if __name__ == "__main__":
    main()
