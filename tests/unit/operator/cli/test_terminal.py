"""The result of a run in terminals of all kinds."""

from __future__ import annotations

import io

import pytest
from builders.details import make_quantize, make_validate
from builders.evidence import make_evidence, make_stage
from builders.figures import make_comparison, make_fidelity, make_latency
from rich.console import Console

from fulcrum_operator.cli.terminal import print_result
from fulcrum_pipelines.evidence import Evidence, Overlap, StageEvidence, ValidateDetails
from fulcrum_pipelines.gates import decide
from fulcrum_pipelines.resources.compressionjob import Gate

GATES = (
    Gate(name="accuracy", kind="nonInferiority", metric="accuracy", margin=0.01),
    Gate(name="speed", kind="speedup", min=4.5),
)


def shown(evidence: Evidence, *, width: int = 100, encoding: str = "utf-8", **options: bool) -> str:
    """Return what is printed, no-break spaces and minus signs as a keyboard has them."""
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    console = Console(file=output, width=width, **options)  # type: ignore[arg-type]
    print_result(console, evidence, decide(evidence, GATES), report_path="runs/x/report.html")
    output.flush()
    text = output.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    return text.replace("\u00a0", " ").replace("\u2212", "-")


@pytest.mark.parametrize("width", [30, 50, 75, 76, 100, 200])
def test_everything_is_there_at_every_width(width: int) -> None:
    text = " ".join(shown(make_evidence(), width=width).split())
    for expected in ("Pass", "97.80 %", "97.73 %", "×5.80", "[5.65,", "×10.5", "48.2 s", "640 MB"):
        assert expected in text
    assert "Log loss" in text
    assert "…" not in text
    assert "Report: runs/x/report.html" in text


@pytest.mark.parametrize("width", [40, 76, 100])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(len(line) for line in shown(make_evidence(), width=width).splitlines()) <= width


def test_no_escape_sequences_without_a_terminal() -> None:
    assert "\x1b" not in shown(make_evidence())


def test_colour_on_a_terminal_and_none_where_it_is_not_wanted() -> None:
    assert "\x1b[" in shown(make_evidence(), force_terminal=True)
    assert "\x1b[3" not in shown(make_evidence(), force_terminal=True, no_color=True)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_signs_that_the_output_lacks_are_spelled(encoding: str) -> None:
    text = shown(make_evidence(), encoding=encoding)
    assert "x5.80" in text
    assert "-0.07 points" in text


def test_each_lever_has_its_change_with_an_interval() -> None:
    text = shown(make_evidence(), width=80)
    table = text.partition("Effect of each lever")[2].partition("Size")[0]
    assert [line.split()[2:4] for line in table.splitlines() if "Log loss" in line] == [
        ["baseline", "0.07341"],
        ["pruned", "0.2815"],
        ["fine-tuned", "0.07488"],
        ["quantized", "0.07562"],
    ]
    assert table.count("[") == 3 * 3  # three metrics, three levers


def test_a_single_lever_is_not_shown_twice() -> None:
    baseline, lever, *_ = make_validate().levers
    evidence = make_evidence(validate=make_validate(levers=(baseline, lever)))
    assert "Effect of each lever" not in shown(evidence)


@pytest.mark.parametrize("width", [80, 100])
def test_intervals_stay_on_one_line(width: int) -> None:
    lines = shown(make_evidence(), width=width).splitlines()
    assert [line for line in lines if line.count("[") != line.count("]")] == []


def test_the_reason_of_a_failure_is_printed() -> None:
    evidence = make_evidence(
        validate=make_validate(comparisons=(make_comparison(broken=60, fixed=2),))
    )
    verdict = decide(evidence, GATES)
    text = " ".join(shown(evidence, width=300).split())
    assert verdict.outcome == "Fail"
    assert " ".join(verdict.reasons[0].split()) in text


