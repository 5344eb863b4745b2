"""A device that computes on the CPU and refuses what a GPU would: operands that are elsewhere.

Its tensors say that they are on `meta`, the one type of device for which torch needs no driver, but
hold values. Operations that mix them with tensors of the CPU fail, as they do with CUDA.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

FAR = torch.device("meta")
HERE = torch.device("cpu")
MIXED = {
    torch.ops.aten._to_copy.default,
    torch.ops.aten.copy_.default,
    torch.ops.aten.index.Tensor,  # CUDA takes positions that are on the CPU
}


class FarTensor(Tensor):
    """A tensor on the device; `here` holds its values."""

    here: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here: Tensor) -> FarTensor:
        made: FarTensor = Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=FAR,
        )
        made.here = here
        return made

    def __getitem__(self, key: Any) -> Any:
        # torch would make the positions on meta, without values.
        return super().__getitem__(torch.tensor(key) if isinstance(key, list) else key)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the values; its results are where a GPU's would be."""
    operands = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    far = [value for value in operands if isinstance(value, FarTensor)]
    near = [value for value in operands if not isinstance(value, FarTensor)]
    if far and any(value.dim() for value in near) and func not in MIXED:
        message = f"{func}: expected all tensors to be on the same device, found meta and cpu"
        raise RuntimeError(message)
    if any(value.device.type == FAR.type for value in near):
        raise NotImplementedError(f"{func}: a tensor on meta has no values; make it in another way")
    goes = bool(far)
    if kwargs.get("device") is not None:
        goes = torch.device(kwargs["device"]).type == FAR.type
        kwargs = {**kwargs, "device": HERE}
    elif func is torch.ops.aten.copy_.default:
        goes = isinstance(args[0], FarTensor)
    args, kwargs = tree_map(_values, (args, kwargs))
    result = func(*args, **kwargs)
    if not goes:
        return result
    known = {id(value.here): value for value in far}  # of operations in place
    return tree_map(lambda each: known.get(id(each), _far(each)), result)


def _values(value: Any) -> Any:
    return value.here if isinstance(value, FarTensor) else value


def _far(value: Any) -> Any:
    return FarTensor(value) if isinstance(value, Tensor) else value


@contextmanager
def far_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Let torch have the device inside the block."""
    autocast = torch.autocast

    def allowed(kind: str, **options: Any) -> Any:  # torch has none for meta
        return autocast("cpu" if kind == FAR.type else kind, **options)

    monkeypatch.setattr(torch, "autocast", allowed)
    make, move = torch.tensor, nn.Module.to

    def made(values: Any, *, device: Any = None, **options: Any) -> Tensor:
        tensor = make(values, **options)  # on meta itself it would have no values
        return tensor if device is None else tensor.to(device)

    def moved(module: nn.Module, *args: Any, **options: Any) -> Any:
        gc.collect()  # what traced graphs left, since parameters that are held cannot be swapped
        return move(module, *args, **options)

    monkeypatch.setattr(torch, "tensor", made)
    monkeypatch.setattr(nn.Module, "to", moved)
    # Parameters stay the same objects when they move, as they do with CUDA.
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with _Mode():
            yield FAR
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
