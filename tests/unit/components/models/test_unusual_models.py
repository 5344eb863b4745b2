"""Sound models that are written unlike the textbook load, run and export; others say what to do."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_model

from fulcrum_components.export import export_onnx
from fulcrum_components.models.loading import LoadedModel, load_model
from fulcrum_components.models.signature import Signature
from fulcrum_pipelines.errors import FulcrumError

IMPORTS = """
import collections, dataclasses, typing
import torch
import torch.nn.functional as F
from torch import nn
"""
X = {"name": "x", "shape": ["batch", 16], "dtype": "float32"}
IMAGE = {"name": "x", "shape": ["batch", 3, 8, 8], "dtype": "float32"}
IDS = {"name": "ids", "shape": ["batch", 12], "dtype": "int64"}
LENGTHS = {"name": "lengths", "shape": ["batch"], "dtype": "int64"}
O4 = {"name": "o", "shape": ["batch", 4], "dtype": "float32"}
E32 = {"name": "e", "shape": ["batch", 32], "dtype": "float32"}
GENERATOR = np.random.default_rng(0)
EXAMPLES: dict[str, np.ndarray[Any, Any]] = {
    "x": GENERATOR.normal(size=(6, 16)).astype(np.float32),
    "ids": GENERATOR.integers(1, 30, (6, 12)),
    "lengths": np.array([12, 9, 7, 7, 4, 2]),
    "mask": np.arange(12)[None] < np.array([12, 9, 7, 7, 4, 2])[:, None],
    "onehot": np.eye(5, dtype=np.float32)[[0, 1, 2, 3, 4, 0]],
    "image": GENERATOR.normal(size=(6, 3, 8, 8)).astype(np.float32),
}


@dataclass(frozen=True)
class TestCase:
    """A model, as the code of its bundle.

    Attributes:
        name: What is unusual about it.
        code: `model.py`, which defines `build`.
        inputs: Of the manifest.
        outputs: Of the manifest.
        words: What an error must say; empty if the model is sound.
        save: Which weights to store; by default those that `build` makes.
        examples: Other real inputs than `EXAMPLES`.
    """

    __test__ = False

    name: str
    code: str
    inputs: tuple[dict[str, Any], ...] = (X,)
    outputs: tuple[dict[str, Any], ...] = (O4,)
    words: tuple[str, ...] = ()
    save: str = "build()"
    examples: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)


def net(
    forward: str, init: str = "", build: str = "Net()", extra: str = "", args: str = "x"
) -> str:
    """Return code of a small classifier with other `forward`, layers or way to build."""
    body = textwrap.indent(textwrap.dedent(forward).strip(), " " * 8)
    return f"""
{extra}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(16, 32)
        self.f = nn.Linear(32, 4)
        {init}
    def forward(self, {args}):
{body}
    def features(self, x):
        return F.relu(self.l(x))
def build():
    return {build}
"""


PLAIN = "return self.f(self.features(x))"
TWO = (O4, E32)
TEXT = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(30, 16)
        self.f = nn.Linear(16, 4)
        {init}
    def forward(self, {args}):
        {forward}
def build():
    return Net()
"""
CAUSAL = "nn.Transformer.generate_square_subsequent_mask(12)"

