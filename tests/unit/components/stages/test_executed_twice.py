"""A stage that is executed twice, at once or in turn, has one result and leaves no second."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from builders.evidence import make_stage
from builders.plans import make_plan
from kfp import dsl

from fulcrum_components.stages import component
from fulcrum_components.stages.component import EVIDENCE_FILE, StageFailedError
from fulcrum_components.stages.recording import record
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.evidence import StageEvidence, StageName
from fulcrum_pipelines.storage.store import Store, cache_path, log_path, record_bytes, stage_path

Worker = Callable[[Path], tuple[int, list[str], bool]]


@dataclass
class Cluster:
    """Executes stages of one run, whose workers do what a test says.

    Attributes:
        workers: What the next workers do, the first first.
    """

    directory: Path
    plan: Plan = field(default_factory=make_plan)
    workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Store(str(self.directory / "store"))
        self.digest = self.store.put_record(self.plan)

    def evidence(self, seconds: float, stage: StageName = "validate") -> StageEvidence:
        """Return evidence of one execution; `seconds` make it differ from another's."""
        run = self.plan.run
        return make_stage(stage, run=run, plan=self.digest, seconds=seconds, outputs=())

    def succeeds(self, seconds: float, during: Callable[[], object] = lambda: None) -> Worker:
        """Return a worker that is done when `during` is."""

        def work(scratch: Path) -> tuple[int, list[str], bool]:
            during()
            (scratch / EVIDENCE_FILE).write_bytes(record_bytes(self.evidence(seconds)))
            return 0, [f"took {seconds} s"], False

        return work

    def fails(self, during: Callable[[], object] = lambda: None) -> Worker:
        """Return a worker that is killed when `during` is done."""

        def work(scratch: Path) -> tuple[int, list[str], bool]:
            during()
            return -9, ["killed"], False

        return work

    def supervise(self, command: Any, deadline_s: Any, scratch: str, fd: Any) -> Any:
        return self.workers.pop(0)(Path(scratch))

    def execute(self) -> None:
        """Execute validate once, as a pod does."""
        made = [dsl.Model("m", "m"), dsl.Metrics("n", "n")]
        made += [dsl.ClassificationMetrics("c", "c"), dsl.HTML("h", "h")]
        for artifact in made:
            artifact.set_path(str(self.directory / "ui" / artifact.name))
        run = self.plan.run
        component.run_stages("validate", self.store.url, run, self.digest, True, "an-id", *made)

    def files(self) -> dict[str, bytes]:
        """Return the run's and the cache's files with what is in them."""
        root = self.directory / "store"
        found = [path for folder in ("runs", "cache") for path in (root / folder).rglob("*")]
        return {str(p.relative_to(root)): p.read_bytes() for p in found if p.is_file()}

    def assert_result(self, seconds: float) -> None:
        """All that is on record is of the execution that took `seconds`."""
        run, expected = self.plan.run, self.evidence(seconds)
        assert self.store.stage_evidence(run, "validate") == expected
        whole = self.store.evidence(run)
        assert whole is not None
        assert whole.stages[-1] == expected
        assert self.store.cached("validate", expected.inputs_digest) == expected
        state = self.store.stage_state(run, "validate")
        assert state is not None
        assert (state.state, state.fraction) == ("Succeeded", 1.0)
        log = self.store.read(log_path(run, "validate"))
        assert log == f"took {seconds} s\n".encode()
        names = {
            stage_path(run, "validate"),
            *(stage_path(run, stage) for stage in self.plan.stages),
            cache_path("validate", expected.inputs_digest),
            f"runs/{run}/evidence.json",
            f"runs/{run}/state/validate.json",
            log_path(run, "validate"),
        }
        assert set(self.files()) == names


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A run whose earlier stages have their results."""
    made = Cluster(tmp_path)
    for stage in made.plan.stages[:-1]:
        made.store.write_record(stage_path(made.plan.run, stage), made.evidence(1.0, stage))
    monkeypatch.setattr(component, "hide_process", lambda: None)
    monkeypatch.setattr(component, "_supervise", made.supervise)
    return made


def test_second_execution_in_turn_takes_the_result(cluster: Cluster) -> None:
    cluster.workers = [cluster.succeeds(1.0)]
    cluster.execute()
    before = cluster.files()
    cluster.execute()  # no worker is left for it
    assert cluster.files() == before
    cluster.assert_result(1.0)


def test_first_complete_execution_wins_and_the_other_leaves_nothing(cluster: Cluster) -> None:
    seen: list[dict[str, bytes]] = []

    def other() -> None:
        cluster.execute()
        seen.append(cluster.files())

    cluster.workers = [cluster.succeeds(9.0, during=other), cluster.succeeds(1.0)]
    cluster.execute()
    assert [cluster.files()] == seen
    cluster.assert_result(1.0)


def test_execution_that_fails_after_another_succeeded_is_a_success(cluster: Cluster) -> None:
    cluster.workers = [cluster.fails(during=cluster.execute), cluster.succeeds(1.0)]
    cluster.execute()
    cluster.assert_result(1.0)


def test_execution_that_succeeds_after_another_failed_counts(cluster: Cluster) -> None:
    def other() -> None:
        with pytest.raises(StageFailedError, match="SIGKILL"):
            cluster.execute()
        state = cluster.store.stage_state(cluster.plan.run, "validate")
        assert state is not None
        assert state.state == "Failed"

    cluster.workers = [cluster.succeeds(9.0, during=other), cluster.fails()]
    cluster.execute()
    cluster.assert_result(9.0)


def test_failure_that_arrives_too_late_is_not_kept(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other succeeds between this one's last look and the state that it writes."""
    write = Store.write_record

    def late(store: Store, path: str, record: Any) -> None:
        if getattr(record, "state", "") == "Failed":
            monkeypatch.setattr(Store, "write_record", write)
            cluster.execute()
        write(store, path, record)

    monkeypatch.setattr(Store, "write_record", late)
    cluster.workers = [cluster.fails(), cluster.succeeds(1.0)]
    cluster.execute()
    cluster.assert_result(1.0)


