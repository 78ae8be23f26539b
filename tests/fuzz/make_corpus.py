"""Makes the seeds of the fuzzers: tests/fuzz/corpus/*/seed-*.

Run it again after a change; the same files come out. What a fuzzer has found
lies beside the seeds under a name of its own and is left alone: `bug-*` broke
the program once, `found-*` reach code that the seeds do not.
"""

import json
import struct
from pathlib import Path

from xxhash import xxh3_128_digest, xxh3_64_intdigest

CORPUS = Path(__file__).resolve().parent / "corpus"


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def header(data_bytes, value):
    """An input of fuzz_header: the data's size, the text."""
    if not isinstance(value, (str, bytes)):
        value = json.dumps(value, separators=(",", ":"))
    text = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", data_bytes) + text


def headers():
    f32 = entry("F32", [1], 0, 4)
    yield "empty-object", header(0, "{}")
    yield "nothing", b""
    yield "short", b"\x02\0\0"
    yield "no-text", header(0, "")
    yield "one", header(4, {"a": f32})
    yield "padded", header(4, json.dumps({"a": f32}) + "    ")
    yield "spaced", header(4, ' \t{ "a" :\n' + json.dumps(f32) + "\r } ")
    yield "metadata", header(
        4, {"__metadata__": {"format": "pt", "k": "v\n"}, "a": f32}
    )
    yield "metadata-number", header(0, {"__metadata__": {"format": 1}})
    yield "metadata-twice", header(
        0, '{"__metadata__":{},"__metadata__":{}}'
    )
    at, all_types = 0, {}
    sizes = {
        "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1,
        "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "I16": 2, "U16": 2,
        "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8,
        "I64": 8, "U64": 8, "C64": 8,
    }  # fmt: skip
    for name, size in sizes.items():
        all_types[name.lower()] = entry(name, [3], at, at + 3 * size)
        at += 3 * size
    yield "types", header(at, all_types)
    yield "type-f4", header(3, {"a": entry("F4", [3, 2], 0, 3)})
    yield "type-f4-odd", header(2, {"a": entry("F4", [3], 0, 2)})
    yield "type-f6", header(3, {"a": entry("F6_E2M3", [4], 0, 3)})
    yield "type-unknown", header(5, {"a": entry("Q5", [9], 0, 5)})
    yield "order", header(
        6, {"b": entry("U8", [2], 4, 6), "a": entry("I32", [1], 0, 4)}
    )
    yield "scalar", header(8, {"a": entry("F64", [], 0, 8)})
    yield "no-elements", header(
        4,
        {
            "z": entry("F32", [0, 7], 4, 4),
            "a": f32,
            "y": entry("F32", [0], 0, 0),
        },
    )
    yield "hole", header(
        12, {"a": f32, "b": entry("F32", [1], 8, 12)}
    )
    yield "overlap", header(6, {"a": f32, "b": entry("F32", [1], 2, 6)})
    yield "tail", header(5, {"a": f32})
    yield "beyond", header(3, {"a": f32})
    yield "backwards", header(4, {"a": entry("F32", [1], 4, 0)})
    yield "wrong-size", header(8, {"a": entry("F32", [1], 0, 8)})
    yield "overflow-zero", header(
        0, {"a": entry("F32", [2**32, 2**32], 0, 0)}
    )
    yield "overflow-four", header(
        4,
        {"a": entry("U8", [4194305, 4194305, 211106198978564], 0, 4)},
    )
    yield "overflow-bits", header(0, {"a": entry("F64", [2**58], 0, 0)})
    yield "dims-64", header(1, {"a": entry("U8", [1] * 64, 0, 1)})
    yield "dims-65", header(1, {"a": entry("U8", [1] * 65, 0, 1)})
    yield "numbers", header(
        2**64 - 1, '{"a":{"dtype":"U8","shape":[1.0,-1,1e3],'
        '"data_offsets":[0,18446744073709551615]}}'
    )
    yield "twice", header(8, '{"a":%s,"a":%s}' % (
        json.dumps(f32), json.dumps(entry("F32", [1], 4, 8))
    ))
    yield "twice-escaped", header(8, '{"a":%s,"\\u0061":%s}' % (
        json.dumps(f32), json.dumps(entry("F32", [1], 4, 8))
    ))
    yield "key-twice", header(
        4, '{"a":{"dtype":"F32","dtype":"I32","shape":[1],'
        '"data_offsets":[0,4]}}'
    )
    yield "key-extra", header(4, {"a": dict(f32, more=1)})
    yield "strings", header(
        4, {"\u00e9\U0001f600\u2028\x1b[31m\"\\": f32}
    )
    yield "utf8", header(4, '{"\u00e9\U0001f600\u07ff": %s}' % json.dumps(f32))
    yield "utf8-bad", header(4, b'{"\xc3\x28\xed\xa0\x80": 1}')
    yield "nul", header(4, '{"a\\u0000b": 1}')
    yield "surrogate", header(4, '{"\\ud800": 1}')
    yield "deep", header(0, '{"a":' + "[" * 60 + "]" * 60 + "}")
    yield "cut", header(4, json.dumps({"a": f32})[:-3])
    yield "garbage-behind", header(4, json.dumps({"a": f32}) + "x")
    yield "array", header(0, "[]")
    yield "zip", b"PK\x03\x04\0\0\0\0{}"
    yield "lfs", b"version https://git-lfs.github.com/spec/v1\n"


