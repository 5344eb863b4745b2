"""The metrics, in the order in which reports show them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

Direction = Literal["higher", "lower"]

SHARE: Final = "share"
"""Unit of metrics between 0 and 1. They are written in per cent, their changes in points."""

PLAUSIBLE_GAIN: Final = 0.05
"""A larger gain of a share than this comes from a leak or a mix-up, not from compression."""


@dataclass(frozen=True)
class MetricKind:
    """Properties of a metric that are known before anything is measured.

    Attributes:
        name: In manifests and evidence.
        label: In reports.
        direction: Which way is better. Evidence that says otherwise is not believed.
        unit: `share`, another unit, or empty: it has none, or that of the targets.
        max_gain: Default of a gate's maxGain; None for no limit.
        counted: It is the share of right answers, so evidence has counts of right and wrong. More
            of them is better: gates recompute the metric and its change from the counts.
        raised_by_noise: Noise can only raise it, so its relative change cannot be bounded: in
            simulation 4.1 % of candidates at the limit passed.
        constant_is_perfect: An answer that is always the same is perfect by it, so it says nothing
            about whether a baseline is any good.
        of_ranks: It depends on the order of scores alone, not on where they are cut.
        best_constant: The answer that ignores the inputs and is best by it; for classes it is
            always their frequencies.
    """

    name: str
    label: str
    direction: Direction
    unit: str = ""
    max_gain: float | None = None
    counted: bool = False
    raised_by_noise: bool = False
    constant_is_perfect: bool = False
    of_ranks: bool = False
    best_constant: Literal["mean", "median"] = "mean"

    def __post_init__(self) -> None:
        """Refuse a row that gates would contradict.

        Raises:
            ValueError: It is counted, but no share of right answers.
        """
        if self.counted and (self.direction, self.unit) != ("higher", SHARE):
            message = (
                f"metric {self.name}: counted is for shares of right answers, so its direction "
                f"must be higher and its unit {SHARE}; the share of wrong answers is 1 minus it"
            )
            raise ValueError(message)

    @property
    def share(self) -> bool:
        """Whether it lies between 0 and 1."""
        return self.unit == SHARE

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest value it can have.

        Errors and shares are not below 0. If more is better, 1 is perfect; no share is above it.
        """
        low = 0.0 if self.direction == "lower" or self.share else -math.inf
        return low, 1.0 if self.direction == "higher" or self.share else math.inf


_ROWS = (
    MetricKind("accuracy", "Accuracy", "higher", SHARE, PLAUSIBLE_GAIN, counted=True),
    MetricKind("top5", "Top-5 accuracy", "higher", SHARE, PLAUSIBLE_GAIN, counted=True),
    MetricKind("macroF1", "Macro F1", "higher", SHARE, PLAUSIBLE_GAIN),
    MetricKind("logLoss", "Log loss", "lower", "nats"),
    MetricKind("mse", "Mean squared error", "lower"),
    MetricKind(
        "ece",
        "Calibration error (ECE)",
        "lower",
        SHARE,
        PLAUSIBLE_GAIN,
        raised_by_noise=True,
        constant_is_perfect=True,
    ),
    MetricKind("auc", "AUC", "higher", SHARE, PLAUSIBLE_GAIN, of_ranks=True),
    MetricKind("rmse", "Root mean squared error", "lower"),
    MetricKind("mae", "Mean absolute error", "lower", best_constant="median"),
    MetricKind("r2", "R²", "higher"),
)

METRICS: Final = {row.name: row for row in _ROWS}

SHARES: Final = tuple(row.name for row in _ROWS if row.share)
COUNTED: Final = tuple(row.name for row in _ROWS if row.counted)
RANKS: Final = frozenset(row.name for row in _ROWS if row.of_ranks)
