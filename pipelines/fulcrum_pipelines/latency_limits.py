"""Limit below which a timing is unreliable.

The validate stage marks timings by it, and the operator refuses records that contradict it, so both
import it from here.
"""

from __future__ import annotations

from typing import Final

FEWEST_CPU_SHARE: Final = 0.8
"""On quiet cores it is 0.99 to 1. When eight or more processes competed for two cores, one
comparison reported 20 times for a speed-up of 8.5, and the baseline against itself contained 1."""
