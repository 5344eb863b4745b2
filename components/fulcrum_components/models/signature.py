"""Inputs and outputs of a model, independent of the format of its file.

Export, latency, evaluation and the data sets all speak about tensors by these names. Axis 0 of
every input is the batch, because a model that is fixed to one example cannot be served in batches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from fulcrum_pipelines.catalog import Meaning
from fulcrum_pipelines.errors import UserError

BATCH = "batch"
DTYPES = (
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "bool",
)
"""Names of the element types that a signature may use; they are numpy's."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: Name of the tensor, unique among inputs and among outputs.
        shape: Sizes; a string names a dynamic axis.
        dtype: numpy's name of the element type.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str

    def sizes(self, axes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape with each dynamic axis replaced by its size in `axes`."""
        return tuple(axes[size] if isinstance(size, str) else size for size in self.shape)

    def matches(self, shape: tuple[int, ...], axes: Mapping[str, int] | None = None) -> bool:
        """Return whether `shape` fits; `axes` fixes the sizes of dynamic axes where known."""
        known = axes or {}
        return len(shape) == len(self.shape) and all(
            size == (known.get(wanted, size) if isinstance(wanted, str) else wanted)
            for size, wanted in zip(shape, self.shape, strict=True)
        )

    def __str__(self) -> str:
        """Return for instance `float32[batch, 1, 28, 28]`."""
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs in the order in which the module takes and returns them.

    Attributes:
        inputs: The inputs; axis 0 of each is `batch`.
        outputs: The outputs.
        meaning: What the first output holds; metrics and losses depend on it.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    meaning: Meaning

    @property
    def interface(self) -> str:
        """The interface for callers: names, types and sizes, without the names of dynamic axes."""

        def shown(tensors: tuple[TensorSpec, ...]) -> str:
            return ", ".join(
                f"{each.name} {each.dtype}"
                f"[{', '.join('?' if isinstance(size, str) else str(size) for size in each.shape)}]"
                for each in tensors
            )

        return f"{shown(self.inputs)} -> {shown(self.outputs)}"

    def to_json(self) -> str:
        """Return the signature as JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Signature:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        inputs, outputs = (
            tuple(TensorSpec(item["name"], tuple(item["shape"]), item["dtype"]) for item in items)
            for items in (fields["inputs"], fields["outputs"])
        )
        return cls(inputs, outputs, fields["meaning"])

    @property
    def dynamic_axes(self) -> tuple[str, ...]:
        """Names of the inputs' dynamic axes in order of appearance, `batch` first."""
        names = [size for spec in self.inputs for size in spec.shape if isinstance(size, str)]
        return tuple(dict.fromkeys([BATCH, *names]))


def example_arrays(
    signature: Signature, batch: int, *, dynamic: int = 8, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return one array an input, with `batch` examples and `dynamic` for other dynamic axes.

    Floating inputs are standard normal. Integers are 0 or 1, since they are most often indices
    into a table of unknown size.
    """
    generator = np.random.default_rng(seed)
    axes = dict.fromkeys(signature.dynamic_axes, dynamic) | {BATCH: batch}
    arrays = {}
    for spec in signature.inputs:
        sizes = spec.sizes(axes)
        floating = np.issubdtype(np.dtype(spec.dtype), np.floating)
        values = generator.normal(size=sizes) if floating else generator.integers(0, 2, sizes)
        arrays[spec.name] = values.astype(spec.dtype)
    return arrays


def resized(
    signature: Signature, examples: Mapping[str, np.ndarray], batch: int, longer_by: int = 0
) -> dict[str, np.ndarray]:
    """Return `batch` of the `examples`, again from the start where there are fewer.

    Other dynamic axes get `longer_by` more positions (again from the start) or fewer, but keep at
    least 2: exporters take a size of 1 for a constant.

    Raises:
        UserError: There are no examples for an input.
    """
    arrays = {}
    for spec in signature.inputs:
        if spec.name not in examples:
            message = f"no example for input {spec.name!r}; given were {sorted(examples)}"
            raise UserError(message, where="spec.model")
        array = np.asarray(examples[spec.name]).astype(spec.dtype, copy=False)
        for axis, size in enumerate(spec.shape):
            if isinstance(size, str):
                wanted = batch if axis == 0 else max(2, array.shape[axis] + longer_by)
                array = np.take(array, np.arange(wanted) % array.shape[axis], axis=axis)
        # a copy, since forward may change its input in place
        arrays[spec.name] = np.array(array, order="C")
    return arrays
