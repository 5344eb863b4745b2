"""Inputs and results of a stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fulcrum_components.tasks import find_task
from fulcrum_pipelines.contract import Plan, ResolvedSpec
from fulcrum_pipelines.errors import InfrastructureError, QualityError
from fulcrum_pipelines.evidence import (
    Artifact,
    Conversion,
    DataRead,
    Details,
    StageEvidence,
    StageName,
)
from fulcrum_pipelines.resources.compressionjob import Data, DataSource, Model
from fulcrum_pipelines.storage.store import Store

if TYPE_CHECKING:
    from fulcrum_components.data import Dataset, Labels, TableDataset
    from fulcrum_components.models.checking import Arrays, MakeExamples
    from fulcrum_components.models.loading import LoadedModel
    from fulcrum_components.models.signature import Signature

LABELLED = ("train", "validation", "test")
"""Data sets whose labels are used."""

SIGNATURE = "signature.json"
"""Evaluate's file of the model's signature."""

BASELINE = "baseline.onnx"
"""Evaluate's file of the model that candidates are compared with."""

ONNX = "application/vnd.onnx"
SAFETENSORS = "application/vnd.safetensors"
JSON = "application/json"
NPZ = "application/vnd.numpy.npz"

TRIAL_EXAMPLES = 4

SILENCE_S = 30.0
"""Pause of progress reports after one failed."""


@dataclass(frozen=True)
class Output:
    """A file that a stage made."""

    path: Path
    media_type: str


@dataclass(frozen=True)
class StageResult:
    """Measurements and artifacts of a stage."""

    details: Details
    outputs: dict[str, Output]
    warnings: tuple[str, ...] = ()


