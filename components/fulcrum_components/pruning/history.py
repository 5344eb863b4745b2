"""The history of structured pruning as JSON, from which the smaller module can be built again.

The user's entry point always builds the original; the history says which sizes changed. It holds
final sizes instead of steps to repeat, so that replaying needs no tracing and gives the same shapes
in every version of torch. The weights come from a safetensors file afterwards.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from fulcrum_components.folding import fold
from fulcrum_components.modes import evaluating
from fulcrum_components.objective import call
from fulcrum_components.ties import put, tied_names
from fulcrum_pipelines.errors import UserError

Attribute = int | tuple[int, ...]

TIED = "shares its weights with a layer that would stay as it is"


class Removal(BaseModel):
    """The output channels that one step removed from a layer, numbered as before that step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: str
    channels: tuple[int, ...]


class History(BaseModel):
    """Sizes that pruning changed.

    Attributes:
        attributes: For each module by name, its integer attributes that changed (`out_channels`,
            `num_features`, `num_heads` ...), as they are now.
        shapes: For each parameter and buffer by name whose shape changed, its shape now.
        removals: What was removed in which order, for the reader; replaying does not need it.
        folded: Names of weights that a parametrization computed, and that are plain now.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    attributes: dict[str, dict[str, Attribute]]
    shapes: dict[str, tuple[int, ...]]
    removals: tuple[Removal, ...] = ()
    folded: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the history as JSON text."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> History:
        """Read what `to_json` wrote.

        Raises:
            UserError: The text is not a history.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            message = f"not a pruning history of version 1: {first['msg']} at {first['loc']}"
            raise UserError(message, where="structure.json") from error


Sizes = tuple[dict[str, dict[str, Attribute]], dict[str, tuple[int, ...]]]


def sizes(module: nn.Module) -> Sizes:
    """Return all integer attributes by module and all tensor shapes by name."""
    attributes = {name: _integers(layer) for name, layer in module.named_modules()}
    return attributes, {name: tuple(value.shape) for name, value in _tensors(module).items()}


def difference(before: Sizes, after: Sizes, removals: tuple[Removal, ...]) -> History:
    """Return the history that leads from the sizes `before` to `after`."""
    attributes = {
        name: {key: value for key, value in now.items() if before[0][name].get(key) != value}
        for name, now in after[0].items()
    }
    return History(
        attributes={name: changed for name, changed in attributes.items() if changed},
        shapes={name: shape for name, shape in after[1].items() if before[1][name] != shape},
        removals=removals,
    )


def replay(module: nn.Module, history: History, example_inputs: tuple[Tensor, ...]) -> None:
    """Give `module` the sizes of `history`, in place. Load the weights next: resized ones are 0.

    Raises:
        UserError: The module is not the one that the history was made from.
    """
    if history.folded:
        fold(module)
    for name, attributes in history.attributes.items():
        layer = _find(module, name)
        for key, value in attributes.items():
            setattr(layer, key, value)
    _resize_all(module, history.shapes)
    with evaluating(module), torch.no_grad():
        call(module, example_inputs)


def transplant(module: nn.Module, pruned: nn.Module) -> None:
    """Give `module` the sizes and values of `pruned`, a copy of it that was pruned."""
    changes = difference(sizes(module), sizes(pruned), ())
    for name, attributes in changes.attributes.items():
        for key, value in attributes.items():
            setattr(module.get_submodule(name), key, value)
    _resize_all(module, changes.shapes)
    values = _tensors(pruned)
    with torch.no_grad():
        for name, tensor in _tensors(module).items():
            tensor.copy_(values[name])


def tie_again(original: nn.Module, pruned: nn.Module) -> None:
    """Make one parameter of those in `pruned` that are one in `original`.

    Raises:
        UserError: They are no longer equal.
    """
    tensors = dict(pruned.named_parameters(remove_duplicate=False))
    for first, *others in tied_names(original):
        for name in others:
            if tensors[name] is tensors[first]:
                continue
            if not torch.equal(tensors[name], tensors[first]):
                raise UserError(TIED, where=name)
            put(pruned, name, tensors[first])


def _integers(layer: nn.Module) -> dict[str, Attribute]:
    found = {key: _attribute(value) for key, value in vars(layer).items() if key[0] != "_"}
    return {key: value for key, value in found.items() if value is not None}


def _attribute(value: Any) -> Attribute | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, tuple | list) and value and all(type(item) is int for item in value):
        return tuple(value)
    return None


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def _find(module: nn.Module, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        message = (
            f"the model has no layer {name!r}, which was pruned; its entry point no longer builds "
            "the model that the pruned weights were made from"
        )
        raise UserError(message, where="structure.json") from error


def _resize_all(module: nn.Module, shapes: dict[str, tuple[int, ...]]) -> None:
    """Replace tensors by zeros of other shapes; what was one parameter stays one."""
    made: dict[int, Tensor] = {}
    before = _tensors(module)  # keeps the old tensors, so that their ids stay theirs
    for name, shape in shapes.items():
        path, _, key = name.rpartition(".")
        layer = _find(module, path)
        old = before.get(name)
        if old is None or old.dim() != len(shape):
            message = f"the model has no tensor {name!r} of {len(shape)} axes, which was pruned"
            raise UserError(message, where="structure.json")
        if id(old) not in made:
            made[id(old)] = _zeros(old, shape)
        setattr(layer, key, made[id(old)])


def _zeros(old: Tensor, shape: tuple[int, ...]) -> Tensor:
    new = torch.zeros(shape, dtype=old.dtype, device=old.device)
    if isinstance(old, nn.Parameter):
        return nn.Parameter(new, requires_grad=old.requires_grad)
    return new
