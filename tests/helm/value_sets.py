"""The sets of values with which the chart is rendered, linted, tried and kept under review.

That of the README is read from it, so that what people copy is what is tested.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from cluster.installing import ROOT

HERE = Path(__file__).parent
README = "readme"


def value_sets() -> dict[str, dict[str, Any]]:
    """Return the sets by name."""
    files = sorted((HERE / "values").glob("*.yaml"))
    return {path.stem: yaml.safe_load(path.read_text()) for path in files} | {README: of_readme()}


def of_readme() -> dict[str, Any]:
    """Return the values that the README gives to `helm install`."""
    text = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"```yaml\n(# values\.yaml\n.*?)```", text, re.DOTALL)
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def golden(name: str) -> Path:
    """Return the file with the reviewed render of a set."""
    return HERE / "golden" / f"{name}.yaml"
