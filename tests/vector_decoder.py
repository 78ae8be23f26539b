"""Restores a tuned checkpoint from its base and a stored vector.

    python vector_decoder.py BASE VECTOR OUT

Written from docs/format.md alone, to show that the page is enough. Slow, and
all in memory; but every digest, checksum and size on the page is checked.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
import xxhash
import zstandard

import reference  # the conversions of docs/numerics.md
import vector_rans

CHUNK = 1 << 18
FLOATS = [0, "BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2", "C64"]
CODES = {name: i for i, name in enumerate([*FLOATS, "I16", "I32", "I64"])}
CODES.update({"U16": 8, "U32": 9, "U64": 10})
WORD = [np.dtype(f"<u{n}") for n in (1, 2, 2, 4, 8, 1, 1, 4, 2, 4, 8, 1)]
hash128, hash64 = xxhash.xxh3_128_digest, xxhash.xxh3_64_intdigest


def unzstd(frame, size, window):
    info = zstandard.get_frame_parameters(frame)
    assert info.content_size == size and info.window_size <= window, "frame"
    unpacker = zstandard.ZstdDecompressor()
    return unpacker.decompress(frame, allow_extra_data=False)


def tensors(file):
    """(name, type, code, words) in the order of the data."""
    begin = 8 + int.from_bytes(file[:8], "little")
    found = json.loads(bytes(file[8:begin]))
    found.pop("__metadata__", None)
    at = {n: [begin + o for o in found[n]["data_offsets"]] for n in found}
    for n in sorted(found, key=lambda n: (at[n], n.encode())):
        code = CODES.get(found[n]["dtype"], 11)
        yield n, found[n], code, file[slice(*at[n])].view(WORD[code])


def planes(payload, words):
    """Fills `words` from their planes."""
    at = 0
    for plane in words.view(np.uint8).reshape(len(words), -1).T:
        (n,) = struct.unpack_from("<I", payload, at)
        data, at = payload[at + 4 : at + 4 + n], at + 4 + n
        if n > 0:
            data = data if n == len(plane) else unzstd(data, len(plane), CHUNK)
            plane[:] = np.frombuffer(data, np.uint8)
    assert at == len(payload), "the end of the planes"
    return words


def read_chunk(chunk, base, words, code):
    """Fills `words`; `base` has as many, or is None."""
    if not len(chunk) and base is not None:
        words[:] = base
        return
    coding, zeros, sum32, sum64 = struct.unpack_from("<B3sIQ", chunk)
    payload, signed = chunk[16:], code < len(FLOATS)
    top = 8 * words.itemsize - 1
    assert len(payload) <= words.nbytes, "a payload's length"
    assert sum32 == hash64(payload) & 0xFFFFFFFF, "a payload's checksum"
    assert zeros == bytes(3) and 1 <= coding <= 4, f"coding {coding}"
    assert coding > 2 or base is not None, "a difference without a base"

    def o(u):
        return np.where(u >> top & signed, u ^ u.dtype.type((1 << top) - 1), u)

    if coding == 4:
        words[:] = payload.view(words.dtype)
    elif coding == 3:
        u = planes(payload, words)
        words[:] = u >> 1 | u << top if signed else u
    else:
        if coding == 1:
            d = vector_rans.decode(payload, base, code)
        else:
            z = planes(payload, words)
            least = (z == 1).astype(z.dtype) << top
            d = np.where(z & 1, -(z >> 1 | least), z >> 1)
        words[:] = o(o(base) + np.where(base >> top & signed, -d, d))
    assert sum64 == hash64(words), "a chunk's words"


def find_base(known, kind, number, probe, digest, code, wanted):
    """A delta's base words, by what its record says: names do not matter."""
    for base in known.get((kind, number), []):
        used = base[:wanted]
        octets = used.view(np.uint8)
        at = max(len(octets) - 4096, 0) // 2
        found = hash64(octets[at : at + 4096]), hash128(octets)
        if found == (probe, digest):
            if kind != code:
                assert max(kind, code) <= 4, "types that do not convert"
                used = reference.widen(used, FLOATS[kind], "F64")
                used = reference.narrow(used, "F64", FLOATS[code])
            return np.pad(used, (0, wanted - len(used)))
    raise ValueError("another base")