def indices():
    one, two = "model-1-of-2.safetensors", "model-2-of-2.safetensors"

    def index(weights, **metadata):
        value = {"metadata": metadata} if metadata else {}
        return json.dumps(dict(value, weight_map=weights)).encode()

    yield "nothing", b""
    yield "empty-object", b"{}"
    yield "empty-map", index({})
    yield "one", index({"a": one}, total_size=4)
    yield "two", index({"a": two, "b": one, "c": two, "d": one})
    yield "metadata", index(
        {"a": one}, total_size=8, more={"x": [1, 2.5, None, True]}, s="\u00e9"
    )
    yield "metadata-number", b'{"metadata":7,"weight_map":{"a":"b"}}'
    yield "metadata-string", b'{"metadata":"x","weight_map":{"a":"b"}}'
    yield "metadata-twice", (
        b'{"metadata":{"a":1},"metadata":[2],"weight_map":{"a":"b"}}'
    )
    yield "total-negative", index({"a": one}, total_size=-1)
    yield "total-real", index({"a": one}, total_size=1.5)
    yield "total-huge", (
        b'{"metadata":{"total_size":18446744073709551616},'
        b'"weight_map":{"a":"b"}}'
    )
    yield "path-up", index({"a": "../x.safetensors"})
    yield "path-absolute", index({"a": "/x.safetensors"})
    yield "path-dots", index({"a": "..", "b": "."})
    yield "path-empty", index({"a": ""})
    yield "not-a-string", index({"a": 1})
    yield "not-a-map", b'{"weight_map":["a"]}'
    yield "map-twice", b'{"weight_map":{"a":"b"},"weight_map":{"c":"d"}}'
    yield "tensor-twice", b'{"weight_map":{"a":"b","a":"c"}}'
    yield "other-members", b'{"x":[{"y":null}],"weight_map":{"a":"b"},"z":1}'
    yield "spaced", b' { "weight_map"\n:\t{ "a" : "b" , "c":"d" }\r} '
    yield "many", index({f"t{i}": f"s{i % 9}" for i in range(40)})
    yield "strings", json.dumps(
        {"weight_map": {"\u00e9\"\\\n": "\U0001f600"}}, ensure_ascii=False
    ).encode()
    yield "utf8-bad", b'{"weight_map":{"\xff":"b"}}'
    yield "nul", b'{"weight_map":{"a\\u0000":"b"}}'
    yield "deep", b'{"x":' + b"[" * 60 + b"]" * 60 + b"}"
    yield "cut", b'{"weight_map":{"a":"b"'
    yield "garbage-behind", b'{"weight_map":{"a":"b"}}}'


def command_lines():
    def line(*arguments):
        return b"\0".join(a.encode() for a in arguments)

    yield "nothing", b""
    yield "merge", line(
        "-b", "base", "-t", "a", "-w", "0.4", "-t", "b", "-w", "-1",
        "-o", "out",
    )  # fmt: skip
    yield "long", line(
        "--base", "base", "--vector=a", "--weight=1e-3", "--vector", "b",
        "--output=out", "--force", "--dtype", "bfloat16", "--shard-size",
        "5GB", "--allow-missing", "--allow-extra", "--memory", "64M",
        "--threads", "2", "--io", "uring", "--direct", "on", "--progress",
        "json", "--quiet", "--verbose",
    )  # fmt: skip
    yield "plan", line("-bbase", "-ta", "-w.5", "--json", "-v")
    yield "verify", line("out", "--json", "-q", "--io=threads")
    yield "inspect", line("a", "b", "--digest", "--json")
    yield "help", line("--help")
    yield "short-together", line("-fqvh")
    yield "abbreviated", line("--mem", "1", "--thr=1", "--all")
    yield "dashes", line("-v", "--", "-b", "-", "--")
    yield "no-argument", line("-t")
    yield "no-argument-long", line("--memory")
    yield "argument-unwanted", line("--json=1", "--force=x")
    yield "unknown", line("-Z", "--zzz", "-vZ")
    yield "empty", line("", "-b", "", "-t", "")
    yield "weight-first", line("-w", "1")
    yield "weight-twice", line("-t", "a", "-w", "1", "-w", "2")
    for i, weight in enumerate(
        ["nan", "inf", "1e999", "0x1p4", " 1", "1,5", "-0", "1e-400", "+3"]
    ):
        yield f"weight-{i}", line("-t", "a", "-w", weight)
    for i, size in enumerate(
        ["0", "1k", "2KB", "3Mb", "1T", "99999999T", "-1", "1.5G",
         "18446744073709551616", "1KBB", "4B"]
    ):  # fmt: skip
        yield f"size-{i}", line("--memory", size, "--shard-size", size)
    for i, count in enumerate(["0", "1", "1024", "1025", "-1", "2x"]):
        yield f"threads-{i}", line("--threads", count)
    yield "dtype", line("--dtype", "F8_E4M3", "--dtype=float64")
    yield "dtype-bad", line("--dtype", "int8")
    yield "choices-bad", line("--io", "aio")
    yield "utf8", "-b\0\u00e9\U0001f600".encode() + b"\0\xff\xc3\x1b[0m"


