"""Restores a checkpoint: python vector_decoder.py BASE VECTOR OUT

Written from docs/format.md alone, to show that it is enough. Slow, in memory.
"""

import json
import struct
import sys
from math import isqrt
from pathlib import Path

import numpy as np
from xxhash import xxh3_64_intdigest as hash64, xxh3_128_digest as hash128
from zstandard import decompress as unzstd

import reference  # the conversions of docs/numerics.md

CHUNK = 1 << 18
TYPES = "BF16 F16 F32 F64 F8_E4M3 F8_E5M2 C64 I16 I32 I64 U16 U32 U64".split()
CODES = dict(zip(TYPES, [*range(1, 11), 8, 9, 10]))
WORD = [f"<u{n}" for n in (1, 2, 2, 4, 8, 1, 1, 4, 2, 4, 8, 1)]
T, L = 1 << 11, 1 << 15


def tensors(file):
    """(name, type, code, words) in the order of the data."""
    begin = 8 + int.from_bytes(file[:8], "little")
    found = json.loads(bytes(file[8:begin]))
    found.pop("__metadata__", None)
    at = {n: [begin + o for o in found[n]["data_offsets"]] for n in found}
    for n in sorted(found, key=lambda n: (at[n], n.encode())):
        code = CODES.get(found[n]["dtype"], 11)
        yield n, found[n], code, file[slice(*at[n])].view(WORD[code])


