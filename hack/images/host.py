"""This machine's settings of package indexes as build secrets, which are in no layer."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

INDEX_VARIABLES = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_INSECURE_HOST",
    "UV_HTTP_TIMEOUT",
)
CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")


def secrets(folder: Path, environment: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Return the secrets `index` and `ca` of the Containerfiles, as far as there are any."""
    found = {}
    variables = index_variables(environment)
    if variables:
        found["index"] = folder / "index"
        found["index"].touch(mode=0o600)
        lines = (f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
        found["index"].write_text("".join(lines))
    authorities = [environment[name] for name in CA_VARIABLES if environment.get(name)]
    if authorities and Path(authorities[0]).is_file():
        found["ca"] = Path(authorities[0])
    return found


def index_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that pip and uv need, from the environment and pip's own files.

    uv does not read pip's files, so it gets the index that they name as a variable.
    """
    configured = _pip_configuration()
    found = {name: environment[name] for name in INDEX_VARIABLES if environment.get(name)}
    if "index-url" in configured:
        found.setdefault("PIP_INDEX_URL", configured["index-url"])
    if "PIP_INDEX_URL" in found and "UV_INDEX_URL" not in found:
        found.setdefault("UV_DEFAULT_INDEX", found["PIP_INDEX_URL"])
    return found


def addresses(environment: Mapping[str, str] = os.environ) -> set[str]:
    """Return the hosts of the indexes that are configured here: what must be in no image."""
    return {
        host
        for value in index_variables(environment).values()
        for host in re.findall(r"://(?:[^@/\s]*@)?([^:/\s]+)", value)
    }


def _pip_configuration() -> dict[str, str]:
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return dict(re.findall(r"^(?:global|install)\.([a-z-]+)='(.*)'$", done.stdout, re.MULTILINE))