def test_each_candidate_of_the_quantizer_has_a_line() -> None:
    quantize = make_quantize()
    first, second, *others = quantize.candidates
    doubtful = second.model_copy(
        update={"speedup": None, "timings": (make_latency(reliable=False),)}
    )
    records = (
        make_stage(
            "quantize",
            details=quantize.model_copy(update={"candidates": (first, doubtful, *others)}),
        ),
        make_stage("validate"),
    )
    lines = shown(make_evidence(records=records), width=160).splitlines()
    rows = {line.split()[0]: " ".join(line.split()) for line in lines if line.strip()}
    assert rows["u8s8-per-channel"].endswith("97.80 % ×1.71 fastest that keeps quality")
    assert rows["s8s8-per-channel"].endswith("unreliable not faster than float32")
    assert "not timed not tried: no layer" in rows["mixed"]


def test_failure_is_shown_with_the_leak_beside_it() -> None:
    evidence = make_evidence(
        validate=make_validate(
            comparisons=(make_comparison(broken=60, fixed=2),),
            overlaps=(Overlap(other="data.train", examples=7),),
        )
    )
    text = " ".join(shown(evidence, width=300).split())
    assert decide(evidence, GATES).outcome == "Fail"
    assert "anomalous: 7 of 1500 test examples are also in data.train" in text


def test_identical_files_are_said_not_to_be_timed() -> None:
    same = make_validate(identical_models=True, latency=())
    assert "the same file, so neither is faster" in shown(make_evidence(validate=same))


def test_a_speed_up_that_may_be_none_is_no_difference() -> None:
    evidence = make_evidence(validate=make_validate(latency=(make_latency(speedup=1.01),)))
    assert "no difference" in shown(evidence)
    assert "×1.01" not in shown(evidence).partition("Speed,")[2]


def test_an_unreliable_speed_is_not_claimed() -> None:
    evidence = make_evidence(validate=make_validate(latency=(make_latency(reliable=False),)))
    assert "unreliable" in shown(evidence)
    assert "×5.80" not in shown(evidence)


@pytest.mark.parametrize(
    ("evidence", "sentence"),
    [
        (make_evidence(stages=("evaluate",)), "Validate left no evidence"),
        (make_evidence(stages=()), "No stage left evidence"),
        (make_evidence(validate=make_validate(latency=())), "Latency was not measured"),
        (make_evidence(validate=make_validate(comparisons=())), "No metric was compared"),
    ],
)
def test_what_is_missing_is_said(evidence: Evidence, sentence: str) -> None:
    assert sentence in shown(evidence)


def test_a_run_without_gates_or_report_says_so() -> None:
    output = io.StringIO()
    print_result(Console(file=output, width=80), make_evidence(), None, report_path=None)
    assert "No verdict" in output.getvalue()
    assert "There are no gates." in output.getvalue()
    assert "No report was written." in output.getvalue()


def test_markup_and_control_characters_in_names_do_nothing() -> None:
    stage = make_stage(
        details=make_validate(comparisons=(make_comparison("[red]x[/]\x1b[31m\x07"),))
    )
    text = shown(make_evidence(records=(stage,)), force_terminal=True, no_color=True)
    assert "[red]x[/]" in text
    assert "\x1b[31m" not in text
    assert "\x07" not in text


def test_other_outputs_are_shown_and_block() -> None:
    details = make_validate(
        output_names=("logits", "embedding"), fidelity=(make_fidelity(error=0.3, half_width=0.02),)
    )
    text = " ".join(shown(make_evidence(records=_with(details)), width=120).split())
    assert text.startswith("Fail")
    assert "other-outputs: the relative error of output 'embedding' 30.00 %" in text
    assert "embedding 30.00 % [28.00, 32.00] % 99.00 % [98.30, 99.40] %" in text


def _with(details: ValidateDetails) -> tuple[StageEvidence, ...]:
    return tuple(
        each.model_copy(update={"details": details}) if each.stage == "validate" else each
        for each in make_evidence().stages
    )
