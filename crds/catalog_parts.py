"""The parts of the CRD of CompressionJob that follow from the catalogue: enums, and rules on them.

They stand in the file between two comments, or in an enum with a comment behind it, so that the
schema can be read as a whole. A metric, a task or a kind of gate that is added to the catalogue is
thereby known to the schema, to its CEL rules and to what is generated from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from fulcrum_pipelines.catalog import (
    GATE_KINDS,
    METRICS,
    SHARES,
    TASKS,
    GateKind,
    tasks_of_kind,
    tasks_of_metric,
)

BLOCK = re.compile(r"(?m)^( *)# From the catalogue: ([a-z ]+)\n(?:.*\n)*?\1# Until here\n")
ENUM = re.compile(r"enum: \[.*\]  # from the catalogue: ([a-z]+)")

LARGEST_RATIO: Final = 100.0
"""A limit on bytes beyond this is none: it was meant in another unit, such as megabytes."""

Rule = tuple[str, str, str]
"""CEL, message, and the field that is at fault, or empty for the object itself."""

MEANINGS: Final = dict.fromkeys(each for task in TASKS.values() for each in task.meanings)
ENUMS: Final[dict[str, Iterable[str]]] = {
    "tasks": TASKS,
    "meanings": MEANINGS,
    "metrics": METRICS,
    "kinds": GATE_KINDS,
}


def filled(text: str) -> str:
    """Return the file `text` with its parts as the catalogue has them now."""

    def enum(found: re.Match[str]) -> str:
        name = found[1]
        return f"enum: [{', '.join(ENUMS[name])}]  # from the catalogue: {name}"

    def block(found: re.Match[str]) -> str:
        indent, name = found[1], found[2]
        lines = [f"# From the catalogue: {name}", *BLOCKS[name](), "# Until here"]
        return "".join(f"{indent}{line}\n" for line in lines)

    return BLOCK.sub(block, ENUM.sub(enum, text))


def _written(rules: Iterable[Rule]) -> Iterator[str]:
    for rule, message, field in rules:
        yield f"- rule: {_quoted(rule)}"
        yield f"  message: {_quoted(message)}"
        if field:
            yield f"  fieldPath: {field}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _joined(names: Iterable[str], last: str = "and") -> str:
    """Return names as in a sentence: `a`, `a and b`, `a, b and c`."""
    *first, end = names
    return f"{', '.join(first)} {last} {end}" if first else end


def _kinds(names: Iterable[str]) -> str:
    found = tuple(names)
    return f"{'kind' if len(found) == 1 else 'kinds'} {_joined(found)}"


def _is(subject: str, names: Iterable[str]) -> str:
    """Return CEL that is true if `subject` is one of `names`."""
    found = tuple(names)
    if len(found) == 1:
        return f"{subject} == '{found[0]}'"
    return f"{subject} in [{', '.join(map(repr, found))}]"


def _named(chosen: Callable[[GateKind], bool]) -> tuple[str, ...]:
    return tuple(kind.name for kind in GATE_KINDS.values() if chosen(kind))


def rules_of_tasks() -> Iterator[Rule]:
    """Yield which tasks metrics, kinds of gates and meanings are for, and which need two models."""
    for word, field, names, of in (
        ("metric", "metric", METRICS, tasks_of_metric),
        ("kind", "kind", GATE_KINDS, tasks_of_kind),
    ):
        groups: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            groups.setdefault(of(name), []).append(name)
        for tasks, found in groups.items():
            if len(tasks) == len(TASKS):
                continue
            absent = "!has(g.metric) || " if field == "metric" else ""
            one = len(found) == 1
            yield (
                f"{_is('self.data.task', tasks)} || !has(self.gates) || "
                f"self.gates.all(g, {absent}!({_is(f'g.{field}', found)}))",
                f"gates: {word}{'' if one else 's'} {_joined(found)} "
                f"need{'s' if one else ''} data.task {_joined(tasks, 'or')}",
                ".gates",
            )
    by_meanings: dict[tuple[str, ...], list[str]] = {}
    for task in TASKS.values():
        by_meanings.setdefault(task.meanings, []).append(task.name)
    said = ", ".join(
        f"{_joined(meanings)} {'is' if len(meanings) == 1 else 'are'} for data.task "
        f"{_joined(tasks, 'or')}"
        for meanings, tasks in by_meanings.items()
    )
    alone = _named(lambda kind: kind.of_one_model)
    yield (
        "has(self.recipe) || has(self.recipeRef) || has(self.candidate) || !has(self.gates) || "
        f"self.gates.all(g, {_is('g.kind', alone)})",
        "gates: without recipe, recipeRef or candidate a job only measures the model, so it needs "
        f"{_kinds(alone)}",
        ".gates",
    )
    for model in ("model", "candidate"):
        fitting = " || ".join(
            f"({_is('self.data.task', tasks)} && {_is(f'self.{model}.meaning', meanings)})"
            for meanings, tasks in by_meanings.items()
        )
        yield (
            f"!has(self.{model}) || !has(self.{model}.meaning) || {fitting}",
            f"{model}.meaning: {said}",
            f".{model}.meaning",
        )


def rules_of_kinds() -> Iterator[Rule]:
    """Yield which fields a gate of each kind takes."""
    for field, of in (
        ("metric", _named(lambda kind: kind.names_metric)),
        ("margin", _named(lambda kind: kind.has_margin)),
        ("output", _named(lambda kind: kind.measures == "outputs")),
    ):
        yield (
            f"({_is('self.kind', of)}) == has(self.{field})",
            f"{field} is needed by {_kinds(of)}, and is not for the others",
            "",
        )
    gaining = _named(lambda kind: kind.checks_gain)
    yield (
        f"({_is('self.kind', gaining)}) || !has(self.maxGain)",
        f"maxGain is only for {_kinds(gaining)}",
        "",
    )
    bounded = _named(lambda kind: not kind.has_margin)
    yield (
        f"!({_is('self.kind', bounded)}) || has(self.min) || has(self.max)",
        "min or max is needed",
        "",
    )
    yield from _rules_of_limits()
    timed = _named(lambda kind: kind.measures == "latency")
    yield (
        f"!has(self.batch) || {_is('self.kind', timed)}",
        f"batch is only for {_kinds(timed)}",
        "",
    )
    sliced, whole = (
        _named(lambda kind: kind.on_slices),
        _named(lambda kind: not kind.on_slices),
    )
    yield (
        f"!has(self.slices) || {_is('self.kind', sliced)}",
        f"slices are not for {_kinds(whole)}",
        "",
    )


def _rules_of_limits() -> Iterator[Rule]:
    for limit, other in (("max", "min"), ("min", "max")):
        of = _named(lambda kind, limit=limit: kind.limits == (limit,))
        yield (
            f"!({_is('self.kind', of)}) || (has(self.{limit}) && !has(self.{other}))",
            f"{_kinds(of)} take{'s' if len(of) == 1 else ''} {limit}, not {other}",
            "",
        )
    of = _named(lambda kind: kind.has_margin)
    yield (
        f"!({_is('self.kind', of)}) || (!has(self.min) && !has(self.max))",
        f"{_kinds(of)} take{'s' if len(of) == 1 else ''} margin, not min or max",
        "",
    )
    yield from _rules_of_values()


def _rules_of_values() -> Iterator[Rule]:
    """Yield rules against limits that every model keeps, however bad, and that none can keep."""
    share = f"(has(self.metric) && {_is('self.metric', SHARES)})"
    yield (
        f"!has(self.margin) || !{share} || (self.margin < 1.0 && "
        "(!has(self.slices) || self.slices.all(s, !has(s.margin) || s.margin < 1.0)))",
        "margin of a metric between 0 and 1 must be below 1, since no change is larger; "
        "0.05 is 5 points",
        "",
    )
    itself = _named(lambda kind: kind.value == "metric")
    of_metric = _named(lambda kind: kind.names_metric and not kind.has_margin)
    higher, lower = (
        tuple(row.name for row in METRICS.values() if row.direction == direction)
        for direction in ("higher", "lower")
    )
    unbounded = tuple(name for name in higher if name not in SHARES)
    lower_shares = tuple(name for name in lower if name in SHARES)
    noisy = tuple(row.name for row in METRICS.values() if row.raised_by_noise)
    for limit, names, better in (("min", higher, "more"), ("max", lower, "less")):
        yield (
            f"!({_is('self.kind', of_metric)}) || !has(self.metric) || "
            f"!({_is('self.metric', names)}) || has(self.{limit})",
            f"{limit} is needed for {_joined(names)}, of which {better} is better: the other limit "
            "alone is kept by any model that is bad enough",
            "",
        )
    relative = _named(lambda kind: kind.value == "relative change")
    ranges = (
        (
            itself,
            share,
            "(!has(self.min) || (self.min > 0.0 && self.min <= 1.0)) && "
            "(!has(self.max) || (self.max > 0.0 && self.max <= 1.0))",
            "min and max of a metric between 0 and 1 must be above 0 and at most 1; 0.95 is 95 %",
        ),
        (
            itself,
            f"(has(self.metric) && {_is('self.metric', lower)})",
            "!has(self.max) || self.max > 0.0",
            f"max of {_joined(lower)} must be above 0, since no model is below it",
        ),
        (
            itself,
            f"(has(self.metric) && {_is('self.metric', lower_shares)})",
            "!has(self.max) || self.max < 1.0",
            f"max of {_joined(lower_shares)} must be below 1, since no model is above it",
        ),
        (
            itself,
            f"(has(self.metric) && {_is('self.metric', unbounded)})",
            "!has(self.min) || self.min < 1.0",
            f"min of {_joined(unbounded)} must be below 1, since no model is above it",
        ),
        (
            relative,
            "",
            "(!has(self.min) || self.min > -1.0) && (!has(self.max) || self.max > -1.0)",
            "min and max of a relative change must be above -1, which is a loss of everything; "
            "-0.05 is 5 % less",
        ),
        (
            _named(lambda kind: kind.value == "ratio"),
            "",
            "(!has(self.min) || self.min > 0.0) && (!has(self.max) || self.max > 0.0)",
            "min and max of a ratio must be above 0, since every ratio is",
        ),
        (
            _named(lambda kind: kind.counts_bytes),
            "",
            f"!has(self.max) || self.max <= {LARGEST_RATIO:.1f}",
            f"max of a ratio of bytes must be at most {LARGEST_RATIO:g}; 0.5 is half of the "
            "baseline's",
        ),
        (
            _named(lambda kind: kind.value == "share" and kind.on_slices),
            "",
            "!has(self.max) || (self.max >= 0.0 && self.max < 1.0)",
            "max of a share must be at least 0 and below 1, since no share is larger; 0.05 is 5 %",
        ),
        (
            _named(lambda kind: kind.measures == "outputs"),
            "",
            "(!has(self.max) || (self.max >= 0.0 && self.max < 1.0)) && "
            "(!has(self.min) || (self.min > 0.0 && self.min <= 1.0))",
            "max is a relative error of at least 0 and below 1, which an output of zeros has; min "
            "is a share above 0 and at most 1",
        ),
    )
    for kinds, also, rule, message in ranges:
        only = f" || !{also}" if also else ""
        yield f"!({_is('self.kind', kinds)}){only} || ({rule})", f"{_kinds(kinds)}: {message}", ""
    yield (
        f"!({_is('self.kind', relative)}) || !has(self.metric) || !({_is('self.metric', noisy)})",
        f"{_kinds(relative)} cannot bound {_joined(noisy)}, since noise raises the baseline's; use "
        "kind calibration",
        "",
    )
    margined = _named(lambda kind: kind.has_margin)
    yield (
        f"{_is('self.kind', margined)} || !has(self.slices) || self.slices.all(s, !has(s.margin))",
        f"slices.margin is only for {_kinds(margined)}; other kinds have the gate's own limits on "
        "slices",
        "",
    )
    of_share = _named(lambda kind: kind.metric in SHARES and kind.checks_gain)
    yield (
        f"!has(self.maxGain) || !({share} || {_is('self.kind', of_share)}) || self.maxGain < 1.0",
        "maxGain of a metric between 0 and 1 must be below 1, since no gain is larger; 0.05 is 5 "
        "points",
        "",
    )


def description_of_kinds() -> Iterator[str]:
    """Yield the description of the field that names the kind of a gate."""
    said = " ".join(f"{kind.name} - {kind.description}." for kind in GATE_KINDS.values())
    yield f"description: {_quoted(said)}"


BLOCKS: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "rules of tasks": lambda: _written(rules_of_tasks()),
    "rules of kinds": lambda: _written(rules_of_kinds()),
    "description of kinds": description_of_kinds,
}
