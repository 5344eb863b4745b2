"""Generate the Kubeflow components in this folder, Python and compiled YAML, from the job's schema.

Their parameters are the options of a CompressionJob, with its defaults and descriptions, so that
neither can differ. This file defines the artifacts and the called function of each.

Run as `python components/kubeflow/generate.py [--check]`; `--check` fails if a file is stale.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "components" / "kubeflow"
EXAMPLE = ROOT / "examples" / "kubeflow" / "pipeline.py"
SCHEMA = ROOT / "crds" / "compressionjob.yaml"
IMAGE = "fulcrum-components"  # replace it with set_container_image, see docs/kubeflow-components.md

TYPES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
}
NAMES = {"recipe": "", "data": "", "model": "model_", "source": "data_", "measure": "measure_"}
"""Prefix of a parameter's name, by the place of its option in the specification."""

READING = ("source.format", "source.inputs", "source.target", "source.scale")
MEANING = ("data.task", "data.classes")
OUTPUTS = ("data.targets", "data.ignoredOutputs")
MODEL = ("model.meaning",)
SEED = ("seed",)
SHARED = (*MEANING, *READING, *MODEL, "data.ignoredOutputs", "recipe.device", *SEED)
LEFT_OUT = {"recipe.prune.recoveryEpochs"}
"""It trains with the options of recipe.finetune, which is a component of its own here."""

DATA = {
    "train": "Labelled examples to train on.",
    "validation": "Labelled examples for early stopping and for choosing between candidates.",
    "calibration": "Examples that fix the quantizer's ranges. By default a sample of train.",
    "test": "Labelled examples that decide. They must be in none of the other data sets.",
}
ARGUMENTS = {"calibration": "calibration_set"}
"""Data sets whose argument has another name, since quantize has an option of that."""
INHERITED = (
    "data.task",
    "data.classes",
    "data.ignoredOutputs",
    "source.",
    "model.",
    "recipe.allowNoop",
    "recipe.device",
)
"""Options given once for a chain of components: what the model and the data mean."""


@dataclass(frozen=True)
class Parameter:
    """One argument of a component.

    Attributes:
        name: Its name in Python.
        kind: Its type, as written.
        text: Its description.
        default: Its default as Python source; None where it must be given.
        path: Of its option in the specification; empty where it is none.
        value: What the body passes on, as Python source.
    """

    name: str
    kind: str
    text: str
    default: str | None = None
    path: str = ""
    value: str = ""

    @property
    def declared(self) -> str:
        default = "" if self.default is None else f" = {self.default}"
        return f"{self.name}: {self.kind}{default}"


@dataclass(frozen=True)
class Component:
    """The parts of a component that are not in the schema.

    Attributes:
        summary: First line of its description.
        inputs: Names, kinds and descriptions of the artifacts that it needs.
        data: Names of the data sets that it may be given besides.
        outputs: Names, kinds and descriptions of the artifacts that it makes.
        own: Path of the part of the specification that is its own; empty where it has none.
        options: Paths of other options that it takes.
        body: What it does; `{options}` are the options, `{data}` the paths of data sets.
        returns: Its output parameter.
    """

    summary: str
    inputs: tuple[tuple[str, str, str], ...]
    outputs: tuple[tuple[str, str, str], ...]
    body: str
    data: tuple[str, ...] = ()
    own: str = ""
    options: tuple[str, ...] = ()
    returns: str = ""


