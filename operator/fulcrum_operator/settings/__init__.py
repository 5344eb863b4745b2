"""The operator's settings, as one typed model.

Values come from a YAML file. Environment variables override them: `FULCRUM_` and the field's name,
with two underscores between nested names (`FULCRUM_ELECTION__LEASE_DURATION_S=30`). An unknown name
in the file is an error.
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

from fulcrum_operator.settings.pools import Pool, Quantity
from fulcrum_pipelines.compiled import Fuse
from fulcrum_pipelines.errors import UserError

Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Base of the parts of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Process(Section):
    """The engine `process`, which runs jobs on the operator's own machine."""

    enabled: bool = True
    """Enable the engine. Code that jobs bring runs on the same machine as the operator."""
    work_root: Path = Path(".fulcrum/work")
    """Local directory for the records and logs of runs."""
    max_running: Annotated[int, Field(ge=1)] = 1
    """Maximum number of concurrent jobs; others wait in Pending. Jobs that run together disturb
    each other's timings."""


class Kubeflow(Section):
    """The engine `kubeflow`, which submits jobs to Kubeflow Pipelines; off without a `url`."""

    url: Annotated[str, Field(pattern="^(https?://.+)?$")] = ""
    """URL of the Kubeflow Pipelines API server, without `/apis`. Empty disables the engine."""
    ui_url: str = ""
    """URL template of a run's page in the Kubeflow UI; may contain `{run_id}` and `{namespace}`."""
    image: str = ""
    """Components image that stages run in, unless their pool sets another."""
    namespace: str = ""
    """Multi-user installations: profile in which runs are created. Empty for single-user ones."""
    in_job_namespace: bool = False
    """Multi-user installations: create each run in its job's namespace, which must be a profile.
    The operator's `namespaces` must list all of them."""
    pod_namespace: str = "kubeflow"
    """Single-user installations: namespace of the runs' pods."""
    experiment: Annotated[str, Field(min_length=1, max_length=128)] = "fulcrum"
    """Experiment that runs are created in. Runs in other experiments are never changed."""
    pipeline: Annotated[str, Field(pattern="^[a-z0-9]([a-z0-9-]{0,98}[a-z0-9])?$")] = "fulcrum"
    """Name under which the compiled pipeline is uploaded."""
    fuse: Fuse = "Compute"
    """Stages that share a pod, unless a job sets `spec.placement.fuse`: `Compute` (all but
    validate), `All` (validate too, if it uses the same pool) or `None` (one pod for each stage).
    Each pod takes some seconds to start."""
    service_account: str = ""
    """Service account of the runs' pods. Empty uses Kubeflow's default, pipeline-runner or
    default-editor."""
    token: SecretStr | None = None
    """Bearer token; set it from a secret with FULCRUM_KUBEFLOW__TOKEN."""
    token_path: Path | None = None
    """File with a bearer token, such as a projected service-account token; read again when it
    changes."""
    cookie: SecretStr | None = None
    """Session cookie, `name=value`, for installations that do not accept tokens."""
    ca_path: Path | None = None
    """PEM file of CA certificates that verify the server's; by default those of the system."""
    connect_timeout_s: Seconds = 5.0
    """Timeout for connecting, in seconds."""
    request_timeout_s: Seconds = 30.0
    """Timeout between two bytes of a response, in seconds. Creating a run took under one second
    when measured; a busy server queues requests."""
    look_s: Annotated[float, Field(ge=0)] = 10.0
    """Interval at which a run's pods, and other runs with its name, are checked, in seconds."""
    confirm_s: Seconds = 60.0
    """Seconds after which a run whose creation got no clear answer, and which the server does not
    list, counts as never created; anything it left behind is deleted."""
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


class JobEngineSettings(Section):
    """The engine `job`, which runs each attempt in one Kubernetes Job; off unless `enabled`."""

    enabled: bool = False
    """Enable the engine. Requires `image`, and a `store` that pods can reach."""
    image: str = ""
    """Components image that pods run, unless their pool sets another."""
    image_pull_policy: Annotated[str, Field(pattern="^(Always|IfNotPresent|Never)?$")] = ""
    """Image pull policy of the pods; empty uses the cluster's default."""
    image_pull_secrets: tuple[str, ...] = ()
    """Image pull secrets, which must exist in each job's namespace."""
    service_account: str = ""
    """Service account of the pods; its token is never mounted. Empty uses the namespace's
    default."""
    store_secret: str = ""
    """Secret in each job's namespace with the store's credentials. All of its keys become
    environment variables of the pods, such as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
    AWS_ENDPOINT_URL, which the store's fsspec plug-in reads. Empty if the pods' own identity
    suffices."""
    scratch_size: Quantity = "20Gi"
    """Size limit of a pod's scratch volume, which holds copies of models and data. A pod that
    exceeds it is evicted."""
    tmp_size: Quantity = "1Gi"
    """Size limit of a pod's /tmp, which is also its home directory."""
    termination_grace_s: Annotated[int, Field(ge=1)] = 30
    """Seconds between asking a pod to stop and killing it. No work is saved in this time: each
    training epoch is in the store as soon as it ends."""
    ttl_seconds: Annotated[int, Field(ge=60)] = 86400
    """Seconds after which a finished Job is deleted, with its pod and the pod's log. The logs of
    stages stay in the store."""
    start_limit_s: Seconds = 900.0
    """Seconds after which a pod that cannot start because of its image or configuration fails the
    attempt. Waiting for a node does not count: that can take days, and spec.activeDeadlineSeconds
    limits it."""
    lost_after_s: Seconds = 60.0
    """Seconds past a pod's deletion time after which its node counts as lost."""
    max_running: Annotated[int, Field(ge=1)] | None = None
    """Jobs at a time; None leaves the queue to the cluster."""

    @model_validator(mode="after")
    def _complete(self) -> JobEngineSettings:
        if self.enabled and not self.image:
            raise ValueError("image is needed with enabled: the components that pods run")
        return self


