"""Schema, evaluators, gates, reports and docs know what the catalogue knows: no more, no less.

Adding a metric, a task or a kind of gate fails here until all of them know it; CONTRIBUTING.md
names the files. The rows are compared with behaviour: what the schema accepts, what metrics
compute from outcomes, and what gates find in the results of validate.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from builders.details import make_validate
from builders.figures import make_fidelity, make_latency
from gate_subjects import SUBJECTS, with_details
from manifest_tables.job import GOOD
from outcome_makers import classifiers

from fulcrum_components.evaluation import (
    METRICS as EVALUATORS,
)
from fulcrum_components.evaluation import (
    Outcomes,
    compare_all,
    metric_value,
    metrics_for,
    required_comparisons,
)
from fulcrum_components.evaluation.baseline import constant_value
from fulcrum_components.evaluation.fidelity import fidelity_levels
from fulcrum_components.evaluation.metrics import DEFINED
from fulcrum_components.latency import speedup_confidences
from fulcrum_components.tasks import TASKS as BEHAVIOURS
from fulcrum_components.tasks import find_task
from fulcrum_pipelines import gates
from fulcrum_pipelines.catalog import (
    GATE_KINDS,
    METRICS,
    TASKS,
    Direction,
    GateKind,
    MetricKind,
    task_of_meaning,
    tasks_of_kind,
    tasks_of_metric,
)
from fulcrum_pipelines.evidence import Interval, Record, ValidateDetails
from fulcrum_pipelines.gates.kinds import KINDS, module_name
from fulcrum_pipelines.manifests import check_resolved
from fulcrum_pipelines.report.formatting import SPACE
from fulcrum_pipelines.report.sections.gate_results import gate_writer
from fulcrum_pipelines.resources.compressionjob import Data, DataSlice, DataSource, Gate, GateSlice
from fulcrum_pipelines.validation.schemas import gates_schema, job_spec_schema

R = TypeVar("R", bound=Record)

ROOT = Path(__file__).parents[3]
FIELDS = gates_schema()["items"]["properties"]
OF_TASK = [(task.name, name) for task in TASKS.values() for name in task.metrics]
LARGEST = {"margin": 0.9, "min": 0.1, "max": 0.9}
"""Limits that the schema accepts for every value."""


def gate_of(kind: GateKind, metric: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a gate with what `kind` needs, as in a manifest."""
    metric = metric or next(iter(METRICS))
    higher = METRICS[metric].direction == "higher"
    limit = "min" if kind.limits == ("min", "max") and higher else kind.limits[-1]
    gate: dict[str, Any] = {"name": "g", "kind": kind.name, limit: LARGEST[limit]}
    if kind.names_metric:
        gate["metric"] = metric
    if kind.measures == "outputs":
        gate["output"] = "embedding"
    return gate | fields


def accepts(gate: dict[str, Any], task: str | None = None) -> bool:
    """Return whether the schema accepts a job with `gate`, of a task that has the gate's metric."""
    if task is None:
        kinds = tasks_of_kind(gate["kind"])
        task = next(t for t in (tasks_of_metric(gate["metric"]) if "metric" in gate else kinds))
    data = GOOD["spec"]["data"] | {"task": task, "slices": [{"name": "site", "column": "site"}]}
    return not check_resolved(GOOD["spec"] | {"data": data, "gates": [gate]})


def gates_of_task(task: str) -> Iterator[dict[str, Any]]:
    """Yield a gate of each kind and metric for `task`."""
    for kind in GATE_KINDS.values():
        if task in tasks_of_kind(kind.name):
            for metric in TASKS[task].metrics if kind.names_metric else (None,):
                yield gate_of(kind, metric)


@pytest.mark.parametrize(
    ("schema", "known"),
    [
        (FIELDS["metric"], METRICS),
        (FIELDS["kind"], GATE_KINDS),
        (job_spec_schema()["properties"]["data"]["properties"]["task"], TASKS),
        (
            job_spec_schema()["properties"]["model"]["properties"]["meaning"],
            dict.fromkeys(meaning for task in TASKS.values() for meaning in task.meanings),
        ),
    ],
    ids=["metrics", "kinds", "tasks", "meanings"],
)
def test_schema_lists_what_the_catalogue_lists(schema: dict[str, Any], known: Any) -> None:
    assert schema["enum"] == list(known)


@pytest.mark.parametrize(
    ("direction", "unit", "accepted"),
    [
        ("higher", "share", True),
        ("lower", "share", False),
        ("higher", "", False),
        ("lower", "nats", False),
    ],
)
@pytest.mark.parametrize("counted", [True, False])
def test_counted_metric_must_be_a_share_of_right_answers(
    direction: Direction, unit: str, accepted: bool, counted: bool
) -> None:
    """Gates recompute it from the counts of right answers, whichever way is better."""
    with nullcontext() if accepted or not counted else pytest.raises(ValueError, match="counted"):
        MetricKind("errorRate", "Error rate", direction, unit, counted=counted)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("metric", METRICS)