TO_COMPRESS = (
    "model",
    "Model",
    "A bundle, a .pt2 or .onnx file, or what an earlier component made.",
)
COMPRESSED = ("compressed", "Model", "The model, with what later components need to know of it.")
METRICS = ("metrics", "Metrics", "Its figures.")
COMPRESS = """\
from fulcrum_components.stages.composed import compress
from fulcrum_pipelines.composed import check

compress(
    "{name}",
    model.path,
    {data},
    {options},
    check,
    compressed,
    metrics,
)
"""
MEASURE_BASELINE = """\
from fulcrum_components.stages.composed import evaluate

evaluate(
    model.path,
    test.path,
    {options},
    metrics,
    confusion,
    summary,
)
"""
VALIDATE = """\
from fulcrum_components.stages.composed import validate
from fulcrum_pipelines.composed import check, judge

validate(
    baseline.path,
    candidate.path,
    {data},
    {options},
    check,
    evidence,
    metrics,
)
return (judge(evidence.path, report.path),)
"""
PROMOTE = """\
from datetime import UTC, datetime

from fulcrum_pipelines.composed import promote

promote(channel, candidate.path, evidence.path, store, lambda: datetime.now(UTC))
"""


def _compressing(stage: str, summary: str, needed: tuple[str, ...], *more: str) -> Component:
    """Return prune, finetune or quantize: a model goes in, a smaller or better one comes out."""
    return Component(
        summary=summary,
        inputs=(TO_COMPRESS, *((name, "Dataset", DATA[name]) for name in needed)),
        data=tuple(
            name
            for name in ("train", "validation", "calibration")
            if name not in needed and (name != "calibration" or stage == "quantize")
        ),
        outputs=(COMPRESSED, METRICS),
        own=f"recipe.{stage}",
        options=("recipe.allowNoop", *SHARED, *more),
        body=COMPRESS,
    )


COMPONENTS = {
    "prune": _compressing("prune", "Remove weights from a model.", ("train",)),
    "finetune": _compressing(
        "finetune", "Train a model further, with the original as teacher.", ("train",)
    ),
    "quantize": _compressing(
        "quantize",
        "Replace a model's floating point by integers.",
        (),
        "data.calibrationSamples",
        "measure",
    ),
    "evaluate": Component(
        summary="Measure a model on test data.",
        inputs=(
            ("model", "Model", "Any model, or what a component made, whose ONNX file is measured."),
            ("test", "Dataset", "Labelled examples."),
        ),
        outputs=(
            METRICS,
            ("confusion", "ClassificationMetrics", "The confusion matrix, of up to 50 classes."),
            ("summary", "HTML", "A page with figures and warnings."),
        ),
        options=(*SHARED, "data.slices", "data.targets", "data.groupBy"),
        body=MEASURE_BASELINE,
    ),
    "validate": Component(
        summary="Compare a compressed model with its baseline, and decide the gates.",
        inputs=(
            (
                "baseline",
                "Model",
                "The model that the candidate was made from, or another ONNX file to compare with.",
            ),
            (
                "candidate",
                "Model",
                "What prune, finetune or quantize made, or a model that something else made.",
            ),
            ("test", "Dataset", DATA["test"]),
        ),
        data=("train", "validation", "calibration"),
        outputs=(
            METRICS,
            ("report", "HTML", "The whole report."),
            ("evidence", "Artifact", "What the verdict was decided from; promote needs it."),
        ),
        options=(
            "gates",
            *SHARED,
            "data.slices",
            "data.targets",
            "data.groupBy",
            "measure",
            "allowWeakBaseline",
        ),
        body=VALIDATE,
        returns="verdict",
    ),
    "promote": Component(
        summary="Let a channel, a file in a store, hold a candidate whose verdict is Pass.",
        inputs=(
            (
                "candidate",
                "Model",
                "What validate measured: a component's artifact, or an ONNX file.",
            ),
            ("evidence", "Artifact", "What validate made; the gates are decided again from it."),
        ),
        outputs=(),
        options=("channel", "store"),
        body=PROMOTE,
    ),
}

PLAIN = {
    "channel": ("str", "Name of the channel: `channels/NAME.json` in the store."),
    "store": ("str", "Where model and evidence are kept: a directory or a URL, such as s3://...."),
}
"""Parameters that no job has."""


@cache
def schema() -> dict[str, Any]:
    """Return the schema of a job's specification, with that of one data set as `source`."""
    crd = yaml.safe_load(SCHEMA.read_text())
    whole = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    properties = whole["properties"]
    source = properties["data"]["properties"]["test"]
    return {**whole, "properties": {**properties, "source": source}}


