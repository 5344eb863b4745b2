"""Train a module with weights of half precision: in float32, and rounded back at the end.

Updates are much smaller than weights, and Adam's moments than updates; in float16 both vanish, and
the loss becomes NaN within a few steps. So the weights are float32 while they are trained, and what
`forward` computes runs under bfloat16 autocast, since its own conversions (`x.half()`) would
otherwise not fit float32 weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

HALF = (torch.float16, torch.bfloat16)


@contextmanager
def float32_weights(module: nn.Module) -> Iterator[bool]:
    """Have all tensors of half precision in float32 inside the block, and as they were afterwards.

    Yields whether there are any.
    """
    kinds = {name: tensor.dtype for name, tensor in _tensors(module) if tensor.dtype in HALF}
    for name, tensor in _tensors(module):
        if name in kinds:
            tensor.data = tensor.data.float()
    try:
        yield bool(kinds)
    finally:
        for name, tensor in _tensors(module):
            if name in kinds:
                tensor.grad = None
                tensor.data = tensor.data.to(kinds[name])


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]
