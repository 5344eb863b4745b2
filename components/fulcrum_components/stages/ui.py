"""Show the results of a pod in the Kubeflow UI: model, figures, confusion matrix, a page."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fulcrum_pipelines.errors import FulcrumError
from fulcrum_pipelines.evidence import ConfusionMatrix, Metric, StageEvidence
from fulcrum_pipelines.storage.store import Store, object_path
from fulcrum_pipelines.texts import printable

MAX_CLASSES = 50  # a larger confusion matrix is not readable in the UI
MODEL_BYTES = 64 << 20
"""Largest model that is copied into Kubeflow's own bucket; of a larger one only a pointer is."""

Rows = list[tuple[str, str]]


def fill_artifacts(
    records: Sequence[StageEvidence],
    store: Store,
    model: Any,
    metrics: Any,
    confusion: Any | None,
    summary: Any,
) -> None:
    """Fill the KFP artifacts of a pod from what its stages recorded.

    Model and confusion matrix are those of the last stage that has one; of several stages, each
    figure bears its stage's name. An artifact's `uri` stays as Kubeflow set it: its launcher fails
    a pod whose artifact lies elsewhere.

    Args:
        records: Of the stages that ran in this pod, in order.
        store: Has what they made.
        model: KFP Model artifact.
        metrics: KFP Metrics artifact.
        confusion: KFP ClassificationMetrics artifact, if there is one.
        summary: KFP HTML artifact.
    """
    models = [found for each in records if (found := _model_of(each)) is not None]
    if models:
        _fill_model(*models[-1], store, model)
    for evidence in records:
        prefix = f"{evidence.stage}_" if len(records) > 1 else ""
        for name, value in figures(evidence).items():
            metrics.log_metric(prefix + name, value)
    matrices = [shown for each in records if (shown := _confusion(each)) is not None]
    if confusion is not None and matrices:
        matrix = matrices[-1]
        confusion.log_confusion_matrix(list(matrix.labels), [list(row) for row in matrix.counts])
    Path(summary.path).parent.mkdir(parents=True, exist_ok=True)
    Path(summary.path).write_text(render_summary(records))


def _fill_model(digest: str, size_bytes: int, store: Store, model: Any) -> None:
    """Describe a model, and leave the ONNX file at the artifact's path, or a pointer."""
    described = {
        "address": store.locate(object_path(digest)),
        "digest": digest,
        "size_bytes": size_bytes,
        "format": "onnx",
    }
    model.metadata.update(described)
    path = Path(model.path)
    if size_bytes <= MODEL_BYTES:
        try:
            store.get(digest, path)
        except FulcrumError as error:  # the stage has succeeded all the same
            print(f"the UI gets no copy of the model: {error}", flush=True)
        else:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(described, indent=2) + "\n")


def _model_of(evidence: StageEvidence) -> tuple[str, int] | None:
    """Return digest and size in bytes of the model that a stage made, or validated."""
    if evidence.details.kind == "validate":
        return evidence.details.candidate_model, evidence.details.size.candidate_bytes
    found = [output for output in evidence.outputs if output.name == "model.onnx"]
    return (found[0].digest, found[0].size_bytes) if found else None


def figures(evidence: StageEvidence) -> dict[str, float]:
    """Return the figures of a stage that a person compares between runs."""
    details = evidence.details
    found: dict[str, float | None] = {"seconds": round(evidence.seconds, 3)}
    match details.kind:
        case "evaluate":
            found |= _overall(details.metrics, "")
        case "convert":
            found["export_max_difference"] = details.export_max_difference
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


def render_summary(records: Sequence[StageEvidence]) -> str:
    """Return a small self-contained page with each stage's figures, warnings and artifacts."""
    title = html.escape(f"{' and '.join(each.stage for each in records)} of {records[0].run}")
    style = "body{font:14px sans-serif}th{text-align:left;padding-right:2em;font-weight:500}"
    sections = "".join(_section(each) for each in records)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style>{sections}</html>\n"
    )


def _section(evidence: StageEvidence) -> str:
    rows: Rows = [(name, f"{value:,.6g}") for name, value in figures(evidence).items()]
    rows += [("warning", warning) for warning in evidence.warnings]
    rows += [
        (output.name, f"{output.digest} ({output.size_bytes:,} bytes)")
        for output in evidence.outputs
    ]
    cells = "\n".join(
        f"<tr><th>{_escaped(name)}</th><td>{_escaped(value)}</td></tr>" for name, value in rows
    )
    title = html.escape(f"{evidence.stage} of {evidence.run}")
    return f"<h1>{title}</h1><table>{cells}</table>"


def _escaped(text: str) -> str:
    return html.escape(printable(text))
