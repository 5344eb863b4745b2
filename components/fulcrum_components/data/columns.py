"""Find the arrays or columns that a data source names, and help where a name is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fulcrum_components.models.signature import Signature
from fulcrum_components.sources.naming import listed, suggestion
from fulcrum_pipelines.errors import UserError


def resolve(expression: str, names: Sequence[str], *, field: str, where: str) -> tuple[str, ...]:
    """Return the names that `a`, `a,b,c` or the range `a:c` select.

    A name that holds a comma or colon itself is taken as it is where it exists.

    Args:
        expression: What the user wrote.
        names: Names that exist, in order.
        field: Field that it was written in, for messages.
        where: File, for messages.

    Raises:
        UserError: A name does not exist, or a range runs backwards.
    """
    if expression in names:
        return (expression,)
    found: list[str] = []
    for part in (part.strip() for part in expression.split(",")):
        first, colon, last = part.partition(":")
        if part in names or not colon:
            found.append(_known(part, names, field, where))
            continue
        start, end = (names.index(_known(name, names, field, where)) for name in (first, last))
        if start > end:
            message = f"the range '{part}' runs backwards; write '{last}:{first}'"
            raise UserError(message, where=f"{field} ({where})")
        found.extend(names[start : end + 1])
    return tuple(found)


def _known(name: str, names: Sequence[str], field: str, where: str) -> str:
    if name in names:
        return name
    message = f"there is no '{name}'{suggestion(name, names)}; there are {listed(names)}"
    raise UserError(message, where=f"{field} ({where})")


def input_columns(
    inputs: Mapping[str, str] | None,
    signature: Signature,
    names: Sequence[str],
    *,
    where: str,
    file: str,
) -> dict[str, tuple[str, ...]]:
    """Return for each input of the model the names that feed it.

    Raises:
        UserError: The mapping names an input that the model does not have, or a name is unknown.
    """
    mapping = dict(inputs or {})
    known = [spec.name for spec in signature.inputs]
    for name in mapping:
        if name not in known:
            message = (
                f"the model has no input '{name}'{suggestion(name, known)}; it has {listed(known)}"
            )
            raise UserError(message, where=f"{where}.inputs")
    return {
        name: resolve(mapping.get(name, name), names, field=f"{where}.inputs.{name}", where=file)
        for name in known
    }
