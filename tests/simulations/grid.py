"""The worlds that gates are tried in."""

from __future__ import annotations

from simulations.worlds import World


def _even() -> list[World]:
    """Return worlds with four classes of equal size, over n and churn."""
    grid = (
        (100, 0.01, False),
        (100, 0.05, False),
        (300, 0.01, False),
        (300, 0.02, True),
        (1000, 0.03, True),
    )
    return [
        World(f"4 classes, n {n}, churn {churn:g}", n, churn, classes=4, noise=0.02, own=own)
        for n, churn, own in grid
    ] + [
        World(f"3 classes, n {n}, churn {churn:g}, else equal", n, churn, classes=3, own=own)
        for n, churn, own in ((50, 0.02, False), (200, 0.01, True))
    ]


def _two_classes() -> list[World]:
    """Return worlds with two classes, over prevalence and what is lost."""
    grid = (
        (0.5, 200, 0.02, "all", 0.02, True),
        (0.1, 300, 0.02, "all", 0.02, False),
        (0.1, 300, 0.1, "smallest class", 0.0, False),
        (0.02, 500, 0.1, "smallest class", 0.02, True),
        (0.02, 500, 0.3, "smallest class", 0.02, False),
        (0.01, 500, 0.0, "all", 1.5, False),
        (0.004, 500, 0.0, "all", 1.5, False),
        (0.01, 100, 0.9, "smallest class", 0.02, True),
        (0.01, 300, 0.9, "smallest class", 0.02, True),
    )
    found = []
    for share, n, churn, where, noise, own in grid:
        lost = f"churn {churn:g}" if where == "all" else f"churn {churn:g} of positives"
        name = f"positives {share:g}, n {n}, {lost if churn else f'noise {noise:g}'}"
        found.append(
            World(
                name,
                n,
                churn,
                classes=2,
                smallest=share,
                where=where,
                noise=noise,
                signal=3.0,
                own=own,
            )
        )
    return found


def _rare_class() -> list[World]:
    """Return worlds in which only a rare class of five is lost."""
    return [
        World(
            f"rare class {share:g} of 5, n {n}, churn {churn:g} of it",
            n,
            churn,
            classes=5,
            smallest=share,
            where="smallest class",
            noise=0.02,
            own=own,
        )
        for share, n, churn, own in (
            (0.005, 200, 0.5, True),
            (0.01, 500, 0.3, False),
            (0.02, 1000, 0.2, False),
            (0.05, 1000, 0.1, False),
        )
    ]


def _groups() -> list[World]:
    """Return worlds whose groups are lost as a whole."""
    return [
        World(
            f"{n // group} groups of {group}, churn {churn:g}",
            n,
            churn,
            classes=4,
            group=group,
            noise=0.02,
            own=own,
        )
        for n, group, churn, own in (
            (100, 20, 0.1, False),
            (200, 20, 0.1, False),
            (400, 8, 0.02, True),
            (1000, 2, 0.02, False),
        )
    ]


def _regression() -> list[World]:
    """Return worlds with lost answers, with noise on all, with heavy tails and with groups."""
    found = [
        World(f"regression, n {n}, lost {lost:g}", n, lost, "regression", noise=0.02, own=own)
        for n, lost, own in ((100, 0.01, False), (300, 0.02, True), (1000, 0.03, False))
    ]
    found += [
        World(
            f"regression, errors of t({tails}), n {n}, "
            f"{f'lost {lost:g}' if lost else f'noise {noise:g}'}",
            n,
            lost,
            "regression",
            noise=noise,
            tails=tails,
            own=own,
        )
        for tails, n, lost, noise, own in (
            (3, 100, 0.0, 0.5, False),
            (5, 300, 0.02, 0.1, True),
            (3, 300, 0.0, 0.5, True),
            (3, 1000, 0.05, 0.1, True),
        )
    ]
    found += [
        World(f"regression, n {n}, noise {noise:g}", n, 0.0, "regression", noise=noise, own=own)
        for n, noise, own in ((50, 0.5, False), (200, 1.0, True))
    ]
    found += [
        World(
            f"regression, errors of {error:g}, noise {noise:g} of t(3), n {n}",
            n,
            0.0,
            "regression",
            noise=noise,
            noise_tails=3,
            error=error,
            own=True,
        )
        for n, noise, error in ((100, 1.0, 0.4), (300, 1.0, 0.4), (300, 1.0, 2.0))
    ]
    return [
        *found,
        World("regression, n 100, lost 0.02, else equal", 100, 0.02, "regression"),
        World("regression, n 100, shifted", 100, 0.0, "regression", shift=0.2),
        World("regression, exact, n 300, lost 0.01", 300, 0.01, "regression", error=0.1),
        World("regression, 10 groups of 20", 200, 0.1, "regression", group=20, noise=0.1),
        World("regression, 100 groups of 5", 500, 0.03, "regression", group=5, noise=0.1),
    ]


WORLDS = (*_even(), *_two_classes(), *_rare_class(), *_groups(), *_regression())
