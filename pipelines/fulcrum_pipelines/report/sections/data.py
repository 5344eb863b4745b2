"""How the data were read: the class of each label, and conversions of values."""

from __future__ import annotations

from fulcrum_pipelines.evidence import EvaluateDetails, LabelMapping
from fulcrum_pipelines.report.blocks import (
    Block,
    Cell,
    Note,
    Section,
    Table,
    columns,
    only,
    row,
)
from fulcrum_pipelines.report.formatting import count

MOST_LABELS = 100


def data_section(evaluate: EvaluateDetails | None) -> Section | None:
    """Return how labels and values were read; None if nothing is recorded of either."""
    if evaluate is None or (evaluate.labels is None and not evaluate.conversions):
        return None
    lead = "Which class each label stands for, the same in all data sets, and what was converted."
    blocks: list[Block | None] = [
        *(_labels(evaluate.labels) if evaluate.labels is not None else ()),
        *(Note(f"{', '.join(each.data)}: {each.text}.") for each in evaluate.conversions),
    ]
    return Section("data", "Data", lead, only(blocks))


def _labels(labels: LabelMapping) -> tuple[Block, ...]:
    shown = labels.labels[:MOST_LABELS]
    sets = tuple(dict.fromkeys(name for label in shown for name in label.examples))
    rows = tuple(
        row(
            Cell(label.label, code=True, note="folder" if label.folder else ""),
            f"{label.index}",
            label.name,
            *(count(label.examples.get(name, 0)) for name in sets),
        )
        for label in shown
    )
    names = ("Label", "#Output", "Class", *(f"#{name}" for name in sets))
    left = len(labels.labels) - len(shown)
    how = f"{labels.how[:1].upper()}{labels.how[1:]}."
    rest = f" {count(left)} more labels are in the evidence." if left else ""
    return Note(how + rest), Table("Examples of each label", columns(*names), rows)
