"""The network: an encoder that all tasks share, and one small head per task.

A model is a dict of arrays under the names they have in the checkpoint, so
what taumerge writes is used as it is read. Fine-tuning leaves the heads
alone, as in the paper: a task vector is what changed in the encoder.
"""

import json

import numpy as np
from safetensors.numpy import load_file, save_file

import digits

HIDDEN = (1024, 512)
BATCH = 64
WARM_UP = 50  # steps


def weight(layer):
    return f"encoder.layers.{layer}.weight"


def bias(layer):
    return f"encoder.layers.{layer}.bias"


def head(way):
    return f"heads.{way}.weight"


def create(random):
    sizes = (digits.SIDE**2, *HIDDEN)
    model = {}
    for layer, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:])):
        model[weight(layer)] = normal(random, fan_out, fan_in, 2 / fan_in)
        model[bias(layer)] = np.zeros(fan_out, np.float32)
    for way in digits.WAYS:
        model[head(way)] = normal(
            random, digits.CLASSES, HIDDEN[-1], 1 / HIDDEN[-1]
        )
    return model


def normal(random, rows, columns, variance):
    values = random.standard_normal((rows, columns)) * np.sqrt(variance)
    return values.astype(np.float32)


def encode(model, pixels):
    """The activations of every layer, the input first."""
    activations = [pixels - 0.3]  # about the mean of a pixel
    for layer in range(len(HIDDEN)):
        total = activations[-1] @ model[weight(layer)].T + model[bias(layer)]
        activations.append(np.maximum(total, 0))
    return activations


def accuracy(model, split, way):
    """Percent of the images that the model reads correctly."""
    scores = encode(model, split.pixels(way))[-1] @ model[head(way)].T
    return 100 * np.mean(scores.argmax(axis=1) == split.labels)


def gradients(model, pixels, labels, way):
    """Of the mean cross-entropy over a batch, by tensor name."""
    activations = encode(model, pixels)
    scores = activations[-1] @ model[head(way)].T
    error = np.exp(scores - scores.max(axis=1, keepdims=True))
    error /= error.sum(axis=1, keepdims=True)
    error[np.arange(len(labels)), labels] -= 1
    error /= len(labels)
    found = {head(way): error.T @ activations[-1]}
    error = error @ model[head(way)]
    for layer in reversed(range(len(HIDDEN))):
        error = error * (activations[layer + 1] > 0)
        found[weight(layer)] = error.T @ activations[layer]
        found[bias(layer)] = error.sum(axis=0)
        error = error @ model[weight(layer)]
    return found


def train(start, rounds, steps, random, freeze_heads=False):
    """Adam, on a copy of `start`.

    `rounds` is a list of (split, way); each step takes the next one.
    """
    model = {name: values.copy() for name, values in start.items()}
    mean = {name: np.zeros_like(values) for name, values in start.items()}
    square = {name: np.zeros_like(values) for name, values in start.items()}
    for step in range(1, steps + 1):
        split, way = rounds[step % len(rounds)]
        pick = random.integers(len(split), size=BATCH)
        found = gradients(
            model, split.pixels(way)[pick], split.labels[pick], way
        )
        rate = 1e-3 * min(1, step / WARM_UP)
        rate *= 0.5 + 0.5 * np.cos(np.pi * step / steps)
        for name, gradient in found.items():
            if freeze_heads and name == head(way):
                continue
            mean[name] += 0.1 * (gradient - mean[name])
            square[name] += 0.001 * (gradient**2 - square[name])
            model[name] -= rate * (
                (mean[name] / (1 - 0.9**step))
                / (np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8)
            )
    return model


def save(model, directory):
    """A checkpoint as they are found everywhere: weights and a config."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "digit-reader",
        "hidden_sizes": HIDDEN,
        "num_labels": digits.CLASSES,
        "heads": list(digits.WAYS),
        "torch_dtype": "float32",
    }
    text = json.dumps(config, indent=2) + "\n"
    (directory / "config.json").write_text(text)
    save_file(model, directory / "model.safetensors", {"format": "pt"})


def load(directory):
    return load_file(directory / "model.safetensors")
