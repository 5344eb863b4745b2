"""Status types accept everything that an operator wrote; spec types accept no errors."""

from __future__ import annotations

import subprocess
import sys

import pytest
from manifest_tables.promotions import CHANNEL, PROMOTION
from manifest_tables.statuses import STATUSES
from pydantic import BaseModel, ValidationError

from fulcrum_operator.resources.compressionjob import CompressionJobStatus
from fulcrum_operator.resources.compressionschedule import CompressionScheduleStatus
from fulcrum_operator.resources.modelchannel import ModelChannelSpec, ModelChannelStatus
from fulcrum_operator.resources.modelpromotion import ModelPromotionSpec, ModelPromotionStatus
from fulcrum_pipelines.validation.schemas import known_kinds
from fulcrum_pipelines.validation.structure import check

TYPES: dict[str, type[BaseModel]] = {
    "CompressionJob": CompressionJobStatus,
    "ModelChannel": ModelChannelStatus,
    "ModelPromotion": ModelPromotionStatus,
    "CompressionSchedule": CompressionScheduleStatus,
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_full_status_is_read_and_written_without_loss(kind: str) -> None:
    status = TYPES[kind].model_validate(STATUSES[kind])
    assert status.model_dump(mode="json", by_alias=True) == STATUSES[kind]


@pytest.mark.parametrize("kind", TYPES)
def test_the_full_status_has_every_field_of_the_schema(kind: str) -> None:
    schema = known_kinds()["fulcrum.dev/v1alpha1", kind]["properties"]["status"]
    assert check(STATUSES[kind], schema).found == []
    assert set(STATUSES[kind]) == set(schema["properties"])


def test_absent_lists_and_mappings_are_empty_ones() -> None:
    status = CompressionJobStatus.model_validate({})
    assert (status.conditions, status.stages, status.failures, status.attempt) == ((), (), {}, 0)
    assert (status.phase, status.run, status.outcome) == (None, None, None)


def test_what_a_newer_operator_wrote_is_left_alone() -> None:
    status = CompressionJobStatus.model_validate(
        {"attempt": 1, "run": {"key": "k", "engine": "process", "pod": "p"}, "quota": {}}
    )
    assert status.run is not None
    assert (status.attempt, status.run.key) == (1, "k")


def test_a_status_is_not_changed_in_place() -> None:
    status = CompressionJobStatus.model_validate({})
    with pytest.raises(ValidationError, match="frozen"):
        status.attempt = 2  # type: ignore[misc]


def test_specifications_have_their_defaults() -> None:
    channel = ModelChannelSpec.model_validate({})
    assert (channel.approval, channel.history_limit) == ("None", 50)
    promotion = ModelPromotionSpec.model_validate(PROMOTION.good["spec"])
    assert (promotion.kind, promotion.automatic, promotion.approval) == ("Promotion", False, None)
    assert promotion.from_ == PROMOTION.good["spec"]["from"]


def test_specifications_are_strict() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        ModelChannelSpec.model_validate(CHANNEL.good["spec"] | {"aproval": "None"})


def test_types_need_neither_torch_nor_a_client() -> None:
    program = (
        "import sys; import fulcrum_operator.resources.names;"
        "import fulcrum_operator.resources.compressionjob;"
        "import fulcrum_operator.resources.modelchannel, fulcrum_operator.resources.modelpromotion;"
        "print({'torch', 'kubernetes', 'aiohttp', 'kopf', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
