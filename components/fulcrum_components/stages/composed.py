"""Stages as components of other people's pipelines: artifacts go in and out instead of a plan.

Each call makes a plan and a store around the artifacts that it was given, and runs stages as a job
does, under the same supervision. The records of earlier components come along with the model, see
`fulcrum_pipelines.chain`. Their measurements of quality are not used: validate measures baseline
and candidate itself, on the same test data.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import fulcrum_pipelines
from fulcrum_components.sources.digest import content_digest
from fulcrum_components.stages.component import run_stages
from fulcrum_components.stages.context import ONNX, SIGNATURE
from fulcrum_pipelines.chain import STORE, Chain, read_chain, write_chain
from fulcrum_pipelines.contract import (
    RECIPE_STAGES,
    Plan,
    ResolvedSpec,
    canonical_json,
    digest_of,
)
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import StageEvidence, StageName
from fulcrum_pipelines.storage.store import Store, stage_path

Options = Mapping[str, Any]
"""Values by their path in a job's specification, such as `recipe.prune.sensitivity`; None is none.
`source` means each data set's own options, since all of one component are read alike."""

Check = Callable[[dict[str, Any]], list[str]]
"""Returns what is wrong with a specification by the rules that jobs are held to."""

SOURCE = "source"
GIVEN = "candidate"
"""Folder of an artifact of validate with a candidate that no component made."""
DATA_DIGEST = "data."
MADE_FROM = "model"
TRACED_ON = ("validation", "train")
"""Replaces test data if a component has none: shapes and speed are taken from it."""
CANNOT_DIFFER = ("data.task", "data.classes", "model.meaning")
"""Options that must be the same in a whole chain."""
HEADS = {b"PK\x03\x04": "npz", b"PAR1": "parquet", b"\x93NUMPY": "npy"}
"""First bytes of files of data; an artifact's path has no ending that shows the format."""


@dataclass
class Unshown:
    """No-op artifact, for outputs that the component does not have."""

    path: str
    metadata: dict[str, Any] = field(default_factory=dict)

    def log_metric(self, name: str, value: float) -> None:
        """Do nothing."""

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
        """Do nothing."""


def compress(
    stage: StageName,
    model: str,
    data: Mapping[str, str | None],
    options: Options,
    check: Check,
    made: Any,
    metrics: Any,
) -> None:
    """Run prune, finetune or quantize on a model.

    Args:
        stage: Which.
        model: Path of the model: one of a user's, or what an earlier component made.
        data: Paths of the data sets that are given, by name.
        options: What is asked.
        check: Rules for all of it together.
        made: KFP Model artifact that receives the result.
        metrics: KFP Metrics artifact.

    Raises:
        UserError: What is asked makes no sense, or not of this model.
        StageFailedError: A stage failed.
    """
    given, before = Path(model), read_chain(Path(model))
    _require_order(stage, before)
    folder = Path(made.path)
    source = _take_along(given, before, folder)
    asked = _asked(before, options)
    wanted = _measuring(asked, options) if stage == "quantize" else asked
    spec = _specification(wanted, folder / source, data)
    run = _Run(folder, asked, source, _resolved(spec, check))
    now = _digests(data, asked)
    if before is None or before.data != now:
        run.execute("evaluate")
    else:
        run.adopt(before, ["evaluate"])
    run.adopt(before, _stages_of(before))
    shown = run.execute(stage, metrics=metrics)
    run.store.get(shown["digest"], folder / "model.onnx")
    made.metadata.update(shown)
    run.finish(before, now)


