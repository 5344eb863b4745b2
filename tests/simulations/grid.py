"""The worlds that gates are tried in."""

from __future__ import annotations

from simulations.worlds import World


def _classification() -> list[World]:
    """Return worlds over n, churn, prevalence and groups."""
    found = [
        World(f"4 classes, n {n}, churn {churn:g}", n, churn, classes=4, noise=0.02)
        for n, churn in ((100, 0.01), (100, 0.02), (100, 0.05), (300, 0.01), (300, 0.02))
    ]
    found += [
        World(f"4 classes, n {n}, churn {churn:g}", n, churn, classes=4, noise=0.02)
        for n, churn in ((300, 0.05), (1000, 0.01), (1000, 0.03), (2000, 0.01))
    ]
    found += [
        World(f"no noise, n {n}, churn {churn:g}", n, churn, classes=3)
        for n, churn in ((50, 0.02), (200, 0.01), (400, 0.03))
    ]
    found += [
        World(
            f"positives {share:g}, n {n}, churn {churn:g}",
            n,
            churn,
            classes=2,
            smallest=share,
            where=where,
            noise=noise,
            signal=3.0,
        )
        for share, n, churn, where, noise in (
            (0.5, 200, 0.02, "all", 0.02),
            (0.5, 1000, 0.02, "all", 0.02),
            (0.1, 300, 0.02, "all", 0.02),
            (0.1, 300, 0.1, "smallest class", 0.0),
            (0.02, 500, 0.1, "smallest class", 0.02),
            (0.02, 500, 0.3, "smallest class", 0.02),
            (0.02, 500, 0.01, "all", 0.5),
            (0.01, 500, 0.0, "all", 1.5),
            (0.004, 500, 0.0, "all", 1.5),
        )
    ]
    found += [
        World(
            f"rare class {share:g} of 5, n {n}, churn {churn:g} in it",
            n,
            churn,
            classes=5,
            smallest=share,
            where="smallest class",
            noise=0.02,
        )
        for share, n, churn in ((0.01, 500, 0.3), (0.02, 1000, 0.2), (0.05, 1000, 0.1))
    ]
    found += [
        World(
            f"{n // group} groups of {group}, churn {churn:g}",
            n,
            churn,
            classes=4,
            group=group,
            noise=0.02,
        )
        for n, group, churn in (
            (40, 20, 0.2),
            (100, 20, 0.1),
            (200, 20, 0.1),
            (400, 8, 0.02),
            (600, 3, 0.02),
            (1000, 2, 0.02),
        )
    ]
    return found


def _regression() -> list[World]:
    found = [
        World(f"regression, n {n}, lost {churn:g}", n, churn, "regression", noise=0.02)
        for n, churn in ((50, 0.02), (100, 0.01), (300, 0.01), (1000, 0.01), (2000, 0.03))
    ]
    found += [
        World(f"regression without noise, n {n}, lost {churn:g}", n, churn, "regression")
        for n, churn in ((100, 0.02), (400, 0.02))
    ]
    found += [
        World(
            f"regression, t with {tails} degrees, n {n}, {text}",
            n,
            lost,
            "regression",
            noise=noise,
            tails=tails,
        )
        for tails, n, lost, noise, text in (
            (3, 100, 0.0, 0.5, "noise on all"),
            (5, 300, 0.02, 0.1, "lost 0.02"),
            (5, 300, 0.0, 0.5, "noise on all"),
        )
    ]
    found += [
        World(f"regression, n {n}, noise {noise:g} on all", n, 0.0, "regression", noise=noise)
        for n, noise in ((50, 0.5), (200, 0.5), (200, 1.0))
    ]
    found += [
        World("regression, shifted, n 100", 100, 0.0, "regression", shift=0.2),
        World("regression, good, n 300, lost 0.01", 300, 0.01, "regression", error=0.1),
        World("regression, 10 groups of 20", 200, 0.1, "regression", group=20, noise=0.1),
        World("regression, 100 groups of 5", 500, 0.03, "regression", group=5, noise=0.1),
    ]
    return found


WORLDS = (*_classification(), *_regression())
