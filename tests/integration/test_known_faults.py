"""Faults that gave a false Pass, a refusal or a crash, as a user meets them: by the command line.

One row for each kind; the unit tests have tables of variants. Labels are the model's own answers,
so its accuracy is 1 unless something reads the model or the data wrongly.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from one_process import Ended, fulcrum_run, write_job
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_model
from torch import nn

from fulcrum_pipelines.evidence import StageName

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FEATURES, CLASSES, TOKENS, LENGTH = 16, 4, 30, 12
SIZES = {"train": 96, "validation": 48, "test": 160}
TWO_BITS = {"quantize": {"method": "weightOnly", "bits": 2}}
EIGHT_BITS = {"quantize": {"method": "weightOnly", "bits": 8}}
STATIC = {"quantize": {"method": "static"}}
DYNAMIC = {"quantize": {"method": "dynamic"}}
HALF = {"prune": {"unstructured": {"sparsity": 0.5}}}
HALF_OF_CHANNELS = {"prune": {"structured": {"sparsity": 0.5, "round": 1}, "batchNormSamples": 0}}
IMAGE = (1, 8, 8)

Array = NDArray[Any]
Make = Callable[[np.random.Generator, int], Array]


def vectors(random: np.random.Generator, count: int) -> Array:
    return random.normal(size=(count, FEATURES)).astype(np.float32)


def pixels(random: np.random.Generator, count: int) -> Array:
    return random.integers(0, 8, (count, *IMAGE)).astype(np.float32)


def words(random: np.random.Generator, count: int) -> Array:
    """Sequences of which all but the first are padded with 0."""
    lengths = random.integers(3, LENGTH, (count, 1))
    lengths[0] = LENGTH
    ids = random.integers(1, TOKENS, (count, LENGTH))
    return np.where(np.arange(LENGTH)[None] < lengths, ids, 0)


def decided(outputs: Array) -> Array:
    """Return the class that `outputs` mean: the largest, or above zero if there is one."""
    if outputs.ndim == 1 or outputs.shape[1] == 1:
        return (outputs.reshape(-1) > 0).astype(np.int64)
    return outputs.argmax(axis=1)


def write_data(directory: Path, make: Make, answer: Callable[[Array], Array]) -> dict[str, Any]:
    """Write all data sets; return `spec.data`."""
    for seed, (name, count) in enumerate(SIZES.items(), 100):
        x = make(np.random.default_rng(seed), count)
        np.savez(directory / f"{name}.npz", x=x, y=answer(x))
    return {"task": "classification", **{name: {"uri": f"{name}.npz"} for name in SIZES}}


def rewrite(
    directory: Path, data: dict[str, Any], write: Callable[[str, Array, Array], str]
) -> None:
    """Replace each data set by the file that `write` makes and returns the name of."""
    for name in SIZES:
        with np.load(directory / f"{name}.npz") as arrays:
            data[name]["uri"] = write(name, arrays["x"], arrays["y"])


def job(recipe: dict[str, Any], data: dict[str, Any], model: str = "model") -> dict[str, Any]:
    gate = {"name": "q", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.05}
    return {"model": {"uri": model}, "data": data, "recipe": recipe, "gates": [gate]}


# --- bundles

PERCEPTRON = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.l, self.f = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, x):
        return self.f(torch.relu(self.l(x)))
"""


def bundle(
    directory: Path,
    code: str,
    recipe: dict[str, Any],
    *,
    make: Make = vectors,
    classes: int = CLASSES,
    meaning: str = "logits",
    prepare: Callable[[nn.Module], None] | None = None,
) -> dict[str, Any]:
    """Write the class `Net` of `code` with random weights, and data; return the specification."""
    source = f"import torch\nfrom torch import nn\n{textwrap.dedent(code)}\nbuild = Net\n"
    space: dict[str, Any] = {"__name__": "model"}
    exec(compile(source, "model.py", "exec"), space)
    torch.manual_seed(0)
    module = space["build"]().eval()
    sample = make(np.random.default_rng(0), 300)
    with torch.no_grad():
        if prepare is not None:
            prepare(module)
        balance(module, torch.from_numpy(sample))
    folder = directory / "model"
    folder.mkdir()
    (folder / "model.py").write_text(source)
    save_model(module, str(folder / "model.safetensors"))
    x = {"name": "x", "shape": ["batch", *sample.shape[1:]], "dtype": str(sample.dtype)}
    manifest = {
        "entryPoint": "model.py:build",
        "weights": "model.safetensors",
        "inputs": [x],
        "outputs": [{"name": "y", "shape": ["batch", classes]}],
        "meaning": meaning,
    }
    (folder / "fulcrum.yaml").write_text(json.dumps(manifest))

    def answer(x: Array) -> Array:
        with torch.no_grad():
            return decided(module(torch.from_numpy(x.copy())).float().numpy())

    return job(recipe, write_data(directory, make, answer))


