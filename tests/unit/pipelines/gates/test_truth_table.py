"""The truth tables of docs/gates.md, held against the code cell by cell."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from gate_situations import KIND_SITUATIONS, RUN_SITUATIONS, WRONG, run_with
from gate_subjects import SUBJECTS

from fulcrum_pipelines.gates import decide

PAGE = Path(__file__).parents[4] / "docs" / "gates.md"
IMPOSSIBLE = "–"


def table(name: str) -> dict[str, dict[str, str]]:
    """Return the cells of the table marked `name` by row and column."""
    _, found, rest = PAGE.read_text().partition(f"<!-- table: {name} -->\n")
    assert found, f"docs/gates.md has no table {name}"
    lines = list(itertools.takewhile(lambda line: line.startswith("|"), rest.splitlines()))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head = rows[0]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows[2:]}


def cells(name: str) -> list[tuple[str, str, str]]:
    return [
        (row, column, verdict)
        for row, columns in table(name).items()
        for column, verdict in columns.items()
        if verdict != IMPOSSIBLE
    ]


@pytest.mark.parametrize(("situation", "kind", "verdict"), cells("kinds"))
def test_each_kind_in_each_situation(situation: str, kind: str, verdict: str) -> None:
    evidence, gates = KIND_SITUATIONS[situation](SUBJECTS[kind])
    (result,) = decide(evidence, gates).gates
    assert result.verdict == verdict, result.reason
    assert result.reason


@pytest.mark.parametrize(("situation", "column", "verdict"), cells("runs"))
def test_each_situation_of_a_run(situation: str, column: str, verdict: str) -> None:
    found = decide(*RUN_SITUATIONS[situation]())
    assert found.outcome == verdict, found.reasons
    assert found.reasons


@pytest.mark.parametrize(("first", "second", "verdict"), cells("pairs"))
def test_every_two_things_wrong(first: str, second: str, verdict: str) -> None:
    found = decide(*run_with([first, second]))
    assert found.outcome == verdict, found.reasons
    assert found.reasons


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("kinds", KIND_SITUATIONS, SUBJECTS),
        ("runs", RUN_SITUATIONS, ["verdict"]),
        ("pairs", WRONG, WRONG),
    ],
)
def test_the_tables_are_whole(name: str, rows: dict, columns: dict) -> None:  # type: ignore[type-arg]
    found = table(name)
    assert set(found) == set(rows)
    assert all(set(row) == set(columns) for row in found.values())


def expected(wrong: frozenset[str]) -> str:
    """Return the outcome by the page's last sentence, written independently of the code."""
    seen = set(wrong)
    if "missing" in seen:
        seen -= {"null", "NaN", "+Inf", "−Inf", "too few", "tie", "implausible gain"}
    if "null" in seen or "too few" in seen:
        seen -= {"implausible gain"}
    not_finite = seen & {"NaN", "+Inf", "−Inf"}
    if "empty list" in seen:
        seen -= {"one slice worse", "implausible gain"}
    if "one slice worse" in seen:
        return "Fail"
    if not_finite or seen & {"implausible gain", "baseline changed", "data changed"}:
        return "Anomalous"
    return "Inconclusive" if wrong else "Pass"


def test_every_combination() -> None:
    for size in range(len(WRONG) + 1):
        for wrong in itertools.combinations(WRONG, size):
            found = decide(*run_with(wrong))
            assert found.outcome == expected(frozenset(wrong)), (wrong, found.reasons)
