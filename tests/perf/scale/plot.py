"""The graph of `docs/scale.md`: how a burst came to the engine, and who took the processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from fulcrum_pipelines.report.svg import WIDTH, Scale, drawing, label, node, x_axis, y_axis

LEFT, RIGHT, TOP, BOTTOM = 44.0, 330.0, 46.0, 200.0
BARS, BAR, GAP = 262.0, 12.0, 20.0
NAMES = 124.0
STYLE = """
text { font: 11.5px system-ui, sans-serif; fill: #24292f } .tick { font-size: 10px; fill: #57606a }
.title { font-weight: 600 } .grid { stroke: #8b949e; stroke-opacity: .35 }
.created { fill: none; stroke: #8b949e; stroke-width: 2; stroke-dasharray: 4 3 }
.submitted { fill: none; stroke: #0969da; stroke-width: 2 } .bar { fill: #0969da }
.created-text { fill: #6e7781 } .submitted-text { fill: #0969da }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .tick { fill: #9198a1 }
 .created-text { fill: #9198a1 }
 .submitted { stroke: #4493f8 } .bar, .submitted-text { fill: #4493f8 } }
"""


def draw(figures: Mapping[str, Any]) -> str:
    """Return the graph as SVG."""
    burst = figures["burst"]
    used: Mapping[str, float] = burst["cpu_ms_per_job"]
    height = BARS + 12 + GAP * len(used)
    title = f"{burst['jobs']} jobs at once: {burst['jobs_per_s']:.0f} a second"
    parts = (node("style", STYLE), *_curves(burst), *_bars(used))
    about = "Jobs created and submitted over time; processor time a job by program."
    return str(drawing("scale", title, about, height, parts)) + "\n"


def _curves(burst: Mapping[str, Any]) -> tuple[Markup, ...]:
    created, submitted = burst["created_after_s"], burst["submitted_after_s"]
    across = Scale(0.0, max(created[-1], submitted[-1]), LEFT, RIGHT)
    up = Scale(0.0, burst["jobs"], BOTTOM, TOP)
    return (
        label(0, 14, f"{burst['jobs']} jobs created at once", class_="title"),
        label(LEFT, 34, "created", class_="created-text"),
        label(LEFT + 58, 34, "submitted to the engine", class_="submitted-text"),
        x_axis(across, TOP, BOTTOM, lambda value: f"{value:g} s"),
        y_axis(up, LEFT, RIGHT, lambda value: f"{value:g}"),
        _line(created, across, up, "created"),
        _line(submitted, across, up, "submitted"),
    )


def _line(moments: Sequence[float], across: Scale, up: Scale, kind: str) -> Markup:
    jobs, last = up.high, len(moments) - 1
    points = " ".join(
        f"{across(moment):.1f},{up(jobs * share / last):.1f}"
        for share, moment in enumerate(moments)
    )
    return node("polyline", points=points, class_=kind)


def _bars(used: Mapping[str, float]) -> tuple[Markup, ...]:
    longest = Scale(0.0, max(used.values()), NAMES, WIDTH - 56)
    parts = [label(0, BARS - 16, "Processor time a job, ms", class_="title")]
    for row, (name, value) in enumerate(sorted(used.items(), key=lambda each: -each[1])):
        y = BARS + GAP * row
        width = longest(value) - NAMES
        parts += [
            label(0, y + 10, name.removeprefix("kube-")),
            node("rect", x=NAMES, y=y, width=width, height=BAR, class_="bar"),
            label(NAMES + width + 5, y + 10, f"{value:.1f}", class_="tick"),
        ]
    return tuple(parts)
