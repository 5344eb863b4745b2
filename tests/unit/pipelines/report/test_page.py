"""The report shows each part of the evidence, and names each missing part."""

from __future__ import annotations

import re
from typing import Any

import pytest
from builders.details import make_evaluate, make_finetune, make_prune, make_quantize, make_validate
from builders.evidence import make_evidence, make_stage
from builders.figures import (
    make_comparison,
    make_confusion,
    make_delta,
    make_fidelity,
    make_latency,
    make_metric,
)
from builders.plans import make_digest

from fulcrum_pipelines.evidence import (
    AddressRead,
    ClassLabel,
    Conversion,
    DataRead,
    Evidence,
    LabelMapping,
    OutputFidelity,
    Overlap,
    Sensitivity,
    TimeSplit,
    ValidateDetails,
)
from fulcrum_pipelines.gates import Verdict, decide
from fulcrum_pipelines.report import render
from fulcrum_pipelines.report.blocks import Cell, Facts, Figures, Note, Section, Table
from fulcrum_pipelines.report.page import sections
from fulcrum_pipelines.report.sections.overview import headline, tiles
from fulcrum_pipelines.report.sections.provenance import warnings_of
from fulcrum_pipelines.resources.compressionjob import Gate, GateSlice

GATES = (
    Gate(
        name="accuracy",
        kind="nonInferiority",
        metric="accuracy",
        margin=0.01,
        slices=(GateSlice(by="class", margin=0.05),),
    ),
    Gate(name="speed", kind="speedup", min=4.5),
    Gate(name="size", kind="size", max=0.125),
)
FLOAT = make_quantize(quantized_nodes=0, unquantized=(), bits=None)


def words(section: Section) -> str:
    """Return everything that a section says, as plain text."""

    def of(block: Any) -> list[str]:
        if isinstance(block, Note):
            return [block.text]
        if isinstance(block, Facts):
            return [f"{name}: {value}" for name, value in block.items]
        if isinstance(block, Table):
            cells = [f"{cell.text} {cell.note}" for row in block.rows for cell in row]
            return [block.caption, *cells]
        if isinstance(block, Figures):
            return [text for each in block.figures for text in of(each)]
        return [str(value) for value in vars(block).values()]

    parts = [section.lead, *(text for block in section.blocks for text in of(block))]
    return " | ".join(parts).replace("\u00a0", " ").replace("\u2212", "-")


def part(key: str, evidence: Evidence, verdict: Verdict | None = None) -> str:
    (found,) = (each for each in sections(evidence, verdict) if each.key == key)
    return words(found)


def validated(**changes: Any) -> Evidence:
    return make_evidence(validate=make_validate(**changes))


def validate_of(evidence: Evidence) -> ValidateDetails:
    stage = evidence.stage("validate")
    assert stage is not None
    assert isinstance(stage.details, ValidateDetails)
    return stage.details


def test_gates_show_observed_interval_limit_and_reason() -> None:
    evidence = make_evidence()
    verdict = decide(evidence, GATES)
    text = part("gates", evidence, verdict)

    assert "-0.07 points" in text
    assert "[-0.75, +0.60] points" in text
    assert "> -1.00 points" in text
    assert "≥ ×4.50" in text
    assert "≤ ×0.125" in text
    assert "exact" in text
    assert verdict.gates[0].reason.replace("\u00a0", " ") in text
    assert "class=3" in text
    assert verdict.policy.removeprefix("sha256:")[:12] in text


def test_cached_stage_is_shown_with_who_measured_and_when() -> None:
    first = make_stage("evaluate", run="job-1", started_at="2026-01-01T00:00:00Z", seconds=9.0)
    taken = first.taken_by("job-2", first.plan)
    text = part("stages", make_evidence(records=(taken,)))
    assert "job-1 measured 2026-01-01T00:00:00Z, in 9.0 s" in text


@pytest.mark.parametrize(("device", "said"), [("cuda", "cuda"), (None, "not recorded")])
def test_device_is_shown_as_it_is_on_record(device: str | None, said: str) -> None:
    prune = make_stage("prune", details=make_prune(device=device))
    assert f"Device: {said}" in part("pruning", make_evidence(records=(prune,)))


