"""Structured pruning on every kind of network."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from small_models import (
    AttentionNet,
    Concatenating,
    Dense,
    Depthwise,
    Encoder,
    Experts,
    FixedSize,
    FusedAttention,
    Gated,
    OnlyRecurrent,
    Recurrent,
    ResNet18,
    SeparateAttention,
    image_data,
    image_net,
    problem,
    tokens,
)
from torch import Tensor, nn

from fulcrum_components.pruning import (
    History,
    PruneResult,
    count_macs_and_parameters,
    prune,
    replay,
)
from fulcrum_pipelines.errors import QualityError, UserError
from fulcrum_pipelines.resources.compressionjob import Prune, Structured


def pruned(module: nn.Module, inputs: tuple[Tensor, ...], **options: Any) -> PruneResult:
    structured = Structured(**{"sparsity": 0.5, "round": 8, **options})
    return prune(
        module,
        Prune(structured=structured),
        problem(image_data(64) if options.get("importance") == "taylor" else None),
        example_inputs=inputs,
    )


def test_resnet18_has_the_published_size_after_half_of_its_channels() -> None:
    """Torch-Pruning's README: ResNet-18 at 224, magnitude, uniform 50 %."""
    module, inputs = ResNet18(), (torch.randn(2, 3, 224, 224),)
    assert count_macs_and_parameters(module, inputs) == (1_822_177_768, 11_689_512)

    result = pruned(module, inputs)

    assert (result.figures.macs_after, result.figures.parameters_after) == (487_202_536, 3_055_880)
    assert result.figures.achieved_sparsity == 0.5
    assert count_macs_and_parameters(module, (inputs[0][:1],))[0] == 487_202_536


@dataclass(frozen=True)
class Case:
    name: str
    module: nn.Module
    inputs: Tensor
    achieved: float = 0.5
    options: dict[str, Any] = field(default_factory=dict)
    skipped: str = ""


class TiedEmbedding(nn.Module):
    """A language model whose output layer has the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 32)
        self.hidden = nn.Linear(32, 64)
        self.back = nn.Linear(64, 32)
        self.out = nn.Linear(32, 40, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x)
        return self.out(h + self.back(self.hidden(h).relu()))


class Twice(nn.Module):
    """A layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 32)
        self.second = nn.Linear(32, 32)
        self.fc = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.second(self.first(x).relu()).relu()
        return self.fc(self.second(h).relu())


