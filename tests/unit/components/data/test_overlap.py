"""Samples, overlap and fingerprints of data sets."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest
from model_files import SIGNATURE, examples

from fulcrum_components.data import (
    Dataset,
    check_columns,
    example_hashes,
    find_copies,
    find_overlap,
    fingerprint,
    from_arrays,
    sample,
)
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_pipelines.errors import UserError


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


def test_overlap_is_found_for_every_stored_type() -> None:
    train = dataset(600, seed=1, dtype="float64")
    arrays = examples(600, seed=2)
    x = arrays["x"].copy()
    x[[5, 300, 599]] = examples(600, seed=1)["x"][[17, 18, 300]]
    test = from_arrays({"x": x}, arrays["y"], SIGNATURE, "classification")
    overlap = find_overlap(test, train, "train")
    assert (overlap.other, overlap.examples, overlap.first_indices) == ("train", 3, (5, 300, 599))
    assert find_overlap(dataset(seed=2), train, "train").examples == 0


@dataclass(frozen=True)
class Repeated:
    """Numbers of the examples that a test set is made of, and what counts as copies."""

    name: str
    rows: tuple[int, ...]
    answers: tuple[int, ...]
    distinct: int
    effective: float
    sets: int = 0
    disagreeing: int = 0


@pytest.mark.parametrize(
    "case",
    [
        Repeated("none", (0, 1, 2), (0, 1, 1), 3, 3.0),
        Repeated("all", (5, 5, 5, 5), (1, 1, 1, 1), 1, 1.0, 1),
        Repeated("pairs", (0, 1, 1, 0), (0, 1, 1, 0), 2, 2.0, 2),
        Repeated("uneven", (3, 0, 3, 3), (1, 0, 1, 1), 2, 1.6, 1),
        Repeated("disagreeing", (0, 1, 0, 1), (0, 1, 1, 1), 2, 2.0, 2, 1),
    ],
    ids=lambda case: case.name,
)
def test_copies_count_once(case: Repeated) -> None:
    x = examples(6)["x"][list(case.rows)]
    test = from_arrays({"x": x}, np.array(case.answers), SIGNATURE, "classification")
    found = find_copies(test)
    assert (found.distinct, found.effective) == (case.distinct, pytest.approx(case.effective))
    assert (found.sets, found.disagreeing) == (case.sets, case.disagreeing)


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        pytest.param("abc", "abc", "", id="same"),
        pytest.param("abc", "acb", "column 2 of input 'x' is 'b', but 'c' in", id="swapped"),
        pytest.param("abc", "def", "", id="other-names"),
        pytest.param("abc", "ab", "", id="fewer"),
    ],
)
def test_columns_keep_their_order_over_data_sets(one: str, other: str, says: str) -> None:
    columns = {"x": tuple(one)}, {"x": tuple(other)}
    if not says:
        check_columns(*columns, "spec.data.test", "spec.data.train")
        return
    with pytest.raises(UserError, match=re.escape(says)) as caught:
        check_columns(*columns, "spec.data.test", "spec.data.train")
    assert str(caught.value).startswith("spec.data.test.inputs.x: ")


def test_all_inputs_count_for_overlap() -> None:
    second = TensorSpec("z", ("batch",), "int64")
    signature = Signature((*SIGNATURE.inputs, second), SIGNATURE.outputs, "logits")
    x = examples(4)["x"]
    one, other = (
        from_arrays({"x": x, "z": z}, None, signature, "classification")
        for z in (np.array([0, 1, 2, 3]), np.array([0, 1, 5, 6]))
    )
    assert find_overlap(one, other, "train").first_indices == (0, 1)


def test_fingerprint_depends_on_inputs_targets_and_order() -> None:
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
