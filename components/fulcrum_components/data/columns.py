"""Find the arrays or columns that a data source names, and compare those of its files."""

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


def check_same(
    found: Sequence[str],
    expected: Sequence[str],
    first: str,
    *,
    where: str,
    kinds: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    what: str = "column",
) -> None:
    """Refuse a file whose columns or arrays are not those of the first file of its data set.

    Args:
        found: Names in the file, in order.
        expected: Those in the first file.
        first: Name of the first file.
        where: Field path and file, for messages.
        kinds: Types and shapes by name, in the file and in the first one.
        what: Word for what has a name.

    Raises:
        UserError: A name is missing, new or in another place, or has another type or shape.
    """
    there, known, message = frozenset(found), frozenset(expected), ""
    if missing := [name for name in expected if name not in there]:
        message = f"{what} '{missing[0]}' is missing, which {first} has"
    elif new := [name for name in found if name not in known]:
        message = f"{what} '{new[0]}' is not in {first}"
    elif len(found) != len(expected):
        message = f"there are {len(found)} {what}s, in {first} {len(expected)}"
    elif moved := [i for i, name in enumerate(found) if name != expected[i]]:
        place = moved[0]
        message = f"{what} {place + 1} is '{found[place]}', in {first} '{expected[place]}'"
    else:
        own, other = kinds
        differing = [name for name in expected if own.get(name) != other.get(name)]
        for name in differing[:1]:
            message = f"{what} '{name}' is {own[name]}, in {first} {other[name]}"
    if message:
        raise UserError(f"{message}; all files of a data set need the same", where=where)
