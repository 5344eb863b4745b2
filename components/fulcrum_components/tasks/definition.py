"""The definition of a task: right answers, the loss for learning, and the metrics.

The rest of the library asks these questions of the task and never which task it is. Which metrics
it has stands in the catalogue, which the operator reads too; here is what needs arrays and tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from fulcrum_components.notes import Notes
from fulcrum_components.tasks.outcomes import Array, Outcomes
from fulcrum_components.tasks.values import Indices
from fulcrum_pipelines.catalog import Meaning

if TYPE_CHECKING:
    from torch import Tensor  # stages that only run ONNX files never load torch


class FirstOutput(Protocol):
    """Name, numpy dtype and sizes of an output; a string names a dynamic axis."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int | str, ...]: ...
    @property
    def dtype(self) -> str: ...


class Task(ABC):
    """How a task checks targets, learns, and turns outputs into outcomes.

    Attributes:
        name: As in the catalogue, which says the rest about it.
        labelled: Whether a right answer is the label of one class. The labels of all data sets are
            then mapped to classes together, results are sliced by class, and answers are counted.
        target_dtype: numpy's type of the targets that a loss takes.
        sums_to_one: Whether the probabilities of an example sum to 1, if it has several.
    """

    name: ClassVar[str]
    labelled: ClassVar[bool] = False
    target_dtype: ClassVar[str] = "float64"
    sums_to_one: ClassVar[bool] = False

    @abstractmethod
    def check_targets(
        self, values: Array, output: FirstOutput, indices: Indices, *, where: str, notes: Notes
    ) -> Array:
        """Return the right answers of a batch as outcomes hold them.

        Args:
            values: As the data hold them, float64, axis 0 is the example; of a task with labels,
                classes (n,).
            output: The model's first output.
            indices: Numbers of the examples in the file, for messages.
            where: Field path and file, for messages.
            notes: Takes what was converted.

        Raises:
            UserError: They cannot be right answers for such an output.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor, meaning: Meaning) -> Tensor:
        """Return what is minimised, for each example, (n,).

        Args:
            outputs: The model's first output, (n, ...).
            targets: Right answers, of `target_dtype`.
            meaning: What `outputs` hold.

        Raises:
            UserError: Shapes do not fit each other, or a target is out of range.
        """

    @abstractmethod
    def distillation(
        self, outputs: Tensor, teacher_outputs: Tensor, meaning: Meaning, temperature: float
    ) -> Tensor:
        """Return how far first outputs are from the teacher's, as a scalar.

        Args:
            outputs: The student's, (n, ...).
            teacher_outputs: The teacher's, of the same shape.
            meaning: What both hold.
            temperature: Softens both, if the task has probabilities to soften.
        """

    @abstractmethod
    def outcomes(
        self, raw: Array, targets: Array, meaning: Meaning, *, first: int, where: str
    ) -> Outcomes:
        """Return what is kept of a batch.

        Args:
            raw: First outputs as the model gives them, finite, axis 0 is the example.
            targets: Right answers.
            meaning: What `raw` holds.
            first: Number of the batch's first example, for messages.
            where: What to name in an error.

        Raises:
            UserError: `raw` is not what `meaning` says.
        """

    @abstractmethod
    def check(self, outcomes: Outcomes, *, where: str) -> None:
        """Check that outputs and targets fit each other and the task.

        Raises:
            UserError: Naming the first example that does not.
        """

    @abstractmethod
    def example_losses(self, outcomes: Outcomes) -> Array:
        """Return what each example adds to the task's main metric, (n,), the lower the better."""

    @abstractmethod
    def constant_answer(self, outcomes: Outcomes, best_value: Callable[[Array], Array]) -> Array:
        """Return the outputs of one example, (...), that are best if they ignore the inputs.

        Args:
            outcomes: Have the targets.
            best_value: Of targets that are numbers, the one answer that is best by the metric.
        """

    def check_output(self, output: FirstOutput) -> str:
        """Return why answers cannot be read from a first output `output`; empty if they can."""
        return ""

    def classes(self, output: FirstOutput) -> int | None:
        """Return the number of classes of the first output, if its shape says so."""
        return None

    def undecided_by(self, targets: Array) -> str:
        """Return why test data with all these targets decide nothing; empty if they may."""
        return ""

    def answers(self, outcomes: Outcomes) -> Array | None:
        """Return the answer to each example, (n,), if answers can be the same; None of numbers."""
        return None

    def cut_at(self, meaning: Meaning) -> float | None:
        """Return where one number an example is cut to give the answer 0 or 1; None if nowhere."""
        return None

    def warnings(self, outcomes: Outcomes) -> Sequence[str]:
        """Return what a person should know of how far metrics of `outcomes` can be trusted."""
        return ()

    def units(self, outcomes: Outcomes) -> Array | None:
        """Return which rows of `outcomes` belong together, (n,), if the job has no groupBy.

        Models are compared in pairs of answers to one unit, and intervals rest on their number.
        None says that each row is a separate unit.
        """
        return None