def read_table(take, w):
    """For each s mod T: its token, the token's f, and s - cum."""
    q, length, w = [], 12, w[: 1 + 2 * take(6)]
    for _ in w:
        k = next(k for k in range(8) if take(1))
        u = (1 << k | take(k)) - 1
        length += u >> 1 ^ -(u & 1)
        h = min(length - 1, 2)
        q.append(length and (1 << h | take(h)) << length - 1 - h)
    f = [m and max(n, m * T // sum(q)) for m, n in zip(q, w)]
    f[f.index(max(f))] += max(T - sum(f), 0)
    while sum(f) > T:
        room = [a - b for a, b in zip(f, w)]
        f[room.index(max(room))] -= min(max(room), sum(f) - T)
    near, shares = [0, 0, *f[1:], 0, 0], ([], [])
    for i, (now, n) in enumerate(zip(f[1:], w[1:])):
        half, D, x = i // 2 % 2, now << 14, np.arange(n)
        left = isqrt((near[i] << 14 + half or D) * D)
        right = isqrt(D * (near[i + 4] << 13 + half or D // 4))
        v = left * (2 * (n - x) - 1) + right * (2 * x + 1)
        share = 1 + (now - n) * v // v.sum() if now else 0 * x
        share[0] += now - share.sum()
        shares[i % 2].extend(share)
    f = np.append(f[0], np.array(shares, int).T)
    token = np.repeat(np.arange(len(f)), f)
    return token, f[token], np.arange(T) - (f.cumsum() - f)[token]


def unrans(payload, base, code):
    """The differences, one for each base word, that a payload holds."""
    e, c, n = struct.unpack_from("<BBH", payload)
    zero, c, size = c >> 7, c & 127, 8 * base.itemsize
    bits = iter(np.unpackbits(payload[4 : 4 + n], bitorder="little").tolist())
    states = payload[4 + n : 260 + n].view("<u4").astype(int).reshape(2, 32)
    stream = iter(payload[260 + n :].view("<u2").tolist())

    def take(n):
        return sum(next(bits) << i for i in range(n))

    def pull(x, where):
        x[where] = x[where] << 16 | np.fromiter(stream, int, where.sum())

    K, B = (5, 3) if size == 16 else (3, 2)
    buckets, w = [(0, 0), (1, 0)], [1, 1, 1]  # (least a, r); tokens of masses
    for k in range(1, size):
        r = k - B if k >= K else 0
        buckets += [(a, r) for a in range(1 << k, 2 << k, 1 << r)]
        w += [1 << k - r - 1] * 4  # two groups, two signs
    tables = np.zeros((c << zero, T, 5), int)
    for table in tables:
        if take(1):
            table.T[:3] = read_table(take, w)
            table[:, 3:] = np.array(buckets)[(table[:, 0] + 1) // 2]

    exponent = (base & (1 << size - 1) - 1) >> (7, 10, 23)[code - 1]
    context = np.clip(e - exponent.astype(int), 0, c - 1)
    order = np.arange(32).reshape(size // 16, -1).T.ravel()
    d, quiet = np.zeros_like(base), 0
    for g in range(0, len(base), 32):
        x, live = states[g // 32 % 2], g + order < len(base)
        at, y = g + order[live], x[live]
        token, f, low, a, r = tables[context[at] + quiet, y % T].T
        y = f * (y >> 11) + low
        pull(y, y < L)
        if r.any():
            raw = y & (1 << r % 16) - 1
            y >>= r % 16
            pull(y, y < L)
            pull(raw, r >= 16)
            a = a + raw
        x[live], d[at] = y, np.where(token % 2, -a, a)
        quiet = 0 if token.any() else c * zero
    assert (states == L).all() and not list(stream), "a stream's end"
    return d


def read_chunk(chunk, words, code):
    """Turns base words into tuned ones."""
    coding, sum32, sum64 = struct.unpack_from("<B3xIQ", chunk)
    base, payload, top = words.copy(), chunk[16:], 8 * words.itemsize - 1
    assert sum32 == hash64(payload) & 0xFFFFFFFF, "a payload's checksum"
    flip = (1 << top) - 1 if code < 8 else 0  # of floats
    if coding == 1:
        d = unrans(payload, base, code)
    elif coding == 4:
        words[:] = payload.view(words.dtype)
    else:
        for plane in words.view(np.uint8).reshape(len(words), -1).T:
            n = int.from_bytes(payload[:4], "little")
            data, payload = np.split(payload[4:], [n])
            if 0 < n < len(plane):
                data = np.frombuffer(unzstd(data), np.uint8)
            plane[:] = data if n else 0
    if coding == 3 and flip:
        words[:] = words >> 1 | words << top
    if coding == 2:
        d = np.where(words & 1, -(words >> 1), words >> 1)
        d[words == 1] = 1 << top
    if coding <= 2:
        d = np.where(base >> top & (flip > 0), -d, d)
        d += base ^ (base >> top) * flip
        words[:] = d ^ (d >> top) * flip
    assert sum64 == hash64(words), "a chunk's words"


def read_shard(file, known):
    """The tuned shard file that a shard of the vector holds."""
    blobs = {name: blob for name, _, _, blob in tensors(file)}
    index = blobs.pop("__taumerge__")
    magic, count, C, size, H, Z = struct.unpack_from("<8sIIQII", index)
    assert magic == b"TMINDEX1", f"an index of version {magic}"
    assert hash128(index[:-16]) == index[-16:].tobytes(), "the index's digest"
    out = np.zeros(size, np.uint8)
    out[:H] = np.frombuffer(unzstd(index[-16 - Z : -16]), np.uint8)
    lengths = iter(index[32 + 60 * count :][: 4 * C].view("<u4"))
    for i, (name, _, code, words) in enumerate(tensors(out)):
        record = struct.unpack_from("<BB6xQQ16s16s4s", index, 32 + 60 * i)
        state, kind, number, probe, used, digest, ordered = record
        if state != 1:
            bases = [base[: len(words)] for base in known[kind, number]]
            base = next(base for base in bases if hash128(base) == used)
            at = max(base.nbytes - 4096, 0) // 2
            assert hash64(base.view(np.uint8)[at:][:4096]) == probe, name
            if kind != code:
                wide = reference.widen(base, TYPES[kind - 1], "F64")
                base = reference.narrow(wide, "F64", TYPES[code - 1])
            words[: len(base)] = base
        sums, blob = b"", blobs[name]
        for j in range(0, len(words) if state != 2 else 0, CHUNK):
            part = words[j : j + CHUNK]
            chunk, blob = np.split(blob, [next(lengths)])
            assert state == 0 or chunk[0] > 2, "a chunk needs a base"
            if len(chunk):
                read_chunk(chunk, part, code)
            sums += struct.pack("<Q", hash64(part))
        sums = hash128(sums)[:4] if state != 2 else bytes(4)
        assert hash128(words) == digest and sums == ordered, name
    return out


def restore(base, vector, out):
    text = (vector / "vector.json").read_bytes()
    manifest, known, found = json.loads(text), {}, {}
    assert manifest["xxh128"] == hash128(text[:-47]).hex(), "the manifest"
    for path in base.glob("*.safetensors") if base.is_dir() else [base]:
        for _, _, code, words in tensors(np.memmap(path, np.uint8, "r")):
            known.setdefault((code, len(words)), []).append(words)
    for name, entry in manifest["files"].items():
        found[name] = np.fromfile(vector / "files" / name, np.uint8)
        assert hash128(found[name]).hex() == entry["xxh128"], name
    for entry in manifest["shards"]:
        file = np.fromfile(vector / entry["file"], np.uint8)
        H = 8 + int.from_bytes(file[:8], "little")
        assert hash128(file[:H]).hex() == entry["header_xxh128"], entry
        assert hash128(file[H:]).hex() == entry["data_xxh128"], entry
        found[entry["name"]] = read_shard(file, known)
    for name, data in found.items():
        path = out if manifest["tuned"]["single_file"] else out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data.tofile(path)


if __name__ == "__main__":
    restore(*map(Path, sys.argv[1:]))
