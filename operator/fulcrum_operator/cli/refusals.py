"""Turn refusals of the API server into one line that names the missing right."""

from __future__ import annotations

import re

from fulcrum_operator.kubernetes.errors import ApiError
from fulcrum_pipelines.errors import FailureClass, FulcrumError

BY_POLICY = re.compile(r"denied request: (?P<why>.*)")
BY_ROLE = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)"'
    r'(?: in API group "[^"]*")?(?: in the namespace "(?P<namespace>[^"]*)")?'
)
CODE = re.compile(r"^\d+ \w+: ")


class CommandError(FulcrumError):
    """A valid request that could not be carried out."""

    failure_class: FailureClass = "infrastructure"


def explain(error: ApiError) -> CommandError:
    """Return `error` as a user should read it."""
    if found := BY_POLICY.search(error.message):
        return CommandError(found["why"])
    if found := BY_ROLE.search(error.message):
        where = f" in namespace {found['namespace']}" if found["namespace"] else ""
        needs = f"the verb {found['verb']} on {found['resource']}{where}"
        return CommandError(f"user {found['user']} needs {needs}")
    return CommandError(CODE.sub("", error.message), where=error.where)
