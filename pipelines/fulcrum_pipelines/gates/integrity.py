"""Is the evidence of one run, over the models and the data that it says?

These checks hold for the whole run, with any gates. Any answer but yes blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fulcrum_pipelines.baselines import contradiction, ruin, weaknesses
from fulcrum_pipelines.catalog import GATE_KINDS
from fulcrum_pipelines.contract import MAKING_STAGES
from fulcrum_pipelines.evidence import (
    Copies,
    EvaluateDetails,
    Evidence,
    Overlap,
    StageEvidence,
    ValidateDetails,
)
from fulcrum_pipelines.gates.constant_answer import looks_at_answers, too_loose
from fulcrum_pipelines.resources.compressionjob import Gate

DATA = "data."
"""Prefix of the names of inputs that are data sets."""

TUNED_ON = ("train", "calibration", "validation")
"""Data sets that something is tuned on; no test example may be in them."""

TEST_DATA = f"{DATA}test"
"""The input that decides."""


NAMED = 8
"""How many addresses a caveat names; the evidence has all."""

NOTED, FEWEST, BY_CHANCE = 0.01, 0.5, 0.05
"""Copies among the test examples are noted from this share on; they block if they count for less
than half of the examples (intervals should be 1.4 times as wide then) and at most this share of
their sets has different answers."""


def validate_details(evidence: Evidence) -> ValidateDetails | None:
    """Return what validate measured, or None if it did not."""
    stage = evidence.stage("validate")
    return stage.details if stage and isinstance(stage.details, ValidateDetails) else None


def anomalies(evidence: Evidence, gates: Sequence[Gate]) -> Iterator[str]:
    """Yield why this evidence cannot be trusted, or proves nothing for `gates`, one line each."""
    yield from _records(evidence)
    details = validate_details(evidence)
    evaluate = evidence.stage("evaluate")
    if details is None:
        return
    if evaluate is None:
        yield "the baseline is unproven: the evidence has no stage evaluate"
    else:
        yield from _models(evidence, evaluate, details, gates)
        yield from _data(evidence, evaluate, details)
        yield from _baseline(evaluate, details, gates)
    if details.identical_models != (details.baseline_model == details.candidate_model):
        yield "identical_models contradicts the digests of the models"
    overlaps = details.overlaps
    if evaluate and isinstance(evaluate.details, EvaluateDetails):
        overlaps += evaluate.details.overlaps
    yield from _overlaps(overlaps, details.test_examples)
    if evaluate is not None and details.time_column is not None:
        yield from _times(evaluate, details, details.time_column)
    if details.copies is not None and _are_copies(details.copies, details.test_examples):
        yield _copies(details.copies, details.test_examples)


def caveats(evidence: Evidence, gates: Sequence[Gate]) -> Iterator[str]:
    """Yield what the verdict does not prove, one line each; none of it blocks."""
    details = validate_details(evidence)
    evaluate = evidence.stage("evaluate")
    if details is None or evaluate is None:
        return
    enforced = [gate for gate in gates if gate.mode == "Enforce"]
    if enforced and not any(map(looks_at_answers, enforced)):
        yield (
            "no enforced gate compares the candidate's answers with the right ones, so it may have "
            "become worse; add one of kind nonInferiority"
        )
    if evidence.stage("convert") is not None and f"{DATA}train" not in evaluate.inputs:
        yield (
            "what the candidate was trained on is not known, so it may have seen test examples; "
            "name its training data in data.train to have that checked"
        )
    names = details.overlap_on_trust
    if names is None:
        names = tuple(name for name in TUNED_ON if f"{DATA}{name}" in evaluate.inputs)
    n, copies = details.test_examples, details.copies
    if copies is not None and copies.distinct <= (1 - NOTED) * n and not _are_copies(copies, n):
        yield _copies(copies, n)
    if names:
        later = ", and that all are later," if details.time_column is not None else ""
        yield (
            f"that no test example is in {' or '.join(names)}{later} is the word of the job's "
            "author: it was checked beside the author's code; give data as files to have it proven"
        )
    yield from _reading(evidence)


def _reading(evidence: Evidence) -> Iterator[str]:
    """Yield which addresses of the data were missing, empty or the same as others."""
    read = {each.data: each for stage in evidence.stages for each in stage.data}
    for name, data in sorted(read.items()):
        if data.skipped:
            total = len(data.skipped) + len(data.addresses)
            yield (
                f"{name} lacks {len(data.skipped)} of its {total} addresses, which were skipped "
                f"because nothing was there: {_named(data.skipped)}"
            )
        if empty := [each.address for each in data.addresses if not each.examples]:
            yield f"{name} has addresses without any example: {_named(empty)}"
        digests = [each.digest for each in data.addresses]
        if again := [each.address for each in data.addresses if digests.count(each.digest) > 1]:
            yield f"{name} has addresses with the same content: {_named(again)}"


def _named(addresses: Sequence[str]) -> str:
    """Return the first addresses, and how many more there are."""
    more = len(addresses) - NAMED
    return ", ".join(addresses[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _records(evidence: Evidence) -> Iterator[str]:
    names = [stage.stage for stage in evidence.stages]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"the evidence has stage {name} more than once"
    for stage in evidence.stages:
        if stage.details.kind != stage.stage:
            yield f"stage {stage.stage} left details of {stage.details.kind}"
        if stage.run != evidence.run or stage.plan != evidence.plan:
            yield f"stage {stage.stage} belongs to another run or plan than the evidence"


def _models(
    evidence: Evidence, evaluate: StageEvidence, details: ValidateDetails, gates: Sequence[Gate]
) -> Iterator[str]:
    if details.baseline_model not in _outputs(evaluate):
        yield (
            f"the baseline changed: validate compared with {details.baseline_model}, "
            "which is not what stage evaluate made"
        )
    made = [evidence.stage(name) for name in MAKING_STAGES]
    last = next((stage for stage in reversed(made) if stage is not None), None)
    if last is None:
        yield from _measured_alone(details, gates)
    elif details.candidate_model not in _outputs(last):
        yield (
            f"the candidate changed: validate measured {details.candidate_model}, "
            f"which is not what stage {last.stage} made"
        )


def _measured_alone(details: ValidateDetails, gates: Sequence[Gate]) -> Iterator[str]:
    """Yield what is wrong with a run that measured one model, which it compared with itself."""
    if details.candidate_model != details.baseline_model:
        yield "the candidate is unproven: no stage made one"
        return
    kinds = {each.kind for each in gates if not GATE_KINDS[each.kind].of_one_model}
    if kinds:
        yield (
            "no stage made a candidate, so the model was compared with itself; gates of kind "
            f"{', '.join(sorted(kinds))} prove nothing then"
        )


def _data(evidence: Evidence, evaluate: StageEvidence, details: ValidateDetails) -> Iterator[str]:
    if evaluate.inputs.get(TEST_DATA) != details.test_data:
        yield (
            f"the test data changed: validate read {details.test_data}, "
            f"stage evaluate {evaluate.inputs.get(TEST_DATA, 'recorded none')}"
        )
    for stage in evidence.stages:
        for name, digest in stage.inputs.items():
            if name.startswith(DATA) and evaluate.inputs.get(name, digest) != digest:
                yield f"{name} changed between stage evaluate and stage {stage.stage}"
    if isinstance(evaluate.details, EvaluateDetails) and (
        evaluate.details.test_examples != details.test_examples
    ):
        yield (
            f"the test data changed: {evaluate.details.test_examples} examples in stage evaluate, "
            f"{details.test_examples} in stage validate"
        )


def _baseline(
    evaluate: StageEvidence, details: ValidateDetails, gates: Sequence[Gate]
) -> Iterator[str]:
    """Yield faults of the baseline itself, from metrics that its own code did not compute."""
    measured = evaluate.details
    if isinstance(measured, EvaluateDetails):
        problem = contradiction(measured)
        yield from [problem] if problem is not None else []
        yield from weaknesses(measured, details.metrics_baseline, gates)
        yield from ruin(measured, details, gates)
        yield from too_loose(measured, details.metrics_baseline, gates)


def _are_copies(copies: Copies, examples: int) -> bool:
    """Return whether intervals are far too narrow, because examples were copied.

    Examples with few possible inputs (a handful of categories) are equal by chance, and then their
    answers differ now and then.
    """
    alike = copies.disagreeing <= BY_CHANCE * copies.sets
    return alike and copies.effective < FEWEST * examples


def _copies(copies: Copies, examples: int) -> str:
    return (
        f"only {copies.distinct} of {examples} test examples have different inputs, which count "
        f"for {copies.effective:.4g} if they are copies; keep one of each, or name in data.groupBy "
        "what belongs together"
    )


def _overlaps(overlaps: tuple[Overlap, ...], test_examples: int) -> Iterator[str]:
    worst: dict[str, int] = {}
    for overlap in overlaps:
        worst[overlap.other] = max(worst.get(overlap.other, 0), overlap.examples)
    for other, examples in sorted(worst.items()):
        if examples:
            yield f"{examples} of {test_examples} test examples are also in {other}"


def _times(evaluate: StageEvidence, details: ValidateDetails, column: str) -> Iterator[str]:
    """Yield with which data sets the test data share times, or were not compared at all."""
    own = evaluate.details.time_splits if isinstance(evaluate.details, EvaluateDetails) else ()
    splits = (*details.time_splits, *own)
    for name in TUNED_ON:
        found = [split for split in splits if split.other == name]
        if not found and f"{DATA}{name}" in evaluate.inputs:
            yield f"test was not compared with {name} by the times in column '{column}'"
        yield from sorted({each.problem for each in found if each.problem})


def _outputs(stage: StageEvidence) -> set[str]:
    return {artifact.digest for artifact in stage.outputs}
