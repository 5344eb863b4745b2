"""Generate what the chart takes from elsewhere: `python charts/generate.py [--check]`.

Helm packages nothing from outside a chart's folder, so schemas, roles, policies and alerts are
copied into it as they are, and its templates read the copies. The schema of the values takes the
operator's settings from the code, and docs/install.md takes its table from that schema.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from install_page import install_page
from values_schema import values_schema

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "fulcrum"
COPIES = {
    "files/rbac.yaml": "operator/deploy/rbac.yaml",
    "files/admission.yaml": "operator/deploy/admission.yaml",
    "files/rules.yaml": "docs/prometheus/rules.yaml",
}


def generated() -> Iterator[tuple[Path, str]]:
    """Yield path and text of every generated file."""
    for name, source in COPIES.items():
        yield CHART / name, (ROOT / source).read_text()
    for crd in sorted((ROOT / "crds").glob("*.yaml")):
        yield CHART / "files" / "crds" / crd.name, crd.read_text()
    schema = values_schema()
    yield CHART / "values.schema.json", json.dumps(schema, indent=1) + "\n"
    yield ROOT / "docs" / "install.md", install_page(schema)


def main() -> int:
    """Write what is stale, or only name it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a file is stale")
    check = parser.parse_args().check
    stale = 0
    for path, text in generated():
        if path.exists() and path.read_text() == text:
            continue
        stale += 1
        print(f"{'stale, run make charts' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