def test_schema_knows_the_tasks_of_each_metric(metric: str, task: str) -> None:
    for kind in GATE_KINDS.values():
        if kind.names_metric and is_bounded(kind, metric):
            assert accepts(gate_of(kind, metric), task) == (metric in TASKS[task].metrics), (
                kind.name
            )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", GATE_KINDS)
def test_schema_knows_the_tasks_of_each_kind(name: str, task: str) -> None:
    gate = gate_of(GATE_KINDS[name], TASKS[task].main)
    assert accepts(gate, task) == (task in tasks_of_kind(name))


@pytest.mark.parametrize("kind", GATE_KINDS.values(), ids=lambda kind: kind.name)
def test_schema_knows_the_fields_of_each_kind(kind: GateKind) -> None:
    gate = gate_of(kind)
    others: dict[str, tuple[Any, bool]] = {
        "maxGain": (0.1, kind.checks_gain),
        "slices": ([{"by": "site"}], kind.on_slices),
        "batch": (1, kind.measures == "latency"),
        "output": ("embedding", kind.measures == "outputs"),
        "metric": (kind.metric or next(iter(METRICS)), kind.names_metric),
        **{limit: (value, limit in kind.limits) for limit, value in LARGEST.items()},
    }
    task = tasks_of_kind(kind.name)[0]
    assert accepts(gate, task)
    for field, (value, taken) in others.items():
        assert accepts(gate | {field: value}, task) == taken, field
    for field in ("metric", "output"):
        without = {name: value for name, value in gate.items() if name != field}
        assert accepts(without, task) == (field not in gate), field
    assert not accepts({name: value for name, value in gate.items() if name not in LARGEST}, task)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_schema_knows_which_metrics_are_shares(metric: Any) -> None:
    """No change of a share is 1, and no share is 2: such a limit was meant in other units."""
    for kind in GATE_KINDS.values():
        if kind.names_metric and kind.value != "relative change":
            too_much = {name: 1.0 if name == "margin" else 2.0 for name in kind.limits[-1:]}
            assert accepts(gate_of(kind, metric.name, **too_much)) != metric.share, kind.name


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_limit_on_the_good_side_alone_is_refused(metric: Any) -> None:
    """Every model that is bad enough keeps it."""
    for kind in GATE_KINDS.values():
        if kind.names_metric and not kind.has_margin and is_bounded(kind, metric.name):
            gate = {"name": "g", "kind": kind.name, "metric": metric.name}
            for limit in ("min", "max"):
                needed = limit == ("min" if metric.direction == "higher" else "max")
                assert accepts(gate | {limit: 0.5}) == needed, (kind.name, limit)


def test_each_metric_has_a_task_and_an_evaluator_and_none_is_unknown() -> None:
    assert set(DEFINED) == set(METRICS) == {name for _, name in OF_TASK}
    for task in TASKS.values():
        assert {*task.slice_metrics, *task.lever_metrics} <= set(task.metrics)
        assert task.main == task.lever_metrics[0]


def is_bounded(kind: GateKind, metric: str) -> bool:
    """Return whether a gate of `kind` can bound the metric: noise may raise a relative change."""
    return kind.value != "relative change" or not METRICS[metric].raised_by_noise


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_best_constant_is_the_evaluators(metric: Any) -> None:
    skewed = np.array([0.0, 0.0, 0.0, 8.0])
    best = float(EVALUATORS[metric.name].best_value(skewed))
    assert best == {"mean": 2.0, "median": 0.0}[metric.best_constant]


@cache
def outcomes_of(task: str) -> tuple[Outcomes, Outcomes]:
    """Return a good baseline, and a candidate that is hardly worse; 700 examples on two sites."""
    site = {"site": np.arange(700) % 2}
    if find_task(task).labelled:
        pair = classifiers(700, 7, noise=0.02)
        good, almost = (
            Outcomes(o.outputs, o.targets, site) for o in (pair.baseline, pair.candidate)
        )
        return good, almost
    targets, error, noise = np.random.default_rng(0).normal(size=(3, 700))
    good = targets + 0.5 * error
    return Outcomes(good, targets, site), Outcomes(good + 0.01 * noise, targets, site)


