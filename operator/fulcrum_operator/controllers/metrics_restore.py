"""Figures of models after a restart: what the newest evidence of each says, read again.

Gauges of models live in memory, and a restart must not make a dashboard forget what serves. What
was counted is not counted again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from fulcrum_operator.kubernetes.object_cache import Body
from fulcrum_operator.metrics import Metrics, model_label
from fulcrum_pipelines.errors import FulcrumError
from fulcrum_pipelines.gates import Verdict
from fulcrum_pipelines.storage.store import Store

log = logging.getLogger(__name__)


@dataclass
class Restorer:
    """Remembers the newest judged job of each model while memory is filled, and reads it later.

    Attributes:
        store: Has evidence and verdicts.
        metrics: Shows them.
        at_most: Models; further ones would be `other` in metrics anyway.
    """

    store: Store
    metrics: Metrics
    at_most: int
    _newest: dict[str, tuple[str, str]] = field(default_factory=dict)  # model -> time, run

    def note(self, job: Body) -> None:
        """Take note of a job of the first list."""
        status = job.get("status") or {}
        if "verdict" not in status or "run" not in status:
            return
        channel = (job["spec"].get("promotion") or {}).get("channel", "")
        model = model_label(job["metadata"].get("labels") or {}, channel)
        moment = status.get("completionTime") or status.get("startTime") or ""
        if self._newest.get(model, ("", "")) <= (moment, ""):
            self._newest[model] = (moment, status["run"]["key"])

    def restore(self) -> None:
        """Show what was noted, the newest last, so that it wins where models share a label."""
        newest = sorted(self._newest.items(), key=lambda item: item[1])[-self.at_most :]
        self._newest.clear()
        for model, (_, run) in newest:
            try:
                evidence = self.store.evidence(run)
                verdict = self.store.read_record(f"runs/{run}/verdict.json", Verdict)
            except FulcrumError as error:
                log.warning("the figures of model %s are not shown: %s", model, error)
                continue
            if evidence is not None and verdict is not None:
                self.metrics.show_evidence(model, evidence, verdict)