def test_every_outcome_has_a_word_and_a_tone() -> None:
    verdict = decide(make_evidence(), GATES)
    seen = {
        headline(verdict.model_copy(update={"outcome": outcome}))
        for outcome in ("Pass", "Fail", "Inconclusive", "Anomalous")
    }
    assert len({tone for _, _, tone in seen | {headline(None)}}) == 5


def test_reasons_for_failure_are_at_the_top() -> None:
    evidence = validated(comparisons=(make_comparison(broken=40, fixed=5),))
    verdict = decide(evidence, GATES[:1])
    page = render(evidence, verdict, title="job")

    top = page[: page.index("</header>")]
    assert verdict.outcome == "Fail"
    assert verdict.reasons
    assert all(reason in top.replace("&#39;", "'") for reason in verdict.reasons)


def test_tiles_distinguish_slower_from_faster_candidates() -> None:
    def speed(**changes: Any) -> str:
        details = validate_of(validated(latency=(make_latency(**changes),)))
        return next(tile.value for tile in tiles(details) if tile.name.startswith("Speed"))

    assert speed(speedup=5.8) == "×5.80 faster"
    assert speed(speedup=0.5) == "×2.00 slower"
    assert speed(speedup=1.0) == "no difference"
    assert speed(speedup=5.8, reliable=False) == "unreliable"


def test_memory_that_stays_is_not_called_smaller() -> None:
    size = validate_of(make_evidence()).size.model_copy(
        update={"candidate_peak_memory_bytes": 68_100_000}
    )
    memory = tiles(validate_of(validated(size=size)))[-1]
    assert (memory.name, memory.value) == ("Peak memory", "unchanged")


def test_accuracy_comes_first_in_every_recorded_order() -> None:
    evidence = validated(comparisons=(make_delta("mse", 0.1, 0.2, 0.01), make_comparison()))
    page = render(evidence, None, title="job")
    assert page.index('id="metric-accuracy"') < page.index('id="metric-mse"')


def test_levers_read_like_the_reference_table() -> None:
    text = part("levers", make_evidence())
    assert "0.07488 → 0.07562 (+1.0 %)" in text
    assert "0.003498 → 0.003521 (+0.7 %)" in text
    assert "97.80 % → 91.27 % (-6.53 points)" in text


def test_paired_counts_and_churn() -> None:
    text = part("quality", make_evidence())
    assert "The candidate breaks 12 answers and fixes 11." in text
    assert "1.67 % of all answers changed, 95 % interval [1.08, 2.45] %." in text


def test_a_change_is_coloured_only_where_its_interval_leaves_zero_out() -> None:
    def tone(comparison: Any) -> str:
        evidence = validated(comparisons=(comparison,))
        (quality,) = (each for each in sections(evidence, None) if each.key == "quality")
        (table,) = (block for block in quality.blocks if isinstance(block, Table))
        return next(c.tone for c in table.rows[0] if "points" in c.text or "(" in c.text)

    assert tone(make_comparison(broken=12, fixed=11)) == ""
    assert tone(make_comparison(broken=60, fixed=2)) == "bad"
    assert tone(make_comparison(right=1400, broken=2, fixed=60)) == "good"
    assert tone(make_delta("logLoss", 0.2, 0.3, 0.01)) == "bad"
    assert tone(make_delta("logLoss", 0.3, 0.2, 0.01)) == "good"


