"""Fine-tuning whole modules."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import (
    ArrayData,
    Encoder,
    OnlyRecurrent,
    image_data,
    image_net,
    measure_of,
    problem,
    signature,
    tokens,
)
from torch import Tensor, nn

from fulcrum_components.finetuning import FinetuneResult, finetune
from fulcrum_components.finetuning.checkpoint import RECORD_NAME
from fulcrum_components.pruning import prune
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Epoch
from fulcrum_pipelines.resources.compressionjob import (
    Distillation,
    EarlyStopping,
    Finetune,
    Penalty,
    Prune,
    Unstructured,
)

TRAIN, VALIDATION = image_data(120), image_data(60, seed=1)


def tuned(
    module: nn.Module,
    options: Finetune | None = None,
    *,
    teacher: nn.Module | None = None,
    train: ArrayData = TRAIN,
    validation: ArrayData | None = VALIDATION,
    checkpoint_dir: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    sparse_layers: Sequence[str] = (),
    **changes: Any,
) -> FinetuneResult:
    asked = problem(train, **{"seed": 3, **changes})
    return finetune(
        module,
        teacher,
        asked,
        options or Finetune(epochs=2, batch_size=32),
        validation=validation,
        measure=measure_of(asked),
        checkpoint_dir=checkpoint_dir,
        on_epoch=on_epoch,
        sparse_layers=sparse_layers,
    )


def states_equal(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(name == other and torch.equal(x, y) for (name, x), (other, y) in pairs)


def test_learns() -> None:
    module = image_net()
    seen: list[Epoch] = []
    options = Finetune(epochs=8, batch_size=32, learning_rate=0.01)
    result = tuned(module, options, on_epoch=seen.append)

    assert result.details.epochs == tuple(seen)
    assert [epoch.epoch for epoch in seen] == list(range(1, 9))
    assert seen[-1].train_loss < seen[0].train_loss
    assert (seen[-1].validation_metric or 0) > 0.8
    details = result.details
    assert (details.best_epoch, details.stopped_early, details.metric) == (8, False, "accuracy")
    assert not module.training
    assert all(parameter.grad is None for parameter in module.parameters())


@dataclass(frozen=True)
class Setting:
    name: str
    options: dict[str, Any] = field(default_factory=dict)


SETTINGS = [
    Setting("adamw with a teacher", {"distillation": Distillation()}),
    Setting("sgd", {"optimizer": "sgd", "schedule": "oneCycle", "gradient_clip": 0.5}),
    Setting("adam", {"optimizer": "adam", "schedule": "linear", "warmup_epochs": 1.5}),
    Setting("rmsprop", {"optimizer": "rmsprop", "schedule": "step", "weight_norm": True}),
    Setting("early stopping", {"early_stopping": EarlyStopping(patience=1, min_delta=0.005)}),
    Setting("bf16", {"precision": "bf16", "penalties": (Penalty(kind="group", weight=1e-4),)}),
]


def options_of(setting: Setting) -> Finetune:
    return Finetune(**{"epochs": 4, "batch_size": 32, "learning_rate": 0.003, **setting.options})


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_same_seed_gives_the_same_bits(setting: Setting) -> None:
    modules = [image_net(), image_net()]
    for module in modules:
        torch.manual_seed(id(module) % 1000)  # earlier random numbers must not matter
        tuned(module, options_of(setting), teacher=image_net(1))

    assert states_equal(*modules)
    another = image_net()
    tuned(another, options_of(setting), teacher=image_net(1), seed=4)
    assert not states_equal(modules[0], another)


class InterruptionError(Exception):
    pass


def interrupt_after(epochs: int) -> Callable[[Epoch], None]:
    def on_epoch(epoch: Epoch) -> None:
        if epoch.epoch == epochs:
            raise InterruptionError

    return on_epoch


def without_time(epochs: tuple[Epoch, ...]) -> list[dict[str, Any]]:
    return [epoch.model_dump(exclude={"seconds"}) for epoch in epochs]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_resumed_is_bit_by_bit_the_uninterrupted_one(setting: Setting, tmp_path: Path) -> None:
    straight = image_net()
    expected = tuned(straight, options_of(setting), teacher=image_net(1))
    with pytest.raises(InterruptionError):
        tuned(
            image_net(),
            options_of(setting),
            teacher=image_net(1),
            checkpoint_dir=tmp_path,
            on_epoch=interrupt_after(2),
        )
    resumed = image_net()
    result = tuned(resumed, options_of(setting), teacher=image_net(1), checkpoint_dir=tmp_path)

    assert result.details.resumed_from_epoch == 2
    assert without_time(result.details.epochs) == without_time(expected.details.epochs)
    assert states_equal(straight, resumed)


def test_resuming_a_finished_training_trains_no_more(tmp_path: Path) -> None:
    first, second = image_net(), image_net()
    tuned(first, checkpoint_dir=tmp_path)
    result = tuned(second, checkpoint_dir=tmp_path, on_epoch=interrupt_after(1))

    assert result.details.resumed_from_epoch == 2
    assert states_equal(first, second)


def test_keeps_one_checkpoint_and_no_pickle(tmp_path: Path) -> None:
    tuned(image_net(), checkpoint_dir=tmp_path / "new")

    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        RECORD_NAME,
        "epoch-00002.safetensors",
    ]


@pytest.mark.parametrize("damage", ["truncated record", "no tensors", "truncated tensors"])
def test_damaged_checkpoint_restarts_training(damage: str, tmp_path: Path) -> None:
    straight = image_net()
    tuned(straight)
    with pytest.raises(InterruptionError):
        tuned(image_net(), checkpoint_dir=tmp_path, on_epoch=interrupt_after(1))
    tensors = tmp_path / "epoch-00001.safetensors"
    if damage == "truncated record":
        (tmp_path / RECORD_NAME).write_text((tmp_path / RECORD_NAME).read_text()[:50])
    elif damage == "no tensors":
        tensors.unlink()
    else:
        tensors.write_bytes(tensors.read_bytes()[:100])
    module = image_net()

    assert tuned(module, checkpoint_dir=tmp_path).details.resumed_from_epoch is None
    assert states_equal(straight, module)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 9},
        {"options": Finetune(epochs=2, batch_size=32, learning_rate=0.5)},
        {"train": image_data(100)},
    ],
    ids=["seed", "options", "data"],
)
def test_the_checkpoint_of_another_training_is_not_used(
    change: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InterruptionError):
        tuned(image_net(), checkpoint_dir=tmp_path, on_epoch=interrupt_after(1))

    assert tuned(image_net(), checkpoint_dir=tmp_path, **change).details.resumed_from_epoch is None


def test_early_stopping_restores_the_best_epoch() -> None:
    """A huge learning rate makes things worse after a while; the best weights come back."""
    module = image_net()
    options = Finetune(
        epochs=30,
        batch_size=32,
        learning_rate=0.05,
        schedule="constant",
        early_stopping=EarlyStopping(patience=2),
    )
    result = tuned(module, options)
    losses = [epoch.validation_loss or 0.0 for epoch in result.details.epochs]

    assert result.details.stopped_early
    assert len(result.details.epochs) == result.details.best_epoch + 2
    assert losses[result.details.best_epoch - 1] == min(losses)
    with torch.no_grad():
        logits = module(torch.from_numpy(VALIDATION.x))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(VALIDATION.targets))
    assert float(loss) == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("weight_norm", [False, True], ids=["plain", "weight norm"])
def test_zeros_of_sparse_layers_stay_exactly_zero(optimizer: str, weight_norm: bool) -> None:
    module = image_net()
    names = prune(
        module,
        Prune(unstructured=Unstructured(sparsity=0.6)),
        problem(),
        example_inputs=(torch.randn(2, 1, 8, 8),),
    ).sparse_layers
    before = {name: value == 0 for name, value in module.named_parameters()}
    options = Finetune(epochs=2, optimizer=optimizer, weight_norm=weight_norm)
    result = tuned(module, options, sparse_layers=names)

    assert result.details.sparsity_kept == 1.0
    after = dict(module.named_parameters())
    assert all(torch.equal(after[name] == 0, before[name]) for name in names)


def test_without_masks_zeros_grow_back() -> None:
    module = image_net()
    nn.init.zeros_(module[3].weight)  # type: ignore[arg-type]
    result = tuned(module)

    assert result.details.sparsity_kept is None
    assert int((module[3].weight == 0).sum()) == 0  # type: ignore[union-attr]


def test_weight_norm_is_folded_back() -> None:
    module = image_net()
    with torch.no_grad():
        module[0].weight[0] = 0  # type: ignore[index,operator]
    names = set(module.state_dict())
    tuned(module, Finetune(epochs=1, weight_norm=True))

    assert set(module.state_dict()) == names
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())
    assert type(module[3].weight) is nn.Parameter


def test_a_penalty_makes_weights_smaller() -> None:
    plain, penalised = image_net(), image_net()
    tuned(plain, Finetune(epochs=3))
    tuned(penalised, Finetune(epochs=3, penalties=(Penalty(kind="l1", weight=0.01),)))

    before, after = (dict(module.named_parameters())["3.weight"] for module in (plain, penalised))
    assert float(after.detach().abs().sum()) < float(before.detach().abs().sum())


def test_a_student_follows_its_teacher_without_right_answers() -> None:
    teacher = image_net(5)
    tuned(teacher, Finetune(epochs=8, batch_size=32, learning_rate=0.01))
    wrong = ArrayData(TRAIN.x, np.zeros_like(TRAIN.targets))
    student = image_net(6)
    options = Finetune(
        epochs=10, batch_size=32, learning_rate=0.01, distillation=Distillation(weight=1.0)
    )
    state = copy.deepcopy(teacher.state_dict())
    tuned(student, options, teacher=teacher.train(), train=wrong)

    with torch.no_grad():
        x = torch.from_numpy(VALIDATION.x)
        agreement = (student(x).argmax(1) == teacher.eval()(x).argmax(1)).double().mean()
    assert float(agreement) > 0.8
    assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())


def test_regression_reports_its_error() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 4)).astype(np.float32)
    data = ArrayData(x, x.sum(1, dtype=np.float64))
    torch.manual_seed(0)
    module = nn.Linear(4, 1)
    result = tuned(
        module,
        Finetune(epochs=20, learning_rate=0.1, distillation=Distillation(weight=0.1)),
        teacher=nn.Linear(4, 1),
        train=data,
        validation=data,
        task="regression",
        meaning="value",
        signature=signature((4,)),
    )

    last = result.details.epochs[-1]
    assert result.details.metric == "rmse"
    assert last.validation_metric == pytest.approx((last.validation_loss or 0) ** 0.5)
    assert (last.validation_metric or 9) < 0.5


@pytest.mark.parametrize(
    ("module", "data", "spec"),
    [
        (
            Encoder(),
            ArrayData(tokens(40).numpy(), np.arange(40) % 8),
            signature((10,), "int64"),
        ),
        (
            OnlyRecurrent(),
            ArrayData(np.ones((40, 7, 12), dtype=np.float32), np.arange(40) % 3),
            signature((7, 12)),
        ),
    ],
    ids=["transformer", "lstm"],
)
def test_other_networks_train(module: nn.Module, data: ArrayData, spec: Any) -> None:
    result = tuned(module, train=data, validation=data, signature=spec)

    assert len(result.details.epochs) == 2


def test_a_last_batch_of_one_is_left_out_under_batch_norm() -> None:
    result = tuned(image_net(), Finetune(epochs=1, batch_size=17), train=image_data(35))

    assert len(result.details.epochs) == 1


def test_gives_torch_s_settings_back() -> None:
    module = image_net()
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    tuned(module)

    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


class Failing(nn.Module):
    """Works while evaluating, and fails in training."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise LookupError("no such feature")
        return self.fc(x.flatten(1))


