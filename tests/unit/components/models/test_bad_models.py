"""Each wrong model gives one clear error that names the file, the field or the line."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
import torch
from model_files import (
    MANIFEST,
    edit_json,
    onnx_model,
    rewrite_zip,
    weights,
    write_bundle,
    write_pt2,
)
from safetensors.torch import save_file

from fulcrum_components.models.loading import load_model
from fulcrum_pipelines.errors import UserError

CANARY = "canary"


class Payload:
    """Leaves a trace in the file system when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


@dataclass(frozen=True)
class TestCase:
    """A way to spoil a model.

    Attributes:
        name: What is wrong.
        make: Writes the model below a directory and returns its path.
        words: What the message must hold.
    """

    __test__ = False

    name: str
    make: Callable[[Path], Path]
    words: tuple[str, ...]


def manifest(old: str, new: str) -> Callable[[Path], Path]:
    """Return a maker of a bundle whose manifest has `new` instead of `old`."""
    assert old in MANIFEST
    return lambda root: write_bundle(root / "b", fulcrum_yaml=MANIFEST.replace(old, new))


def code(text: str) -> Callable[[Path], Path]:
    """Return a maker of a bundle with `text` as its `model.py`."""
    return lambda root: write_bundle(root / "b", model_py=text)


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], Path]:
    """Return a maker of a bundle whose weights were changed."""

    def make(root: Path) -> Path:
        values = weights()
        change(values)
        save_file(values, write_bundle(root / "b") / "model.safetensors")
        return root / "b"

    return make


def other_weights(name: str, write: Callable[[Path], object]) -> Callable[[Path], Path]:
    """Return a maker of a bundle with weights in the file `name`."""

    def make(root: Path) -> Path:
        bundle = manifest("model.safetensors", name)(root)
        write(bundle / name)
        return bundle

    return make


def pickled_state(path: Path) -> None:
    """Write a state dict with something in it that runs when it is unpickled."""
    torch.save({**weights(), "x": Payload(path.parent / CANARY)}, path)


def pickled_plain(path: Path) -> None:
    """Write a pickle that torch did not make."""
    path.write_bytes(pickle.dumps(Payload(path.parent / CANARY)))


def truncate(path: Path, bytes_left: int) -> Path:
    """Cut a file."""
    path.write_bytes(path.read_bytes()[:bytes_left])
    return path


def without(name: str) -> Callable[[Path], Path]:
    """Return a maker of a bundle that lacks a file."""

    def make(root: Path) -> Path:
        bundle = write_bundle(root / "b")
        (bundle / name).unlink()
        return bundle

    return make


def linked_out(root: Path) -> Path:
    """Return a bundle whose weights are a link out of it."""
    bundle = without("model.safetensors")(root)
    save_file(weights(), root / "outside.safetensors")
    (bundle / "model.safetensors").symlink_to(root / "outside.safetensors")
    return bundle


def truncated_safetensors(root: Path) -> Path:
    """Return a bundle with half of its weights."""
    truncate(write_bundle(root / "b") / "model.safetensors", 120)
    return root / "b"


def lying_safetensors(root: Path) -> Path:
    """Return a bundle whose weights file claims a header of 2^60 bytes."""
    path = write_bundle(root / "b") / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + path.read_bytes()[8:])
    return root / "b"


def pt2(change: Callable[[dict[str, bytes]], None]) -> Callable[[Path], Path]:
    """Return a maker of a `.pt2` file with changed members."""
    return lambda root: rewrite_zip(write_pt2(root / "m.pt2"), change)


def pt2_program(change: Callable[[dict[str, object]], None]) -> Callable[[Path], Path]:
    """Return a maker of a `.pt2` file with a changed program."""
    return pt2(lambda members: edit_json(members, "models/model.json", change))


def set_target(target: str) -> Callable[[dict[str, object]], None]:
    """Return a change that makes the first node call something else."""

    def change(program: dict[str, object]) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = target  # type: ignore[index]

    return change


def set_size(expression: str) -> Callable[[dict[str, object]], None]:
    """Return a change that puts `expression` where a symbolic size is."""

    def change(program: dict[str, object]) -> None:
        sizes = program["graph_module"]["graph"]["tensor_values"]["input"]["sizes"]  # type: ignore[index]
        sizes[0]["as_expr"]["expr_str"] = expression

    return change


def set_container(program: dict[str, object]) -> None:
    """Name a module to import as the type of a container."""
    call = program["graph_module"]["module_call_graph"][0]  # type: ignore[index]
    call["signature"]["in_spec"] = call["signature"]["in_spec"].replace(
        "builtins.dict", "collections.defaultdict"
    )


