"""When a timing is unreliable, and how its record says so.

The validate stage marks timings by these, and the operator refuses records that contradict them, so
both import them from here.
"""

from __future__ import annotations

from typing import Final

FEWEST_CPU_SHARE: Final = 0.8
"""On quiet cores it is 0.99 to 1. When eight or more processes competed for two cores, one
comparison reported 20 times for a speed-up of 8.5, and the baseline against itself contained 1."""

CONTROL_LEVEL: Final = 0.99
"""Level of the interval of a model against itself. At 95 % it excludes 1 once in 20 runs; that many
false alarms would make people run again until it passes."""

UNRELIABLE: Final = "unreliable"
"""How each note begins that says why a timing is that; no other note has the word."""
