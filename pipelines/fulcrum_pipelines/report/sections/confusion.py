"""Which classes are taken for which, before and after, and what changed in each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fulcrum_pipelines.evidence import ConfusionMatrix, ValidateDetails
from fulcrum_pipelines.report.blocks import (
    Block,
    Cell,
    Figure,
    Figures,
    Note,
    Section,
    Table,
    columns,
    missing,
    only,
    plural,
    row,
)
from fulcrum_pipelines.report.formatting import NOT_MEASURED, count, fixed, percent, points
from fulcrum_pipelines.report.plots.heatmap import HeatCell, heatmap

_DRAWN_CLASSES = 60
_LISTED_CONFUSIONS = 20
_LEAD = "Rows are the right class, columns the answer. Errors in red, right answers in blue."

Matrix = Sequence[Sequence[int]]


def confusion_section(validate: ValidateDetails | None) -> Section:
    """Return both matrices, their difference, and the change of each class."""
    title = "Confusion"
    before = validate.confusion_baseline if validate is not None else None
    after = validate.confusion_candidate if validate is not None else None
    if before is None or after is None:
        what = "Confusion of classes was not recorded: the task has none, or too many."
        return Section("confusion", title, "", (missing(what),))
    if before.labels != after.labels or not (_is_sound(before) and _is_sound(after)):
        what = "The matrices do not fit each other or their classes, so they are not shown."
        return Section("confusion", title, "", (Note(what, "unclear"),))
    drawn = len(before.labels) <= _DRAWN_CLASSES
    blocks: tuple[Block | None, ...] = (
        _figures(before, after) if drawn else missing(_too_many(len(before.labels))),
        _classes(before, after),
        _pairs(before, after),
    )
    return Section("confusion", title, _LEAD, only(blocks))


def _is_sound(matrix: ConfusionMatrix) -> bool:
    size = len(matrix.labels)
    return len(matrix.counts) == size and all(
        len(line) == size and min(line) >= 0 for line in matrix.counts
    )


def _too_many(classes: int) -> str:
    return f"{classes} classes are too many to draw (more than {_DRAWN_CLASSES}); see the tables."


def _figures(before: ConfusionMatrix, after: ConfusionMatrix) -> Figures:
    errors = max(_largest_error(before), _largest_error(after), 1)
    difference = [
        [y - x for x, y in zip(*lines, strict=True)]
        for lines in zip(before.counts, after.counts, strict=True)
    ]
    largest = max((abs(value) for line in difference for value in line), default=0) or 1
    labels = before.labels
    return Figures(
        (
            _figure("before", "Baseline", labels, before.counts, _counts_cell(before, errors)),
            _figure("after", "Candidate", labels, after.counts, _counts_cell(after, errors)),
            _figure("change", "Change", labels, difference, _change_cell(labels, largest)),
        )
    )


def _largest_error(matrix: ConfusionMatrix) -> int:
    return max(
        (c for i, line in enumerate(matrix.counts) for j, c in enumerate(line) if i != j), default=0
    )


def _figure(
    key: str,
    name: str,
    labels: Sequence[str],
    matrix: Matrix,
    cell: Callable[[int, int, int], HeatCell],
) -> Figure:
    wrong = sum(c for i, line in enumerate(matrix) for j, c in enumerate(line) if i != j)
    note = f"{count(wrong)} wrong answers" if key != "change" else _change_note(wrong)
    svg = heatmap(
        f"confusion-{key}",
        f"Confusion of classes: {name}",
        note,
        labels,
        labels,
        [[cell(i, j, c) for j, c in enumerate(line)] for i, line in enumerate(matrix)],
        axis="answer →  (right class ↓)",
        square=True,
    )
    return Figure(svg, heading=name, note=note)


def _change_note(wrong: int) -> str:
    return f"{fixed(wrong, 0, sign=True)} wrong answers; fewer errors in green, more in red"


def _counts_cell(matrix: ConfusionMatrix, errors: int) -> Callable[[int, int, int], HeatCell]:
    def cell(i: int, j: int, value: int) -> HeatCell:
        tip = f"{matrix.labels[i]} answered as {matrix.labels[j]}: {count(value)}"
        text = f"{value}" if value else ""
        if i == j:
            return HeatCell(value / max(sum(matrix.counts[i]), 1) * 0.8, "candidate", text, tip)
        return HeatCell((value / errors) ** 0.5, "bad", text, tip)

    return cell


def _change_cell(labels: Sequence[str], largest: int) -> Callable[[int, int, int], HeatCell]:
    def cell(i: int, j: int, value: int) -> HeatCell:
        text = fixed(value, 0, sign=True) if value else ""
        good = (value > 0) == (i == j)
        tip = f"{labels[i]} answered as {labels[j]}: {fixed(value, 0, sign=True)}"
        return HeatCell((abs(value) / largest) ** 0.5, "good" if good else "bad", text, tip)

    return cell


def _classes(before: ConfusionMatrix, after: ConfusionMatrix) -> Table:
    rows = []
    for index, name in enumerate(before.labels):
        n = sum(before.counts[index])
        old, new = before.counts[index][index], after.counts[index][index]
        rows.append(
            row(
                name,
                count(n),
                percent(old / n, 1) if n else NOT_MEASURED,
                percent(new / n, 1) if n else NOT_MEASURED,
                _class_change(old, new, n),
                f"{_precision(before, index)} → {_precision(after, index)}",
            )
        )
    return Table(
        "Change of each class",
        columns("Class", "#n", "#Recall before", "#Recall after", "#Change", "#Precision"),
        tuple(rows),
        folded=len(rows) > 20,
    )


def _class_change(old: int, new: int, n: int) -> Cell:
    if n == 0:
        return Cell(NOT_MEASURED, "quiet", note="no example")
    return Cell(points((new - old) / n), note=f"{fixed(new - old, 0, sign=True)} right")


def _precision(matrix: ConfusionMatrix, index: int) -> str:
    answered = sum(line[index] for line in matrix.counts)
    if answered == 0:
        return "never answered"
    return percent(matrix.counts[index][index] / answered, 1)


def _pairs(before: ConfusionMatrix, after: ConfusionMatrix) -> Table | None:
    changed = [
        (after.counts[i][j] - before.counts[i][j], i, j)
        for i in range(len(before.labels))
        for j in range(len(before.labels))
        if i != j and after.counts[i][j] != before.counts[i][j]
    ]
    changed.sort(key=lambda each: (-abs(each[0]), -each[0]))
    if not changed:
        return None
    listed = changed[:_LISTED_CONFUSIONS]
    first = f", the {len(listed)} most changed" if len(listed) < len(changed) else ""
    return Table(
        f"{plural(len(changed), 'confusion')} changed" + first,
        columns("Right class", "Answer", "#Before", "#After", "#Change"),
        tuple(
            row(
                before.labels[i],
                before.labels[j],
                count(before.counts[i][j]),
                count(after.counts[i][j]),
                Cell(fixed(delta, 0, sign=True), "bad" if delta > 0 else "good"),
            )
            for delta, i, j in listed
        ),
        folded=True,
    )