def pickled_weight(config: dict[str, dict[str, dict[str, object]]]) -> None:
    """Say that all weights are pickles."""
    for entry in config["config"].values():
        entry["use_pickle"] = True


def member(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    """Return a change that adds or replaces a member."""

    def change(members: dict[str, bytes]) -> None:
        members[f"m/{name}"] = content

    return change


def pickled_inputs(members: dict[str, bytes]) -> None:
    """Replace the example inputs by a pickle that runs something."""
    (name,) = [name for name in members if name.endswith("sample_inputs/model.pt")]
    members[name] = pickle.dumps(Payload(Path(CANARY)))


def saved(model: onnx.ModelProto, root: Path) -> Path:
    """Write an ONNX model."""
    onnx.save(model, root / "m.onnx")
    return root / "m.onnx"


def lone_state(root: Path) -> Path:
    """Write a state dict without a bundle around it."""
    torch.save(weights(), root / "m.pt")
    return root / "m.pt"


def half_a_state(path: Path) -> None:
    """Write the beginning of a state dict."""
    torch.save(weights(), path)
    truncate(path, 300)


ENDLESS = (
    "["
    + ", ".join([f"&a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]" for n in range(30)])
    + "]"
)
"""Nine to the power of thirty values, if the aliases are expanded."""


def replaced(ending: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    """Return a change of the member whose name ends so."""

    def change(members: dict[str, bytes]) -> None:
        (name,) = [name for name in members if name.endswith(ending)]
        members[name] = content

    return change


def hidden_weights(root: Path) -> Path:
    """Return a bundle whose weights its digest would not cover."""
    bundle = manifest("model.safetensors", ".w/model.safetensors")(root)
    (bundle / ".w").mkdir()
    (bundle / "model.safetensors").rename(bundle / ".w" / "model.safetensors")
    return bundle


def state_dict_bomb(root: Path) -> Path:
    """Return a bundle whose state dict expands a thousand times."""
    bundle = manifest("model.safetensors", "model.pt")(root)
    with zipfile.ZipFile(bundle / "model.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data/0", bytes(300 << 20))
    return bundle


def zip_bomb(root: Path) -> Path:
    """Return an archive of a few hundred kilobytes that claims 300 MiB."""
    path = root / "m.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("m/data/weights/weight_0", bytes(300 << 20))
    return path


def onnx_file(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], Path]:
    """Return a maker of a changed ONNX file."""

    def make(root: Path) -> Path:
        model = onnx_model()
        change(model)
        onnx.save(model, root / "m.onnx")
        return root / "m.onnx"

    return make


def external(location: str | None) -> Callable[[Path], Path]:
    """Return a maker of an ONNX file with its weights in another file that is not there."""

    def make(root: Path) -> Path:
        path = root / "m.onnx"
        options = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
        onnx.save(onnx_model(), path, **options)  # type: ignore[arg-type]
        if location is None:
            (root / "w.bin").unlink()
            return path
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            next(item for item in tensor.external_data if item.key == "location").value = location
        onnx.save(model, path)
        return path

    return make


def nan_onnx(model: onnx.ModelProto) -> None:
    """Make the weight of an ONNX model NaN."""
    values = torch.full((3, 4), torch.nan).numpy()
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(values, "weight"))


def unknown_operator(model: onnx.ModelProto) -> None:
    """Use an operator that does not exist."""
    model.graph.node[0].op_type = "Gemmm"


def custom_domain(model: onnx.ModelProto) -> None:
    """Use an operator that no runtime here has."""
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))


def text(path: Path, content: str) -> Path:
    """Write a text file and return its path."""
    path.write_text(content)
    return path


FORWARD = """
import torch

class Net(torch.nn.Linear):
    def forward(self, x):
        return {}

def build(classes):
    return torch.nn.ModuleDict({{"linear": Net(4, 3)}}) if False else Outer()

class Outer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
    def forward(self, x):
        return {}
"""