# As in kernels/dtype.h.
DTYPES = (
    "F8_E4M3 F8_E5M2 BF16 F16 F32 F64 BOOL F4 F6_E2M3 F6_E3M2 U8 I8 F8_E8M0 "
    "F8_E4M3FNUZ F8_E5M2FNUZ I16 U16 I32 U32 C64 I64 U64 ?"
).split()

SIZES = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "I32": 4, "C64": 4, "U64": 8}


def noise(count, seed):
    """Bytes that look random and are the same everywhere."""
    found = bytearray()
    for _ in range(count):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        found.append(seed >> 56)
    return bytes(found)


def chunks():
    """Inputs of fuzz_chunk, as its first comment says."""

    def start(dtype, flags, words):
        return struct.pack("<BBH", DTYPES.index(dtype), flags, words - 1)

    def decode(dtype, words, base, coded):
        flags = 2 if base is None else 3
        return start(dtype, flags, words) + (base or b"") + coded

    def coded(coding, payload, tuned):
        sums = xxh3_64_intdigest(payload), xxh3_64_intdigest(tuned)
        head = struct.pack("<B3xIQ", coding, sums[0] % 2**32, sums[1])
        return head + payload

    def planes(*given):
        return b"".join(struct.pack("<I", len(p)) + p for p in given)

    def frame(words, byte, descriptor=0x60, more=b"", block=1):
        size = struct.pack("<H", words - 256)
        block = struct.pack("<I", 1 | block << 1 | words << 3)[:3]
        magic = b"\x28\xb5\x2f\xfd"
        return magic + bytes([descriptor]) + more + size + block + bytes([byte])

    rans, zstd, solo, raw = 1, 2, 3, 4
    for dtype in ["BF16", "F16", "F32", "F64", "F8_E4M3", "U8", "I32", "C64"]:
        size = SIZES.get(dtype, 1)
        base = noise(48 * size, 7)
        near = bytes(b ^ (i % size == 0) for i, b in enumerate(base))
        name = dtype.lower()
        yield f"{name}-near", start(dtype, 1, 48) + base + near
        if dtype not in ("BF16", "F32", "F64"):
            continue
        yield f"{name}-zstd", start(dtype, 5, 48) + base + near
        yield f"{name}-alone", start(dtype, 0, 48) + near
        yield f"{name}-spoilt", start(dtype, 1, 48) + base + near + noise(6, 3)
    yield "same", start("BF16", 1, 64) + 2 * noise(128, 1)
    yield "runs", start("F32", 1, 1000) + b"\x3f" * 60
    words = noise(24, 5)
    yield "raw", decode("F64", 3, None, coded(raw, words, words))
    yield "raw-cut", decode("F64", 3, None, coded(raw, words, words)[:-1])
    yield "raw-long", decode("F64", 3, None, coded(raw, words + b"x", words))
    yield "nothing", b""
    yield "empty", decode("F32", 9, None, b"")
    yield "empty-same", decode("U8", 9, noise(9, 2), b"")
    yield "head", decode("F32", 9, None, b"\4\0\0\0")
    yield "coding", decode("U8", 9, None, coded(5, b"", b""))
    yield "flag", decode("U8", 9, None, b"\4\1" + bytes(40))
    sevens = bytes([7]) * 3000
    seven = frame(3000, 7)
    for name, plane in {
        "frame": seven,
        "frame-window": frame(3000, 7, 0x40, b"\x40"),
        "frame-window-large": frame(3000, 7, 0x40, b"\xff"),
        "frame-size": frame(2999, 7),
        "frame-block": frame(3000, 7, block=3),
        "frame-dictionary": frame(3000, 7, 0x61, b"\1"),
        "frame-checksum": frame(3000, 7, 0x64),
        "frame-cut": seven[:-1],
        "frames": seven + seven,
        "frame-skipped": b"\x50\x2a\x4d\x18\1\0\0\0x" + seven,
    }.items():
        whole = coded(solo, planes(plane), sevens)
        yield name, decode("U8", 3000, None, whole)
    base, one = bytes([0, 64]) * 300, bytes([1, 64]) * 300
    whole = coded(zstd, planes(frame(300, 2), b""), one)
    yield "planes", decode("BF16", 300, base, whole)
    whole = coded(zstd, planes(b"\2" * 300, b""), one)
    yield "planes-raw", decode("BF16", 300, base, whole)
    whole = coded(zstd, b"\xff" * 40, one)
    yield "planes-beyond", decode("BF16", 300, base, whole)
    # c = 1, no zero context, no tables; then one of a single certain token.
    states = struct.pack("<64I", *[1 << 15] * 64)
    whole = coded(rans, b"\x80\1\0\0" + states, base)
    yield "rans-no-tables", decode("BF16", 300, base, whole)
    yield "rans-short", decode("BF16", 300, base, coded(rans, b"\x80", base))
    # There; no groups; a mass of one bit: 11 less than 12, in Elias gamma.
    table = struct.pack("<H", 1 | 1 << 11 | (22 & 15) << 12)
    whole = coded(rans, b"\x80\1\2\0" + table + states, base)
    yield "rans", decode("BF16", 300, base, whole)
    # Whole, and yet other words; the harness makes the first checksum.
    whole = coded(raw, one, base)
    yield "sealed", start("BF16", 11, 300) + base + whole


