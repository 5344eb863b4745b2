"""Fashion-MNIST from the files of the Debian package dataset-fashion-mnist.

They are taken from where the package installs them, or from the cache that `fetch.py` fills where
it is not installed.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

FILES = Path("usr/share/datasets/fashion-mnist")
PLACES = (Path("/") / FILES, Path(__file__).parent / ".cache" / FILES)
VALIDATION = 5000
SEED = 0


def load(split: str) -> dict[str, np.ndarray]:
    """Return `image` (n, 1, 28, 28), float32 from 0 to 1, and `y` (n,), the kinds of clothes.

    test is the published one, 10,000 images. Of the published 60,000 for training, in a seeded
    order, 5,000 are validation and the rest train.
    """
    part = "t10k" if split == "test" else "train"
    images, labels = _read(part, "images-idx3", 16), _read(part, "labels-idx1", 8)
    images = images.reshape(-1, 1, 28, 28)
    if split != "test":
        order = np.random.default_rng(SEED).permutation(len(labels))
        chosen = order[:VALIDATION] if split == "validation" else order[VALIDATION:]
        images, labels = images[chosen], labels[chosen]
    return {"image": images.astype(np.float32) / 255, "y": labels.astype(np.int64)}


def _read(part: str, kind: str, header_bytes: int) -> np.ndarray:
    """Return the bytes of an IDX file after its header."""
    name = f"{part}-{kind}-ubyte.gz"
    path = next((place / name for place in PLACES if (place / name).is_file()), None)
    if path is None:
        message = (
            f"{name} is not there; install the Debian package dataset-fashion-mnist, or run "
            "examples/fashion-mnist/fetch.py, which unpacks it into a cache"
        )
        raise FileNotFoundError(message)
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header_bytes)
