"""What a platform engineer may set of the operator, in one typed place.

Values come from a YAML file and, over it, from the environment: `FULCRUM_` and the names of the
field, nested ones joined by two underscores (`FULCRUM_ELECTION__LEASE_DURATION_S=30`). An unknown
name in the file is an error, never ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from fulcrum_operator.pools import Pool, Quantity
from fulcrum_pipelines.errors import UserError

Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Base of the parts of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Process(Section):
    """The engine `process`, which runs jobs on the operator's own machine."""

    enabled: bool = True
    """Offer the engine. Jobs bring code of their own, which then runs beside the operator."""
    work_root: Path = Path(".fulcrum/work")
    """Local directory for what is on file about runs, and for their logs."""
    max_running: Annotated[int, Field(ge=1)] = 1
    """Jobs at a time; the others wait in Pending. Timings of a job suffer from its neighbours."""


class Kubeflow(Section):
    """The engine `kubeflow`, which submits jobs to Kubeflow Pipelines; off without a `url`."""

    url: Annotated[str, Field(pattern="^(https?://.+)?$")] = ""
    """Of the API server of Kubeflow Pipelines, without `/apis`; empty means there is none."""
    ui_url: str = ""
    """Page of a run for people, with `{run_id}` and, if need be, `{namespace}` in it."""
    image: str = ""
    """Image of the components, which every stage runs in unless its pool names another."""
    namespace: str = ""
    """Of a multi-user installation: the profile in which runs are made. Empty: single-user."""
    in_job_namespace: bool = False
    """Of a multi-user installation: each run is made in its job's namespace, which is a profile.
    The operator's `namespaces` must list them all."""
    pod_namespace: str = "kubeflow"
    """Single-user: the namespace where the pods of runs are."""
    experiment: Annotated[str, Field(min_length=1, max_length=128)] = "fulcrum"
    """Experiment that the runs are in; runs in others are never touched."""
    pipeline: Annotated[str, Field(pattern="^[a-z0-9]([a-z0-9-]{0,98}[a-z0-9])?$")] = "fulcrum"
    """Name under which the compiled pipeline is uploaded."""
    service_account: str = ""
    """Of the pods; empty means the default of Kubeflow, pipeline-runner or default-editor."""
    token: SecretStr | None = None
    """A bearer token, best from a secret by FULCRUM_KUBEFLOW__TOKEN."""
    token_path: Path | None = None
    """A file with one, such as a projected service-account token; read again when it changes."""
    cookie: SecretStr | None = None
    """A session cookie, `name=value`, for installations that know no tokens."""
    ca_path: Path | None = None
    """Certificates that the server's is checked against, PEM; None means those of the system."""
    connect_timeout_s: Seconds = 5.0
    """Until there is a connection."""
    request_timeout_s: Seconds = 30.0
    """Without a byte of the answer. Creating a run took under a second where it was measured;
    a server that is busy queues."""
    look_s: Annotated[float, Field(ge=0)] = 10.0
    """How often the pods of a run are looked at, and other runs with its name are looked for."""
    confirm_s: Seconds = 60.0
    """A run that was asked for without a clear answer, and that the server still does not know
    after this long, was never made; what it left behind is removed."""
    max_running: Annotated[int, Field(ge=1)] | None = None
    """Runs at a time; None leaves the queue to the cluster."""

    @model_validator(mode="after")
    def _complete(self) -> Kubeflow:
        if self.url and not self.image:
            raise ValueError("image is needed with url: the components that stages run in")
        if self.namespace and self.in_job_namespace:
            raise ValueError("namespace and in_job_namespace exclude each other")
        if self.token_path is not None and self.token is not None:
            raise ValueError("token and token_path exclude each other")
        try:
            self.ui_url.format(run_id="", namespace="")
        except (KeyError, IndexError, ValueError) as error:
            message = f"ui_url may have {{run_id}} and {{namespace}} in it, not {error}"
            raise ValueError(message) from error
        return self


class Job(Section):
    """The engine `job`, which runs each attempt in one Kubernetes Job; off unless `enabled`."""

    enabled: bool = False
    """Offer the engine; it needs `image`, and a `store` that pods reach."""
    image: str = ""
    """Image of the components, which pods run unless their pool names another."""
    image_pull_policy: Annotated[str, Field(pattern="^(Always|IfNotPresent|Never)?$")] = ""
    """When nodes pull it; empty means the cluster's default."""
    image_pull_secrets: tuple[str, ...] = ()
    """Names of secrets in the namespaces of jobs with which images are pulled."""
    service_account: str = ""
    """Of the pods; its token is never mounted. Empty means the namespace's default."""
    store_secret: str = ""
    """Secret in each job's namespace, all of whose keys become variables of its pods: what the
    store's fsspec plug-in reads, such as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
    AWS_ENDPOINT_URL. Empty: the pods' identity is enough."""
    scratch_size: Quantity = "20Gi"
    """Of a pod's scratch volume, for copies of models and data; more, and the pod is evicted."""
    tmp_size: Quantity = "1Gi"
    """Of a pod's /tmp, which is also its home."""
    termination_grace_s: Annotated[int, Field(ge=1)] = 30
    """Between a pod's being told to stop and its being killed. Nothing is saved in it: each epoch
    of a training is in the store as soon as it is over."""
    ttl_seconds: Annotated[int, Field(ge=60)] = 86400
    """A Job that has ended is removed after this long, and with it the pod and its log; the logs
    of stages stay in the store."""
    start_limit_s: Seconds = 900.0
    """A pod whose image or configuration has been wrong for this long is given up. One that waits
    for a node is not: that may take days, and spec.activeDeadlineSeconds bounds it."""
    lost_after_s: Seconds = 60.0
    """A pod that should have been gone this long ago is on a node that is lost."""
    max_running: Annotated[int, Field(ge=1)] | None = None
    """Jobs at a time; None leaves the queue to the cluster."""

    @model_validator(mode="after")
    def _complete(self) -> Job:
        if self.enabled and not self.image:
            raise ValueError("image is needed with enabled: the components that pods run")
        return self


