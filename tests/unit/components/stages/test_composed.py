"""Components of other people's pipelines: what goes along with a model, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders.evidence import make_stage

from fulcrum_components.models.signature import Signature
from fulcrum_components.sources.digest import content_digest
from fulcrum_components.stages import composed
from fulcrum_components.stages.composed import Unshown, compress, validate
from fulcrum_components.stages.context import SIGNATURE
from fulcrum_pipelines.chain import STORE, read_chain
from fulcrum_pipelines.composed import check
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import StageName
from fulcrum_pipelines.storage.store import Store, stage_path

TASK = {"data.task": "classification"}
OPTIONS: dict[StageName, dict[str, Any]] = {
    "prune": {"recipe.prune.structured.sparsity": 0.5},
    "finetune": {"recipe.finetune.epochs": 2},
    "quantize": {"recipe.quantize.method": "static"},
}
GATES = {"gates": [{"name": "size", "kind": "size", "max": 0.5}]}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that ran; each leaves evidence of its inputs and a file."""
    names: list[str] = []

    def run_stages(
        stage: StageName,
        url: str,
        run: str,
        plan_digest: str,
        _: bool,
        __: str,
        model: Any,
        *___: Any,
    ) -> None:
        names.append(stage)
        store = Store(url)
        data = store.plan(plan_digest).spec.data
        spec_model = store.plan(plan_digest).spec.model
        sets = {"train": data.train, "validation": data.validation, "test": data.test}
        inputs = {
            f"data.{name}": content_digest(Path(source.uri.removeprefix("file://")))
            for name, source in sets.items()
            if source is not None and (name != "test" or stage in ("evaluate", "validate"))
        }
        inputs["model"] = content_digest(Path(spec_model.uri.removeprefix("file://")))
        made = Path(model.path)
        made.write_text(f"{stage} of {run}")
        output = store.put(made, "model.onnx", "application/vnd.onnx")
        outputs = (output,)
        if stage == "evaluate":
            made.write_text(Signature((), (), "probabilities").to_json())
            outputs = (output, store.put(made, SIGNATURE, "application/json"))
        record = make_stage(stage, run=run, plan=plan_digest, inputs=inputs, outputs=outputs)
        store.write_record(stage_path(run, stage), record)
        model.metadata.update(digest=output.digest, address="/somewhere")

    monkeypatch.setattr(composed, "run_stages", run_stages)
    return names


