"""Every form of plot, read back from its markup."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum_pipelines.report.plots.bars import Bar, bar_plot
from fulcrum_pipelines.report.plots.curves import Curve, curve_plot
from fulcrum_pipelines.report.plots.distributions import Ridge, densities, distribution_plot
from fulcrum_pipelines.report.plots.heatmap import HeatCell, heatmap
from fulcrum_pipelines.report.plots.intervals import Marker, Row, interval_plot
from fulcrum_pipelines.report.plots.lever_steps import lever_plot

SVG = "{http://www.w3.org/2000/svg}"


def read(markup: str) -> ET.Element:
    return ET.fromstring(markup)


def of_class(root: ET.Element, name: str) -> list[ET.Element]:
    return [each for each in root.iter() if name in str(each.get("class")).split()]


def texts(root: ET.Element) -> list[str]:
    return [str(each.text) for each in root.iter(f"{SVG}text")]


def x_of(element: ET.Element) -> float:
    return float(str(element.get("cx")))


def write(value: float) -> str:
    return f"{value:g}"


def test_dots_stand_in_order_of_their_values() -> None:
    rows = [
        Row("baseline", 0.978, 0.970, 0.985, "97.8 %", "baseline"),
        Row("candidate", 0.975, 0.966, 0.982, "97.5 %", "candidate"),
    ]
    root = read(interval_plot("k", "Accuracy", "Two dots", rows, write=write))

    baseline, candidate = of_class(root, "dot")
    assert x_of(candidate) < x_of(baseline)
    assert len(of_class(root, "whisker")) == 2
    assert {"baseline", "candidate", "97.8 %"} <= set(texts(root))


def test_a_row_without_a_value_says_so_and_has_no_dot() -> None:
    root = read(interval_plot("k", "T", "D", [Row("x", None, None, None, "", "bad")], write=write))
    assert of_class(root, "dot") == []
    assert "not measured" in texts(root)


def test_a_value_without_an_interval_has_a_dot_only() -> None:
    root = read(interval_plot("k", "T", "D", [Row("x", 1.0, None, None, "1", "bad")], write=write))
    assert len(of_class(root, "dot")) == 1
    assert of_class(root, "whisker") == []


def test_what_is_beyond_a_limit_is_shaded_on_its_side() -> None:
    rows = [Row("x", 0.0, -1.0, 1.0, "0", "candidate")]
    marker = Marker(-0.5, "margin", bad="below")
    root = read(interval_plot("k", "T", "D", rows, write=write, markers=[marker]))
    (shade,) = of_class(root, "beyond")
    (dot,) = of_class(root, "dot")
    assert float(str(shade.get("x"))) + float(str(shade.get("width"))) < x_of(dot)


def test_names_of_markers_never_run_into_each_other() -> None:
    rows = [Row("x", 0.0, -1.0, 1.0, "0", "candidate")]
    markers = [Marker(0.0, "no change"), Marker(0.01, "margin")]
    root = read(interval_plot("k", "T", "D", rows, write=write, markers=markers))
    assert [each.text for each in of_class(root, "note")] == ["no change"]


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=101), st.integers(1, 60))
def test_densities_are_shares_of_the_highest(values: list[float], bins: int) -> None:
    shape = densities(sorted(values), 0.0, 11.0, bins)
    assert len(shape) == bins
    assert max(shape) == pytest.approx(1.0)
    assert min(shape) >= 0


def tips(root: ET.Element) -> list[str]:
    return [str(each.text) for each in root.iter(f"{SVG}title")][1:]  # the first is the plot's


ROW = Row("candidate", 0.975, 0.966, 0.982, "97.5 %", "candidate")
STEP = Row("pruned", 0.90, 0.89, 0.91, "90 %", "candidate")
RIDGE = Ridge("baseline", tuple(n / 10 for n in range(11)), 0.5, 0.95, "baseline")
CURVE = Curve("train", ((1, 1.25), (2, 0.5)), "baseline")
MARKER = Marker(0.95, "margin")


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        pytest.param(
            interval_plot("k", "T", "D", [ROW], write=write, markers=[MARKER]),
            {"candidate: 97.5 %, interval 0.966 to 0.982", "margin: 0.95"},
            id="intervals",
        ),
        pytest.param(
            lever_plot("k", "T", "D", [STEP], write=write),
            {"pruned: 90 %, interval 0.89 to 0.91"},
            id="levers",
        ),
        pytest.param(
            curve_plot("k", "T", "D", [CURVE], write=write, x_name="epoch", marker=(2, "best")),
            {"train, epoch 1: 1.25", "train, epoch 2: 0.5", "best: epoch 2"},
            id="curves",
        ),
        pytest.param(
            distribution_plot("k", "T", "D", [RIDGE]),
            {"baseline: median 0.500 ms, p95 0.950 ms"},
            id="distribution",
        ),
        pytest.param(
            bar_plot("k", "T", "D", [Bar("a", 1.0, "1 MB", "baseline")]), {"a: 1 MB"}, id="bars"
        ),
    ],
)
def test_pointer_reads_values_and_intervals(markup: str, expected: set[str]) -> None:
    assert expected <= {tip.replace("\u00a0", " ") for tip in tips(read(markup))}


def test_pointer_reads_shares_along_a_distribution() -> None:
    shares = [
        int(found[1])
        for tip in tips(read(distribution_plot("k", "T", "D", [RIDGE])))
        if (found := re.search(r"about (\d+)% of calls", tip))
    ]
    assert shares == sorted(shares)
    assert (min(shares), max(shares)) == (0, 100)
    assert 40 <= shares[len(shares) // 2] <= 60


def test_two_modes_stay_two() -> None:
    quantiles = [1 + n * 0.002 for n in range(50)] + [3 + n * 0.002 for n in range(51)]
    shape = densities(quantiles, 0.0, 4.0, 40)
    assert shape[20] < 0.1
    assert max(shape[8:13]) > 0.5
    assert max(shape[28:33]) > 0.5


def test_one_slow_call_does_not_press_all_else_to_zero() -> None:
    quantiles = (*(1.0 + n / 1000 for n in range(100)), 500.0)
    root = read(distribution_plot("k", "T", "D", [Ridge("a", quantiles, 1.05, None, "baseline")]))
    (median,) = of_class(root, "median")
    assert float(str(median.get("x1"))) > 200
    assert of_class(root, "p95") == []


def test_bars_are_as_long_as_their_shares() -> None:
    bars = [Bar("a", 1.0, "1 MB", "baseline"), Bar("b", 0.25, "0.25 MB", "candidate")]
    long, short = of_class(read(bar_plot("k", "T", "D", bars)), "bar")
    assert float(str(short.get("width"))) == pytest.approx(
        0.25 * float(str(long.get("width"))), 0.01
    )


def test_a_bar_that_was_not_measured_is_not_drawn() -> None:
    root = read(bar_plot("k", "T", "D", [Bar("memory", None, "", "baseline")]))
    assert of_class(root, "bar") == []
    assert "not measured" in texts(root)


def test_a_heat_map_has_a_cell_for_each_pair_and_stronger_colour_for_more() -> None:
    cells = [[HeatCell(s, "bad", f"{s}", "tip") for s in row] for row in ((0.0, 0.5), (1.0, 0.1))]
    root = read(heatmap("k", "T", "D", ["a", "b"], ["x", "y"], cells, axis="axis", square=True))
    opacities = [float(str(each.get("fill-opacity"))) for each in of_class(root, "heat")]
    assert len(opacities) == 4
    assert max(opacities) == opacities[2]
    assert {"a", "b", "x", "y", "0.5"} <= set(texts(root))


def test_a_large_heat_map_leaves_out_names_that_have_no_room() -> None:
    names = [f"class {n}" for n in range(50)]
    cells = [[HeatCell(0.5, "bad", "1", "tip") for _ in names] for _ in names]
    root = read(heatmap("k", "T", "D", names, names, cells, axis="axis", square=True))
    assert "class 7" not in texts(root)
    assert len(of_class(root, "mark")) == 2500


def test_labels_of_curves_that_end_together_are_kept_apart() -> None:
    curves = [
        Curve("train", ((1, 1.0), (2, 0.5)), "a"),
        Curve("validation", ((1, 1.1), (2, 0.5)), "b"),
    ]
    root = read(curve_plot("k", "T", "D", curves, write=write, x_name="epoch", marker=(2, "best")))
    names = {str(each.text): float(str(each.get("y"))) for each in root.iter(f"{SVG}text")}
    assert abs(names["train"] - names["validation"]) >= 12
    assert len(of_class(root, "dot")) == 4


def test_a_curve_of_one_epoch_is_a_dot() -> None:
    root = read(
        curve_plot("k", "T", "D", [Curve("x", ((1, 0.5),), "a")], write=write, x_name="epoch")
    )
    assert len(of_class(root, "dot")) == 1


def test_levers_are_drawn_left_to_right_and_lower_is_lower() -> None:
    steps = [
        Row("baseline", 0.98, 0.97, 0.99, "98 %", "baseline"),
        Row("pruned", 0.90, 0.89, 0.91, "90 %", "candidate"),
        Row("quantized", None, None, None, "not measured", "candidate"),
    ]
    root = read(lever_plot("k", "T", "D", steps, write=write))
    first, second = of_class(root, "dot")
    assert x_of(first) < x_of(second)
    assert float(str(first.get("cy"))) < float(str(second.get("cy")))
    assert "missing" in texts(root)


def test_long_values_of_levers_are_staggered() -> None:
    steps = [Row(f"s{n}", 1.0 + n, None, None, "1,234,567.8 K", "candidate") for n in range(4)]
    root = read(lever_plot("k", "T", "D", steps, write=write))
    heights = [float(str(each.get("y"))) for each in of_class(root, "value")]
    assert heights[0] != heights[1]
    assert heights[0] == heights[2]
