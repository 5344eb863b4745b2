"""Does a candidate have the classes in the order of the labels?

A model from elsewhere may have sorted the same labels differently. Its answers are as good as those
of the baseline then, under other numbers, which no metric shows: it looks ruined.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fulcrum_components.tasks import Array, Outcomes, find_task

ENOUGH_EXAMPLES = 20
"""Examples of displaced classes from which on an order is no chance."""

AS_GOOD = 0.8
"""How much of what the baseline gets right on displaced classes a candidate must get right under
other numbers. A damaged model confuses classes; it does not exchange whole ones."""

SHOWN = 3


def other_order(
    baseline: Outcomes, candidate: Outcomes, task: str, names: Sequence[str] | None
) -> str | None:
    """Return that `candidate` has classes under other numbers, or None if nothing shows it.

    Args:
        baseline: On the test data.
        candidate: On the same examples.
        task: What both models are for.
        names: Of the classes, in the order of the labels, if they have some.
    """
    asked = find_task(task)
    answers, before = asked.answers(candidate), asked.answers(baseline)
    if not asked.labelled or answers is None or before is None:
        return None
    targets = candidate.targets
    usual = _usual_answers(targets, answers)
    displaced = {label: answer for label, answer in usual.items() if label != answer}
    if len(set(usual.values())) < len(usual) or not displaced:
        return None
    there = np.isin(targets, list(displaced))
    expected = np.array([usual[int(label)] for label in targets[there]])
    right, wanted = float((answers[there] == expected).mean()), before[there] == targets[there]
    if there.sum() < ENOUGH_EXAMPLES or right < AS_GOOD * float(wanted.mean()):
        return None

    def show(label: int) -> str:
        return str(label) if names is None else f"{label} ({names[label]})"

    moved = [f"{answer} for {show(label)}" for label, answer in list(displaced.items())[:SHOWN]]
    more = len(displaced) - len(moved)
    return (
        f"the candidate has classes in another order: it answers {', '.join(moved)}"
        f"{f' and so on for {more} more' if more else ''}. Read so, it is right on {right:.1%} of "
        f"these {there.sum()} test examples, the baseline on {wanted.mean():.1%}; export it with "
        "the classes in the baseline's order"
    )


def _usual_answers(targets: Array, answers: Array) -> dict[int, int]:
    """Return for each class of `targets`, (n,), its most frequent one of `answers`, (n,)."""
    pairs, counts = np.unique(np.stack([targets, answers], axis=1), axis=0, return_counts=True)
    usual: dict[int, tuple[int, int]] = {}
    for (label, answer), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        usual[label] = max(usual.get(label, (0, 0)), (count, answer))
    return {label: answer for label, (_, answer) in usual.items()}
