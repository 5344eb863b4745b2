"""Cuts what each image installs out of `constraints.txt`, entry by entry, hashes included.

An update of a linter must not rebuild an image, and an update of another package must not rebuild
the layer with CUDA. So each group of packages that becomes a layer has a separate file. Its lines
are copied from `constraints.txt` unchanged: nothing is resolved a second time.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
LOCKS = ROOT / "images" / "locks"
PROJECTS = {
    "operator": ("pipelines", "operator"),
    "components": ("pipelines", "components"),
}
EXTRAS = {"operator": ("s3",), "components": ("s3", "local")}
TOOLS = ("uv", "hatchling")
WITH_CUDA = re.compile(r"torch|nvidia-.*|cuda-.*")
"""Packages that a torch without CUDA replaces."""

LEFT_OUT = {"triton"}
"""It compiles kernels for `torch.compile` with the help of a C compiler, and an image has none: it
would be 1 GB that cannot run."""


def entries() -> dict[str, str]:
    """Return the text of each package in `constraints.txt`, all its versions, by name."""
    found: dict[str, str] = {}
    for entry in re.split(r"^(?=\S)", CONSTRAINTS.read_text(), flags=re.MULTILINE):
        if entry:
            name = entry.partition("==")[0]
            found[name] = found.get(name, "") + entry
    return found


def names(arguments: list[str], requirements: str = "") -> set[str]:
    """Return the packages that `uv pip compile` finds for `arguments`, without our own.

    Raises:
        SystemExit: It finds none; its words are printed.
    """
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "-c", str(CONSTRAINTS)]
    done = subprocess.run(
        [*command, *arguments], input=requirements, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{CONSTRAINTS.name} does not hold what an image needs: {done.stderr.strip()}")
    found = set(re.findall(r"^([a-z0-9._-]+)==", done.stdout, re.MULTILINE))
    return {name for name in found if not name.startswith("fulcrum-")}


def groups() -> Iterator[tuple[str, set[str]]]:
    """Yield each file's name and its packages."""
    yield "tools", names(["-"], "\n".join(TOOLS))
    for image, projects in PROJECTS.items():
        extras = [f"--extra={extra}" for extra in EXTRAS[image]]
        found = names([f"{project}/pyproject.toml" for project in projects] + extras)
        cuda = {name for name in found if WITH_CUDA.fullmatch(name)}
        if cuda:
            yield "cuda", cuda
        yield image, found - cuda - LEFT_OUT


def main() -> int:
    """Write the files, or with `--check` only say which are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if stale")
    check = parser.parse_args().check
    known, stale = entries(), []
    for group, packages in groups():
        path = LOCKS / f"{group}.txt"
        text = "".join(known[name] for name in sorted(packages))
        if not path.exists() or path.read_text() != text:
            stale.append(path)
            if not check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'stale' if check else 'written'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
