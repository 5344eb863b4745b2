"""What the first output of a model holds, where its format cannot say it.

A bundle declares it. For `.pt2` and ONNX the task and the last operation tell: a softmax or sigmoid
at the end gives probabilities, anything else before a classification is logits.
"""

from __future__ import annotations

from fulcrum_components.models.signature import Meaning, TensorSpec

PROBABILITY_OPERATIONS = ("softmax", "sigmoid")


def guess_meaning(task: str | None, last_operation: str, output: TensorSpec) -> Meaning:
    """Return the meaning of the first output.

    Args:
        task: `classification`, `regression`, or `None` if it is not known.
        last_operation: Name of the operation that makes the output, in lower case.
        output: The output; one number an example is a value where the task is not known.
    """
    if task == "regression":
        return "value"
    if last_operation in PROBABILITY_OPERATIONS:
        return "probabilities"
    if task is None and output.shape[1:] in ((), (1,)):
        return "value"
    return "logits"
