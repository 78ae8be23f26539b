"""Recipes give what mergekit makes of them, and are refused where it
refuses them or should (tests/golden/README.md)."""

import re
import shutil

import pytest

import checkpoints
import golden_check
import vectors
from program import (
    DATA,
    NO_INPUT,
    USAGE,
    assert_refused,
    errors,
    run,
    smallest_memory,
    some,
)

CASES = {case["name"]: case for case in golden_check.cases()}

# The base has rows that belong to no token: mergekit drops them.
PADDED = "tokenizer_base_drops_padding"

# What is not done yet: putting the vocabularies of the models in one order,
# and choosing a chat template.
LATER = {
    n: "tokenizer|vocabular|embed_tokens"
    for n, c in CASES.items()
    if "tokenizer" in c["needs"] and n != PADDED
}
LATER["chat_template_auto"] = "chat template 'auto'"

EXACT = [
    n for n, c in CASES.items()
    if c["kind"] == "exact" and n not in LATER and n != PADDED
]  # fmt: skip
RANDOM = [n for n, c in CASES.items() if c["kind"] == "random"]
REFUSED = [n for n, c in CASES.items() if c["kind"] == "refused"]

# Where it is not the recipe that is wrong.
STATUS = {
    "refused_missing_model": (NO_INPUT,),
    "refused_shapes": (DATA,),
    "refused_vocab_mismatch": (DATA,),
    "refused_layer_range_too_long": (USAGE, DATA),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The archive, unpacked; recipes name models relative to it."""
    path = tmp_path_factory.mktemp("golden")
    golden_check.unpack(path)
    before = checkpoints.tree_hash(path)
    yield path
    shutil.rmtree(path / "out", ignore_errors=True)
    assert checkpoints.tree_hash(path) == before, "inputs were written to"


def args_of(case, out):
    lax = ["--lax"] if "lax" in case["needs"] else []
    return ["merge", case["recipe"], "-o", out, *lax]


@pytest.fixture(scope="module")
def merge(root):
    """merge(name): the output of a case, which is made once."""

    def made(name):
        out = root / "out" / name
        if not out.exists():
            out.parent.mkdir(exist_ok=True)
            result = run(*args_of(CASES[name], out), cwd=root)
            assert result.status == 0, result.err
        return out

    return made


@pytest.mark.parametrize("name", EXACT + RANDOM)
def test_values(root, merge, name):
    got = checkpoints.load(merge(name))
    bad = golden_check.complaints(root, CASES[name], got)
    assert not bad, "\n".join(bad[:20])


@pytest.mark.parametrize("name", EXACT + RANDOM)
def test_files_beside_the_weights(root, merge, name):
    """config.json is the base's, but for the number of layers."""
    case, out = CASES[name], merge(name)
    first = root / (case["base"] or case["models"][0])
    config = (first / "config.json").read_text()
    layers = f'"num_hidden_layers": {case["layers"]}'
    config = re.sub(r'"num_hidden_layers": \d+', layers, config)
    assert (out / "config.json").read_text() == config
    for file, text in case.get("side_files", {}).items():
        assert compact((out / file).read_text()) == compact(text)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (out / file).read_bytes() == (first / file).read_bytes()


def compact(template):
    """A template without white space and without sums of two texts."""
    return "".join(template.split()).replace("'+'", "")


@pytest.mark.parametrize("name", some(EXACT + RANDOM))
def test_little_memory_and_the_other_engine(root, merge, tmp_path, name):
    """The same bytes."""
    args = [*args_of(CASES[name], tmp_path / "out"), "--io", "threads"]
    env = {"TAUMERGE_CPU": "portable"}
    memory = smallest_memory(args, cwd=root)
    result = run(*args, "--memory", memory, cwd=root, env=env)
    assert result.status == 0, result.err
    assert weights(tmp_path / "out") == weights(merge(name))


@pytest.mark.parametrize("name", some(EXACT + RANDOM))
def test_the_recipe_as_it_is_understood(root, merge, tmp_path, name):
    """Printed and read again it means the same, to the byte, and is printed
    the same."""
    args = [CASES[name]["recipe"], *args_of(CASES[name], None)[4:]]
    printed = run("plan", *args, "--print-recipe", cwd=root)
    assert printed.status == 0, printed.err
    recipe = tmp_path / "printed.yaml"
    recipe.write_text(printed.out)
    result = run("merge", recipe, "-o", tmp_path / "out", cwd=root)
    assert result.status == 0, (result.err, printed.out)
    assert weights(tmp_path / "out") == weights(merge(name)), printed.out
    again = run("plan", recipe, "--print-recipe", cwd=root)
    assert again.out == printed.out


def weights(path):
    """{name: digest} of the weight files and their index."""
    files = list(path.glob("*.safetensors*"))
    assert files
    return {f.name: checkpoints.digest(f.read_bytes()) for f in files}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(root, tmp_path, name):
    case, out = CASES[name], tmp_path / "out"
    result = run(*args_of(case, out), cwd=root)
    if result.status == 0 and case.get("lenient"):
        return
    assert_refused(result, STATUS.get(name, (USAGE,)), out)
    assert errors(result)
    for line in errors(result):
        assert case["recipe"] in line or "models/" in line, line
    assert checkpoints.tree(tmp_path) == {}


@pytest.mark.parametrize("name", LATER)
def test_what_is_not_done_yet_is_refused(root, tmp_path, name):
    """And said, before anything is written."""
    case, out = CASES[name], tmp_path / "out"
    result = run(*args_of(case, out), cwd=root)
    assert_refused(result, (USAGE, DATA), out)
    assert re.search(LATER[name], result.err)


def test_rows_of_no_token_stay(root, merge):
    """Nothing is dropped; what mergekit keeps is the same."""
    case, out = CASES[PADDED], merge(PADDED)
    got = checkpoints.load(out)
    for name, want in case["tensors"].items():
        if got[name].shape != want["shape"]:
            assert got[name].shape[0] == 128
            got[name] = vectors.cut(got[name], want["shape"][0])
    assert golden_check.complaints(root, case, got) == []


LAX = [n for n, c in CASES.items() if "lax" in c["needs"]]


@pytest.mark.parametrize("name", LAX)
def test_unknown_keys(root, merge, tmp_path, name):
    """Without --lax they are errors with their places; with it warnings."""
    case, out = CASES[name], tmp_path / "out"
    result = run("merge", case["recipe"], "-o", out, cwd=root)
    assert_refused(result, USAGE, out)
    lines = (root / case["recipe"]).read_text().splitlines()
    for key in ("dype", "select_topk"):
        (at,) = [i for i, t in enumerate(lines, 1) if t.strip().startswith(key)]
        place = f"{case['recipe']}:{at}:"
        assert any(
            place in e and f"'{key}'" in e for e in errors(result)
        ), (key, result.err)
    assert "'dtype'" in result.err  # what dype was to be
    warned = run(*args_of(case, tmp_path / "lax"), cwd=root)
    assert warned.status == 0 and "warning: " in warned.err
    for key in ("dype", "select_topk", "smooth", "allow_negative_weights"):
        assert f"'{key}'" in warned.err


def test_every_case_is_run():
    run_here = EXACT + RANDOM + REFUSED + [*LATER, PADDED]
    assert sorted(run_here) == sorted(CASES) and len(CASES) > 130
