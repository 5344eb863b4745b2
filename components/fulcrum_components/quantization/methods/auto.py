"""auto: builds several quantized models and keeps, of those and of fp32, what is wanted."""

from __future__ import annotations

import math

from fulcrum_components.quantization.methods.definition import (
    QuantizationMethod,
    Work,
    has_operator,
)
from fulcrum_components.quantization.methods.finishing import finish
from fulcrum_components.quantization.selection import Judge, select
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import QuantizeDetails

OPERATORS = ("Conv", "Gemm", "MatMul", "LSTM")


def _judge(work: Work) -> Judge:
    """Return what measures the candidates.

    Raises:
        UserError: Quality or speed cannot be measured.
    """
    measuring, before = work.measuring, work.quality_before
    if measuring.quality is None or measuring.speed is None or before is None:
        message = "auto needs data.validation, to choose between candidates"
        raise UserError(message, where="spec.recipe.quantize.method")
    if not math.isfinite(before.value):
        message = "the fp32 model's metric is undefined on the validation data"
        raise UserError(message, where="spec.data.validation")
    return Judge(
        baseline=work.model,
        baseline_quality=before,
        measure_quality=measuring.quality,
        measure_speed=measuring.speed,
        higher_is_better=measuring.higher_is_better,
        max_drop=work.options.max_drop,
        wanted=measuring.wanted,
    )


def _require(work: Work) -> None:
    _judge(work)


def _quantize(work: Work, notes: str) -> QuantizeDetails:
    return finish(work, select(work.builder, _judge(work)), notes)


AUTO = QuantizationMethod(
    "auto",
    quantize=_quantize,
    applies=lambda index: has_operator(index, OPERATORS),
    require=_require,
    chooses=True,
)
