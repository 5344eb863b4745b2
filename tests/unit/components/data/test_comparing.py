"""Samples, overlap and fingerprints of data sets."""

from __future__ import annotations

import numpy as np
from model_files import SIGNATURE, examples

from fulcrum_components.data import (
    Dataset,
    example_hashes,
    find_overlap,
    fingerprint,
    from_arrays,
    sample,
)
from fulcrum_components.models.signature import Signature, TensorSpec


def dataset(count: int = 600, seed: int = 0, dtype: str = "float32") -> Dataset:
    """Return random examples."""
    arrays = examples(count, seed)
    return from_arrays({"x": arrays["x"].astype(dtype)}, arrays["y"], SIGNATURE, "classification")


def test_sample_is_seeded_and_without_repetition() -> None:
    whole = dataset()
    chosen = example_hashes(sample(whole, 100, seed=1))
    assert len(set(chosen.tolist())) == 100
    assert np.array_equal(chosen, example_hashes(sample(whole, 100, seed=1)))
    assert not np.array_equal(chosen, example_hashes(sample(whole, 100, seed=2)))
    positions = [example_hashes(whole).tolist().index(value) for value in chosen.tolist()]
    assert positions == sorted(positions)


def test_sample_of_more_than_there_is_is_the_whole() -> None:
    assert len(sample(dataset(10), 11, seed=0)) == 10


def test_overlap_is_found_whatever_the_stored_type() -> None:
    train = dataset(600, seed=1, dtype="float64")
    arrays = examples(600, seed=2)
    x = arrays["x"].copy()
    x[[5, 300, 599]] = examples(600, seed=1)["x"][[17, 18, 300]]
    test = from_arrays({"x": x}, arrays["y"], SIGNATURE, "classification")
    overlap = find_overlap(test, train, "train")
    assert (overlap.other, overlap.examples, overlap.first_indices) == ("train", 3, (5, 300, 599))
    assert find_overlap(dataset(seed=2), train, "train").examples == 0


def test_all_inputs_count_for_overlap() -> None:
    second = TensorSpec("z", ("batch",), "int64")
    signature = Signature((*SIGNATURE.inputs, second), SIGNATURE.outputs, "logits")
    x = examples(4)["x"]
    one, other = (
        from_arrays({"x": x, "z": z}, None, signature, "classification")
        for z in (np.array([0, 1, 2, 3]), np.array([0, 1, 5, 6]))
    )
    assert find_overlap(one, other, "train").first_indices == (0, 1)


def test_fingerprint_tells_inputs_answers_and_order() -> None:
    arrays = examples()
    prints = {
        fingerprint(from_arrays({"x": x}, y, SIGNATURE, "classification"))
        for x, y in (
            (arrays["x"], arrays["y"]),
            (arrays["x"] + 1, arrays["y"]),
            (arrays["x"], arrays["y"][::-1].copy()),
            (arrays["x"][::-1].copy(), arrays["y"][::-1].copy()),
            (arrays["x"], None),
        )
    }
    assert len(prints) == 5
    assert all(text.startswith("sha256:") for text in prints)
