"""Optimisers by the names of the specification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from fulcrum_pipelines.resources.compressionjob import Finetune


def make_optimizer(parameters: list[nn.Parameter], options: Finetune) -> Optimizer:
    """Return the optimiser that `options` name, over `parameters`."""
    kinds: dict[str, tuple[Callable[..., Optimizer], dict[str, Any]]] = {
        "sgd": (SGD, {"momentum": options.momentum}),
        "rmsprop": (RMSprop, {"momentum": options.momentum}),
        "adam": (Adam, {}),
        "adamw": (AdamW, {}),
    }
    kind, extra = kinds[options.optimizer]
    return kind(parameters, lr=options.learning_rate, weight_decay=options.weight_decay, **extra)


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
