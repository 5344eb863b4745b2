"""dynamic: integer weights, and activations whose ranges are found at run time."""

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

OPERATORS = ("Gemm", "MatMul", "LSTM")


def _quantize(work: Work, notes: str) -> QuantizeDetails:
    return finish_candidate(work, Candidate("dynamic"), notes)


DYNAMIC = QuantizationMethod(
    "dynamic",
    quantize=_quantize,
    applies=lambda index: has_operator(index, OPERATORS) or looks_up(index),
    elsewhere={"Conv": "static"},
)
