"""The validation set after an epoch, for early stopping and the record."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from fulcrum_components.objective import (
    Examples,
    Problem,
    call,
    input_tensors,
    target_tensor,
)
from fulcrum_components.tasks import Array

BATCH_SIZE = 256

Measure = Callable[[Array, Array], float | None]
"""Returns the task's main metric of first outputs and targets, axis 0 of both is the example."""


@torch.no_grad()
def run_validation(
    module: nn.Module,
    examples: Examples,
    problem: Problem,
    *,
    autocast: bool,
) -> tuple[float, Array, Array]:
    """Return the mean loss of `module` on all `examples`, its first outputs, and the targets.

    Under `autocast` products are computed in bfloat16. Outputs are float32 or wider.
    """
    module.eval()
    task, loss = problem.asked, 0.0
    answers, right = [], []
    for batch in examples.batches(BATCH_SIZE):
        with torch.autocast(problem.device.type, dtype=torch.bfloat16, enabled=autocast):
            outputs = call(module, input_tensors(batch, problem.signature, problem.device))
        targets = target_tensor(batch, task, problem.device)
        loss += float(task.loss(outputs, targets, problem.meaning).double().sum())
        wide = torch.promote_types(outputs.dtype, torch.float32)
        answers.append(outputs.to(wide).cpu().numpy())
        right.append(targets.cpu().numpy())
    return loss / sum(map(len, right)), np.concatenate(answers), np.concatenate(right)