class Overwriting(nn.Module):
    """Changes in place what backward needs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.exp(self.fc(x.flatten(1)))
        y += 1
        return y


def frozen() -> nn.Module:
    return image_net().requires_grad_(False)


@dataclass(frozen=True)
class Refusal:
    name: str
    message: str
    where: str
    module: Callable[[], nn.Module] = image_net
    options: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)


REFUSALS = [
    Refusal(
        "loss that is not a number",
        r"loss became (nan|inf) at epoch 1, step \d+; use a learningRate lower than 10",
        "spec.recipe.finetune.learningRate",
        options={"learning_rate": 10.0, "optimizer": "sgd"},
        arguments={"train": ArrayData(TRAIN.x * 1e20, TRAIN.targets)},
        module=lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2)),
    ),
    Refusal("code that fails", "LookupError: no such feature", "spec.model", module=Failing),
    Refusal("backward that fails", "backward failed", "spec.model", module=Overwriting),
    Refusal("everything frozen", "no parameters that can be trained", "spec.model", module=frozen),
    Refusal(
        "early stopping without validation",
        "needs data.validation",
        "spec.recipe.finetune.earlyStopping",
        options={"early_stopping": EarlyStopping()},
        arguments={"validation": None},
    ),
    Refusal(
        "distillation without a teacher",
        "needs the original",
        "spec.recipe.finetune.distillation",
        options={"distillation": Distillation()},
    ),
    Refusal("no examples", "no examples", "spec.data.train", arguments={"train": image_data(0)}),
    Refusal(
        "batches of one under batch norm",
        "batchSize of 2",
        "spec.recipe.finetune.batchSize",
        options={"batch_size": 1},
    ),
    Refusal(
        "no targets",
        "needs targets",
        "spec.data.train.target",
        arguments={"train": ArrayData(TRAIN.x, None)},
    ),
    Refusal(
        "label out of range",
        "label 7 is not one of the model's classes 0 to 1",
        "spec.data.train.target",
        arguments={"train": ArrayData(TRAIN.x, TRAIN.targets * 7)},
    ),
    Refusal(
        "a sparse layer that is not there",
        r"no parameters \['gone.weight'\]",
        "spec.model",
        arguments={"sparse_layers": ("gone.weight",)},
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_refuses_with_a_reason(case: Refusal) -> None:
    options = Finetune(**{"epochs": 2, "batch_size": 32, **case.options})
    with pytest.raises(UserError, match=case.message) as caught:
        tuned(case.module(), options, **case.arguments)

    assert caught.value.where == case.where
