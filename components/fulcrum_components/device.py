"""The one choice of a device for all of a job's torch work, and modules that are there for a while.

Stages load, export and compare modules on the CPU. In between, pruning and fine-tuning borrow them
for the device of `spec.recipe.device`; what they create follows the module's parameters.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from fulcrum_pipelines.errors import UserError

CPU = torch.device("cpu")


def choose_device(name: str) -> torch.device:
    """Return the device that `auto`, `cpu` or `cuda` means here, with CUDA set to be repeatable.

    Float32 products are computed in float32, since torch's default for convolutions, TF32, has
    errors of 1e-3: bf16 is the way to ask for less.

    Raises:
        UserError: CUDA is asked for and not available.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        message = "is cuda, but torch finds no CUDA device on this machine; use auto or cpu"
        raise UserError(message, where="spec.recipe.device")
    if name == "cpu" or not available:
        return CPU
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    # cuBLAS reads it when it is loaded, and repeats sums in one order only with it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device("cuda")


@contextmanager
def placed(device: torch.device, *modules: nn.Module | None) -> Iterator[None]:
    """Have `modules` on `device` inside the block, then each where it was; None is left out."""
    with ExitStack() as stack:
        for module in modules:
            if module is not None:
                stack.callback(_move, module, device_of(module))
                _move(module, device)
        yield


def device_of(module: nn.Module) -> torch.device:
    """Return where the parameters of `module` are; without any, its buffers, or else the CPU."""
    tensors = (*module.parameters(), *module.buffers())
    return tensors[0].device if tensors else CPU


def _move(module: nn.Module, device: torch.device) -> None:
    """Move `module` in place, with the devices that an exported program's operations name."""
    if device_of(module) == device:
        return
    module.to(device)
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            _rename_devices(part, device)


def _rename_devices(program: torch.fx.GraphModule, device: torch.device) -> None:
    def renamed(value: Any) -> Any:
        return device if isinstance(value, torch.device) else value

    for node in program.graph.nodes:
        node.args, node.kwargs = tree_map(renamed, (node.args, node.kwargs))
    program.recompile()
