"""One metric after each lever, with intervals: which of them cost what, and what won it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from fulcrum_pipelines.report.plots.intervals import Row
from fulcrum_pipelines.report.svg import (
    EVERYWHERE,
    WIDTH,
    Scale,
    cut_end,
    drawing,
    group,
    hit_area,
    interval_tip,
    label,
    node,
    spanning,
    text_width,
    ticks,
    whisker,
    y_axis,
)

_TOP = 40.0
_BOTTOM = 180.0


def lever_plot(
    key: str,
    title: str,
    description: str,
    steps: Sequence[Row],
    *,
    write: Callable[[float], str],
    bounds: tuple[float, float] = EVERYWHERE,
) -> Markup:
    """Return the steps from left to right, the first one's value as a line through all.

    Args:
        key: Distinguishes this plot from the others of the page.
        title: What the plot shows.
        description: Description of the plot.
        steps: In the order of the stages.
        write: Turns a value into the text at a tick.
        bounds: Range of possible values.
    """
    places = [p for step in steps for p in (step.value, step.low, step.high) if p is not None]
    vertical = spanning(places, _BOTTOM, _TOP, pad=0.1, bounds=bounds)
    left = max(text_width(write(tick)) for tick in ticks(vertical.low, vertical.high)) + 12
    width = (WIDTH - left - 6) / max(len(steps), 1)
    centres = [left + (index + 0.5) * width for index in range(len(steps))]
    parts: list[str] = [y_axis(vertical, left, WIDTH - 6, write)]
    if steps and steps[0].value is not None:
        y = vertical(steps[0].value)
        parts.append(node("line", x1=left, x2=WIDTH - 6, y1=y, y2=y, class_="marker"))
    line = " ".join(
        f"{centre:.1f},{vertical(step.value):.1f}"
        for step, centre in zip(steps, centres, strict=True)
        if step.value is not None
    )
    parts.append(node("polyline", points=line, class_="thread"))
    crowded = any(text_width(step.text, bold=True) > width - 4 for step in steps)
    for index, (step, centre) in enumerate(zip(steps, centres, strict=True)):
        raised = 13.0 if crowded and index % 2 else 0.0
        parts.append(_step(step, centre, vertical, width, _TOP - 14 - raised, write))
    return drawing(key, title, description, _BOTTOM + 22, parts)


def _step(
    step: Row,
    x: float,
    vertical: Scale,
    width: float,
    text_y: float,
    write: Callable[[float], str],
) -> Markup:
    name = cut_end(step.name, width)
    parts: list[str] = [hit_area(x - width / 2, 0, width, _BOTTOM + 22)]
    parts += [label(x, _BOTTOM + 16, name, class_="name", text_anchor="middle")]
    if step.value is None:
        middle = (_TOP + _BOTTOM) / 2
        parts.append(label(x, middle, "missing", class_="missing", text_anchor="middle"))
    else:
        parts.append(label(x, text_y, step.text, class_="value", text_anchor="middle"))
        if step.low is not None and step.high is not None:
            parts.append(whisker((x, vertical.clamp(step.low)), (x, vertical.clamp(step.high))))
        parts.append(node("circle", cx=x, cy=vertical(step.value), r=5, class_="dot"))
    tip = interval_tip(step.name, step.text, step.low, step.high, write)
    return group(*parts, tip=tip, class_=f"mark step {step.look}")
