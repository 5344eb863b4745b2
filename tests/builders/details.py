"""Make the details that each stage records in a successful job."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from builders.figures import (
    TEST_EXAMPLES,
    make_comparison,
    make_confusion,
    make_delta,
    make_interval,
    make_latency,
    make_metric,
)
from builders.plans import make_digest
from fulcrum_pipelines.evidence import (
    Comparison,
    ConvertDetails,
    Epoch,
    EqualizedPair,
    EvaluateDetails,
    FinetuneDetails,
    FirstOutput,
    LayerBits,
    LayerSparsity,
    LeverMetrics,
    Metric,
    PruneDetails,
    QuantizationCandidate,
    QuantizeDetails,
    RatioInterval,
    Sensitivity,
    SizeComparison,
    UnquantizedNode,
    ValidateDetails,
)


def make_validate(**changes: Any) -> ValidateDetails:
    """Return what validate measured of a good candidate, on all data and on each class."""
    baseline = _metrics((0.978, 1.0, 0.97779, 0.07341, 0.003512, 0.00812, 0.99961))
    finetuned = _metrics((0.978, 0.9993, 0.97791, 0.07488, 0.003498, 0.00905, 0.99957))
    candidate = _metrics((1466 / 1500, 0.9993, 0.97712, 0.07562, 0.003521, 0.00931, 0.99955))
    pruned = _metrics((0.91267, 0.9927, 0.91034, 0.28154, 0.013377, 0.02104, 0.99502))
    models = {
        lever: make_digest(f"{'evaluate' if lever == 'baseline' else lever} model")
        for lever in ("baseline", "prune", "finetune", "quantize")
    }
    levers = (
        LeverMetrics(lever="baseline", model=models["baseline"], metrics=baseline),
        _lever("prune", models["prune"], pruned, baseline, baseline),
        _lever("finetune", models["finetune"], finetuned, baseline, pruned),
        _lever("quantize", models["quantize"], candidate, baseline, finetuned),
    )
    per_class = tuple(
        make_comparison(
            n=150,
            right=right,
            broken=broken,
            fixed=fixed,
            margin=0.03,
            slice=f"class={label}",
        )
        for label, (right, broken, fixed) in enumerate(
            (
                (149, 0, 1),
                (149, 1, 0),
                (147, 1, 2),
                (146, 2, 1),
                (148, 1, 1),
                (145, 2, 2),
                (149, 1, 0),
                (146, 1, 2),
                (143, 2, 2),
                (145, 1, 0),
            )
        )
    )
    rows = zip(
        baseline[1:], candidate[1:], (0.0009, 0.0061, 0.0068, 0.00041, 0.0049, 0.00012), strict=True
    )
    fields: dict[str, Any] = {
        "baseline_model": models["baseline"],
        "candidate_model": models["quantize"],
        "output_names": ("logits",),
        "test_data": make_digest("test data"),
        "test_examples": TEST_EXAMPLES,
        "comparisons": (
            make_comparison(),
            *(
                make_delta(before.name, before.value or 0.0, after.value or 0.0, half_width)
                for before, after, half_width in rows
            ),
            *per_class,
        ),
        "metrics_baseline": baseline,
        "metrics_candidate": candidate,
        "levers": levers,
        "latency": (
            make_latency(1, baseline_ms=1.72, speedup=5.8),
            make_latency(32, baseline_ms=44.6, speedup=7.1),
        ),
        "size": SizeComparison(
            baseline_bytes=1_261_332,
            candidate_bytes=120_148,
            baseline_gzip_bytes=1_166_402,
            candidate_gzip_bytes=88_973,
            baseline_peak_memory_bytes=68_157_440,
            candidate_peak_memory_bytes=57_671_680,
        ),
        "confusion_baseline": make_confusion(
            (
                (3, 5, 4),
                (5, 3, 3),
                (7, 2, 4),
                (8, 3, 5),
                (9, 4, 5),
                (2, 7, 3),
                (4, 9, 2),
                (0, 6, 1),
                (1, 7, 1),
                (6, 0, 1),
                (5, 8, 2),
                (8, 5, 2),
            )
        ),
        "confusion_candidate": make_confusion(
            (
                (3, 5, 5),
                (5, 3, 3),
                (7, 2, 3),
                (8, 3, 5),
                (9, 4, 6),
                (2, 7, 2),
                (4, 9, 2),
                (1, 7, 2),
                (6, 0, 2),
                (5, 8, 2),
                (8, 5, 2),
            )
        ),
    }
    return ValidateDetails(**fields | changes)


def make_convert(**changes: Any) -> ConvertDetails:
    """Return a candidate that was given as ONNX."""
    fields: dict[str, Any] = {
        "format": "onnx",
        "interface": "image float32[?, 1, 28, 28] -> logits float32[?, 10]",
        "meaning": "logits",
    }
    return ConvertDetails(**fields | changes)


def make_prune(**changes: Any) -> PruneDetails:
    """Return structured pruning by half of a residual CNN."""
    layers = [
        ("stem.conv", 32, 16),
        *(
            (f"stage{stage}.block.{conv}", width, width // 2)
            for stage, width in ((1, 32), (2, 64), (3, 128))
            for conv in ("conv1", "conv2")
        ),
        ("stage2.shortcut", 64, 32),
        ("stage3.shortcut", 128, 64),
        ("head", 10, 10),
    ]
    fields: dict[str, Any] = {
        "method": "structured magnitude, uniform",
        "asked_sparsity": 0.5,
        "achieved_sparsity": 0.5,
        "round_to": 8,
        "parameters_before": 308_394,
        "parameters_after": 78_122,
        "nonzero_after": 78_122,
        "macs_before": 12_401_920,
        "macs_after": 3_151_872,
        "layers": tuple(
            LayerSparsity(
                layer=name,
                shape_before=(before, 32, 3, 3),
                shape_after=(after, 16, 3, 3),
                sparsity=1 - after / before,
                note="an output of the model: kept" if name == "head" else "",
            )
            for name, before, after in layers
        ),
        "sensitivity": tuple(
            Sensitivity(
                layer=name, sparsity=share, metric="accuracy", value=0.976 + delta, delta=delta
            )
            for index, (name, _, _) in enumerate(layers[:-1])
            for share in (0.25, 0.5, 0.75)
            for delta in (round(-0.002 * math.exp(4 * share) * (1 + (index * 7) % 5) / 5, 4),)
        ),
        "batch_norm_examples": 1000,
        "device": "cpu",
        "validation_before": (make_metric(value=0.976, n=500),),
        "validation_after": (make_metric(value=0.914, n=500),),
        "size_bytes": 331_204,
        "gzip_bytes": 301_933,
    }
    return PruneDetails(**fields | changes)


def make_finetune(**changes: Any) -> FinetuneDetails:
    """Return eight epochs that recover the accuracy."""
    accuracies = (0.958, 0.966, 0.97, 0.972, 0.976, 0.974, 0.978, 0.978)
    fields: dict[str, Any] = {
        "device": "cpu",
        "precision": "float32",
        "epochs": tuple(
            Epoch(
                epoch=number,
                train_loss=0.08 + 0.9 * math.exp(-0.55 * number),
                validation_loss=0.11 + 0.35 * math.exp(-0.5 * number) + 0.004 * (number % 2),
                validation_metric=accuracy,
                learning_rate=0.001 * (1 + math.cos(math.pi * (number - 1) / 8)) / 2,
                seconds=5.7,
            )
            for number, accuracy in enumerate(accuracies, start=1)
        ),
        "best_epoch": 7,
        "stopped_early": False,
        "metric": "accuracy",
    }
    return FinetuneDetails(**fields | changes)


def make_quantize(**changes: Any) -> QuantizeDetails:
    """Return an automatic choice among three candidates and the float model."""

    def candidate(
        name: str,
        size_bytes: int,
        quality: float,
        speedup: float,
        coverage: float,
        kept: bool,
        reason: str,
    ) -> QuantizationCandidate:
        interval = make_interval(0.97 * speedup, 1.03 * speedup, method="paired bootstrap")
        return QuantizationCandidate(
            name=name,
            size_bytes=size_bytes,
            quality=quality,
            quality_delta=quality - 0.978,
            speedup=RatioInterval(ratio=speedup, interval=interval),
            int8_coverage=coverage,
            kept=kept,
            reason=reason,
        )

    fields: dict[str, Any] = {
        "chosen": "u8s8-per-channel",
        "reason": "fastest at batch 1 of those within 0.01 of the float model's accuracy",
        "metric": "accuracy",
        "candidates": (
            candidate(
                "u8s8-per-channel", 120_148, 0.978, 1.71, 0.998, True, "fastest that keeps quality"
            ),
            candidate(
                "s8s8-per-channel", 120_150, 0.978, 0.98, 0.998, False, "not faster than float32"
            ),
            candidate("dynamic", 118_020, 0.976, 0.31, 0.998, False, "slower than float32"),
            QuantizationCandidate(
                name="mixed",
                size_bytes=140_300,
                quality=None,
                quality_delta=None,
                speedup=None,
                int8_coverage=None,
                kept=False,
                reason="not tried: no layer of u8s8-per-channel lost quality",
            ),
        ),
        "int8_coverage": 0.998,
        "quantized_nodes": 10,
        "unquantized": (
            UnquantizedNode(
                name="/pool/GlobalAveragePool",
                op_type="GlobalAveragePool",
                reason="no int8 kernel that is faster",
            ),
        ),
        "calibration_examples": 500,
        "calibration_peak_bytes": 9_437_184,
        "bits": 8,
        "opset": 20,
        "layers": tuple(
            LayerBits(
                layer=f"node_{weights}",
                op_type="Gemm" if weights == "head" else "Conv",
                weights=f"{weights}.weight",
                weight_bits=8,
                activation_bits=8,
                integer=True,
            )
            for weights in ("stem.conv", "stage1.block.conv1", "stage1.block.conv2", "head")
        ),
        "equalized": (
            EqualizedPair(
                first="node_stage1.block.conv1",
                second="node_stage1.block.conv2",
                channels=16,
                first_spread_before=812.5,
                first_spread_after=2.75,
                second_spread_before=3.5,
                second_spread_after=2.75,
            ),
        ),
    }
    return QuantizeDetails(**fields | changes)


def make_evaluate(**changes: Any) -> EvaluateDetails:
    """Return the baseline's figures."""
    fields: dict[str, Any] = {
        "metrics": _metrics((0.978, 1.0, 0.97779, 0.07341, 0.003512, 0.00812, 0.99961)),
        "parameters": 308_394,
        "macs": 12_401_920,
        "export_max_difference": 2.1e-6,
        "test_examples": TEST_EXAMPLES,
        "first_output": FirstOutput(
            meaning="logits", low=-18.4, high=21.7, sum_low=-9.1, sum_high=8.8
        ),
        "constant_answer": make_constant_answer(),
    }
    return EvaluateDetails(**fields | changes)


