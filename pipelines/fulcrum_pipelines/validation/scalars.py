"""The value of an unquoted word of YAML, as kubectl reads it.

kubectl's reader (sigs.k8s.io/yaml) is neither YAML 1.1 nor 1.2: it takes `on` for true,
010, 0o10 and 0x8 for 8, 1_000 for 1000, but 1:30 and dates for text. A job must mean the same on a
laptop and on a cluster, so words are read in the same way here, and one that people and kubectl
read differently is refused.
"""

from __future__ import annotations

import re

NULL = frozenset({"", "~", "null", "Null", "NULL"})
TRUE = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})
FALSE = frozenset({"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})
"""kubectl has y and n in these too, but PyYAML writes such text without quotes. Here they are text:
a cluster, which is sent a boolean in its place, refuses it and says so."""

_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"[-+]?0[0-7]+")
_BASED = re.compile(r"[-+]?0([xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST = 300
"""Digits of a number; Python refuses to read far more, and no field takes as many."""

Scalar = str | int | float | bool | None


class UnclearScalarError(ValueError):
    """A word that is no value, or that is read in two ways; says what to write instead."""


def resolve(word: str) -> Scalar:
    """Return the value of the unquoted `word`.

    Raises:
        UnclearScalarError: It is not finite, or kubectl takes it for another number than people do.
    """
    if word in NULL:
        return None
    if word in TRUE or word in FALSE:
        return word in TRUE
    if _NOT_FINITE.fullmatch(word):
        raise UnclearScalarError(f"'{word}' is not a finite number")
    if word[0] not in "+-.0123456789":
        return word
    plain = word.replace("_", "") if word[0] != "." else word
    return word if len(plain) > _LONGEST else _number(plain, word)


def _number(plain: str, word: str) -> Scalar:
    if _BASED.fullmatch(plain):
        return int(plain, 0)
    if _OCTAL.fullmatch(plain):
        octal, decimal = int(plain, 8), int(plain)
        if octal != decimal:
            message = (
                f"kubectl reads {word} as {octal}, other readers as {decimal}; write {octal} or "
                f'{decimal}, or "{word}" in quotes if it is text'
            )
            raise UnclearScalarError(message)
    if _DECIMAL.fullmatch(plain):
        return int(plain)
    if not _FLOAT.fullmatch(plain):
        return word
    value = float(plain)
    if abs(value) == float("inf"):
        raise UnclearScalarError(f"'{word}' is not a finite number")
    return value


def key_of(word: str) -> str:
    """Return the name that the unquoted key `word` becomes in JSON.

    Raises:
        UnclearScalarError: kubectl makes another name of it, or refuses it.
    """
    value = resolve(word)
    if value is None:
        raise UnclearScalarError("a key must be a name, not null")
    name = str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")
    if name != word:
        message = f'kubectl reads the key {word} as {name}; write "{word}" in quotes'
        raise UnclearScalarError(message)
    return word
