"""Outputs after the first, of all shapes and types, against the baseline's."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from two_outputs import Node, data, signature, write

from fulcrum_components.evaluation.differing import Centre, Differences, Sums, collected, flat
from fulcrum_components.evaluation.fidelity import fidelity_levels, fidelity_of, lost_outputs
from fulcrum_components.evaluation.outcome_file import load_outcomes, save_outcomes
from fulcrum_components.evaluation.outputs import MOST_CALLS, compared_outputs, run_side_by_side
from fulcrum_components.models.signature import TensorSpec
from fulcrum_components.tasks import Outcomes
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import OutputFidelity
from fulcrum_pipelines.resources.compressionjob import Data, Gate

KEEP: list[Node] = [("Identity", ["x"], "second")]
LOSES_NEGATIVES: list[Node] = [("Relu", ["x"], "second")]
SHIFTS: list[Node] = [("Add", ["x", "tenth"], "second")]
SUM = {"keepdims": 0}


def ends(*nodes: Node) -> list[Node]:
    return list(nodes)


def compared(
    root: Path, before: list[Node], after: list[Node], shape: list[Any], dtype: str, n: int = 200
) -> Differences:
    """Return how `second` of the graph `after` differs from that of `before`."""
    baseline = write(root / "before.onnx", before, shape, dtype)
    candidate = write(root / "after.onnx", after, shape, dtype)
    outputs = signature(shape, dtype).outputs[1:]
    (found,) = run_side_by_side(baseline, [candidate], data(n), outputs, batch_size=64)
    return found["second"]


@dataclass(frozen=True)
class Case:
    """Two graphs, and the expected comparison of their second outputs.

    `error` and `agreement` are expected values within 0.03; None if nothing is expected.
    """

    name: str
    before: list[Node]
    after: list[Node]
    error: float | None
    agreement: float | None
    shape: list[Any] = field(default_factory=lambda: ["batch", 4])
    dtype: str = "float32"
    fields: dict[str, Any] = field(default_factory=dict)


# Examples are standard normal, so that relu loses half of the variance about the mean, and the
# shares of changed answers follow from symmetry; 0.03 is three standard errors of 200 x 4 values.
CASES = [
    Case("kept", KEEP, KEEP, 0, 1, fields={"reference": "standard deviation", "wrong": 0}),
    Case("negative values lost", KEEP, LOSES_NEGATIVES, math.sqrt(0.5), 0.94),
    Case("shifted by a tenth", KEEP, SHIFTS, 0.1, 1),
    Case(
        "large mean does not hide the shift",
        ends(("Add", ["x", "hundred"], "second")),
        ends(("Add", ["x", "hundred"], "a"), ("Add", ["a", "tenth"], "second")),
        0.1,
        1,
    ),
    Case(
        "batch on axis 1",
        ends(("Transpose", ["x"], "second", {"perm": [1, 0]})),
        ends(("Relu", ["x"], "a"), ("Transpose", ["a"], "second", {"perm": [1, 0]})),
        math.sqrt(0.5),
        0.94,
        shape=[4, "batch"],
    ),
    Case(
        "hidden states of three axes",
        ends(("Unsqueeze", ["x", "axis"], "second")),
        ends(("Relu", ["x"], "a"), ("Unsqueeze", ["a", "axis"], "second")),
        math.sqrt(0.5),
        None,
        shape=["batch", 1, 4],
    ),
    Case(
        "one number an example",
        ends(("ReduceSum", ["x", "axis"], "second", SUM)),
        ends(("ReduceSum", ["x", "axis"], "a", SUM), ("Neg", ["a"], "second")),
        2,
        0,
        shape=["batch"],
        fields={"answer": "sign"},
    ),
    Case(
        "one probability an example",
        ends(("ReduceSum", ["x", "axis"], "a", SUM), ("Sigmoid", ["a"], "second")),
        ends(
            ("ReduceSum", ["x", "axis"], "a", SUM),
            ("Abs", ["a"], "b"),
            ("Sigmoid", ["b"], "second"),
        ),
        1.35,
        0.5,
        shape=["batch"],
        fields={"answer": "rounded"},
    ),
    Case(
        "whole numbers",
        ends(("ArgMax", ["x"], "second", {"axis": 1, "keepdims": 0})),
        ends(("Abs", ["x"], "a"), ("ArgMax", ["a"], "second", {"axis": 1, "keepdims": 0})),
        None,
        0.53,
        shape=["batch"],
        dtype="int64",
        fields={"answer": "equal values"},
    ),
    Case(
        "truth values",
        ends(("Greater", ["x", "zero"], "second")),
        ends(("Less", ["x", "zero"], "second")),
        None,
        0,
        dtype="bool",
    ),
    Case(
        "a scalar for the whole batch",
        ends(("ReduceMean", ["x"], "second", SUM)),
        ends(("ReduceMean", ["x"], "a", SUM), ("Neg", ["a"], "second")),
        2,
        None,
        shape=[],
        fields={"unit": "calls", "n": 200},
    ),
    Case(
        "a number of rows that depends on the data",
        ends(("NonZero", ["x"], "second")),
        ends(("Relu", ["x"], "a"), ("NonZero", ["a"], "second")),
        None,
        1 / 16,
        shape=[2, "found"],
        dtype="int64",
        fields={"unit": "calls"},
    ),
    Case(
        "zero everywhere, and still",
        ends(("Mul", ["x", "zero"], "second")),
        ends(("Mul", ["x", "zero"], "second")),
        0,
        1,
        fields={"reference": "none"},
    ),
    Case(
        "zero everywhere, and no more",
        ends(("Mul", ["x", "zero"], "second")),
        ends(("Mul", ["x", "tenth"], "second")),
        1,
        0.25,
        fields={"reference": "none"},
    ),
    Case(
        "constant",
        ends(("Mul", ["x", "zero"], "a"), ("Add", ["a", "ten"], "second")),
        ends(
            ("Mul", ["x", "zero"], "a"), ("Add", ["a", "ten"], "b"), ("Add", ["b", "ten"], "second")
        ),
        1,
        1,
        fields={"reference": "root mean square"},
    ),
    Case(
        "NaN in both",
        ends(("Sqrt", ["x"], "second")),
        ends(("Sqrt", ["x"], "second")),
        0,
        1,
        fields={"wrong": 0, "not_finite": 0},
    ),
    Case(
        "infinity in both",
        ends(("Relu", ["x"], "a"), ("Log", ["a"], "second")),
        ends(("Relu", ["x"], "a"), ("Log", ["a"], "second")),
        0,
        1,
        fields={"wrong": 0, "not_finite": 0},
    ),
    Case(
        "a mask's fill does not hide the rest",
        ends(("Greater", ["x", "zero"], "m"), ("Where", ["m", "x", "fill"], "second")),
        ends(
            ("Greater", ["x", "zero"], "m"),
            ("Add", ["x", "ten"], "a"),
            ("Where", ["m", "a", "fill"], "second"),
        ),
        13.0,
        1,
        fields={"wrong": 0},
    ),
    Case(
        "the fill goes elsewhere",
        ends(("Greater", ["x", "zero"], "m"), ("Where", ["m", "x", "fill"], "second")),
        ends(("Less", ["x", "zero"], "m"), ("Where", ["m", "x", "fill"], "second")),
        1.2,  # a wrong example counts with at least the mean spread
        0,
        fields={"wrong": 200, "not_finite": 0},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_fidelity(case: Case, tmp_path: Path) -> None:
    record = fidelity_of(compared(tmp_path, case.before, case.after, case.shape, case.dtype))

    for value, interval, expected in (
        (record.relative_error, record.relative_error_interval, case.error),
        (record.agreement, record.agreement_interval, case.agreement),
    ):
        if expected is None:
            assert value is None
            continue
        tolerance = max(0.03, 0.15 * expected if expected > 1 else 0)
        assert value == pytest.approx(expected, abs=tolerance)
        assert interval is not None
        assert interval.low <= value <= interval.high
    for name, expected_field in case.fields.items():
        assert getattr(record, name) == expected_field


def test_error_is_the_stated_formula(tmp_path: Path) -> None:
    found = fidelity_of(compared(tmp_path, KEEP, LOSES_NEGATIVES, ["batch", 4], "float32"))
    x = next(iter(data().batches(200))).inputs["x"].astype(np.float64)

    squared = ((np.maximum(x, 0) - x) ** 2) / x.var(axis=0)
    expected = math.sqrt(squared.sum() / x.size)
    # The graphs compute in float32, the sums in float64.
    assert found.relative_error == pytest.approx(expected, rel=1e-6)


def lost_value(shape: tuple[int, ...], place: int, axis: int, scale: float) -> float:
    """Return the error of an output of `shape` that lost one value, which is `scale` as large."""
    generator = np.random.default_rng(4)
    before = generator.normal(size=(300, *shape))
    row = np.moveaxis(before, axis, -1)
    row[..., place] *= scale
    after = before.copy()
    np.moveaxis(after, axis, -1)[..., place] = 0.0
    spec = TensorSpec("second", ("batch", *shape), "float32")
    sums, centre = Sums(), Centre()
    for part in np.split(before, 3):
        centre.add(flat(part))
    for part, other in zip(np.split(before, 3), np.split(after, 3), strict=True):
        sums.count(part, other, centre, answers=False)
    error = fidelity_of(collected(spec, sums, centre, by_call=False)).relative_error
    assert error is not None
    return error


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0, 1e3])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((2,), 1),
        ((4,), 1),
        ((100, 4), 2),
        ((4, 200), 1),
        ((16, 200), 1),
        ((3, 9, 9), 1),
        ((9, 9, 3), 3),
    ],
)
def test_lost_value_shows_at_every_scale(shape: tuple[int, ...], axis: int, scale: float) -> None:
    values = shape[axis - 1]
    assert lost_value(shape, 1, axis, scale) == pytest.approx(1 / math.sqrt(values), rel=0.05)


def test_features_count_together() -> None:
    assert lost_value((300,), 1, 1, 1e-4) < 1e-4


def test_value_that_is_constant_is_measured_by_the_others() -> None:
    """A dead feature that moves by a thousandth of the others' deviation is not lost."""
    assert lost_value((4,), 1, 1, 1e-8) < 1e-3