DIGEST = "00112233445566778899aabbccddeeff"


def manifest_text(**changes):
    """An input of fuzz_manifest: the text up to its last member."""
    file = {"bytes": 3, "xxh128": DIGEST}
    shards = [
        {
            "file": f"vector-0000{i}-of-00002.safetensors",
            "bytes": 1000 + i,
            "header_xxh128": DIGEST,
            "data_xxh128": DIGEST,
            "name": f"model-0000{i}-of-00002.safetensors",
        }
        for i in (1, 2)
    ]
    members = {
        "format": "taumerge-vector",
        "version": 1,
        "taumerge": "0.2.0",
        "zstd": "1.5.4",
        "base": {"path": "/models/base"},
        "tuned": {"path": "tuned", "single_file": False},
        "shards": shards,
        "files": {"config.json": file, "sub/x.txt": file},
        "left_out": [{"name": "y", "why": "a directory"}],
        "statistics": {
            "tensors": {"a": [3, -0.5, 1.5, 1.25, 1.0]},
            "histogram": {"mantissa_bits": 7, "first": 1, "counts": [3]},
        },
    }
    for key, value in changes.items():
        members[key] = value(members[key]) if callable(value) else value
    members = {k: v for k, v in members.items() if v is not None}
    return json.dumps(members, indent=2)[:-2].encode() + b",\n  "


def manifests():
    text = manifest_text

    def shard(**changes):
        return lambda old: [dict(old[0], **changes), old[1]]

    def files(*names):
        return {name: {"bytes": 3, "xxh128": DIGEST} for name in names}

    def tensors(**values):
        return {"tensors": values}

    yield "nothing", b""
    yield "empty-object", b"{"
    yield "good", text()
    yield "single", text(
        tuned={"path": "t.safetensors", "single_file": True},
        shards=lambda old: old[:1],
    )
    yield "single-two", text(tuned={"path": "t", "single_file": True})
    yield "unknown-member", text(later={"x": [1, None]})
    yield "format", text(format="safetensors")
    yield "version", text(version=2)
    yield "version-real", text(version=1.0)
    yield "no-version", text(version=None)
    yield "twice", text()[:-4] + b', "version": 1,'
    yield "no-shards", text(shards=[])
    yield "shards-object", text(shards={})
    yield "shard-list", text(shards=[[]])
    yield "shard-path", text(shards=shard(file="../x"))
    yield "shard-dots", text(shards=shard(name=".."))
    yield "shard-deep", text(shards=shard(name="a/b"))
    yield "shard-same", text(shards=lambda old: [old[0], old[0]])
    yield "shard-order", text(shards=lambda old: old[::-1])
    yield "shard-bytes", text(shards=shard(bytes=-1))
    yield "shard-digest", text(shards=shard(data_xxh128="0"))
    yield "no-files", text(files={})
    yield "files-list", text(files=[])
    yield "file-number", text(files={"a": 1})
    for i, name in enumerate(
        ["", ".", "..", "/a", "a/", "a//b", "a/../b", "./a", "a/.", "...",
         "a/...", "\u00e9/\U0001f600", "model-00001-of-00002.safetensors/a"]
    ):  # fmt: skip
        yield f"file-{i}", text(files=files("b", name, "c"))
    yield "file-twice", text(files=None)[:-4] + (
        b', "files": {"a": %s, "a": %s},'
        % ((b'{"bytes": 1, "xxh128": "%s"}' % DIGEST.encode(),) * 2)
    )
    yield "statistics-none", text(statistics={})
    yield "statistics-list", text(statistics={"tensors": []})
    yield "statistics-other", text(statistics=tensors(c=[1, 0, 0, 0, 0]))
    yield "statistics-both", text(
        statistics=tensors(a=[1, 1, 1, 1, 1], b=[1, -1e300, 0.0, 1e300, 1])
    )
    yield "statistics-many", text(statistics=tensors(a=[4, 1, 1, 1, 1]))
    yield "statistics-less", text(statistics=tensors(a=[1, 1, 1, 1]))
    yield "statistics-string", text(statistics=tensors(a=[1, 1, 1, 1, "1"]))
    yield "nul", text(base={"path": "a\0b"})
    yield "utf8-bad", text().replace(b"/models", b"\xff\xc3")
    yield "cut", text()[:-40]