@dataclass
class StageContext:
    """The plan, the store and the earlier stages' results, as a stage needs them."""

    stage: StageName
    plan: Plan
    store: Store
    work_dir: Path
    report: Callable[[str, float | None], None]
    inputs: dict[str, str] = field(default_factory=dict)  # result of the stage's `inputs`
    inputs_digest: str = ""  # known from then on
    earlier: StageEvidence | None = None
    """Of a run with the same inputs, if only its timings must be repeated."""
    warnings: list[str] = field(default_factory=list)
    data_read: dict[str, DataRead] = field(default_factory=dict)
    """By name, the data sets whose digests are among the inputs."""
    _opened: dict[str, TableDataset] = field(default_factory=dict)
    _datasets: dict[str, Dataset] = field(default_factory=dict)

    @property
    def spec(self) -> ResolvedSpec:
        return self.plan.spec

    @property
    def previous_stage(self) -> StageName:
        """The stage that ran before this one."""
        stages = self.plan.stages
        return stages[stages.index(self.stage) - 1]

    def did_nothing(self, message: str) -> None:
        """Refuse that this stage changed nothing, or warn of it where the recipe allows it.

        Args:
            message: What was to change and why it did not.

        Raises:
            QualityError: The recipe does not say `allowNoop`.
        """
        if not self.spec.recipe.allow_noop:
            advice = "; change what is asked, or set recipe.allowNoop: true to go on all the same"
            raise QualityError(message + advice, where=f"spec.recipe.{self.stage}")
        self.warnings.append(message)

    def evidence(self, stage: StageName) -> StageEvidence:
        """Return what an earlier `stage` of this run recorded.

        Raises:
            InfrastructureError: It has not run, or its record is gone.
        """
        found = self.store.stage_evidence(self.plan.run, stage)
        if found is None:
            message = f"no evidence of stage {stage}, which should have run before"
            raise InfrastructureError(message, where=f"stage {self.stage}")
        return found

    def output(self, stage: StageName, name: str) -> Artifact:
        """Return the output `name` of an earlier `stage`."""
        for output in self.evidence(stage).outputs:
            if output.name == name:
                return output
        raise InfrastructureError(f"stage {stage} left no {name}", where=f"stage {self.stage}")

    def digest(self, stage: StageName, name: str) -> str:
        """Return the digest of the output `name` of an earlier `stage`."""
        return self.output(stage, name).digest

    def fetch(self, stage: StageName, name: str, file_name: str = "") -> Path:
        """Return a local copy of the output `name` of an earlier `stage`, checked by digest."""
        target = self.work_dir / "inputs" / stage / (file_name or name)
        return target if target.exists() else self.store.get(self.digest(stage, name), target)

    @cached_property
    def model(self) -> LoadedModel:
        """The model as the user gave it, or what the channel holds if the manifest names none."""
        if self.spec.model is not None:
            return self._load("model", self.spec.model, self._examples)
        digest, candidate = self.spec.baseline_model, self.spec.candidate
        if digest is None or candidate is None:
            raise InfrastructureError("spec.model is missing", where=f"stage {self.stage}")
        path = self.store.get(digest, self.work_dir / "held" / BASELINE)
        held = Model(uri=f"file://{path}", format="onnx", meaning=candidate.meaning)
        return self._load("baseline", held, self._examples)

    @cached_property
    def candidate(self) -> LoadedModel:
        """The candidate as the user gave it, which takes and gives what the model does."""
        from fulcrum_components.models.interface import require_same_interface

        def compare(signature: Signature) -> None:
            require_same_interface(
                signature,
                self.signature,
                what="the candidate",
                other="the channel's model" if self.spec.model is None else "spec.model",
                where="spec.candidate",
            )

        def examples(signature: Signature) -> Arrays | None:
            compare(signature)  # before data are looked for under its own names of inputs
            return self._examples(self.signature)

        assert self.spec.candidate is not None
        found = self._load("candidate", self.spec.candidate, examples)
        compare(found.signature)
        return found

    def check_candidate(self) -> None:
        """Refuse a candidate that is missing or another one than declared; no code of it runs.

        Raises:
            UserError: It is.
        """
        from fulcrum_components.models.loading import identify

        model = self.spec.candidate
        if model is not None:
            cache_dir = self.work_dir / "candidate"
            where = "spec.candidate"
            identify(model.uri, model.format, model.digest, cache_dir=cache_dir, where=where)

    def _load(self, field: str, model: Model, examples: MakeExamples) -> LoadedModel:
        from fulcrum_components.models.loading import load_model

        return load_model(
            model.uri,
            model.format,
            digest=model.digest,
            cache_dir=self.work_dir / field,
            task=self.spec.data.task,
            examples=examples,
            meaning=model.meaning,
            where=f"spec.{field}",
        )

    def _examples(self, signature: Signature) -> Arrays | None:
        """Return a few inputs of the test data, on which to try a model with `signature`."""
        test = self._open("test", signature)
        return None if test is None else test.examples(TRIAL_EXAMPLES)

    @cached_property
    def signature(self) -> Signature:
        """The model's signature; later stages have it without loading the model, and torch."""
        if self.stage == "evaluate":
            return self.model.signature
        from fulcrum_components.models.signature import Signature

        return Signature.from_json(self.fetch("evaluate", SIGNATURE).read_bytes())

    @cached_property
    def labels(self) -> Labels | None:
        """The class of each label: evaluate decides, all other stages use the same."""
        from fulcrum_components.data import find_labels, from_record

        data, task = self.spec.data, find_task(self.spec.data.task)
        if not task.labelled:
            return None
        count = task.classes(self.signature.outputs[0])
        if self.stage != "evaluate":
            details = self.evidence("evaluate").details
            if details.kind != "evaluate" or details.labels is None:
                raise InfrastructureError("evaluate recorded no labels", where="stage evaluate")
            return from_record(details.labels, data.classes, count)
        opened = {name: self._open(name, self.signature) for name in LABELLED}
        observed = {name: each.observed() for name, each in opened.items() if each is not None}
        found = {name: labels for name, labels in observed.items() if labels is not None}
        return find_labels(found, data.classes, count)

    @cached_property
    def data(self) -> Data:
        """`spec.data` with the names of the classes, also where the data and not it name them."""
        names = None if self.labels is None else self.labels.names
        data = self.spec.data
        return data if names is None else data.model_copy(update={"classes": list(names)})

    def conversions(self) -> tuple[Conversion, ...]:
        """Return what was done to values of the data sets that were read so far."""
        found: dict[str, list[str]] = {}
        for name in ("train", "calibration", "validation", "test"):
            for text in self._opened[name].notes if name in self._opened else ():
                found.setdefault(text, []).append(name)
        return tuple(Conversion(data=tuple(names), text=text) for text, names in found.items())

    def dataset(self, name: str) -> Dataset | None:
        """Return the data set `spec.data.<name>`, or None if the manifest has none."""
        if getattr(self.spec.data, name) is None:
            return None
        if name not in self._datasets:
            opened = self._open(name, self.signature)
            assert opened is not None
            self._datasets[name] = opened.bound(self.signature, self.labels)
        return self._datasets[name]

    def fingerprint(self, name: str) -> str:
        """Return the digest of all that is read of the data set `name`, and record its files."""
        from fulcrum_components.data import fingerprint

        dataset = self.required_dataset(name)
        columns = self._columns() if name == "test" else ()
        digest = fingerprint(dataset, columns, self.spec.data.time_column)
        opened = self._opened[name]
        self.data_read[name] = DataRead(
            data=name,
            digest=digest,
            examples=len(dataset),
            addresses=opened.addresses(),
            skipped=opened.skipped,
        )
        return digest

    def _open(self, name: str, signature: Signature) -> TableDataset | None:
        from fulcrum_components.data import check_columns, open_unlabelled

        source: DataSource | None = getattr(self.spec.data, name)
        if source is None:
            return None
        if name not in self._opened:
            opened = open_unlabelled(
                source,
                signature,
                self.spec.data.task,
                where=f"spec.data.{name}",
                cache_dir=self.work_dir / "data",
                columns=self._columns() if name == "test" else (),
                needs_targets=name != "calibration",
            )
            for other, each in self._opened.items():
                columns = opened.binding.inputs, each.binding.inputs
                check_columns(*columns, f"spec.data.{name}", f"spec.data.{other}")
            self._opened[name] = opened
        return self._opened[name]

    def _columns(self) -> tuple[str, ...]:
        """Return the columns of the test data that are read beside inputs and answers."""
        from fulcrum_components.evaluation import columns_needed
        from fulcrum_components.evaluation.own_targets import target_columns

        return (*columns_needed(self.spec.data), *target_columns(self.spec.data))

    def required_dataset(self, name: str) -> Dataset:
        """Return the data set `spec.data.<name>`, which admission made sure of."""
        dataset = self.dataset(name)
        if dataset is None:
            raise InfrastructureError(f"spec.data.{name} is missing", where=f"stage {self.stage}")
        return dataset


class Stage(Protocol):
    """The interface of each stage's module."""

    def inputs(self, context: StageContext) -> dict[str, str]:
        """Return the digests of all that the result depends on."""

    def run(self, context: StageContext) -> StageResult:
        """Do the stage's work."""


class ProgressWriter:
    """Passes progress on at most once a second, so that a store is not flooded.

    A store that fails then is no reason to lose the work, only to leave it alone for a while.
    """

    def __init__(
        self, write: Callable[[str, float | None], None], *, interval_s: float = 1.0
    ) -> None:
        self._write = write
        self._interval_s = interval_s
        self._last_s = float("-inf")

    def __call__(self, message: str, fraction: float | None) -> None:
        now_s = time.monotonic()
        if now_s - self._last_s >= self._interval_s:
            self._last_s = now_s
            try:
                self._write(message, fraction)
            except InfrastructureError as error:
                print(f"progress cannot be reported: {error}", flush=True)
                self._last_s = time.monotonic() + SILENCE_S
