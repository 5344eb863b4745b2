"""The calls of Kubeflow Pipelines' API that we need, typed, each with a time-out and one try.

`kfp-server-api` is generated code with surprises: it blocks, it ignores time-outs that are not
whole numbers or pairs, its pool repeats calls unless that is turned off, it takes any answer for an
object, and its errors print headers and stack traces. None of that gets past this module.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, TypeVar

import kfp_server_api as api
import urllib3.exceptions
from pydantic import SecretStr

from fulcrum_operator.engines.kubeflow.api_errors import KubeflowError, error_of
from fulcrum_operator.engines.kubeflow.runs import Run
from fulcrum_operator.kubernetes.credentials import Credentials, TokenSource
from fulcrum_operator.settings import Kubeflow
from fulcrum_pipelines.errors import UserError

PAGE = 100
"""Objects in a page of a list; servers allow 200."""

NEVER_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.LocationValueError,
)
"""Errors after which the server cannot have seen the call."""

T = TypeVar("T")


class KubeflowClient:
    """One server.

    Args:
        settings: Its address, credentials and time-outs.
    """

    def __init__(self, settings: Kubeflow) -> None:
        configuration = _configuration(settings)
        client = api.ApiClient(configuration, cookie=_secret(settings.cookie) or None)
        client.user_agent = "fulcrum-operator"
        self._runs = api.RunServiceApi(client)
        self._pipelines = api.PipelineServiceApi(client)
        self._uploads = api.PipelineUploadServiceApi(client)
        self._experiments = api.ExperimentServiceApi(client)
        self._health = api.HealthzServiceApi(client)
        self._where = settings.url
        # A single number that is no int would be ignored.
        self._timeout = (settings.connect_timeout_s, settings.request_timeout_s)

    # --- runs

    async def run(self, run_id: str) -> Run | None:
        """Return the run with this id, archived or not, or None if it does not exist."""
        found = await self._find("get run", self._runs.run_service_get_run, run_id)
        return None if found is None else self._run(found, "get run")

    async def runs(self, *, namespace: str, experiment_id: str = "", name: str = "") -> list[Run]:
        """Return the runs in a namespace or an experiment, archived ones too.

        Args:
            namespace: Empty in a single-user installation.
            experiment_id: Only those in this experiment.
            name: Only those with exactly this display name; the server takes case lightly.
        """
        given = {"experiment_id": experiment_id, "namespace": "" if experiment_id else namespace}
        given["filter"] = _equals("display_name", name) if name else ""
        found = [
            self._run(each, "list runs")
            async for each in self._pages("list runs", self._runs.run_service_list_runs, given)
        ]
        return [replace(run, namespace=namespace) for run in found if name in ("", run.name)]

    async def create_run(
        self,
        run_id: str,
        name: str,
        *,
        version: tuple[str, str],
        experiment_id: str,
        parameters: dict[str, Any],
        service_account: str = "",
    ) -> Run:
        """Ask for a run, once.

        Args:
            run_id: Its id, which the server takes over.
            name: Its display name.
            version: Ids of pipeline and version.
            experiment_id: Which it is in.
            parameters: Of the pipeline.
            service_account: Of its pods; empty for the server's default.

        Raises:
            KubeflowError: Refused; if `acted` is set, it may be running all the same.
        """
        body = api.V2beta1Run(
            run_id=run_id,
            display_name=name,
            experiment_id=experiment_id,
            pipeline_version_reference=api.V2beta1PipelineVersionReference(*version),
            runtime_config=api.V2beta1RuntimeConfig(parameters=parameters),
            service_account=service_account or None,
        )
        created = await self._call("create run", self._runs.run_service_create_run, body)
        return self._run(created, "create run", acted=True)

    async def terminate_run(self, run_id: str) -> bool:
        """Ask a run to stop; one that is unknown, has ended or is stopping already is left so.

        Returns:
            Whether the server accepted it.

        Raises:
            KubeflowError: It cannot be stopped, or nothing of it is left (`workflow_is_missing`).
        """
        try:
            await self._call("terminate run", self._runs.run_service_terminate_run, run_id)
        except KubeflowError as error:
            over = error.status == 400 and "Row not found" in error.text
            if not (over or error.is_missing):
                raise
            return False
        return True

    async def delete_run(self, run_id: str) -> None:
        """Delete a run, if it is there; that stops it too."""
        await self._find("delete run", self._runs.run_service_delete_run, run_id)

    # --- pipelines and experiments

    async def pipeline_id(self, name: str, namespace: str) -> str | None:
        """Return the id of a pipeline."""
        function = self._pipelines.pipeline_service_get_pipeline_by_name
        found = await self._find("get pipeline", function, name, **_given(namespace=namespace))
        return None if found is None else self._text(found.pipeline_id, "get pipeline")

    async def version_id(self, pipeline_id: str, name: str) -> str | None:
        """Return the id of the version of a pipeline that has exactly this name."""
        given = {"filter": _equals("name", name)}
        function = self._pipelines.pipeline_service_list_pipeline_versions
        async for each in self._pages("list versions", function, given, pipeline_id):
            if each.name == name or (each.name is None and each.display_name == name):
                return self._text(each.pipeline_version_id, "list versions")
        return None

    async def upload_pipeline(self, path: str, name: str, namespace: str) -> None:
        """Upload the file `path` as a new pipeline; one of that name is left as it is."""
        given = _given(name=name, namespace=namespace)
        await self._unless_there("upload pipeline", self._uploads.upload_pipeline, path, **given)

    async def upload_version(self, path: str, pipeline_id: str, name: str) -> None:
        """Upload the file `path` as a version; one of that name is left as it is."""
        function = self._uploads.upload_pipeline_version
        given = {"name": name, "pipelineid": pipeline_id}
        await self._unless_there("upload version", function, path, **given)

    async def experiment_id(self, name: str, namespace: str) -> str | None:
        """Return the id of the experiment of exactly this name."""
        given = {"filter": _equals("display_name", name), "namespace": namespace}
        function = self._experiments.experiment_service_list_experiments
        async for each in self._pages("list experiments", function, given):
            if each.display_name == name:
                return self._text(each.experiment_id, "list experiments")
        return None

    async def create_experiment(self, name: str, namespace: str) -> None:
        """Create an experiment; one of that name is left as it is."""
        body = api.V2beta1Experiment(display_name=name, namespace=namespace or None)
        function = self._experiments.experiment_service_create_experiment
        await self._unless_there("create experiment", function, body)

    async def is_multi_user(self) -> bool:
        """Return whether the installation keeps its users apart by namespaces."""
        found = await self._call("get healthz", self._health.healthz_service_get_healthz)
        return bool(found.multi_user)

    # --- how calls are made

    async def _pages(
        self, what: str, function: Callable[..., Any], given: dict[str, str], *path: str
    ) -> AsyncIterator[Any]:
        """Yield the objects of a list; the answer of an empty list has no field for them."""
        query: dict[str, Any] = {**_given(**given), "page_size": PAGE}
        while True:
            page = await self._call(what, function, *path, **query)
            fields = (name for name, kind in page.openapi_types.items() if kind.startswith("list["))
            for each in getattr(page, next(fields)) or ():
                yield each
            if not page.next_page_token:
                return
            query["page_token"] = page.next_page_token

    async def _find(self, what: str, function: Callable[..., T], *a: Any, **k: Any) -> T | None:
        try:
            return await self._call(what, function, *a, **k)
        except KubeflowError as error:
            if error.is_missing:
                return None
            raise

    async def _unless_there(
        self, what: str, function: Callable[..., Any], *arguments: Any, **given: Any
    ) -> None:
        try:
            await self._call(what, function, *arguments, **given)
        except KubeflowError as error:
            if error.status != 409:
                raise

    async def _call(self, what: str, function: Callable[..., T], *a: Any, **k: Any) -> T:
        return await asyncio.to_thread(self._call_now, what, function, *a, **k)

    def _call_now(self, what: str, function: Callable[..., T], *a: Any, **k: Any) -> T:
        where = f"{what} at {self._where}"
        try:
            return function(*a, _request_timeout=self._timeout, **k)
        except UserError as error:  # the token file
            raise KubeflowError(str(error), where=where) from error
        except api.ApiException as error:
            raise _from_api(error, where) from error
        except AttributeError as error:  # it decodes the body of an answer that never came
            if isinstance(error.__context__, api.ApiException):
                raise _from_api(error.__context__, where) from error
            raise
        except urllib3.exceptions.HTTPError as error:
            sent = not isinstance(error, NEVER_SENT)
            raise KubeflowError(f"no answer: {_short(error)}", where=where, acted=sent) from error
        except (ValueError, TypeError) as error:
            text = f"not an answer of Kubeflow Pipelines: {_short(error)}"
            raise KubeflowError(text, where=where, acted=True) from error

    def _run(self, found: Any, what: str, *, acted: bool = False) -> Run:
        reference, config = found.pipeline_version_reference, found.runtime_config
        parameters = (config and config.parameters) or {}
        return Run(
            run_id=self._text(found.run_id, what, acted=acted),
            name=found.display_name or "",
            state=found.state or "",
            history=tuple(each.state or "" for each in found.state_history or ()),
            pipeline_id=(reference and reference.pipeline_id) or "",
            plan=str(parameters.get("plan") or ""),
            key=str(parameters.get("run") or ""),
            recurring=bool(found.recurring_run_id),
            created_at=found.created_at,
            error=(found.error and found.error.message) or "",
        )

    def _text(self, value: str | None, what: str, *, acted: bool = False) -> str:
        """Refuse an empty value, which the client makes of any answer, such as a login page."""
        if not value:
            text = "the answer is none of Kubeflow Pipelines: look at kubeflow.url and its login"
            raise KubeflowError(text, where=f"{what} at {self._where}", acted=acted)
        return value


def _configuration(settings: Kubeflow) -> Any:
    """Return the generated client's configuration.

    Raises:
        UserError: The certificates are not there.
    """
    configuration = api.Configuration(host=settings.url.rstrip("/"))
    # One try only: what it repeats of itself might start a second run. Redirects end as errors,
    # so that no token follows one.
    configuration.retries = False
    if settings.ca_path is not None:
        if not os.access(settings.ca_path, os.R_OK):
            message = "kubeflow.ca_path: there is no such file, or it cannot be read"
            raise UserError(message, where=str(settings.ca_path))
        configuration.ssl_ca_cert = str(settings.ca_path)
    token = _secret(settings.token)
    if token or settings.token_path is not None:
        source = TokenSource(
            Credentials(server=settings.url, token=token, token_path=settings.token_path)
        )
        configuration.api_key = {"authorization": ""}
        configuration.api_key_prefix = {"authorization": "Bearer"}
        configuration.refresh_api_key_hook = lambda current: current.api_key.update(
            authorization=source.token()
        )
    return configuration


def _secret(given: SecretStr | None) -> str:
    return "" if given is None else given.get_secret_value()


def _from_api(error: Any, where: str) -> KubeflowError:
    if not error.status:  # TLS; only where the certificate is refused, nothing can have been sent
        text = f"no answer: {' '.join(str(error.reason).split())}"
        return KubeflowError(text, where=where, acted="CERTIFICATE_VERIFY_FAILED" not in text)
    body = error.body if isinstance(error.body, str) else ""
    return error_of(error.status, body or str(error.reason), where=where)


def _given(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _equals(key: str, value: str) -> str:
    predicate = {"operation": "EQUALS", "key": key, "string_value": value}
    return json.dumps({"predicates": [predicate]})


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
