"""The 1,797 digits of 8 x 8 pixels that scikit-learn brings along."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

SPLITS = {"train": slice(0, 900), "validation": slice(900, 1100), "test": slice(1100, None)}
SEED = 0


def load(split: str) -> dict[str, np.ndarray]:
    """Return `pixels` (n, 64), float32 from 0 to 1, and `y` (n,), the digits.

    In a seeded order, 900 are train, 200 validation and 697 test.
    """
    digits = load_digits()
    chosen = np.random.default_rng(SEED).permutation(len(digits.target))[SPLITS[split]]
    pixels = digits.data[chosen].astype(np.float32) / 16
    return {"pixels": pixels, "y": digits.target[chosen].astype(np.int64)}
