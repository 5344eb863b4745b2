"""Bundles that reach for what is not theirs: each is refused in words before its code runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from model_files import MANIFEST, onnx_model, write_bundle

from fulcrum_components.models.loading import load_model
from fulcrum_pipelines.errors import UserError

RAN = "ran"
CODE = """
from pathlib import Path

Path(__file__).with_name("ran").touch()


def build(classes):
    raise RuntimeError
"""


def link(name: str, target: str) -> Callable[[Path], None]:
    """Return what puts the symbolic link `name` into a bundle, in place of what was there."""

    def make(bundle: Path) -> None:
        path = bundle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return make


def chain(bundle: Path) -> None:
    link("first", "second")(bundle)
    link("second", "third/file")(bundle)
    link("third", "/proc/self")(bundle)


def pipe(name: str) -> Callable[[Path], None]:
    def make(bundle: Path) -> None:
        (bundle / name).unlink(missing_ok=True)
        os.mkfifo(bundle / name)

    return make


def listening(bundle: Path) -> None:
    here = os.getcwd()
    os.chdir(bundle)  # the whole path is too long for a socket
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
    finally:
        os.chdir(here)


def hidden_code(bundle: Path) -> None:
    (bundle / ".hidden").mkdir()
    (bundle / "layers.py").rename(bundle / ".hidden" / "__init__.py")
    (bundle / "layers").symlink_to(".hidden")


def manifest(old: str, new: str) -> Callable[[Path], None]:
    def make(bundle: Path) -> None:
        assert old in MANIFEST
        (bundle / "fulcrum.yaml").write_text(MANIFEST.replace(old, new))

    return make


def named(name: bytes) -> Callable[[Path], None]:
    def make(bundle: Path) -> None:
        with open(os.fsencode(bundle) + b"/" + name, "wb"):
            return

    return make


@dataclass(frozen=True)
class Bundle:
    """How a bundle is made hostile, and what is said of it."""

    name: str
    make: Callable[[Path], None]
    words: str


OUT = "symbolic link out of the bundle"
FILE, ENTRY = "weights: model.safetensors", "model.py:build"
BUNDLES = (
    Bundle("a link to an absolute path", link("notes.txt", "/etc/passwd"), OUT),
    Bundle("a link to the environment", link("notes.txt", "/proc/self/environ"), OUT),
    Bundle("a link to memory", link("notes.txt", "/proc/self/mem"), OUT),
    Bundle("a link to a device", link("notes.txt", "/dev/zero"), OUT),
    Bundle("a link in a folder", link("a/b/notes.txt", "../../../notes.txt"), OUT),
    Bundle("a link to a folder", link("a/etc", "/etc"), OUT),
    Bundle("links to links", chain, OUT),
    Bundle("a link to nowhere outside", link("notes.txt", "/nowhere/at/all"), OUT),
    Bundle("weights that are a link", link("model.safetensors", "/proc/self/environ"), OUT),
    Bundle("a manifest that is a link", link("fulcrum.yaml", "/proc/self/environ"), OUT),
    Bundle("code that is a link", link("layers.py", "/proc/self/cmdline"), OUT),
    Bundle("code that the digest leaves out", hidden_code, "link to a hidden file"),
    Bundle("weights that are a pipe", pipe("model.safetensors"), "a pipe"),
    Bundle("a manifest that is a pipe", pipe("fulcrum.yaml"), "a pipe"),
    Bundle("code that is a pipe", pipe("layers.py"), "a pipe"),
    Bundle("a socket", listening, "a socket"),
    Bundle("two lines in a name", named(b"a\nb"), "control characters"),
    Bundle("an escape sequence in a name", named(b"\x1b[2J"), "control characters"),
    Bundle("text to the left in a name", named("\u202efdp.exe".encode()), "control characters"),
    Bundle("a name that is no text", named(b"\xff\xfe"), "undecodable"),
    Bundle("weights above", manifest(FILE, "weights: ../w.safetensors"), "leads out"),
    Bundle("weights elsewhere", manifest(FILE, "weights: /etc/w.safetensors"), "leads out"),
    Bundle("weights with a NUL", manifest(FILE, 'weights: "a\\0b"'), "cannot be a file"),
    Bundle("weights with a long name", manifest(FILE, f"weights: {'a' * 5000}"), "cannot be a"),
    Bundle("an entry point above", manifest(ENTRY, "../../m.py:build"), "leads out"),
    Bundle("an entry point with a NUL", manifest(ENTRY, '"a\\0b.py:build"'), "cannot be a file"),
    Bundle("an entry point in an expression", manifest(ENTRY, "model.py:build()"), "look like"),
    Bundle("an entry point in a module", manifest(ENTRY, "os:system"), "look like"),
    Bundle(
        "a manifest that makes objects",
        manifest("meaning: logits", "meaning: !!python/object/apply:os.getcwd []"),
        "not valid YAML",
    ),
    Bundle("nested without end", manifest("{classes: 3}", "[" * 100_000), "not valid YAML"),
    Bundle("a huge manifest", manifest("{classes: 3}", f"{{a: {'x' * (2 << 20)}}}"), "larger than"),
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("case", BUNDLES, ids=lambda case: case.name)
def test_is_refused_before_its_code_runs(case: Bundle, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", model_py=CODE)
    case.make(bundle)
    with pytest.raises(UserError, match=case.words):
        load_model(str(bundle), cache_dir=tmp_path / "cache")
    assert not (bundle / RAN).exists()


HARMLESS = (
    Bundle("a link to a file in the bundle", link("copy.txt", "model.py"), ""),
    Bundle("a link to nowhere inside", link("copy.txt", "missing"), ""),
    Bundle("a link to itself", link("loop", "loop"), ""),
    Bundle("a folder that is its own child", link("a/above", ".."), ""),
    Bundle("a name in another script", named("模型.txt".encode()), ""),
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("case", HARMLESS, ids=lambda case: case.name)
def test_what_stays_inside_is_accepted(case: Bundle, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    case.make(bundle)
    assert load_model(str(bundle), cache_dir=tmp_path / "cache").module is not None


LOCATIONS = (
    *("/etc/passwd", "../w.bin", "a/../../w.bin", "/proc/self/environ", "", "a\0b", "a" * 5000),
    *("link", "pipe", "folder"),
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("location", LOCATIONS, ids=lambda text: repr(text[:20]))
def test_onnx_weights_are_read_from_beside_the_model_alone(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(100))
    (folder / "link").symlink_to("/proc/self/environ")
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    path, model = folder / "m.onnx", onnx_model()
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        entry = next(item for item in tensor.external_data if item.key == "location")
        entry.value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"refers to|is in the file"):
        load_model(str(path), cache_dir=tmp_path / "cache")