def test_one_metric_asked_for_at_two_levels_is_shown_once() -> None:
    evidence = validated(comparisons=(make_comparison(), make_comparison(level=0.99)))
    page = render(evidence, None, title="job")
    assert page.count('id="metric-accuracy"') == 1
    identifiers = re.findall(r' id="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_warnings_overlap_and_identical_models_come_first() -> None:
    evidence = make_evidence(
        records=(
            make_stage("evaluate", warnings=("the seed was not set",)),
            make_stage(
                details=make_validate(
                    identical_models=True,
                    overlaps=(Overlap(other="train", examples=3, first_indices=(4, 9, 11)),),
                )
            ),
        )
    )
    assert [note.text for note in warnings_of(evidence)] == [
        "3 test examples also stand in train (first at 4, 9, 11).",
        "Baseline and candidate are the same file.",
        "evaluate: the seed was not set",
    ]


@pytest.mark.parametrize(
    ("key", "evidence", "sentence"),
    [
        ("gates", make_evidence(), "No gates were given."),
        ("quality", make_evidence(stages=("evaluate",)), "Validate left no evidence."),
        ("quality", validated(comparisons=()), "No metric was compared."),
        ("quality", validated(comparisons=(make_comparison(),)), "No slices were compared"),
        ("quality", validated(comparisons=(make_delta("mse", 1, 2, 0.1),)), "no paired counts"),
        ("levers", validated(levers=()), "were not measured on test"),
        ("speed", validated(latency=()), "Latency was not measured."),
        ("speed", validated(latency=(), identical_models=True), "Both models are the same file"),
        ("speed", validated(latency=(make_latency(reliable=False),)), "not reliable"),
        ("size", make_evidence(stages=()), "Nothing that has a size was measured."),
        ("size", make_evidence(stages=("prune",)), "not measured"),
        ("pruning", make_evidence(stages=()), "The recipe did not prune."),
        (
            "pruning",
            make_evidence(records=(make_stage("prune", details=make_prune(sensitivity=())),)),
            "Sensitivity of the layers was not measured.",
        ),
        ("finetuning", make_evidence(stages=()), "The recipe did not fine-tune."),
        (
            "finetuning",
            make_evidence(records=(make_stage("finetune", details=make_finetune(epochs=())),)),
            "No epoch was completed.",
        ),
        ("quantization", make_evidence(stages=()), "The recipe did not quantize."),
        (
            "quantization",
            make_evidence(records=(make_stage("quantize", details=make_quantize(candidates=())),)),
            "No candidates were compared.",
        ),
        (
            "quantization",
            make_evidence(records=(make_stage("quantize", details=FLOAT),)),
            "Nothing was quantized",
        ),
        (
            "quantization",
            make_evidence(records=(make_stage("quantize", details=make_quantize(layers=())),)),
            "The bits of each layer were not recorded.",
        ),
        ("quantization", make_evidence(), "not tried: no layer of u8s8-per-channel lost quality"),
        ("confusion", validated(confusion_baseline=None), "was not recorded"),
        (
            "confusion",
            validated(confusion_candidate=make_confusion(classes=3)),
            "do not fit each other",
        ),
        ("stages", make_evidence(stages=()), "No stage left evidence."),
        ("environment", make_evidence(stages=()), "No environment was recorded."),
    ],
)
def test_what_is_missing_is_said(key: str, evidence: Evidence, sentence: str) -> None:
    assert sentence in part(key, evidence)
    assert render(evidence, None, title="job")


def test_sensitivity_of_several_outputs_is_one_trial_for_each_layer() -> None:
    rows = tuple(
        Sensitivity(layer=layer, sparsity=0.5, metric=metric, value=value, delta=value - before)
        for layer in ("conv1", "conv2")
        for metric, value, before in (("accuracy", 0.9, 0.97), ("mask: relative error", 0.2, 0))
    )
    record = make_stage("prune", details=make_prune(sensitivity=rows))
    text = part("pruning", make_evidence(records=(record,)))
    assert "Sensitivity, 2 trials" in text
    assert text.count("mask: relative error") == 2


def test_a_value_that_is_missing_is_neither_blank_nor_zero() -> None:
    lost = make_comparison(
        baseline=None,
        candidate=None,
        delta=None,
        interval=None,
        counts=None,
        churn=None,
        note="the provider did not answer",
    )
    evidence = validated(
        comparisons=(lost,),
        metrics_baseline=(make_metric(value=None),),
        metrics_candidate=(),
        levers=(),
    )
    text = part("quality", evidence)
    assert "Accuracy was not measured: the provider did not answer." in text
    assert text.count("not measured") >= 4
    assert "0.00" not in text
    assert "not measured" in render(evidence, decide(evidence, GATES), title="job")


def test_no_cell_of_a_full_report_is_blank() -> None:
    evidence = make_evidence()
    blank = [
        (section.key, block.caption, row)
        for section in sections(evidence, decide(evidence, GATES))
        for block in section.blocks
        if isinstance(block, Table)
        for row in block.rows
        if any(cell == Cell("") for cell in row)
    ]
    assert blank == []


def test_the_page_needs_nothing_else_and_forbids_the_rest() -> None:
    page = render(make_evidence(), decide(make_evidence(), GATES), title="job")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)

    assert policy.startswith("default-src &#39;none&#39;")
    assert "unsafe" not in policy
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!#|data:,)', page)
    assert "@import" not in page
    assert "url(" not in page
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}