def frame(data, size=None):
    """A zstd frame of one block, as it is: nothing needs a compressor."""
    size = len(data) if size is None else size
    block = (len(data) << 3 | 1).to_bytes(3, "little")
    return struct.pack("<IBI", 0xFD2FB528, 0xA0, size) + block + data


def record(state, code=0, words=0, zero=bytes(6), same=False):
    base = bytes(range(16)) if state != 1 else bytes(16)
    tuned = base if same else bytes(16)
    probe = 7 if state != 1 else 0
    head = struct.pack("<BB6sQQ", state, code, zero, words, probe)
    return head + base + tuned + (bytes(4) if state == 2 else b"\1\2\3\4")


def vector_index(
    tensors, records, lengths, tuned=None, start=None, packed=None, magic=b"1"
):
    """An input of fuzz_vector_index: all but the digest."""
    if start is None:
        text = json.dumps(tensors, separators=(",", ":")).encode()
        start = struct.pack("<Q", len(text)) + text
    if tuned is None:
        ends = [t["data_offsets"][1] for t in tensors.values()]
        tuned = len(start) + max(ends, default=0)
    if packed is None:
        packed = frame(start)
    head = struct.pack(
        "<IIQII", len(records), len(lengths), tuned, len(start), len(packed)
    )
    tables = b"".join(records) + struct.pack(f"<{len(lengths)}I", *lengths)
    return b"TMINDEX" + magic + head + tables + packed


def vector_indices():
    index = vector_index
    f32 = {"a": entry("F32", [2, 2], 0, 16)}
    large = {"a": entry("BF16", [2, 150000], 0, 600000)}
    f32_delta, alone = record(0, 3, 4), record(1)
    all_states = {
        "e": entry("I64", [0, 3], 0, 0),
        "a": entry("F16", [3], 0, 6),
        "b": entry("C64", [2], 6, 22),
        "c": entry("U8", [], 22, 23),
        "d": entry("XYZ", [9], 23, 26),
    }
    good = index(f32, [f32_delta], [20])

    yield "nothing", b""
    yield "no-tensors", index({}, [], [])
    yield "delta", good
    yield "delta-same", index(f32, [f32_delta], [0])
    yield "delta-longest", index(f32, [f32_delta], [32])
    yield "delta-too-long", index(f32, [f32_delta], [33])
    yield "delta-head-only", index(f32, [f32_delta], [16])
    yield "delta-convert", index(f32, [record(0, 4, 6)], [17])
    yield "delta-type", index(f32, [record(0, 5, 4)], [17])
    yield "delta-rows", index(f32, [record(0, 3, 3)], [17])
    yield "delta-no-type", index(f32, [record(0, 0, 4)], [17])
    yield "delta-type-unknown", index(f32, [record(0, 12, 4)], [17])
    yield "delta-words", index(f32, [record(0, 3, 2**64 - 4)], [17])
    yield "alone", index(f32, [alone], [20])
    yield "alone-same", index(f32, [alone], [0])
    yield "alone-base", index(f32, [record(1, 3, 4)], [20])
    yield "same", index(f32, [record(2, 3, 4, same=True)], [])
    yield "same-other", index(f32, [record(2, 3, 4)], [])
    yield "same-chunks", index(f32, [record(2, 3, 4, same=True)], [0])
    yield "state", index(f32, [record(3, 3, 4)], [20])
    yield "bits", index(f32, [record(0, 3, 4, b"\0\0\1\0\0\0")], [20])
    yield "chunks", index(large, [record(0, 1, 300000)], [0, 75728])
    yield "chunks-less", index(large, [record(0, 1, 300000)], [0])
    yield "chunks-more", index(large, [record(0, 1, 300000)], [0, 0, 0])
    yield "all", index(
        all_states,
        [record(0, 10, 6), record(0, 2, 7), record(0, 7, 2),
         record(2, 11, 1, same=True), alone],
        [22, 17, 18],
    )  # fmt: skip
    yield "records-less", index(f32, [], [20])
    yield "records-more", index(f32, [f32_delta, f32_delta], [20])
    yield "tuned-less", index(f32, [f32_delta], [20], tuned=60)
    yield "tuned-huge", index(f32, [f32_delta], [20], tuned=2**64 - 1)
    yield "magic", index(f32, [f32_delta], [20], magic=b"2")
    yield "frame-none", index(f32, [f32_delta], [20], packed=b"")
    yield "frame-size", index({}, [], [], packed=frame(b"x" * 10, 2**27))
    yield "frame-two", index({}, [], [], packed=frame(b"") + frame(b""))
    yield "frame-skippable", index({}, [], [], packed=b"P*M\x18\1\0\0\0x")
    yield "start-short", index({}, [], [], start=b"\2\0\0\0", tuned=4)
    yield "start-claim", index({}, [], [], start=b"\xff" * 16, tuned=16)
    yield "header-bad", index(
        {}, [], [], start=b"\2\0\0\0\0\0\0\0[]", tuned=10
    )
    yield "index-name", index({"__taumerge__": f32["a"]}, [alone], [20])
    yield "cut", good[:-9]
    yield "longer", good + b"\0"


