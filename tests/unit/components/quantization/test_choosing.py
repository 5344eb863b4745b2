"""Choose among made-up models; noise of the clock does not change the choice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from quantizing import accuracy, speed

from fulcrum_components.quantization.choosing import (
    Choice,
    Option,
    Preference,
    Quality,
    Speed,
    Wanted,
    choose,
    largest_size,
    preference,
)
from fulcrum_pipelines.resources.compressionjob import Gate

FP32 = ("fp32", 400, 0.9, 1.0)
"""Name, bytes, accuracy on 1,000 examples, speed-up."""


def choice_of(*models: tuple[str, int, float, float], wanted: Wanted, noise: float = 0.0) -> Choice:
    options = [Option(name, size, accuracy(quality)) for name, size, quality, _ in models]
    speeds = {name: ratio for name, _, _, ratio in models}
    random = np.random.default_rng(round(noise * 1e6))

    def measure(option: Option) -> Speed:
        off = math.exp(noise * random.normal())
        return speed(speeds[option.name] * (1.0 if option.name == "fp32" else off))

    return choose(options, wanted, measure)


@dataclass(frozen=True)
class Case:
    name: str
    models: tuple[tuple[str, int, float, float], ...]
    chosen: str
    wanted: Wanted = field(default_factory=Wanted)
    lost: dict[str, str] = field(default_factory=dict)


CASES = (
    Case("nothing else", (FP32,), "fp32"),
    Case(
        "clearly the fastest",
        (FP32, ("a", 100, 0.9, 2.0), ("b", 100, 0.9, 1.5)),
        "a",
        lost={"fp32": "a is 2.00 times as fast", "b": "a is 1.33 times as fast"},
    ),
    Case("as fast: the better", (FP32, ("a", 100, 0.89, 2.0), ("b", 110, 0.9, 1.9)), "b"),
    Case("as fast and good: the smaller", (FP32, ("a", 130, 0.9, 2.0), ("b", 100, 0.9, 1.9)), "b"),
    Case(
        "all equal: the first",
        (FP32, ("a", 102, 0.9, 1.9), ("b", 100, 0.901, 2.0)),
        "a",
        lost={"b": "neither better nor smaller than a, which comes first"},
    ),
    Case("not faster, but smaller", (FP32, ("a", 100, 0.9, 0.95)), "a"),
    Case("slower, though smaller", (FP32, ("a", 100, 0.9, 0.85)), "fp32"),
    Case("slower, but size is wanted", (FP32, ("a", 100, 0.9, 0.5)), "a", Wanted("size")),
    Case(
        "a little larger, but better, if size is wanted",
        (FP32, ("a", 100, 0.89, 1.0), ("b", 104, 0.9, 1.0)),
        "b",
        Wanted("size"),
    ),
    Case(
        "equally small and good: the faster",
        (FP32, ("a", 100, 0.9, 0.5), ("b", 100, 0.9, 1.0)),
        "b",
        Wanted("size"),
    ),
    Case(
        "faster, but worse, if quality is wanted",
        (FP32, ("a", 100, 0.89, 3.0)),
        "fp32",
        Wanted("quality"),
        lost={"a": "measurably worse than fp32 on validation"},
    ),
    Case(
        "no worse within noise: the faster",
        (FP32, ("a", 100, 0.895, 3.0)),
        "a",
        Wanted("quality"),
    ),
    Case(
        "the fastest is too large for the gate",
        (FP32, ("a", 300, 0.9, 2.0), ("b", 100, 0.9, 1.2)),
        "b",
        Wanted(largest_bytes=200),
        lost={"a": "larger than the gates on size allow, 200 bytes"},
    ),
    Case(
        "all are too large for the gate",
        (FP32, ("a", 300, 0.9, 2.0), ("b", 250, 0.9, 1.2)),
        "a",
        Wanted(largest_bytes=200),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_choice(case: Case) -> None:
    found = choice_of(*case.models, wanted=case.wanted)
    assert found.chosen.name == case.chosen
    assert set(found.lost) == {name for name, *_ in case.models} - {case.chosen}
    assert found.lost | case.lost == found.lost


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_noise_of_the_clock_does_not_change_the_choice(case: Case) -> None:
    """Sessions of one file differ by 2 %; here by 1 % each way, so that 10 % is never in doubt."""
    noise = [0.01 + step / 1e6 for step in range(20)]
    found = {choice_of(*case.models, wanted=case.wanted, noise=each).chosen.name for each in noise}
    assert found == {case.chosen}


PREFERENCES: tuple[Preference, ...] = ("latency", "size", "quality")


@pytest.mark.parametrize("prefer", PREFERENCES)
def test_unreliable_timing_has_no_say(prefer: Preference) -> None:
    options = [Option("fp32", 400, accuracy(0.9)), Option("a", 100, accuracy(0.9))]
    found = choose(options, Wanted(prefer), lambda _: speed(0.2, doubt="the machine was busy"))
    assert found.chosen.name == "a"
    assert found.doubt == ("" if prefer == "size" else "the machine was busy")
    assert found.timing_reliable == (None if prefer == "size" else False)


@dataclass(frozen=True)
class Worse:
    name: str
    losses: tuple[float, ...]
    others: tuple[float, ...]
    worse: bool


WORSE = (
    Worse("no difference", (1.0,) * 100, (1.0,) * 100, worse=False),
    Worse("five answers", (1.0,) * 5 + (0.0,) * 95, (0.0,) * 100, worse=False),
    Worse("six answers", (1.0,) * 6 + (0.0,) * 94, (0.0,) * 100, worse=True),
    Worse("as many either way", (1.0, 0.0) * 50, (0.0, 1.0) * 50, worse=False),
    Worse("better", (0.0,) * 100, (1.0,) * 50 + (0.0,) * 50, worse=False),
    Worse("every error a little larger", (1.01,) * 50 + (2.02,) * 50, (1.0, 2.0) * 50, worse=False),
    Worse("one example", (1.0,), (0.0,), worse=False),
)


@pytest.mark.parametrize("case", WORSE, ids=lambda case: case.name)
def test_worse_is_what_the_examples_show(case: Worse) -> None:
    mine, other = (Quality(0.0, np.array(losses)) for losses in (case.losses, case.others))
    assert mine.is_worse_than(other) is case.worse


def gate(kind: str, mode: str = "Enforce", limit: float | None = None) -> Gate:
    return Gate.model_validate({"name": kind.lower(), "kind": kind, "mode": mode, "max": limit})


@dataclass(frozen=True)
class Asked:
    name: str
    gates: tuple[Gate, ...]
    prefer: Preference
    largest: float = math.inf


ASKED = (
    Asked("nothing", (), "latency"),
    Asked("quality alone", (gate("nonInferiority"),), "latency"),
    Asked("size", (gate("nonInferiority"), gate("size", limit=0.5)), "size", 500),
    Asked("memory", (gate("memory", limit=0.5),), "size"),
    Asked("both", (gate("speedup"), gate("size", limit=0.3)), "latency", 300),
    Asked("two on size", (gate("size", limit=0.3), gate("size", limit=0.2)), "size", 200),
    Asked("size in a dry run", (gate("size", "DryRun", 0.5),), "latency"),
)


@pytest.mark.parametrize("case", ASKED, ids=lambda case: case.name)
def test_gates_say_what_is_wanted(case: Asked) -> None:
    assert preference(case.gates) == case.prefer
    assert largest_size(case.gates, 1000) == case.largest
