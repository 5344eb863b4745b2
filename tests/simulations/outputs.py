"""How often the gate `fidelity` passes an output whose relative error is exactly its limit.

    python tests/simulations/outputs.py

prints a table of false passes: nominal is 2.5 %, the half of 5 % that is on this side. Seeded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fulcrum_components.evaluation.differing import Differences
from fulcrum_components.evaluation.fidelity import fidelity_of
from fulcrum_components.models.signature import TensorSpec
from fulcrum_pipelines.fidelity_limits import MAX_RELATIVE_ERROR

SAMPLES = 2000
SIZES = (50, 160, 500)
SEED = 1

Draw = Callable[[np.random.Generator, int], Any]
"""Squared errors of n examples whose mean is 1."""


def few(share: float) -> Draw:
    """Return errors of which `share` of the examples carry all."""
    return lambda generator, n: (generator.random(n) < share) / share


ERRORS: dict[str, Draw] = {
    "alike on all examples": lambda generator, n: generator.chisquare(16, n) / 16,
    "lognormal, sigma 1": lambda generator, n: generator.lognormal(-0.5, 1, n),
    "on 5 % of the examples": few(0.05),
    "on 2 % of the examples": few(0.02),
    "on 1 % of the examples": few(0.01),
}


def passes(squared: Any) -> bool:
    """Return whether the interval of `squared` errors, against a spread of 1, keeps the limit."""
    n = len(squared)
    spec, ones, no = TensorSpec("e", ("batch", 8), "float32"), np.ones(n), np.zeros(n, dtype=bool)
    record = fidelity_of(Differences(spec, False, "", squared, ones, ones, None, no, no))
    interval = record.relative_error_interval
    return interval is not None and interval.high <= MAX_RELATIVE_ERROR


def main() -> None:
    """Print the table."""
    print("| errors | " + " | ".join(f"n = {n}" for n in SIZES) + " |")
    print("|---" * (len(SIZES) + 1) + "|")
    for name, draw in ERRORS.items():
        cells = []
        for n in SIZES:
            generator = np.random.default_rng([SEED, n])
            squared = (MAX_RELATIVE_ERROR**2 * draw(generator, n) for _ in range(SAMPLES))
            share = sum(map(passes, squared)) / SAMPLES
            error = math.sqrt(share * (1 - share) / SAMPLES)
            cells.append(f"{100 * share:.1f} ± {100 * error:.1f} %")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