class Api(Section):
    """Calls of the API server."""

    request_timeout_s: Seconds = 10.0
    """One call. Longer than any healthy answer, shorter than a lease."""
    retries: Annotated[int, Field(ge=0)] = 4
    """More tries of a call after a transient error, before the reconcile backs off."""
    watch_timeout_s: Seconds = 240.0
    """After this long the server ends a watch and it starts again where it was."""
    watch_silence_s: Seconds = 75.0
    """A watch without a byte for this long is cut; servers send a bookmark about once a minute."""
    connections: Annotated[int, Field(ge=1)] = 32
    """Open at a time."""


class Election(Section):
    """Which of several operators acts."""

    lease_name: str = "fulcrum-operator"
    """Of the Lease in the operator's namespace; its role names it."""
    lease_duration_s: Seconds = 15.0
    """A leader that was not heard of for this long is replaced."""
    renew_every_s: Seconds = 5.0
    """Between two renewals of the leader."""
    margin_s: Seconds = 2.0
    """The leader stops writing this long before others may take over."""

    @model_validator(mode="after")
    def _in_order(self) -> Election:
        if self.renew_every_s + self.margin_s >= self.lease_duration_s:
            message = "lease_duration_s must be longer than renew_every_s and margin_s together"
            raise ValueError(message)
        return self


class Http(Section):
    """Where metrics and probes are served."""

    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 in a pod."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """0 takes a free one, which the log tells."""


class Reconcile(Section):
    """How jobs are driven."""

    workers: Annotated[int, Field(ge=1)] = 16
    """Objects looked at at a time."""
    poll_s: Seconds = 2.0
    """How often a run is asked how it goes."""
    resync_s: Seconds = 300.0
    """Every unfinished object is looked at again this often, whatever the watch says."""
    first_backoff_s: Seconds = 1.0
    """Before the second attempt after a fault, or the second try of a reconcile."""
    longest_backoff_s: Seconds = 60.0
    """Between attempts after a fault, doubled each time; and between reconciles that fail."""
    evidence_retries: Annotated[int, Field(ge=0)] = 1
    """More attempts where a run ended without evidence, or with evidence that cannot be read."""
    engine_silence_s: Seconds = 300.0
    """An engine that knows nothing of a run for this long has lost it."""
    cancel_limit_s: Seconds = 60.0
    """A run that cannot be stopped for this long is an orphan, and its job lets go of it."""
    sweep_every_s: Seconds = 60.0
    """How often runs without a job are looked for."""
    stuck_s: Seconds = 120.0
    """A reconcile that takes longer fails the liveness probe."""


class Settings(BaseSettings):
    """All settings of the operator."""

    model_config = SettingsConfigDict(
        env_prefix="FULCRUM_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    namespace: str = "fulcrum-system"
    """The operator's own, where its Lease is."""
    identity: str = ""
    """Of this process; by default the host's name and a random suffix."""
    namespaces: tuple[str, ...] = ()
    """Whose objects are looked after; empty means all."""
    kubeconfig: Path | None = None
    """Default: KUBECONFIG, or the pod's service account."""
    store: str = ".fulcrum/store"
    """Where artifacts and evidence are kept: a directory or a URL."""
    source_root: str = "."
    """What relative addresses in manifests are relative to: a directory or a URL."""
    log_format: Annotated[str, Field(pattern="^(json|text)$")] = "json"
    """JSON lines for machines, or text for people."""
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"
    """From which level on lines are written."""

    pools: dict[str, Pool] = {}
    """Sets of nodes by the names that manifests use; `default` is for jobs that name none."""
    process: Process = Process()
    job: Job = Job()
    kubeflow: Kubeflow = Kubeflow()
    api: Api = Api()
    election: Election = Election()
    http: Http = Http()
    reconcile: Reconcile = Reconcile()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes over the file, which comes as arguments."""
        return env_settings, init_settings


def load_settings(path: Path | None) -> Settings:
    """Return the settings in the YAML file `path`, if there is one, and in the environment.

    Raises:
        UserError: The file cannot be read, or a value is wrong; the message has the field's path.
    """
    where = str(path) if path is not None else "environment"
    try:
        content = yaml.safe_load(path.read_text()) if path is not None else {}
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot be read: {error}", where=where) from error
    if content is not None and not isinstance(content, dict):
        raise UserError("must be a mapping of settings", where=where)
    try:
        return Settings(**(content or {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"{field}: {first['msg']}", where=where) from error