GIVEN_HEADER, SEALED, APPLIED = 1, 2, 4

# The base of fuzz_container.
BASE_DATA = bytes((i * 37 + 11) % 256 for i in range(622))
BASE = {"a": (3, BASE_DATA[:16]), "b": (1, BASE_DATA[16:616]),
        "c": (2, BASE_DATA[616:])}  # fmt: skip
TYPES = {"a": ("F32", [2, 2]), "b": ("BF16", [300]), "c": ("F16", [3])}


def whole_record(state, name, tuned, chunks):
    """A record that is true; `chunks` are the tuned bytes of each."""
    code, data = BASE[name]
    if state == 1:
        head = struct.pack("<BB6sQQ", 1, 0, bytes(6), 0, 0) + bytes(16)
    else:
        probe = xxh3_64_intdigest(data)
        words = len(data) // (4 if code == 3 else 2)
        head = struct.pack("<BB6sQQ", state, code, bytes(6), words, probe)
        head += xxh3_128_digest(data)
    digests = b"".join(struct.pack("<Q", xxh3_64_intdigest(c)) for c in chunks)
    last = bytes(4) if state == 2 else xxh3_128_digest(digests)[:4]
    return head + xxh3_128_digest(tuned) + last


def chunk_of(coding, payload, tuned):
    sums = xxh3_64_intdigest(payload), xxh3_64_intdigest(tuned)
    head = struct.pack("<B3xIQ", coding, sums[0] % 2**32, sums[1])
    return head + payload


def whole_vector(flags, tensors, header=None):
    """An input of fuzz_container; `tensors` is {name: (state, tuned bytes,
    coded bytes)}."""
    at, tuned, records, lengths, blobs = 0, {}, [], [], b""
    for name, (state, data, coded) in tensors.items():
        tuned[name] = entry(*TYPES[name], at, at + len(data))
        at += len(data)
        records.append(whole_record(state, name, data, [data]))
        lengths += [len(coded)] if state != 2 else []
        blobs += coded
    index = vector_index(tuned, records, lengths)
    parts = struct.pack("<H", len(index)) + index
    if header is not None:
        parts += struct.pack("<H", len(header)) + header
    return bytes([flags]) + parts + blobs


def container_header(lengths, index, **changes):
    at, members = 0, {"__metadata__": {"format": "taumerge-vector"}}
    for name, length in [*lengths.items(), ("__taumerge__", index)]:
        members[name] = entry("U8", [length], at, at + length)
        at += length
    members.update(changes)
    text = json.dumps(members, separators=(",", ":"))
    return text.encode()


def containers():
    """Vectors that are whole, and some that nearly are."""
    rans, zstd, solo, raw = 1, 2, 3, 4
    all_flags = SEALED | APPLIED
    a, b, c = (data for _, data in BASE.values())
    other = noise(16, 1)
    states = struct.pack("<64I", *[1 << 15] * 64)
    no_change = b"\x80\1\2\0\1\x68" + states
    # A frame of 300 bytes 14, and with the sign as lowest bit 7 7 is 14 14.
    sevens, block = bytes([7]) * 600, struct.pack("<I", 1 | 2 | 300 << 3)[:3]
    plane = b"\x28\xb5\x2f\xfd\x60" + struct.pack("<H", 300 - 256) + block
    plane = struct.pack("<I", len(plane) + 1) + plane + b"\x0e"
    same = {"a": (2, a, b""), "b": (2, b, b""), "c": (2, c, b"")}
    yield "nothing", b""
    yield "same", whole_vector(all_flags, same)
    yield "equal", whole_vector(all_flags, {"a": (0, a, b""), "b": (0, b, b"")})
    raws = {"a": (1, other, chunk_of(raw, other, other))}
    yield "raw", whole_vector(all_flags, raws)
    yield "raw-spoilt", whole_vector(
        all_flags, {"a": (1, other, chunk_of(raw, a, other))}
    )
    rest = dict(raws, b=(0, b, chunk_of(rans, no_change, b)))
    yield "rans", whole_vector(all_flags, rest)
    rest["b"] = (1, sevens, chunk_of(solo, plane + plane, sevens))
    yield "solo", whole_vector(all_flags, rest)
    none = struct.pack("<II", 0, 0)
    rest["b"] = (0, b, chunk_of(zstd, none, b))
    rest["c"] = same["c"]
    yield "zstd", whole_vector(all_flags, rest)
    yield "zstd-alone", whole_vector(
        all_flags, {"b": (1, b, chunk_of(zstd, none, b))}
    )
    yield "coding", whole_vector(all_flags, {"a": (1, a, chunk_of(9, a, a))})
    yield "unsealed", whole_vector(0, rest)
    yield "cut", whole_vector(all_flags, rest)[:-20]
    length = len(whole_vector(0, raws)) - 3 - 32 + 16
    flags = GIVEN_HEADER | APPLIED
    for name, header in {
        "header": container_header({"a": 32}, length),
        "header-no-blob": container_header({}, length + 32),
        "header-short": container_header({"a": 31}, length + 1),
        "header-type": container_header(
            {"a": 32}, length, a=entry("I8", [32], 0, 32)
        ),
        "header-format": container_header({"a": 32}, length, __metadata__={}),
        "header-name": container_header({"z": 32}, length),
        "header-none": b"{}",
    }.items():
        yield name, whole_vector(flags, raws, header)


