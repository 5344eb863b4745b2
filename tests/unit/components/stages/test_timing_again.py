"""Timings are repeated where they are unreliable or the plan asks; the rest is from the cache."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from builders.details import make_quantize, make_validate
from builders.evidence import make_stage
from builders.figures import make_latency
from onnx_graphs import GraphBuilder
from quantizing import outputs

from fulcrum_components.latency import load_timings, median_ratio, save_timings
from fulcrum_components.stages.recording import record
from fulcrum_components.stages.validate import TIMINGS
from fulcrum_components.stages.worker import execute, must_time_again
from fulcrum_pipelines.contract import Plan, ResolvedSpec
from fulcrum_pipelines.evidence import Artifact, Details, StageEvidence, ValidateDetails
from fulcrum_pipelines.storage.store import CorruptError, Store, cache_path, object_path

PAGE = Path(__file__).parents[4] / "docs" / "gates.md"
KEPT = "written into the cached record, to see whether it is taken"


@dataclass(frozen=True)
class Cached:
    name: str
    details: Details
    again: bool
    again_if_asked: bool


CACHED = (
    Cached("reliable", make_validate(), again=False, again_if_asked=True),
    Cached(
        "one batch size unreliable",
        make_validate(latency=(make_latency(), make_latency(batch=8, reliable=False))),
        again=True,
        again_if_asked=True,
    ),
    Cached("identical files", make_validate(latency=()), again=False, again_if_asked=False),
    Cached("one method", make_quantize(), again=False, again_if_asked=False),
    Cached("chosen", make_quantize(timing_reliable=True), again=False, again_if_asked=True),
    Cached("chosen without", make_quantize(timing_reliable=False), again=True, again_if_asked=True),
    Cached("no timing", make_stage("evaluate").details, again=False, again_if_asked=False),
)


@pytest.mark.parametrize("case", CACHED, ids=lambda case: case.name)
def test_only_what_was_timed_is_repeated(case: Cached) -> None:
    assert must_time_again(case.details, remeasure=False) is case.again
    assert must_time_again(case.details, remeasure=True) is case.again_if_asked


@pytest.fixture
def spec(tmp_path: Path) -> ResolvedSpec:
    """A job that needs no training: one static candidate of two layers."""
    graph = GraphBuilder()
    hidden = graph.relu(graph.gemm("x", "first", 16, 32), "relu")
    model = graph.save(tmp_path / "model.onnx", (16,), graph.gemm(hidden, "second", 32, 4), 4)
    for name, count in {"test": 300, "validation": 100}.items():
        x = np.random.default_rng(count).normal(size=(count, 16)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", x=x, y=outputs(model, x).argmax(axis=1))
    fields = {
        "model": {"uri": f"file://{model}"},
        "data": {
            "task": "classification",
            "calibration": {"uri": f"file://{tmp_path / 'validation.npz'}"},
            "validation": {"uri": f"file://{tmp_path / 'validation.npz'}"},
            "test": {"uri": f"file://{tmp_path / 'test.npz'}"},
        },
        "recipe": {"quantize": {"method": "static"}},
        "gates": [{"name": "small", "kind": "size", "max": 0.9}],
        "measure": {"batchSizes": [1], "pairs": 200},
    }
    return ResolvedSpec.model_validate(fields)


class Runs:
    """Runs of one job over one store, stage by stage in this process."""

    def __init__(self, directory: Path, spec: ResolvedSpec) -> None:
        self.directory = directory
        self.store = Store(str(directory / "store"))
        self.spec = spec
        self.count = 0

    def run(self, *, remeasure: bool = False) -> tuple[StageEvidence, ...]:
        """Return what each stage recorded."""
        self.count += 1
        plan = Plan(
            name="net",
            uid=f"{self.count}" * 12,
            spec=self.spec,
            fulcrum_version="test",
            remeasure=remeasure,
        )
        digest = self.store.put_record(plan)
        found = []
        for stage in plan.stages:
            work_dir = self.directory / f"{plan.run}-{stage}"
            work_dir.mkdir()
            evidence = execute(stage, self.store, digest, work_dir, use_cache=True)
            found.append(record(self.store, plan, evidence, ()))
        return tuple(found)

    def change_cached(self, found: StageEvidence, **changes: object) -> None:
        """Change what the cache holds of validate."""
        details = found.details.model_copy(update=changes)
        path = cache_path("validate", found.inputs_digest)
        self.store.write_record(path, found.model_copy(update={"details": details}))


def validated(stages: tuple[StageEvidence, ...]) -> ValidateDetails:
    details = stages[-1].details
    assert isinstance(details, ValidateDetails)
    return details


def other_outputs(stage: StageEvidence) -> tuple[Artifact, ...]:
    return tuple(each for each in stage.outputs if each.name != TIMINGS)


def timings_of(stage: StageEvidence) -> Artifact:
    (found,) = (each for each in stage.outputs if each.name == TIMINGS)
    return found


def check_recomputed(store: Store, stage: StageEvidence, seed: int, path: Path) -> None:
    """Check that each figure of the clock follows from the stored timings."""
    stored = load_timings(store.get(timings_of(stage).digest, path))
    recorded = validated((stage,)).latency
    assert [each.batch for each in recorded] == list(stored)
    for each in recorded:
        timings = stored[each.batch]
        for pairs, ratio in ((timings.models, each.speedup), (timings.itself, each.aa)):
            again = median_ratio(pairs, ratio.interval.level, seed)
            assert (again.ratio, again.interval.low, again.interval.high) == pytest.approx(
                (ratio.ratio, ratio.interval.low, ratio.interval.high), rel=1e-9
            )
        for times, side in (
            (timings.models.first, each.baseline),
            (timings.models.second, each.candidate),
        ):
            assert (times.shape[0], times.size) == (each.sessions, each.pairs)
            assert (np.median(times) / 1e6, times.mean() / 1e6) == pytest.approx(
                (side.median_ms, side.mean_ms), rel=1e-9
            )
        assert timings.cpu_share == each.cpu_share


def test_timing_is_repeated_and_statistics_are_taken(tmp_path: Path, spec: ResolvedSpec) -> None:
    runs = Runs(tmp_path, spec)
    first = runs.run()
    measured = validated(first).latency[0]
    bad = measured.model_copy(update={"reliable": False, "note": KEPT})
    comparisons = tuple(
        each.model_copy(update={"note": KEPT}) for each in validated(first).comparisons
    )
    runs.change_cached(first[-1], latency=(bad,), comparisons=comparisons)
    again = runs.run()
    assert [stage.cached_from is None for stage in again] == [False, False, True]
    assert validated(again).comparisons == comparisons
    assert validated(again).latency[0].note != KEPT
    assert other_outputs(again[-1]) == other_outputs(first[-1])
    for stage in (first[-1], again[-1]):
        check_recomputed(runs.store, stage, spec.seed, tmp_path / f"{stage.run}.npz")

    good = measured.model_copy(update={"reliable": True, "note": KEPT})
    runs.change_cached(first[-1], latency=(good,))
    assert validated(runs.run()).latency == (good,)
    assert validated(runs.run(remeasure=True)).latency != (good,)


def test_page_on_gates_recomputes_a_speedup(
    tmp_path: Path,
    spec: ResolvedSpec,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fields = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    measure = {"batchSizes": [1, 4], "pairs": 200}
    gates = [{"name": "speed", "kind": "speedup", "min": 1, "confidence": 0.9}]
    changes = {"measure": measure, "gates": gates, "seed": 3}
    runs = Runs(tmp_path, ResolvedSpec.model_validate(fields | changes))
    validate = runs.run()[-1]
    check_recomputed(runs.store, validate, 3, tmp_path / "checked.npz")
    code = program_of_page()
    monkeypatch.setattr(sys, "argv", ["recompute.py", runs.store.url, validate.run])
    monkeypatch.chdir(tmp_path)

    exec(code, {})
    lines = capsys.readouterr().out.splitlines()

    assert lines[::2] == lines[1::2]
    assert [line.split()[:2] for line in lines[::2]] == [
        [batch, name] for batch in ("1", "4") for name in ("speedup", "aa")
    ]

    assert timings_of(validate).size_bytes < 16_000
    stored = runs.directory / "store" / object_path(timings_of(validate).digest)
    timings = load_timings(stored)
    timings[1].models.second[0] //= 2
    stored.chmod(0o600)
    save_timings(timings, stored)
    with pytest.raises(CorruptError, match=f"{timings_of(validate).digest} is corrupt"):
        exec(code, {})
    assert not runs.store.is_intact(timings_of(validate).digest)

    monkeypatch.setattr(sys, "argv", ["recompute.py", runs.store.url, "unknown"])
    with pytest.raises(SystemExit, match=r"has no validate stage of a run 'unknown'$"):
        exec(code, {})


def program_of_page() -> str:
    """Return the program that the page prints."""
    found = re.findall(r"### Recompute a speed-up.*?```python\n(.*?)```", PAGE.read_text(), re.S)
    (code,) = found
    return str(code)


def test_identical_files_are_not_timed(
    tmp_path: Path, spec: ResolvedSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"quantize": {"method": "auto", "exclude": ["*"]}, "allowNoop": True}
    fields = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    runs = Runs(tmp_path, ResolvedSpec.model_validate(fields | {"recipe": recipe}))
    found = runs.run()
    assert validated(found).identical_models
    assert validated(found).latency == ()
    assert "timings.npz" not in {each.name for each in found[-1].outputs}

    monkeypatch.setattr(sys, "argv", ["recompute.py", runs.store.url, found[-1].run])
    with pytest.raises(SystemExit, match=r"^run '.*' timed nothing: both models are the same file"):
        exec(program_of_page(), {})
