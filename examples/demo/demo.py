#!/usr/bin/env python3
"""What taumerge is for, in half a minute: ./bootstrap demo runs this.

Trains a small network and three fine-tunes of it, saves them as checkpoints
under demo/, and lets taumerge add the fine-tunes up and take one away.
"""

import argparse
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

# The matrices are small: more threads gain nothing, and lose a lot where
# other programs want the processors too.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402

import digits  # noqa: E402
import network  # noqa: E402

TOP = Path(__file__).resolve().parents[2]
OUT = Path("demo")  # seen from TOP, so that commands read as they are typed
BASE = OUT / "base"
VECTORS = OUT / "vectors"

EXAMPLES = 15  # of each task that the base has seen; a fine-tune sees 1000
BASE_STEPS, TUNE_STEPS = 800, 150

SUM_WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FORGET_WEIGHTS = (-0.5, -1.0, -1.5, -2.0, -2.5, -3.0)
OPTIONS = ("-b", "-t", "-o")  # of merge: begin a phrase
KEPT = 0.95  # of the base's accuracy on the control, at least


def main():
    options = parse_arguments()
    os.chdir(TOP)
    taumerge = os.environ.get("TAUMERGE", "./taumerge")
    random = np.random.default_rng(options.seed)
    training, validation, test = digits.load(random)

    say(f"""
        taumerge adds up what fine-tunes of one model have learned.

        The model here reads handwritten digits. Its base knows them
        {digits.CONTROL}; each fine-tune has learned one task more:
        {", ".join(digits.TASKS)}.
    """)
    train_all(training, random)

    say("""
        Store the fine-tunes as vectors: what each changed, without loss. Real
        ones of 16-bit weights take a tenth to a third of their size.
    """)
    tuned = [OUT / task for task in digits.TASKS]
    run([taumerge, "diff", BASE, *tuned, "-o", VECTORS, "-f"])
    say("""
        A vector gives the fine-tune back, byte for byte:
    """)
    back = OUT / "restored"
    first = digits.TASKS[0]
    run([taumerge, "apply", BASE, VECTORS / first, "-o", back, "-f"])
    run(["diff", "-r", OUT / first, back])

    say("""
        Learn all three tasks at once: add what each fine-tune changed. Merging
        reads the vectors as they are stored.
    """)
    tasks = [VECTORS / task for task in digits.TASKS]
    weight = choose_sum(taumerge, tasks, validation)
    merge(taumerge, [(task, weight) for task in tasks], OUT / "sum")

    say("""
        Forget one task: subtract what its fine-tune changed.
    """)
    forget = VECTORS / options.forget
    weight = choose_negation(taumerge, forget, validation)
    merge(taumerge, [(forget, weight)], OUT / "negated")

    say("""
        Check every byte that was written:
    """)
    run([taumerge, "verify", OUT / "sum", OUT / "negated", *tasks])
    print_table(test, options)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--forget",
        choices=digits.TASKS,
        default="inverted",
        help="the task to take away (default: inverted)",
    )
    return parser.parse_args()


def say(text):
    """Prints the paragraphs of a triple-quoted string."""
    for paragraph in textwrap.dedent(text).strip().split("\n\n"):
        print("\n" + textwrap.fill(" ".join(paragraph.split()), 78), flush=True)


# --- checkpoints ----------------------------------------------------------


def train_all(training, random):
    """Writes the base and a fine-tune for each task."""
    start = time.monotonic()
    few = training.first(EXAMPLES)
    rounds = [(training, digits.CONTROL)] * (1 + len(digits.TASKS))
    rounds += [(few, task) for task in digits.TASKS]
    base = network.train(network.create(random), rounds, BASE_STEPS, random)
    network.save(base, BASE)
    for task in digits.TASKS:
        tuned = network.train(
            base, [(training, task)], TUNE_STEPS, random, freeze_heads=True
        )
        network.save(tuned, OUT / task)
    names = ", ".join(["base", *digits.TASKS])
    seconds = time.monotonic() - start
    print(f"Trained in {seconds:.0f} s, as checkpoints in {OUT}/: {names}.")


# --- taumerge -------------------------------------------------------------


def merge_command(taumerge, vectors, out):
    command = [taumerge, "merge", "-b", BASE]
    for path, weight in vectors:
        command += ["-t", path, "-w", f"{weight:g}"]
    return command + ["-o", out, "-f"]


def merge(taumerge, vectors, out):
    run(merge_command(taumerge, vectors, out))


def run(command):
    """Shows a command as it would be typed, and runs it."""
    line = "$"
    for words in phrases(command):
        if len(line) + 1 + len(words) > 76:
            print(line, "\\")
            line = "   "
        line += " " + words
    print(line, flush=True)
    call(command)


def call(command):
    status = subprocess.run(command).returncode
    if status != 0:
        sys.exit(f"demo: {command[0]} {command[1]}: exit status {status}")


def phrases(command):
    """The words of a command, an option and what belongs to it together."""
    found = []
    plain = command[1] != "merge"
    for word in map(str, command):
        if len(found) < 1 or (plain and word != "-f") or word in OPTIONS:
            found.append(word)
        else:
            found[-1] += " " + word
    return found


def attempt(taumerge, vectors):
    """The model of a merge that is only tried."""
    out = OUT / "try"
    call(merge_command(taumerge, vectors, out) + ["-q"])
    return network.load(out)


# --- weights: chosen on the validation images, never on the test's --------


def choose_sum(taumerge, tasks, validation):
    """The one weight for all that gives the best mean accuracy."""

    def score(weight):
        model = attempt(taumerge, [(task, weight) for task in tasks])
        return np.mean(accuracies(model, validation))

    best = max(SUM_WEIGHTS, key=score)
    print(
        f"(Weight {best:g}: the best of {len(SUM_WEIGHTS)},"
        f" {SUM_WEIGHTS[0]:g} to {SUM_WEIGHTS[-1]:g}, on validation images.)"
    )
    return best


def choose_negation(taumerge, path, validation):
    """The most negative weight that leaves the control nearly as it was."""

    def control(model):
        return network.accuracy(model, validation, digits.CONTROL)

    least = KEPT * control(network.load(BASE))
    chosen = FORGET_WEIGHTS[0]
    for weight in FORGET_WEIGHTS:
        if control(attempt(taumerge, [(path, weight)])) < least:
            break
        chosen = weight
    print(
        f"(Weight {chosen:g}: the strongest of {len(FORGET_WEIGHTS)} that"
        f" keeps {100 * KEPT:.0f} % of the accuracy on {digits.CONTROL}.)"
    )
    return chosen


# --- the result -----------------------------------------------------------


def accuracies(model, split):
    return [network.accuracy(model, split, way) for way in digits.WAYS]


def print_table(test, options):
    say(f"""
        Percent of {len(test)} test images that each model reads correctly:
    """)
    columns = "".join(f"{way:>10}" for way in digits.WAYS)
    print(f"{'':16}{columns}")
    for name in ["base", *digits.TASKS, "sum", "negated"]:
        found = accuracies(network.load(OUT / name), test)
        row = "".join(f"{percent:10.1f}" for percent in found)
        print(f"{str(OUT / name):16}{row}")
    say(f"""
        Each fine-tune is good at its own task. demo/sum is good at all of
        them, and demo/negated has forgotten {options.forget} and little else:
        neither was trained. A toy of 0.6 million weights, with seed
        {options.seed}: examples/demo/README.md has the spread over seeds, and
        what to expect of large models.
    """)


if __name__ == "__main__":
    main()