def evaluate(
    model: str,
    test: str,
    options: Options,
    metrics: Any,
    confusion: Any,
    summary: Any,
) -> None:
    """Measure a model on test data.

    Of what an earlier component made, the ONNX file is measured, which is what would be served.

    Args:
        model: Path of the model.
        test: Path of the test data.
        options: What is asked.
        metrics: KFP Metrics artifact.
        confusion: KFP ClassificationMetrics artifact.
        summary: KFP HTML artifact.

    Raises:
        UserError: What is asked makes no sense, or not of this model.
        StageFailedError: The stage failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        before, folder = read_chain(Path(model)), Path(scratch) / "made"
        asked = _asked(before, options)
        asked |= {"recipe": {}, "gates": []}
        if before is None:
            path = folder / _take_along(Path(model), None, folder)
        else:
            folder.mkdir()
            path = Path(model) / "model.onnx"
            asked["model"] = {"meaning": _meaning_of(Path(model), before, folder)}
        spec = _specification(_measuring(asked, options), path, {"test": test})
        run = _Run(folder, asked, "", _resolved(spec, lambda _: []))
        run.execute("evaluate", metrics=metrics, confusion=confusion, summary=summary)


def validate(
    baseline: str,
    candidate: str,
    data: Mapping[str, str | None],
    options: Options,
    check: Check,
    evidence: Any,
    metrics: Any,
) -> None:
    """Compare a candidate with a baseline, both measured here on the same test data.

    Args:
        baseline: Path of the model that the candidate was made from, or of another ONNX file, such
            as of what serves now. If no component made the candidate, of any model.
        candidate: Path of what prune, finetune or quantize made, or of a model from elsewhere.
        data: Paths of the test data and of all that the candidate was made with, since test
            examples in those must be found.
        options: What is asked, with the gates.
        check: Rules for all of it together.
        evidence: KFP artifact that receives the store with the whole evidence.
        metrics: KFP Metrics artifact.

    Raises:
        UserError: What is asked makes no sense, or the artifacts do not belong together.
        StageFailedError: A stage failed.
    """
    before = read_chain(Path(candidate))
    if before is None:
        _validate_given(Path(baseline), Path(candidate), data, options, check, evidence, metrics)
        return
    folder = Path(evidence.path)
    source = _take_along(Path(candidate), before, folder)
    asked = _asked(before, options)
    spec = _specification(_measuring(asked, options), folder / source, data)
    held = _other_baseline(Path(baseline), folder / source)
    if held is not None:
        kept = _store(folder).put(held, "baseline.onnx", ONNX)
        spec["baselineModel"] = kept.digest
    run = _Run(folder, asked, source, _resolved(spec, check))
    run.execute("evaluate")
    run.adopt(before, _stages_of(before))
    run.execute("validate", metrics=metrics)
    run.finish(before, _digests(data, asked))


def _validate_given(
    baseline: Path,
    candidate: Path,
    data: Mapping[str, str | None],
    options: Options,
    check: Check,
    evidence: Any,
    metrics: Any,
) -> None:
    """Compare a candidate that no component made; what it was trained on is data that are given."""
    folder, asked = Path(evidence.path), _asked(None, options)
    made = read_chain(baseline)
    if made is not None:
        with tempfile.TemporaryDirectory() as scratch:
            meaning = _meaning_of(baseline, made, Path(scratch))
        asked = _merged(asked, {"model": {"meaning": meaning}})
        baseline = baseline / "model.onnx"
    source = _take_along(baseline, None, folder)
    given = folder / GIVEN / _model_name(candidate, "candidate")
    _copy_model(candidate, given)
    spec = _specification(asked, folder / source, data)
    spec["candidate"] = {**asked.get("model", {}), "uri": f"file://{given.absolute()}"}
    if source.endswith(".onnx"):  # only what it was compared with may be replaced by it
        spec["baselineModel"] = _store(folder).put(baseline, "baseline.onnx", ONNX).digest
    run = _Run(folder, asked, source, _resolved(spec, check))
    run.execute("evaluate")
    run.execute("convert")
    run.execute("validate", metrics=metrics)
    run.finish(None, _digests(data, asked))


class _Run:
    """One run in the store of an artifact's directory."""

    def __init__(
        self, folder: Path, asked: dict[str, Any], source: str, spec: ResolvedSpec
    ) -> None:
        self.folder, self.asked, self.source = folder, asked, source
        self.store = _store(folder)
        self.plan = Plan(
            name="composed",
            uid=uuid.uuid4().hex,
            spec=spec,
            fulcrum_version=fulcrum_pipelines.__version__,
        )
        self.digest = self.store.put_record(self.plan)
        self.store.write_record(f"runs/{self.plan.run}/plan.json", self.plan)

    def execute(
        self,
        stage: StageName,
        *,
        metrics: Any = None,
        confusion: Any = None,
        summary: Any = None,
    ) -> dict[str, Any]:
        """Run `stage` as a job does; return the information to show about its model."""
        with tempfile.TemporaryDirectory() as scratch:
            model, unshown = (Unshown(f"{scratch}/{name}") for name in ("model", "unshown"))
            run_stages(
                stage,
                str(self.store.url),
                self.plan.run,
                self.digest,
                False,  # results of earlier components are taken over by name, not from the cache
                "",  # the plan is this run's
                model,
                metrics or unshown,
                confusion,
                summary or unshown,
            )
        return {key: value for key, value in model.metadata.items() if key != "address"}

    def adopt(self, before: Chain | None, stages: Sequence[StageName]) -> None:
        """Take over what earlier components recorded of `stages`, as a cache does.

        Raises:
            UserError: They worked on another model or other data than are here now.
        """
        for stage in stages:
            assert before is not None
            record = _recorded(self.store, before.run, stage)
            if stage != "evaluate":
                _require_same_inputs(record, _recorded(self.store, self.plan.run, "evaluate"))
            path = stage_path(self.plan.run, stage)
            self.store.write_record(path, record.taken_by(self.plan.run, self.digest))

    def finish(self, before: Chain | None, data: dict[str, str]) -> None:
        """Write what the next component needs to know, and drop what none needs."""
        for path in ("checkpoints", "cache", *([f"runs/{before.run}"] if before else [])):
            self.store.delete(path)
        chain = Chain(
            options=self.asked,
            run=self.plan.run,
            plan=self.digest,
            source=self.source,
            data=data,
        )
        write_chain(chain, self.folder)


