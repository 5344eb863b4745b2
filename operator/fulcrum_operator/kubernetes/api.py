"""Our own calls of the API server.

A thin client of our own, because kopf already brings aiohttp, the official client is synchronous
or loads tens of megabytes of models for every kind there is, and because this is the only place
in which time-outs, retries, the leader's fence and metrics must be the same for every call. Watches
are kopf's.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_operator.kubernetes.errors import AlreadyExists, ApiError, Gone, NotFound, Unauthorized
from fulcrum_operator.kubernetes.fence import Fence
from fulcrum_operator.kubernetes.requests import Object, Request, collection, item
from fulcrum_operator.kubernetes.retries import DEFAULT_POLICY, CallPolicy, pause_s
from fulcrum_operator.kubernetes.transport import OnCall, Transport, ignore_call, open_transport
from fulcrum_operator.resources.names import Kind

PAGE = 100
"""Objects of a list at a time. kubectl takes 500, which is more than 10 MB of finished jobs, and
several times that when it is parsed; memory that was needed once is not given back."""

SELF_REVIEW = Kind("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", False)
ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False
)


@dataclass(frozen=True)
class Kube:
    """The calls.

    All of them raise `ApiError`, after the tries that the policy allows; writes raise `NotLeader`
    if there is a fence and it is closed.

    Attributes:
        transport: The connections.
        policy: Time-outs and retries.
        fence: Has to be open for every write; None lets all pass.
        on_retry: Called with the verb of a call that is about to be tried again.
    """

    transport: Transport
    policy: CallPolicy = DEFAULT_POLICY
    fence: Fence | None = None
    on_retry: Callable[[str], None] = lambda verb: None

    def behind(self, fence: Fence) -> Kube:
        """Return a client over the same connections whose writes pass `fence`."""
        return replace(self, fence=fence)

    def with_policy(self, policy: CallPolicy) -> Kube:
        """Return a client over the same connections with other time-outs."""
        return replace(self, policy=policy)

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        """Return one object."""
        return await self._call(item("get", kind, name, namespace))

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        label_selector: str = "",
        *,
        field_selector: str = "",
        page: int = PAGE,
    ) -> AsyncIterator[Object]:
        """Yield all objects of a kind, page by page, so that memory holds one page.

        If a list takes so long that its version is forgotten, it goes on with the current
        one, as the server offers: objects changed meanwhile may be missing or appear twice.

        Args:
            kind: Which.
            namespace: Where; empty means everywhere.
            label_selector: As `kubectl get -l` takes it.
            field_selector: As `kubectl get --field-selector` takes it.
            page: Objects per call.
        """
        given = {"labelSelector": label_selector, "fieldSelector": field_selector}
        query = {"limit": str(page)} | {name: value for name, value in given.items() if value}
        while True:
            answer = await self._page(collection("list", kind, namespace, query=query))
            for each in answer.get("items") or ():
                yield {"apiVersion": answer.get("apiVersion"), "kind": kind.kind, **each}
            if not (token := (answer.get("metadata") or {}).get("continue")):
                return
            query = {**query, "continue": token}

    async def create(self, kind: Kind, body: Object) -> Object:
        """Create an object and return it as the server has it.

        A try without an answer may have succeeded. The next one then ends with AlreadyExists, and
        if all that was sent is in the object that exists, it is ours and is returned. An object
        without a name (`generateName`) cannot be recognised and is tried only once.

        Raises:
            AlreadyExists: Another object has that name.
        """
        metadata = body["metadata"]
        namespace = metadata.get("namespace", "")
        request = collection("create", kind, namespace, body=body, writes=True)
        request = replace(request, target="/".join(filter(None, (namespace, metadata.get("name")))))
        if not (name := metadata.get("name")):
            return await self._call(request, retries=0)
        try:
            return await self._call(request)
        except AlreadyExists as error:
            if error.tries > 1 and holds(found := await self.get(kind, name, namespace), body):
                return found
            raise

    async def delete(
        self, kind: Kind, name: str, namespace: str = "", uid: str | None = None
    ) -> None:
        """Delete an object, and in the background what it owns.

        Raises:
            NotFound: It was not there before.
            Conflict: An object of that name has another uid.
        """
        options: Object = {"propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        request = item("delete", kind, name, namespace, body=options, writes=True)
        try:
            await self._call(request)
        except NotFound as error:
            if error.tries == 1:
                raise

    async def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        patch: Object,
        *,
        subresource: str = "",
        resource_version: str = "",
    ) -> Object:
        """Merge `patch` into an object (RFC 7386) and return it; None removes a field.

        Args:
            kind: Which.
            name: Which.
            namespace: Where; empty for kinds that are cluster-wide.
            patch: The changes.
            subresource: Such as `status`.
            resource_version: Compare and set: the version that the object must have.

        Raises:
            Conflict: It has another version. Where no answer came to an earlier try, that may be
                our own doing; either way, look again.
        """
        if resource_version:
            metadata = {**patch.get("metadata", {}), "resourceVersion": resource_version}
            patch = {**patch, "metadata": metadata}
        return await self._call(
            item("patch", kind, name, namespace, subresource, body=patch, writes=True)
        )

    async def server_version(self) -> str:
        """Return the server's version, such as `v1.37.2`."""
        return str((await self._call(Request("get", "version", "/version")))["gitVersion"])

    async def whoami(self) -> str:
        """Return the name that the server knows this account by."""
        answer = await self._review(SELF_REVIEW, {})
        return str(answer["status"]["userInfo"]["username"])

    async def can_i(self, verb: str, kind: Kind, name: str = "", namespace: str = "") -> bool:
        """Return whether this account may do `verb` (also a custom one) to an object."""
        asked = {"verb": verb, "group": kind.group, "resource": kind.plural}
        spec = {"resourceAttributes": {**asked, "name": name, "namespace": namespace}}
        return bool((await self._review(ACCESS_REVIEW, spec))["status"].get("allowed"))

    async def _review(self, kind: Kind, spec: Object) -> Object:
        """A question that has the form of a create; nothing is stored, so no fence is needed."""
        body = {"apiVersion": f"{kind.group}/{kind.version}", "kind": kind.kind, "spec": spec}
        return await self._call(collection("create", kind, "", body=body))

    async def _page(self, request: Request) -> Object:
        try:
            return await self._call(request)
        except Gone as error:
            if not error.continue_token:
                raise
            query = {**request.query, "continue": error.continue_token}
            return await self._call(replace(request, query=query))

    async def _call(self, request: Request, retries: int | None = None) -> Object:
        policy = self.policy if retries is None else replace(self.policy, retries=retries)
        identity = self.transport.identity
        grant = await identity.prepare()
        deadline_s = time.monotonic() + policy.deadline_s  # a person may have logged in before
        tries = 0
        renewed = False
        while True:
            try:
                return await self.transport.send(request, self._limit_s(request, deadline_s))
            except Unauthorized:
                if renewed or not await identity.renew(grant):
                    raise
                renewed = True
                deadline_s = time.monotonic() + policy.deadline_s
                continue
            except ApiError as error:
                tries += 1
                error.tries = tries
                wait_s = pause_s(policy, tries, error, random.random())
                if wait_s is None or time.monotonic() + wait_s >= deadline_s:
                    raise
            self.on_retry(request.verb)
            await asyncio.sleep(wait_s)

    def _limit_s(self, request: Request, deadline_s: float) -> float:
        """Asked before every try: a lease may end between two of them."""
        limit_s = min(self.policy.timeout_s, max(0.001, deadline_s - time.monotonic()))
        if request.writes and self.fence is not None:
            limit_s = min(limit_s, self.fence.check())
        return limit_s


