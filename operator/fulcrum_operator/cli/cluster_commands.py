"""Shared parts of the cluster commands: options, the connection, requests, refusals.

They do nothing that a user could not do with kubectl: the API server decides who may, the operator
decides what moves, and both say so in the user's words.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from fulcrum_operator.cli.saying import say

if TYPE_CHECKING:
    from fulcrum_operator.kubernetes.api import Kube
    from fulcrum_operator.resources.names import Kind

T = TypeVar("T")

NamespaceOption = Annotated[
    str,
    typer.Option(
        "--namespace", "-n", help="Namespace; by default that of the kubeconfig's context."
    ),
]
KubeconfigOption = Annotated[
    Path | None,
    typer.Option(
        help="Kubeconfig file; by default those in KUBECONFIG, as for kubectl.", show_default=False
    ),
]
ReasonOption = Annotated[str, typer.Option(help="Reason, for the channel's history.")]
ApproveOption = Annotated[
    bool, typer.Option("--approve", help="Also approve it; needs the verb approve on the channel.")
]
WaitOption = Annotated[
    float, typer.Option(min=0, help="Seconds to wait for the operator's decision; 0 for none.")
]
DEFAULT_WAIT_S = 30.0
POLL_S = 0.3
NAME_LIMIT = 63


@dataclass(frozen=True)
class Desk:
    """The context of a command: a cluster, a user and a namespace."""

    kube: Kube
    namespace: str

    async def get(self, kind: Kind, name: str) -> dict[str, Any]:
        """Return one object.

        Raises:
            CommandError: No object has that name.
        """
        from fulcrum_operator.cli.refusals import CommandError
        from fulcrum_operator.kubernetes.errors import NotFound

        try:
            return await self.kube.get(kind, name, self.namespace)
        except NotFound as error:
            message = f"there is no {kind.kind} {name} in namespace {self.namespace}"
            raise CommandError(message) from error

    async def request(
        self, base: str, spec: dict[str, Any], *, reason: str, approve: bool
    ) -> dict[str, Any]:
        """Create a ModelPromotion in the name of this user, and return it.

        Args:
            base: What its name begins with.
            spec: What is asked for.
            reason: Why.
            approve: Whether the same user approves it at once.
        """
        import secrets

        from fulcrum_operator.resources.names import MODEL_PROMOTION

        user = await self.kube.whoami()
        suffix = secrets.token_hex(3)
        metadata = {
            "name": f"{base[: NAME_LIMIT - len(suffix) - 1].rstrip('-.')}-{suffix}",
            "namespace": self.namespace,
        }
        body: dict[str, Any] = {
            "apiVersion": MODEL_PROMOTION.api_version,
            "kind": MODEL_PROMOTION.kind,
            "metadata": metadata,
            "spec": {**spec, "requestedBy": user},
        }
        if reason:
            body["spec"]["reason"] = reason
        if approve:
            body["spec"]["approval"] = approval(user, reason)
        return await self.kube.create(MODEL_PROMOTION, body)

    async def report(self, name: str, wait_s: float, *, past_approval: bool = False) -> None:
        """Say what the operator made of a promotion.

        Args:
            name: Which.
            wait_s: How long to wait for that.
            past_approval: It has just been approved, so that it waits for approval is old.

        Raises:
            CommandError: It was refused, or nothing was decided in time.
        """
        import asyncio
        import time

        from fulcrum_operator.cli.refusals import CommandError
        from fulcrum_operator.resources.names import MODEL_PROMOTION

        rests = {"Promoted", "Refused"} | (set() if past_approval else {"AwaitingApproval"})
        until_s = time.monotonic() + wait_s
        while wait_s:
            status = (await self.get(MODEL_PROMOTION, name)).get("status") or {}
            phase, message = status.get("phase"), status.get("message", "")
            if phase == "Refused":
                raise CommandError(f"refused ({status.get('reason')}): {message}", where=name)
            if phase in rests:
                say(f"{name}: {phase}: {message}")
                return
            if time.monotonic() > until_s:
                said = message or "the operator has not said anything; is it running?"
                raise CommandError(f"not decided in {wait_s:g} s: {said}", where=name)
            await asyncio.sleep(POLL_S)


def work_on(kubeconfig: Path | None, namespace: str, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Return what `work` returns at a desk; refusals become one line.

    Raises:
        CommandError: The API server refused what was asked.
    """
    import asyncio

    from fulcrum_operator.cli.refusals import CommandError, explain
    from fulcrum_operator.kubernetes.api import connect
    from fulcrum_operator.kubernetes.errors import Forbidden, Invalid, Unauthorized
    from fulcrum_operator.kubernetes.finding import load_credentials

    credentials = load_credentials(kubeconfig)

    async def go() -> T:
        async with connect(credentials, user_agent="fulcrum") as kube:
            return await work(Desk(kube, namespace or credentials.namespace))

    try:
        return asyncio.run(go())
    except (Forbidden, Invalid) as error:
        raise explain(error) from error
    except Unauthorized as error:
        message = f"{credentials.server} does not accept these credentials; log in again"
        raise CommandError(message, where=credentials.origin) from error


def approval(user: str, comment: str) -> dict[str, str]:
    """Return the consent of `user` as it stands in a ModelPromotion."""
    return {"by": user, **({"comment": comment} if comment else {})}