def make_constant_answer() -> tuple[Metric, ...]:
    """Return the metrics of always giving the frequencies of the classes."""
    found = _metrics((0.114, 0.543, 0.02047, 2.3019, 0.0899, 0.0, 0.5))
    return tuple(
        metric.model_copy(update={"interval": None}) for metric in found if metric.name != "ece"
    )


_NAMES = ("accuracy", "top5", "macroF1", "logLoss", "mse", "ece", "auc")
_HALF_WIDTHS = (0.0075, 0.0012, 0.0076, 0.0211, 0.0009, 0.0047, 0.0003)


def _metrics(values: Sequence[float]) -> tuple[Metric, ...]:
    return tuple(
        make_metric(name, value, half_width=half_width)
        for name, value, half_width in zip(_NAMES, values, _HALF_WIDTHS, strict=True)
    )


def _lever(
    name: str,
    model: str,
    metrics: tuple[Metric, ...],
    baseline: tuple[Metric, ...],
    previous: tuple[Metric, ...],
) -> LeverMetrics:
    def against(others: tuple[Metric, ...]) -> tuple[Comparison, ...]:
        return tuple(
            make_delta(metric.name, other.value or 0.0, metric.value or 0.0, half_width / 2)
            for metric, other, half_width in zip(metrics, others, _HALF_WIDTHS, strict=True)
        )

    return LeverMetrics(
        lever=name,
        model=model,
        metrics=metrics,
        against_baseline=against(baseline),
        against_previous=against(previous),
    )