def test_names_from_outside_are_escaped() -> None:
    attack = "<script>alert(1)</script>"
    page = render(make_evidence(run=attack), None, title=attack)
    assert attack not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3


def test_the_same_evidence_gives_the_same_page() -> None:
    evidence = make_evidence()
    pages = {render(evidence, decide(evidence, GATES), title="job") for _ in range(2)}
    assert len(pages) == 1


def with_outputs(*records: OutputFidelity, **changes: Any) -> Evidence:
    names = ("logits", "embedding", "head")
    return validated(**{"output_names": names, "fidelity": records} | changes)


def test_outputs_after_the_first_are_shown_with_intervals() -> None:
    head = make_fidelity(
        "head", relative_error=None, relative_error_interval=None, reference="", kind="int64"
    ).model_copy(update={"comparisons": (make_comparison(),)})
    text = part("outputs", with_outputs(make_fidelity(wrong=3, not_finite=2), head))
    for expected in (
        "embedding wrong on 3, NaN or infinite on 2",
        "2.00 % of the standard deviation",
        "[1.50, 2.50] %",
        "99.00 % largest value",
        "whole numbers",
        "Against targets of their own",
        "97.80 %",
    ):
        assert expected in text


def test_ignored_output_is_said_to_be() -> None:
    evidence = with_outputs(make_fidelity(), ignored_outputs=("head",))
    assert "head was not compared: data.ignoredOutputs names it" in part("outputs", evidence)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({}, "No other output was compared", id="no-record"),
        pytest.param({"output_names": None}, "names no others", id="older-version"),
    ],
)
def test_uncompared_outputs_are_said(changes: dict[str, Any], words: str) -> None:
    assert words in part("outputs", with_outputs(**changes))


def test_model_of_one_output_has_no_section_of_others() -> None:
    assert "outputs" not in {section.key for section in sections(make_evidence(), None)}


def test_outputs_after_each_lever_are_shown() -> None:
    levers = tuple(
        lever.model_copy(update={"fidelity": (make_fidelity(error=0.1 * place),)})
        for place, lever in enumerate(make_validate().levers)
        if place
    )
    text = part("outputs", with_outputs(make_fidelity(), levers=levers))
    assert "Outputs after each lever" in text
    assert "pruned  | 10.00 %" in text


def test_data_section_shows_labels_and_conversions() -> None:
    label = ClassLabel(label="-1", index=0, name="-1", examples={"train": 1200, "test": 30})
    folder = ClassLabel(label="dog", folder=True, index=1, name="dog", examples={"test": 2})
    evaluate = make_evaluate(
        labels=LabelMapping(how="labels are mapped in order", labels=(label, folder)),
        conversions=(Conversion(data=("train", "test"), text="transparency is dropped"),),
    )
    records = (make_stage("evaluate", details=evaluate),)
    text = part("data", make_evidence(records=records))
    for words_of in ("Labels are mapped in order.", "-1 ", "dog folder", "train, test: transp"):
        assert words_of in text
    assert [each for each in ("1,200", "30", "2") if each not in text] == []
    assert "data" not in {section.key for section in sections(make_evidence(), None)}


def test_data_section_shows_addresses_and_times() -> None:
    address = AddressRead(
        address="s3://b/1.csv", digest=make_digest("1"), size_bytes=2048, files=1, examples=1500
    )
    data = DataRead(
        data="train",
        digest=make_digest("train"),
        examples=1500,
        addresses=(address,),
        skipped=("s3://b/2.csv",),
    )
    split = TimeSplit(
        other="train",
        kind="date",
        test_first="2024-06-01",
        test_last="2024-06-02",
        other_first="2024-05-01",
        other_last="2024-06-01",
        test_not_later=7,
        other_not_earlier=3,
    )
    stage = make_stage(data=(data,), details=make_validate(time_splits=(split,)))
    text = part("data", make_evidence(records=(stage,)))
    for words_of in (
        "train was read without 1 of its 2 addresses",
        "s3://b/1.csv",
        "1,500",
        make_digest("1"),
        "s3://b/2.csv nothing there, skipped",
        "2024-06-01 to 2024-06-02",
        "2024-05-01 to 2024-06-01",
    ):
        assert words_of in text
