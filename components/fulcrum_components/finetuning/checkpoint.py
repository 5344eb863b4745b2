"""Checkpoints that training resumes from bit by bit, without pickle.

Tensors are in safetensors, the rest in JSON. The JSON names its tensor file and is put in place
last by a rename, so a crash at any point leaves the former checkpoint whole. There is no random
state in it: each epoch seeds itself, and learning rate and early stopping are functions of what is
here.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from fulcrum_pipelines.evidence import Epoch

RECORD_NAME = "checkpoint.json"
MODEL, BEST, OPTIMIZER = "model/", "best/", "optimizer/"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    tensors: str
    epochs: tuple[Epoch, ...]
    optimizer_numbers: dict[str, dict[str, bool | int | float | None]]


@dataclass(frozen=True)
class Restored:
    """Values restored from a checkpoint besides model and optimiser."""

    epochs: tuple[Epoch, ...]
    best: dict[str, Tensor]


def model_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers, shared ones once."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: value.detach().cpu().contiguous().clone() for name, value in named}


@torch.no_grad()
def load_tensors(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy `tensors`, as `model_tensors` gave them, into the module."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        value.copy_(tensors[name])


def fingerprint(module: nn.Module, settings: str) -> str:
    """Return a digest of where a training starts: its settings and all weights."""
    digest = hashlib.sha256(settings.encode())
    for name, value in sorted(model_tensors(module).items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Checkpoints:
    """The newest checkpoint of one training, in one directory.

    Args:
        directory: Of the checkpoints; None keeps none.
        fingerprint: A checkpoint of another training, settings or start, is not resumed from.
    """

    def __init__(self, directory: Path | None, fingerprint: str) -> None:
        self._directory = directory
        self._fingerprint = fingerprint

    def save(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        epochs: tuple[Epoch, ...],
        best: dict[str, Tensor],
    ) -> None:
        """Write the state after the last of `epochs`, then drop the former one."""
        if self._directory is None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        state_tensors, numbers = _optimizer_state(optimizer)
        tensors = {
            **{MODEL + name: value for name, value in model_tensors(module).items()},
            **{BEST + name: value for name, value in best.items()},
            **state_tensors,
        }
        name = f"epoch-{len(epochs):05d}.safetensors"
        temporary = self._directory / f"{name}.part"
        save_file(tensors, temporary)
        _publish(temporary, self._directory / name)
        record = _Record(
            fingerprint=self._fingerprint, tensors=name, epochs=epochs, optimizer_numbers=numbers
        )
        temporary = self._directory / f"{RECORD_NAME}.part"
        temporary.write_text(record.model_dump_json())
        _publish(temporary, self._directory / RECORD_NAME)
        for old in self._directory.glob("epoch-*.safetensors"):
            if old.name != name:
                old.unlink()

    def restore(self, module: nn.Module, optimizer: Optimizer) -> Restored | None:
        """Load the newest checkpoint into `module` and `optimizer`; None if none fits."""
        record = self._read()
        if record is None or self._directory is None:
            return None
        try:
            tensors = load_file(self._directory / Path(record.tensors).name)
        except (OSError, SafetensorError):  # damaged or half deleted: start again rather than fail
            return None
        load_tensors(module, _part(tensors, MODEL))
        _load_optimizer(optimizer, _part(tensors, OPTIMIZER), record.optimizer_numbers)
        return Restored(record.epochs, _part(tensors, BEST))

    def _read(self) -> _Record | None:
        if self._directory is None:
            return None
        try:
            record = _Record.model_validate_json((self._directory / RECORD_NAME).read_bytes())
        except (OSError, ValidationError):  # none yet, or damaged
            return None
        return record if record.fingerprint == self._fingerprint else None


def _publish(temporary: Path, final: Path) -> None:
    """Make a written file durable, then visible under its name at once."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(final)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _optimizer_state(
    optimizer: Optimizer,
) -> tuple[dict[str, Tensor], dict[str, dict[str, bool | int | float | None]]]:
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    tensors = {
        f"{OPTIMIZER}{index}/{key}": value.detach().cpu().contiguous().clone()
        for index, values in state.items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    }
    numbers = {
        str(index): {k: v for k, v in values.items() if not isinstance(v, Tensor)}
        for index, values in state.items()
    }
    return tensors, numbers


def _load_optimizer(
    optimizer: Optimizer,
    tensors: dict[str, Tensor],
    numbers: dict[str, dict[str, bool | int | float | None]],
) -> None:
    state: dict[int, dict[str, Any]] = {int(index): dict(v) for index, v in numbers.items()}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        state[int(index)][key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict(cast(Any, {"state": state, "param_groups": groups}))
