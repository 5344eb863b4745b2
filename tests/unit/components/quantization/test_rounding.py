"""Rounded weights: their levels, their size, and their mean shift taken back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_graphs import Arrays, images, residual_net

from fulcrum_components.graph import open_session, run_session
from fulcrum_components.quantization.bias_correction import correct_biases
from fulcrum_components.quantization.calibration import calibrate
from fulcrum_components.quantization.integer import IntegerOptions, IntegerType, build_static
from fulcrum_components.quantization.methods.weight_only import round_weights
from fulcrum_components.quantization.rounding import Rounding, rounding_for
from fulcrum_pipelines.resources.compressionjob import Quantize


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("per_channel", [True, False])
def test_b_bits_hold_at_most_two_to_the_b_levels(bits: int, per_channel: bool) -> None:
    weight = np.random.default_rng(0).normal(size=(6, 5, 3, 3)).astype(np.float32)
    rounding = rounding_for(
        Quantize(method="weightOnly", bits=bits, per_channel=per_channel), False
    )
    rounded, scales = rounding.apply(weight, (0,))
    assert scales == (6 if per_channel else 1)
    groups = rounded if per_channel else [rounded]
    assert all(len(np.unique(np.round(group, 6))) <= 2**bits - 1 for group in groups)
    assert np.abs(rounded).max() == pytest.approx(np.abs(weight).max(), rel=1e-6)
    step = np.abs(weight).max() / (2 ** (bits - 1) - 1)
    assert np.abs(rounded - weight).max() <= step / 2 * 1.001


def test_zeros_stay_zero() -> None:
    rounded, _ = Rounding(7).apply(np.zeros((2, 3), np.float32), (0,))
    assert not rounded.any()


@pytest.mark.parametrize("weights", ["int8", "uint8"])
@pytest.mark.parametrize("reduce_range", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_rounding_is_onnx_runtimes(
    tmp_path: Path, weights: IntegerType, reduce_range: bool, per_channel: bool
) -> None:
    target = tmp_path / "q.onnx"
    model = residual_net()
    calibration = calibrate(model, Arrays(x=images(8)), Quantize())
    options = IntegerOptions(weights, "uint8", per_channel, reduce_range)
    build_static(model, target, calibration, options)
    theirs = {
        tensor.name: numpy_helper.to_array(tensor).astype(np.float64)
        for tensor in onnx.load(str(target)).graph.initializer
    }
    shape = (-1, 1, 1, 1) if per_channel else ()
    scale = theirs["a_w_scale"].reshape(shape)
    zero_point = theirs["a_w_zero_point"].reshape(shape)
    wanted = (theirs["a_w_quantized"] - zero_point) * scale
    original = next(t for t in model.graph.initializer if t.name == "a_w")
    rounding = rounding_for(Quantize(weights=weights, per_channel=per_channel), reduce_range)
    ours, _ = rounding.apply(numpy_helper.to_array(original), (0,))
    steps = np.abs(ours - wanted) / scale
    # unsigned: a zero point is a rounded number, and the greatest value falls between two levels
    assert steps.max() <= (0.02 if weights == "int8" else 1.02)
    if per_channel:
        assert np.sum(steps > 0.02) <= len(ours)  # the greatest of each channel


def test_size_is_accounted_for_to_the_byte() -> None:
    model = residual_net()
    before = model.ByteSize()
    weights = {
        tensor.name: tensor for tensor in model.graph.initializer if tensor.name[-2:] == "_w"
    }
    counts = [int(np.prod(tensor.dims)) for tensor in weights.values()]
    channels = sum(tensor.dims[0] for tensor in weights.values())
    result = round_weights(model, Rounding(3), 3)
    packed = sum(math.ceil(count * 3 / 8) for count in counts)
    assert result.layers == ("stem", "a", "b", "head")
    assert result.accounted_bytes == before - 4 * sum(counts) + packed + 4 * channels


def test_excluded_layer_keeps_its_weights() -> None:
    model = residual_net()
    before = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert round_weights(model, Rounding(1), 2, ("b",)).layers == ("stem", "a", "head")
    after = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert np.array_equal(before["b_w"], after["b_w"])
    assert not np.array_equal(before["a_w"], after["a_w"])


def test_bias_correction_takes_the_mean_shift_back() -> None:
    """Mean logits with 3-bit weights against fp32, on the calibration data and on fresh data.

    Positive inputs with a mean make the shift large, as after ReLU.
    """
    seen, fresh = np.abs(images(200)), np.abs(images(200, seed=2))
    fp32 = residual_net()
    plain, corrected = residual_net(), residual_net()
    names = correct_biases(corrected, Rounding(3), Arrays(x=seen), exclude=())
    assert names == ("stem", "a", "b", "head")
    for model in (plain, corrected):
        round_weights(model, Rounding(3), 3)

    def shift(model: onnx.ModelProto, x: np.ndarray) -> float:
        means = [run_session(open_session(m), {"x": x})[0].mean(axis=0) for m in (model, fp32)]
        return float(np.abs(means[0] - means[1]).mean())

    for x in (seen, fresh):
        assert shift(corrected, x) < 0.5 * shift(plain, x)
