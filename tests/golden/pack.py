#!/usr/bin/env python3
"""pack.py DIRECTORY: makes mergekit.tar.xz of a directory that was unpacked
from it and changed. The same files give the same archive."""

import io
import lzma
import sys
import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).with_name("mergekit.tar.xz")

# Most of it is F32, so every fourth byte is of a kind.
FILTER = {
    "id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME,
    "dict_size": 1 << 24, "lc": 2, "lp": 2, "pb": 2,
}  # fmt: skip


def pack(top):
    files = [p for p in top.rglob("*") if p.is_file()]
    names = sorted(str(p.relative_to(top)) for p in files)
    names.sort(key=lambda name: name != "index.json")  # which is read alone
    out = io.BytesIO()
    with tarfile.open(None, "w", out, format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            data = (top / name).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return lzma.compress(out.getvalue(), filters=[FILTER])


if __name__ == "__main__":
    ARCHIVE.write_bytes(pack(Path(sys.argv[1])))
