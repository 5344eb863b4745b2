"""Runs models side by side over a data set, and compares their outputs after the first.

Outputs may be large (hidden states, masks), so they are not kept: baseline and candidates answer
each batch together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from fulcrum_components.evaluation.differing import (
    Centre,
    Differences,
    Sums,
    collected,
    flat,
    is_floating,
)
from fulcrum_components.models.signature import BATCH, Signature, TensorSpec
from fulcrum_components.sessions import fixed_batch, open_session, run_outputs
from fulcrum_components.sources.naming import listed, suggestion
from fulcrum_components.tasks import Array
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import Data, Gate

if TYPE_CHECKING:
    from fulcrum_components.data import Dataset

MOST_CALLS = 1000
"""Calls of one example each for outputs without an axis of examples: slow, and enough for 3 %."""


def compared_outputs(
    signature: Signature, data: Data, gates: Sequence[Gate] = ()
) -> tuple[TensorSpec, ...]:
    """Return the outputs after the first that are compared: all that are not ignored.

    Raises:
        UserError: The data or a gate name an output that the model lacks, or its first.
    """
    further = {spec.name: spec for spec in signature.outputs[1:]}
    ignored = data.ignored_outputs or ()
    named = {
        "spec.data.targets": tuple(data.targets or ()),
        "spec.data.ignoredOutputs": ignored,
        "spec.gates": tuple(gate.output for gate in gates if gate.output is not None),
    }
    for where, names in named.items():
        for name in names:
            _check_known(name, signature.outputs[0].name, tuple(further), where)
    return tuple(spec for name, spec in further.items() if name not in ignored)


def _check_known(name: str, first: str, further: tuple[str, ...], where: str) -> None:
    if name in further:
        return
    known = f"outputs after the first are {listed(further)}" if further else "it has only one"
    if name == first:
        what = f"'{name}' is the model's first output, which metrics and spec.data.test.target"
        raise UserError(f"{what} are about; {known}", where=where)
    hint = suggestion(name, further)
    raise UserError(f"the model has no output '{name}'{hint}; {known}", where=where)


def run_side_by_side(
    baseline: Path,
    candidates: Sequence[Path],
    dataset: Dataset,
    outputs: Sequence[TensorSpec],
    *,
    keep: Sequence[str] = (),
    batch_size: int = 64,
    threads: int = 1,
) -> list[dict[str, Differences]]:
    """Return, for each of `candidates`, how its `outputs` differ from those of `baseline`.

    The data are read twice: means first, since a spread is counted from the mean.

    Args:
        baseline: ONNX file.
        candidates: ONNX files with the same inputs and outputs.
        dataset: Examples; answers are not looked at.
        outputs: Which outputs, by the baseline's signature.
        keep: Outputs whose values are kept as well.
        batch_size: Examples a call, if the model does not fix their number.
        threads: Intra-op threads.

    Raises:
        UserError: A model lacks an output, fails on the data, or gives another number of examples.
    """
    models = [_Model(path, open_session(path, threads)) for path in (baseline, *candidates)]
    for model in models:
        model.check(outputs)
    found: list[dict[str, Differences]] = [{} for _ in candidates]
    for by_call in (False, True):
        specs = [spec for spec in outputs if (BATCH not in spec.shape) == by_call]
        if specs:
            part = _Pass(models, dataset, specs, by_call, batch_size)
            for place, differences in enumerate(part.differences(keep)):
                found[place].update(differences)
    return [{spec.name: each[spec.name] for spec in outputs} for each in found]


@dataclass(frozen=True)
class _Model:
    path: Path
    session: ort.InferenceSession

    def check(self, outputs: Sequence[TensorSpec]) -> None:
        names = [node.name for node in self.session.get_outputs()]
        missing = [spec.name for spec in outputs if spec.name not in names]
        if missing:
            message = f"has no output {listed(missing)} (it has {listed(names)})"
            raise UserError(message, where=self.path.name)


@dataclass(frozen=True)
class _Pass:
    """Runs over the data for outputs that are read in one way."""

    models: Sequence[_Model]
    dataset: Dataset
    specs: Sequence[TensorSpec]
    by_call: bool
    batch_size: int

    def differences(self, keep: Sequence[str]) -> list[dict[str, Differences]]:
        """Return what each candidate's outputs differ by."""
        centres = {spec.name: Centre() for spec in self.specs if is_floating(spec)}
        if centres:
            for (values,) in self._answers(self.models[:1]):
                for name, centre in centres.items():
                    centre.add(flat(values[name]))
        sums = [{spec.name: Sums() for spec in self.specs} for _ in self.models[1:]]
        for before, *others in self._answers(self.models):
            for each, after in zip(sums, others, strict=True):
                for spec in self.specs:
                    wanted, got = before[spec.name], after[spec.name]
                    each[spec.name].count(
                        wanted, got, centres.get(spec.name), answers=not self.by_call
                    )
                    if spec.name in keep:
                        each[spec.name].baseline.append(wanted)
                        each[spec.name].candidate.append(got)
        return [
            {
                spec.name: collected(
                    spec, each[spec.name], centres.get(spec.name), by_call=self.by_call
                )
                for spec in self.specs
            }
            for each in sums
        ]

    def _answers(self, models: Sequence[_Model]) -> Iterator[list[dict[str, Array]]]:
        """Yield for each batch what each of `models` gives, examples (or the call) on axis 0."""
        fixed = fixed_batch(self.models[0].session)
        size = fixed or (1 if self.by_call else self.batch_size)
        for number, batch in enumerate(self.dataset.batches(size)):
            if self.by_call and number == MOST_CALLS:
                return
            yield [self._run(model, batch.inputs, fixed) for model in models]

    def _run(
        self, model: _Model, inputs: Mapping[str, Array], fixed: int | None
    ) -> dict[str, Array]:
        count = len(next(iter(inputs.values())))
        wanted = fixed or count
        names = [spec.name for spec in self.specs]
        filled = {name: filled_up(values, wanted) for name, values in inputs.items()}
        found = run_outputs(model.session, filled, names, where=model.path.name)
        return {
            spec.name: self._by_example(values, spec, wanted, model.path.name)[:count]
            for spec, values in zip(self.specs, found, strict=True)
        }

    def _by_example(self, values: Array, spec: TensorSpec, wanted: int, where: str) -> Array:
        if self.by_call:
            return values[None]
        axis = spec.shape.index(BATCH)
        if values.ndim != len(spec.shape) or values.shape[axis] != wanted:
            message = (
                f"output '{spec.name}' has shape {list(values.shape)} for {wanted} examples, but "
                f"is declared as {spec}"
            )
            raise UserError(message, where=where)
        return np.moveaxis(values, axis, 0)


def filled_up(values: Array, count: int) -> Array:
    """Return `values` with the last example repeated up to `count`; a fixed batch is full."""
    missing = count - len(values)
    return values if missing <= 0 else np.concatenate([values, np.repeat(values[-1:], missing, 0)])