class World:
    """A team's model and data, and short ways to call the components on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = self.file("model", "not a zip")
        self.train, self.other = self.file("train", "a,y"), self.file("other", "b,y")
        self.test = self.file("test", "c,y")

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def compress(self, stage: StageName, model: str, **changes: Any) -> str:
        made = Unshown(str(self.folder / f"made-{len(list(self.folder.iterdir()))}"))
        data = {"train": self.train} | changes.pop("data", {})
        compress(stage, model, data, TASK | OPTIONS[stage] | changes, check, made, Unshown(""))
        assert "address" not in made.metadata  # it is gone with the pod
        return made.path

    def validate(self, candidate: str, **changes: Any) -> str:
        evidence = Unshown(str(self.folder / "evidence"))
        data = {"train": self.train, "test": self.test} | changes.pop("data", {})
        baseline = changes.pop("baseline", self.model)
        validate(baseline, candidate, data, GATES | changes, check, evidence, Unshown(""))
        return evidence.path


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_chain_runs_each_stage_once_and_measures_quality_at_its_end(
    world: World, ran: list[str]
) -> None:
    pruned = world.compress("prune", world.model)
    tuned = world.compress("finetune", pruned)
    evidence = world.validate(world.compress("quantize", tuned))
    assert ran == ["evaluate", "prune", "finetune", "quantize", "evaluate", "validate"]
    chain = read_chain(Path(evidence))
    assert chain is not None
    store = Store(f"{evidence}/{STORE}")
    plan = store.plan(chain.plan)
    assert plan.stages == ("evaluate", "prune", "finetune", "quantize", "validate")
    records = [store.stage_evidence(chain.run, stage) for stage in plan.stages]
    assert {(each.run, each.plan) for each in records if each} == {(plan.run, chain.plan)}
    earlier = [each.cached_from is not None for each in records if each]
    assert earlier == [False, True, True, True, False]


def test_device_of_an_earlier_component_is_asked_only_of_those_that_train(
    world: World, ran: list[str]
) -> None:
    """Quantize and validate may run on machines without a GPU."""
    pruned = world.compress("prune", world.model, **{"recipe.device": "cuda"})
    tuned = world.compress("finetune", pruned)
    quantized = world.compress("quantize", tuned)
    explicit = world.compress("quantize", tuned, **{"recipe.device": "cuda"})
    made = (pruned, tuned, quantized, explicit, world.validate(quantized))
    devices = []
    for path in made:
        chain = read_chain(Path(path))
        assert chain is not None
        devices.append(Store(f"{path}/{STORE}").plan(chain.plan).spec.recipe.device)
    assert devices == ["cuda", "cuda", "auto", "cuda", "auto"]


def test_other_data_are_read_again(world: World, ran: list[str]) -> None:
    pruned = world.compress("prune", world.model)
    world.compress("finetune", pruned, data={"validation": world.other})
    assert ran == ["evaluate", "prune", "evaluate", "finetune"]


def _after_itself(world: World) -> object:
    return world.compress("prune", world.compress("prune", world.model))


def _before_its_turn(world: World) -> object:
    return world.compress("finetune", world.compress("quantize", world.model))


def _two_methods(world: World) -> object:
    return world.compress("prune", world.model, **{"recipe.prune.nm": {}})


def _out_of_bounds(world: World) -> object:
    return world.compress("finetune", world.model, **{"recipe.finetune.epochs": 0})


def _other_task(world: World) -> object:
    pruned = world.compress("prune", world.model)
    return world.compress("finetune", pruned, **{"data.task": "regression"})


def _trained_on_other_data(world: World) -> object:
    pruned = world.compress("prune", world.model)
    return world.compress("finetune", pruned, data={"train": world.other})


def _no_data(world: World) -> object:
    return world.compress("quantize", world.model, data={"train": None})


def _no_candidate(world: World) -> object:
    return world.validate(str(world.folder / "none"))


def _training_data_kept_back(world: World) -> object:
    return world.validate(world.compress("prune", world.model), data={"train": None})


def _training_data_exchanged(world: World) -> object:
    return world.validate(world.compress("prune", world.model), data={"train": world.other})


def _baseline_of_another_format(world: World) -> object:
    baseline = world.file("baseline", "PK\x03\x04")
    return world.validate(world.compress("prune", world.model), baseline=baseline)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (_after_itself, "model: prune cannot follow prune; the order is prune, finetune, quantize"),
        (_before_its_turn, "model: finetune cannot follow quantize"),
        (_two_methods, "spec.recipe.prune: must have exactly one of"),
        (_out_of_bounds, "spec.recipe.finetune.epochs"),
        (_other_task, "data.task: is 'regression' here, 'classification' when the model was made"),
        (_trained_on_other_data, "train: is not what stage prune was given"),
        (_no_data, "give train or validation"),
        (_no_candidate, "candidate: there is no model at"),
        (_training_data_kept_back, "train: stage prune was given train; give it here too"),
        (_training_data_exchanged, "train: is not what stage prune was given"),
        (_baseline_of_another_format, "baseline: is another model than the candidate was made"),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("_"),
)
def test_what_does_not_belong_together_is_refused(
    act: Callable[[World], object], words: str, world: World, ran: list[str]
) -> None:
    with pytest.raises(UserError) as raised:
        act(world)
    assert words in str(raised.value)
    assert "validate" not in ran


@pytest.mark.parametrize("made", [False, True], ids=["given baseline", "baseline of a component"])
def test_candidate_that_no_component_made(world: World, ran: list[str], made: bool) -> None:
    baseline = world.compress("quantize", world.model) if made else world.model
    ran.clear()
    candidate = world.file("candidate", "another ONNX file")
    evidence = world.validate(candidate, baseline=baseline, **TASK)
    assert ran == ["evaluate", "convert", "validate"]
    chain = read_chain(Path(evidence))
    assert chain is not None
    plan = Store(f"{evidence}/{STORE}").plan(chain.plan)
    assert plan.stages == ("evaluate", "convert", "validate")
    assert plan.spec.candidate is not None
    assert plan.spec.candidate.meaning == ("probabilities" if made else None)
    assert Path(plan.spec.candidate.uri.removeprefix("file://")).read_text() == "another ONNX file"
    compared = Path(baseline) / "model.onnx" if made else Path(baseline)
    assert plan.spec.baseline_model == content_digest(compared)


def test_other_onnx_file_is_the_baseline(world: World, ran: list[str]) -> None:
    baseline = world.file("serving", "another ONNX file")
    evidence = world.validate(world.compress("prune", world.model), baseline=baseline)
    chain = read_chain(Path(evidence))
    assert chain is not None
    spec = Store(f"{evidence}/{STORE}").plan(chain.plan).spec
    assert spec.baseline_model == content_digest(Path(baseline))
    assert ran[-2:] == ["evaluate", "validate"]
