"""Resolve a job's references and addresses, or refuse the job with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from job_world import SPEC, job_body

from fulcrum_operator.controllers.resolver import Templates, resolve_job
from fulcrum_operator.engines.placement import Site
from fulcrum_operator.kubernetes.object_cache import Objects
from fulcrum_operator.lifecycle.observation import Refusal, Resolution, read_job
from fulcrum_operator.resources.names import (
    CLUSTER_COMPRESSION_RECIPE,
    CLUSTER_GATE_POLICY,
    COMPRESSION_RECIPE,
    GATE_POLICY,
    MODEL_CHANNEL,
)
from fulcrum_operator.settings.pools import Pool

KINDS = (COMPRESSION_RECIPE, CLUSTER_COMPRESSION_RECIPE, GATE_POLICY, CLUSTER_GATE_POLICY)
DIGEST = "sha256:" + "a" * 64
CHANNEL = {"baseline": {"kind": "Channel"}, "promotion": {"channel": "production"}}
GATES = [gate.model_dump(mode="json", by_alias=True, exclude_unset=True) for gate in SPEC.gates]


def templates(*bodies: tuple[str, dict[str, Any]]) -> Templates:
    """Return templates of which each is given with its kind."""
    found = {kind.kind: Objects(kind) for kind in KINDS}
    for kind, body in bodies:
        found[kind].learn(body)
    return Templates(found)


def channels(status: dict[str, Any] | None) -> Objects:
    """Return the channel production with a status, or no channel."""
    found = Objects(MODEL_CHANNEL)
    if status is not None:
        found.learn(named("production", namespace="team", status=status))
    return found


def named(name: str, namespace: str = "", **rest: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": "u", "resourceVersion": "7"}
    return {"metadata": metadata, **rest}


def resolve(*found: tuple[str, dict[str, Any]], **spec: Any) -> Resolution | Refusal:
    job = read_job(job_body(**spec))
    return resolve_job(job, templates(*found), channels(None), "file:///sources")


CANDIDATE: dict[str, Any] = {"recipe": None, "candidate": {"uri": "models/new.onnx"}}


@pytest.mark.parametrize(
    ("spec", "stages"),
    [
        (CANDIDATE, ("evaluate", "convert", "validate")),
        ({**CANDIDATE, **CHANNEL, "model": None}, ("evaluate", "convert", "validate")),
        ({"recipe": None}, ("evaluate", "validate")),
    ],
    ids=["candidate", "candidate and a channel alone", "model that is only measured"],
)
def test_job_without_a_recipe_is_resolved(spec: dict[str, Any], stages: tuple[str, ...]) -> None:
    body = job_body(**spec)
    body["spec"] = {name: value for name, value in body["spec"].items() if value is not None}
    held = channels({"current": {"digest": DIGEST}})
    found = resolve_job(read_job(body), templates(), held, "file:///sources")
    assert isinstance(found, Resolution)
    assert found.spec.stages == stages
    assert found.spec.baseline_model == (DIGEST if "baseline" in spec else None)
    candidate = found.spec.candidate
    assert candidate is None or candidate.uri == "file:///sources/models/new.onnx"


def test_gates_by_reference_are_held_against_a_job_that_compares_nothing() -> None:
    body = job_body(gatePolicyRef={"name": "strict"})
    body["spec"] = {k: v for k, v in body["spec"].items() if k not in ("recipe", "gates")}
    policy = named("strict", "team", spec={"gates": GATES})
    known = templates(("GatePolicy", policy))
    found = resolve_job(read_job(body), known, channels(None), "file:///sources")
    assert isinstance(found, Refusal)
    assert found.reason == "InvalidSpec"
    assert "only measures the model" in found.message


KUBEFLOW = {"engine": "kubeflow", "placement": {"compute": "gpu-a"}}


@pytest.mark.parametrize(
    ("site", "message"),
    [
        pytest.param(Site(), "spec.engine: kubeflow is not set up", id="no such engine"),
        pytest.param(
            Site(("process", "kubeflow"), {"cpu": Pool()}),
            "spec.placement.compute: names pool gpu-a, which the operator's settings do not have "
            "(allowed: cpu, default)",
            id="no such pool",
        ),
        pytest.param(
            Site(("process", "kubeflow"), {"gpu-a": Pool(priority_class="high")}),
            "spec.placement.compute: its pool has priority_class high",
            id="pool that the engine cannot give",
        ),
    ],
)
def test_job_that_cannot_be_placed_is_refused(site: Site, message: str) -> None:
    job = read_job(job_body(**KUBEFLOW))
    refusal = resolve_job(job, templates(), channels(None), "file:///s", site)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "CannotBePlaced"
    assert refusal.message.startswith(message)


def test_job_that_can_be_placed_is_accepted() -> None:
    site = Site(("process", "kubeflow"), {"gpu-a": Pool()})
    job = read_job(job_body(**KUBEFLOW))
    assert isinstance(resolve_job(job, templates(), channels(None), "file:///s", site), Resolution)


def test_addresses_become_absolute() -> None:
    resolution = resolve(model={"uri": "mnist/model"})
    assert isinstance(resolution, Resolution)
    assert resolution.spec.model.uri == "file:///sources/mnist/model"
    assert resolution.spec.baseline_model is None


def test_references_are_followed_and_recorded() -> None:
    resolution = resolve(
        ("CompressionRecipe", named("half", "team", spec={"quantize": {"method": "dynamic"}})),
        ("ClusterGatePolicy", named("strict", spec={"gates": GATES})),
        recipe=None,
        gates=None,
        recipeRef={"kind": "CompressionRecipe", "name": "half"},
        gatePolicyRef={"kind": "ClusterGatePolicy", "name": "strict"},
    )
    assert isinstance(resolution, Resolution)
    assert resolution.spec.recipe.quantize is not None
    assert resolution.spec.recipe.quantize.method == "dynamic"
    assert resolution.sources["gate_policy"] == {
        "kind": "ClusterGatePolicy",
        "name": "strict",
        "resource_version": "7",
    }


@pytest.mark.parametrize(
    ("found", "spec", "reason", "words"),
    [
        pytest.param(
            (),
            {"recipe": None, "recipeRef": {"name": "half"}},
            "ReferenceNotFound",
            "there is no CompressionRecipe half in namespace team",
            id="no such recipe",
        ),
        pytest.param(
            (("CompressionRecipe", named("half", "elsewhere", spec={"quantize": {}})),),
            {"recipe": None, "recipeRef": {"name": "half"}},
            "ReferenceNotFound",
            "there is no CompressionRecipe half in namespace team",
            id="one in another namespace",
        ),
        pytest.param(
            (),
            {"gates": None, "gatePolicyRef": {"kind": "ClusterGatePolicy", "name": "strict"}},
            "ReferenceNotFound",
            "there is no ClusterGatePolicy strict",
            id="no such policy",
        ),
        pytest.param(
            (("CompressionRecipe", named("tune", "team", spec={"finetune": {"epochs": 1}})),),
            {
                "recipe": None,
                "recipeRef": {"name": "tune"},
                "data": {"task": "classification", "test": {"uri": "t.npz"}},
            },
            "InvalidSpec",
            "recipe.finetune needs data.train",
            id="a recipe that does not fit the job",
        ),
        pytest.param(
            (("CompressionRecipe", named("new", "team", spec={"retrain": {"epochs": 1}})),),
            {"recipe": None, "recipeRef": {"name": "new"}},
            "NotSupported",
            "spec.recipe.retrain",
            id="a recipe of a later version",
        ),
        pytest.param(
            (), {"engine": "kubeflow"}, "CannotBePlaced", "spec.engine", id="an engine not set up"
        ),
    ],
)
def test_job_that_cannot_start_says_why(
    found: tuple[Any, ...], spec: dict[str, Any], reason: str, words: str
) -> None:
    refusal = resolve(*found, **spec)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason
    assert words in refusal.message


@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param(None, "there is no ModelChannel production", id="no channel"),
        pytest.param({}, "holds no model yet", id="an empty one"),
    ],
)
def test_baseline_of_a_channel_without_a_model_is_refused(status: Any, words: str) -> None:
    job = read_job(job_body(**CHANNEL))
    refusal = resolve_job(job, templates(), channels(status), "file:///s")
    assert isinstance(refusal, Refusal)
    assert words in refusal.message


def test_baseline_is_what_the_channel_holds_now() -> None:
    job = read_job(job_body(**CHANNEL))
    held = channels({"current": {"digest": DIGEST}})
    resolution = resolve_job(job, templates(), held, "file:///s")
    assert isinstance(resolution, Resolution)
    assert resolution.spec.baseline_model == DIGEST