class SharedWeight(nn.Module):
    """Two layers that have one weight between them, of which only one may be pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(32, 32)
        self.second = nn.Linear(32, 32)
        self.second.weight = self.first.weight
        self.third = nn.Linear(32, 16)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.second(self.first(x).relu()).relu()
        return self.fc(self.third(h).relu())


def gru(*, last_state: bool) -> nn.Module:
    return Recurrent(nn.GRU(32, 48, 2, batch_first=True), last_state=last_state)


torch.manual_seed(0)
IMAGES, SEQUENCES = torch.randn(2, 1, 8, 8), torch.randn(2, 7, 12)
CASES = [
    Case("convolutions", image_net(), IMAGES),
    Case("global", image_net(), IMAGES, options={"scope": "global"}),
    Case("batch-norm scale", image_net(), IMAGES, options={"importance": "bnScale"}),
    Case("taylor", image_net(), IMAGES, options={"importance": "taylor"}),
    Case("iterative", image_net(), IMAGES, options={"iterations": 3, "schedule": "cubic"}),
    Case(
        "iterative taylor, global",
        image_net(),
        IMAGES,
        options={"iterations": 3, "importance": "taylor", "scope": "global"},
    ),
    Case("depthwise and grouped", Depthwise(), IMAGES),
    Case("concatenation", Concatenating(), IMAGES),
    Case("transformer", Encoder(), tokens()),
    Case(
        "transformer with constant positions",
        Encoder(constant_positions=True),
        tokens(),
        achieved=0.4,
        skipped="encoder.layers.1.linear2 was left whole: the model's code depends on its size",
    ),
    Case("attention by hand", AttentionNet(SeparateAttention(64, 4)), tokens()),
    Case(
        "its heads too",
        AttentionNet(SeparateAttention(64, 4)),
        tokens(),
        options={"heads": True, "iterations": 2},
    ),
    Case(
        "fused attention",
        AttentionNet(FusedAttention(64, 4)),
        tokens(),
        achieved=0.25,
        options={"tolerance": 0.3},
        skipped="attention.qkv was left whole: "
        "flows through an attention whose heads are not known",
    ),
    Case(
        "embedding tied to the output",
        TiedEmbedding(),
        tokens(),
    ),
    Case("layer called twice", Twice(), torch.randn(2, 8)),
    Case(
        "two layers of one weight",
        SharedWeight(),
        torch.randn(2, 32),
        achieved=0.1,
        options={"tolerance": 0.4},
        skipped="first was left whole: shares its weights with a layer that would stay as it is",
    ),
    Case("gru", gru(last_state=False), SEQUENCES),
    Case("gru, last state", gru(last_state=True), SEQUENCES),
    Case(
        "lstm of two layers",
        Recurrent(nn.LSTM(32, 48, 2, batch_first=True), last_state=True),
        SEQUENCES,
    ),
    Case("lstm", Recurrent(nn.LSTM(32, 48, batch_first=True), last_state=False), SEQUENCES),
    Case(
        "experts",
        Experts(),
        torch.randn(2, 16),
        achieved=64 / 152,
        skipped="experts.0.2 was left whole: is combined with layers of other sizes",
    ),
    Case(
        "weight norm",
        nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(8, 32)), nn.ReLU(), nn.Linear(32, 2)
        ),
        torch.randn(2, 8),
    ),
    Case("gate", Gated(), torch.randn(2, 8)),
    Case("embedding bag, two outputs", Dense(), tokens()),
    Case(
        "code of a fixed size",
        FixedSize(),
        torch.randn(2, 8),
        achieved=0.25,
        options={"tolerance": 0.3},
        skipped="first was left whole: the model's code depends on its size",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_prunes_and_can_be_built_again(case: Case) -> None:
    module, inputs = copy.deepcopy(case.module), (case.inputs,)
    result = pruned(module, inputs, **case.options)

    assert result.figures.achieved_sparsity == pytest.approx(case.achieved)
    assert result.figures.parameters_after < result.figures.parameters_before
    assert result.figures.macs_after < result.figures.macs_before
    assert (case.skipped in result.warnings) if case.skipped else not result.warnings

    assert result.history is not None
    rebuilt = copy.deepcopy(case.module)
    replay(rebuilt, History.from_json(result.history.to_json()), inputs)
    rebuilt.load_state_dict(module.state_dict())
    assert tied(rebuilt) == tied(module) == tied(case.module)
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.eval()(*inputs), module.eval()(*inputs))


def tied(module: nn.Module) -> list[list[str]]:
    """Return the names of parameters that are one, group by group."""
    groups: dict[int, list[str]] = {}
    for name, value in module.named_parameters(remove_duplicate=False):
        groups.setdefault(id(value), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gives_the_same_twice(case: Case) -> None:
    first, second = copy.deepcopy(case.module), copy.deepcopy(case.module)
    history = pruned(first, (case.inputs,), **case.options).history

    assert pruned(second, (case.inputs,), **case.options).history == history
    states = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)


def test_removing_dead_channels_changes_no_answer() -> None:
    module = image_net().eval()
    with torch.no_grad():
        for conv, norm in ((module[0], module[1]), (module[3], module[4])):
            for tensor in (conv.weight, norm.weight, norm.bias):  # type: ignore[union-attr]
                tensor[1::2] = 0  # type: ignore[index,operator]
        inputs = (torch.randn(2, 1, 8, 8),)
        before = module(*inputs)
    result = pruned(module, inputs)

    removed = {removal.layer: removal.channels for removal in result.history.removals}  # type: ignore[union-attr]
    assert removed == {"0": tuple(range(1, 16, 2)), "3": tuple(range(1, 32, 2))}
    with torch.no_grad():
        torch.testing.assert_close(module(*inputs), before)


def test_removes_whole_heads_and_updates_the_module() -> None:
    module = AttentionNet(SeparateAttention(64, 4))
    pruned(module, (tokens(),), heads=True)

    assert module.attention.num_heads == 2
    assert module.attention.q_proj.out_features == 32  # type: ignore[union-attr]
    assert module.attention.head_dim == 16


def test_keeps_outputs_and_ignored_layers() -> None:
    module = image_net()
    result = pruned(module, (IMAGES,), ignore=("3*",))
    notes = {layer.layer: (layer.sparsity, layer.note) for layer in result.figures.layers}

    assert notes == {
        "0": (0.5, ""),
        "3": (0.0, "ignored by the recipe"),
        "9": (0.0, "makes the model's outputs"),
    }


def test_leaves_modes_and_frozen_parameters_as_they_were() -> None:
    module = image_net().train()
    module[1].eval()
    module[0].requires_grad_(False)
    pruned(module, (IMAGES,))

    assert [layer.training for layer in module[:3]] == [True, False, True]
    assert not any(parameter.requires_grad for parameter in module[0].parameters())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_rounding_that_leaves_layers_whole_is_an_error_that_names_them() -> None:
    with pytest.raises(QualityError) as caught:
        pruned(image_net(), (IMAGES,), round=16, tolerance=0.05)

    message = str(caught.value)
    assert "asked for sparsity 0.5, achieved 0.3333" in message
    assert "0 (has no smaller multiple to round to)" in message
    assert "round" in message
    assert "ignore" in message


@dataclass(frozen=True)
class Refusal:
    name: str
    module: nn.Module
    inputs: Tensor
    message: str
    options: dict[str, Any] = field(default_factory=dict)


class Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError("oops")


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).detach()


class OnlyOperations(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T


def not_a_number() -> nn.Module:
    module = nn.Linear(4, 3)
    nn.init.constant_(module.weight, float("nan"))
    return module


REFUSALS = [
    Refusal("only recurrent", OnlyRecurrent(), SEQUENCES, "recurrent layers stay whole"),
    Refusal("only an output", nn.Linear(4, 3), torch.randn(2, 4), "makes the model's outputs"),
    Refusal(
        "everything ignored",
        image_net(),
        IMAGES,
        "ignored by the recipe",
        {"ignore": ("*",)},
    ),
    Refusal("code that fails", Failing(), torch.randn(2, 4), "ZeroDivisionError: oops"),
    Refusal("NaN weights", not_a_number(), torch.randn(2, 4), "not finite"),
    Refusal("outputs without history", Detached(), torch.randn(2, 4), "differentiable"),
    Refusal(
        "no batch norm to score by",
        nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2)),
        torch.randn(2, 4),
        "has no score of this importance",
        {"importance": "bnScale"},
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_refuses_with_a_reason(case: Refusal) -> None:
    with pytest.raises((UserError, QualityError), match=case.message):
        pruned(case.module, (case.inputs,), **case.options)


def test_taylor_without_data_is_refused() -> None:
    with pytest.raises(UserError, match=r"needs data\.train"):
        prune(
            image_net(),
            Prune(structured=Structured(sparsity=0.5, importance="taylor")),
            problem(),
            example_inputs=(IMAGES,),
        )


def test_an_exported_program_is_refused() -> None:
    """Its layers are gone: only operations on parameters are left."""
    with pytest.raises(UserError, match="give a bundle"):
        pruned(torch.fx.symbolic_trace(OnlyOperations()), (torch.randn(2, 4),))


def test_a_traced_module_with_layers_is_pruned() -> None:
    assert pruned(torch.fx.symbolic_trace(image_net()), (IMAGES,)).figures.achieved_sparsity == 0.5


def test_unrecognised_heads_are_a_warning() -> None:
    result = pruned(Encoder(), (tokens(),), heads=True)

    assert any("no attention heads could go" in warning for warning in result.warnings)


def test_recovers_between_the_steps_only() -> None:
    seen: list[tuple[int, tuple[str, ...]]] = []

    def recover(module: nn.Module, sparse_layers: tuple[str, ...]) -> None:
        seen.append((module[3].out_channels, sparse_layers))  # type: ignore[index]

    prune(
        image_net(),
        Prune(structured=Structured(sparsity=0.75, round=8, iterations=3)),
        problem(image_data(64)),
        example_inputs=(IMAGES,),
        recover=recover,
    )

    assert seen == [(24, ()), (16, ())]
