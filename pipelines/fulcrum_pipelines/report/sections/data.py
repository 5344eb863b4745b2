"""What was read and how: addresses, times, the class of each label, conversions of values."""

from __future__ import annotations

from fulcrum_pipelines.evidence import EvaluateDetails, Evidence, LabelMapping, ValidateDetails
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
from fulcrum_pipelines.report.formatting import byte_size, count
from fulcrum_pipelines.report.reading import details

MOST_LABELS = 100


def data_section(evidence: Evidence) -> Section | None:
    """Return what was read, and how labels, times and values were; None without any record."""
    evaluate = details(evidence, EvaluateDetails)
    blocks: list[Block | None] = [
        *_read(evidence),
        *_times(evidence),
        *(_labels(evaluate.labels) if evaluate is not None and evaluate.labels is not None else ()),
        *(
            Note(f"{', '.join(each.data)}: {each.text}.")
            for each in (evaluate.conversions if evaluate is not None else ())
        ),
    ]
    lead = (
        "What was read at each address, which class each label stands for, the same in all data "
        "sets, and what was converted."
    )
    return Section("data", "Data", lead, only(blocks)) if blocks else None


def _read(evidence: Evidence) -> tuple[Block, ...]:
    """Return the addresses of each data set, as the last stage that read it recorded."""
    read = {each.data: each for stage in evidence.stages for each in stage.data}
    rows = [
        row(
            name,
            Cell(each.address, code=True),
            count(each.files),
            count(each.examples),
            byte_size(each.size_bytes),
            Cell(each.digest, code=True),
        )
        for name, data in read.items()
        for each in data.addresses
    ]
    rows += [
        row(name, Cell(address, code=True, note="nothing there, skipped"), "0", "0", "–", "–")
        for name, data in read.items()
        for address in data.skipped
    ]
    names = columns("Data set", "Address", "#Files", "#Examples", "#Size", "SHA-256")
    skipped = tuple(
        Note(
            f"{name} was read without {len(data.skipped)} of its "
            f"{len(data.skipped) + len(data.addresses)} addresses; nothing was there.",
            "unclear",
        )
        for name, data in read.items()
        if data.skipped
    )
    table = Table("Addresses", names, tuple(rows), folded=True)
    return (*skipped, table) if rows else ()


def _times(evidence: Evidence) -> tuple[Block, ...]:
    """Return when the examples of test and of the other data sets are from."""
    found = (details(evidence, EvaluateDetails), details(evidence, ValidateDetails))
    splits = {
        split.other: split for each in found if each is not None for split in each.time_splits
    }
    rows = tuple(
        row(
            f"test and {split.other}",
            f"{split.test_first} to {split.test_last}",
            f"{split.other_first} to {split.other_last}",
            Cell(count(split.test_not_later), tone="bad" if split.test_not_later else ""),
        )
        for split in splits.values()
    )
    names = columns("Data sets", "Test", "Other", "#Test examples not later")
    return (Table("Times of the examples", names, rows),) if rows else ()


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
