"""Keep what a process knows from the users' code that runs beside it under the same user.

A pod has one user, so file modes keep nothing apart: `/proc/<pid>/environ` of a parent gives a
store's credentials away to any child. Linux closes that door, and `ptrace` with it, for a process
that says that it must not be dumped. Children that lose their parent come to us, so that none
outlives its stage and waits for the next one to start.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
from collections.abc import Iterator, Mapping

PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36

SECRET = re.compile(
    r"^(AWS|FSSPEC|GOOGLE|GCS|GCLOUD|CLOUDSDK|AZURE|KUBERNETES|KUBECONFIG|KFP|HF)(_|$)"
    r"|(SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY)",
    re.IGNORECASE,
)
"""Variables of clouds and clusters, and all that have names of secrets."""

UNTOUCHABLE = {"HOME": "/nonexistent", "PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1"}
"""Environment of what holds credentials where several stages run one after the other: it must read
nothing that a model's code may have put into a former stage's home or working directory, such as
modules, start-up files and settings of clouds."""


def hide_process() -> None:
    """Let no other process of the same user read this one's memory and environment, or trace it.

    It lasts until the next `exec`. A process with CAP_SYS_PTRACE, as root's have, still may.
    """
    _prctl(PR_SET_DUMPABLE, 0)


@contextlib.contextmanager
def adopting_orphans() -> Iterator[None]:
    """Let descendants whose parent ends become our children, instead of the first process's."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        _prctl(PR_SET_CHILD_SUBREAPER, 0)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without what users' code has no business with."""
    return {name: value for name, value in environment.items() if not SECRET.search(name)}


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return  # engines that keep users apart run in pods
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        message = f"prctl({option}, {value}) failed with errno {ctypes.get_errno()}"
        raise OSError(message)
