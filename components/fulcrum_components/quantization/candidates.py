"""Which candidates `auto` builds, in which order, and which it spares itself.

What comes next depends on how the last ones did: other calibrations are tried only where minimum
and maximum cost quality, and layers are left in floating point only where nothing else holds it.
The ordinary case pays for neither: each costs a pass over the data and one more candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from fulcrum_components.graph import GraphIndex
from fulcrum_components.quantization.building import AT_RUN_TIME, Builder, Built, Candidate
from fulcrum_components.quantization.calibration import Method
from fulcrum_components.quantization.sensitivity import by_sensitivity

SEARCH_ABOVE = 0.5
"""Share of `maxDrop` that min-max may lose before other calibrations are tried: with less than half
used up there is room for what the test data add, so the ordinary case pays for nothing."""

OTHER_CALIBRATIONS: tuple[Method, ...] = ("percentile", "entropy")


class Outcome(Protocol):
    """How one candidate did, as far as it decides what is tried next."""

    @property
    def candidate(self) -> Candidate:
        """Return what was tried."""

    @property
    def built(self) -> Built | None:
        """Return its file, None where it could not be built."""

    @property
    def keeps_quality(self) -> bool:
        """Tell whether it is as good as allowed."""

    @property
    def drop(self) -> float:
        """Return how much worse than fp32 it is; infinite where that is unknown."""


Judged = TypeVar("Judged", bound=Outcome)


def explore(
    builder: Builder, max_drop: float, judge: Callable[[Candidate], Judged]
) -> list[Judged]:
    """Judge the candidates that are worth it.

    Where static quantization loses quality, other ways to calibrate are tried, and the candidates
    after it use the one that lost least. Where that loses too much too, it is tried again with ever
    more of its most sensitive layers left in fp32.

    Args:
        builder: Has the graph and the recipe.
        max_drop: How much worse than fp32 is allowed.
        judge: Builds and measures a candidate.
    """
    judged = _static(builder, max_drop, judge)
    best = min(judged, key=lambda item: item.drop)
    calibration = best.candidate.calibration
    judged += [judge(other) for other in _others(builder, calibration)]
    if best.built is not None and not best.keeps_quality:
        judged += _with_sensitive_layers_left_out(builder, calibration, judge)
    return judged


def _static(
    builder: Builder, max_drop: float, judge: Callable[[Candidate], Judged]
) -> list[Judged]:
    """Judge the static candidate by the recipe's calibration, and by others where it needs that."""
    asked = builder.options.calibration
    first = judge(Candidate("static", "uint8", calibration=asked))
    enough = first.drop <= SEARCH_ABOVE * max_drop
    if first.built is None or asked != "minmax" or enough:
        return [first]
    return [
        first,
        *(judge(Candidate("static", "uint8", calibration=method)) for method in OTHER_CALIBRATIONS),
    ]


def _others(builder: Builder, calibration: Method) -> Iterator[Candidate]:
    yield Candidate("static", "int8", calibration=calibration)
    index = GraphIndex(builder.model)
    # dynamic has nothing to do elsewhere, since it leaves convolutions alone
    multiplying = {
        node.op_type for node in builder.model.graph.node if index.multiplies_by_constant(node)
    }
    if multiplying & {*AT_RUN_TIME, "Gemm"}:
        yield Candidate("dynamic")
    if "Conv" in multiplying and multiplying & {*AT_RUN_TIME}:
        yield Candidate("mixed", "uint8", calibration=calibration)


def _with_sensitive_layers_left_out(
    builder: Builder, calibration: Method, judge: Callable[[Candidate], Judged]
) -> Iterator[Judged]:
    """Judge static candidates without the 1, 2, 4 ... most sensitive layers until one holds."""
    ranking = by_sensitivity(builder, calibration)
    left_out = 1
    while left_out <= len(ranking) // 2:
        judged = judge(Candidate("static", "uint8", tuple(ranking[:left_out]), calibration))
        yield judged
        if judged.keeps_quality:
            return
        left_out *= 2
