"""Limits for outputs after the first that apply unless a gate sets others.

The quantize stage refuses candidates by these limits on validation, and the operator decides by
them on the test data, so both import them from here.
"""

from __future__ import annotations

from typing import Final

MAX_RELATIVE_ERROR: Final = 0.07
"""A relative error of 0.07 leaves 99.5 % of an output's variance as it was."""

MIN_AGREEMENT: Final = 0.9
"""Share of examples with the same answer."""
