"""Runs of the suite for real servers on the stand-in, without training or measuring.

They store only what the suite's tests read; other tests check that the real stages and components
store it.
"""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import stand_in
from kfp import dsl
from stored_runs import assess_run

from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_pipelines.composed import ChannelFile, Held
from fulcrum_pipelines.contract import digest_of, to_json
from fulcrum_pipelines.storage.store import Store, stage_path
from kubeflow.artifacts_pipeline import read
from kubeflow.engines import execute, settings_for
from kubeflow.launcher import Stored, launch
from kubeflow.server import Server
from kubeflow.site import NAME, Site
from kubeflow.stand_in_pipeline import compile_to


@contextlib.contextmanager
def pretended_site(directory: Path) -> Iterator[Site]:
    """Give a site on a stand-in, whose bucket is `directory`."""
    file = compile_to(directory / "pipeline.yaml")
    with Server(execute=Pretender(), nodes=[{"pool": "plain"}]).running() as server:
        own = {"pipeline": f"{NAME}-{uuid.uuid4().hex[:12]}", "experiment": NAME}
        settings = settings_for(server).model_copy(update=own)
        credentials = Credentials(server=server.url)
        yield Site(settings, str(directory), file, credentials, server=server)


@dataclass
class Pretender:
    """Executes the runs of one stand-in.

    Attributes:
        first: The first run of each specification, whose results later ones have.
    """

    first: dict[str, str] = field(default_factory=dict)

    def __call__(self, parameters: dict[str, Any]) -> str | None:
        """Do what a run with these parameters does."""
        if "target" in parameters:
            return _read_artifacts(parameters)
        if "channel" in parameters:
            return _compose(parameters)
        end = execute(parameters)
        if end == "SUCCEEDED":
            self._cache(Store(parameters["store"]), parameters["plan"])
        return end

    def _cache(self, store: Store, digest: str) -> None:
        """Say of all stages that their results are those of the first such run."""
        plan = store.plan(digest)
        first = self.first.setdefault(digest_of(to_json(plan.spec)) + store.url, plan.run)
        if first == plan.run:
            return
        for stage in plan.stages:
            if (evidence := store.stage_evidence(plan.run, stage)) is not None:
                cached = evidence.model_copy(update={"cached_from": first})
                store.write_record(stage_path(plan.run, stage), cached)


def _read_artifacts(parameters: dict[str, Any]) -> str:
    store = Store(parameters["store"])
    evidence = store.stage_evidence(parameters["run"], "validate")
    assert evidence is not None
    kinds = {
        "model": dsl.Model,
        "metrics": dsl.Metrics,
        "confusion": dsl.ClassificationMetrics,
        "summary": dsl.HTML,
    }
    with tempfile.TemporaryDirectory() as folder:
        stored = launch("validate", [evidence], store, parameters["run"])
        given = {
            name: _downloaded(kind(name), stored[name], Path(folder) / name)
            for name, kind in kinds.items()
        }
        read.python_func(parameters["store"], parameters["target"], **given)
    return "SUCCEEDED"


def _downloaded(artifact: Any, stored: Stored, path: Path) -> Any:
    """Return an artifact as the launcher gives it to the task that takes it."""
    if stored.content is not None:
        path.write_bytes(stored.content)
    artifact.uri = stored.uri
    artifact.set_path(str(path))
    artifact.metadata.update({name: _kept(value) for name, value in stored.metadata.items()})
    return artifact


def _kept(value: Any) -> Any:
    """Return a value of an artifact's metadata as ML Metadata gives it back.

    It knows numbers, text and structures; a list or a structure is wrapped in another structure, as
    the source of Kubeflow 2.17 does and its pages expect.
    """
    match value:
        case dict():
            return {"struct": value}
        case list():
            return {"list": value}
        case bool() | int():
            return float(value)
        case str() | float():
            return value
        case _:
            message = f"the launcher fails on metadata of type {type(value).__name__}"
            raise TypeError(message)


def _compose(parameters: dict[str, Any]) -> str:
    """Do what the composed example leaves in the store."""
    with fsspec.open(parameters["digits"]) as file, np.load(file) as arrays:
        assert set(arrays) == {"pixels", "y"}
    store = Store(parameters["store"])
    plan = stand_in.stand_in_plan("succeed")
    digest = store.put_record(plan)
    stand_in.work(store, plan)
    found = assess_run(store, plan)
    held = Held(
        digest=found.candidate_digest,
        uri=found.candidate_uri,
        run=plan.run,
        evidence=digest,
        moved_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    store.write_record(f"channels/{parameters['channel']}.json", ChannelFile(current=held))
    return "SUCCEEDED"
