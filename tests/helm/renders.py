"""Renders of the chart as they are kept under review, so that a change of a template is seen whole.

Schemas are left out: they are compared with their sources as a whole, and would bury the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from helm.running import Helm

SOURCE = re.compile(r"^---\n# Source: fulcrum/templates/(\S+)\n", re.MULTILINE)


def reviewed(helm: Helm, values: Mapping[str, Any]) -> str:
    """Return the render of `values` without schemas."""
    head, *parts = SOURCE.split(helm.render(values))
    assert not head.strip(), head
    named = zip(parts[::2], parts[1::2], strict=True)
    return "".join(
        f"---\n# {name}\n{manifest.strip()}\n" for name, manifest in named if name != "crds.yaml"
    )