@pytest.mark.parametrize(("task", "name"), OF_TASK)
def test_metrics_behave_as_their_rows_say(task: str, name: str) -> None:
    row, evaluator = METRICS[name], EVALUATORS[name]
    good, _ = outcomes_of(task)
    mixed = np.random.default_rng(0).permutation(len(good))
    ruined = Outcomes(good.outputs[mixed], good.targets)
    perfect = (
        np.eye(7, dtype=np.float32)[good.targets] if find_task(task).labelled else good.targets
    )
    value, worse, best, constant = (
        metric_value(good, name),
        metric_value(ruined, name),
        metric_value(Outcomes(perfect, good.targets), name),
        constant_value(good, task, name),
    )
    assert value is not None
    assert worse is not None
    assert best is not None
    assert constant is not None
    assert (worse < value < best) if row.direction == "higher" else (worse > value > best)
    low, high = row.ends
    assert all(low <= each <= high for each in (value, worse, best, constant))
    assert best == pytest.approx(high if row.direction == "higher" else low, abs=1e-6)
    assert row.constant_is_perfect == (abs(constant - best) < 0.01)
    assert row.counted == (evaluator.correct is not None)
    assert row.raised_by_noise == (evaluator.noise is not None)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_each_meaning_of_a_task_has_a_loss(task: Any) -> None:
    asked = find_task(task.name)
    outputs = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    targets = torch.tensor([0, 1]) if asked.labelled else outputs.double()
    for meaning in task.meanings:
        assert asked.loss(outputs, targets, meaning).shape == (2,)
        assert meaning in task_of_meaning(meaning).meanings


def test_each_task_has_a_behaviour_and_none_is_unknown() -> None:
    assert set(BEHAVIOURS) == set(TASKS)


def test_each_kind_has_a_module_and_no_module_is_of_an_unknown_kind() -> None:
    assert list(KINDS) == list(GATE_KINDS)
    deciding = set()
    for found in pkgutil.iter_modules(gates.__path__, f"{gates.__name__}."):
        module = importlib.import_module(found.name)
        own = getattr(module, "decide", None)
        whole = own is not None and list(inspect.signature(own).parameters) == ["gate", "details"]
        interval = hasattr(module, "limit") and hasattr(module, "observe")
        if whole or interval:
            assert whole != interval, found.name
            deciding.add(found.name)
        if interval:
            assert list(inspect.signature(module.limit).parameters) == ["gate", "part"]
            observed = list(inspect.signature(module.observe).parameters)
            assert observed == ["gate", "details", "where", "limit"]
    assert deciding == {module_name(kind) for kind in GATE_KINDS}


def at_level(record: R, level: float) -> R:
    """Return `record` with its intervals at `level`."""
    intervals = {
        name: value.model_copy(update={"level": level})
        for name, value in record
        if isinstance(value, Interval)
    }
    return record.model_copy(update=intervals)


def asked(fields: dict[str, Any], confidence: float) -> Gate:
    """Return a gate, also on slices if it can be, that a candidate which is hardly worse passes."""
    kind = GATE_KINDS[fields["kind"]]
    gate = Gate.model_validate(fields | {"confidence": confidence})
    if not kind.on_slices:
        return gate
    limits: dict[str, float | None] = {}
    metric = METRICS[kind.metric_of(gate.metric)]
    if "min" in kind.limits and metric.direction == "higher":
        limits = {"max": None, "min": -0.9}
    elif kind.value == "metric":
        limits = {"max": 9.0}
    return gate.model_copy(update={"slices": (GateSlice(by="site"),), **limits})


@cache
def asked_of(task: str) -> dict[str, Gate]:
    """Return every gate, each at a different confidence, so that it finds its own figures only."""
    every = list(gates_of_task(task))
    return {
        f"{fields['kind']}-{fields.get('metric', '')}": asked(fields, 0.85 + 0.1 * i / len(every))
        for i, fields in enumerate(every)
    }


@cache
def measured(task: str) -> ValidateDetails:
    """Return what validate measures for all gates, of a candidate that is hardly worse."""
    every = list(asked_of(task).values())
    baseline, candidate = outcomes_of(task)
    slices = (DataSlice(name="site", column="site"),)
    data = Data(task=task, test=DataSource(uri="test.npz"), slices=slices)  # type: ignore[arg-type]
    requests = required_comparisons(every, data, baseline)
    timed = make_latency(1, baseline_ms=1.7, speedup=5.8)
    ratio = at_level(timed.speedup, speedup_confidences(every)[1])
    levels = fidelity_levels(every, "embedding")
    return make_validate(
        comparisons=compare_all(baseline, candidate, requests, task),
        metrics_baseline=metrics_for(baseline, every, data),
        metrics_candidate=metrics_for(candidate, every, data),
        latency=(timed.model_copy(update={"speedup": ratio}),),
        fidelity=tuple(at_level(make_fidelity(), level) for level in levels),
        test_examples=len(baseline),
    )


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task in TASKS for name in asked_of(task)]
)
def test_each_gate_finds_what_validate_measures_for_it(task: str, name: str) -> None:
    """At its own confidence and on its slices; else it would be inconclusive in every run."""
    gate = asked_of(task)[name]
    kind = GATE_KINDS[gate.kind]
    result = gates.decide(with_details(measured(task)), [gate]).gates[0]
    if kind.value == "relative change" and METRICS[str(gate.metric)].raised_by_noise:
        assert "cannot be bounded" in result.reason
    else:
        assert result.verdict == "Pass", result.reason
        assert [part.verdict for part in result.slices] == ["Pass", "Pass"] * kind.on_slices


