"""The rans coding of docs/format.md, decoded: a part of vector_decoder.py."""

import struct
from itertools import count
from math import isqrt

import numpy as np

T, L = 1 << 11, 1 << 15
EXPONENT = {1: (7, 255), 2: (10, 31), 3: (23, 255)}  # shift and mask


def make_buckets(bits):
    """Each one's (least value, raw bits); groups: (first, how many, half)."""
    K, B = (5, 3) if bits == 16 else (3, 2)
    buckets, groups = [(0, 0)], []
    for k in range(bits):
        r = k - B if k >= K else 0
        w = max(1 << k - r >> 1, 1)
        for half in range(2 if k else 1):
            groups.append((len(buckets), w, half))
            buckets += [((1 << k) + (half * w + i << r), r) for i in range(w)]
    return np.array(buckets), groups


def read_table(take, groups, tokens):
    """The token, its frequency, and s - cum for each s mod T."""
    q, length, number = [], 12, take(6)
    w = [1, *(g[1] for g in groups[:number] for _ in "-+")]
    assert len(w) == 1 + 2 * number, "the number of groups"
    for _ in w:
        k = next(k for k in count() if take(1))
        u = (1 << k | take(k)) - 1
        length += u >> 1 ^ -(u & 1)
        assert 0 <= length <= 14, "a mass"
        h = max(min(length - 1, 2), 0)
        q.append(length and (1 << h | take(h)) << length - 1 - h)
    assert any(q), "masses that are all 0"
    f = [m and max(n, m * T // sum(q)) for m, n in zip(q, w)]
    f[f.index(max(f))] += max(T - sum(f), 0)
    while sum(f) > T:
        room = [a - b for a, b in zip(f, w)]
        f[room.index(max(room))] -= min(max(room), sum(f) - T)
    out = np.zeros(tokens, np.int64)
    out[0] = f[0]
    near = [0, *f[1:], 0, 0]  # i - 1 is the group before, i + 3 that behind
    for i, (now, n) in enumerate(zip(f[1:], w[1:])):
        (first, _, half), D = groups[i // 2], now << 14
        left = isqrt(D * (near[i - 1] << (14 if half else 15) or D))
        right = isqrt(D * (near[i + 3] << (13 if half else 14) or D // 4))
        v = [left * (2 * (n - x) - 1) + right * (2 * x + 1) for x in range(n)]
        share = [now and 1 + (now - n) * a // sum(v) for a in v]
        share[0] += now - sum(share)
        out[2 * first - 1 + i % 2 :][: 2 * n : 2] = share
    token = np.repeat(np.arange(tokens), out)
    return token, out[token], np.arange(T) - (out.cumsum() - out)[token]


def decode(payload, base, code):
    """The differences, one for each base word, that a payload holds."""
    top, c, n = struct.unpack_from("<BBH", payload)
    zero, c = c >> 7, c & 127
    assert 1 <= c <= 16, "the number of classes"
    states = payload[4 + n : 260 + n].view("<u4").astype(np.int64)
    stream, used = payload[260 + n :].view("<u2"), 0
    assert ((L <= states) & (states < L << 16)).all(), "the states"
    bits = np.unpackbits(payload[4 : 4 + n], bitorder="little")
    bits = iter(bits.tolist())

    def take(n):
        return sum(next(bits) << i for i in range(n))

    def read(count):
        nonlocal used
        used += count
        return stream[used - count : used]

    def refill(x):
        short = np.flatnonzero(x < L)
        x[short] = x[short] << 16 | read(len(short))
        return x

    buckets, groups = make_buckets(8 * base.itemsize)
    tables = np.zeros((c << zero, 3, T), np.int64)
    for table in tables:
        if take(1):
            table[:] = read_table(take, groups, 2 * len(buckets) - 1)
    assert not any(bits), "bits behind the tables"

    shift, mask = EXPONENT[code]
    context = np.clip(top - (base.astype(np.int64) >> shift & mask), 0, c - 1)
    order = np.arange(32)
    if base.itemsize == 4:
        order = order // 2 + order % 2 * 16
    d, quiet = np.zeros(len(base), np.int64), 0
    for g in range(0, len(base), 32):
        x = states[:32] if g % 64 == 0 else states[32:]
        live = g + order < len(base)
        at, y = g + order[live], x[live]
        token, f, low = tables[context[at] + quiet, :, y % T].T
        assert f.all(), "a context without a table"
        y = refill(f * (y >> 11) + low)
        a, r = buckets[(token + 1) // 2].T
        if r.any():
            a = a + ((y & (1 << r % 16) - 1) << r // 16 * 16)
            y = refill(y >> r % 16)
            a[r >= 16] += read(np.count_nonzero(r >= 16))
        x[live], d[at] = y, np.where(token % 2, -a, a)
        quiet = 0 if token.any() else c * zero
    assert (states == L).all() and used == len(stream), "the stream's end"
    return d.astype(base.dtype)
