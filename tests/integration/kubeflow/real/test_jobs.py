"""Whole jobs: the digits example, the same from the cache, its artifacts, the composed example."""

from __future__ import annotations

import asyncio
import json
import runpy
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from kubeflow.artifacts_pipeline import compile_to
from kubeflow.digits import DIGITS, digits_plan
from kubeflow.site import NAME, Site

from fulcrum_components.stages.ui import MODEL_BYTES
from fulcrum_components.stages.worker import must_time_again
from fulcrum_operator.engines.kubeflow.engine import KubeflowEngine
from fulcrum_operator.settings import Kubeflow
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.assessing import assess
from fulcrum_pipelines.composed import ChannelFile
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.evidence import ValidateDetails
from fulcrum_pipelines.gates.assessment import Assessment
from fulcrum_pipelines.states import RunStatus
from fulcrum_pipelines.storage.store import Store

COMPOSED = DIGITS.parent / "kubeflow" / "digits.yaml"
POOLS = {"default": Pool(cpu="2", memory="4Gi")}


@dataclass(frozen=True)
class Done:
    """A job that has ended.

    Attributes:
        store: Has its results.
        settings: That it ran with.
        plan: It.
        status: How it ended.
    """

    store: Store
    settings: Kubeflow
    plan: Plan
    status: RunStatus


def run_job(site: Site, store: Store, settings: Kubeflow, plan: Plan) -> Done:
    """Run a job with the pipeline that is shipped."""
    engine = KubeflowEngine(store, settings, POOLS)

    async def scenario() -> RunStatus:
        return await site.ended(engine, await engine.submit(plan.run, plan))

    return Done(store, settings, plan, asyncio.run(scenario()))


@pytest.fixture(scope="module")
def first(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The digits example as one job, which some tests share."""
    settings, store = site.own_settings(), site.own_store()
    site.kept.append(settings)
    plan = digits_plan(store, tmp_path_factory.mktemp("digits"), "succeed.digits")
    return run_job(site, store, settings, plan)


def test_whole_job_leaves_its_evidence_in_the_bucket(first: Done) -> None:
    assert first.status == RunStatus("Succeeded")
    found = assess(first.store, first.store.put_record(first.plan), first.plan.run, ())
    assert isinstance(found, Assessment)
    evidence = first.store.evidence(first.plan.run)
    assert evidence is not None
    assert tuple(each.stage for each in evidence.stages) == first.plan.stages
    assert found.candidate_uri.startswith(first.store.url)
    assert first.store.is_intact(found.candidate_digest)


def test_same_job_again_takes_its_stages_from_the_cache(site: Site, first: Done) -> None:
    plan = first.plan.model_copy(update={"uid": uuid.uuid4().hex})
    again = run_job(site, first.store, site.own_settings(), plan)
    assert again.status == RunStatus("Succeeded")
    for stage in plan.stages:
        earlier = first.store.stage_evidence(first.plan.run, stage)
        later = first.store.stage_evidence(plan.run, stage)
        assert earlier is not None
        assert later is not None
        if later.cached_from is not None:
            assert later.cached_from == first.plan.run
            continue
        # Timings that could not be relied on are taken again, and may lead to another model.
        other = later.inputs_digest != earlier.inputs_digest
        assert other or must_time_again(earlier.details, remeasure=False), stage
    evaluated = first.store.stage_evidence(plan.run, "evaluate")
    assert evaluated is not None
    assert evaluated.cached_from == first.plan.run


def test_artifacts_are_what_kubeflow_shows_of_a_stage(
    site: Site, first: Done, kubeflow_settings: Kubeflow, tmp_path: Path
) -> None:
    store, run = first.store, first.plan.run
    target = f"artifacts/{uuid.uuid4().hex}.json"
    given = {
        "store": store.url,
        "run": run,
        "plan": store.put_record(first.plan),
        "target": target,
        "image": kubeflow_settings.image,
    }
    file = compile_to(tmp_path / "artifacts.yaml")
    name = f"{NAME}-artifacts-{uuid.uuid4().hex[:12]}"
    assert asyncio.run(site.run(kubeflow_settings, file, name, given)) == "SUCCEEDED"

    seen = json.loads(store.read(target) or b"{}")
    evidence = store.stage_evidence(run, "validate")
    assert evidence is not None
    assert isinstance(evidence.details, ValidateDetails)
    model = seen["system.Model"]
    assert evidence.details.size.candidate_bytes <= MODEL_BYTES  # so it is the model, no pointer
    assert model["digest"] == evidence.details.candidate_model
    assert model["metadata"]["digest"] == evidence.details.candidate_model
    assert store.is_intact(model["metadata"]["digest"])
    assert not model["uri"].startswith(store.url)
    assert seen["system.Metrics"]["metadata"]["size_ratio"] < 1
    matrix = seen["system.ClassificationMetrics"]["metadata"]["confusionMatrix"]["struct"]
    assert len(matrix["annotationSpecs"]) == len(matrix["rows"]) > 1
    assert seen["system.HTML"]["start"] == "<!doctype html>"


def test_composed_example_promotes_its_candidate(
    site: Site, kubeflow_settings: Kubeflow, store: Store, tmp_path: Path
) -> None:
    data = tmp_path / "digits.npz"
    np.savez_compressed(data, **runpy.run_path(str(DIGITS / "data.py"))["load_all"]())
    inputs = Store(f"{store.url}-inputs")
    inputs.upload(data, data.name)
    channel = f"digits-{uuid.uuid4().hex[:12]}"
    given = {
        "digits": inputs.locate(data.name),
        "store": store.url,
        "channel": channel,
        "image": kubeflow_settings.image,
    }
    name = f"{NAME}-composed-{uuid.uuid4().hex[:12]}"
    assert asyncio.run(site.run(kubeflow_settings, COMPOSED, name, given)) == "SUCCEEDED"

    held = store.read_record(f"channels/{channel}.json", ChannelFile)
    assert held is not None
    assert store.is_intact(held.current.digest)
    verdict = json.loads(store.read(f"runs/{held.current.run}/verdict.json") or b"{}")
    assert (verdict["outcome"], verdict["candidate_model"]) == ("Pass", held.current.digest)
