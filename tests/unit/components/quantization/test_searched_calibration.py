"""`auto` on data with an outlier: another calibration keeps what minimum and maximum lose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_graphs import Arrays, GraphBuilder
from quantizing import outputs, run

from fulcrum_pipelines.evidence import QuantizeDetails

FEATURES = 16
CLASSES = 8
MAX_DROP = 0.05


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    g = GraphBuilder()
    hidden = g.relu(g.gemm("x", "one", FEATURES, 64), "relu")
    return g.save(tmp_path / "model.onnx", (FEATURES,), g.gemm(hidden, "two", 64, CLASSES), CLASSES)


def normal(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, FEATURES)).astype(np.float32)


def choose(source: Path, examples: np.ndarray, **options: object) -> QuantizeDetails:
    """Let `auto` choose by agreement with fp32 on validation, with all equally fast."""
    validation = normal(2000, seed=2)
    expected = outputs(source, validation).argmax(axis=1)
    return run(
        source,
        data=Arrays(x=examples),
        method="auto",
        maxDrop=MAX_DROP,
        quality=lambda path: float((outputs(path, validation).argmax(axis=1) == expected).mean()),
        speedup=lambda path: 2.0 if path.stem.startswith("static-u8s8") else 0.5,
        batch={"x": validation[:1]},
        **options,
    )


def test_entropy_keeps_what_an_outlier_costs_minmax(mlp: Path) -> None:
    """One value of 100 among 6,400 of a standard normal distribution.

    Agreement with fp32 on 2,000 examples (standard error 0.006): min-max 0.914, percentile 0.916,
    since one row in 400 is no rare one to 99.99 %, and entropy 0.988.
    """
    spoilt = normal(400, seed=1)
    spoilt[7, 3] = 100
    details = choose(mlp, spoilt)
    quality = {record.name: record.quality for record in details.candidates}
    assert list(quality)[:4] == [
        "static-u8s8",
        "static-u8s8-percentile",
        "static-u8s8-entropy",
        "static-s8s8-entropy",
    ]
    assert (quality["static-u8s8"] or 0) < 1 - MAX_DROP < (quality["static-u8s8-entropy"] or 0)
    assert details.chosen == "static-u8s8-entropy"
    assert details.calibration_examples == 400


@dataclass(frozen=True)
class NoSearch:
    name: str
    options: dict[str, object]
    chosen: str


NO_SEARCH = (
    NoSearch("min-max loses next to nothing", {}, "static-u8s8"),
    NoSearch("another was asked for", {"calibration": "entropy"}, "static-u8s8-entropy"),
)


@pytest.mark.parametrize("case", NO_SEARCH, ids=lambda case: case.name)
def test_nothing_is_searched_where(case: NoSearch, mlp: Path) -> None:
    details = choose(mlp, normal(400, seed=1), **case.options)
    assert details.chosen == case.chosen
    assert len([name for name in names(details) if name.startswith("static-u8s8")]) == 1


@pytest.mark.parametrize(
    ("calibration", "chosen"),
    [
        ("minmax", "static-u8s8"),
        ("percentile", "static-u8s8-percentile"),
        ("entropy", "static-u8s8-entropy"),
    ],
)
def test_static_finds_ranges_as_asked(calibration: str, chosen: str, mlp: Path) -> None:
    """One value of 100 spoils the input's range; what clips must leave it out of its scale."""
    spoilt = normal(2000, seed=1)  # the 99.9th percentile of 32,000 values leaves 32 out
    spoilt[7, 3] = 100
    details = run(
        mlp,
        data=Arrays(x=spoilt),
        method="static",
        calibration=calibration,
        batch={"x": spoilt[:1]},
        **({"percentile": 99.9} if calibration == "percentile" else {}),
    )
    assert details.chosen == chosen
    covered = input_span(mlp.with_name("int8.onnx"))
    assert (covered < 30) is (calibration != "minmax")


def input_span(path: Path) -> float:
    """Return the width of the range that the input's integers cover."""
    model = onnx.load(path)
    (scale,) = (node.input[1] for node in model.graph.node if node.input[0] == "x")
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    return 255 * float(onnx.numpy_helper.to_array(values[scale]))


def names(details: QuantizeDetails) -> list[str]:
    return [record.name for record in details.candidates]
