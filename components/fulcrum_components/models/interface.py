"""Can one model serve in the place of another?

Callers name inputs, and read outputs by name or by place. A model that takes or gives something
else would be compared on other things than the baseline, and break its callers.
"""

from __future__ import annotations

from collections.abc import Sequence

from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_pipelines.errors import UserError


def require_same_interface(
    found: Signature, wanted: Signature, *, what: str, other: str, where: str
) -> None:
    """Refuse a model that does not take and give what another does.

    Args:
        found: Of the model.
        wanted: Of the other one.
        what: What the model is called in the message.
        other: What the other one is called.
        where: Field path for the message.

    Raises:
        UserError: Names, order, types, sizes or the meaning of the first output differ.
    """
    if found.interface != wanted.interface:
        hint = _hint("input", found.inputs, wanted.inputs) or _hint(
            "output", found.outputs, wanted.outputs
        )
        message = (
            f"{what} is {found.interface}, {other} {wanted.interface}; {hint}"
            "only models with the same inputs and outputs can be compared"
        )
        raise UserError(message, where=where)
    if found.meaning != wanted.meaning:
        message = (
            f"the first output of {what} is taken for {found.meaning}, that of {other} for "
            f"{wanted.meaning}; export both alike, or set meaning if the graph does not show it"
        )
        raise UserError(message, where=where)


def _hint(kind: str, found: Sequence[TensorSpec], wanted: Sequence[TensorSpec]) -> str:
    """Return what differs in the inputs or outputs, if it can be said in a few words."""
    names, expected = ([each.name for each in tensors] for tensors in (found, wanted))
    shapes, sizes = ([_plain(each) for each in tensors] for tensors in (found, wanted))
    if names != expected:
        if sorted(names) == sorted(expected):
            return f"its {kind}s are in another order; "
        if shapes == sizes:
            return (
                f"its {kind}s fit by order and shape, so if they mean the same, rename them to "
                f"{', '.join(expected)}; "
            )
        return ""
    for mine, its, name in zip(shapes, sizes, names, strict=True):
        if mine != its:
            return f"{kind} '{name}' differs; "
    return ""


def _plain(tensor: TensorSpec) -> tuple[str, tuple[int | str, ...]]:
    """Return type and sizes, without the names of dynamic axes."""
    return tensor.dtype, tuple("?" if isinstance(size, str) else size for size in tensor.shape)