def recipe(rest, method="task_arithmetic", base="base_model: b\n"):
    """An input of fuzz_recipe without an override."""
    return f"merge_method: {method}\n{base}{rest}".encode()


def recipe_set(path, value):
    """One with an override."""
    text = recipe("models: [{model: a, parameters: &p {weight: 1}}]\n")
    return text + b"\0" + path + b"\0" + value


def recipes():
    model = "models: [{model: a, parameters: {weight: %s}}]\n"
    sliced = "slices:\n- sources:\n"
    for number in range(2):
        sliced += f"  - {{model: {'ab'[number]}, layer_range: [0, 2]}}\n"
    weight = "parameters: {weight: 1}\n"
    yield "nothing", b""
    yield "model", recipe(model % "1")
    yield "list", recipe("models:\n- model: a\n- model: c\n" + weight)
    yield "gradient", recipe(model % "[0, 0.5, 1e-3]")
    yield "filter", recipe(model % "{filter: mlp, value: [1, 2]}")
    yield "filters", recipe(
        model % "[{filter: mlp, value: 0x1f}, {filter: '*', value: 1:30}]"
    )
    yield "flags", recipe(model % "1" + "parameters: {normalize: [yes, 0]}\n")
    yield "choice", recipe(
        "models: [{model: a}]\nparameters: {weight: 1, scope: model}\n", "ties"
    )
    yield "no-number", recipe(model % "heavy")
    yield "no-value", recipe(model % "~")
    yield "nan", recipe(model % ".nan")
    yield "mixed", recipe(model % "[1, {value: 2}]")
    yield "linear", recipe("models: [{model: a}]\n" + weight, "linear")
    yield "passthrough", recipe("models: [{model: a}]\n", "passthrough", "")
    yield "slices", recipe(sliced + weight)
    yield "slice-base", recipe(
        sliced + "  base_model: a\n  parameters: {lambda: 2}\n" + weight
    )
    yield "modules", recipe(
        "modules: {default: {models: [{model: a}], parameters: {lambda: 3}}}\n"
        + weight
    )
    yield "reference", recipe(
        "models: [{model: {model: {path: o/n, revision: r}}}, {model: x@y}]\n"
        + weight
    )
    yield "lora", recipe("models: [{model: a+l}]\n" + weight)
    yield "output", recipe(
        model % "1"
        + "dtype: float32\nout_dtype: torch.bfloat16\n"
        + "tokenizer: {source: c}\nchat_template: chatml\n"
    )
    yield "jinja", recipe(
        model % "1" + 'chat_template: "{% for m in x %}\\n\u00e9{% endfor %}"\n'
    )
    yield "merge-key", recipe(
        "models:\n- {model: a, parameters: &p {weight: 1}}\n"
        "- {model: c, parameters: {<<: [*p, {density: 1}], weight: 2}}\n",
        "ties",
    )
    yield "alias-itself", b"a: &a [*a]\n"
    yield "duplicate", recipe("base_model: c\n" + model % "1")
    yield "documents", b"name: x\n---\n" + recipe(model % "1") + b"---\n"
    yield "mark", b"\xef\xbb\xbf" + recipe(model % "1")
    yield "tab", recipe("models:\n\t- model: a\n")
    yield "latin", recipe("models: [{model: ") + b"\xe9}]\n"
    yield "deep", recipe("models: " + "[" * 70)
    yield "tag", recipe(model % "!!int 3")
    yield "text", recipe("models: [{model: 'a b: #c', parameters: {weight: 1}}]\n")
    yield "set", recipe_set(b"lambda", b"0.5")
    yield "set-model", recipe_set(b"models.0.weight", b"[0, 1]")
    yield "set-key", recipe_set(b"dtype", b"float16")
    yield "set-beyond", recipe_set(b"models.1.weight", b"1")
    yield "set-dots", recipe_set(b"a..b", b"1")


