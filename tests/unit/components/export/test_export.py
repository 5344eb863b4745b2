"""Exported models compute the same as torch, at sizes that the exporter never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from model_zoo import FAMILIES, Family, Recurrent
from torch import Tensor, nn

from fulcrum_components.export import export_onnx
from fulcrum_components.graph import open_session, opset_of, run_session
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_pipelines.errors import FulcrumError, QualityError, UserError


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_families_export_and_agree_with_torch(
    family: Family, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module = family.build()
    module.train()
    path = tmp_path / "model.onnx"

    difference = export_onnx(module, family.signature(), path, example_inputs=family.examples(4))

    assert difference < 1e-4
    assert module.training
    assert opset_of(onnx.load(str(path))) == 20
    for batch in (1, 5):
        (output,) = run_session(open_session(path), family.examples(batch))
        assert output.shape == (batch, family.outputs)
    assert capfd.readouterr() == ("", "")


def test_one_example_is_enough(tmp_path: Path) -> None:
    family = FAMILIES["embedding MLP"]
    path = tmp_path / "model.onnx"
    export_onnx(family.build(), family.signature(), path, example_inputs=family.examples(1))
    (output,) = run_session(open_session(path), family.examples(7))
    assert output.shape == (7, 1)


def test_inference_mode_outside_does_not_matter(tmp_path: Path) -> None:
    family = FAMILIES["Transformer with padding"]
    with torch.no_grad():
        difference = export_onnx(
            family.build(),
            family.signature(),
            tmp_path / "m.onnx",
            example_inputs=family.examples(2),
        )
    assert difference < 1e-4
    assert torch.backends.mha.get_fastpath_enabled()


class Normalized(nn.Module):
    """Has tensors named as the exporter names results, and weights that must be computed."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("mean", "sub", "relu", "linear", "if_1"):
            self.register_buffer(name, torch.rand(4))
        self.add = nn.Parameter(torch.rand(4))
        self.body = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean + self.add) / (1 + self.sub)
        x = torch.relu(self.body(x) + self.relu * self.linear + self.if_1)
        return (x - x.mean(1, keepdim=True))[:, :2]


def computed(kind: str) -> nn.Module:
    """Return a perceptron whose weights are computed."""
    wrap = getattr(nn.utils.parametrizations, kind)
    return nn.Sequential(wrap(nn.Linear(4, 4)), nn.ReLU(), wrap(nn.Linear(4, 2)))


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(Normalized, id="tensors-named-as-results"),
        *(
            pytest.param(partial(computed, kind), id=kind)
            for kind in ("orthogonal", "weight_norm", "spectral_norm")
        ),
    ],
)
def test_names_and_parametrizations_of_modules_export(
    module: Callable[[], nn.Module], tmp_path: Path
) -> None:
    path, examples = tmp_path / "m.onnx", {"x": np.random.rand(6, 4).astype(np.float32)}
    signature = Signature(
        inputs=(TensorSpec("x", ("batch", 4), "float32"),),
        outputs=(TensorSpec("out", ("batch", 2), "float32"),),
        meaning="logits",
    )
    built = module()
    before = list(built.state_dict())

    assert export_onnx(built, signature, path, example_inputs=examples) < 1e-5

    names = {tensor.name for tensor in onnx.load(str(path)).graph.initializer}
    assert list(built.state_dict()) == before
    assert not any(name.startswith("_module") for name in names)


class Branching(nn.Module):
    """Takes another way depending on values, which no graph can."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) if float(x.sum()) > 0 else self.linear(-x)


class Random(nn.Module):
    """Differs from call to call."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] + torch.rand(2)


class TwoOutputs(nn.Module):
    """Returns one more than the signature says."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :2] * 2, x + 1


@dataclass(frozen=True)
class Refused:
    name: str
    module: nn.Module
    error: type[FulcrumError]
    says: str


REFUSED = (
    Refused("control flow by values", Branching(), UserError, "cannot be exported"),
    Refused("randomness", Random(), QualityError, "is another when the model runs again"),
    Refused("another output", TwoOutputs(), UserError, "returns 2 outputs"),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_cannot_be_exported_is_said(case: Refused, tmp_path: Path) -> None:
    inputs = (TensorSpec("x", ("batch", 4), "float32"),)
    signature = Signature(inputs, (TensorSpec("y", ("batch", 2), "float32"),), "value")
    examples = {"x": np.ones((3, 4), np.float32)}
    with pytest.raises(case.error) as caught:
        export_onnx(case.module, signature, tmp_path / "m.onnx", example_inputs=examples)
    assert case.says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_axis_that_the_model_fixes_is_refused(tmp_path: Path) -> None:
    """A linear layer takes 4 features and no other number, even if the signature says so."""
    inputs = (TensorSpec("x", ("batch", "features"), "float32"),)
    signature = Signature(inputs, (TensorSpec("y", ("batch", 2), "float32"),), "value")
    with pytest.raises(UserError, match="fixes axis 'features' of input 'x' at 4"):
        export_onnx(
            nn.Linear(4, 2),
            signature,
            tmp_path / "m.onnx",
            example_inputs={"x": np.ones((3, 4), np.float32)},
        )


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_dynamic_length_after_an_export_of_a_fixed_one(
    kind: type[nn.RNNBase], tmp_path: Path
) -> None:
    fixed = FAMILIES["LSTM"]
    family = replace(fixed, axes={("x", 1): "time"})
    path = tmp_path / "m.onnx"
    module = Recurrent(kind, 1, False)
    export_onnx(module, fixed.signature(), path, example_inputs=fixed.examples(2))
    export_onnx(module, family.signature(), path, example_inputs=family.examples(2))
    x = family.examples(3)["x"][:, :11]
    (output,) = run_session(open_session(path), {"x": x})
    assert output.shape == (3, 9)


def test_missing_example_names_the_input(tmp_path: Path) -> None:
    family = FAMILIES["embedding MLP"]
    with pytest.raises(UserError, match="no example for input 'item'"):
        export_onnx(
            family.build(),
            family.signature(),
            tmp_path / "m.onnx",
            example_inputs={"user": np.zeros(2, np.int64)},
        )


def test_model_beyond_two_gib_is_refused_before_it_is_traced(tmp_path: Path) -> None:
    """On the meta device, 3.4 GiB of parameters take no memory."""

    class Untraceable(nn.Linear):
        def forward(self, _: Tensor) -> Tensor:
            message = "was traced"
            raise AssertionError(message)

    signature = FAMILIES["residual CNN"].signature()
    with pytest.raises(
        UserError, match=r"takes 3\.35 GiB; an ONNX file .* less than 2 GiB"
    ) as caught:
        export_onnx(
            Untraceable(30_000, 30_000, device="meta"),
            signature,
            tmp_path / "model.onnx",
            example_inputs=FAMILIES["residual CNN"].examples(1),
        )
    assert caught.value.where == "spec.model"
