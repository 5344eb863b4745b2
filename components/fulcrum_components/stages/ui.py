"""What a person sees of a stage in the Kubeflow UI: model, figures, confusion matrix, a page."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from fulcrum_pipelines.evidence import ConfusionMatrix, Metric, StageEvidence
from fulcrum_pipelines.store import Store, object_path

MAX_CLASSES = 50  # a larger confusion matrix is not readable in the UI

Rows = list[tuple[str, str]]


def fill_artifacts(
    evidence: StageEvidence,
    store: Store,
    model: Any,
    metrics: Any,
    confusion: Any | None,
    summary: Any,
) -> None:
    """Fill the KFP artifacts of a stage from what it recorded."""
    for output in evidence.outputs:
        if output.name == "model.onnx":
            model.uri = store.locate(object_path(output.digest))
            model.metadata.update(digest=output.digest, size_bytes=output.size_bytes, format="onnx")
    for name, value in figures(evidence).items():
        metrics.log_metric(name, value)
    if confusion is not None and (matrix := _confusion(evidence)) is not None:
        confusion.log_confusion_matrix(list(matrix.labels), [list(row) for row in matrix.counts])
    page = render_summary(evidence)
    Path(summary.path).parent.mkdir(parents=True, exist_ok=True)
    Path(summary.path).write_text(page)


def figures(evidence: StageEvidence) -> dict[str, float]:
    """Return the figures of a stage that a person compares between runs."""
    details = evidence.details
    found: dict[str, float | None] = {"seconds": round(evidence.seconds, 3)}
    match details.kind:
        case "evaluate":
            found |= _overall(details.metrics, "")
        case "prune":
            found |= {
                "achieved_sparsity": details.achieved_sparsity,
                "parameters_before": details.parameters_before,
                "parameters_after": details.parameters_after,
                "macs_before": details.macs_before,
                "macs_after": details.macs_after,
            }
        case "finetune":
            best = details.epochs[details.best_epoch - 1] if details.epochs else None
            found |= {
                "epochs": len(details.epochs),
                "best_epoch": details.best_epoch,
                "validation_loss": best.validation_loss if best else None,
            }
        case "quantize":
            found["int8_coverage"] = details.int8_coverage
        case "validate":
            found |= _overall(details.metrics_baseline, "baseline_")
            found |= _overall(details.metrics_candidate, "candidate_")
            found |= {f"speedup_batch_{row.batch}": row.speedup.ratio for row in details.latency}
            found["size_ratio"] = details.size.candidate_bytes / details.size.baseline_bytes
    return {name: float(value) for name, value in found.items() if value is not None}


def _overall(metrics: tuple[Metric, ...], prefix: str) -> dict[str, float | None]:
    return {f"{prefix}{metric.name}": metric.value for metric in metrics if metric.slice == "all"}


def _confusion(evidence: StageEvidence) -> ConfusionMatrix | None:
    details = evidence.details
    match details.kind:
        case "evaluate":
            matrix = details.confusion
        case "validate":
            matrix = details.confusion_candidate
        case _:
            matrix = None
    return matrix if matrix is not None and len(matrix.labels) <= MAX_CLASSES else None


def render_summary(evidence: StageEvidence) -> str:
    """Return a small self-contained page with the stage's figures, warnings and artifacts."""
    rows: Rows = [(name, f"{value:,.6g}") for name, value in figures(evidence).items()]
    rows += [("warning", warning) for warning in evidence.warnings]
    rows += [
        (output.name, f"{output.digest} ({output.size_bytes:,} bytes)")
        for output in evidence.outputs
    ]
    cells = "\n".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in rows
    )
    title = html.escape(f"{evidence.stage} of {evidence.run}")
    style = "body{font:14px sans-serif}th{text-align:left;padding-right:2em;font-weight:500}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style><h1>{title}</h1><table>{cells}</table></html>\n"
    )
