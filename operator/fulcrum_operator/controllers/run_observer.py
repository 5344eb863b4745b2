"""Look at a job's run, at its engine and in the store, by the same rules on a cluster and without.

The operator's `observer` and `embedded`, the loop of `fulcrum run`, both see runs through here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace

from fulcrum_operator.engines.protocol import Engine
from fulcrum_operator.lifecycle.observation import Job, Observed, Snapshot
from fulcrum_operator.lifecycle.starting import plan_of
from fulcrum_operator.lifecycle.summary import headlines
from fulcrum_pipelines.assessing import assess
from fulcrum_pipelines.errors import CorruptError, InfrastructureError
from fulcrum_pipelines.runner.results import stage_states
from fulcrum_pipelines.states import RunStatus, StageState
from fulcrum_pipelines.storage.store import Store


async def at_engine(seen: Observed, engine: Engine, key: str) -> Observed:
    """Return `seen` with the runs under `key`, or with why the engine does not answer."""
    try:
        runs = await engine.find(key)
        run = await engine.status(runs[0]) if runs else None
    except InfrastructureError as error:
        return replace(seen, engine_error=str(error))
    return replace(seen, runs=runs, run=run)


def in_store(seen: Observed, store: Store, snapshot: Snapshot, run: RunStatus) -> Observed:
    """Return `seen` with the progress of `run`, and an assessment if it succeeded.

    Blocks while it reads, so it belongs in a thread.

    Raises:
        InfrastructureError: The store does not answer; try again later.
    """
    job, on_file = seen.job, seen.job.status.run
    assert on_file is not None
    # Unreadable progress is no news; the evidence as a whole is what decides.
    with contextlib.suppress(CorruptError):
        states = stage_states(store, plan_of(job, snapshot, job.status.attempt, ""))
        seen = replace(seen, stages=states)
        seen = replace(seen, headlines=_headlines(job, store, on_file.key, states))
    if run.state == "Succeeded" and on_file.reference is not None:
        found = assess(store, on_file.plan or "", on_file.key, snapshot.spec.gates)
        seen = replace(seen, assessment=found)
    return seen


def _headlines(
    job: Job, store: Store, key: str, states: tuple[StageState, ...]
) -> dict[str, Mapping[str, str]]:
    known = {each.name: each.metrics for each in job.status.stages if each.metrics}
    for state in states:
        if state.state == "Succeeded" and state.stage not in known:
            evidence = store.stage_evidence(key, state.stage)
            known[state.stage] = headlines(evidence) if evidence is not None else {}
    return dict(known)
