"""Manifests on disk: what is wrong with them, and the jobs and policies that they hold.

The same answer as the API server's, offline, before anything is submitted or run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.validation.documents import Document, read_documents
from fulcrum_pipelines.validation.metadata import check_metadata
from fulcrum_pipelines.validation.problem import Problem, nearest, show, write_path
from fulcrum_pipelines.validation.rules import ABSENT, broken_rules
from fulcrum_pipelines.validation.schemas import gates_schema, job_spec_schema, known_kinds
from fulcrum_pipelines.validation.structure import UNSUPPORTED_STAGES, Found, Schema, check

if TYPE_CHECKING:  # pydantic is not needed to find problems, and costs a good part of a second
    from fulcrum_pipelines.resources.compressionjob import CompressionJobSpec, Gate

API_VERSION = "fulcrum.dev/v1alpha1"
ROOT_FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")
NOT_YET = "is not supported yet by this version"
ON_CLUSTER = "needs a cluster; fulcrum run cannot do it"


@dataclass(frozen=True)
class JobManifest:
    """A valid CompressionJob from a file.

    Attributes:
        name: Its name.
        namespace: Its namespace; empty if the manifest has none.
        labels: Its labels.
        annotations: Its annotations.
        spec: Its specification with all defaults, addresses as they are written.
        directory: Of the manifest; the base of relative addresses.
    """

    name: str
    namespace: str
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: CompressionJobSpec
    directory: Path


def check_file(path: Path, against: Path | None = None) -> list[Problem]:
    """Return everything that is wrong with the manifests in the file at `path`.

    Args:
        path: The file.
        against: Manifests of what is there now. An object that is in both is checked as a change
            of it, which immutable fields may forbid.

    Raises:
        UserError: Something is wrong with the manifests in `against` themselves.
    """
    documents = read_documents(path)
    several = len(documents) > 1
    before = {} if against is None else _objects(against)
    problems: list[Problem] = []
    for number, document in enumerate(documents, start=1):
        found, _ = _check_document(document, before.get(_identity(document.value), ABSENT))
        problems += [replace(each, document=number if several else 0) for each in found]
    return problems


def check_resolved(spec: dict[str, Any]) -> list[Problem]:
    """Return what is wrong with a job's specification whose references are replaced.

    Recipe and gates that came by reference were accepted each on its own; only here are the rules
    asked that look at several of them, such as that fine-tuning needs training data.

    Args:
        spec: As JSON, with `recipe` and `gates`.
    """
    found, _ = _check_value(spec, job_spec_schema(), ("spec",))
    return [Problem(write_path(path), message, allowed) for path, message, allowed in found]


def load_job(path: Path) -> JobManifest:
    """Return the one CompressionJob in the file at `path`.

    Raises:
        UserError: The file cannot be read, has several documents, or breaks a rule.
    """
    documents = read_documents(path)
    if len(documents) > 1:
        message = f"has {len(documents)} documents; a run needs exactly one CompressionJob"
        raise UserError(message, where=str(path))
    problems, job = _job(documents[0], path.absolute().parent)
    if job is None:
        raise UserError(_listed(problems), where=str(path))
    return job


def make_job(
    name: str, spec: dict[str, Any], directory: Path
) -> tuple[list[Problem], JobManifest | None]:
    """Return the job of a specification that is in no file, or what is wrong with it.

    Args:
        name: Name of the job.
        spec: As in a manifest.
        directory: Base of relative addresses.
    """
    fields = {
        "apiVersion": API_VERSION,
        "kind": "CompressionJob",
        "metadata": {"name": name},
        "spec": spec,
    }
    return _job(Document(fields), directory)


def _job(document: Document, directory: Path) -> tuple[list[Problem], JobManifest | None]:
    problems, value = _check_document(document)
    if problems:
        return problems, None
    from fulcrum_pipelines.resources.compressionjob import CompressionJobSpec

    metadata = value["metadata"]
    job = JobManifest(
        name=metadata["name"],
        namespace=metadata.get("namespace") or "",
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        spec=CompressionJobSpec.model_validate(value["spec"]),
        directory=directory,
    )
    return [], job


def load_gates(path: Path) -> tuple[Gate, ...]:
    """Return the gates in the file at `path`.

    It holds a mapping with `gates`, or any object with `spec.gates`, such as a CompressionJob.

    Raises:
        UserError: The file cannot be read, has no gates, or breaks a rule.
    """
    documents = read_documents(path)
    document = documents[0]
    if len(documents) > 1:
        raise UserError(f"has {len(documents)} documents, expected one", where=str(path))
    if document.problems:
        raise UserError(_listed(document.problems), where=str(path))
    at, gates = _find_gates(document.value)
    if gates is None:
        message = "has no gates; expected a mapping with gates, or an object with spec.gates"
        raise UserError(message, where=str(path))
    found, value = _check_value(gates, gates_schema(), at)
    if found:
        raise UserError(_listed(_problems(found, document)), where=str(path))
    from fulcrum_pipelines.resources.compressionjob import Gate

    return tuple(Gate.model_validate(gate) for gate in value)


def unsupported(spec: CompressionJobSpec) -> list[Problem]:
    """Return the fields of `spec` that are valid, but that this version cannot do yet."""
    return [
        Problem(f"spec.recipe.{stage}", NOT_YET)
        for stage in sorted(UNSUPPORTED_STAGES)
        if getattr(spec.recipe, stage, None) is not None
    ]


def needs_cluster(spec: CompressionJobSpec) -> list[Problem]:
    """Return the fields of `spec` that mean nothing to a run on this machine."""
    wanted: dict[str, object] = {
        "spec.recipeRef": spec.recipe_ref,
        "spec.gatePolicyRef": spec.gate_policy_ref,
        "spec.promotion": spec.promotion,
        "spec.ttlSecondsAfterFinished": spec.ttl_seconds_after_finished,
        "spec.managedBy": spec.managed_by,
        "spec.suspend": spec.suspend or None,
        "spec.placement": spec.placement,
        "spec.engine": None if spec.engine == "process" else spec.engine,
    }
    return [Problem(path, ON_CLUSTER) for path, value in wanted.items() if value is not None]


def _objects(path: Path) -> dict[tuple[str, ...], Any]:
    """Return the objects in the file at `path`, with their defaults, by what identifies them."""
    checked = [_check_document(document) for document in read_documents(path)]
    problems = [problem for found, _ in checked for problem in found]
    if problems:
        raise UserError(f"cannot be compared with: {_listed(problems)}", where=str(path))
    return {_identity(value): value for _, value in checked}


def _identity(value: Any) -> tuple[str, ...]:
    metadata = value.get("metadata") if isinstance(value, dict) else None
    if not isinstance(metadata, dict):
        return ()
    return (str(value.get("kind")), *(str(metadata.get(key)) for key in ("namespace", "name")))


def _check_document(document: Document, before: Any = ABSENT) -> tuple[list[Problem], Any]:
    """Return the problems of a document, and its value with defaults."""
    value = document.value
    if document.value is None or not isinstance(value, dict):
        wrong = Problem("", f"is {show(value)}, not a manifest", "apiVersion, kind, metadata, spec")
        return document.problems or [wrong], value
    schema = _schema_of(value)
    if isinstance(schema, Problem):
        path = tuple(schema.path.split("."))
        return [*document.problems, replace(schema, line=document.line(path))], value
    found: list[Found] = [
        ((name,), f"is not a field{nearest(name, ROOT_FIELDS)}", ", ".join(ROOT_FIELDS))
        for name in value
        if name not in ROOT_FIELDS
    ]
    found += check_metadata(value.get("metadata"))
    kept = {name: value[name] for name in ROOT_FIELDS[:4] if name in value}
    more, filled = _check_value(kept, schema, (), {path for path, _, _ in found}, before)
    unclear = {problem.path for problem in document.problems}
    broken = [each for each in _problems([*found, *more], document) if each.path not in unclear]
    problems = [*document.problems, *broken]
    return sorted(problems, key=lambda problem: problem.line or 0), filled


def _check_value(
    value: Any,
    schema: Schema,
    path: tuple[str | int, ...],
    wrong: Iterable[Any] = (),
    before: Any = ABSENT,
) -> tuple[list[Found], Any]:
    checked = check(value, schema, path)
    skip = {where for where, _, _ in checked.found} | set(wrong)
    return [*checked.found, *broken_rules(checked.value, schema, skip, path, before)], checked.value


def _schema_of(value: dict[str, Any]) -> Schema | Problem:
    kinds = known_kinds()
    versions = sorted({version for version, _ in kinds})
    names = sorted({kind for _, kind in kinds})
    for field, known in (("apiVersion", versions), ("kind", names)):
        given = value.get(field)
        if given is None:
            return Problem(field, "is required", ", ".join(known))
        if given not in known:
            hint = nearest(str(given), known)
            return Problem(field, f"must not be {show(given)}{hint}", ", ".join(known))
    return kinds[value["apiVersion"], value["kind"]]


def _problems(found: Iterable[Found], document: Document) -> list[Problem]:
    return [
        Problem(write_path(path), message, allowed, document.line(path))
        for path, message, allowed in found
    ]


def _find_gates(value: Any) -> tuple[tuple[str, ...], Any]:
    if isinstance(value, dict):
        if "gates" in value:
            return ("gates",), value["gates"]
        spec = value.get("spec")
        if isinstance(spec, dict) and "gates" in spec:
            return ("spec", "gates"), spec["gates"]
    return (), None


def _listed(problems: Iterable[Problem]) -> str:
    lines = [str(problem) for problem in problems]
    return lines[0] if len(lines) == 1 else "\n  " + "\n  ".join(lines)
