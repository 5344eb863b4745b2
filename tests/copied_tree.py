"""A copy of the packages and schemas, to which a test adds what CONTRIBUTING.md says how to add."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ADDITIONS = ROOT / "tests" / "additions"
PACKAGES = ("pipelines", "operator", "components")
RUN = """
import json, sys
from pathlib import Path
from one_process import fulcrum_run, write_job
for spec in sys.argv[2:]:
    ended = fulcrum_run(write_job(Path(sys.argv[1]), **json.loads(spec)))
    print(json.dumps({"said": ended.said, **ended.result}))
"""


def copy_tree(directory: Path) -> Path:
    """Copy the packages and schemas into `directory`, and return it."""
    for folder in (*PACKAGES, "crds"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, directory / folder, ignore=ignored)
    return directory


def insert(path: Path, before: str, text: str) -> None:
    """Write `text` in front of `before`, which stands in the file once."""
    source = path.read_text()
    assert source.count(before) == 1, (path, before)
    path.write_text(source.replace(before, text + before))


def generate_schema(tree: Path) -> None:
    """Generate what follows from the catalogue and the schema in `tree`, as `make crds` does."""
    _python(tree, tree / "crds" / "generate_types.py")


def run_jobs(tree: Path, directory: Path, *specs: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a job of each specification beside the files in `directory`, by the code in `tree`.

    Returns:
        Of each what `--output json` prints, and what was printed besides as `said`.
    """
    printed = _python(tree, "-c", RUN, directory, *map(json.dumps, specs))
    return [json.loads(line) for line in printed.splitlines()[-len(specs) :]]


def _python(tree: Path, *arguments: str | Path) -> str:
    """Run Python on the packages in `tree`, and return what it printed."""
    paths = [*(str(tree / package) for package in PACKAGES), str(ROOT / "tests")]
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