CASES = [
    TestCase("input changed in place", net(f"x -= .3; x /= .5\n{PLAIN}")),
    TestCase("input masked in place", net(f"x[x > 1] = 1\n{PLAIN}")),
    TestCase("input changed through a view", net(f"x.view(-1, 2)[:, 0].mul_(2)\n{PLAIN}")),
    TestCase(
        "attention with a causal mask as buffer",
        TEXT.format(
            init="self.t = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True);"
            f" self.register_buffer('mask', {CAUSAL})",
            args="ids",
            forward="return self.f(self.t(self.e(ids), src_mask=self.mask)[:, -1])",
        ),
        inputs=(IDS,),
    ),
    TestCase(
        "frozen parameter with infinities that is added",
        net(
            "s = x[:, None, :] + self.m[:16]\nreturn self.f(self.features(s.amax(1)))",
            "m = torch.zeros(16, 16); m[0] = float('-inf');"
            "self.m = nn.Parameter(m, requires_grad=False)",
        ),
    ),
    TestCase(
        "clip to infinity",
        net(
            "return self.f(self.features(torch.maximum(x, self.low)))",
            "self.register_buffer('low', torch.tensor(float('-inf')))",
        ),
    ),
    TestCase("lazy linear", net(PLAIN, "self.l = nn.LazyLinear(32)")),
    TestCase(
        "lazy convolution and norm",
        """
def build():
    return nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(),
                         nn.LazyLinear(4))
""",
        inputs=(IMAGE,),
        examples={"x": EXAMPLES["image"]},
        save="ran(build())",
    ),
    TestCase(
        "lazy layer that is not used",
        net(PLAIN, "self.g = nn.LazyLinear(4)"),
        words=("does not use the lazy g.weight", "with their sizes"),
        save="Plain()",
    ),
    TestCase(
        "dict of outputs", net("e = self.features(x)\nreturn {'o': self.f(e), 'e': e}"), outputs=TWO
    ),
    TestCase("list of outputs", net("e = self.features(x)\nreturn [self.f(e), e]"), outputs=TWO),
    TestCase(
        "named tuple of outputs",
        net(
            "e = self.features(x)\nreturn Out(self.f(e), e)",
            extra="Out = collections.namedtuple('Out', 'o e')",
        ),
        outputs=TWO,
    ),
    TestCase(
        "dataclass of outputs",
        net(
            "e = self.features(x)\nreturn Out(None, self.f(e), e)",
            extra="@dataclasses.dataclass\nclass Out:\n    loss: typing.Any\n    o: typing.Any\n"
            "    e: typing.Any",
        ),
        outputs=TWO,
    ),
    TestCase(
        "None among the outputs",
        net("e = self.features(x)\nreturn None, self.f(e), e"),
        outputs=TWO,
    ),
    TestCase(
        "nested outputs", net("e = self.features(x)\nreturn self.f(e), {'all': [e]}"), outputs=TWO
    ),
    TestCase("keyword-only forward", net(PLAIN, args="*, x")),
    TestCase(
        "keyword-only mask",
        TEXT.format(
            init="",
            args="ids, *, mask, scale=2.0",
            forward="m = mask[..., None]; return self.f((self.e(ids) * m).sum(1) / scale)",
        ),
        inputs=(IDS, {"name": "mask", "shape": ["batch", 12], "dtype": "bool"}),
    ),
    TestCase(
        "keyword-only without an input",
        net(PLAIN, args="x, *, scale"),
        words=("keyword-only parameter 'scale'", "name an input like it"),
    ),
    TestCase("optional second argument", net(PLAIN, args="x, y=None")),
    TestCase("compiled", net(PLAIN, build="torch.compile(Net())"), save="Net()"),
    TestCase("data parallel", net(PLAIN, build="nn.DataParallel(Net())"), save="Net()"),
    TestCase("weights of a compiled module", net(PLAIN), save="torch.compile(Net())"),
    TestCase("weights of a data parallel module", net(PLAIN), save="nn.DataParallel(Net())"),
    TestCase("weights in half precision", net(PLAIN), save="Net().half()"),
    TestCase("weights in bfloat16", net(PLAIN), save="Net().bfloat16()"),
    TestCase(
        "built without memory",
        net(PLAIN, extra="", build="on_meta()")
        + "def on_meta():\n    with torch.device('meta'):\n        return Net()\n",
        save="Net()",
    ),
    TestCase(
        "built without memory, with a buffer that is not stored",
        net(
            "return self.f(self.features(x * self.s))",
            "self.register_buffer('s', torch.ones(16), persistent=False)",
            build="on_meta()",
        )
        + "def on_meta():\n    with torch.device('meta'):\n        return Net()\n",
        save="Net()",
        words=("s have no values", "build the module on cpu"),
    ),
    TestCase(
        "buffer that is not stored",
        net(
            "return self.f(self.features(x * self.s))",
            "self.register_buffer('s', torch.full((16,), 2.0), persistent=False)",
        ),
    ),
    TestCase(
        "compiled by torch.jit",
        net(PLAIN, build="torch.jit.script(Net())"),
        words=("torch.jit",),
        save="Net()",
    ),
    TestCase(
        "module named code",
        net("return self.f(self.code(self.features(x)))", "self.code = nn.Linear(32, 32)"),
    ),
    TestCase(
        "module named graph",
        net("return self.f(self.graph(self.features(x)))", "self.graph = nn.Linear(32, 32)"),
    ),
    TestCase(
        "module named meta",
        net("return self.f(self.meta(self.features(x)))", "self.meta = nn.Linear(32, 32)"),
    ),
    TestCase(
        "module named module",
        net("return self.f(self.module(self.features(x)))", "self.module = nn.Linear(32, 32)"),
    ),
    TestCase(
        "parameter named code",
        net(
            "return self.f(self.features(x) * self.code)",
            "self.code = nn.Parameter(torch.rand(32))",
        ),
    ),
    TestCase(
        "unicode names",
        net("return self.f(self.größe(self.features(x)))", "self.größe = nn.Linear(32, 32)"),
    ),
    TestCase(
        "long names",
        net(
            f"return self.f(self.{'n' * 200}(self.features(x)))",
            f"self.{'n' * 200} = nn.Linear(32, 32)",
        ),
    ),
    TestCase(
        "noise in forward",
        net("return self.f(self.features(x + torch.randn_like(x)))"),
        words=("runs again on the same inputs", "randomness"),
    ),
    TestCase(
        "dropout that stays on",
        net("return self.f(F.dropout(self.features(x), 0.5))"),
        words=("runs again on the same inputs",),
    ),
    TestCase(
        "state that changes",
        net(
            "self.n += 1\nreturn self.f(self.features(x)) * self.n",
            "self.register_buffer('n', torch.zeros(()))",
        ),
        words=("runs again on the same inputs",),
    ),
    TestCase(
        "noise in training only",
        net(f"if self.training:\n    x = x + torch.randn_like(x)\n{PLAIN}"),
    ),
    TestCase(
        "branch on values",
        net(f"if x.sum() > 0:\n    x = x * 2\n{PLAIN}"),
        words=("model.py:", "torch.where", "depends on values of a tensor"),
    ),
    TestCase(
        "loop over values",
        net(f"for _ in range(int(x.abs().max())):\n    x = x * 2\n{PLAIN}"),
        words=("model.py:", "torch.where", "depends on values of a tensor"),
    ),
    TestCase(
        "values taken out",
        net("return self.f(self.features(x)) * float(x.detach().numpy().mean())"),
    ),
    TestCase(
        "endless recursion",
        net("return self.forward(x)"),
        words=("model.py:", "RecursionError"),
    ),
    TestCase(
        "lengths that must be sound",
        TEXT.format(
            init="",
            args="ids, lengths",
            forward="assert (lengths > 1).all() and (lengths <= 12).all();"
            "m = torch.arange(12) < lengths[:, None]; h = self.e(ids) * m[..., None];"
            "return self.f(h.sum(1) / lengths[:, None])",
        ),
        inputs=(IDS, LENGTHS),
        words=("model.py:",),
    ),
    TestCase(
        "packed sequences",
        TEXT.format(
            init="self.r = nn.GRU(16, 16, batch_first=True)",
            args="ids, lengths",
            forward="p = nn.utils.rnn.pack_padded_sequence(self.e(ids), lengths, batch_first=True);"
            " return self.f(self.r(p)[1][0])",
        ),
        inputs=(IDS, LENGTHS),
        words=("model.py:", "depends on values of a tensor", "packed"),
    ),
    TestCase(
        "a row that must not be empty",
        TEXT.format(
            init="",
            args="ids, mask",
            forward="m = mask.float(); h = (self.e(ids) * m[..., None]).sum(1);"
            " return self.f(h / m.sum(1, keepdim=True))",
        ),
        inputs=(IDS, {"name": "mask", "shape": ["batch", 12], "dtype": "bool"}),
    ),
    TestCase(
        "double precision",
        net("return self.f(self.features(x.double())).float()", "self.double()"),
    ),
    TestCase(
        "half precision",
        net("return self.f(self.features(x.half())).float()", "self.half()"),
    ),
    TestCase(
        "bfloat16",
        net("return self.f(self.features(x.bfloat16())).float()", "self.bfloat16()"),
        words=("is bfloat16", "in float32"),
    ),
]


