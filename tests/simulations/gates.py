"""Measure how often gates pass models that are no better than their limit: `make simulations`.

Of each world many test sets are drawn, and each metric is compared as validate compares it. The
margin is the true difference of the worse candidate, so every pass of it is false; 2.5 % are
expected of a two-sided 95 % interval. The pass rate of a candidate at half the margin, and of
one that is equally good, is the remaining power. Results go to `results.json`, from which
docs/gates.md has its table (`docs/generate.py`); seeds are fixed, so that cells may be simulated
again on their own.

    python tests/simulations/gates.py [--runs 2000] [--world NAME] [--gate NAME] [--workers 2]
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fulcrum_components.evaluation import METRICS as METRIC_DEFINITIONS
from fulcrum_components.evaluation import (
    Outcomes,
    Request,
    compare,
    compare_all,
    compute_metrics,
    metric_value,
)
from fulcrum_components.evaluation.floor import floor_of
from fulcrum_pipelines import catalog
from fulcrum_pipelines.evidence import Comparison, Interval, Metric
from fulcrum_pipelines.statistics import ratio_interval
from simulations.grid import WORLDS
from simulations.worlds import Array, Population, World, populate

RESULTS = Path(__file__).with_name("results.json")
METRICS = {
    "classification": ("accuracy", "macroF1", "logLoss", "ece", "auc"),
    "regression": ("rmse", "mae", "r2"),
}
RELATIVE = ("logLoss", "rmse", "mae")
"""Metrics that gates of kind `change` are tried on."""
POWER_RUNS = 100
"""Runs that power is measured with, whose error matters less."""


def _higher(metric: str) -> bool:
    return catalog.METRICS[metric].direction == "higher"


@dataclass
class Tally:
    """Passes of one kind of gate."""

    margin: float
    runs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CANDIDATES, 0))
    passes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CANDIDATES, 0))

    def count(self, candidate: str, passed: bool) -> None:
        """Add one decision."""
        self.runs[candidate] += 1
        self.passes[candidate] += passed


CANDIDATES = ("worse", "half", "equal")
KINDS = ("nonInferiority", "threshold", "change", "churn")


def simulate(world: World, runs: int, power_runs: int, gate: str = "") -> list[dict[str, Any]]:
    """Return a row for each gate of `world` whose name has `gate` in it."""
    seed = zlib.crc32(world.name.encode())
    population = populate(world, seed)
    tallies = {name: t for name, t in _margins(world, population).items() if gate in name}
    generator = np.random.default_rng(seed)
    for run in range(runs):
        chosen, groups = population.draw(generator, world.n)
        for name in CANDIDATES if run < power_runs else CANDIDATES[:1]:
            base, candidate = (outcomes.take(chosen) for outcomes in population.pairs[name])
            _decide(world, tallies, name, base, candidate, groups, run)
    return [_row(world, gate, tally) for gate, tally in tallies.items()]


def _margins(world: World, population: Population) -> dict[str, Tally]:
    """Return a tally for each gate whose worse candidate is worse, with the true difference."""
    tallies = {}
    for metric in METRICS[world.task]:
        before, after = (metric_value(each, metric) or 0.0 for each in population.pairs["worse"])
        loss = before - after if _higher(metric) else after - before
        if loss > 0:
            tallies[f"nonInferiority {metric}"] = Tally(loss)
        if loss > 0 and world.own:
            tallies[f"threshold {metric}"] = Tally(after)
        if loss > 0 and world.own and metric in RELATIVE:
            tallies[f"change {metric}"] = Tally(loss / before)
    if world.task == "classification":
        first, second = (each.outputs.argmax(axis=1) for each in population.pairs["worse"])
        tallies["churn"] = Tally(float(np.mean(first != second)))
    return tallies


def _decide(
    world: World,
    tallies: dict[str, Tally],
    name: str,
    base: Outcomes,
    candidate: Outcomes,
    groups: Array | None,
    seed: int,
) -> None:
    metrics, both = METRICS[world.task], [base, candidate]
    possible = [m for m in metrics if _possible(tallies, m, name, both, groups)]
    requests = [Request(metric) for metric in possible]
    found = compare_all(base, candidate, requests, world.task, groups=groups, seed=seed)
    for comparison in found:
        _compared(tallies, name, comparison)
        if tally := tallies.get(f"change {comparison.metric}"):
            (known,) = compute_metrics(
                base, world.task, names=[comparison.metric], groups=groups, seed=seed
            )
            tally.count(name, _changed(comparison, known) <= tally.margin)
    if "churn" in tallies:
        _churned(tallies["churn"], name, compare(*both, "accuracy", world.task, groups=groups))
    names = [m for m in metrics if _possible(tallies, m, name, [candidate], groups)]
    if names:
        own = compute_metrics(candidate, world.task, names=names, groups=groups, seed=seed)
        for metric in own:
            tally = tallies[f"threshold {metric.name}"]
            tally.count(name, _within(metric.interval, metric.name, tally.margin))


def _churned(tally: Tally, name: str, found: Comparison) -> None:
    interval = found.churn_interval
    tally.count(name, interval is not None and interval.high <= tally.margin)


def _possible(
    tallies: dict[str, Tally],
    metric: str,
    name: str,
    models: list[Outcomes],
    groups: Array | None,
) -> bool:
    """Return whether a gate on `metric` may pass; if it cannot, count a failure.

    The floor is a part of every interval but those of counts, and is had without a bootstrap.
    """
    kinds = ("nonInferiority", "change") if len(models) == 2 else ("threshold",)
    concerned = {kind: t for kind in kinds if (t := tallies.get(f"{kind} {metric}"))}
    definition = METRIC_DEFINITIONS[metric]
    if not concerned or definition.correct is not None:
        return bool(concerned)
    values = [metric_value(outcomes, metric) for outcomes in models]
    value = None if None in values else values[-1] - (values[0] if len(models) > 1 else 0.0)

    def passes(interval: Interval | None) -> bool:
        return any(
            _within(interval, metric, tally.margin)
            if kind == "threshold"
            else _kept(interval, metric, tally.margin * (values[0] if kind == "change" else 1.0))
            for kind, tally in concerned.items()
        )

    if value is not None and passes(Interval(level=0.95, low=value, high=value, method="")):
        floor = floor_of(definition, models, groups)
        if floor is not None and passes(floor.interval(0.95)):
            return True
    for tally in concerned.values():
        tally.count(name, False)
    return False


def _kept(interval: Interval | None, metric: str, margin: float) -> bool:
    if interval is None:
        return False
    return interval.low > -margin if _higher(metric) else interval.high < margin


def _compared(tallies: dict[str, Tally], name: str, found: Comparison) -> None:
    interval = found.interval
    if tally := tallies.get(f"nonInferiority {found.metric}"):
        tally.count(name, _kept(interval, found.metric, tally.margin))


def _changed(found: Comparison, baseline: Metric) -> float:
    """Return the upper end of the relative change, as gates of kind `change` have it."""
    if found.interval is None or baseline.interval is None:
        return math.inf
    relative = ratio_interval(
        found.delta or 0.0, found.interval, baseline.value or 0.0, baseline.interval
    )
    return math.inf if relative is None else relative.high


def _within(interval: Interval | None, metric: str, limit: float) -> bool:
    if interval is None:
        return False
    return interval.low >= limit if _higher(metric) else interval.high <= limit


def _row(world: World, gate: str, tally: Tally) -> dict[str, Any]:
    shares = {
        name: round(tally.passes[name] / tally.runs[name], 4)
        for name in CANDIDATES
        if tally.runs[name]
    }
    return {
        "world": world.name,
        "gate": gate,
        "n": world.n,
        "groups": world.n // world.group if world.group > 1 else None,
        "margin": round(tally.margin, 5),
        "runs": tally.runs["worse"],
        **shares,
    }


def _simulate(task: tuple[World, int, int, str]) -> list[dict[str, Any]]:
    return simulate(*task)


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate the worlds, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--world", default="", help="only worlds whose name has this in it")
    parser.add_argument("--gate", default="", help="only gates whose name has this in it")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args(arguments)
    worlds = [world for world in WORLDS if chosen.world in world.name]
    rows = {(row["world"], row["gate"]): row for row in _recorded(chosen.output)}
    with multiprocessing.Pool(chosen.workers) as pool:
        for done in pool.imap_unordered(
            _simulate, [(world, chosen.runs, POWER_RUNS, chosen.gate) for world in worlds]
        ):
            for row in done:
                rows[row["world"], row["gate"]] = row
                print(*row.values(), sep="\t", flush=True)
            _write(chosen.output, list(rows.values()))


def _recorded(path: Path) -> list[dict[str, Any]]:
    """Return the rows that were written before, of worlds that there still are."""
    rows = json.loads(path.read_text()) if path.exists() else []
    return [row for row in rows if row["world"] in {world.name for world in WORLDS}]


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows in the order of worlds, metrics and kinds, one a line."""
    worlds = [world.name for world in WORLDS]
    metrics = [name for names in METRICS.values() for name in names]

    def place(row: dict[str, Any]) -> tuple[int, int, int]:
        kind, _, metric = row["gate"].partition(" ")
        of_metric = metrics.index(metric) if metric else len(metrics)
        return worlds.index(row["world"]), of_metric, KINDS.index(kind)

    lines = [json.dumps(row) for row in sorted(rows, key=place)]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
