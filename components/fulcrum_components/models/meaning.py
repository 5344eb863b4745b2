"""Infer the meaning of a model's first output, if its format cannot say it.

A bundle declares it. For `.pt2` and ONNX the graph shows it: from the output back through
operations that only move or copy numbers (reshape, cast, pick, clip) to the operation that made
them. A softmax or sigmoid makes probabilities, written in one operation or in several; anything
else before a classification is logits. Stage evaluate compares this result with the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_components.tasks import find_task
from fulcrum_pipelines.catalog import TASKS, Meaning
from fulcrum_pipelines.errors import UserError

KEEPING = frozenset(
    {"alias", "cast", "clip", "clone", "contiguous", "detach", "dropout", "expand", "flatten",
     "gather", "identity", "nan_to_num", "permute", "reshape", "select", "slice", "squeeze", "to",
     "transpose", "unsqueeze"}
)  # fmt: skip
"""Operations that move, copy, pick or bound the numbers of their first input."""

MIXING = frozenset(
    {"add", "concat", "div", "max", "mean", "min", "mul", "reducemean", "sub", "sum"}
)
"""Operations that make probabilities of nothing but probabilities: 1 - p, (p + q) / 2."""

SQUASHING = frozenset({"hardsigmoid", "normalizer", "sigmoid", "softmax", "unitclip"})
"""Operations whose results are probabilities; `unitclip` is a clip to [0, 1]."""

LOGARITHMS = frozenset({"logsigmoid", "logsoftmax"})
SUMS = frozenset({"reducel1", "reducesum"})

OutputKind = Literal["probabilities", "logarithms", "other"]


@dataclass(frozen=True)
class Step:
    """One operation of a graph.

    Attributes:
        operation: Its name as ONNX spells it, in lower case.
        inputs: Steps that it reads; None for a constant.
    """

    operation: str
    inputs: tuple[str | None, ...]


StepFinder = Callable[[str], Step | None]
"""Returns the step that makes a tensor; None for an input of the graph."""


def guess_meaning(task: str | None, maker: StepFinder, output: TensorSpec) -> Meaning:
    """Return the meaning of the first output.

    Args:
        task: What the model is for, or `None` if it is not known.
        maker: Who makes which tensor.
        output: The output; one number an example is a value where the task is not known.

    Raises:
        UserError: The output is the logarithm of one probability, which is none of the meanings.
    """
    if task is not None and "probabilities" not in TASKS[task].meanings:
        return TASKS[task].meanings[0]
    kind = _Trace(maker).kind(output.name)
    single = output.shape[1:] in ((), (1,))
    if kind == "probabilities":
        return "probabilities"
    if kind == "logarithms" and single:
        message = (
            f"output '{output.name}' is the logarithm of one probability; end the model with the "
            "sigmoid or with the logit before it"
        )
        raise UserError(message, where="spec.model")
    # the softmax of log-probabilities gives the probabilities, so they are logits
    if task is not None:
        return TASKS[task].meanings[0]
    return "value" if single else "logits"


def check_output(signature: Signature, task: str | None, where: str) -> None:
    """Refuse a first output from which the task cannot read answers.

    Raises:
        UserError: Naming the output and what it should be.
    """
    why = "" if task is None else find_task(task).check_output(signature.outputs[0])
    if why:
        raise UserError(why, where=where)


class _Trace:
    """Follows a tensor back to what made its numbers, each tensor once."""

    def __init__(self, maker: StepFinder) -> None:
        self._maker = maker
        self._known: dict[str, OutputKind] = {}

    def kind(self, name: str) -> OutputKind:
        """Return what `name` holds."""
        pending = [name]
        while pending:  # without recursion, since graphs are deeper than Python's stack
            step = self._maker(pending[-1])
            needed = _read(step) if step is not None and _passes(step) else []
            missing = [each for each in needed if each not in self._known]
            if missing:
                pending += missing
            else:
                self._known[pending.pop()] = self._of(step)
        return self._known[name]

    def _of(self, step: Step | None) -> OutputKind:
        """Return the kind of result of `step`, if all its inputs are known."""
        if step is None:
            return "other"
        if step.operation in SQUASHING or self._is_softmax(step) or self._is_sigmoid(step):
            return "probabilities"
        if step.operation in LOGARITHMS:
            return "logarithms"
        kinds = {self._known[name] for name in _read(step)} if _passes(step) else set()
        kind: OutputKind = kinds.pop() if len(kinds) == 1 else "other"
        if step.operation == "log":
            return "logarithms" if kind == "probabilities" else "other"
        if step.operation == "exp":
            return "probabilities" if kind == "logarithms" else "other"
        return "other" if kind == "logarithms" and step.operation in MIXING else kind

    def _is_softmax(self, step: Step) -> bool:
        """Return whether it divides numbers by their own sum."""
        if step.operation != "div" or None in step.inputs:
            return False
        above, below = step.inputs
        total = self._behind(below)
        return total is not None and total.operation in SUMS and total.inputs[0] == above

    def _is_sigmoid(self, step: Step) -> bool:
        """Return whether it is 1 / (1 + exp(...))."""
        if step.operation == "reciprocal":
            below = step.inputs[0]
        elif step.operation == "div" and step.inputs[0] is None:
            below = step.inputs[1]
        else:
            return False
        total = None if below is None else self._maker(below)
        if total is None or total.operation != "add":
            return False
        parts = [self._maker(name) for name in total.inputs if name is not None]
        return [part.operation if part else "" for part in parts] == ["exp"]

    def _behind(self, name: str | None) -> Step | None:
        """Return the step behind those that keep numbers or add a constant (an epsilon)."""
        while name is not None:
            step = self._maker(name)
            if step is None or step.operation not in KEEPING | {"add"} or len(_read(step)) != 1:
                return step
            name = _read(step)[0]
        return None


def _passes(step: Step) -> bool:
    """Return whether its result depends on whether it reads probabilities."""
    return step.operation in KEEPING or step.operation in MIXING or step.operation in ("log", "exp")


def _read(step: Step) -> list[str]:
    """Return the tensors that it takes numbers from."""
    inputs = step.inputs[:1] if step.operation in KEEPING else step.inputs
    return [name for name in inputs if name is not None]
