"""The contract of operator and components: the plan of a run, its stages, and its names.

The two never import each other; everything that crosses between them is here, in `evidence` and in
`store`.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, Field

from fulcrum_pipelines.evidence import Digest, Record, StageName
from fulcrum_pipelines.resources.compressionjob import CompressionJobSpec, Gate, Recipe

STAGES: tuple[StageName, ...] = get_args(StageName)
"""All stages in the order in which they run; those between the first and the last are optional."""

RECIPE_STAGES: tuple[StageName, ...] = ("prune", "finetune", "quantize")
"""Stages that a recipe asks for."""

MAKING_STAGES: tuple[StageName, ...] = ("convert", *RECIPE_STAGES)
"""Stages that make a candidate."""

NEW_RUN = "new"
"""In place of a run's key: a new run that no job owns."""


OF_A_JOB = re.compile(r"(^|-).{12}-\d+$")
"""How the key of a job's run ends."""


def _is_of_no_job(occurrence: str) -> str:
    if OF_A_JOB.search(occurrence):
        raise ValueError("a job's run could have this key")
    return occurrence


class ResolvedSpec(CompressionJobSpec):
    """A specification that contains recipe and gates themselves, without references.

    In a manifest either may be a reference; the run and the decision must not depend on later
    changes of its target. The same holds for the baseline, if it is a channel's model. A job that
    has no recipe has one without stages here.

    Attributes:
        baseline_model: Digest, in the store, of the ONNX model that candidates are compared with;
            None if that is `model` itself.
    """

    recipe: Recipe = Recipe()
    gates: Annotated[tuple[Gate, ...], Field(max_length=64)]
    baseline_model: Digest | None = None

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The stages that this job asks for, in order."""
        asked = {each for each in RECIPE_STAGES if getattr(self.recipe, each) is not None}
        asked |= {"convert"} if self.candidate is not None else set()
        return tuple(each for each in STAGES if each not in MAKING_STAGES or each in asked)


class Plan(Record):
    """Everything that a run is made from. Stored by its digest before the run is submitted.

    Name, namespace and occurrence become parts of paths in the store, so they are plain names.

    Attributes:
        name: Name of the job.
        namespace: Its namespace; empty without a cluster.
        uid: Identity of the job. Without a cluster, a digest of the manifest.
        attempt: Number of this attempt, from 1.
        spec: The resolved specification: references replaced by what they named, URLs absolute.
        fulcrum_version: Version that made the plan.
        remeasure: Repeat what is timed, also where the store has it with the same inputs.
        occurrence: Id of the recurring run's run that this plan was made for, which no job owns;
            empty for the plan of a job.
    """

    name: Annotated[str, Field(pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
    namespace: Annotated[str, Field(pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$")] = ""
    uid: str
    attempt: int = 1
    spec: ResolvedSpec
    fulcrum_version: str
    remeasure: bool = False
    occurrence: Annotated[
        str, Field(pattern="^([A-Za-z0-9][A-Za-z0-9-]{0,63})?$"), AfterValidator(_is_of_no_job)
    ] = ""

    @property
    def run(self) -> str:
        """The write-ahead key: names the run, and its folder in the store."""
        if self.occurrence:
            return f"{self.name}-{self.occurrence}"
        return f"{self.name}-{self.uid[:12]}-{self.attempt}"

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The stages of the run, in order."""
        return self.spec.stages


def canonical_json(value: Any) -> bytes:
    """Return `value` as JSON with one spelling only, so that equal values have equal digests."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def digest_of(value: bytes) -> str:
    """Return the digest of `value` as `sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(value).hexdigest()}"


def to_json(record: Record) -> bytes:
    """Return `record` as canonical JSON; its digest is the record's identity."""
    return canonical_json(record.model_dump(mode="json", by_alias=True))
