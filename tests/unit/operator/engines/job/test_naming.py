"""Names of a run's objects: found again after a crash, and never longer than Kubernetes takes."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from fulcrum_operator.engines.job.naming import LABEL_LIMIT, job_name, key_hash, label_value
from fulcrum_pipelines.compiled import Part

KEYS = {
    "plain": "mnist-resnet-3f9c2a71b0de-1",
    "second attempt": "mnist-resnet-3f9c2a71b0de-2",
    "another job": "mnist-resnet-4f9c2a71b0de-1",
    "dots": "mnist.resnet-3f9c2a71b0de-1",
    "long": f"{'a' * 253}-3f9c2a71b0de-12",
    "long, other end": f"{'a' * 252}b-3f9c2a71b0de-12",
    "nothing readable": ".-3f9c2a71b0de-1",
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("part", ["all", "measure"])
def test_name_is_one_that_pods_can_be_labelled_with(key: str, part: Part) -> None:
    name = job_name(key, part)
    assert len(name) <= LABEL_LIMIT
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert name == job_name(key, part)


def test_runs_have_different_names_and_labels() -> None:
    for one, other in combinations(KEYS.values(), 2):
        assert job_name(one, "all") != job_name(other, "all")
        assert key_hash(one) != key_hash(other)


def test_both_parts_of_a_run_have_different_names() -> None:
    key = KEYS["plain"]
    assert job_name(key, "all") == job_name(key, "compute")
    assert job_name(key, "measure") == f"{job_name(key, 'compute')}-measure"


def test_people_see_the_job_and_the_attempt() -> None:
    key = f"mnist-resnet-{'3f9c2a71-b0de-4c1f'[:12]}-2"
    assert re.fullmatch("mnist-resnet-2-[0-9a-f]{8}", job_name(key, "all"))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param("fulcrum-system.fulcrum-operator", True, id="as it is"),
        pytest.param("a" * 64, False, id="too long"),
        pytest.param("ends with a dot.", False, id="no label"),
        pytest.param("", False, id="empty"),
    ],
)
def test_value_of_a_label(text: str, kept: bool) -> None:
    value = label_value(text)
    assert (value == text) is kept
    assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)
