"""Rules, verdict and channels for components in other people's pipelines.

It runs in the components' image, in processes that run no code of a model's author. A pipeline has
no job, so no ModelChannel of a cluster is moved: only the operator moves those. A channel here is a
file in a store.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from fulcrum_pipelines.assessing import assess
from fulcrum_pipelines.chain import STORE, Chain, read_chain
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import CorruptError, InfrastructureError, QualityError, UserError
from fulcrum_pipelines.evidence import Digest, Record
from fulcrum_pipelines.gates.assessment import Assessment
from fulcrum_pipelines.manifests import check_resolved
from fulcrum_pipelines.report.files import store_report
from fulcrum_pipelines.storage.store import (
    Store,
    file_digest,
    object_path,
    parse_record,
    patient_store,
    record_bytes,
    stage_path,
)

CHANNEL_SCHEMA: Final = "fulcrum.dev/channel-file/v1alpha1"
CHANNEL_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
HISTORY = 20
"""How many earlier models a channel's file names."""
ATTEMPTS = 50
"""How often a promotion is decided again because another moved the channel meanwhile. Of several
at once one succeeds each time, so this is far more than promotions that start together."""


class Held(Record):
    """A model that a channel holds or held.

    Attributes:
        digest: Of the ONNX file.
        uri: Its address.
        run: Key of the run that validated it, in the same store.
        evidence: Digest of that run's evidence.
        moved_at: When it was put there, RFC 3339 in UTC.
    """

    digest: Digest
    uri: str
    run: str
    evidence: Digest
    moved_at: str


class ChannelFile(Record):
    """The file for serving at `channels/<name>.json` of a store.

    Attributes:
        current: What the channel holds.
        history: What it held before, newest first.
    """

    schema_version: Literal["fulcrum.dev/channel-file/v1alpha1"] = CHANNEL_SCHEMA
    current: Held
    history: tuple[Held, ...] = ()


def check(spec: dict[str, Any]) -> list[str]:
    """Return what is wrong with a job's specification, by the rules of the API server."""
    return [str(problem) for problem in check_resolved(spec)]


def judge(evidence: str, summary: str) -> str:
    """Decide the gates over the evidence that validate left, and write the report.

    Args:
        evidence: Path of the artifact.
        summary: Path that the report is written to.

    Returns:
        Pass, Fail, Inconclusive or Anomalous.

    Raises:
        FulcrumError: The evidence is damaged or not complete.
    """
    store, plan, found = _assessed(evidence)
    report = store_report(store, plan.run, found.evidence, found.verdict, plan.name)
    target = Path(summary)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(Path(report).read_bytes())
    for reason in found.verdict.reasons:
        print(f"{found.verdict.outcome}: {reason}", flush=True)
    return found.verdict.outcome


def promote(
    channel: str, candidate: str, evidence: str, store_url: str, now: Callable[[], datetime]
) -> ChannelFile:
    """Let a channel, which is a file in a store, hold a candidate that passed its gates.

    The gates are decided again, from the evidence.

    Args:
        channel: Its name.
        candidate: Path of the artifact of prune, finetune or quantize, or of the ONNX file that was
            given.
        evidence: Path of the artifact of validate.
        store_url: URL of the store of model, evidence and the channel's file.
        now: The time.

    Raises:
        QualityError: The verdict is not Pass.
        UserError: The candidate is not the validated one, the channel's name is invalid, or the
            channel holds another model than the one that the candidate was compared with;
            another promotion may just have put it there.
        InfrastructureError: The store fails, or cannot be written by several safely.
    """
    if not CHANNEL_NAME.fullmatch(channel):
        message = f"'{channel}' is no name of a channel; use up to 63 of a-z, 0-9 and -"
        raise UserError(message, where="channel")
    local, plan, found = _assessed(evidence)
    if found.verdict.outcome != "Pass":
        why = "; ".join(found.verdict.reasons)
        message = f"the verdict is {found.verdict.outcome}, only Pass is promoted: {why}"
        raise QualityError(message, where="evidence")
    given = Path(candidate)
    path = given / "model.onnx" if given.is_dir() else given
    if not path.is_file() or file_digest(path) != found.candidate_digest:
        message = f"is not the model that was validated, {found.candidate_digest}"
        raise UserError(message, where="candidate")
    store = patient_store(store_url)
    _require_held(_read(store, channel)[1], plan, channel)  # before anything is copied
    _copy(local, store, plan, path)
    held = Held(
        digest=found.candidate_digest,
        uri=store.locate(object_path(found.candidate_digest)),
        run=plan.run,
        evidence=found.evidence_digest,
        moved_at=now().isoformat(timespec="seconds"),
    )
    return _move(store, channel, held, plan)


def _move(store: Store, channel: str, held: Held, plan: Plan) -> ChannelFile:
    """Put `held` into the channel, deciding again where another promotion was faster."""
    for _ in range(ATTEMPTS):
        content, before = _read(store, channel)
        _require_held(before, plan, channel)
        history = () if before is None else (before.current, *before.history)
        moved = ChannelFile(current=held, history=history[:HISTORY])
        if store.replace(_file_of(channel), record_bytes(moved), content):
            return moved
    message = f"other promotions moved it {ATTEMPTS} times meanwhile; promote again"
    raise InfrastructureError(message, where=f"channel {channel}")


def _file_of(channel: str) -> str:
    return f"channels/{channel}.json"


def _read(store: Store, channel: str) -> tuple[bytes | None, ChannelFile | None]:
    """Return a channel's file, as bytes and as a record; None and None if it is missing."""
    path = _file_of(channel)
    content = store.read(path)
    if content is None:
        return None, None
    return content, parse_record(content, ChannelFile, where=store.locate(path))


def _require_held(before: ChannelFile | None, plan: Plan, channel: str) -> None:
    """Refuse a candidate that was compared with something else than what it would replace."""
    compared = plan.spec.baseline_model
    held = "nothing" if before is None else before.current.digest
    if compared is not None and held != compared:
        message = (
            f"holds {held}, but the candidate was compared with {compared}; validate it against "
            "what the channel holds, or against the model that it was made from"
        )
        raise UserError(message, where=f"channel {channel}")


def _copy(local: Store, store: Store, plan: Plan, candidate: Path) -> None:
    """Copy the candidate and the records of its run."""
    store.put(candidate, "model.onnx", "application/vnd.onnx")
    store.put_record(plan)
    folder = f"runs/{plan.run}"
    records = [f"{folder}/{name}.json" for name in ("plan", "verdict", "evidence")]
    for path in (*(stage_path(plan.run, stage) for stage in plan.stages), *records):
        data = local.read(path)
        if data is None:
            raise CorruptError("it is missing", where=local.locate(path))
        store.write(path, data)


def _assessed(evidence: str) -> tuple[Store, Plan, Assessment]:
    """Return the store of an artifact of validate, its plan and what its gates say."""
    chain = _chain(evidence)
    store = Store(str(Path(evidence) / STORE))
    plan = store.plan(chain.plan)
    found = assess(store, chain.plan, chain.run, plan.spec.gates)
    if not isinstance(found, Assessment):
        raise CorruptError(found.message, where=evidence)
    return store, plan, found


def _chain(evidence: str) -> Chain:
    chain = read_chain(Path(evidence))
    if chain is None:
        raise UserError(f"'{evidence}' is no artifact of validate", where="evidence")
    return chain