def test_result_of_an_execution_that_died_at_once_is_completed(cluster: Cluster) -> None:
    record(cluster.store, cluster.plan, cluster.evidence(1.0), ["took 1.0 s"])
    assert cluster.store.evidence(cluster.plan.run) is None
    cluster.execute()
    cluster.assert_result(1.0)


@pytest.mark.parametrize(
    "leftover",
    [
        pytest.param(make_stage("validate", run="other-1"), id="another run's"),
        pytest.param(make_stage("validate", run=make_plan().run), id="another plan's"),
        pytest.param(make_stage("prune", run=make_plan().run), id="another stage's"),
    ],
)
def test_what_something_else_left_does_not_pass_for_a_result(
    leftover: StageEvidence, cluster: Cluster
) -> None:
    cluster.store.write_record(stage_path(cluster.plan.run, "validate"), leftover)
    cluster.workers = [cluster.succeeds(1.0)]
    with pytest.raises(StageFailedError, match="no evidence of this stage and plan"):
        cluster.execute()
    assert cluster.store.evidence(cluster.plan.run) is None


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_one_of_many_creates_a_file(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    if not links:

        def refuse(source: str, target: str) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr("os.link", refuse)
    content = [str(number).encode() for number in range(16)]
    with ThreadPoolExecutor(len(content) if links else 1) as pool:
        created = list(pool.map(lambda data: store.create("runs/x/a.json", data), content))
    assert created.count(True) == 1
    assert store.read("runs/x/a.json") == content[created.index(True)]
    assert store.names("runs/x") == ("a.json",)


def test_answer_that_was_lost_is_no_other_execution(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert store.create("a", b"mine")
    assert store.create("a", b"mine")
    assert not store.create("a", b"other")
