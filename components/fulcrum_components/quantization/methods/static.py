"""static: integer weights and activations, whose ranges are found on calibration data."""

from __future__ import annotations

from fulcrum_components.quantization.building import Candidate
from fulcrum_components.quantization.methods.definition import (
    QuantizationMethod,
    Work,
    has_operator,
    looks_up,
)
from fulcrum_components.quantization.methods.finishing import finish_candidate
from fulcrum_pipelines.evidence import QuantizeDetails

OPERATORS = ("Conv", "Gemm", "MatMul")


def _quantize(work: Work, notes: str) -> QuantizeDetails:
    options = work.options
    candidate = Candidate("static", options.activations, calibration=options.calibration)
    return finish_candidate(work, candidate, notes)


STATIC = QuantizationMethod(
    "static",
    quantize=_quantize,
    applies=lambda index: has_operator(index, OPERATORS) or looks_up(index),
    elsewhere={"LSTM": "dynamic"},
)