def make(case: TestCase, directory: Path) -> Path:
    """Write the bundle of `case`."""
    directory.mkdir()
    source = IMPORTS + case.code
    (directory / "model.py").write_text(source, "utf-8")
    shapes = [tuple(spec["shape"][1:]) for spec in case.inputs]
    space: dict[str, Any] = {
        "__name__": "made",
        "ran": lambda module: (module(torch.zeros(2, *shapes[0])), module)[1],
    }
    exec(source, space)
    torch.manual_seed(0)
    if case.save == "Plain()":
        module = torch.nn.ModuleDict({"l": torch.nn.Linear(16, 32), "f": torch.nn.Linear(32, 4)})
    else:
        module = eval(case.save, space)
    if any(torch.nn.parameter.is_lazy(p) for p in module.parameters()):
        module(torch.zeros(2, *shapes[0]))
    save_model(module, str(directory / "model.safetensors"))
    manifest = {
        "entryPoint": "model.py:build",
        "weights": "model.safetensors",
        "inputs": list(case.inputs),
        "outputs": list(case.outputs),
        "meaning": "logits",
    }
    (directory / "fulcrum.yaml").write_text(yaml.safe_dump(manifest), "utf-8")
    return directory


def load_and_export(case: TestCase, directory: Path) -> LoadedModel:
    """Load the model on real examples and export it, which compares it with torch."""

    def examples(signature: Signature) -> dict[str, np.ndarray[Any, Any]]:
        return {spec.name: (EXAMPLES | case.examples)[spec.name] for spec in signature.inputs}

    bundle = make(case, directory / "bundle")
    before = examples(Signature((), (), "logits"))
    loaded = load_model(str(bundle), cache_dir=directory / "cache", examples=examples)
    assert before == {}
    assert loaded.module is not None
    arrays = examples(loaded.signature)
    kept = {name: value.copy() for name, value in arrays.items()}
    export_onnx(loaded.module, loaded.signature, directory / "m.onnx", example_inputs=arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(value, kept[name])
    return loaded


@pytest.mark.parametrize("case", [c for c in CASES if not c.words], ids=lambda case: case.name)
def test_unusual_model_works(case: TestCase, tmp_path: Path) -> None:
    loaded = load_and_export(case, tmp_path)
    tensors = [*loaded.module.parameters(), *loaded.module.buffers()]  # type: ignore[union-attr]
    assert tensors
    assert not any(tensor.is_meta for tensor in tensors)


@pytest.mark.parametrize("case", [c for c in CASES if c.words], ids=lambda case: case.name)
def test_unsound_model_says_what_to_do(case: TestCase, tmp_path: Path) -> None:
    with pytest.raises(FulcrumError) as caught:
        load_and_export(case, tmp_path)
    message = str(caught.value)
    assert len(message.splitlines()) <= 3, message
    assert len(message) < 1000, message
    for words in case.words:
        assert words in message
