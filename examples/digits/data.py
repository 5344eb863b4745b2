"""The 1,797 digits of 8 x 8 pixels that scikit-learn brings along.

`python data.py FILE.npz` writes all of them into a file, for pods without scikit-learn.
"""

from __future__ import annotations

import sys

import numpy as np
from sklearn.datasets import load_digits

SPLITS = {"train": slice(0, 900), "validation": slice(900, 1100), "test": slice(1100, None)}
SEED = 0


def load(split: str) -> dict[str, np.ndarray]:
    """Return `pixels` (n, 64), float32 from 0 to 1, and `y` (n,), the digits.

    In a seeded order, 900 are train, 200 validation and 697 test.
    """
    return {name: values[SPLITS[split]] for name, values in load_all().items()}


def load_all() -> dict[str, np.ndarray]:
    """Return what `load` does, of all splits one after the other."""
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    pixels = digits.data[order].astype(np.float32) / 16
    return {"pixels": pixels, "y": digits.target[order].astype(np.int64)}


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **load_all())