class Api(Section):
    """Calls of the API server."""

    request_timeout_s: Seconds = 10.0
    """Timeout of one request, in seconds: longer than any healthy response, shorter than a
    lease."""
    retries: Annotated[int, Field(ge=0)] = 4
    """Maximum retries of a request after transient errors, before the reconcile backs off."""
    watch_timeout_s: Seconds = 240.0
    """Seconds after which the server ends a watch; it then resumes from its last position."""
    watch_silence_s: Seconds = 75.0
    """Seconds without data after which a watch is restarted. Servers send a bookmark about once a
    minute."""
    connections: Annotated[int, Field(ge=1)] = 32
    """Maximum number of open connections."""


class Election(Section):
    """Which of several operators acts."""

    lease_name: str = "fulcrum-operator"
    """Name of the Lease in the operator's namespace. The operator's Role must name it too."""
    lease_duration_s: Seconds = 15.0
    """Seconds without a renewal after which the leader is replaced."""
    renew_every_s: Seconds = 5.0
    """Interval between two renewals by the leader, in seconds."""
    margin_s: Seconds = 2.0
    """Seconds before its lease expires at which the leader stops writing."""

    @model_validator(mode="after")
    def _in_order(self) -> Election:
        if self.renew_every_s + self.margin_s >= self.lease_duration_s:
            message = "lease_duration_s must be longer than renew_every_s and margin_s together"
            raise ValueError(message)
        return self


class Http(Section):
    """Address of metrics and probes."""

    host: str = "127.0.0.1"
    """Listen address; 0.0.0.0 in a pod."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Listen port; 0 chooses a free port and logs it."""


class Reconcile(Section):
    """How jobs are reconciled."""

    workers: Annotated[int, Field(ge=1)] = 16
    """Maximum number of concurrent reconciles."""
    poll_s: Seconds = 2.0
    """Interval at which a run's state is polled, in seconds."""
    resync_s: Seconds = 300.0
    """Interval at which every unfinished object is reconciled, even without a watch event, in
    seconds."""
    first_backoff_s: Seconds = 1.0
    """Delay before the second attempt after a fault, and before the first retry of a reconcile, in
    seconds."""
    longest_backoff_s: Seconds = 60.0
    """Maximum delay between attempts after a fault, and between retries of a reconcile, in seconds.
    The delay doubles each time."""
    evidence_retries: Annotated[int, Field(ge=0)] = 1
    """Maximum retries of a run that ended without evidence, or with evidence that cannot be
    read."""
    engine_silence_s: Seconds = 300.0
    """Seconds after which a run that its engine does not know counts as lost."""
    cancel_limit_s: Seconds = 60.0
    """Seconds after which a run that cannot be stopped counts as an orphan, and its job no longer
    waits for it."""
    sweep_every_s: Seconds = 60.0
    """Interval at which runs without a job are searched for, in seconds."""
    stuck_s: Seconds = 120.0
    """Seconds after which a reconcile that has not ended fails the liveness probe."""


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
    """The operator's own namespace, which holds its Lease."""
    identity: str = ""
    """Identity of this process in the leader election. Default: the host name and a random
    suffix."""
    namespaces: tuple[str, ...] = ()
    """Namespaces that the operator reconciles; empty means all."""
    kubeconfig: Path | None = None
    """Path of a kubeconfig. Default: the files in KUBECONFIG, or the pod's service account."""
    store: str = ".fulcrum/store"
    """Directory or URL of the store for artifacts and evidence."""
    source_root: str = "."
    """Directory or URL that relative addresses in manifests are resolved against."""
    log_format: Annotated[str, Field(pattern="^(json|text)$")] = "json"
    """Log format: `json` (one object a line) or `text`."""
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"
    """Minimum level of log lines that are written."""

    pools: dict[str, Pool] = {}
    """Sets of nodes, by the names that manifests use. Jobs that name none use `default`."""
    process: Process = Process()
    job: JobEngineSettings = JobEngineSettings()
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
        """Let the environment override the file, whose values come as arguments."""
        return env_settings, init_settings


def load_settings(path: Path | None) -> Settings:
    """Load the settings from the YAML file `path`, if given, and from the environment.

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
