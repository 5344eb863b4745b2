"""Loss and one telling metric on the validation set, for early stopping and the record."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fulcrum_components.objective import (
    Examples,
    Problem,
    call,
    class_logits,
    input_tensors,
    per_example_loss,
    target_tensor,
)
from fulcrum_pipelines.catalog import Meaning, TaskName, has_labels

BATCH_SIZE = 256


@torch.no_grad()
def validate(
    module: nn.Module,
    examples: Examples,
    problem: Problem,
    *,
    device: torch.device,
    autocast: bool,
) -> tuple[float, float]:
    """Return (mean loss, main metric of the task) of `module` on all `examples`.

    Under `autocast` products are computed in bfloat16.
    """
    module.eval()
    loss, score, count = 0.0, 0.0, 0
    for batch in examples.batches(BATCH_SIZE):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
            outputs = call(module, input_tensors(batch, problem.signature, device))
        targets = target_tensor(batch, problem.meaning, device)
        loss += float(per_example_loss(outputs, targets, problem.meaning).double().sum())
        score += _score(outputs, targets, problem.task, problem.meaning)
        count += len(targets)
    mean = score / count
    return loss / count, mean if has_labels(problem.task) else math.sqrt(mean)


def _score(outputs: Tensor, targets: Tensor, task: TaskName, meaning: Meaning) -> float:
    """Return the sum over examples of right answers, or of squared errors."""
    if has_labels(task):
        answers = class_logits(outputs, meaning).argmax(dim=1)
        return float((answers == targets.reshape(answers.shape)).sum())
    difference = outputs.reshape(targets.shape).double() - targets
    return float(difference.square().reshape(len(targets), -1).mean(dim=1).sum())
