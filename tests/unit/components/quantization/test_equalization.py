"""Equalisation leaves the function alone and makes per-tensor int8 possible where it was not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_graphs import Arrays, images, plain_net, residual_net

from fulcrum_components.graph import GraphIndex, open_session, run_session
from fulcrum_components.quantization import quantize
from fulcrum_components.quantization.choosing import Wanted
from fulcrum_components.quantization.equalization import equalize, find_pairs
from fulcrum_components.quantization.methods import Measuring
from fulcrum_pipelines.resources.compressionjob import Quantize


def outputs(model: onnx.ModelProto | Path, x: np.ndarray) -> np.ndarray:
    return run_session(open_session(model), {"x": x})[0]


def rescaled(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """Spread the channels of the first two layers over six decades, keeping the function."""
    index = GraphIndex(model)
    factors = 10 ** np.random.default_rng(seed).uniform(-3, 3, 16).astype(np.float32)
    for name, scale in (
        ("conv1_w", factors[:, None, None, None]),
        ("conv1_b", factors),
        ("depthwise_w", 1 / factors[:, None, None, None]),
    ):
        value = index.constant(name)
        assert value is not None
        index.set_constant(name, (value * scale).astype(np.float32))
    return model


def test_pairs_of_a_chain_are_found_through_pooling_and_depthwise() -> None:
    pairs = [str(pair) for pair in find_pairs(GraphIndex(plain_net()))]
    assert pairs == [
        "conv1 -> depthwise",
        "depthwise -> conv2",
        "conv2 -> fc1",
        "fc1 -> fc2",
    ]


def test_skip_connection_is_only_equalised_inside() -> None:
    """Stem feeds two readers and b is added to another path: neither may be scaled."""
    assert [str(pair) for pair in find_pairs(GraphIndex(residual_net()))] == ["a -> b"]


@pytest.mark.parametrize("make", [plain_net, residual_net, lambda: rescaled(plain_net())])
def test_function_is_unchanged(make: object) -> None:
    model = make()  # type: ignore[operator]
    before = outputs(model, images(20))
    assert equalize(model)
    np.testing.assert_allclose(outputs(model, images(20)), before, rtol=1e-3, atol=1e-4)


def test_ranges_are_even_afterwards() -> None:
    model = rescaled(plain_net())
    equalize(model)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    rows = np.abs(weights["conv2_w"]).max(axis=(0, 2, 3))  # by input channel
    before = np.abs(weights["depthwise_w"]).max(axis=(1, 2, 3))
    np.testing.assert_allclose(rows, before, rtol=0.05)


def test_spreads_show_the_effect_of_equalisation() -> None:
    """Six decades between channels before; one scale a tensor fits far better afterwards."""
    first, *_ = equalize(rescaled(plain_net()))
    assert (first.first, first.second, first.channels) == ("conv1", "depthwise", 16)
    assert min(first.first_spread_before, first.second_spread_before) > 1e4
    assert max(first.first_spread_after, first.second_spread_after) < 30
    assert first.first_spread_after == pytest.approx(first.second_spread_after, rel=0.05)


def test_dead_channel_leaves_spreads_finite() -> None:
    model = plain_net()
    index = GraphIndex(model)
    value = index.constant("conv1_w")
    assert value is not None
    dead = value.copy()
    dead[3] = 0
    index.set_constant("conv1_w", dead)
    first, *_ = equalize(model)
    assert 1 <= first.first_spread_after < 100


def test_excluded_layers_are_left_alone() -> None:
    pairs = equalize(plain_net(), ["conv2"])
    assert [(pair.first, pair.second) for pair in pairs] == [
        ("conv1", "depthwise"),
        ("fc1", "fc2"),
    ]


def test_repairs_what_breaks_per_tensor(tmp_path: Path) -> None:
    """Per-tensor weights lose the small channels; equalisation undoes the rescaling.

    The figure is 1 - (error of the logits) / (how they differ between images); 0 is a constant.
    """
    x = images(200)
    source = tmp_path / "model.onnx"

    def agreement(model: onnx.ModelProto, **changes: object) -> float:
        onnx.save(model, str(source))
        expected = outputs(source, x)
        path = tmp_path / "int8.onnx"
        options = Quantize.model_validate({"method": "static", "perChannel": False, **changes})
        details = quantize(
            source,
            path,
            options,
            Measuring("accuracy", True, quality=None, speed=None, wanted=Wanted()),
            calibration=Arrays(x=x),
            work_dir=tmp_path / "work",
            batch_for_shapes={"x": x[:1]},
        )
        if changes:
            assert "4 pairs of layers equalised" in details.reason
        error = outputs(path, x) - expected  # against how outputs differ between images
        return float(1 - np.sqrt(np.mean(error**2)) / (expected - expected.mean(axis=0)).std())

    broken = agreement(rescaled(plain_net()))
    repaired = agreement(rescaled(plain_net()), equalization=True)
    never_broken = agreement(plain_net())
    assert broken < 0.2
    assert repaired > max(0.6, never_broken - 0.05)
