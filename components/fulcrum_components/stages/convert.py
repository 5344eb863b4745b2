"""Stage convert: a candidate that something else made, as the ONNX file that validate measures.

It is the only stage that loads the candidate as it was given. Code of its author, which a bundle
has, never runs beside the baseline: that was measured before, in a process that has ended.
"""

from __future__ import annotations

from fulcrum_components.stages import torch_models
from fulcrum_components.stages.context import ONNX, SIGNATURE, Output, StageContext, StageResult
from fulcrum_pipelines.contract import canonical_json, digest_of
from fulcrum_pipelines.evidence import ConvertDetails


def inputs(context: StageContext) -> dict[str, str]:
    """Return the digests of the candidate as it was given, and of what it must fit."""
    asked = context.spec.model_dump(mode="json", include={"candidate": {"format", "meaning"}})
    return {
        "asked": digest_of(canonical_json(asked)),
        "candidate": context.candidate.digest,
        "signature": context.digest("evaluate", SIGNATURE),
        "data.test": context.evidence("evaluate").inputs["data.test"],
    }


def run(context: StageContext) -> StageResult:
    """Write the candidate as ONNX; it was checked when it was loaded."""
    candidate, path = context.candidate, context.work_dir / "model.onnx"
    context.report("exporting to ONNX", 0.5)
    difference = torch_models.write_onnx(context, candidate, path)
    details = ConvertDetails(
        format=candidate.format,
        interface=candidate.signature.interface,
        meaning=candidate.signature.meaning,
        export_max_difference=difference,
    )
    return StageResult(details, {"model.onnx": Output(path, ONNX)}, candidate.notes)
