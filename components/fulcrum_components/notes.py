"""Notes on conversions of values before the model, once and not for every example."""

from __future__ import annotations

from collections.abc import Iterator


class Notes:
    """Sentences about conversions, in the order in which they were first made.

    A data set and its subsets share one, and fill it while examples are read.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def add(self, kind: str, text: str) -> None:
        """Keep `text`, unless there is one of this `kind` already."""
        self._texts.setdefault(kind, text)

    def set(self, kind: str, text: str) -> None:
        """Keep `text` in place of what there is of this `kind`: a count that grows."""
        self._texts[kind] = text

    def __iter__(self) -> Iterator[str]:
        """Iterate over the sentences."""
        return iter(self._texts.values())