def _store(folder: Path) -> Store:
    return Store(str(folder / STORE))


def _recorded(store: Store, run: str, stage: StageName) -> StageEvidence:
    found = store.stage_evidence(run, stage)
    if found is None:
        raise UserError(f"it has no record of stage {stage}", where=store.url)
    return found


def _stages_of(chain: Chain | None) -> list[StageName]:
    recipe = {} if chain is None else chain.options.get("recipe", {})
    return [stage for stage in RECIPE_STAGES if stage in recipe]


def _digests(data: Mapping[str, str | None], asked: dict[str, Any]) -> dict[str, str]:
    """Return the digest of each data set's files, and of how they are read."""
    found = {name: content_digest(Path(path)) for name, path in data.items() if path is not None}
    return {**found, SOURCE: digest_of(canonical_json(asked.get(SOURCE, {})))}


def _require_order(stage: StageName, before: Chain | None) -> None:
    """Refuse a stage after itself or after a later one, which no job could run either."""
    done = _stages_of(before)
    late = [each for each in done if RECIPE_STAGES.index(each) >= RECIPE_STAGES.index(stage)]
    if late:
        message = (
            f"{stage} cannot follow {late[-1]}; the order is {', '.join(RECIPE_STAGES)}, each "
            "once at most"
        )
        raise UserError(message, where="model")


def _require_same_inputs(record: StageEvidence, evaluated: StageEvidence) -> None:
    for name, digest in record.inputs.items():
        if name != MADE_FROM and not name.startswith(DATA_DIGEST):
            continue
        now = evaluated.inputs.get(name)
        what = name.removeprefix(DATA_DIGEST)
        if now is None:
            message = f"stage {record.stage} was given {what}; give it here too"
            raise UserError(message, where=what)
        if now != digest:
            message = f"is not what stage {record.stage} was given ({now}, it had {digest})"
            raise UserError(message, where=what)


def _take_along(given: Path, before: Chain | None, folder: Path) -> str:
    """Copy a model and what belongs to it to `folder`; return the source's path below that."""
    folder.mkdir(parents=True, exist_ok=True)
    if before is not None:
        shutil.copytree(given / STORE, folder / STORE, dirs_exist_ok=True)
        source = before.source
        if not (given / source).resolve().is_relative_to(given.resolve()):
            raise UserError(f"its source '{source}' leads out of it", where=str(given))
        given = given / source
    else:
        source = f"{SOURCE}/{_model_name(given)}"
    _copy_model(given, folder / source)
    return source


