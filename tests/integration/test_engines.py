"""All engines pass one suite; what only the process engine can do wrong is tested below."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import stand_in
from engine_suite import EngineSuite, ended, started
from fake_engine import FakeEngine
from stand_in import stand_in_plan

from fulcrum_operator.engines.process import ProcessEngine
from fulcrum_operator.engines.process_tree import MARK, Leader
from fulcrum_operator.engines.protocol import Engine
from fulcrum_pipelines.errors import InfrastructureError
from fulcrum_pipelines.states import RunStatus
from fulcrum_pipelines.storage.store import Store

COMMAND = (sys.executable, str(Path(stand_in.__file__)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(str(tmp_path / "store"))


@pytest.fixture
def signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which the stand-in leaves the ids of processes."""
    directory = tmp_path / "signs"
    directory.mkdir()
    monkeypatch.setenv("STAND_IN_DIRECTORY", str(directory))
    return directory


def make_process_engine(store: Store, tmp_path: Path) -> ProcessEngine:
    """Return an engine whose pipeline is the stand-in."""
    return ProcessEngine(store, tmp_path / "work", command=COMMAND, grace_s=1.0)


@pytest.fixture(params=["process", "fake"])
def engine(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> Engine:
    """Each engine, with the stand-in as its pipeline."""
    if request.param == "fake":
        return FakeEngine(store, stand_in.work)
    return make_process_engine(store, tmp_path)


class TestEngines(EngineSuite):
    """The suite, for each engine."""


@pytest.fixture
def process_engine(store: Store, tmp_path: Path) -> ProcessEngine:
    """The process engine alone."""
    return make_process_engine(store, tmp_path)


@pytest.fixture
def scratch_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary files, empty at first."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    return directory


def processes_of(signs: Path, kind: str) -> list[int]:
    """Return the ids that the stand-in left for processes of `kind` that still run."""
    pids = [int(path.name.rpartition("-")[2]) for path in signs.glob(f"{kind}-*")]
    return [
        pid
        for pid in pids
        if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.parametrize("behaviour", ["hang", "ignore-sigterm", "children", "detached-children"])
def test_cancel_leaves_no_process_and_no_file(
    process_engine: ProcessEngine, store: Store, signs: Path, scratch_root: Path, behaviour: str
) -> None:
    async def scenario() -> None:
        plan = stand_in_plan(behaviour)
        handle = await process_engine.submit(plan.run, plan)
        await started(store, plan.run)
        assert processes_of(signs, "started")
        assert len(processes_of(signs, "child")) == ("children" in behaviour)
        await process_engine.cancel(handle)

    asyncio.run(scenario())
    assert processes_of(signs, "started") == []
    assert processes_of(signs, "child") == []
    assert list(scratch_root.iterdir()) == []


def test_daemon_of_a_run_that_ended_is_stopped(
    process_engine: ProcessEngine, signs: Path, scratch_root: Path
) -> None:
    async def scenario() -> str:
        plan = stand_in_plan("orphan")
        return (await ended(process_engine, await process_engine.submit(plan.run, plan))).state

    assert asyncio.run(scenario()) == "Failed"
    assert len(list(signs.glob("child-*"))) == 1
    assert processes_of(signs, "child") == []
    assert list(scratch_root.iterdir()) == []


def test_starters_in_several_processes_start_one_run(
    store: Store, tmp_path: Path, signs: Path
) -> None:
    starter = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from fulcrum_operator.engines.process import ProcessEngine\n"
        "from fulcrum_pipelines.storage.store import Store\n"
        "from stand_in import stand_in_plan\n"
        "engine = ProcessEngine(Store(sys.argv[1]), Path(sys.argv[2]), command=sys.argv[3:])\n"
        "plan = stand_in_plan('hang')\n"
        "print(asyncio.run(engine.submit(plan.run, plan)).reference, flush=True)\n"
    )
    path = os.pathsep.join([str(Path(stand_in.__file__).parent), *sys.path])
    work_root = str(tmp_path / "work")
    starters = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", starter, store.url, work_root, *COMMAND],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    references = {starter.communicate(timeout=60)[0] for starter in starters}
    assert len(references) == 1

    async def found_and_cancelled() -> None:  # its starters are gone
        engine = make_process_engine(store, tmp_path)
        plan = stand_in_plan("hang")
        (handle,) = await engine.find(plan.run)
        await started(store, plan.run)
        assert (await engine.status(handle)).state == "Running"
        await engine.cancel(handle)
        assert (await engine.status(handle)).state == "Cancelled"

    asyncio.run(found_and_cancelled())
    assert len(list(signs.glob("started-*"))) == 1
    assert processes_of(signs, "started") == []


@pytest.mark.usefixtures("scratch_root")
def test_run_does_not_start_where_its_starter_died_before_it_was_on_file(
    process_engine: ProcessEngine, signs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(record: object) -> None:
        raise KeyboardInterrupt  # as for a process that died, its end of the gate is closed

    monkeypatch.setattr(process_engine, "_write", die)
    plan = stand_in_plan("succeed")
    with pytest.raises(KeyboardInterrupt):
        process_engine._submit(plan.run, plan)
    (child,) = process_engine._children.values()
    assert child.wait(timeout=30) == 1
    assert list(signs.iterdir()) == []
    assert asyncio.run(process_engine.find(plan.run)) == ()


def test_full_disk_is_an_error_and_starts_nothing(
    process_engine: ProcessEngine,
    signs: Path,
    scratch_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(record: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(process_engine, "_write", full)
    plan = stand_in_plan("succeed")
    with pytest.raises(InfrastructureError, match="No space left on device"):
        process_engine._submit(plan.run, plan)
    (child,) = process_engine._children.values()
    assert child.wait(timeout=30) == 1
    assert list(signs.iterdir()) == []
    assert list(scratch_root.iterdir()) == []


def test_process_with_the_id_of_a_run_that_ended_is_not_taken_for_it(
    process_engine: ProcessEngine, tmp_path: Path
) -> None:
    async def scenario() -> None:
        plan = stand_in_plan("no-evidence")
        handle = await process_engine.submit(plan.run, plan)
        await ended(process_engine, handle)
        path = tmp_path / "work" / plan.run / "process.json"
        record = json.loads(path.read_text())
        record["leader"]["pid"] = os.getpid()  # this test, which would not survive a mistake
        path.write_text(json.dumps(record))
        assert (await process_engine.status(handle)).state == "Failed"
        await process_engine.cancel(handle)
        await process_engine.forget(handle)

    asyncio.run(scenario())


def test_zombie_is_not_alive() -> None:
    process = subprocess.Popen(["/bin/true"], env={MARK: "m"})
    leader = Leader(process.pid, "m", psutil.Process(process.pid).create_time())
    for _ in range(500):
        if psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.01)
    assert not leader.is_alive()
    process.wait()


def test_log_is_kept(process_engine: ProcessEngine, store: Store) -> None:
    async def scenario() -> None:
        plan = stand_in_plan("hang")
        handle = await process_engine.submit(plan.run, plan)
        await started(store, plan.run)
        await process_engine.cancel(handle)
        assert "working" in process_engine.log_path(plan.run).read_text()

    asyncio.run(scenario())


def test_unreadable_record_is_an_error_not_a_missing_run(
    process_engine: ProcessEngine, tmp_path: Path
) -> None:
    folder = tmp_path / "work" / "some-run-1"
    folder.mkdir(parents=True)
    (folder / "process.json").write_text('{"key": ')
    with pytest.raises(InfrastructureError, match=r"process\.json: cannot be read"):
        asyncio.run(process_engine.find("some-run-1"))


def test_work_directory_that_cannot_be_made_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    engine = ProcessEngine(store, tmp_path / "file" / "work", command=COMMAND)
    plan = stand_in_plan("succeed")
    with pytest.raises(InfrastructureError, match="file/work: cannot be written"):
        asyncio.run(engine.submit(plan.run, plan))


@pytest.mark.usefixtures("signs")
def test_run_whose_store_was_emptied_is_over_and_can_be_run_again(
    store: Store, tmp_path: Path
) -> None:
    engine = make_process_engine(store, tmp_path)
    plan = stand_in_plan("succeed")

    async def scenario() -> list[RunStatus]:
        first = await engine.submit(plan.run, plan)
        found = [await ended(engine, first)]
        shutil.rmtree(store.url)
        found.append(await engine.status(first))
        await engine.forget(first)
        return [*found, await ended(engine, await engine.submit(plan.run, plan))]

    states = [(status.state, status.reason) for status in asyncio.run(scenario())]
    assert states == [("Succeeded", ""), ("Failed", "EvidenceUnreadable"), ("Succeeded", "")]
