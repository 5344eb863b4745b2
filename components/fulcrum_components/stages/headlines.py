"""The result of a stage, in one line."""

from __future__ import annotations

from collections import Counter

from fulcrum_pipelines.evidence import PruneDetails, QuantizeDetails, StageEvidence


def headline(evidence: StageEvidence) -> str:
    """Return the one line that says what a stage came to."""
    details = evidence.details
    match details.kind:
        case "evaluate" | "validate":
            metrics = details.metrics if details.kind == "evaluate" else details.metrics_candidate
            first = next(metric for metric in metrics if metric.slice == "all")
            return f"{first.name} {first.value:.4f}" if first.value is not None else first.note
        case "convert":
            return f"{details.format}: {details.interface}"
        case "prune":
            return pruned(details)
        case "finetune":
            return f"best of {len(details.epochs)} epochs: {details.best_epoch}"
        case "quantize":
            return quantized(details)


def pruned(details: PruneDetails) -> str:
    """Return what share of all weights and multiply-accumulates went, and what was left whole."""
    line = f"{details.method}: {details.removed_share or 0.0:.1%} of all weights"
    if details.macs_before and details.macs_after is not None:
        share = 1.0 - details.macs_after / details.macs_before
        line += f" and {share:.1%} of multiply-accumulates"
    left = ", ".join(details.left_whole)
    return f"{line} removed; left whole: {left}" if left else f"{line} removed"


def quantized(details: QuantizeDetails) -> str:
    """Return what came of quantization over all weights, and what was left out and why."""
    share = details.weight_share or 0.0
    if details.bits is not None:
        return f"{details.chosen}: {share:.1%} of all weights rounded to {details.bits} bits"
    if details.quantized_nodes == 0 and share == 0:
        return f"{details.chosen}: {left_out(details) or details.reason}"
    line = (
        f"{details.chosen}: {share:.1%} of all weights and {details.int8_coverage:.1%} of "
        "multiply-accumulates in integers"
    )
    left = left_out(details)
    return f"{line}; {left}" if left else line


def left_out(details: QuantizeDetails) -> str:
    """Say how many multiplying nodes stay in floating point, by reason; empty if none do."""
    reasons = Counter(node.reason for node in details.unquantized)
    return "; ".join(
        f"{count} {'node' if count == 1 else 'nodes'} left out: {reason}"
        for reason, count in reasons.most_common()
    )
