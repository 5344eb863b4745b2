"""Run a module as if some of its channels did not exist, for any code of the module.

Absent channels are NaN in the weights that make them. NaN survives every element-wise, reordering
and pooling operation, so it marks what depends on them without any knowledge of the code between.
If an operation sums over elements (convolution, matrix product, sum, the statistics of a layer
norm), `Absent` leaves the marked ones out, which is what a network without them computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

Handler = Callable[..., Any]
aten = torch.ops.aten


@contextmanager
def absent_where_nan() -> Iterator[None]:
    """Leave NaN elements out of every sum inside the block.

    A value that comes from absent elements alone is absent itself. Fused attention is taken apart,
    and cuDNN's recurrent layers are, since their parts are what can be looked at.
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.no_grad(),
            torch.backends.cudnn.flags(enabled=False, allow_tf32=False),
            sdpa_kernel(SDPBackend.MATH),
            _Absent(),  # type: ignore[no-untyped-call]
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


class _Absent(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        handler = HANDLERS.get(func.overloadpacket)
        tensors = (value for value in args if isinstance(value, Tensor))
        if handler is None or not any(_has_absent(value) for value in tensors):
            return func(*args, **(kwargs or {}))
        return handler(func, *args, **(kwargs or {}))


def _has_absent(value: Tensor) -> bool:
    return value.is_floating_point() and bool(value.isnan().any())


def _present(value: Tensor) -> Tensor:
    """Return 1 where an element is present and 0 where it is absent, in the type of `value`."""
    return (~value.isnan()).to(value.dtype)


def _filled(value: Tensor) -> Tensor:
    return value.masked_fill(value.isnan(), 0)


def _product(func: Any, left: Tensor, right: Tensor) -> Tensor:
    """Compute mm, bmm, mv or dot; an element without any present term is absent."""
    terms = func(_present(left), _present(right))
    product: Tensor = func(_filled(left), _filled(right))
    return _where_any(product, terms)


def _where_any(value: Tensor, terms: Tensor) -> Tensor:
    masked: Tensor = value.masked_fill(terms == 0, torch.nan)
    return masked


def _added(operation: Any) -> Handler:
    """Return the handler of a product with a summand: addmm, baddbmm, addmv."""

    def handler(
        func: Any,
        summand: Tensor,
        left: Tensor,
        right: Tensor,
        *,
        beta: float = 1,
        alpha: float = 1,
    ) -> Tensor:
        product = alpha * _product(operation, left, right)
        return product + beta * summand

    return handler


def _convolution(
    func: Any, value: Tensor, weight: Tensor, bias: Tensor | None, *options: Any
) -> Any:
    result = func(_filled(value), _filled(weight), bias, *options)
    present = func(_present(value), _present(weight), None, *options)
    possible = func(torch.ones_like(value[:1]), torch.ones_like(weight), None, *options)
    return result.masked_fill((present == 0) & (possible != 0), torch.nan)


def _sum(
    func: Any, value: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    axes = tuple(range(value.dim())) if dim is None or dim == [] else dim
    total = torch.sum(_filled(value), axes, keepdim=keepdim, dtype=dtype)
    return _where_any(total, torch.sum(_present(value), axes, keepdim=keepdim))


def _vector_norm(
    func: Any,
    value: Tensor,
    order: Any = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Tensor:
    axes = tuple(range(value.dim())) if dim is None else dim
    total = func(_filled(value), order, axes, keepdim, dtype=dtype)
    return _where_any(total, torch.sum(_present(value), axes, keepdim=keepdim))


def _layer_norm(
    func: Any, value: Tensor, shape: list[int], weight: Any, bias: Any, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    result, mean, scale = _normalized(value, tuple(range(-len(shape), 0)), eps)
    result = result if weight is None else result * weight
    return (result if bias is None else result + bias), mean, scale


def _group_norm(
    func: Any,
    value: Tensor,
    weight: Any,
    bias: Any,
    n: int,
    channels: int,
    positions: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    flat, mean, scale = _normalized(value.reshape(n, groups, -1), (-1,), eps)
    result = flat.reshape(value.shape)
    shape = (1, channels, *[1] * (value.dim() - 2))
    result = result if weight is None else result * weight.reshape(shape)
    result = result if bias is None else result + bias.reshape(shape)
    return result, mean.squeeze(-1), scale.squeeze(-1)


def _normalized(value: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise by the statistics of the present elements."""
    count = _present(value).sum(axes, keepdim=True)
    mean = _filled(value).sum(axes, keepdim=True) / count
    variance = _filled((value - mean).square()).sum(axes, keepdim=True) / count
    scale = (variance + eps).rsqrt()
    return (value - mean) * scale, mean, scale


HANDLERS: dict[Any, Handler] = {
    aten.convolution: _convolution,
    **dict.fromkeys((aten.mm, aten.bmm, aten.mv, aten.dot), _product),
    aten.addmm: _added(aten.mm),
    aten.baddbmm: _added(aten.bmm),
    aten.addmv: _added(aten.mv),
    aten.sum: _sum,
    aten.linalg_vector_norm: _vector_norm,
    aten.native_layer_norm: _layer_norm,
    aten.native_group_norm: _group_norm,
}