CASES = [
    TestCase(
        "nothing there", lambda root: root / "modle.pt2", ("no file or directory", "modle.pt2")
    ),
    TestCase("no manifest", without("fulcrum.yaml"), ("no fulcrum.yaml", "fulcrum init")),
    TestCase("no weights", without("model.safetensors"), ("model.safetensors", "missing")),
    TestCase("no code", without("model.py"), ("no Python file 'model.py'", "entryPoint")),
    TestCase("no imported code", without("layers.py"), ("model.py:4", "No module named 'layers'")),
    TestCase(
        "manifest is no YAML",
        manifest("entryPoint:", "a: [b\nentryPoint:"),
        ("not valid YAML", "line"),
    ),
    TestCase(
        "manifest is a list",
        lambda root: write_bundle(root / "b", fulcrum_yaml="- a"),
        ("must be a mapping",),
    ),
    TestCase(
        "unknown field",
        manifest("weights:", "weight:"),
        ("unknown field 'weight'", "did you mean 'weights'"),
    ),
    TestCase(
        "unknown tensor field",
        manifest("dtype: float32}\noutputs", "type: float32}\noutputs"),
        ("inputs.0.type", "dtype"),
    ),
    TestCase("missing field", manifest("meaning: logits", ""), ("'meaning' is missing",)),
    TestCase(
        "unknown meaning",
        manifest("meaning: logits", "meaning: scores"),
        ("meaning is 'scores'", "'logits'", "'value'"),
    ),
    TestCase(
        "no function in entry point",
        manifest("model.py:build", "model.py"),
        ("entryPoint is 'model.py'", "model.py:build"),
    ),
    TestCase(
        "wrong function",
        manifest("model.py:build", "model.py:biuld"),
        ("no function 'biuld'", "did you mean 'build'"),
    ),
    TestCase(
        "entry point outside",
        manifest("model.py:build", "../model.py:build"),
        ("entryPoint '../model.py'", "out of the bundle"),
    ),
    TestCase(
        "weights outside",
        manifest("model.safetensors", "/etc/hostname"),
        ("weights '/etc/hostname'", "out of the bundle"),
    ),
    TestCase("hidden weights", hidden_weights, ("'.w/model.safetensors' is hidden", "digest")),
    TestCase(
        "yaml that expands without end",
        manifest("meaning: logits", "meaning: " + ENDLESS),
        ("fulcrum.yaml", "meaning is"),
    ),
    TestCase(
        "yaml with a date that is none",
        manifest("meaning: logits", "meaning: 2024-13-45"),
        ("fulcrum.yaml", "not valid YAML"),
    ),
    TestCase(
        "yaml that is nested without end",
        manifest("meaning: logits", "meaning: " + "[" * 5000),
        ("fulcrum.yaml", "not valid YAML"),
    ),
    TestCase("state dict that is a zip bomb", state_dict_bomb, ("model.pt", "zip bomb")),
    TestCase("link out of the bundle", linked_out, ("'model.safetensors' is a symbolic link",)),
    TestCase(
        "unknown dtype",
        manifest("float32}\noutputs", "float23}\noutputs"),
        ("'float23'", "did you mean 'float32'"),
    ),
    TestCase("fixed batch", manifest("[batch, 4]", "[1, 4]"), ("inputs.0", "dynamic axis 'batch'")),
    TestCase(
        "size zero",
        manifest("[batch, 4]", "[batch, 0]"),
        ("inputs.0.shape.1", "greater than or equal to 1"),
    ),
    TestCase(
        "wrong argument",
        manifest("classes: 3", "clases: 3"),
        ("TypeError", "unexpected keyword argument 'clases'"),
    ),
    TestCase(
        "code does not parse", code("def build(classes)\n    pass\n"), ("model.py:1", "SyntaxError")
    ),
    TestCase(
        "code raises",
        code("def build(classes):\n    raise KeyError('no such layer')\n"),
        ("model.py:2", "KeyError", "no such layer"),
    ),
    TestCase("code exits", code("import sys\nsys.exit(3)\n"), ("model.py:2", "SystemExit")),
    TestCase(
        "code returns no module",
        code("def build(classes):\n    return 5\n"),
        ("returns a int", "torch.nn.Module"),
    ),
    TestCase(
        "forward raises",
        code(FORWARD.format("0", "x @ x")),
        ("model.py:16", "RuntimeError", "forward with a batch of 2"),
    ),
    TestCase(
        "forward fixes the batch",
        code(FORWARD.format("0", "self.linear(x.reshape(2, 4))")),
        ("batch of 3", "model.py:16", "shape '[2, 4]'"),
    ),
    TestCase(
        "output not a tensor",
        code(FORWARD.format("0", "{'a': str(x)}")),
        ("its output['a'] is a str", "tensors in a tuple, list or dict"),
    ),
    TestCase(
        "two outputs",
        code(FORWARD.format("0", "(self.linear(x), x)")),
        ("returns 2 outputs", "1 are declared"),
    ),
    TestCase(
        "output shape",
        manifest("[batch, 3]", "[batch, 5]"),
        ("'scores' is float32[2, 3]", "[batch, 5]"),
    ),
    TestCase(
        "output dtype",
        manifest("[batch, 3], dtype: float32", "[batch, 3], dtype: float64"),
        ("'scores' is float32[2, 3]", "float64[batch, 3]"),
    ),
    TestCase(
        "input shape",
        manifest("[batch, 4]", "[batch, 7]"),
        ("layers.py:11", "forward with a batch of 2"),
    ),
    TestCase("missing key", tensors(lambda t: t.pop("linear.bias")), ("missing: linear.bias",)),
    TestCase(
        "unexpected key",
        tensors(lambda t: t.update({"head.bias": torch.zeros(3)})),
        ("unexpected: head.bias",),
    ),
    TestCase(
        "wrongly shaped key",
        tensors(lambda t: t.update({"linear.bias": torch.zeros(5)})),
        ("linear.bias (file [5], module [3])",),
    ),
    TestCase(
        "NaN weights",
        tensors(lambda t: t["linear.bias"].fill_(torch.nan)),
        ("not finite", "linear.bias"),
    ),
    TestCase(
        "infinite weights",
        tensors(lambda t: t["linear.weight"].fill_(torch.inf)),
        ("not finite", "linear.weight"),
    ),
    TestCase("truncated safetensors", truncated_safetensors, ("model.safetensors", "truncated")),
    TestCase(
        "safetensors with a giant header", lying_safetensors, ("model.safetensors", "truncated")
    ),
    TestCase(
        "pickle in a state dict",
        other_weights("m.pt", pickled_state),
        ("needs unpickling", "convert with safetensors"),
    ),
    TestCase(
        "plain pickle as weights",
        other_weights("m.pth", pickled_plain),
        ("m.pth", "needs unpickling"),
    ),
    TestCase(
        "whole module as weights",
        other_weights("m.pt", lambda path: torch.save(torch.nn.Linear(4, 3), path)),
        ("needs unpickling",),
    ),
    TestCase("truncated state dict", other_weights("m.pt", half_a_state), ("m.pt", "damaged")),
    TestCase(
        "state dict is a list",
        other_weights("m.pt", lambda path: torch.save([torch.zeros(3)], path)),
        ("mapping of names to tensors",),
    ),
    TestCase(
        "unknown kind of weights",
        other_weights("m.h5", lambda path: path.write_bytes(b"x")),
        ("'.h5'", ".safetensors"),
    ),
    TestCase("lone state dict", lone_state, ("m.pt", "fulcrum init")),
    TestCase(
        "unknown ending", lambda root: text(root / "m.tflite", ""), ("m.tflite", ".onnx", "format")
    ),
    TestCase("pt2 is no zip", lambda root: text(root / "m.pt2", "x"), ("m.pt2", "no zip file")),
    TestCase(
        "pt2 truncated",
        lambda root: truncate(write_pt2(root / "m.pt2"), 4000),
        ("m.pt2", "truncated"),
    ),
    TestCase("pt2 zip bomb", zip_bomb, ("zip bomb",)),
    TestCase(
        "pt2 of something else",
        lambda root: rewrite_zip(write_pt2(root / "m.pt2"), dict.clear),
        ("no program of torch.export",),
    ),
    TestCase(
        "pt2 with a fixed batch",
        lambda root: write_pt2(root / "m.pt2", dynamic=False),
        ("batch fixed to 2", "dynamic_shapes"),
    ),
    TestCase(
        "pt2 that is nested without end",
        pt2(replaced("models/model.json", b"[" * 100_000)),
        ("m.pt2", "damaged"),
    ),
    TestCase(
        "pt2 whose program is a list",
        pt2(replaced("models/model.json", b"[]")),
        ("m.pt2", "damaged"),
    ),
    TestCase(
        "pt2 whose table is of another shape",
        pt2(replaced("model_weights_config.json", b'{"config": {"a": []}}')),
        ("m.pt2", "damaged"),
    ),
    TestCase(
        "pt2 with pickled weights",
        pt2(lambda m: edit_json(m, "weights_config.json", pickled_weight)),
        ("could run code", "0.weight"),
    ),
    TestCase(
        "pt2 with legacy weights",
        pt2(member("data/weights/model.pt", b"")),
        ("data/weights/model.pt", "needs unpickling"),
    ),
    TestCase(
        "pt2 with a custom object",
        pt2(member("data/constants/custom_obj_0", b"")),
        ("custom_obj_0", "needs unpickling"),
    ),
    TestCase(
        "pt2 with compiled code",
        pt2(member("data/aotinductor/model/a.so", b"")),
        ("a.so", "compiled code"),
    ),
    TestCase(
        "pt2 with pickled example inputs",
        pt2(pickled_inputs),
        ("example inputs", "needs unpickling"),
    ),
    TestCase(
        "pt2 that calls a function of torch",
        pt2_program(set_target("torch.hub.load")),
        ("operation 'torch.hub.load'",),
    ),
    TestCase(
        "pt2 that calls the shell",
        pt2_program(set_target("torch.os.system")),
        ("operation 'torch.os.system'",),
    ),
    TestCase(
        "pt2 that loads a library",
        pt2_program(set_target("torch.ops.load_library")),
        ("operation 'torch.ops.load_library'",),
    ),
    TestCase(
        "pt2 that reads files",
        pt2_program(set_target("torch.ops.aten.from_file.default")),
        ("from_file",),
    ),
    TestCase(
        "pt2 with an evaluated size",
        pt2_program(set_size("__import__('os').getpid()")),
        ("size expression", "__import__"),
    ),
    TestCase(
        "pt2 with a container to import", pt2_program(set_container), ("container other than",)
    ),
    TestCase(
        "ONNX is text", lambda root: text(root / "m.onnx", "hello"), ("m.onnx", "no ONNX file")
    ),
    TestCase("ONNX is empty", lambda root: text(root / "m.onnx", ""), ("m.onnx", "truncated")),
    TestCase(
        "ONNX truncated",
        lambda root: truncate(onnx_file(lambda m: None)(root), 100),
        ("m.onnx", "truncated"),
    ),
    TestCase("ONNX external data missing", external(None), ("'w.bin'", "not beside the model")),
    TestCase(
        "ONNX external data outside",
        external("../../etc/passwd"),
        ("'../../etc/passwd'", "outside"),
    ),
    TestCase("ONNX external data absolute", external("/etc/passwd"), ("'/etc/passwd'", "outside")),
    TestCase("ONNX with NaN", onnx_file(nan_onnx), ("not finite", "weight")),
    TestCase(
        "ONNX unknown operator", onnx_file(unknown_operator), ("breaks the ONNX standard", "Gemmm")
    ),
    TestCase(
        "ONNX custom operator",
        onnx_file(custom_domain),
        ("ONNX Runtime does not load it", "com.example"),
    ),
    TestCase(
        "ONNX batch fixed",
        lambda root: saved(onnx_model(batch=1), root),
        ("batch fixed to 1", "example batch of 2"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused(case: TestCase, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = case.make(tmp_path)
    with pytest.raises(UserError) as caught:
        load_model(str(path), cache_dir=tmp_path / "cache")
    message = str(caught.value)
    for words in case.words:
        assert words in message
    assert message.count("\n") == 0
    assert len(message) < 1000
    assert caught.value.__cause__ is None
    assert not list(tmp_path.rglob(CANARY))
    assert "Traceback" not in message + "".join(capfd.readouterr())


def test_wrong_digest(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    with pytest.raises(UserError, match=r"spec\.model\.digest: .* has digest sha256:.*expected"):
        load_model(str(bundle), digest=f"sha256:{'0' * 64}", cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://example.com/m.onnx", "allowed are file, s3"),
        ("ssh://host/m.onnx", "is not allowed"),
        ("simplecache::s3://bucket/m.onnx", "is not allowed"),
        ("gs://bucket/m.onnx", "needs the Python package gcsfs"),
        ("memory://nothing/m.onnx", "nothing is at"),
    ],
)
def test_bad_urls(uri: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words) as caught:
        load_model(uri, cache_dir=tmp_path)
    assert caught.value.where == "spec.model.uri"


@pytest.mark.parametrize("declared", ["bundle", "pt2", "onnx"])
def test_format_contradicts(declared: str, tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b") if declared != "bundle" else text(tmp_path / "m.onnx", "")
    with pytest.raises(UserError, match=r"is a (file|directory)"):
        load_model(str(path), declared, cache_dir=tmp_path / "cache")


def test_meaning_contradicts_the_task(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    with pytest.raises(UserError, match=r"meaning is logits, but spec\.data\.task regression"):
        load_model(str(bundle), cache_dir=tmp_path / "cache", task="regression")
