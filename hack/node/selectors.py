"""Label selectors of Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.errors import ClusterError


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether `labels` match `selector`; an empty one matches all."""
    wanted = selector.get("matchLabels") or {}
    exact = all(labels.get(name) == value for name, value in wanted.items())
    return exact and all(_holds(rule, labels) for rule in selector.get("matchExpressions") or ())


def _holds(rule: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = rule["key"], rule.get("values") or ()
    match rule["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    message = f"operator {rule['operator']} is none of selectors"
    raise ClusterError(message)
