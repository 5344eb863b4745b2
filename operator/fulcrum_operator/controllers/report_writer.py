"""The report of a job on a cluster: made after its verdict, and never a reason for another one.

It is made while the job is observed, as the verdict is, and recorded by a decision. So a crash in
between makes the same page again at the same place.
"""

from __future__ import annotations

import logging
import threading

from fulcrum_operator.lifecycle.observation import NoReport, Report
from fulcrum_operator.resources.compressionjob import CompressionJobStatus
from fulcrum_pipelines.errors import CorruptError, FulcrumError
from fulcrum_pipelines.evidence import Evidence
from fulcrum_pipelines.gates import decide
from fulcrum_pipelines.report.files import store_report
from fulcrum_pipelines.storage.store import Store, parse_record

MOST_EVIDENCE_BYTES = 4 << 20
"""Larger evidence gets no report here. For 4 MB a page took 2.4 s and 70 MB (docs/scale.md)."""

log = logging.getLogger(__name__)
_one_at_a_time = threading.Lock()
"""Bounds the memory, and leaves the event loop at least half of the interpreter."""


def has_no_report(status: CompressionJobStatus) -> bool:
    """Return whether a job has a verdict, and neither a report nor a reason why it has none."""
    decided = any(each.type == "Reported" for each in status.conditions)
    return status.verdict is not None and status.report is None and not decided


def report(store: Store, status: CompressionJobStatus) -> Report | NoReport:
    """Write the report of the run that a job was judged by, and return where it is.

    It takes up to some seconds of processor time, so it belongs in a thread.

    Args:
        store: Holds the evidence, and gets the report, under the run's key.
        status: Of a job with a verdict.
    """
    try:
        return Report(_report(store, status))
    except FulcrumError as error:
        silent = error.failure_class == "infrastructure" and not isinstance(error, CorruptError)
        return NoReport(str(error), retryable=silent)
    except Exception as error:  # a defect in drawing must not keep a job from its end
        log.exception("the report could not be made")
        return NoReport(f"{type(error).__name__}: {error} (a defect of fulcrum)", retryable=False)


def _report(store: Store, status: CompressionJobStatus) -> str:
    run, judged = status.run, status.evidence
    if run is None or run.plan is None or judged is None:
        raise CorruptError("status names no run, plan or evidence", where="status")
    path = f"runs/{run.key}/evidence.json"
    where, data = store.locate(path), store.read(path)
    if data is None:
        raise CorruptError("the evidence is missing", where=where)
    if len(data) > MOST_EVIDENCE_BYTES:
        message = f"has {len(data) >> 20} MiB, over the limit of {MOST_EVIDENCE_BYTES >> 20} MiB"
        raise CorruptError(message, where=where)
    plan = store.plan(run.plan)
    with _one_at_a_time:
        evidence = parse_record(data, Evidence, where=where)
        verdict = decide(evidence, plan.spec.gates)
        if (verdict.evidence, verdict.outcome) != (judged.digest, status.verdict):
            message = f"it now says {verdict.outcome}, of {verdict.evidence}, unlike the verdict"
            raise CorruptError(message, where=where)
        return store_report(store, run.key, evidence, verdict, plan.name)
