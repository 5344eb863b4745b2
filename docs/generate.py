"""Generate the published JSON schema of the evidence: `python docs/generate.py [--check]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fulcrum_pipelines.evidence import SCHEMA, Evidence

TARGET = Path(__file__).parent / "evidence.schema.json"


def evidence_schema() -> str:
    """Return the JSON schema of `evidence.json`."""
    schema = {"$id": SCHEMA, "title": "Fulcrum evidence", **Evidence.model_json_schema()}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where the file is stale")
    check = parser.parse_args().check
    if TARGET.exists() and TARGET.read_text() == evidence_schema():
        return 0
    print(f"{'stale, run make docs' if check else 'written'}: docs/{TARGET.name}")
    if not check:
        TARGET.write_text(evidence_schema())
    return int(check)


if __name__ == "__main__":
    sys.exit(main())
