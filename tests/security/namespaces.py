"""Name spaces and rights as a pod has them, for processes on the machine that runs the tests."""

from __future__ import annotations

import os
import shutil

import pytest

NAME_SPACES = ("unshare", "--pid", "--fork", "--mount-proc", "--net")
NO_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
AS_IN_A_POD = (*NAME_SPACES, *NO_RIGHTS)
"""Before a command: it is the first process, has no network, and none of root's rights."""

THE_NODES = frozenset(
    (
        "becoming root",
        "a user namespace",
        "writing modules",
        "writing the root",
        "secrets in files",
        "the runtime's socket",
    )
)
"""Attempts that are judged on a real node: here the user is root, who owns the machine's files."""

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv"))),
    reason="only root makes name spaces and drops rights, with unshare and setpriv",
)