def journal_record(payload, before=bytes(16), **changed):
    """A record of a journal, and its digest; some of its head changed."""
    head = {"magic": b"TMJRNL1\n", "number": 0, "kind": 1, "zero": 0}
    head = {**head, "length": len(payload), **changed}
    body = struct.pack("<8sQIIQ", *head.values()) + payload
    digest = xxh3_128_digest(before + xxh3_128_digest(body))
    record = body + digest
    return record + bytes(-len(record) % 4096), digest


def mark(*files, num_files=None, **changed):
    """A mark (src/mark.h) up to its files, each (number, from, to, tail)."""
    place = {"shard": 1, "position": 9000, "tensor": 7, "part": 1}
    place = {**place, "done": 5000, "read": 90, **changed}
    count = len(files) if num_files is None else num_files
    body = struct.pack("<7Q", *place.values(), count & (2**64 - 1))
    for number, begin, end, tail in files:
        body += struct.pack("<3Q", number, begin, end) + bytes(range(16))
        body += struct.pack("<Q", len(tail)) + tail
    return body


JOURNAL_HEAD = {
    "taumerge": "1", "journal": 1, "numerics": 1, "xxhash": 801,
    "zstd": 0, "begun": 1790000000, "command": "taumerge merge -o x",
    "directory": 77, "makes": 0, "seed": 0, "codec": 0,
    "recipe": {"method": "ties"},
    "inputs": [{"path": "a", "bytes": 1, "modified": "1.0", "header": "0"}],
    "bytes": 10000, "files": ["a.safetensors", "b/c.safetensors"],
    "plan": "0" * 32,
}  # fmt: skip


def kept(*marks, **changed):
    """The journal of a kept run; some of its head changed."""
    head = json.dumps({**JOURNAL_HEAD, **changed}).encode()
    text, digest = journal_record(head)
    for number, body in enumerate(marks, 1):
        more, digest = journal_record(body, digest, number=number, kind=2)
        text += more
    return text


def kept_runs():
    files = (0, 0, 4000, b""), (1, 96, 9000, b"tail" * 202)
    yield "kept", kept(mark(*files), mark(files[1], position=9500))
    yield "kept-none", kept()
    yield "kept-names", kept(files=["../a", "/b", "", 3, "x" * 300])
    yield "kept-begun", kept(begun=2**62, bytes=-1, files={"a": 1})
    yield "kept-number", journal_record(b"3")[0]
    yield "kept-open", journal_record(b'{"files": ["a"')[0]
    yield "mark-more-files", kept(mark(*files, num_files=-1))
    yield "mark-cut", kept(mark(*files)[:-1], mark(*files)[:50])
    yield "mark-before", kept(mark((0, 9, 8, b"")), mark((0, 0, 3, b"1234")))
    yield "mark-tail", kept(mark((0, 0, 2**64 - 1, bytes(4096))))


def journals():
    yield from kept_runs()
    one, digest = journal_record(b"payload")
    yield "nothing", b""
    yield "one", one
    yield "head-cut", one[:31]
    yield "head-only", one[:32]
    yield "padding-cut", one[:4095]
    yield "digest-cut", one[:54]
    yield "digest", one[:40] + bytes([one[40] ^ 4]) + one[41:]
    yield "two", one + journal_record(b"", digest, number=1)[0]
    yield "two-other-journal", one + journal_record(b"", number=1)[0]
    yield "number", one + journal_record(b"", digest, number=2)[0][:32]
    yield "full", journal_record(bytes(range(256)) * 16)[0]
    yield "full-block", journal_record(b"\xff" * (4096 - 48))[0]
    for name, changed in [
        ("first-1", {"number": 1}),
        ("magic", {"magic": b"TMJRNL2\n"}),
        ("zero", {"zero": 1}),
        ("length-long", {"length": 1 << 20}),
        ("length-most", {"length": 1 << 30}),
        ("length-more", {"length": (1 << 30) + 1}),
        ("length-overflow", {"length": (1 << 64) - 48}),
        ("length-huge", {"length": (1 << 64) - 1}),
    ]:
        # As far as it is looked at.
        yield name, journal_record(b"", **changed)[0][:48]


def main():
    for folder, seeds in [
        ("header", headers()),
        ("index", indices()),
        ("command_line", command_lines()),
        ("chunk", chunks()),
        ("manifest", manifests()),
        ("vector_index", vector_indices()),
        ("recipe", recipes()),
        ("journal", journals()),
        ("container", containers()),
    ]:
        path = CORPUS / folder
        path.mkdir(parents=True, exist_ok=True)
        for old in path.glob("seed-*"):
            old.unlink()
        for name, data in seeds:
            (path / f"seed-{name}").write_bytes(data)


if __name__ == "__main__":
    main()
