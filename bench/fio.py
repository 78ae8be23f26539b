# SPDX-License-Identifier: Apache-2.0
"""The disk's own pace: what fio takes to move the same bytes.

Every file is read by a job of its own and the output written by another, all
at once, past the page cache, with an fsync at the end of the output. fio
lays the output out in advance (fallocate), as it does by default and as a
merge does too.
"""

import json
import os
import re
import shutil
from collections import namedtuple

from common import Trouble, remove, run_well

Setting = namedtuple("Setting", "block depth")


def parse_setting(text):
    match = re.fullmatch(r"(\d+[kKmM]):(\d+)", text)
    if match is None:
        raise ValueError(f"not BLOCK:DEPTH, as 1M:16: {text}")
    return Setting(match[1], int(match[2]))


def setting_text(setting):
    return f"fio {setting.block} x {setting.depth}"


def check():
    if shutil.which("fio") is None:
        raise Trouble("fio is not there: install the package of that name")


def job(name, path, kind, size, setting, engine):
    return [
        f"--name={name}", f"--filename={path}", f"--rw={kind}",
        f"--size={size}", f"--bs={setting.block}",
        f"--iodepth={setting.depth}", f"--ioengine={engine}", "--direct=1",
        "--thread=1",
    ]  # fmt: skip


def move(inputs, out, out_bytes, setting, engine="io_uring",
         read_bytes=None):  # fmt: skip
    """Reads the inputs (`read_bytes` of each, or all) and writes `out`;
    seconds, by fio's own clock.

    The clock of the longest job leaves out what fio takes to start and to
    report, which no disk asks for.
    """
    argv = ["fio", "--output-format=json"]
    sizes = [read_bytes or os.path.getsize(path) for path in inputs]
    for i, (path, size) in enumerate(zip(inputs, sizes)):
        argv += job(f"read{i}", path, "read", size, setting, engine)
    if out is not None:
        remove(out)
        argv += job("write", out, "write", out_bytes, setting, engine)
        argv += ["--end_fsync=1"]
    done = run_well(*argv)
    # Warnings may stand before the first brace.
    jobs = json.loads(done.out[done.out.index("{") :])["jobs"]
    for j in jobs:
        if j["error"] != 0:
            raise Trouble(f"fio: {j['jobname']}: error {j['error']}")
    moved = sum(j["read"]["io_bytes"] + j["write"]["io_bytes"] for j in jobs)
    wanted = sum(sizes) + (out_bytes if out else 0)
    if moved != wanted:
        raise Trouble(f"fio moved {moved} bytes and not {wanted}")
    if out is not None:
        remove(out)
    return max(j["job_runtime"] for j in jobs) / 1000
