"""Help with names that nearly match, since most wrong names are a slip of the finger."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Return `names` for a message, shortened to `limit` of them."""
    names = list(names)
    text = ", ".join(names[:limit]) or "none"
    return f"{text} and {len(names) - limit} more" if len(names) > limit else text


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the known name nearest to `name`, or nothing."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{nearest[0]}'?)" if nearest else ""