def balance(module: nn.Module, sample: torch.Tensor) -> None:
    """Let the last layer, `f`, answer each class about equally often."""
    last = module.get_submodule("f")
    outputs: list[torch.Tensor] = []
    handle = last.register_forward_hook(lambda layer, inputs, output: outputs.append(output))
    module(sample)
    handle.remove()
    assert isinstance(last, nn.Linear)
    last.bias -= outputs[0].float().mean(0).to(last.bias.dtype)


def perceptron(old: str, new: str, recipe: dict[str, Any], **more: Any) -> Callable[[Path], Any]:
    """Return what writes `PERCEPTRON` with one change."""
    assert old in PERCEPTRON
    return lambda directory: bundle(directory, PERCEPTRON.replace(old, new), recipe, **more)


def permuted(directory: Path) -> dict[str, Any]:
    """Write a convolution whose channels a linear layer reads last; every second one is dead."""
    code = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.c, self.a = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(128, 32)
            self.f = nn.Linear(32, 4)

        def forward(self, x):
            x = nn.functional.max_pool2d(torch.relu(self.c(x)), 2)
            return self.f(torch.relu(self.a(x.permute(0, 2, 3, 1).flatten(1))))
    """

    def kill(net: Any) -> None:
        net.c.weight[::2], net.c.bias[::2], net.a.weight[:, ::2] = 0, 0, 0
        net.a.weight[::2], net.a.bias[::2], net.f.weight[:, ::2] = 0, 0, 0

    return bundle(directory, code, HALF_OF_CHANNELS, make=pixels, prepare=kill)


def masked_attention(directory: Path) -> dict[str, Any]:
    """Write an attention with infinite masks in a buffer and of padding; it changes its input."""
    code = f"""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.f = nn.Embedding({TOKENS}, 16), nn.Linear(16, 4)
            self.a = nn.MultiheadAttention(16, 4, batch_first=True)
            mask = nn.Transformer.generate_square_subsequent_mask({LENGTH})
            self.register_buffer("mask", mask)

        def forward(self, x):
            x[:, 1] -= 1
            h = self.e(x)
            padding = torch.zeros(x.shape).masked_fill(x == 0, float("-inf"))
            h, _ = self.a(h, h, h, padding, attn_mask=self.mask, need_weights=False)
            return self.f(h.sum(1))
    """
    return bundle(directory, code, STATIC, make=words)


def table_alone(directory: Path) -> dict[str, Any]:
    code = f"""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.f = nn.Embedding({TOKENS}, 16), nn.Linear(16, 4)

        def forward(self, x):
            return self.f(self.e(x).mean(1))
    """
    return bundle(directory, code, HALF, make=words)


# --- ONNX files


def graph(
    directory: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Array],
    recipe: dict[str, Any],
    *,
    make: Make = vectors,
    output: Sequence[int | str] = ("n", CLASSES),
    opset: int = 17,
    threshold: float | None = None,
) -> dict[str, Any]:
    """Write a graph from `x` to `y`, and data that it answers; return the specification."""
    x = make(np.random.default_rng(0), 2)
    body = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *x.shape[1:]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    path = directory / "model.onnx"
    onnx.save(helper.make_model(body, opset_imports=opsets, ir_version=8), path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options)

    def answer(x: Array) -> Array:
        (y,) = session.run(["y"], {"x": x})
        return decided(y if threshold is None else y - threshold)

    return job(recipe, write_data(directory, make, answer), "model.onnx")


def random_weight(*shape: int, scale: float = 0.4) -> Array:
    return (np.random.default_rng(shape).normal(size=shape) * scale).astype(np.float32)


def squeezed_sigmoid(directory: Path) -> dict[str, Any]:
    """Write a binary classifier whose probability is squeezed."""
    node = helper.make_node
    nodes = [
        node("Gemm", ["x", "w", "b"], ["hidden"]),
        node("Relu", ["hidden"], ["rectified"]),
        node("Gemm", ["rectified", "v"], ["score"]),
        node("Sigmoid", ["score"], ["probability"]),
        node("Squeeze", ["probability", "axes"], ["y"]),
    ]
    constants = {
        "w": random_weight(FEATURES, 32),
        "b": random_weight(1, 32),
        "v": random_weight(32, 1),
        "axes": np.array([1], np.int64),
    }
    return graph(directory, nodes, constants, TWO_BITS, output=("n",), threshold=0.5)


def declared_as_logits(directory: Path) -> dict[str, Any]:
    spec = squeezed_sigmoid(directory)
    spec["model"]["meaning"] = "logits"
    return spec


def old_upsample(directory: Path) -> dict[str, Any]:
    """Write a linear Upsample, which later operator sets only have as a kind of Resize."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "c"], ["small"], pads=[1] * 4, strides=[2, 2]),
        node("Upsample", ["small", "scales"], ["large"], mode="linear"),
        node("Conv", ["large", "d"], ["seen"], strides=[2, 2]),
        node("GlobalMaxPool", ["seen"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Gemm", ["flat", "w", "b"], ["y"]),
    ]
    constants = {
        "c": random_weight(8, 1, 3, 3),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "d": random_weight(8, 8, 3, 3),
        "w": random_weight(8, 4, scale=3.0),
        "b": np.zeros(4, np.float32),
    }
    return graph(directory, nodes, constants, EIGHT_BITS, make=pixels, opset=9)


def row_of_biases(directory: Path) -> dict[str, Any]:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"])]
    constants = {"w": random_weight(FEATURES, CLASSES), "b": random_weight(1, CLASSES)}
    return graph(directory, nodes, constants, STATIC)


def tree(directory: Path) -> dict[str, Any]:
    """Write one split at 0 with two leaves."""
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0] * 3,
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0] * 3,
        nodes_values=[0.0] * 3,
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[-1.0, 1.0],
    )
    return graph(directory, [node], {}, STATIC, output=("n", 1))


