"""Filters, sorting and pages of the API's lists."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kubeflow.world import refused

LIST_ERROR = "Failed to create list options: Invalid input error"
RUN_KEYS = {
    "display_name": "display_name",
    "name": "display_name",
    "run_id": "run_id",
    "id": "run_id",
    "state": "state",
    "storage_state": "storage_state",
    "created_at": "created_at",
}
OPERATIONS: dict[str, Callable[[str, Any], bool]] = {
    # The database compares without regard to case.
    "EQUALS": lambda value, wanted: value.lower() == str(wanted).lower(),
    "IS_SUBSTRING": lambda value, wanted: str(wanted).lower() in value.lower(),
    "IN": lambda value, wanted: value.lower() in [str(each).lower() for each in wanted],
    "GREATER_THAN": lambda value, wanted: value > str(wanted),
}
BY_NUMBER = {1: "EQUALS"}


def listed(
    items: Iterable[dict[str, Any]], field: str, query: Mapping[str, str], keys: Mapping[str, str]
) -> dict[str, Any]:
    """Return one page of `items` under `field`; an empty list has no fields at all."""
    given = {name: query.get(name, "") for name in ("filter", "sort_by")}
    start, given = _resume(query.get("page_token", ""), given)
    predicates = _predicates(given["filter"], keys)
    found = [each for each in items if all(holds(each) for holds in predicates)]
    sort = (given["sort_by"] or "created_at").split()
    if sort[0] not in {*keys, "created_at"}:
        text = f'Invalid sorting field: "{sort[0]}" on listable type'
        raise refused(400, 3, f"{LIST_ERROR}: {text}")
    found.sort(key=lambda each: str(each.get(sort[0], "")), reverse=sort[-1] == "desc")
    size = int(query.get("page_size") or 20)
    answer: dict[str, Any] = {}
    if found:
        answer = {field: found[start : start + size], "total_size": len(found)}
    if start + size < len(found):
        token = json.dumps({"start": start + size, **given}).encode()
        answer["next_page_token"] = base64.b64encode(token).decode()
    return answer


def _resume(token: str, given: dict[str, str]) -> tuple[int, dict[str, str]]:
    """A page's token holds the filter; another one beside it is refused."""
    if not token:
        return 0, given
    try:
        kept = json.loads(base64.b64decode(token, validate=True))
    except (binascii.Error, ValueError) as error:
        text = "Invalid page token: illegal base64 data at input byte 0"
        raise refused(400, 3, f"Failed to create list options: {text}") from error
    start = kept.pop("start")
    if given["filter"] and given["filter"] != kept["filter"]:
        text = "page token does not match the supplied sort by and/or filtering criteria"
        raise refused(400, 3, f"{LIST_ERROR}: {text}")
    return start, kept


def _predicates(text: str, keys: Mapping[str, str]) -> list[Callable[[Mapping[str, Any]], bool]]:
    if not text:
        return []
    try:
        predicates = json.loads(text)["predicates"]
    except (ValueError, KeyError, TypeError) as error:
        raise refused(400, 3, f"{LIST_ERROR}: failed to parse valid filter") from error
    return [_predicate(each, keys) for each in predicates]


def _predicate(
    given: Mapping[str, Any], keys: Mapping[str, str]
) -> Callable[[Mapping[str, Any]], bool]:
    known = {"operation", "key", "string_value", "string_values", "timestamp_value"}
    if unknown := sorted(set(given) - known):
        text = f'failed to parse valid filter: unknown field "{unknown[0]}"'
        raise refused(400, 3, f"{LIST_ERROR}: {text}")
    if given["key"] not in keys:
        text = f'no support for filtering on unrecognized field "{given["key"]}"'
        raise refused(400, 3, f"{LIST_ERROR}: {text}")
    operation = OPERATIONS[BY_NUMBER.get(given["operation"], given["operation"])]
    wanted = given.get("string_value", given.get("timestamp_value"))
    if "string_values" in given:
        wanted = given["string_values"]["values"]
    field = keys[given["key"]]
    return lambda item: operation(str(item.get(field, "")), wanted)
