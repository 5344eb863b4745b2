"""The diabetes study of Efron et al. (2004), 442 patients, that scikit-learn brings along."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_diabetes

SPLITS = {"train": slice(0, 200), "validation": slice(200, 242), "test": slice(242, None)}
SEED = 0
FEATURE_SCALE = 20.0
"""Brings the features, whose squares sum to 1 over the patients, near a spread of 1."""
TARGET_SCALE = 0.01
"""Brings the progression, 25 to 346, near 1."""


def load(split: str) -> dict[str, np.ndarray]:
    """Return `measurements` (n, 10) and `y` (n,), the progression in hundreds, both float32.

    In a seeded order, 200 patients are train, 42 validation and 200 test.
    """
    study = load_diabetes()
    chosen = np.random.default_rng(SEED).permutation(len(study.target))[SPLITS[split]]
    measurements = study.data[chosen] * FEATURE_SCALE
    progression = study.target[chosen] * TARGET_SCALE
    return {"measurements": measurements.astype(np.float32), "y": progression.astype(np.float32)}
