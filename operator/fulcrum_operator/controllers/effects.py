"""Merge-patch and test-probe helpers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

EffectProbe = Callable[[str], None]
"""Called with the name of an effect after it happens, so that tests can stop the process there."""


def ignore_effect(effect: str) -> None:
    """No-op probe."""


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch (RFC 7386) that makes `old` into `new`."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := merge_patch(before, value):
                patch[name] = inner
        elif before != value or name not in old:
            patch[name] = value
    return patch
