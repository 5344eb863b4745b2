"""An engine in memory whose runs stand as a test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from stored_runs import CANDIDATE, CANDIDATE_PATH, Outcome, evidence_path, result_files

from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import InfrastructureError
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store


@dataclass
class ScriptedEngine:
    """Starts one run a key; each goes on until a test says otherwise.

    A run that has succeeded leaves real evidence in the store when it is looked at.

    Attributes:
        store: Where the evidence is.
        verdict: What the gates say of the evidence; None leaves evidence that is corrupt.
        asked: Called with the key and the plan of every submission before it has any effect.
        touched: Called with the name of a change before and after it, such as `submit run`.
        states: How each run stands, by key.
        submitted: Keys of the runs that were started.
        cancelled: Keys of the runs that were cancelled, once a call.
        url: Where people see a run.
        error: Why no call is answered, if none is.
        submit_error: Why no run is taken, if none is.
    """

    store: Store
    verdict: Outcome | None = "Pass"
    asked: Callable[[str, Plan], None] = lambda key, plan: None
    touched: Callable[[str], None] = lambda call: None
    states: dict[str, RunStatus] = field(default_factory=dict)
    submitted: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    url: str = ""
    error: str = ""
    submit_error: str = ""
    _plans: dict[str, Plan] = field(default_factory=dict)  # of runs that left no evidence yet

    async def submit(self, key: str, plan: Plan) -> RunHandle:
        """Start a run, once a key."""
        self.asked(key, plan)
        self.touched("submit run")
        self._answer(self.submit_error)
        if key not in self.states:
            self.submitted.append(key)
            self.states[key] = RunStatus("Running")
            self._plans[key] = plan
        self.touched("submit run")
        return self._handle(key)

    async def find(self, key: str) -> tuple[RunHandle, ...]:
        """Return the run under `key`."""
        self._answer()
        return (self._handle(key),) if key in self.states else ()

    async def runs(self) -> tuple[RunHandle, ...]:
        """Return all of them."""
        self._answer()
        return tuple(self._handle(key) for key in self.states)

    async def status(self, handle: RunHandle) -> RunStatus:
        """Return how it stands."""
        self._answer()
        state = self.states.get(handle.key, RunStatus("Unknown", "NotFound"))
        if state.state == "Succeeded" and handle.key in self._plans:
            self._leave_evidence(self._plans.pop(handle.key))
        return state

    async def cancel(self, handle: RunHandle) -> None:
        """Stop it."""
        self.touched("cancel run")
        self._answer()
        self.cancelled.append(handle.key)
        if not self.states[handle.key].finished:
            self.states[handle.key] = RunStatus("Cancelled", "Cancelled", "it was")
        self.touched("cancel run")

    async def set_deadline(self, handle: RunHandle, seconds: int | None) -> None:
        """Change its deadline."""
        self.touched("set deadline")
        self._answer()
        self.states[handle.key] = replace(self.states[handle.key], deadline_s=seconds)
        self.touched("set deadline")

    async def forget(self, handle: RunHandle) -> None:
        """Do nothing: its runs are few."""

    def _handle(self, key: str) -> RunHandle:
        return RunHandle(key, f"at-{key}", self.url)

    def _answer(self, why: str = "") -> None:
        if why := self.error or why:
            raise InfrastructureError(why)

    def _leave_evidence(self, plan: Plan) -> None:
        if self.verdict is None:
            self.store.write(evidence_path(plan.run), b"{}")
            return
        self.store.write(CANDIDATE_PATH, CANDIDATE)
        for path, content in result_files(plan, self.verdict).items():
            self.store.write(path, content)
