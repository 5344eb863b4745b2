"""The stand-in's state: the objects of a Kubeflow Pipelines server, and their changes.

Every refusal has the status, the code and the words of the real server's (`contract.jsonl`).
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from kubeflow.pods import Pod

FINAL = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
TRANSITIONS = {
    "PENDING": ("", "RUNNING", "CANCELING", "FAILED"),
    "": ("RUNNING", "CANCELING", "FAILED"),  # which is left out of answers
    "RUNNING": ("SUCCEEDED", "FAILED", "CANCELING", "PAUSED", "SKIPPED"),
    "CANCELING": ("FAILED",),
    "PAUSED": ("RUNNING",),
    "FAILED": ("RUNNING",),  # a retry
}
NEVER = "1970-01-01T00:00:00Z"
NAME_LIMIT = 255


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault of the stand-in
    """An answer that is no success."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.status = status
        self.body = body
        super().__init__(f"{status} {body}")


def refused(status: int, code: int, message: str) -> Refused:
    """Return a refusal as gRPC's gateway spells it."""
    return Refused(status, {"code": code, "message": message, "details": []})


def upload_refused(status: int, message: str) -> Refused:
    """Return a refusal of an upload, which has another form."""
    return Refused(status, {"error_message": message, "error_details": "a stack trace"})


@dataclass
class Version:
    """A pipeline's version.

    Attributes:
        parameters: Types by name; one that ends in `!` has no default.
        tasks: Of the uploaded pipeline.
    """

    pipeline_id: str
    version_id: str
    name: str
    display_name: str
    parameters: dict[str, str]
    created_at: str
    tasks: tuple[str, ...] = ()


@dataclass
class Pipeline:
    """A pipeline."""

    pipeline_id: str
    name: str
    display_name: str
    namespace: str
    created_at: str


@dataclass
class StoredRun:
    """A run; `state` is ahead of `history`, as the real server's is while a run is stopped."""

    run_id: str
    body: dict[str, Any]
    state: str = "PENDING"
    history: list[str] = field(default_factory=lambda: ["PENDING"])
    archived: bool = False
    finished_at: str = NEVER
    namespace: str = ""

    def move(self, state: str) -> None:
        """Let it go on to `state`, as the real server would."""
        if state == self.history[-1]:
            return
        assert state in TRANSITIONS[self.history[-1]], f"{self.history[-1]} to {state}"
        self.history.append(state)
        self.state = state
        self.finished_at = stamp() if state in FINAL else NEVER

    def to_json(self) -> dict[str, Any]:
        """Return it as the API does."""
        return {
            **self.body,
            "storage_state": "ARCHIVED" if self.archived else "AVAILABLE",
            "finished_at": self.finished_at,
            **_state(self.state),
            "state_history": [{"update_time": stamp(), **_state(each)} for each in self.history],
        }


def _state(state: str) -> dict[str, str]:
    return {"state": state} if state else {}


@dataclass
class Workflow:
    """The Workflow behind a run; the API neither shows nor deletes one that belongs to no run.

    Attributes:
        spec: Which has `activeDeadlineSeconds: 0` once the run was stopped.
        pods: Of the run, in the order of their start, including deleted ones.
    """

    name: str
    run_id: str
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: str = ""
    spec: dict[str, Any] = field(default_factory=dict)
    pods: list[Pod] = field(default_factory=list)


