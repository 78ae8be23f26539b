"""The fuzzers' inputs as ordinary tests.

tests/fuzz/replay_* run the harnesses over tests/fuzz/corpus; how to search
for more is said in tests/fuzz/local.mk.
"""

import subprocess
import sys

import pytest

import program

FUZZ = program.TOP / "tests" / "fuzz"
HARNESSES = ["header", "index", "command_line", "chunk"]
HARNESSES += ["manifest", "vector_index", "rans", "recipe", "journal"]
HARNESSES += ["container"]


@pytest.mark.parametrize("harness", HARNESSES)
def test_corpus(harness):
    replay = program.BUILD / "tests" / "fuzz" / f"replay_{harness}"
    if not replay.exists():
        pytest.skip(f"{replay.name} is not built")
    corpus = FUZZ / "corpus" / harness
    done = subprocess.run(
        [replay, corpus],
        env=program.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=program.PATIENCE,
    )
    text = done.stdout.decode(errors="replace")
    # The last file named is the one at fault.
    program.check_sanitizers(text)
    assert done.returncode == 0, text[-2000:]
    assert text.endswith(f"\n{len(list(corpus.iterdir()))} inputs\n"), text


def test_corpus_is_small():
    for harness in HARNESSES:
        files = (FUZZ / "corpus" / harness).iterdir()
        sizes = [f.stat().st_size for f in files]
        assert len(sizes) < 200 and sum(sizes) < 150_000, harness


def test_seeds_are_what_the_script_makes(tmp_path):
    made = "import make_corpus as m, pathlib, sys;"
    made += "m.CORPUS = pathlib.Path(sys.argv[1]); m.main()"
    subprocess.run(
        [sys.executable, "-c", made, tmp_path], cwd=FUZZ, check=True,
        env=program.environment(PYTHONDONTWRITEBYTECODE=1),
    )  # fmt: skip

    def seeds(path):
        found = path.glob("*/seed-*")
        return {f.relative_to(path): f.read_bytes() for f in found}

    assert seeds(tmp_path) == seeds(FUZZ / "corpus")
