"""Numbers as people read them."""

from __future__ import annotations

import pytest
from builders.figures import make_comparison, make_delta, make_interval
from hypothesis import given
from hypothesis import strategies as st

from fulcrum_pipelines.report import formatting
from fulcrum_pipelines.report.formatting import NOT_MEASURED
from fulcrum_pipelines.report.metric_styles import is_worse, style_of


def plain(text: str) -> str:
    """Return text with the signs of a keyboard."""
    return text.replace("\u00a0", " ").replace("\u2212", "-")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formatting.number(0.001234), "0.001234"),
        (formatting.number(0.0012), "0.001200"),
        (formatting.number(1234567.0), "1,234,567"),
        (formatting.number(-0.5, sign=True), "-0.5000"),
        (formatting.number(0.0, sign=True), "0.0000"),
        (formatting.number(2.1e-12), "2.1e-12"),
        (formatting.number(-3e20), "-3e+20"),
        (formatting.percent(0.97733), "97.73 %"),
        (formatting.points(-0.0007), "-0.07 points"),
        (formatting.points(0.0049), "+0.49 points"),
        (formatting.points(-0.00001), "0.00 points"),
        (formatting.relative_change(0.001234, 0.001255), "+1.7 %"),
        (formatting.relative_change(0.002678, 0.002687), "+0.3 %"),
        (formatting.relative_change(2.0, 1.0), "-50 %"),
        (formatting.relative_change(0.0, 1.0), ""),
        (formatting.span(make_interval(-0.0127, -0.002), 2, scale=100), "[-1.27, -0.20]"),
        (formatting.span(None, 2), "no interval"),
        (formatting.factor(10.498), "×10.5"),
        (formatting.factor(0.98), "×0.980"),
        (formatting.byte_size(999), "999 B"),
        (formatting.byte_size(1_261_332), "1.26 MB"),
        (formatting.byte_size(0), "0 B"),
        (formatting.short_count(1_822_177_768), "1.82 G"),
        (formatting.short_count(9_999), "9,999"),
        (formatting.milliseconds(0.29655), "0.297 ms"),
        (formatting.duration(48.24), "48.2 s"),
        (formatting.duration(94.4), "1 min 34 s"),
        (formatting.duration(7261), "2 h 1 min"),
        (formatting.level(make_interval(0, 1, level=0.99)), "99 %"),
    ],
)
def test_written(written: str, expected: str) -> None:
    assert plain(written) == expected


@pytest.mark.parametrize(
    "write",
    [
        formatting.number,
        formatting.percent,
        formatting.points,
        formatting.count,
        formatting.factor,
        formatting.ratio,
        formatting.byte_size,
        formatting.short_count,
        formatting.milliseconds,
        formatting.duration,
        style_of("accuracy").value,
        style_of("logLoss").value,
    ],
)
def test_nothing_is_never_a_zero(write: object) -> None:
    assert write(None) == NOT_MEASURED  # type: ignore[operator]


@given(st.floats(min_value=-1e12, max_value=1e12))
def test_a_number_keeps_its_first_digits(value: float) -> None:
    text = plain(formatting.number(value)).replace(",", "")
    assert float(text) == pytest.approx(value, rel=1e-3, abs=1e-9)


def test_a_share_changes_in_points_and_a_loss_in_per_cent() -> None:
    accuracy = make_comparison(n=1500, right=1474, broken=15, fixed=4)
    loss = make_delta("logLoss", 0.001234, 0.001255, 0.0001)

    assert plain(style_of("accuracy").delta(accuracy)) == "-0.73 points"
    assert plain(style_of("logLoss").delta(loss)) == "+0.000021 (+1.7 %)"
    assert plain(style_of("logLoss").delta_span(loss)) == "[-0.000079, +0.000121]"


@pytest.mark.parametrize("name", ["rmse", "r2", "logLoss", "accuracy", "auc"])
@pytest.mark.parametrize("half_width", [10.0**-k for k in range(9)])
@pytest.mark.parametrize("baseline", [0.0, 0.75, 1000.0, 1.7e9])
def test_interval_with_a_width_never_reads_as_one_without(
    name: str, half_width: float, baseline: float
) -> None:
    style = style_of(name)
    texts = [style.delta_span(make_delta(name, baseline, baseline, half_width))]
    if baseline < 1e9:  # else a float cannot hold both ends
        ends = make_interval(baseline - half_width, baseline + half_width)
        texts.append(style.interval(ends, baseline))
    for text in texts:
        low, high = plain(text).replace(",", "").strip("[]").split()
        assert float(low) < float(high), text


def test_an_unknown_metric_goes_by_its_name_and_unit() -> None:
    assert style_of("perplexity").label == "perplexity"
    assert plain(style_of("rmse", "K").value(30.5)) == "30.50 K"


@pytest.mark.parametrize(
    ("direction", "delta", "worse"),
    [("higher", -0.1, True), ("higher", 0.1, False), ("lower", 0.1, True), ("lower", -0.1, False)],
)
def test_which_change_is_for_the_worse(direction: str, delta: float, worse: bool) -> None:
    assert is_worse(direction, delta) is worse