def _copy_model(given: Path, target: Path) -> None:
    if given.is_dir():
        shutil.copytree(given, target, symlinks=True, dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(given, target)


def _model_name(path: Path, where: str = "model") -> str:
    """Return a name for the model at `path`, with the ending of its format.

    Raises:
        UserError: There is nothing.
    """
    if path.is_dir():
        return "bundle"
    if not path.is_file():
        raise UserError(f"there is no model at '{path}'", where=where)
    return "model.pt2" if _head(path).startswith(b"PK\x03\x04") else "model.onnx"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _other_baseline(baseline: Path, source: Path) -> Path | None:
    """Return the ONNX file to compare with, or None where it is the candidate's own source.

    Raises:
        UserError: It is neither.
    """
    made = read_chain(baseline)
    if made is not None:
        return baseline / "model.onnx"
    name = _model_name(baseline)
    if content_digest(baseline) == content_digest(source):
        return None
    if name == "model.onnx":
        return baseline
    message = (
        "is another model than the candidate was made from; give that one, or an ONNX file to "
        "compare with"
    )
    raise UserError(message, where="baseline")


def _meaning_of(model: Path, chain: Chain, folder: Path) -> str:
    from fulcrum_components.models.signature import Signature

    store = _store(model)
    outputs = {each.name: each for each in _recorded(store, chain.run, "evaluate").outputs}
    path = store.get(outputs[SIGNATURE].digest, folder / SIGNATURE)
    return str(Signature.from_json(path.read_bytes()).meaning)


def _asked(before: Chain | None, options: Options) -> dict[str, Any]:
    """Return what was asked of earlier components and of this one, whose word counts.

    Raises:
        UserError: They contradict each other where a chain must agree.
    """
    asked: dict[str, Any] = {} if before is None else _merged(before.options, {})
    for path in CANNOT_DIFFER:
        earlier, now = _at(asked, path), options.get(path)
        if earlier is not None and now is not None and earlier != now:
            message = f"is {now!r} here, {earlier!r} when the model was made"
            raise UserError(message, where=path)
    for path, value in options.items():
        if value is not None:
            nested = value
            for key in reversed(path.split(".")):
                nested = {key: nested}
            asked = _merged(asked, nested)
    return asked


def _at(asked: dict[str, Any], path: str) -> Any:
    found: Any = asked
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _measuring(asked: dict[str, Any], options: Options) -> dict[str, Any]:
    """Return `asked` for a component that trains nothing, which may run on a machine without a GPU.

    The device of an earlier component is not asked of it.
    """
    return _merged(asked, {"recipe": {"device": options.get("recipe.device") or "auto"}})


def _specification(
    asked: dict[str, Any], model: Path, data: Mapping[str, str | None]
) -> dict[str, Any]:
    """Return a job's specification of what is asked, with the paths of this pod."""
    given = {name: path for name, path in data.items() if path is not None}
    reading = asked.get(SOURCE, {})
    sources = {name: _source(Path(path), reading, name) for name, path in given.items()}
    if "test" not in sources:
        stand_in = next((name for name in TRACED_ON if name in sources), None)
        if stand_in is None:
            raise UserError(
                "needs examples to take shapes from; give train or validation", where="data"
            )
        sources["test"] = sources[stand_in]
    spec = {key: value for key, value in asked.items() if key != SOURCE}
    return {
        **spec,
        "model": {**asked.get("model", {}), "uri": f"file://{model.absolute()}"},
        "data": {**asked.get("data", {}), **sources},
        "gates": asked.get("gates", []),
    }


def _source(path: Path, reading: dict[str, Any], name: str) -> dict[str, Any]:
    if not path.exists():
        raise UserError(f"there is nothing at '{path}'", where=name)
    known = reading.get("format", "auto")
    if known == "auto" and not path.suffix:
        known = "imageFolder" if path.is_dir() else _format_of(_head(path))
    return {**reading, "uri": f"file://{path.absolute()}", "format": known}


def _format_of(head: bytes) -> str:
    return next((name for start, name in HEADS.items() if head.startswith(start)), "csv")


def _resolved(spec: dict[str, Any], check: Check) -> ResolvedSpec:
    """Return the specification, held to the rules of a job.

    Raises:
        UserError: It breaks some.
    """
    extra = {key: spec[key] for key in ("baselineModel",) if key in spec}
    problems = check({key: value for key, value in spec.items() if key not in extra})
    if problems:
        raise UserError("; ".join(problems))
    try:
        return ResolvedSpec.model_validate(spec)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(first["msg"], where=f"spec.{field}") from error