WRITTEN = {
    "share": ("50.00", f"{SPACE}%"),
    "ratio": ("×0.500", ""),
    "relative change": ("+50.00", f"{SPACE}%"),
}


@pytest.mark.parametrize("kind", GATE_KINDS.values(), ids=lambda kind: kind.name)
def test_report_writes_values_of_each_kind_in_their_unit(kind: GateKind) -> None:
    for metric in METRICS.values() if kind.names_metric else (None,):
        written = gate_writer(kind.name, metric.name if metric else None)(0.5)
        if kind.value in WRITTEN:
            assert written == "".join(WRITTEN[kind.value])
        elif metric is not None and kind.value == "metric change":
            assert written == (f"+50.00{SPACE}points" if metric.share else "+0.5000")
        else:
            assert metric is not None
            assert written == (f"50.00{SPACE}%" if metric.share else "0.5000")


def test_truth_tables_have_each_kind() -> None:
    assert {subject.gate.kind for subject in SUBJECTS.values()} == set(GATE_KINDS)


@pytest.mark.parametrize(
    ("first_column", "known"), [("kind", GATE_KINDS), ("metric", METRICS)], ids=["kinds", "metrics"]
)
def test_docs_have_each_kind_and_metric(first_column: str, known: Any) -> None:
    lines = iter((ROOT / "docs" / "gates.md").read_text().splitlines())
    next(line for line in lines if line.startswith(f"| {first_column} | "))
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(line.split("|")[1].strip().strip("`"))
    assert sorted(rows) == sorted(known)


NAMES = {"metrics": set(METRICS), "kinds of gates": set(GATE_KINDS), "tasks": set(TASKS)}
UNMISTAKABLE = {*METRICS, *TASKS}
"""Names that mean nothing else; memory and calibration are also words for other things."""


def named_in(node: ast.AST) -> list[str]:
    """Return the texts that a literal holds, or that something is compared with."""
    parts: list[Any] = []
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        parts = node.elts
    elif isinstance(node, ast.Dict):
        parts = node.keys
    elif isinstance(node, ast.Compare):
        parts = [node.left, *node.comparators]
    elif isinstance(node, ast.MatchValue):
        parts = [node.value]
    return [part.value for part in parts if isinstance(part, ast.Constant)]


def compares_a_meaning(node: ast.AST) -> bool:
    """Return whether what an output means is compared with a text, as in `meaning == "logits"`."""
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    return any(isinstance(side, ast.Constant) for side in sides) and any(
        isinstance(side, ast.Name | ast.Attribute) and ast.unparse(side).endswith("meaning")
        for side in sides
    )


def test_only_tasks_ask_what_an_output_means() -> None:
    found = []
    for package in ("operator/fulcrum_operator", "pipelines/fulcrum_pipelines", "components"):
        for path in (ROOT / package).rglob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text()))
            if "tasks" not in path.parts and any(map(compares_a_meaning, nodes)):
                found.append(str(path.relative_to(ROOT)))
    assert not found


@pytest.mark.parametrize(
    ("code", "caught"),
    [
        ("if problem.meaning == 'value': ...", True),
        ("x = 0 if 'logits' != meaning else 1", True),
        ("same = first.meaning == second.meaning", False),
        ("none = meaning is other", False),
    ],
)
def test_comparisons_of_meanings_are_seen(code: str, *, caught: bool) -> None:
    assert any(map(compares_a_meaning, ast.walk(ast.parse(code)))) == caught


def test_no_other_module_lists_metrics_kinds_or_tasks() -> None:
    """Nor decides by a metric's or a task's name: what differs is a field of its row."""
    found = []
    packages = ("operator/fulcrum_operator", "pipelines/fulcrum_pipelines", "components")
    for path in (path for package in packages for path in (ROOT / package).rglob("*.py")):
        if "catalog" in path.parts or path.name == "compressionjob.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = set(named_in(node))
            listed = [what for what, known in NAMES.items() if len(names & known) > 1]
            compared = isinstance(node, ast.Compare | ast.MatchValue) and names & UNMISTAKABLE
            if listed or compared:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {sorted(names)}")
    assert not found, "\n".join(found)