def at(path: str) -> tuple[dict[str, Any], bool]:
    """Return the schema of the option at `path`, and whether it must be given."""
    found, required = schema(), True
    for key in path.split("."):
        required = key in found.get("required", ())
        found = found["properties"][key]
    return found, required


def snake(name: str) -> str:
    """Return the Python name of an option."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def parameter(path: str, *, own: str, within: str = "") -> Iterator[Parameter]:
    """Yield the parameters of the option at `path`, several if it has nested options.

    Args:
        path: Of the option.
        own: Path of the part that is the component's own.
        within: Name of the switch of the object that it belongs to; empty for none.
    """
    found, required = at(path)
    if "properties" in found:
        yield from _nested(path, found, own)
        return
    name, value = _name(path, own), _name(path, own)
    kind = "str" if found.get("x-kubernetes-int-or-string") else TYPES[found["type"]]
    text = found.get("description", "").rstrip(".") + "."
    if "enum" in found:
        text += f" One of {', '.join(found['enum'])}."
    default: str | None = None
    if path.startswith(INHERITED):
        default, kind = "None", f"Optional[{kind}]"
        known = f", else {found['default']}" if "default" in found else ""
        text += f" Left out, it is as in the component that made the model{known}."
    elif "default" in found:
        default = repr(found["default"])
    elif kind == "int" and not required:  # kfp's local runner cannot leave a whole number out
        default, text, value = "0", f"{text} 0 is none.", f"{name} or None"
    elif (within or not required) and path != "gates":
        default, kind = "None", f"Optional[{kind}]"
    if found.get("x-kubernetes-int-or-string"):
        value = f"int({name}) if {name}.isdigit() else {name}"
    if within:
        value = (
            f"({value}) if {within} else None" if " " in value else f"{value} if {within} else None"
        )
    yield Parameter(name, kind, text, default, path, value)


def _nested(path: str, found: dict[str, Any], own: str) -> Iterator[Parameter]:
    """Yield the parameters of an object, and a switch where none of them must be given."""
    name = _name(path, own)
    optional = bool(own) and path.startswith(f"{own}.")
    if optional and not found.get("required"):
        text = found["description"].rstrip(".") + ". Its options imply it."
        yield Parameter(name, "bool", text, "False", path, f"{{}} if uses_{name} else None")
    for key in found["properties"]:
        if f"{path}.{key}" not in LEFT_OUT:
            yield from parameter(
                f"{path}.{key}", own=own, within=f"uses_{name}" if optional else ""
            )


def wishes(values: list[Parameter]) -> Iterator[str]:
    """Yield lines that compute for each optional object whether any of its options is set."""
    groups: dict[str, list[Parameter]] = {}
    for each in values:
        _, uses, rest = each.value.partition(" if uses_")
        if uses:
            groups.setdefault(rest.removesuffix(" else None"), []).append(each)
    for group, members in groups.items():
        asked = [f"{each.name} != {each.default}" for each in members if each.default != "None"]
        asked += [f"{each.name} is not None" for each in members if each.default == "None"]
        yield f"uses_{group} = {' or '.join(asked)}"


def _name(path: str, own: str) -> str:
    if own and path.startswith(f"{own}."):
        parts = path.removeprefix(f"{own}.").split(".")
        return "_".join(map(snake, parts))
    first, _, rest = path.partition(".")
    return NAMES.get(first, "") + snake((rest or first).replace(".", "_"))


def parameters(component: Component) -> list[Parameter]:
    """Return the parameters of `component` that are values."""
    found = []
    for path in (*([component.own] if component.own else []), *component.options):
        if path in PLAIN:
            kind, text = PLAIN[path]
            found.append(Parameter(path, kind, text))
        else:
            found += parameter(path, own=component.own)
    return found


def source_of(name: str, component: Component) -> str:
    """Return the Python file of the component `name`."""
    values = parameters(component)
    artifacts = [
        *(Parameter(each, f"dsl.Input[dsl.{kind}]", text) for each, kind, text in component.inputs),
        *(
            Parameter(each, f"dsl.Output[dsl.{kind}]", text)
            for each, kind, text in component.outputs
        ),
        *(
            Parameter(_argument(each), "dsl.Input[dsl.Dataset]", DATA[each], "None")
            for each in component.data
        ),
    ]
    every = sorted([*artifacts, *values], key=lambda each: each.default is not None)
    returns = "None"
    if component.returns:
        returns = f'NamedTuple("Outputs", [("{component.returns}", str)])'
    lines = [
        f'"""The Kubeflow component `{name}`.\n',
        "Generated from crds/compressionjob.yaml by `make ir`; do not edit.",
        '"""\n',
        "# ruff: noqa",
        "# No `from __future__ import annotations` here: kfp reads the annotations.\n",
        "from typing import NamedTuple, Optional\n",
        "from kfp import dsl\n\n",
        f'@dsl.component(base_image="{IMAGE}", install_kfp_package=False)',
        f"def {name}(",
        *(f"    {each.declared}," for each in every),
        f") -> {returns}:",
        textwrap.indent(_docstring(component, every), "    "),
        textwrap.indent(_body(name, component, values), "    "),
    ]
    return "\n".join(lines)


