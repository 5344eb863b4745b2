"""Names in the code are those of the schemas and of what is deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from fulcrum_operator.resources import names

ROOT = Path(__file__).parents[4]
CRDS = {
    crd["spec"]["names"]["kind"]: crd
    for crd in (yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml"))
}


def status_of(kind: names.Kind) -> dict[str, Any]:
    version = CRDS[kind.kind]["spec"]["versions"][0]
    properties = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    assert isinstance(properties, dict)
    return properties


def test_kinds_are_those_of_the_schemas() -> None:
    found = {
        names.Kind(
            crd["spec"]["group"],
            crd["spec"]["versions"][0]["name"],
            crd["spec"]["names"]["plural"],
            kind,
            crd["spec"]["scope"] == "Namespaced",
        )
        for kind, crd in CRDS.items()
    }
    assert set(names.OUR_KINDS) == found


def test_api_versions_are_spelled_as_in_manifests() -> None:
    assert names.COMPRESSION_JOB.api_version == names.API_VERSION == "fulcrum.dev/v1alpha1"
    assert names.CONFIG_MAP.api_version == "v1"


@pytest.mark.parametrize(
    ("literal", "enum"),
    [
        (names.Phase, status_of(names.COMPRESSION_JOB)["phase"]["enum"]),
        (
            names.FinalPhase,
            status_of(names.COMPRESSION_JOB)["outcome"]["properties"]["phase"]["enum"],
        ),
        (names.PromotionPhase, status_of(names.MODEL_PROMOTION)["phase"]["enum"]),
        (
            names.ConditionStatus,
            status_of(names.MODEL_CHANNEL)["conditions"]["items"]["properties"]["status"]["enum"],
        ),
    ],
)
def test_literals_are_the_schemas_values(literal: Any, enum: list[str]) -> None:
    assert list(get_args(literal)) == enum


@pytest.mark.parametrize(
    ("literal", "kind"),
    [
        (names.ConditionType, names.COMPRESSION_JOB),
        (names.ChannelConditionType, names.MODEL_CHANNEL),
    ],
)
def test_every_condition_is_named_in_the_schemas_description(
    literal: Any, kind: names.Kind
) -> None:
    description = status_of(kind)["conditions"]["description"]
    assert all(name in description for name in get_args(literal))


def test_reasons_of_events_are_words_for_programs() -> None:
    reasons = get_args(names.EventReason)
    assert len(set(reasons)) == len(reasons)
    assert all(reason.isidentifier() and reason[0].isupper() for reason in reasons)


def test_the_operator_is_called_as_it_is_deployed() -> None:
    deployed = list(yaml.safe_load_all((ROOT / "operator/deploy/rbac.yaml").read_text()))
    (account,) = [each for each in deployed if each["kind"] == "ServiceAccount"]
    place, name = account["metadata"]["namespace"], account["metadata"]["name"]
    assert f"system:serviceaccount:{place}:{name}" == names.OPERATOR_USER
    admission = (ROOT / "operator/deploy/admission.yaml").read_text()
    assert f"== '{names.OPERATOR_USER}'" in admission
    assert all(f"check('{verb}')" in admission for verb in get_args(names.ChannelVerb))
