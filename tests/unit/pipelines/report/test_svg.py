"""Elements, scales and ticks."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum_pipelines.report.svg import (
    Scale,
    cut_end,
    cut_start,
    drawing,
    label,
    node,
    spanning,
    text_width,
    ticks,
)

finite = st.floats(min_value=-1e9, max_value=1e9)


@given(st.text())
def test_text_and_attributes_are_escaped(text: str) -> None:
    allowed = "".join(c for c in text if c.isprintable())  # XML has no control characters
    element = ET.fromstring(node("text", allowed, class_=allowed))
    assert (element.text or "") == allowed
    assert element.get("class") == allowed


def test_names_of_attributes() -> None:
    assert node("a", stroke_width=1.234, class_="x", href=None) == (
        '<a stroke-width="1.23" class="x"></a>'
    )


def test_a_drawing_says_what_it_shows() -> None:
    root = ET.fromstring(drawing("a b<c", "Title", "Description", 80, [label(1, 2, "x")]))
    assert root.get("role") == "img"
    assert root.get("id") == "a-b-c"
    identifiers = {child.get("id") for child in root}
    assert set(str(root.get("aria-labelledby")).split()) <= identifiers


@given(st.lists(finite, min_size=1, max_size=20))
def test_all_values_have_a_place_on_their_scale(values: list[float]) -> None:
    scale = spanning(values, 10, 110)
    assert all(10 - 1e-6 <= scale(value) <= 110 + 1e-6 for value in values)


def test_bounds_leave_no_room_where_no_value_can_be() -> None:
    scale = spanning([0.98, 1.0], 0, 100, bounds=(0.0, 1.0))
    assert scale.high == 1.0
    assert scale.low < 0.98


def test_bounds_give_way_to_values_beyond_them() -> None:
    assert spanning([0.98, 1.01], 0, 100, bounds=(0.0, 1.0)).high == 1.01


def test_a_scale_may_run_backwards_and_clamps() -> None:
    scale = Scale(0, 10, 100, 0)
    assert scale(2.5) == 75
    assert scale.clamp(-5) == 100
    assert scale.clamp(50) == 0


@given(finite, st.floats(min_value=1e-6, max_value=1e9), st.integers(2, 8))
def test_ticks_are_within_and_about_as_many_as_wanted(low: float, size: float, wanted: int) -> None:
    high = low + size
    if not high > low + 1e-9 * max(1.0, abs(low)):
        return
    places = ticks(low, high, wanted)
    slack = 1e-6 * max(size, abs(low))
    assert all(low - slack <= place <= high + slack for place in places)
    assert 1 <= len(places) <= 2 * wanted + 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, (0, 0.5, 1)), (0.97, 0.985, (0.97, 0.975, 0.98, 0.985))],
)
def test_ticks_are_round(low: float, high: float, expected: tuple[float, ...]) -> None:
    assert ticks(low, high) == expected


@given(st.text(min_size=1, max_size=60), st.floats(20, 300))
def test_cut_text_fits(text: str, room: float) -> None:
    for cut in (cut_end(text, room), cut_start(text, room)):
        assert text_width(cut) <= room
        assert cut in ("", text) or "…" in cut


def test_which_end_is_cut() -> None:
    name = "features.stage3.block1.conv2"
    assert cut_end(name, 100).startswith("features")
    assert cut_start(name, 100).endswith("conv2")
