"""Populations of examples with both models' outputs, from which test sets are drawn.

A world is finite and large, so the true difference of the two models in it is known exactly, and a
gate can be given the very margin that the candidate misses by nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fulcrum_components.evaluation import Outcomes

Array = np.ndarray[Any, np.dtype[Any]]
Where = Literal["all", "smallest class"]

POPULATION = 60_000


@dataclass(frozen=True)
class World:
    """A distribution of test sets and candidates.

    Attributes:
        name: As the table names it.
        n: Examples of a test set.
        churn: Share of examples, or of groups, whose answers the candidate loses.
        task: Of the models.
        classes: Their number.
        smallest: Share of the smallest class; None for classes of equal size.
        where: Which examples are lost.
        noise: Of the candidate's outputs on all examples, in baseline's errors or logits.
        group: Examples that belong together and are lost together; 1 for independent ones.
        tails: Degrees of freedom of a regression's errors; None for normal ones.
        noise_tails: The same of the noise that the candidate adds to a regression's outputs.
        shift: Constant that the candidate adds to a regression's outputs.
        error: Standard deviation of a regression's errors; that of targets is 1.
        signal: How far apart a classification's classes are: 4 answers 97 % rightly. The baseline
            is calibrated: its confidence is the chance to be right.
        own: Whether gates on the candidate's own metrics are tried too, and relative ones.
    """

    name: str
    n: int
    churn: float
    task: str = "classification"
    classes: int = 10
    smallest: float | None = None
    where: Where = "all"
    noise: float = 0.0
    group: int = 1
    tails: int | None = None
    noise_tails: int | None = None
    shift: float = 0.0
    error: float = 0.4
    signal: float = 4.0
    own: bool = False


@dataclass(frozen=True)
class Population:
    """All examples of a world.

    Attributes:
        pairs: Outcomes of a baseline and a candidate, by how good the candidate is: `worse` by the
            margin, by `half` of it or so, `equal`.
        group: Examples that are drawn together.
    """

    pairs: dict[str, tuple[Outcomes, Outcomes]]
    group: int

    def draw(self, generator: np.random.Generator, n: int) -> tuple[Array, Array | None]:
        """Return the numbers of `n` drawn examples, and their groups if there are any.

        A test set may lack a class; a mean over classes is then another one than in the world.
        """
        total = len(self.pairs["worse"][0])
        if self.group == 1:
            return generator.integers(0, total, n), None
        drawn = generator.integers(0, total // self.group, n // self.group)
        chosen = (drawn[:, None] * self.group + np.arange(self.group)).ravel()
        return chosen, np.repeat(np.arange(len(drawn)), self.group)


def populate(world: World, seed: int) -> Population:
    """Return the population of `world`."""
    generator = np.random.default_rng(seed)
    if world.task == "classification":
        return _classifiers(world, generator)
    return _regressors(world, generator)


def _classifiers(world: World, generator: np.random.Generator) -> Population:
    shares = np.full(world.classes, 1 / world.classes)
    if world.smallest is not None:
        shares[:] = (1 - world.smallest) / (world.classes - 1)
        shares[-1] = world.smallest
    targets = generator.choice(world.classes, POPULATION, p=shares)
    logits = generator.normal(size=(POPULATION, world.classes))
    logits += world.signal * np.eye(world.classes)[targets]
    jitter = world.noise * generator.normal(size=logits.shape)
    others = _of_another_class(targets, generator)

    def lost(part: float, *, noisy: bool = True) -> Outcomes:
        moved = logits + jitter if noisy else logits.copy()
        chosen = _chosen(world, part * world.churn, targets, generator)
        moved[chosen] = moved[others[chosen]]
        return Outcomes(_softmax(world.signal * moved), targets)

    baseline = lost(0, noisy=False)
    pairs = {
        "worse": (baseline, lost(1)),
        "half": (baseline, lost(0.5)),
        "equal": (lost(0.5), lost(0.5)),
    }
    return Population(pairs, world.group)


def _regressors(world: World, generator: np.random.Generator) -> Population:
    targets = generator.normal(size=POPULATION)
    errors = _errors(world.tails, POPULATION, generator)
    answers = targets + world.error * errors
    others = generator.permutation(POPULATION)
    jitter = np.stack([_errors(world.noise_tails, POPULATION, generator) for _ in range(2)])
    jitter *= world.error * world.noise

    def lost(part: float, noise: Array) -> Outcomes:
        moved = answers + part**0.5 * (noise + world.shift)
        chosen = _chosen(world, part * world.churn, targets, generator)
        moved[chosen] = answers[others[chosen]]
        return Outcomes(moved, targets)

    baseline = lost(0, jitter[0])
    pairs = {
        "worse": (baseline, lost(1, jitter[0])),
        "half": (baseline, lost(0.5, jitter[0])),
        "equal": (lost(0.5, jitter[0]), lost(0.5, jitter[1])),
    }
    return Population(pairs, world.group)


def _errors(tails: int | None, n: int, generator: np.random.Generator) -> Array:
    if tails is None:
        return generator.normal(size=n)
    return generator.standard_t(tails, n)


def _chosen(world: World, share: float, targets: Array, generator: np.random.Generator) -> Array:
    groups = np.repeat(generator.random(POPULATION // world.group) < share, world.group)
    if world.where == "smallest class":
        groups &= targets == targets.max()
    return groups


def _of_another_class(targets: Array, generator: np.random.Generator) -> Array:
    """Return for each example the number of a random one of another class."""
    found = generator.permutation(len(targets))
    while (same := targets[found] == targets).any():
        found[same] = generator.integers(0, len(targets), int(same.sum()))
    return found


def _softmax(logits: Array) -> Array:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Array = (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)
    return result