def _docstring(component: Component, every: list[Parameter]) -> str:
    lines = [f'"""{component.summary}', "", "Args:"]
    for each in every:
        text = f"{each.name}: {' '.join(each.text.split())}".replace("\\", "\\\\")
        lines += textwrap.wrap(
            text, 96, initial_indent="    ", subsequent_indent=" " * 8, break_on_hyphens=False
        )
    if component.returns:
        lines += ["", "Returns:", "    verdict: Pass, Fail, Inconclusive or Anomalous."]
    return "\n".join([*lines, '"""'])


def _body(name: str, component: Component, values: list[Parameter]) -> str:
    options = [f'"{each.path}": {each.value},' for each in values if each.path]
    needed = [each for each, kind, _ in component.inputs if kind == "Dataset"]
    data = [
        *(f'"{each}": {each}.path,' for each in needed),
        *(
            f'"{each}": {_argument(each)}.path if {_argument(each)} else None,'
            for each in component.data
        ),
    ]
    body = component.body.replace(
        "\n\n", "\n\n" + "".join(f"{line}\n" for line in wishes(values)), 1
    )
    for placeholder, lines in (("{options}", options), ("{data}", data)):
        block = "\n".join(["{", *(f"        {line}" for line in lines), "    }"])
        body = body.replace(placeholder, block)
    return body.replace("{name}", name)


def _argument(data: str) -> str:
    return ARGUMENTS.get(data, data)


def load(path: Path) -> Any:
    """Return the Python file at `path` as a module."""
    spec = importlib.util.spec_from_file_location(f"fulcrum_kubeflow_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compiled(component: Any) -> str:
    """Return the YAML of a component or pipeline of kfp."""
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = Path(scratch) / "compiled.yaml"
        compiler.Compiler().compile(component, str(target))
        return target.read_text()


def generated() -> Iterator[tuple[Path, str]]:
    """Yield path and text of every generated file; the example is made from those before it."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, component in COMPONENTS.items():
            path = Path(scratch) / f"{name}.py"
            path.write_text(source_of(name, component))
            yield FOLDER / path.name, path.read_text()
            yield FOLDER / f"{name}.yaml", compiled(getattr(load(path), name))
    yield EXAMPLE.with_name("digits.yaml"), compiled(load(EXAMPLE).digits_composed)


def main() -> int:
    """Write the files, or with --check fail where one is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a file is stale")
    check = parser.parse_args().check
    stale = 0
    for target, text in generated():
        if not target.exists() or target.read_text() != text:
            stale += 1
            print(f"{'stale, run make ir' if check else 'written'}: {target.relative_to(ROOT)}")
            if not check:
                target.write_text(text)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