def linear(
    directory: Path, make: Make = vectors, recipe: dict[str, Any] = EIGHT_BITS
) -> dict[str, Any]:
    """Write a linear classifier, of whose answers the data are sure."""
    width = int(np.prod(make(np.random.default_rng(0), 1).shape[1:]))
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["y"]),
    ]
    return graph(directory, nodes, {"w": random_weight(width, CLASSES)}, recipe, make=make)


# --- data


def constant_answers(directory: Path) -> dict[str, Any]:
    """Write a classifier that always answers class 0, and labels of which 9 in 10 are."""
    spec = bundle(
        directory, PERCEPTRON.replace("self.f(", "torch.eye(4)[0] * 99 + self.f("), EIGHT_BITS
    )

    def rare(x: Array) -> Array:
        return (np.arange(len(x)) % 10 == 0).astype(np.int64)

    return spec | {"data": write_data(directory, vectors, rare)}


def leaking(directory: Path) -> dict[str, Any]:
    """Train on the test examples."""
    spec = linear(directory)
    spec["data"]["train"]["uri"] = "test.npz"
    return spec


def labels_from_one(directory: Path) -> dict[str, Any]:
    spec = linear(directory)

    def write(name: str, x: Array, y: Array) -> str:
        np.savez(directory / f"{name}.npz", x=x, y=(y + 1)[:, None])
        return f"{name}.npz"

    rewrite(directory, spec["data"], write)
    return spec


SIZES_OF_PETS = ("small", "medium", "large", "huge")


