"""`fulcrum init` on models of many kinds: what it writes is valid, loads, and asks for little."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file, save_model
from torch import nn

from fulcrum_components.models.loading import load_model
from fulcrum_operator.scaffolding import scaffold
from fulcrum_pipelines.manifests import check_file

pytestmark = pytest.mark.slow

IMPORTS = "import torch\nfrom torch import nn\n"


@dataclass(frozen=True)
class TestCase:
    """Code beside weights.

    Attributes:
        name: Kind of model.
        files: Python files by name.
        entry: The entry point to be found.
        inputs: To be found, each as `name dtype[sizes]`.
        outputs: As above.
        asks: Which fields of `fulcrum.yaml` are marked for a person.
    """

    __test__ = False

    name: str
    files: dict[str, str]
    entry: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    asks: tuple[str, ...] = ("meaning",)


def code(init: str, forward: str, args: str = "x", end: str = "") -> str:
    """Return a file with the module `Net`."""
    body = textwrap.indent(textwrap.dedent(init).strip(), " " * 8)
    return f"""{IMPORTS}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
{body}
    def forward(self, {args}):
        {forward}
{end}"""


BUILD = "def build():\n    return Net()\n"
MLP = code("self.f = nn.Linear(16, 4)", "return self.f(x)")
ENDLESS = f"{IMPORTS}\nnet = nn.Linear(2, 2)\nwhile True:\n    pass\n"

CASES = [
    TestCase(
        "rows", {"model.py": MLP + BUILD}, "model.py:build",
        ("x float32[batch, 16]",), ("output float32[batch, 4]",),
    ),
    TestCase(
        "a class alone, beside a script that must not run",
        {"net.py": MLP, "train.py": ENDLESS}, "net.py:Net",
        ("x float32[batch, 16]",), ("output float32[batch, 4]",),
    ),
    TestCase(
        "several files, and parts that need no arguments either",
        {
            "layers.py": code("self.a = nn.Linear(8, 8)", "return x").replace("Net", "Block"),
            "model.py": f"from layers import Block\n{IMPORTS}\n"
            "class Head(nn.Module):\n"
            "    def __init__(self):\n        super().__init__(); self.h = nn.Linear(8, 2)\n"
            "class Whole(Block):\n"
            "    def __init__(self):\n        super().__init__(); self.b = Head()\n"
            "    def forward(self, rows):\n        return self.b.h(self.a(rows))\n"
            "def create_model(width=8):\n    return Whole()\n",
        },
        "model.py:create_model", ("rows float32[batch, 8]",), ("output float32[batch, 2]",),
    ),
    TestCase(
        "images",
        {"model.py": code(
            "self.c = nn.Conv2d(3, 4, 3); self.f = nn.Linear(4, 5)",
            "return self.f(self.c(x).mean((2, 3)))",
        )},
        "model.py:Net", ("x float32[batch, 3, 32, 32]",), ("output float32[batch, 5]",),
        ("inputs", "meaning"),
    ),
    TestCase(
        "images of one size",
        {"model.py": code(
            "self.c = nn.Conv2d(1, 4, 3, stride=2); self.f = nn.Linear(4 * 13 * 13, 5)",
            "return self.f(self.c(image).flatten(1)).softmax(1)", "image",
        )},
        "model.py:Net", ("image float32[batch, 1, 28, 28]",), ("output float32[batch, 5]",), (),
    ),
    TestCase(
        "text",
        {"model.py": code(
            "self.e = nn.Embedding(30, 16); self.f = nn.Linear(16, 4)\n"
            "self.t = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)",
            "h = self.t(self.e(ids), src_key_padding_mask=mask); return self.f(h[:, 0]), h",
            "ids, mask",
        )},
        "model.py:Net", ("ids int64[batch, length]", "mask bool[batch, length]"),
        ("output_0 float32[batch, 4]", "output_1 float32[batch, length, 16]"),
    ),
    TestCase(
        "series",
        {"model.py": code(
            "self.r = nn.LSTM(6, 16, 2, batch_first=True); self.f = nn.Linear(16, 1)",
            "return {'value': self.f(self.r(series)[0][:, -1])}", "series",
        )},
        "model.py:Net", ("series float32[batch, length, 6]",), ("value float32[batch, 1]",),
    ),
    TestCase(
        "recommender",
        {"model.py": code(
            "self.u = nn.Embedding(50, 8); self.i = nn.Embedding(40, 8)",
            "return torch.sigmoid((self.u(user) * self.i(item)).sum(-1))", "user, item",
        )},
        "model.py:Net", ("user int64[batch]", "item int64[batch]"), ("output float32[batch]",), (),
    ),
    TestCase(
        "graph",
        {"model.py": code(
            "self.g = nn.Linear(9, 16); self.f = nn.Linear(16, 2)",
            "return self.f(torch.relu(self.g(adj @ x)).mean(1))", "x, adj",
        )},
        "model.py:Net", ("x float32[batch, length, 9]", "adj float32[batch, length, length]"),
        ("output float32[batch, 2]",),
    ),
]  # fmt: skip


def write(case: TestCase, directory: Path) -> Path:
    """Write the code and the weights that it makes; return the weights."""
    directory.mkdir()
    for name, text in case.files.items():
        (directory / name).write_text(text)
    space: dict[str, Any] = {"__name__": "made"}
    for name in [name for name in case.files if name != "train.py"]:
        text = "\n".join(x for x in case.files[name].splitlines() if "from layers" not in x)
        exec(text, space)
    module = space[case.entry.rpartition(":")[2]]()
    save_model(module, str(directory / "weights.safetensors"))
    return directory / "weights.safetensors"


def asked(text: str) -> tuple[str, ...]:
    """Return the fields that follow a mark EDIT."""
    fields, marked = [], False
    for line in text.splitlines():
        marked = marked or line.startswith("# EDIT")
        if marked and line and not line.startswith("#"):
            fields.append(line.partition(":")[0])
            marked = False
    return tuple(fields)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_model_with_its_code_is_understood(case: TestCase, tmp_path: Path) -> None:
    weights = write(case, tmp_path / "source")
    written = scaffold(weights, tmp_path / "job", force=False)

    assert check_file(tmp_path / "job" / "job.yaml") == []
    bundle = tmp_path / "job" / "model"
    text = (bundle / "fulcrum.yaml").read_text()
    assert yaml.safe_load(text)["entryPoint"] == case.entry
    assert asked(text) == case.asks
    assert (bundle / "fulcrum.yaml" in written.edit) == bool(case.asks)
    assert bundle / "model.py" not in written.edit
    assert not (bundle / "train.py").exists()
    loaded = load_model(str(bundle), cache_dir=tmp_path / "cache")
    signature = loaded.signature
    assert tuple(f"{spec.name} {spec}" for spec in signature.inputs) == case.inputs
    assert tuple(f"{spec.name} {spec}" for spec in signature.outputs) == case.outputs


def test_weights_in_their_bundle_are_described_in_place(tmp_path: Path) -> None:
    weights = write(CASES[0], tmp_path / "model")
    before = (tmp_path / "model" / "model.py").read_text()
    scaffold(weights, tmp_path, force=False)
    assert (tmp_path / "model" / "model.py").read_text() == before
    load_model(str(tmp_path / "model"), cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (MLP.replace("self):", "self, width):"), "model.py:Net: needs the arguments width"),
        (MLP.replace("16, 4", "16, 5"), "model.py:Net: weights do not fit"),
        (MLP.replace("super", "print('x'); supper"), "NameError"),
        ("def build(:\n", "is no valid Python"),
        (MLP.replace("return self.f(x)", "raise ValueError(x.shape)"), "no guess of the inputs"),
    ],
    ids=["arguments", "other weights", "broken", "no Python", "no guess"],
)
def test_code_that_does_not_fit_is_explained(source: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(source)
    layer = nn.Linear(16, 4)
    save_file({"f.weight": layer.weight, "f.bias": layer.bias}, tmp_path / "w.safetensors")

    written = scaffold(tmp_path / "w.safetensors", tmp_path / "job", force=False)

    text = (tmp_path / "job" / "model" / "fulcrum.yaml").read_text()
    line = next(line for line in text.splitlines() if line.startswith("# What was tried"))
    assert reason in line
    assert asked(text) == ("inputs", "outputs", "meaning")
    assert tmp_path / "job" / "model" / "fulcrum.yaml" in written.edit
    assert check_file(tmp_path / "job" / "job.yaml") == []


def test_state_dicts_of_torch_work_too(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MLP)
    layer = nn.Linear(16, 4)
    torch.save({"f.weight": layer.weight.data, "f.bias": layer.bias.data}, tmp_path / "w.pt")
    scaffold(tmp_path / "w.pt", tmp_path / "job", force=False)
    loaded = load_model(str(tmp_path / "job" / "model"), cache_dir=tmp_path / "cache")
    assert [str(spec) for spec in loaded.signature.inputs] == ["float32[batch, 16]"]