def test_new_nan_is_counted(tmp_path: Path) -> None:
    found = compared(tmp_path, KEEP, [("Sqrt", ["x"], "second")], ["batch", 4], "float32")
    record = fidelity_of(found)

    x = next(iter(data().batches(200))).inputs["x"]
    assert record.not_finite == record.wrong == int((x < 0).any(axis=1).sum())
    assert lost_outputs({"second": found}) == ("output 'second' becomes NaN or infinite",)


def test_calls_are_limited(tmp_path: Path) -> None:
    mean: list[Node] = [("ReduceMean", ["x"], "second", SUM)]
    found = compared(tmp_path, mean, mean, [], "float32", n=MOST_CALLS + 50)
    assert len(found) == MOST_CALLS


def made(squared: Any, same: Any = None, spread: float = 1.0) -> Differences:
    """Return differences of `squared` error an example, against a spread that all have."""
    squared = np.asarray(squared, dtype=np.float64)
    n = len(squared)
    spec = TensorSpec("e", ("batch", 8), "float32")
    no, full = np.zeros(n, dtype=bool), np.full(n, spread)
    answer = "" if same is None else "largest value"
    same = None if same is None else np.asarray(same, dtype=np.float64)
    return Differences(spec, False, answer, squared, full, full, same, no, no)  # type: ignore[arg-type]