def stamp() -> str:
    """Return the moment."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class World:
    """All of it; every method is called with `lock` held.

    Attributes:
        executions: In ML Metadata: the parameters of the first run with an id, which pods get. They
            outlive the run, so that a second run with the id of a deleted one runs with them.
    """

    multi_user: bool = False
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    versions: dict[str, Version] = field(default_factory=dict)
    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, StoredRun] = field(default_factory=dict)
    workflows: list[Workflow] = field(default_factory=list)
    executions: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _made: int = 0

    def __post_init__(self) -> None:
        """Create the default experiment, which every installation has."""
        self.default_experiment = self.create_experiment({"display_name": "Default"})[
            "experiment_id"
        ]

    # --- pipelines

    def upload_pipeline(
        self,
        name: str,
        display_name: str,
        namespace: str,
        parameters: dict[str, str],
        tasks: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Make a pipeline and its first version, which bears its name."""
        if any(
            (each.name, each.namespace) == (name, namespace) for each in self.pipelines.values()
        ):
            raise upload_refused(409, "Failed to create a pipeline and a pipeline version")
        pipeline = Pipeline(str(uuid.uuid4()), name, display_name or name, namespace, stamp())
        self.pipelines[pipeline.pipeline_id] = pipeline
        self._add_version(pipeline.pipeline_id, name, pipeline.display_name, parameters, tasks)
        return pipeline_json(pipeline)

    def upload_version(
        self,
        pipeline_id: str,
        name: str,
        parameters: dict[str, str],
        tasks: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Make another version."""
        taken = any(
            (each.pipeline_id, each.name) == (pipeline_id, name) for each in self.versions.values()
        )
        if taken or pipeline_id not in self.pipelines:
            raise upload_refused(409 if taken else 400, "Failed to create a pipeline version")
        return version_json(self._add_version(pipeline_id, name, name, parameters, tasks))

    def _add_version(
        self,
        pipeline_id: str,
        name: str,
        display_name: str,
        parameters: dict[str, str],
        tasks: tuple[str, ...],
    ) -> Version:
        version_id = str(uuid.uuid4())
        version = Version(pipeline_id, version_id, name, display_name, parameters, stamp(), tasks)
        self.versions[version.version_id] = version
        return version

    def pipeline(self, pipeline_id: str) -> dict[str, Any]:
        """Return a pipeline."""
        if pipeline_id not in self.pipelines:
            raise missing(f"Failed to get a pipeline {pipeline_id}", f"Pipeline {pipeline_id}")
        return pipeline_json(self.pipelines[pipeline_id])

    def pipeline_named(self, name: str, namespace: str) -> dict[str, Any]:
        """Return the pipeline of that name."""
        for each in self.pipelines.values():
            if (each.name, each.namespace) == (name, namespace):
                return pipeline_json(each)
        what = f"Namespace/Pipeline {namespace}/{name}"
        raise missing(f"Failed to get a pipeline with name {name}", what)

    def delete_pipeline(self, pipeline_id: str, *, cascade: bool) -> dict[str, Any]:
        """Delete a pipeline with its versions; its runs stay."""
        of_it = [each for each in self.versions.values() if each.pipeline_id == pipeline_id]
        if of_it and not cascade:
            raise refused(400, 3, "Failed to delete a pipeline: it has versions")
        for version in of_it:
            del self.versions[version.version_id]
        self.pipelines.pop(pipeline_id, None)
        return {}

    # --- experiments

    def create_experiment(self, body: dict[str, Any]) -> dict[str, Any]:
        """Make an experiment; its name is unique in its namespace."""
        name, namespace = body["display_name"], body.get("namespace", "")
        for each in self.experiments.values():
            if (each["display_name"], each.get("namespace", "")) == (name, namespace):
                text = f"Already exist error: The name {name} already exists"
                raise refused(409, 6, f"Failed to create a experiment: {text}")
        made = {
            "experiment_id": str(uuid.uuid4()),
            **body,
            "created_at": stamp(),
            "storage_state": "AVAILABLE",
            "last_run_created_at": NEVER,
        }
        self.experiments[made["experiment_id"]] = made
        return made

    # --- runs

    def create_run(self, body: dict[str, Any]) -> dict[str, Any]:
        """Make a run and its Workflow; the Workflow comes first, and stays if the rest fails."""
        name = body.get("display_name", "")
        if not name:
            raise refused(500, 13, "Invalid input error: Run name cannot be empty")
        namespace = self._namespace_of(body)
        version = self._version_of(body)
        run_id = body.get("run_id") or str(uuid.uuid4())
        if version is not None:
            check_parameters(version, (body.get("runtime_config") or {}).get("parameters") or {})
        self.make_workflow(run_id, version)
        self._store(run_id, name)
        reference = {} if version is None else {"pipeline_version_reference": reference_to(version)}
        made = {
            "experiment_id": body.get("experiment_id") or self.default_experiment,
            "run_id": run_id,
            **{key: value for key, value in body.items() if key not in ("run_id",)},
            **reference,
            "service_account": body.get("service_account") or "pipeline-runner",
            "created_at": stamp(),
            "scheduled_at": stamp(),
        }
        made.setdefault("experiment_id", self.default_experiment)
        parameters = (body.get("runtime_config") or {}).get("parameters") or {}
        self.executions.setdefault(run_id, parameters)
        self.runs[run_id] = StoredRun(run_id, made, namespace=namespace)
        return self.runs[run_id].to_json()

    def make_workflow(self, run_id: str, version: Version | None = None) -> Workflow:
        """Make a Workflow for a run, whether or not there is such a run."""
        pipeline = self.pipelines.get(version.pipeline_id) if version is not None else None
        self._made += 1
        born = datetime(2026, 11, 25, tzinfo=UTC) + timedelta(seconds=self._made)
        made = Workflow(f"{pipeline.name if pipeline else 'inline'}-{self._made:05d}", run_id)
        made.created_at = born.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.workflows.append(made)
        return made

    def _namespace_of(self, body: dict[str, Any]) -> str:
        experiment = body.get("experiment_id") or self.default_experiment
        if experiment not in self.experiments:
            where = f"Failed to fetch namespace for experiment {experiment}"
            raise missing(f"Failed to create a new run: {where}", f"Experiment {experiment}")
        return str(self.experiments[experiment].get("namespace", ""))

    def _version_of(self, body: dict[str, Any]) -> Version | None:
        """Return the version that a run is made from; None if it contains its own pipeline."""
        if "pipeline_spec" in body:
            return None
        failed = "InternalServerError: Failed to create a run due to error fetching manifest"
        reference = body.get("pipeline_version_reference")
        if reference is None:
            why = "Invalid input error: Failed to fetch a template with an empty pipeline spec"
            raise refused(500, 13, f"{failed}: {why} manifest")
        pipeline_id, version_id = reference["pipeline_id"], reference.get("pipeline_version_id")
        if version_id is None:
            of_it = [each for each in self.versions.values() if each.pipeline_id == pipeline_id]
            if not of_it:
                raise refused(500, 13, f"{failed}: ResourceNotFoundError: Pipeline {pipeline_id}")
            return of_it[-1]
        version = self.versions.get(version_id)
        if version is None:
            what = f"PipelineVersion {version_id} not found"
            raise refused(500, 13, f"{failed}: ResourceNotFoundError: {what}")
        if version.pipeline_id != pipeline_id:
            why = f"Pipeline version {version_id} belongs to pipeline {version.pipeline_id}"
            raise refused(500, 13, f"{failed}: Invalid input error: {why} (not {pipeline_id})")
        return version

    def _store(self, run_id: str, name: str) -> None:
        failed = f"InternalServerError: Failed to store run {name} to table"
        if run_id in self.runs:
            what = f"Error 1062 (23000): Duplicate entry '{run_id}' for key 'PRIMARY'"
            raise refused(500, 13, f"Failed to create a run: {failed}: {what}")
        if len(name) > NAME_LIMIT:
            what = "Error 1406 (22001): Data too long for column 'DisplayName' at row 1"
            raise refused(500, 13, f"Failed to create a run: {failed}: {what}")
        if any(ord(character) > 0xFF for character in name):
            what = "Error 1366 (22007): Incorrect string value"
            raise refused(500, 13, f"Failed to create a run: {failed}: {what}")

    def run(self, run_id: str, doing: str = "Failed to get a run") -> StoredRun:
        """Return a run."""
        if run_id not in self.runs:
            raise missing(f"{doing}: Failed to fetch run {run_id}", f"Run {run_id}")
        return self.runs[run_id]

    def workflow_of(self, run_id: str) -> Workflow | None:
        """Return the Workflow that the server knows a run by: its first."""
        return next((each for each in self.workflows if each.run_id == run_id), None)

    def terminate(self, run_id: str) -> dict[str, Any]:
        """Ask a run to stop; the database changes before the Workflow."""
        run = self.run(run_id, "Failed to terminate a run")
        if run.state not in ("", "PENDING", "RUNNING"):
            text = f"Failed to terminate a run {run_id}. Row not found"
            raise refused(400, 3, f"Failed to terminate a run: Invalid input error: {text}")
        run.state = "CANCELING"
        workflow = self.workflow_of(run_id)
        if workflow is None:
            what = 'workflows.argoproj.io "gone" not found'
            text = f"Failed to terminate run {run_id} due to error terminating its workflow: {what}"
            raise refused(500, 13, f"Failed to terminate a run: InternalServerError: {text}")
        workflow.spec["activeDeadlineSeconds"] = 0
        return {}

    def retry(self, run_id: str) -> dict[str, Any]:
        """Let a failed run go on from where it failed."""
        run = self.run(run_id, "Failed to retry a run")
        if run.state != "FAILED":
            text = "BadRequestError: Workflow must be Failed/Error to retry"
            if run.history == ["PENDING"]:
                text = (
                    "BadRequestError: Failed to retry run due to error fetching workflow manifest"
                )
            raise refused(409, 10, f"Failed to retry a run: {text}")
        run.move("RUNNING")
        return {}

    def archive(self, run_id: str, *, archived: bool) -> dict[str, Any]:
        """Put a run away, or take it back; it goes on all the same."""
        self.run(run_id, "Failed to archive a run").archived = archived
        return {}

    def delete_run(self, run_id: str) -> dict[str, Any]:
        """Delete a run with its Workflow; a stray stays."""
        self.run(run_id, "Failed to delete a run")
        if (workflow := self.workflow_of(run_id)) is not None:
            self.workflows.remove(workflow)
        del self.runs[run_id]
        return {}


def missing(doing: str, what: str) -> Refused:
    """Return the refusal of what is not there."""
    return refused(404, 5, f"{doing}: ResourceNotFoundError: {what} not found")


def check_parameters(version: Version, given: dict[str, Any]) -> None:
    """Refuse what does not fit a pipeline's parameters, as the server does before a run."""
    failed = (
        "Failed to generate the ExecutionSpec: invalid pipeline job inputs: Invalid input error"
    )
    if unknown := sorted(set(given) - set(version.parameters)):
        what = f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}"
        raise refused(400, 3, f"{failed}: {what}")
    for name, kind in version.parameters.items():
        if name not in given:
            if kind.endswith("!"):
                what = f"parameter {name} is not optional, yet has neither default value nor"
                raise refused(400, 3, f"{failed}: {what} user provided value")
            continue
        value, wanted = given[name], kind.rstrip("!")
        fits = {
            "str": isinstance(value, str),
            "int": isinstance(value, int | float) and not isinstance(value, bool),
            "bool": isinstance(value, bool),
            "dict": isinstance(value, dict),
            "list": isinstance(value, list),
        }
        if not fits[wanted]:
            named = "double or integer" if wanted == "int" else wanted
            raise refused(400, 3, f"{failed}: input parameter {name} requires type {named}")


def pipeline_json(pipeline: Pipeline) -> dict[str, Any]:
    """Return a pipeline as the API does."""
    return {
        "pipeline_id": pipeline.pipeline_id,
        "display_name": pipeline.display_name,
        "name": pipeline.name,
        "created_at": pipeline.created_at,
        **({"namespace": pipeline.namespace} if pipeline.namespace else {}),
    }


def version_json(version: Version) -> dict[str, Any]:
    """Return a version as the API does."""
    return {
        "pipeline_id": version.pipeline_id,
        "pipeline_version_id": version.version_id,
        "display_name": version.display_name,
        "name": version.name,
        "created_at": version.created_at,
        "pipeline_spec": {},
    }


def reference_to(version: Version) -> dict[str, str]:
    """Return what names a version."""
    return {"pipeline_id": version.pipeline_id, "pipeline_version_id": version.version_id}
