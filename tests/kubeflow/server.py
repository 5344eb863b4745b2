"""A server that stands in for Kubeflow Pipelines: the API over HTTP, and faults on demand.

It runs in a separate thread, so that clients may block. Runs do what `execute` says, or nothing;
if that ends with a `LauncherError`, the run fails and the stage's pod has the launcher's message.
It also serves its pods and Workflows as a Kubernetes API server would: they can be deleted, and
pods evicted.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml
from aiohttp import web

from fulcrum_operator.engines.kubeflow.pods import NODE_NAME
from kubeflow.launcher import LauncherError
from kubeflow.listing import RUN_KEYS, listed
from kubeflow.pods import REPEATS, Pod, drivers, executor, task_details
from kubeflow.world import (
    FINAL,
    Refused,
    StoredRun,
    World,
    pipeline_json,
    refused,
    upload_refused,
    version_json,
)

PREFIX = "/apis/v2beta1"
RECURRING = "9b5f1c0e-3a77-4e0f-9d63-0a4f0c1de5a1"
"""Id of the recurring run that the stand-in knows."""
NAMES = {"display_name": "display_name", "name": "name"}
Execute = Callable[[dict[str, Any]], str | None]
"""Does the work of a run with these parameters; returns its last state, or None to never end."""


@dataclass
class Fault:
    """A fault of calls.

    Attributes:
        call: Pattern of method and path, such as `POST /runs$`.
        kind: `refuse` answers `status` and does nothing; `act-then-refuse` does it first;
            `act-twice` also makes a second Workflow first; `act-then-hang` does it and gives no
            answer in time; `orphan` makes a Workflow, no run,
            and answers 500; `lose` closes the connection; `garbage` answers with a page.
        status: Of the answer.
        words: Of the answer.
        times: How often; then calls go well again.
    """

    call: str
    kind: Literal[
        "refuse", "act-then-refuse", "act-twice", "act-then-hang", "orphan", "lose", "garbage"
    ]
    status: int = 500
    words: str = "on purpose"
    times: int = 1


@dataclass
class Server:
    """The stand-in.

    Attributes:
        world: What it holds.
        execute: What runs do; None lets them stay as they are.
        faults: What is to go wrong.
        start_s: From PENDING to RUNNING.
        stop_s: From CANCELING to FAILED.
        overwrites_canceling: Whether a report of the Workflow comes between, so that the state of
            a stopped run is RUNNING again, and CANCELING never in its history: 2 of 8 times.
        hang_s: How long a call without an answer takes; longer than any client waits.
        token: The bearer token that calls must have; empty for none.
        pods: In the cluster beside those of runs; given by tests.
        nodes: Labels of the cluster's nodes; empty where there is one for every pod.
        forbidden: Plurals of kinds that may not be looked at.
        calls: All of them: method, path, and what the body named.
    """

    world: World = field(default_factory=World)
    execute: Execute | None = None
    faults: list[Fault] = field(default_factory=list)
    start_s: float = 0.01
    stop_s: float = 0.05
    overwrites_canceling: bool = False
    hang_s: float = 30.0
    token: str = ""
    pods: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, str]] = field(default_factory=list)
    forbidden: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    url: str = ""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(init=False)

    def count(self, call: str) -> int:
        """Return how many calls there were that match the pattern `call`."""
        return sum(re.search(call, each) is not None for each in self.calls)

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Serve at `url` until the end of the block."""
        loop = self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        runner = asyncio.run_coroutine_threadsafe(self._start(), loop).result(30)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._stop(runner), loop).result(30)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(30)
            loop.close()

    def recur(self, run_id: str, **parameters: Any) -> str:
        """Make the next run of a recurring run, made from another run; return its id.

        Kubeflow 2 gives each the very same parameters: it replaces no `[[ScheduledTime]]` in them.

        Args:
            run_id: Of the run whose pipeline and parameters it has.
            parameters: Its own parameters.
        """
        with self.world.lock:
            kept = ("experiment_id", "pipeline_version_reference", "service_account")
            before = self.world.runs[run_id].body
            given = {**before["runtime_config"]["parameters"], **parameters}
            made = self.world.create_run(
                {
                    **{name: before[name] for name in kept},
                    "display_name": f"nightly-{len(self.world.runs)}",
                    "runtime_config": {"parameters": given},
                    "recurring_run_id": RECURRING,
                }
            )
            run = self.world.runs[made["run_id"]]
        asyncio.run_coroutine_threadsafe(self._run(run), self._loop).result(30)
        return run.run_id

    async def _start(self) -> web.AppRunner:
        app = web.Application(client_max_size=32 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return runner

    async def _stop(self, runner: web.AppRunner) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await runner.cleanup()

    # --- one call

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if not request.path.startswith(PREFIX):
            return self._kubernetes(request)
        path = request.path.removeprefix(PREFIX)
        call = f"{request.method} {path}"
        self.calls.append(call)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _json(401, {"code": 16, "message": "Unauthenticated", "details": []})
        body = await _body_of(request)
        fault = self._fault(call)
        if fault is not None and fault.kind in ("refuse", "lose", "garbage", "orphan"):
            return await self._fail(fault, request, body)
        try:
            with self.world.lock:
                if fault is not None and fault.kind == "act-twice":
                    self.world.make_workflow(body["run_id"])
                status, answer = 200, self._answer(request, path, body)
        except Refused as error:
            status, answer = error.status, error.body
        if fault is not None and fault.kind == "act-then-hang":
            await asyncio.sleep(self.hang_s)
        if fault is not None and fault.kind in ("act-then-refuse", "act-twice"):
            status, answer = fault.status, _failed("after it was done")
        return _json(status, answer)

    def _fault(self, call: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.call, call):
                fault.times -= 1
                return fault
        return None

    async def _fail(self, fault: Fault, request: web.Request, body: Any) -> web.StreamResponse:
        if fault.kind == "lose":
            assert request.transport is not None
            request.transport.close()
        if fault.kind == "garbage":
            return web.Response(text="<html>Log in</html>", content_type="text/html")
        if fault.kind == "orphan":
            with self.world.lock:
                self.world.make_workflow(body["run_id"])
        return _json(fault.status, _failed(fault.words))

    def _answer(self, request: web.Request, path: str, body: Any) -> dict[str, Any]:
        kind, _, rest = path.strip("/").partition("/")
        query = request.query
        if request.method not in ("GET", "POST", "DELETE", "PATCH"):
            raise refused(501, 12, "Method Not Allowed")
        handlers = {
            "runs": self._on_runs,
            "pipelines": self._on_pipelines,
            "experiments": self._on_experiments,
        }
        if kind == "healthz":
            return {
                "commit_sha": "unknown",
                "tag_name": "unknown",
                "multi_user": self.world.multi_user,
                "pipeline_store": "database",
            }
        if kind not in handlers:
            raise Refused(404, {"code": 5, "message": "Not Found"})
        return handlers[kind](request.method, rest, dict(query), body)

    # --- resources

    def _on_runs(self, method: str, rest: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        world = self.world
        if not rest:
            return self._create(body) if method == "POST" else self._list_runs(query)
        if method == "GET":
            return {**world.run(rest).to_json(), **self._details(rest)}
        if method == "DELETE":
            return world.delete_run(rest)
        run_id, _, verb = rest.rpartition(":")
        if verb == "terminate":
            answer = world.terminate(run_id)
            self._later(self._cancel(world.runs[run_id]))
            return answer
        if verb == "retry":
            return world.retry(run_id)
        return world.archive(run_id, archived=verb == "archive")

    def _details(self, run_id: str) -> dict[str, Any]:
        workflow = self.world.workflow_of(run_id)
        if workflow is None or not workflow.pods:
            return {}
        return {"run_details": {"task_details": task_details(workflow.pods)}}

    def _create(self, body: Any) -> dict[str, Any]:
        check_run(body)
        answer = self.world.create_run(body)
        self._later(self._run(self.world.runs[answer["run_id"]]))
        return answer

    def _list_runs(self, query: dict[str, str]) -> dict[str, Any]:
        experiment, namespace = query.get("experiment_id", ""), query.get("namespace", "")
        if self.world.multi_user and not (experiment or namespace):
            raise refused(400, 3, "Failed to list runs: namespace is required in multi-user mode")
        if experiment and experiment not in self.world.experiments:
            text = f"ResourceNotFoundError: Experiment {experiment} not found"
            raise refused(404, 5, f"Failed to list runs: {text}")
        runs = [
            run.to_json()
            for run in self.world.runs.values()
            if (not experiment or run.body["experiment_id"] == experiment)
            and (not self.world.multi_user or experiment or run.namespace == namespace)
        ]
        return listed(runs, "runs", query, RUN_KEYS)

    def _on_pipelines(
        self, method: str, rest: str, query: dict[str, str], body: Any
    ) -> dict[str, Any]:
        world, namespace = self.world, query.get("namespace", "")
        head, _, tail = rest.partition("/")
        if head == "upload":
            parameters, tasks = uploaded(body)
            display = query.get("display_name", "")
            return world.upload_pipeline(query["name"], display, namespace, parameters, tasks)
        if head == "upload_version":
            return world.upload_version(query["pipelineid"], query["name"], *uploaded(body))
        if head == "names":
            return world.pipeline_named(tail, namespace)
        if not head:
            found = [each for each in world.pipelines.values() if each.namespace == namespace]
            return listed(map(pipeline_json, found), "pipelines", query, NAMES)
        if method == "DELETE":
            return world.delete_pipeline(head, cascade=query.get("cascade") == "true")
        if tail == "versions":
            versions = [each for each in world.versions.values() if each.pipeline_id == head]
            return listed(map(version_json, versions), "pipeline_versions", query, NAMES)
        return world.pipeline(head)

    def _on_experiments(
        self, method: str, rest: str, query: dict[str, str], body: Any
    ) -> dict[str, Any]:
        if method == "POST":
            return self.world.create_experiment(body)
        if method == "DELETE":
            self.world.experiments.pop(rest)
            return {}
        namespace = query.get("namespace", "")
        found = [
            each
            for each in self.world.experiments.values()
            if each.get("namespace", "") == namespace
        ]
        return listed(found, "experiments", query, NAMES)

    # --- what becomes of runs

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, run: StoredRun) -> None:
        if self.execute is None:
            return
        await asyncio.sleep(self.start_s)
        with self.world.lock:
            if run.state != "PENDING":
                return
            run.move("")
        await asyncio.sleep(self.start_s)
        with self.world.lock:
            if run.state != "":
                return
            run.move("RUNNING")
            if (workflow := self.world.workflow_of(run.run_id)) is not None:
                workflow.pods += drivers(run.run_id, workflow.name)
        await self._work(run)

    async def _work(self, run: StoredRun) -> None:
        """Do the work of a run in a pod; what it comes to counts unless that was deleted."""
        with self.world.lock:
            # The pipeline passes the id of Kubeflow's run to its tasks.
            parameters = {**self.world.executions[run.run_id], "execution": run.run_id}
            workflow = self.world.workflow_of(run.run_id)
            name, before = ("gone", []) if workflow is None else (workflow.name, workflow.pods)
            number = sum(each.role == "launcher" for each in before)
            pod = executor(run.run_id, name, number)
            before.append(pod)
            if not self._finds_a_node(parameters):
                pod.phase = "Pending"
                return
        assert self.execute is not None
        try:
            end = await asyncio.to_thread(self.execute, parameters)
        except LauncherError as error:
            self.pods.append(failed_pod(run.run_id, error))
            end = "FAILED"
        with self.world.lock:
            if end is not None and run.state == "RUNNING" and not pod.gone:
                pod.phase = "Succeeded" if end == "SUCCEEDED" else "Failed"
                run.move(end)

    def _finds_a_node(self, parameters: dict[str, Any]) -> bool:
        wanted = (parameters.get("node_selector") or {}).items()
        return not self.nodes or any(wanted <= node.items() for node in self.nodes)

    def _lose(self, pod: Pod) -> None:
        """A pod was deleted: the DAG around it starts another one, as often as it may."""
        pod.gone = True
        run = self.world.runs.get(pod.run_id)
        workflow = self.world.workflow_of(pod.run_id)
        if run is None or workflow is None or run.state != "RUNNING" or pod.role != "launcher":
            return
        if sum(each.gone for each in workflow.pods) > REPEATS:
            run.move("FAILED")
        else:
            self._later(self._work(run))

    async def _cancel(self, run: StoredRun) -> None:
        if self.execute is None:
            return
        if self.overwrites_canceling:
            with self.world.lock:
                run.state = run.history[-1]
        await asyncio.sleep(self.stop_s)
        with self.world.lock:
            if run.state in FINAL:
                return
            if not self.overwrites_canceling:
                run.move("CANCELING")
            run.move("FAILED")
            workflow = self.world.workflow_of(run.run_id)
            for pod in () if workflow is None else workflow.pods:
                if pod.phase in ("Pending", "Running"):
                    pod.phase = "Failed"

    # --- the cluster

    def _kubernetes(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        plural = next((each for each in ("workflows", "pods") if each in parts), "")
        if not plural:
            return _json(404, {"kind": "Status", "reason": "NotFound", "message": "not found"})
        if plural in self.forbidden:
            body = {"kind": "Status", "reason": "Forbidden", "message": f"{plural} is forbidden"}
            return _json(403, body)
        with self.world.lock:
            if request.method in ("DELETE", "POST"):  # only evictions are posted
                return self._remove(plural, parts[parts.index(plural) + 1])
            run_id = request.query["labelSelector"].partition("=")[2]
            items = self._pods() if plural == "pods" else map(_workflow, self.world.workflows)
            of_it = [i for i in items if i["metadata"]["labels"]["pipeline/runid"] == run_id]
        return _json(200, {"apiVersion": "v1", "items": of_it, "metadata": {}})

    def _pods(self) -> list[dict[str, Any]]:
        return [
            *(p.to_json() for w in self.world.workflows for p in w.pods if not p.gone),
            *self.pods,
        ]

    def _remove(self, plural: str, name: str) -> web.StreamResponse:
        """Delete a pod, or a Workflow, whose pods go with it."""
        if plural == "workflows":
            self.world.workflows = [each for each in self.world.workflows if each.name != name]
            return _json(200, {"kind": "Status", "status": "Success"})
        found = [p for w in self.world.workflows for p in w.pods if p.name == name and not p.gone]
        if not found:
            message = f'pods "{name}" not found'
            return _json(404, {"kind": "Status", "reason": "NotFound", "message": message})
        self._lose(found[0])
        return _json(200, {"kind": "Status", "status": "Success"})


def check_run(body: Any) -> None:
    """Refuse what does not parse as a run, as the gateway does before anything is looked at."""
    if not isinstance(body, dict):
        raise refused(400, 3, "unexpected EOF")
    known = {
        "run_id",
        "display_name",
        "description",
        "experiment_id",
        "pipeline_version_reference",
        "pipeline_spec",
        "runtime_config",
        "service_account",
    }
    if unknown := sorted(set(body) - known):
        raise refused(400, 3, f'proto: unknown field "{unknown[0]}"')
    if not isinstance(body.get("display_name", ""), str):
        raise refused(400, 3, "proto: invalid value for string field displayName")
    if "pipeline_spec" in body and "pipeline_version_reference" in body:
        raise refused(400, 3, "proto: oneof pipeline_source is already set")
    parameters = (body.get("runtime_config") or {}).get("parameters", {})
    if not isinstance(parameters, dict):
        raise refused(400, 3, "proto: syntax error: unexpected token [")


def uploaded(text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the parameters of an uploaded pipeline, and the names of its tasks.

    Parameters are types by name, with `!` behind the type of one that is required.
    """
    try:
        first = next(iter(yaml.load_all(text, Loader=yaml.CSafeLoader)))
    except yaml.YAMLError as error:
        raise upload_refused(400, "failed to parse pipeline spec YAML") from error
    if not isinstance(first, dict) or "pipelineInfo" not in first:
        raise upload_refused(400, "unknown template format")
    kinds = {
        "STRING": "str",
        "NUMBER_INTEGER": "int",
        "BOOLEAN": "bool",
        "STRUCT": "dict",
        "LIST": "list",
    }
    given = first["root"].get("inputDefinitions", {}).get("parameters", {})
    parameters = {
        name: kinds[each["parameterType"]]
        + ("" if each.get("isOptional") or "defaultValue" in each else "!")
        for name, each in given.items()
    }
    return parameters, tuple(first["root"]["dag"]["tasks"])


async def _body_of(request: web.Request) -> Any:
    if request.content_type == "multipart/form-data":
        return (await request.post())["uploadfile"].file.read().decode()  # type: ignore[union-attr]
    text = await request.text()
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return None


def _workflow(workflow: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": workflow.name,
            "uid": workflow.uid,
            "labels": {"pipeline/runid": workflow.run_id},
            "creationTimestamp": workflow.created_at,
        },
        "spec": workflow.spec,
    }


def failed_pod(run_id: str, error: LauncherError) -> dict[str, Any]:
    """Return the pod of a stage whose launcher failed."""
    ended = {"reason": "Error", "exitCode": 1, "message": error.words}
    return {
        "metadata": {
            "name": f"fulcrum-x-{error.task}-1",
            "labels": {"pipeline/runid": run_id},
            "annotations": {NODE_NAME: f"fulcrum-x(0).root(0).{error.task}(0).executor(0)"},
        },
        "status": {
            "phase": "Failed",
            "containerStatuses": [{"name": "main", "state": {"terminated": ended}}],
        },
    }


def _failed(text: str) -> dict[str, Any]:
    return {"code": 13, "message": f"InternalServerError: {text}", "details": []}


def _json(status: int, body: dict[str, Any]) -> web.Response:
    return web.json_response(body, status=status)
