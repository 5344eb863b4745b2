"""What the verdict says of test data that are not later, and of addresses that were skipped."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from builders.plans import make_digest
from gate_situations import accuracy_gate
from gate_subjects import GOOD, GOOD_DETAILS

from fulcrum_pipelines.evidence import AddressRead, DataRead, Evidence, TimeSplit, ValidateDetails
from fulcrum_pipelines.gates import decide

READ = ("train", "validation")


def make_split(other: str, not_later: int = 0) -> TimeSplit:
    """Return the times of test and of another data set."""
    return TimeSplit(
        other=other,
        kind="date",
        test_first="2024-06-01",
        test_last="2024-06-02",
        other_first="2024-05-01",
        other_last="2024-06-01" if not_later else "2024-05-31",
        test_not_later=not_later,
        other_not_earlier=3 if not_later else 0,
    )


def evidence(
    by_validate: Sequence[TimeSplit], by_evaluate: Sequence[TimeSplit] = (), *, column: str | None
) -> Evidence:
    """Return the evidence of a job with train and validation data, which passes otherwise."""
    found = GOOD_DETAILS.model_copy(
        update={"time_column": column, "time_splits": (*by_validate,), "overlap_on_trust": ()}
    )
    stages = []
    for stage in GOOD.stages:
        changes: dict[str, object] = {}
        if stage.stage == "evaluate":
            inputs = {f"data.{name}": make_digest(name) for name in READ}
            details = stage.details.model_copy(update={"time_splits": (*by_evaluate,)})
            changes = {"inputs": stage.inputs | inputs, "details": details}
        elif isinstance(stage.details, ValidateDetails):
            changes = {"details": found}
        stages.append(stage.model_copy(update=changes))
    return GOOD.model_copy(update={"stages": tuple(stages)})


TRAIN, VALIDATION = map(make_split, READ)
LATE = (
    "7 test examples are not later than all of train: test is from 2024-06-01 to 2024-06-02, "
    "train from 2024-05-01 to 2024-06-01, with 3 examples from 2024-06-01 on"
)
ABSENT = "test was not compared with validation by the times in column 'day'"
SPLITS = [
    pytest.param((TRAIN, VALIDATION), (), "day", (), id="later"),
    pytest.param((), (), None, (), id="not declared"),
    pytest.param((make_split("train", 7), VALIDATION), (), "day", (LATE,), id="not later"),
    pytest.param(
        (TRAIN, VALIDATION), (make_split("train", 7),), "day", (LATE,), id="seen by evaluate only"
    ),
    pytest.param((VALIDATION,), (make_split("train", 7),), "day", (LATE,), id="data of code"),
    pytest.param((VALIDATION,), (TRAIN,), "day", (), id="later data of code"),
    pytest.param((TRAIN,), (), "day", (ABSENT,), id="never compared"),
]


@pytest.mark.parametrize(("by_validate", "by_evaluate", "column", "anomalies"), SPLITS)
def test_test_data_that_are_not_later_are_anomalous(
    by_validate: Sequence[TimeSplit],
    by_evaluate: Sequence[TimeSplit],
    column: str | None,
    anomalies: Sequence[str],
) -> None:
    verdict = decide(evidence(by_validate, by_evaluate, column=column), [accuracy_gate()])
    assert verdict.anomalies == tuple(anomalies)
    assert verdict.outcome == ("Anomalous" if anomalies else "Pass")


def make_address(name: str, examples: int = 9, content: str = "") -> AddressRead:
    """Return the record of one address."""
    return AddressRead(
        address=f"s3://b/{name}.parquet",
        digest=make_digest(content or name),
        size_bytes=100,
        files=1,
        examples=examples,
    )


def caveats_of(data: DataRead) -> tuple[str, ...]:
    """Return the caveats of a verdict over evidence in which validate read `data`."""
    stages = tuple(
        stage.model_copy(update={"data": (data,)}) if stage.stage == "validate" else stage
        for stage in evidence((), column=None).stages
    )
    verdict = decide(GOOD.model_copy(update={"stages": stages}), [accuracy_gate()])
    assert verdict.outcome == "Pass"
    return verdict.caveats


DAYS = tuple(make_address(f"day{i}") for i in range(3))
MANY = tuple(f"s3://b/late{i}.parquet" for i in range(10))
READINGS = [
    pytest.param(DAYS, (), "", id="all"),
    pytest.param(
        DAYS,
        MANY[:2],
        "train lacks 2 of its 5 addresses, which were skipped because nothing was there: "
        "s3://b/late0.parquet, s3://b/late1.parquet",
        id="skipped",
    ),
    pytest.param(DAYS, MANY, "s3://b/late7.parquet and 2 more", id="many skipped"),
    pytest.param(
        (*DAYS, make_address("none", 0)),
        (),
        "train has addresses without any example: s3://b/none.parquet",
        id="empty",
    ),
    pytest.param(
        (*DAYS, make_address("again", content="day1")),
        (),
        "train has addresses with the same content: s3://b/day1.parquet, s3://b/again.parquet",
        id="copied",
    ),
]


@pytest.mark.parametrize(("addresses", "skipped", "caveat"), READINGS)
def test_addresses_that_gave_nothing_new_are_caveats(
    addresses: tuple[AddressRead, ...], skipped: tuple[str, ...], caveat: str
) -> None:
    digest = make_digest("train")
    data = DataRead(data="train", digest=digest, examples=9, addresses=addresses, skipped=skipped)
    found = caveats_of(data)
    assert len(found) == bool(caveat)
    assert not caveat or caveat in found[0]