def widths(record: OutputFidelity) -> tuple[float, float]:
    error, share = record.relative_error_interval, record.agreement_interval
    assert error is not None
    assert share is not None
    return error.high - error.low, share.high - share.low


def test_one_bad_example_raises_the_upper_bound() -> None:
    record = fidelity_of(made([1.0] + [0.0] * 199))
    assert record.relative_error == pytest.approx(math.sqrt(1 / 200))
    assert record.relative_error_interval is not None
    # 3.69 examples more, each twice as bad as this one, are not excluded at 95 %.
    assert record.relative_error_interval.high >= math.sqrt(8.3 / 200)


def test_equal_answers_leave_the_width_of_a_share() -> None:
    record = fidelity_of(made(np.full(200, 1e-4), np.ones(200)))
    assert record.agreement == 1
    assert record.agreement_interval is not None
    assert record.agreement_interval.low == pytest.approx(0.9817, abs=1e-4)  # 0.025 ** (1 / 200)


def test_groups_widen_intervals() -> None:
    generator = np.random.default_rng(3)
    of_group = generator.random(20)
    groups = np.repeat(np.arange(20), 10)
    differences = made(of_group[groups], of_group[groups] < 0.3)

    alone, grouped = fidelity_of(differences), fidelity_of(differences, groups=groups)

    assert grouped.groups == 20
    assert all(g > 1.5 * a for a, g in zip(widths(alone), widths(grouped), strict=True))


def test_one_example_has_no_interval_of_the_error() -> None:
    assert fidelity_of(made([0.1])).relative_error_interval is None