def text_in_csv(directory: Path, classes: Sequence[str] | None) -> dict[str, Any]:
    """Write tables with the line ends of old Macs, and names as labels."""
    spec = linear(directory)

    def write(name: str, x: Array, y: Array) -> str:
        header = ",".join([*(f"x{k}" for k in range(FEATURES)), "y"])
        rows = [",".join(map(str, row)) for row in x.tolist()]
        lines = [header, *(f"{r},{SIZES_OF_PETS[label]}" for r, label in zip(rows, y, strict=True))]
        (directory / f"{name}.csv").write_bytes("\r".join(lines).encode())
        return f"{name}.csv"

    rewrite(directory, spec["data"], write)
    for name in SIZES:
        spec["data"][name]["inputs"] = {"x": ",".join(f"x{k}" for k in range(FEATURES))}
    if classes is not None:
        spec["data"]["classes"] = list(classes)
    return spec


def deep_images(directory: Path, classes: Sequence[str]) -> dict[str, Any]:
    """Write 16-bit images in folders whose alphabet is not the model's order."""

    def bright(random: np.random.Generator, count: int) -> Array:
        return random.integers(0, 256, (count, *IMAGE)).astype(np.float32) * 257 / 65535

    spec = linear(directory, bright)

    def write(name: str, x: Array, y: Array) -> str:
        for index, (image, label) in enumerate(zip(x[:, 0], y, strict=True)):
            folder = directory / name / SIZES_OF_PETS[label]
            folder.mkdir(parents=True, exist_ok=True)
            deep = np.rint(image * 65535).astype(np.uint16)
            Image.fromarray(deep).save(folder / f"{index}.png")
        return name

    rewrite(directory, spec["data"], write)
    for name in SIZES:
        spec["data"][name]["scale"] = 1 / 255
    spec["data"]["classes"] = list(classes)
    return spec


