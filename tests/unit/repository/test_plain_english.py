"""Check that code, docs and manifests avoid words that make readers stop."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
INSTEAD = {
    "told": "reported, recorded, shown",
    "anew": "again",
    "whoever": "the user, the reader, each caller",
    "somebody": "a user, another program",
    "nobody": "no user, no process",
}
"""Each word and plain ones to write in its place."""
FORBIDDEN = re.compile(rf"(?<![a-z])({'|'.join(INSTEAD)})(?![a-z])", re.IGNORECASE)
FOLDERS = (
    "charts",
    "components",
    "crds",
    "docs",
    "examples",
    "hack",
    "images",
    "operator",
    "pipelines",
    "tests",
)
SUFFIXES = {".py", ".md", ".yaml"}
THIS_FILE = Path(__file__).resolve()


def found_in(text: str) -> list[str]:
    """Return the forbidden words in `text` with their lines; words within names count too."""
    return [
        f"{number}: '{word}', write {INSTEAD[word.lower()]}"
        for number, line in enumerate(text.splitlines(), start=1)
        for word in FORBIDDEN.findall(line)
    ]


@pytest.mark.parametrize(
    "text", ["It is told.", "test_error_is_told", "def told(x)", "Nobody reads"]
)
def test_forbidden_word_is_found(text: str) -> None:
    assert len(found_in(text)) == 1


def test_longer_word_is_no_forbidden_word() -> None:
    assert found_in("An untold renewal. Renewanew") == []


def test_tree_is_in_plain_english() -> None:
    files = [
        *ROOT.glob("*.md"),
        *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*")),
    ]
    problems = [
        f"{path.relative_to(ROOT)}:{problem}"
        for path in files
        if path.suffix in SUFFIXES and path != THIS_FILE
        for problem in found_in(path.read_text())
    ]
    assert len(files) > 1000
    assert not problems, "\n".join(problems)
