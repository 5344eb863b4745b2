"""When examples are from: dates, times and numbers, as columns store them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fulcrum_components.data.label_values import Array
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import TimeKind

ZONED = np.dtype([("utc", "datetime64[ns]")])
"""Times whose zone is known, in UTC; they cannot be compared with times without one."""

DATES, MOMENTS = np.dtype("datetime64[D]"), np.dtype("datetime64[ns]")

MOMENT, DATE_LENGTH = pa.timestamp("ns"), len("2024-05-31")

FROM_TEXT = (pa.float64(), pa.date32(), MOMENT, pa.timestamp("ns", "UTC"))
"""Types as which text is read; the first that fits the first value counts."""

UNITS = ("s", "ms", "us", "ns")
"""Units of `datetime64` that are moments; a month or hour would end after times in it."""

EXPECTED = "expected a number, or a date or time such as 2024-05-31, 2024-05-31T18:30:00Z"

Place = Callable[[int], tuple[str, int]]
"""Returns file and number for messages of the value at a position."""


def kind_of(dtype: np.dtype[Any]) -> TimeKind:
    """Return what an array that `parse_times` returned holds."""
    if dtype == ZONED:
        return "time with a zone"
    if dtype.kind != "M":
        return "number"
    return "date" if dtype == DATES else "time"


def parse_times(values: Any, name: str, place: Place) -> Array:
    """Return a column of times as int64, float64, `datetime64[D]`, `datetime64[ns]` or `ZONED`.

    Arrays that it returned are returned as they are.

    Args:
        values: An array of numpy or Arrow, one value an example.
        name: Of the column, for messages.
        place: For messages.

    Raises:
        UserError: A value is missing, is no number, date or time, or is beyond the years 1678 to
            2261.
    """
    if isinstance(values, np.ndarray):
        values = values.reshape(len(values), -1)[:, 0] if values.size == len(values) else values
        if values.ndim != 1:
            message = f"'{name}' has {values.ndim} axes, expected one value an example"
            raise UserError(message, where=place(0)[0])
        if values.dtype.kind in "iuf":
            return _complete(values.astype(_number(values.dtype.kind == "i")), name, place)
        if values.dtype in (ZONED, DATES, MOMENTS):
            return _complete(values, name, place)
        values = _arrow(values, name, place)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if values.null_count:
        raise _refusal(
            values, name, place, int(np.flatnonzero(values.is_null().to_numpy(False))[0])
        )
    if is_text(values.type):
        if not _fits(values, pa.string()):
            message = f"'{name}' holds bytes that are no text in UTF-8; {EXPECTED}"
            raise UserError(message, where=place(0)[0])
        values = _read(values.cast(pa.string()), name, place)
    kind = values.type
    if pa.types.is_date(kind):
        return _complete(values.cast(pa.date32()).to_numpy(False).astype(DATES), name, place)
    if pa.types.is_timestamp(kind):
        try:
            moments = values.cast(pa.timestamp("ns", kind.tz)).to_numpy(False)
        except pa.ArrowInvalid:
            message = f"'{name}' holds a time beyond the years 1678 to 2261"
            raise UserError(message, where=place(0)[0]) from None
        moments = np.asarray(moments, MOMENTS)
        return moments.view(ZONED) if kind.tz else moments
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        wanted = _number(pa.types.is_signed_integer(kind))
        return _complete(values.to_numpy(False).astype(wanted), name, place)
    raise UserError(f"'{name}' holds {kind}; {EXPECTED}", where=place(0)[0])


def is_text(kind: pa.DataType) -> bool:
    """Return whether values of the Arrow type `kind` are text, or bytes that may be."""
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _number(signed: bool) -> np.dtype[Any]:
    """Return the type for numbers; rounding to float64 never changes which is later."""
    return np.dtype(np.int64 if signed else np.float64)


def _arrow(values: Array, name: str, place: Place) -> Any:
    """Return times or text as an Arrow array."""
    unit = np.datetime_data(values.dtype)[0] if values.dtype.kind == "M" else UNITS[0]
    if values.dtype.kind not in "MUS" or unit not in UNITS:
        raise UserError(f"'{name}' holds {values.dtype}; {EXPECTED}", where=place(0)[0])
    if values.dtype.kind == "M":
        return pa.array(values.astype(values.dtype.newbyteorder("=")))
    return pa.array(values.tolist())


def _read(values: Any, name: str, place: Place) -> Any:
    """Return text as the first type that fits all of it; a date is no time at midnight."""
    kinds = [kind for kind in FROM_TEXT if _fits(values[:1], kind)][:1]
    if kinds and _fits(values, kinds[0]):
        short = np.flatnonzero(pc.utf8_length(values).to_numpy(False) <= DATE_LENGTH)
        if kinds[0] != MOMENT or not len(short):
            return pc.cast(values, kinds[0])
        raise _refusal(values, name, place, int(short[0]))
    singles = (values[i : i + 1] for i in range(len(values)))
    wrong = (i for i, each in enumerate(singles) if not (kinds and _fits(each, kinds[0])))
    raise _refusal(values, name, place, next(wrong))


def _fits(values: Any, kind: pa.DataType) -> bool:
    try:
        pc.cast(values, kind)
    except pa.ArrowInvalid:
        return False
    return True


def _complete(values: Array, name: str, place: Place) -> Array:
    """Return `values` if all are there and finite."""
    plain = values["utc"] if values.dtype == ZONED else values
    absent = np.isnat(plain) if plain.dtype.kind == "M" else ~np.isfinite(plain)
    if absent.any():
        raise _refusal(values, name, place, int(np.flatnonzero(absent)[0]))
    return values


def _refusal(values: Any, name: str, place: Place, index: int) -> UserError:
    """Return the error about the value at `index`."""
    where, row = place(index)
    value = values[index]
    text = str(value.as_py() if isinstance(value, pa.Scalar) else value)
    message = f"'{name}' of example {row} is '{text}'; {EXPECTED}, and all alike"
    return UserError(message, where=where)