def table(directory: Path, change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Write Parquet tables with columns a, b, c, d and y after `change`."""

    def four(random: np.random.Generator, count: int) -> Array:
        return random.normal(size=(count, 4)).astype(np.float16).astype(np.float32)

    spec = linear(directory, four)

    def write(name: str, x: Array, y: Array) -> str:
        columns = dict(zip("abcd", map(pa.array, x.T), strict=True)) | {"y": pa.array(y)}
        changed = change(columns)
        parquet.write_table(changed, directory / f"{name}.parquet")
        return f"{name}.parquet"

    rewrite(directory, spec["data"], write)
    for name in SIZES:
        spec["data"][name]["inputs"] = {"x": "a,b,c,d"}
    return spec


def half_floats(columns: dict[str, Any]) -> pa.Table:
    return pa.table(columns | {"a": pa.array(columns["a"].to_numpy().astype(np.float16))})


def times(columns: dict[str, Any]) -> pa.Table:
    seconds = np.arange(len(columns["a"])).astype("datetime64[s]")
    return pa.table(columns | {"d": pa.array(seconds)})


def twice(columns: dict[str, Any]) -> pa.Table:
    return pa.Table.from_arrays([*columns.values(), columns["a"]], names=[*columns, "a"])


# --- rows


@dataclass(frozen=True)
class Case:
    """A job, and what a user must read.

    Attributes:
        name: The kind of fault.
        build: Writes model and data into a directory and returns the specification.
        says: What is printed, among other words; line breaks do not count.
        codes: Exit codes that are right; 4 too where the few examples may not decide.
        through: The last stage that is of interest; the rest is saved.
    """

    name: str
    build: Callable[[Path], dict[str, Any]]
    says: tuple[str, ...]
    codes: tuple[int, ...] = (0,)
    through: StageName = "validate"

    def run(self, directory: Path) -> Ended:
        """Write the job and run it."""
        return fulcrum_run(write_job(directory, **self.build(directory)), self.through)


WEIGHT_NORM = ("nn.Linear(16, 32)", "torch.nn.utils.weight_norm(nn.Linear(16, 32))")
RIGHT = ": accuracy 1.0000"
CASES = (
    Case("probability behind a squeeze", squeezed_sigmoid, (RIGHT, "Fail. Rejected"), (3,)),
    Case(
        "probabilities declared as logits",
        declared_as_logits,
        ("the outputs", "logits", "probabilities"),
        (1,),
        "evaluate",
    ),
    Case(
        "one answer for all",
        constant_answers,
        ("Anomalous.", "The baseline answers class 0 on all 160 test examples"),
        (4,),
    ),
    Case("test examples in the training data", leaking, ("Anomalous.",), (4,)),
    Case("upgraded operators", old_upsample, (RIGHT, "upgraded from 9"), through="evaluate"),
    Case(
        "channels read in another order",
        permuted,
        ("removed", "validate succeeded", f"{RIGHT} Pass."),
    ),
    Case(
        "only layers that are never pruned",
        table_alone,
        ("no weights to prune", "Embedding"),
        (1,),
        "prune",
    ),
    Case(
        "old weight norm",
        perceptron(*WEIGHT_NORM, HALF),
        (RIGHT, "unstructured: 37"),
        (0,),
        "prune",
    ),
    Case(
        "stage that changes nothing",
        perceptron(*WEIGHT_NORM, {"prune": {"unstructured": {"sparsity": 0.0005}}}),
        ("no weight was pruned", "allowNoop"),
        (1,),
        "prune",
    ),
    Case(
        "half precision",
        perceptron(
            "return self.f(torch.relu(self.l(x)))",
            "self.half(); return self.f(torch.relu(self.l(x.half()))).float()",
            DYNAMIC,
        ),
        ("float16", "float32"),
        (1,),
        "quantize",
    ),
    Case(
        "one logit for two classes",
        perceptron("32, 4", "32, 1", {"finetune": {"epochs": 1, "distillation": {}}}, classes=1),
        (RIGHT, "finetune succeeded"),
        through="finetune",
    ),
    Case(
        "infinite masks and a changed input",
        masked_attention,
        (RIGHT, "quantize succeeded"),
        through="quantize",
    ),
    Case(
        "lazy layers",
        perceptron("nn.Linear(16, 32)", "nn.LazyLinear(32)", DYNAMIC),
        (RIGHT,),
        through="evaluate",
    ),
    Case(
        "branch that depends on data",
        perceptron("return", "x = x if x.sum() > 0 else -x\n        return", DYNAMIC),
        ("model.py:10",),
        (1,),
        "evaluate",
    ),
    Case("bias in a row", row_of_biases, (RIGHT, "static-u8s8: 9"), through="quantize"),
    Case(
        "nothing to quantize",
        tree,
        ("no MatMul, Gemm or Conv to quantize", "TreeEnsembleRegressor"),
        (1,),
        "quantize",
    ),
    Case("labels from 1 in a column", labels_from_one, (RIGHT, "1 is class 0"), through="evaluate"),
    Case(
        "names as labels",
        lambda directory: text_in_csv(directory, None),
        ("labels are text", "spec.data.classes"),
        (1,),
        "evaluate",
    ),
    Case(
        "names in the order of spec.data.classes",
        lambda directory: text_in_csv(directory, SIZES_OF_PETS),
        (RIGHT,),
        through="evaluate",
    ),
    Case(
        "deep images in folders",
        lambda directory: deep_images(directory, SIZES_OF_PETS),
        (RIGHT, "scaled from 0 to 65535"),
        through="evaluate",
    ),
    Case(
        "folder without a class",
        lambda directory: deep_images(directory, ("small", "medium", "large", "big")),
        ("'huge' is not in spec.data.classes",),
        (1,),
        "evaluate",
    ),
    Case("half floats in Parquet", lambda d: table(d, half_floats), (RIGHT,), through="evaluate"),
    Case(
        "times in Parquet",
        lambda directory: table(directory, times),
        ("column 'd' holds timestamp", "expected numbers"),
        (1,),
        "evaluate",
    ),
    Case(
        "two columns of one name",
        lambda directory: table(directory, twice),
        ("'a'",),
        (1,),
        "evaluate",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_known_fault_is_not_repeated(case: Case, tmp_path: Path) -> None:
    ended = case.run(tmp_path)

    assert "defect" not in ended.said
    for words_said in case.says:
        assert words_said in ended.line, ended.said
    assert ended.exit_code in case.codes, ended.said


def test_numbers_that_readers_of_yaml_disagree_on_are_refused(tmp_path: Path) -> None:
    manifest = write_job(tmp_path, **linear(tmp_path, recipe={"finetune": {"epochs": 8}}))
    manifest.write_text(manifest.read_text().replace("epochs: 8", "epochs: 010"))

    ended = fulcrum_run(manifest)

    assert ended.exit_code == 2
    assert "kubectl reads 010 as 8" in ended.line
