"""The data: real handwritten digits, written in four ways.

digits.csv.gz holds 1797 images of 8x8 pixels (0 to 16) and their labels;
README.md says where they come from.
"""

from pathlib import Path

import numpy as np

SIDE = 8
CLASSES = 10
TRAIN, VALIDATION = 1000, 300  # the rest, 497, is for the test

# The base is good at the control; each fine-tune learns one of the tasks.
CONTROL = "upright"
TASKS = ("rotated", "mirrored", "inverted")
WAYS = {
    "upright": lambda images: images,
    "rotated": lambda images: np.rot90(images, axes=(1, 2)),
    "mirrored": lambda images: images[:, :, ::-1],
    "inverted": lambda images: 1 - images,
}


class Split:
    """Some of the images, in any of the four ways."""

    def __init__(self, images, labels):
        self.labels = labels
        self._pixels = {
            name: np.ascontiguousarray(way(images)).reshape(len(images), -1)
            for name, way in WAYS.items()
        }

    def __len__(self):
        return len(self.labels)

    def pixels(self, way):
        return self._pixels[way]

    def first(self, count):
        few = object.__new__(Split)
        few.labels = self.labels[:count]
        few._pixels = {w: p[:count] for w, p in self._pixels.items()}
        return few


def load(random):
    """Three Splits, shuffled: to train, to choose weights, to report."""
    path = Path(__file__).with_name("digits.csv.gz")
    table = np.loadtxt(path, delimiter=",", dtype=np.float32)
    table = table[random.permutation(len(table))]
    images = table[:, :-1].reshape(-1, SIDE, SIDE) / 16
    labels = table[:, -1].astype(int)
    cuts = [0, TRAIN, TRAIN + VALIDATION, len(table)]
    return [
        Split(images[start:end], labels[start:end])
        for start, end in zip(cuts, cuts[1:])
    ]
