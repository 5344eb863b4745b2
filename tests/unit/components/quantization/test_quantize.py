"""One file in, one file out: every method, every refusal, and how `auto` chooses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from model_zoo import FAMILIES
from onnx import TensorProto, helper
from onnx_graphs import Arrays, GraphBuilder, images, residual_net
from quantizing import outputs, run

from fulcrum_components import graph
from fulcrum_components.export import export_onnx
from fulcrum_components.quantization.choosing import Wanted
from fulcrum_components.quantization.coverage import optimized_graph
from fulcrum_pipelines.errors import FulcrumError, QualityError, UserError


@pytest.fixture
def residual(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(residual_net(), str(path))
    return path


def optimized_ops(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in optimized_graph(path).graph.node)


def test_static_quantizes_every_layer_of_a_residual_net(
    residual: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    details = run(residual, data=Arrays(x=images(64)), method="static")
    target = residual.with_name("int8.onnx")
    ops = optimized_ops(target)
    assert (ops["QLinearConv"], ops["QGemm"], ops["Conv"], ops["Gemm"]) == (3, 1, 0, 0)
    assert details.chosen == "static-u8s8"
    assert details.int8_coverage == 1.0
    assert details.quantized_nodes == 4
    assert details.unquantized == ()
    assert (details.calibration_examples, details.opset) == (64, 20)
    expected, found = outputs(residual, images(64)), outputs(target, images(64))
    assert np.abs(found - expected).max() < 0.2 * expected.std()
    onnx.checker.check_model(onnx.load(str(target)))
    assert capfd.readouterr() == ("", "")


def test_signed_activations_lose_the_skip_connection(residual: Path) -> None:
    """Why `auto` has U8S8 first: S8S8 leaves what a skip feeds in floating point on x86."""
    details = run(residual, data=Arrays(x=images(16)), method="static", activations="int8")
    assert details.chosen == "static-s8s8"
    assert details.int8_coverage < 1.0
    assert {node.op_type for node in details.unquantized} == {"Conv"}
    assert details.unquantized[0].reason == "ONNX Runtime did not fuse it into an int8 kernel"


def test_excluded_nodes_stay_and_are_reported(residual: Path) -> None:
    details = run(residual, data=Arrays(x=images(16)), method="static", exclude=["stem", "head*"])
    assert [(node.name, node.op_type, node.reason) for node in details.unquantized] == [
        ("stem", "Conv", "excluded by the recipe"),
        ("head", "Gemm", "excluded by the recipe"),
    ]
    macs = {"stem": 576 * 48, "head": 80, "block": 576 * 512}
    assert details.int8_coverage == pytest.approx(macs["block"] / sum(macs.values()))


def test_dynamic_leaves_convolutions_alone(residual: Path) -> None:
    details = run(residual, method="dynamic")
    assert details.quantized_nodes == 1
    assert {node.name for node in details.unquantized} == {"stem", "a", "b"}
    assert "static quantizes them" in details.unquantized[0].reason
    assert optimized_ops(residual.with_name("int8.onnx"))["ConvInteger"] == 0


def test_lstm_becomes_dynamic_int8_after_folding(tmp_path: Path) -> None:
    """The exporter builds LSTM weights from slices; unfolded, the quantizer would skip them."""
    torch.manual_seed(0)
    family = FAMILIES["LSTM"]
    source = tmp_path / "model.onnx"
    export_onnx(family.build(), family.signature(), source, example_inputs=family.examples(2))
    details = run(source, method="dynamic", batch=family.examples(1))
    assert optimized_ops(source.with_name("int8.onnx"))["DynamicQuantizeLSTM"] == 2
    assert details.int8_coverage == 1.0
    assert source.with_name("int8.onnx").stat().st_size < 0.4 * source.stat().st_size


def gru_net(path: Path) -> Path:
    """A GRU over (5, batch, 3) and a Gemm on its last state."""
    g = GraphBuilder()
    weights = [g.weight("w", 1, 24, 3), g.weight("r", 1, 24, 8)]
    nodes = [
        helper.make_node("GRU", ["x", *weights], ["", "h"], name="gru", hidden_size=8),
        helper.make_node(
            "Squeeze", ["h", g.constant("axis", np.array([0]))], ["s"], name="squeeze"
        ),
        helper.make_node("Gemm", ["s", g.weight("fc", 8, 2)], ["y"], name="head"),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, "batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        g.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_gru_is_reported_as_unquantized(method: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    source = gru_net(tmp_path / "gru.onnx")
    details = run(source, data=Arrays(x=x), method=method, batch={"x": x})
    (node,) = details.unquantized
    assert (node.op_type, node.reason) == ("GRU", "ONNX Runtime has no int8 kernel for GRU")
    assert 0 < details.int8_coverage < 0.1


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_alone_are_simulated_with_an_honest_size(residual: Path, bits: int) -> None:
    details = run(residual, method="weightOnly", bits=bits, quality=lambda _: 0.5)
    (record,) = details.candidates
    assert details.bits == bits
    assert details.accounted_bytes is not None
    assert details.accounted_bytes < record.size_bytes  # the file itself holds fp32
    assert "no speed is claimed" in details.reason
    assert (record.speedup, record.quality_delta, details.int8_coverage) == (None, 0.0, 0.0)


def test_equalisation_and_correction_say_what_they_did(residual: Path) -> None:
    details = run(
        residual,
        data=Arrays(x=images(16)),
        method="static",
        equalization=True,
        biasCorrection=True,
    )
    assert "1 pair of layers equalised" in details.reason
    assert [(pair.first, pair.second, pair.channels) for pair in details.equalized] == [
        ("a", "b", 16)
    ]
    assert "biases of 4 layers corrected" in details.reason
    assert details.int8_coverage == 1.0


@dataclass(frozen=True)
class Auto:
    """Made-up candidates, and the choice that `auto` must make among them.

    Quality is 0.9 if none is named; fp32, `model`, has 0.9 too.
    """

    name: str
    speed: dict[str, float]
    quality: dict[str, float]
    chosen: str
    says: str


AUTO = (
    Auto(
        "fastest of the good",
        {"static-u8s8": 2.0, "static-s8s8": 1.2},
        {},
        "static-u8s8",
        "chosen by latency: 2.00 times as fast as fp32 (latency is preferred; 2 of 3 candidates "
        "run in integers and keep the quality)",
    ),
    Auto(
        "a faster one that loses too much",
        {"static-u8s8": 1.2, "static-s8s8": 2.0},
        {"static-s8s8": 0.88},
        "static-u8s8",
        "1.20 times as fast as fp32 (latency is preferred; 1 of 3",
    ),
    Auto(
        "about as fast as fp32, and smaller",
        {"static-u8s8": 0.97, "static-s8s8": 0.85},
        {},
        "static-u8s8",
        "chosen by latency, then size",
    ),
    Auto(
        "slower than fp32",
        {"static-u8s8": 0.85, "static-s8s8": 0.8},
        {},
        "fp32",
        "fp32 is kept by latency (latency is preferred; 2 of 3 candidates",
    ),
    Auto(
        "none keeps the quality",
        {},
        {"static-u8s8": 0.7, "static-s8s8": 0.7}
        | {f"static-u8s8-{name}": 0.5 for name in ("products", "percentile", "entropy")}
        | {f"static-u8s8-without-{count}": 0.6 for count in (1, 2)},
        "fp32",
        "none of 8 candidates runs in integers and keeps the quality",
    ),
    Auto(
        "products alone where the operators between them lose too much",
        {"static-u8s8-products": 1.3, "static-s8s8-products": 1.1},
        {"static-u8s8": 0.88},
        "static-u8s8-products",
        "1.30 times as fast",
    ),
    Auto(
        "another calibration where min-max loses too much",
        {"static-u8s8-percentile": 1.5, "static-s8s8-percentile": 1.1},
        {"static-u8s8": 0.88, "static-u8s8-products": 0.88},
        "static-u8s8-percentile",
        "1.50 times as fast",
    ),
    Auto(
        "another calibration where min-max loses over half of what it may",
        {"static-u8s8": 1.4, "static-u8s8-entropy": 1.8, "static-s8s8-entropy": 1.1},
        {
            "static-u8s8": 0.894,
            "static-u8s8-products": 0.85,
            "static-u8s8-percentile": 0.85,
        },
        "static-u8s8-entropy",
        "1.80 times as fast",
    ),
    Auto(
        "no other calibration where min-max loses less than half",
        {"static-u8s8": 1.4, "static-s8s8": 1.1},
        {"static-u8s8": 0.896},
        "static-u8s8",
        "1.40 times as fast",
    ),
    Auto(
        "sensitive layers left out, by the calibration that loses least",
        {"static-u8s8-entropy-without-2": 1.4},
        {
            "static-u8s8": 0.7,
            "static-u8s8-products": 0.6,
            "static-u8s8-percentile": 0.6,
            "static-u8s8-entropy": 0.8,
            "static-s8s8-entropy": 0.7,
            "static-u8s8-entropy-without-1": 0.88,
        },
        "static-u8s8-entropy-without-2",
        "1.40 times as fast",
    ),
    Auto(
        "quality that is not a number",
        {"static-s8s8": 1.3},
        {f"static-u8s8{way}": float("nan") for way in ("", "-products", "-percentile", "-entropy")}
        | {f"static-u8s8-without-{count}": 0.0 for count in (1, 2)},
        "static-s8s8",
        "1.30 times as fast",
    ),
)


@pytest.mark.parametrize("case", AUTO, ids=lambda case: case.name)
def test_auto_picks(case: Auto, residual: Path) -> None:
    details = run(
        residual,
        data=Arrays(x=images(16)),
        method="auto",
        quality=lambda path: case.quality.get(path.stem, 0.9),
        speedup=lambda path: case.speed[path.stem],
    )
    assert details.chosen == case.chosen
    assert case.says in details.reason
    assert [record.name for record in details.candidates if record.kept] == [case.chosen]
    same = residual.with_name("int8.onnx").read_bytes() == residual.read_bytes()
    assert same is (case.chosen == "fp32")


def test_each_candidate_has_its_figures_and_why_it_lost(residual: Path) -> None:
    details = run(
        residual,
        data=Arrays(x=images(16)),
        method="auto",
        quality=lambda path: {"static-s8s8": 0.85}.get(path.stem, 0.9),
        speedup=lambda _: 2.0,
    )
    kept, lossy, _, original = details.candidates
    assert (kept.name, lossy.name, original.name) == ("static-u8s8", "static-s8s8", "fp32")
    assert kept.reason == "chosen by latency"
    assert kept.speedup is not None
    assert [timing.batch for timing in kept.timings] == [1]
    assert lossy.reason == "loses 0.05 on validation, 0.01 is allowed"
    assert (lossy.quality, lossy.speedup) == (0.85, None)
    assert original.reason == "static-u8s8 is 2.00 times as fast"
    assert original.size_bytes == residual.stat().st_size
    assert (details.prefer, details.timing_reliable) == ("latency", True)


def test_auto_chooses_without_timing_where_that_is_unreliable(residual: Path) -> None:
    details = run(
        residual,
        data=Arrays(x=images(16)),
        method="auto",
        quality=lambda _: 0.9,
        speedup=lambda _: 0.3,
        doubt="unreliable: the machine was busy",
    )
    assert details.chosen == "static-u8s8"
    assert "without timing" in details.reason
    assert "unreliable: the machine was busy" in details.reason
    assert details.timing_reliable is False
    assert {record.name for record in details.candidates if record.speedup} == {"fp32"}


def test_auto_needs_no_clock_where_size_is_wanted(residual: Path) -> None:
    def timed(path: Path) -> float:
        raise AssertionError(f"{path} was timed")

    details = run(
        residual,
        data=Arrays(x=images(16)),
        method="auto",
        quality=lambda path: {"static-s8s8": 0.85}.get(path.stem, 0.9),
        speedup=timed,
        wanted=Wanted("size"),
    )
    assert (details.chosen, details.timing_reliable) == ("static-u8s8", None)


def test_auto_counts_drop_relative_where_lower_is_better(residual: Path) -> None:
    quality = {"model": 100.0, "static-u8s8": 100.4, "static-s8s8": 102.0}
    details = run(
        residual,
        data=Arrays(x=images(16)),
        method="auto",
        quality=lambda path: quality[path.stem],
        speedup=lambda _: 2.0,
        higher_is_better=False,
    )
    assert details.chosen == "static-u8s8"
    assert "loses 0.02 on validation" in details.candidates[1].reason


def test_min_coverage_is_not_asked_of_fp32(residual: Path) -> None:
    details = run(
        residual,
        data=Arrays(x=images(16)),
        method="auto",
        quality=lambda _: 0.9,
        speedup=lambda _: 0.8,
        minCoverage=1,
    )
    assert details.chosen == "fp32"


@dataclass(frozen=True)
class Bad:
    name: str
    options: dict[str, object]
    error: type[FulcrumError]
    where: str
    says: str
    data: bool = True


BAD = (
    Bad(
        "coverage below what is asked",
        {"method": "static", "exclude": ["a"], "minCoverage": 0.9},
        QualityError,
        "spec.recipe.quantize.minCoverage",
        "90.0% is asked for",
    ),
    Bad(
        "coverage of simulated weights",
        {"method": "weightOnly", "bits": 4, "minCoverage": 0.1},
        QualityError,
        "spec.recipe.quantize.minCoverage",
        "computes in floating point",
    ),
    Bad(
        "pattern that matches nothing",
        {"method": "static", "exclude": ["b", "sten"]},
        UserError,
        "spec.recipe.quantize.exclude[1]",
        "the nearest are stem",
    ),
    Bad(
        "static without data",
        {"method": "static"},
        UserError,
        "spec.recipe.quantize.method",
        "needs data.calibration",
        data=False,
    ),
    Bad(
        "correction without data",
        {"method": "dynamic", "biasCorrection": True},
        UserError,
        "spec.recipe.quantize.biasCorrection",
        "needs data.calibration",
        data=False,
    ),
    Bad(
        "auto without validation",
        {"method": "auto"},
        UserError,
        "spec.recipe.quantize.method",
        "needs data.validation",
    ),
)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_bad_requests_name_the_field(case: Bad, residual: Path) -> None:
    data = Arrays(x=images(8)) if case.data else None
    with pytest.raises(case.error) as caught:
        run(residual, data=data, **case.options)
    assert caught.value.where == case.where
    assert case.says in caught.value.message


def truncated(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def not_onnx(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 this is a zip")


def removed(path: Path) -> None:
    path.unlink()


def beyond_two_gib(path: Path) -> None:
    """A hole in the file takes no room on disk, and reading it would take minutes and memory."""
    with path.open("r+b") as file:
        file.truncate(2**31)


def already_quantized(path: Path) -> None:
    run(path, data=Arrays(x=images(8)), method="static")
    path.with_name("int8.onnx").replace(path)


@pytest.mark.parametrize(
    "spoil", [truncated, emptied, not_onnx, removed, already_quantized, beyond_two_gib]
)
def test_bad_files_are_named_and_leak_no_foreign_exception(
    spoil: Callable[[Path], None], residual: Path
) -> None:
    spoil(residual)
    with pytest.raises(UserError) as caught:
        run(residual, data=Arrays(x=images(8)), method="static")
    assert caught.value.where == str(residual)
    assert "\n" not in str(caught.value)


def test_size_error_comes_before_anything_is_read(residual: Path) -> None:
    beyond_two_gib(residual)
    with pytest.raises(UserError, match=r"takes 2\.00 GiB; an ONNX file .* less than 2 GiB"):
        run(residual, data=Arrays(x=images(8)), method="static")
    assert not any(residual.with_name("work").iterdir())


def test_result_beyond_the_limit_is_refused(
    residual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The written file is measured too, since a graph can grow."""
    model = onnx.load(str(residual))
    monkeypatch.setattr(graph, "MAX_PROTOBUF_BYTES", 1000)
    with pytest.raises(UserError, match="less than 2 GiB"):
        graph.write_graph(model, residual.with_name("other.onnx"))
    assert not residual.with_name("other.onnx").exists()


def test_calibration_of_another_shape_is_the_users_error(residual: Path) -> None:
    with pytest.raises(UserError, match="does not run with a batch of 2"):
        run(residual, data=Arrays(x=images(4)[:, :2]), method="static")


def test_old_opset_is_upgraded(tmp_path: Path) -> None:
    g = GraphBuilder()
    y = g.gemm(g.relu(g.gemm("x", "one", 4, 8), "relu"), "two", 8, 2)
    model = g.model((4,), y, 2)
    model.opset_import[0].version = 11
    source = tmp_path / "old.onnx"
    onnx.save(model, str(source))
    x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    details = run(source, data=Arrays(x=x), method="static", batch={"x": x[:1]})
    assert details.opset >= 13
    assert details.int8_coverage == 1.0
