"""Which candidates `auto` builds, in which order, and which it spares itself.

What comes next depends on how the last ones did: other ways to quantize statically are tried only
if the plain one costs quality, and layers are left in floating point only if nothing else
holds it. The ordinary case pays for neither: each costs one more candidate, and some a pass over
the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol, TypeVar

from fulcrum_components.graph import GraphIndex
from fulcrum_components.quantization.building import AT_RUN_TIME, Builder, Built, Candidate
from fulcrum_components.quantization.calibration import Method
from fulcrum_components.quantization.sensitive_layers import by_sensitivity

SEARCH_ABOVE = 0.5
"""Share of `maxDrop` that min-max may lose before other calibrations are tried: with less than half
used up there is room for what the test data add, so the ordinary case pays for nothing."""

MIN_SHARE = 0.01  # less than this in integers cannot be what makes a model faster

OTHER_CALIBRATIONS: tuple[Method, ...] = ("percentile", "entropy")


class Outcome(Protocol):
    """How one candidate did, as far as it decides what is tried next."""

    @property
    def candidate(self) -> Candidate:
        """Return what was tried."""

    @property
    def built(self) -> Built | None:
        """Return its file, None if it could not be built."""

    @property
    def keeps_quality(self) -> bool:
        """Return whether it is as good as allowed."""

    @property
    def drop(self) -> float:
        """Return how much worse than fp32 it is; infinite where that is unknown."""


Tried = TypeVar("Tried", bound=Outcome)


def explore(builder: Builder, max_drop: float, judge: Callable[[Candidate], Tried]) -> list[Tried]:
    """Judge the candidates that are worth it.

    If static quantization loses quality, it is tried on products only, with other ways to
    calibrate and other scales, and the candidates after it do as the one that lost least. What
    loses too much all the same is tried again, static and dynamic, with ever more of its most
    sensitive layers left in fp32.

    Args:
        builder: Has the graph and the recipe.
        max_drop: How much worse than fp32 is allowed.
        judge: Builds and measures a candidate.
    """
    judged = _static(builder, max_drop, judge)
    best = min(judged, key=lambda item: item.drop)
    judged += [judge(other) for other in _others(builder, best.candidate)]
    for tried in (best, *(item for item in judged if item.candidate.kind == "dynamic")):
        if _share(tried) >= MIN_SHARE and not _has_as_much(judged, tried):
            judged += _with_sensitive_layers_left_out(builder, tried.candidate, judge)
    return judged


def _share(outcome: Outcome) -> float:
    return outcome.built.coverage.share if outcome.built else 0.0


def _has_as_much(judged: list[Tried], failed: Tried) -> bool:
    """Return whether one that keeps the quality runs at least half as much in integers already."""
    return any(item.keeps_quality and _share(item) >= _share(failed) / 2 for item in judged)


def _static(builder: Builder, max_drop: float, judge: Callable[[Candidate], Tried]) -> list[Tried]:
    """Judge the static candidate as the recipe asks, and in other ways where it needs them."""
    options = builder.options
    plain = Candidate("static", "uint8", calibration=options.calibration)
    judged = [judge(plain)]
    if judged[0].built is None and options.per_channel:
        return [*judged, judge(replace(plain, per_channel=False))]
    if _share(judged[0]) < MIN_SHARE:
        return judged
    for other in _other_ways(builder, plain):
        if min(item.drop for item in judged) <= SEARCH_ABOVE * max_drop:
            break
        judged.append(judge(other))
    return judged


def _other_ways(builder: Builder, plain: Candidate) -> Iterator[Candidate]:
    """Yield other static candidates, those that cost no further pass over the data first."""
    if builder.quantizes_more_than_products():
        yield replace(plain, products_only=True)
    if not builder.options.per_channel:
        yield replace(plain, per_channel=True)
    if plain.calibration == "minmax":
        for method in OTHER_CALIBRATIONS:
            yield replace(plain, calibration=method)


def _others(builder: Builder, static: Candidate) -> Iterator[Candidate]:
    """Yield the other kinds, the static ones made as `static`."""
    yield replace(static, activations="int8")
    index = GraphIndex(builder.model)
    # dynamic has nothing to do elsewhere, since it leaves convolutions alone
    multiplying = {
        node.op_type for node in builder.model.graph.node if index.multiplies_by_constant(node)
    }
    if multiplying & {*AT_RUN_TIME, "Gemm"}:
        yield Candidate("dynamic")
    if "Conv" in multiplying and multiplying & {*AT_RUN_TIME}:
        yield replace(static, kind="mixed", products_only=False)


def _with_sensitive_layers_left_out(
    builder: Builder, failed: Candidate, judge: Callable[[Candidate], Tried]
) -> Iterator[Tried]:
    """Judge a candidate without the 1, 2, 4 ... most sensitive layers until one holds."""
    ranking = by_sensitivity(builder, failed)
    left_out = 1
    while left_out <= len(ranking) // 2:
        judged = judge(replace(failed, sensitive=tuple(ranking[:left_out])))
        yield judged
        if judged.keeps_quality:
            return
        left_out *= 2