@contextlib.asynccontextmanager
async def connect(
    credentials: Credentials,
    *,
    policy: CallPolicy = DEFAULT_POLICY,
    connections: int = 32,
    user_agent: str = "fulcrum",
    on_call: OnCall = ignore_call,
    on_retry: Callable[[str], None] = lambda verb: None,
) -> AsyncIterator[Kube]:
    """Open a client and close it in the end.

    Args:
        credentials: Where, and as whom.
        policy: Time-outs and retries.
        connections: Open at a time; further calls wait within their time-out.
        user_agent: Up to its first slash, the server keeps it as the manager of written fields.
        on_call: Called after every try.
        on_retry: Called with the verb of a call that is about to be tried again.

    Raises:
        UserError: The certificates among the credentials cannot be used, or the login failed.
    """
    async with open_transport(
        credentials, connections=connections, user_agent=user_agent, on_call=on_call
    ) as transport:
        yield Kube(transport, policy, on_retry=on_retry)


def holds(found: Any, sent: Any) -> bool:
    """Whether `found` has all that `sent` has; the server only adds defaults and metadata."""
    if isinstance(sent, dict) and isinstance(found, dict):
        return all(name in found and holds(found[name], value) for name, value in sent.items())
    if isinstance(sent, list) and isinstance(found, list):
        return len(sent) == len(found) and all(map(holds, found, sent))
    return bool(found == sent)