def read_shard(file, known):
    """The tuned shard file that a shard of the vector holds."""
    blobs = {}
    for name, entry, _, blob in tensors(file):
        assert (entry["dtype"], entry["shape"]) == ("U8", [len(blob)]), name
        blobs[name] = blob
    index = blobs.pop("__taumerge__")
    magic, T, C, size, H, Z = struct.unpack_from("<8sIIQII", index)
    assert magic == b"TMINDEX1", "the index's version"
    assert hash128(index[:-16]) == index[-16:].tobytes(), "the index's digest"
    assert len(index) == 32 + 60 * T + 4 * C + Z + 16, "the index's length"
    at = 32 + 60 * T
    lengths = iter(index[at : at + 4 * C].view("<u4").tolist())
    out = np.zeros(size, np.uint8)
    out[:H] = np.frombuffer(unzstd(index[-16 - Z : -16], H, 1 << 62), np.uint8)
    names = list(tensors(out))
    assert len(names) == len(blobs) == T, "the number of tensors"
    nbytes = sum(words.nbytes for *_, words in names)
    assert H == 8 + int.from_bytes(out[:8], "little") == size - nbytes, "H"
    for i, (name, entry, code, words) in enumerate(names):
        record = struct.unpack_from("<BB6sQQ16s16s4s", index, 32 + 60 * i)
        state, kind, zeros, *of_base, digest, ordered = record
        blob = blobs[name]
        assert state <= 2 and zeros == bytes(6), f"{name}: state {state}"
        if state == 1:
            base = None
            assert (kind, *of_base) == (0, 0, 0, bytes(16)), name
        else:
            base = find_base(known, kind, *of_base, code, len(words))
        if state == 2:
            words[:] = base
        sums = b""
        for j in range(0, 0 if state == 2 else len(words), CHUNK):
            length = next(lengths)
            assert length <= len(blob), f"{name}: a chunk's length"
            chunk, blob = np.split(blob, [length])
            part = None if base is None else base[j : j + CHUNK]
            read_chunk(chunk, part, words[j : j + CHUNK], code)
            sums += struct.pack("<Q", hash64(words[j : j + CHUNK]))
        sums = bytes(4) if state == 2 else hash128(sums)[:4]
        assert not len(blob) and hash128(words) == digest, name
        assert sums == ordered, f"{name}: its chunks' digests"
    assert not list(lengths), "chunks of no tensor"
    return out


def read_file(path, entry):
    file = np.fromfile(path, np.uint8)
    assert len(file) == entry["bytes"], path
    H = 8 + int.from_bytes(file[:8], "little")
    parts = {"": file, "header_": file[:H], "data_": file[H:]}
    for key in ("header_", "data_") if "name" in entry else [""]:
        assert hash128(parts[key]).hex() == entry[key + "xxh128"], path
    return file


def restore(base, vector, out):
    base, vector, out = Path(base), Path(vector), Path(out)
    text = (vector / "vector.json").read_bytes()
    own = b'"xxh128": "%s"\n}\n' % hash128(text[:-47]).hex().encode()
    assert text[-47:] == own, "the manifest's own digest"
    manifest, known = json.loads(text), {}
    assert manifest["format"] == "taumerge-vector" and manifest["version"] == 1
    shards, files = manifest["shards"], manifest["files"]
    names = [s[key] for s in shards for key in ("file", "name")]
    for name in [*names, *files]:
        assert not {"", ".", ".."} & set(name.split("/")), name
    for path in base.glob("*.safetensors") if base.is_dir() else [base]:
        for _, _, code, words in tensors(np.memmap(path, np.uint8, "r")):
            known.setdefault((code, len(words)), []).append(words)
    found = {n: read_file(vector / "files" / n, e) for n, e in files.items()}
    for s in shards:
        file = read_file(vector / s["file"], s)
        found[s["name"]] = read_shard(file, known)
    single = manifest["tuned"]["single_file"]
    assert not single or len(found) == 1, "more than a single file"
    for name, data in found.items():
        path = out if single else out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data.tofile(path)


if __name__ == "__main__":
    restore(*sys.argv[1:])
