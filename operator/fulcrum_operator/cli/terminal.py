"""The result of a run as the terminal shows it: the report's first page in a few tables.

Works without colour, without a terminal, at any width, and if the output cannot encode signs such
as × or →. Names come from manifests, so neither rich's markup nor escape sequences in them count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fulcrum_pipelines.evidence import (
    Comparison,
    Evidence,
    LatencyComparison,
    LeverMetrics,
    OutputFidelity,
    QuantizeDetails,
    SizeComparison,
    StageEvidence,
    ValidateDetails,
)
from fulcrum_pipelines.gates.verdict import GateResult, Verdict
from fulcrum_pipelines.report.formatting import (
    NOT_MEASURED,
    SPACE,
    byte_size,
    count,
    duration,
    factor,
    level,
    milliseconds,
    relative_change,
    span,
)
from fulcrum_pipelines.report.metric_styles import in_order, style_of
from fulcrum_pipelines.report.reading import details, find_comparison, find_metric
from fulcrum_pipelines.report.sections.gate_results import (
    gate_writer,
    interval_cell,
    is_exact,
    limit_text,
)
from fulcrum_pipelines.report.sections.levers import compared_metrics, lever_name
from fulcrum_pipelines.report.sections.outputs import (
    agreement_text,
    error_text,
    first_records,
    interval_text,
)
from fulcrum_pipelines.report.sections.overview import IDENTICAL, TONES, change_tone, headline
from fulcrum_pipelines.report.sections.quantization import speed_missing
from fulcrum_pipelines.texts import printable

NARROW_COLUMNS = 76
"""Below this width a row becomes lines of "name: value": figures broken in two mislead."""

INTERVAL = "#Interval"
MOST_INTERVAL_COLUMNS = 24
"""An interval broken in two is hard to read; the column of a wider one may be broken."""

_COLOURS = {
    "good": "green",
    "bad": "red",
    "unclear": "yellow",
    "odd": "magenta",
    "quiet": "dim",
    "": "",
}
_PLAIN = str.maketrans(
    {
        "×": "x",
        "→": "->",
        "\u2212": "-",
        "\u00a0": " ",
        "≥": ">=",
        "≤": "<=",
        "…": "...",
        "–": "-",
        "²": "2",
        "─": "-",
        "╶": "-",
        "╴": "-",
    }
)

Row = tuple[str | Text, ...]


@dataclass(frozen=True)
class Sheet:
    """A table before it is known how wide it may be; columns that start with "#" hold numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def print_result(
    console: Console, evidence: Evidence, verdict: Verdict | None, *, report_path: str | None
) -> None:
    """Print what a run found.

    Args:
        console: The output; its width, colours and encoding are respected.
        evidence: What the stages recorded.
        verdict: Of the gates; None without gates.
        report_path: Of the HTML report; None if it was not written.
    """
    with console.capture() as captured:
        for line in _headline(verdict):
            console.print(line)
        for sheet in sheets(evidence, verdict):
            if console.width < NARROW_COLUMNS:
                _print_lines(console, sheet)
            else:
                console.print(_table(sheet))
        where = f"Report: {report_path}" if report_path else "No report was written."
        console.print(_text(where), soft_wrap=True)
    text = captured.get()
    if not console.encoding.lower().startswith("utf"):
        text = text.translate(_PLAIN).encode(console.encoding, "replace").decode(console.encoding)
    console.file.write(text)
    console.file.flush()


def sheets(evidence: Evidence, verdict: Verdict | None) -> tuple[Sheet, ...]:
    """Return all tables in the order in which they are printed; one without rows says why."""
    validate = details(evidence, ValidateDetails)
    stages = _stages(evidence.stages)
    if validate is None:
        lacking = Sheet("Validate left no evidence: nothing was compared.", (), ())
        return (*_gates(verdict), lacking, stages)
    return (
        *_gates(verdict),
        _quality(validate),
        *_outputs(validate),
        *_levers(validate.levers),
        *_candidates(details(evidence, QuantizeDetails)),
        _size(validate.size),
        _speed(validate),
        stages,
    )


def _text(text: str | Text, style: str = "") -> Text:
    """Return text without markup, its control characters as escapes; it breaks anywhere."""
    if isinstance(text, Text):
        return text
    return Text(printable(text, kept=SPACE), style=style, overflow="fold")