def test_error_of_true_values_is_covered() -> None:
    """Of 300 samples of skewed errors, 95 % intervals miss the true value in at most 8 %."""
    true = math.sqrt(math.exp(0.5))  # of lognormal squared errors with sigma 1, and spread 1
    generator = np.random.default_rng(11)
    missed = 0
    for _ in range(300):
        interval = fidelity_of(made(generator.lognormal(size=160))).relative_error_interval
        assert interval is not None
        missed += not interval.low <= true <= interval.high
    # At 5 % of 300, three standard errors above are 8.8 %.
    assert missed / 300 <= 0.088


@pytest.mark.parametrize(
    ("squared", "same", "limits", "words"),
    [
        pytest.param(1e-4, 1.0, None, "", id="kept"),
        pytest.param(0.04, 1.0, None, "relative error of 20.0%, 7.0% is allowed", id="error"),
        pytest.param(1e-4, 0.8, None, "answer on 80.0%, 90.0% is needed", id="agreement"),
        pytest.param(0.04, 1.0, {"max": 0.3}, "", id="own-limit"),
        pytest.param(0.04, 0.5, {"max": 0.3}, "", id="own-limit-of-one-figure"),
        pytest.param(1e-4, 0.95, {"min": 0.99}, "99.0% is needed", id="own-agreement"),
        pytest.param(0.04, 1.0, {"max": 0.3, "mode": "DryRun"}, "7.0% is allowed", id="dry-run"),
    ],
)
def test_lost_outputs_are_judged_by_the_gates_limits(
    squared: float, same: float, limits: dict[str, Any] | None, words: str
) -> None:
    differences = {"e": made(np.full(100, squared), np.full(100, same))}
    gates = [] if limits is None else [Gate(name="a", kind="fidelity", output="e", **limits)]
    found = "; ".join(lost_outputs(differences, gates))
    assert words in found
    assert bool(words) == bool(found)


def test_levels_are_those_of_the_gates() -> None:
    gates = [
        Gate(name="a", kind="fidelity", output="e", max=0.1, confidence=0.99),
        Gate(name="b", kind="fidelity", output="other", max=0.1, confidence=0.9),
    ]
    assert fidelity_levels(gates, "e") == (0.95, 0.99)


def spec_of(**fields: Any) -> Data:
    return Data.model_validate({"task": "classification", "test": {"uri": "t.npz"}} | fields)


@pytest.mark.parametrize(
    ("fields", "gates", "where", "words"),
    [
        pytest.param(
            {"ignoredOutputs": ["secnd"]}, (), "spec.data.ignoredOutputs", "did you mean 'second'"
        ),
        pytest.param({"targets": {"third": "y"}}, (), "spec.data.targets", "after the first are"),
        pytest.param({"targets": {"logits": "y"}}, (), "spec.data.targets", "first output"),
        pytest.param({}, ("head",), "spec.gates", "no output 'head'"),
    ],
)
def test_unknown_output_is_refused(
    fields: dict[str, Any], gates: tuple[str, ...], where: str, words: str
) -> None:
    named = [Gate(name="a", kind="fidelity", output=output, max=0.1) for output in gates]
    with pytest.raises(UserError) as caught:
        compared_outputs(signature(["batch", 4]), spec_of(**fields), named)
    assert words in str(caught.value)
    assert where in str(caught.value)


def test_ignored_output_is_not_compared() -> None:
    found = compared_outputs(signature(["batch", 4]), spec_of(ignoredOutputs=["second"]))
    assert found == ()


def test_declared_shape_that_is_not_the_models_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", KEEP, ["batch", 4])
    outputs = signature([4, "batch"]).outputs[1:]
    with pytest.raises(UserError, match="declared as"):
        run_side_by_side(path, [path], data(), outputs)


def test_outcomes_hold_each_example_of_further_outputs(tmp_path: Path) -> None:
    found = compared(tmp_path, KEEP, SHIFTS, ["batch", 4], "float32")
    outcomes = Outcomes(np.zeros((200, 4), np.float32), np.zeros(200, np.int64))
    save_outcomes(outcomes, tmp_path / "o.npz", {"second": found.arrays})

    assert load_outcomes(tmp_path / "o.npz").columns == {}
    with np.load(tmp_path / "o.npz") as file:
        squared, spread = file["output:second:squared"], file["output:second:spread"]
    error = fidelity_of(found).relative_error
    assert math.sqrt(squared.sum() / spread.sum()) == pytest.approx(error)
    assert squared.shape == (200,)