def _table(sheet: Sheet) -> Table | Text:
    if not sheet.rows:
        return _text(sheet.title, "yellow")
    table = Table(title=sheet.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for number, name in enumerate(sheet.columns):
        if name.startswith("#"):
            width = _interval_width(row[number] for row in sheet.rows) if name == INTERVAL else None
            table.add_column(name[1:], justify="right", overflow="fold", width=width)
        else:
            table.add_column(name, overflow="fold")
    for row in sheet.rows:
        table.add_row(*(_text(cell) for cell in row))
    return table


def _interval_width(cells: Iterable[str | Text]) -> int:
    """Return a width at which intervals stay on one line, as long as they are of usual length."""
    return min(MOST_INTERVAL_COLUMNS, max(cell_len(str(cell)) for cell in cells))


def _print_lines(console: Console, sheet: Sheet) -> None:
    console.print(_text(sheet.title, "bold" if sheet.rows else "yellow"))
    for row in sheet.rows:
        console.print(Text("  ").append_text(_text(row[0])))
        for name, cell in zip(sheet.columns[1:], row[1:], strict=True):
            console.print(Text(f"    {name.removeprefix('#').lower()}: ").append_text(_text(cell)))


def _headline(verdict: Verdict | None) -> tuple[Text, ...]:
    word, sentence, tone = headline(verdict)
    reasons = () if verdict is None or verdict.outcome == "Pass" else _reasons(verdict)
    first = _text(word, f"bold {_COLOURS[tone]}")
    first.append_text(_text(f". {sentence}", "default not bold"))
    caveats = () if verdict is None else verdict.caveats
    return (
        first,
        *(_text(f"  {reason}") for reason in reasons),
        *(_text(f"  note: {caveat}", "dim") for caveat in caveats),
    )


def _reasons(verdict: Verdict) -> tuple[str, ...]:
    """Return why; a leak counts also where a gate has failed already."""
    more = [f"anomalous: {each}" for each in verdict.anomalies if each not in verdict.reasons]
    return (*verdict.reasons, *more)


def _gates(verdict: Verdict | None) -> tuple[Sheet, ...]:
    if verdict is None or not verdict.gates:
        return (Sheet("There are no gates.", (), ()),)
    columns = ("Gate", "Verdict", "#Observed", INTERVAL, "#Must be")
    return (Sheet("Gates", columns, tuple(_gate(gate) for gate in verdict.gates)),)


def _gate(gate: GateResult) -> Row:
    write = gate_writer(gate.kind, gate.metric)
    dry = " (dry run)" if gate.mode == "DryRun" else ""
    return (
        gate.name,
        _text(f"{gate.verdict}{dry}", _COLOURS[TONES[gate.verdict]]),
        NOT_MEASURED if gate.value is None else write(gate.value),
        "exact" if is_exact(gate.kind) else interval_cell(gate.interval, write).text,
        limit_text(gate.limit, write),
    )


def _quality(validate: ValidateDetails) -> Sheet:
    whole = {c.metric: c for c in reversed(validate.comparisons) if c.slice == "all"}
    if not whole:
        return Sheet("No metric was compared.", (), ())
    levels = [level(c.interval) for c in whole.values() if c.interval is not None]
    confidence = f", {levels[0]} intervals" if levels else ""
    return Sheet(
        f"Quality on {count(validate.test_examples)} test examples{confidence}",
        ("Metric", "#Before", "#After", "#Change", INTERVAL),
        tuple(_metric(whole[name]) for name in in_order(whole)),
    )


def _metric(comparison: Comparison) -> Row:
    style = style_of(comparison.metric, comparison.unit)
    label = f"{style.label} ({style.unit})" if style.unit else style.label
    style = replace(style, unit="")  # beside its name, so that the columns of figures stay narrow
    return (
        label,
        style.value(comparison.baseline),
        style.value(comparison.candidate),
        _text(style.delta(comparison), _COLOURS[change_tone(comparison)]),
        style.delta_span(comparison),
    )


def _outputs(validate: ValidateDetails) -> tuple[Sheet, ...]:
    """Return how well the outputs after the first are kept; empty for a single output."""
    kept = first_records(validate.fidelity)
    if not kept:
        return ()
    columns = ("Output", "#Relative error", INTERVAL, "#Same answer", INTERVAL)
    return (Sheet("Other outputs, against the baseline's", columns, tuple(map(_output, kept))),)


def _output(record: OutputFidelity) -> Row:
    return (
        record.output,
        error_text(record),
        interval_text(record.relative_error_interval, record.relative_error).text,
        agreement_text(record),
        interval_text(record.agreement_interval, record.agreement).text,
    )


def _levers(levers: Sequence[LeverMetrics]) -> tuple[Sheet, ...]:
    """Return what each lever changed against the model before it.

    Nothing for a single lever: what it changed is what the sheet before this one shows. A metric
    that was not compared has no row: the report has its values.
    """
    compared = {c.metric for lever in levers for c in lever.against_previous}
    names = [name for name in compared_metrics(levers) if name in compared]
    if not names or sum(lever.lever != "baseline" for lever in levers) < 2:
        return ()
    columns = ("Metric", "Model", "#Value", "#Change", INTERVAL)
    rows = tuple(_lever(lever, name) for name in names for lever in levers)
    return (Sheet("Effect of each lever on the test examples", columns, rows),)


def _lever(lever: LeverMetrics, name: str) -> Row:
    metric = find_metric(lever.metrics, name)
    comparison = find_comparison(lever.against_previous, name)
    style = style_of(name)
    value = style.value(None if metric is None else metric.value)
    if comparison is None:
        change = "–" if lever.lever == "baseline" else NOT_MEASURED
        return (style.label, lever_name(lever.lever), value, change, "–")
    relative = relative_change(comparison.baseline, comparison.candidate)
    change = style.delta(comparison) if style.share or not relative else relative
    tone = _COLOURS[change_tone(comparison)]
    interval = style.delta_span(comparison)
    return (style.label, lever_name(lever.lever), value, _text(change, tone), interval)


def _candidates(quantize: QuantizeDetails | None) -> tuple[Sheet, ...]:
    """Return the models that quantize chose from; nothing where there was only one."""
    if quantize is None or len(quantize.candidates) < 2:
        return ()
    style = style_of(quantize.metric)
    columns = ("Candidate", "#Size", f"#{style.label}", "#Speed-up", "Why kept or not")
    rows = tuple(
        (
            each.name,
            byte_size(each.size_bytes or None),  # 0 is a file that could not be built
            style.value(each.quality),
            factor(each.speedup.ratio) if each.speedup else speed_missing(each),
            _text(each.reason, "green") if each.kept else each.reason,
        )
        for each in quantize.candidates
    )
    return (Sheet(f"Candidates of the quantizer; {quantize.reason}", columns, rows),)


def _size(size: SizeComparison) -> Sheet:
    sizes = (
        ("File", size.baseline_bytes, size.candidate_bytes),
        ("File, gzip", size.baseline_gzip_bytes, size.candidate_gzip_bytes),
        ("Serving memory", size.baseline_peak_memory_bytes, size.candidate_peak_memory_bytes),
    )
    rows = tuple(
        (
            name,
            byte_size(before),
            byte_size(after),
            factor(before / after) if before and after else NOT_MEASURED,
        )
        for name, before, after in sizes
    )
    return Sheet("Size", ("What", "#Before", "#After", "#Smaller by"), rows)


def _speed(validate: ValidateDetails) -> Sheet:
    latency = validate.latency
    if validate.identical_models:
        return Sheet(IDENTICAL, (), ())
    if not latency:
        return Sheet("Latency was not measured.", (), ())
    threads = ", ".join(dict.fromkeys(str(measured.threads) for measured in latency))
    return Sheet(
        f"Speed, median latency of a call, threads: {threads}",
        ("Batch", "#Before", "#After", "#Speed-up", INTERVAL),
        tuple(_latency(measured) for measured in latency),
    )


def _latency(measured: LatencyComparison) -> Row:
    speedup = _text(factor(measured.speedup.ratio))
    if measured.speedup.interval.low <= 1 <= measured.speedup.interval.high:
        speedup = _text("no difference")  # a ratio that may be 1 is no figure to quote
    if not measured.reliable:
        speedup = _text("unreliable", "yellow")
    return (
        f"{measured.batch}",
        milliseconds(measured.baseline.median_ms),
        milliseconds(measured.candidate.median_ms),
        speedup,
        span(measured.speedup.interval, 2, sign=False),
    )


def _stages(stages: Sequence[StageEvidence]) -> Sheet:
    if not stages:
        return Sheet("No stage left evidence.", (), ())
    rows = tuple(
        (
            stage.stage,
            duration(stage.seconds),
            byte_size(stage.peak_memory_bytes),
            "no" if stage.cached_from is None else "yes",
        )
        for stage in stages
    )
    return Sheet("Stages", ("Stage", "#Time", "#Peak memory", "From cache"), rows)
