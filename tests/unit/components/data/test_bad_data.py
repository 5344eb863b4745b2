"""Each wrong data set gives one clear error that names the field, the file and the example."""

from __future__ import annotations

import bz2
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from model_files import SIGNATURE, examples
from PIL import Image
from pyarrow import parquet

from fulcrum_components.data import column_values, open_dataset
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import DataSource

WHERE = "spec.data.test"
IMAGES = Signature(
    (TensorSpec("image", ("batch", 1, 6, 5), "float32"),), SIGNATURE.outputs, "logits"
)
ANY_IMAGES = Signature(
    (TensorSpec("image", ("batch", 1, "height", "width"), "float32"),),
    SIGNATURE.outputs,
    "logits",
)
TOKENS = Signature((TensorSpec("x", ("batch", "time"), "int32"),), SIGNATURE.outputs, "logits")
VALUE = Signature(SIGNATURE.inputs, (TensorSpec("o", ("batch", 1), "float32"),), "value")


@dataclass(frozen=True)
class TestCase:
    """A way to spoil a data set.

    Attributes:
        name: What is wrong.
        make: Writes the data below a directory and returns the path or URL.
        words: What the message must hold.
        source: Further fields of the data source.
        signature: What the model takes.
        task: The task.
        columns: Slice columns to ask for.
    """

    __test__ = False

    name: str
    make: Callable[[Path], Path]
    words: tuple[str, ...]
    source: dict[str, Any] = field(default_factory=dict)
    signature: Signature = SIGNATURE
    task: str = "classification"
    columns: tuple[str, ...] = ()


def npz(**changes: Any) -> Callable[[Path], Path]:
    """Return a maker of an `.npz` with other arrays; `None` leaves one out."""

    def make(root: Path) -> Path:
        arrays = {k: v for k, v in (examples() | changes).items() if v is not None}
        np.savez(root / "d.npz", **arrays)
        return root / "d.npz"

    return make


def spoilt_x(index: tuple[int, int], value: float, dtype: str = "float32") -> Any:
    """Return inputs with one bad value."""
    values = examples()["x"].astype(dtype)
    values[index] = value
    return values


def labels(*, at: int, value: int) -> Any:
    """Return labels with one bad value."""
    values = examples()["y"].copy()
    values[at] = value
    return values


def file(name: str, content: str | bytes) -> Callable[[Path], Path]:
    """Return a maker of a file."""

    def make(root: Path) -> Path:
        path = root / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def truncated(make: Callable[[Path], Path], share: float) -> Callable[[Path], Path]:
    """Return a maker of what `make` makes, cut off."""

    def cut(root: Path) -> Path:
        path = make(root)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return cut


def csv(rows: int = 6, *, header: str = "a,b,c,d,y", spoil: tuple[int, str] | None = None) -> str:
    """Return CSV text, with one row replaced."""
    lines = [header, *(f"{i},{i}.5,1,2,{i % 3}" for i in range(rows))]
    if spoil:
        lines[1 + spoil[0]] = spoil[1]
    return "\n".join(lines) + "\n"


FOUR = {"inputs": {"x": "a:d"}}


def table(**columns: Any) -> Callable[[Path], Path]:
    """Return a maker of a Parquet file."""

    def make(root: Path) -> Path:
        own: dict[str, Any] = {name: np.arange(6.0) for name in "abcd"} | {"y": np.arange(6) % 3}
        parquet.write_table(pa.table(own | columns), root / "d.parquet")
        return root / "d.parquet"

    return make


def images(spoil: Callable[[Path], None], size: tuple[int, int] = (6, 5)) -> Callable[[Path], Path]:
    """Return a maker of an image folder with the first image of class b spoilt."""

    def make(root: Path) -> Path:
        for name in "abc":
            (root / "im" / name).mkdir(parents=True)
            for number in range(2):
                pixels = np.full(size, number * 50, np.uint8)
                Image.fromarray(pixels).save(root / "im" / name / f"{number}.png")
        spoil(root / "im" / "b" / "0.png")
        return root / "im"

    return make


def bomb_png(path: Path) -> None:
    """Write a small PNG that claims 400 million pixels."""
    buffer = io.BytesIO()
    Image.new("L", (5, 6)).save(buffer, "png")
    content = bytearray(buffer.getvalue())
    content[16:24] = (20000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)


def cut_png(path: Path) -> None:
    """Cut an image in the middle of its pixels."""
    path.write_bytes(path.read_bytes()[:44])


def bomb_npz(root: Path) -> Path:
    """Return an archive of zeros that expands a thousand times."""
    path = root / "d.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("x.npy", bytes(300 << 20))
    return path


def bomb_csv(piece: bytes) -> Callable[[Path], Path]:
    """Return a maker of a gzipped CSV file that expands some hundred times to 300 MiB."""

    def make(root: Path) -> Path:
        path = root / "d.csv.gz"
        member = gzip.compress(piece * ((1 << 20) // len(piece)))
        path.write_bytes(gzip.compress(b"a,b,c,d,y\n") + member * 300)
        return path

    return make


def bomb_parquet(root: Path) -> Path:
    """Return a table of equal values, which take no room in the file."""
    column = pa.chunked_array([pa.array(np.zeros(1 << 22))] * 2)
    columns = {f"{name}{number}": column for name in "abcd" for number in range(2)}
    parquet.write_table(pa.table(columns | {"y": column}), root / "d.parquet")
    return root / "d.parquet"


def bomb_lists(root: Path) -> Path:
    """Return a table with six rows that hold millions of equal values each."""
    starts = np.arange(7, dtype=np.int32) * (11 << 20)
    lists = pa.ListArray.from_arrays(starts, pa.array(np.zeros(66 << 20, "f4")))
    parquet.write_table(pa.table({"x": lists, "y": np.arange(6) % 3}), root / "d.parquet")
    return root / "d.parquet"


def npy_of(shape: tuple[int, ...], descr: str = "<f4") -> Callable[[Path], Path]:
    """Return a maker of an array file whose header says so."""
    return npy_header(repr({"descr": descr, "fortran_order": False, "shape": shape}))


def npy_header(text: str) -> Callable[[Path], Path]:
    """Return a maker of an array file with the header `text`."""

    def make(root: Path) -> Path:
        content = text.encode("latin1") + b"\n"
        start = b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little")
        (root / "x.npy").write_bytes(start + content + bytes(64))
        return root / "x.npy"

    return make


def displaced_member(root: Path) -> Path:
    """Return an `.npz` whose table says that the values of `x` go on after the end of the file."""
    path = root / "d.npz"
    wide = np.zeros((12, 4), "f4")
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in (("y", np.zeros(300, int)), ("x", wide)):
            with archive.open(f"{name}.npy", "w") as member:
                np.save(member, values)
    content = path.read_bytes().replace(b"(12, 4), ", b"(120, 4),")
    directory = content.rindex(b"PK\x01\x02")
    size = (2048).to_bytes(4, "little")  # fits the file, but not behind the start of x
    path.write_bytes(content[: directory + 20] + size + size + content[directory + 28 :])
    return path


def lying_npy(root: Path) -> Path:
    """Return an array whose header claims a thousand times its bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (12_000, 4)}
    )
    path = root / "x.npy"
    path.write_bytes(buffer.getvalue() + bytes(192))
    return path


def damaged_member(root: Path) -> Path:
    """Return a compressed `.npz` with wrong bytes in the middle."""
    path = root / "d.npz"
    np.savez_compressed(path, **examples(500))
    content = bytearray(path.read_bytes())
    content[300:340] = bytes(40)
    path.write_bytes(content)
    return path


def npy_pair(root: Path) -> Path:
    """Write inputs and too few answers."""
    np.save(root / "x.npy", examples()["x"])
    np.save(root / "y.npy", examples()["y"][:5])
    return root / "x.npy"


def python(text: str) -> Callable[[Path], Path]:
    """Return a maker of a Python file."""
    return file("data.py", "import numpy as np\n" + text)


def function(**arguments: str) -> dict[str, Any]:
    """Return the fields of a Python source."""
    return {"format": "python", "function": "load", "arguments": arguments}


ITEMS = """
class Items:
    def __len__(self):
        return 6
    def __getitem__(self, i):
        {}

def load():
    return Items()
"""

CASES = [
    TestCase("missing file", lambda root: root / "d.npz", ("spec.data.test.uri", "d.npz")),
    TestCase("nearly the name", lambda r: npz()(r).with_name("b.npz"), ("did you mean 'd.npz'",)),
    TestCase("glob of nothing", lambda root: root / "*.npz", ("no file matches",)),
    TestCase("unknown ending", file("d.xls", ""), ("d.xls", ".parquet", "format")),
    TestCase("no array of the input", npz(x=None), ("there is no 'x'", "test.inputs.x", "d.npz")),
    TestCase("no answers", npz(y=None, Y=examples()["y"]), ("test.target", "there is no 'y'")),
    TestCase(
        "unknown input",
        npz(),
        ("the model has no input 'z'", "it has x"),
        source={"inputs": {"z": "x"}},
    ),
    TestCase("input shape", npz(x=np.zeros((12, 5), "f4")), ("float32[n, 5]", "float32[batch, 4]")),
    TestCase("too many axes", npz(x=np.zeros((12, 4, 1))), ("float64[n, 4, 1]", "[batch, 4]")),
    TestCase("text as input", npz(x=np.full((12, 4), "a")), ("str", "float32[batch, 4]")),
    TestCase("complex input", npz(x=np.ones((12, 4), complex)), ("complex128[n, 4]",)),
    TestCase(
        "floats as tokens",
        npz(),
        ("float32[n, 4]", "int32[batch, time]"),
        signature=TOKENS,
    ),
    TestCase(
        "tokens too large",
        npz(x=np.full((12, 4), 2**40)),
        ("1099511627776", "does not fit the model's int32"),
        signature=TOKENS,
    ),
    TestCase("NaN in input", npz(x=spoilt_x((1, 2), np.nan)), ("input 'x' of example 1", "nan")),
    TestCase("infinite input", npz(x=spoilt_x((0, 0), -np.inf)), ("example 0", "-inf")),
    TestCase(
        "input too large for float32",
        npz(x=spoilt_x((1, 0), 1e300, "float64")),
        ("as float32 of example 1", "inf"),
    ),
    TestCase(
        "label too large", npz(y=labels(at=7, value=3)), ("label of example 7 is 3", "0 to 2")
    ),
    TestCase("negative label", npz(y=labels(at=2, value=-1)), ("label of example 2 is -1",)),
    TestCase("float labels", npz(y=np.full(12, 0.5)), ("label of example 0 is 0.5", "whole")),
    TestCase("one-hot labels", npz(y=np.eye(12, 3, dtype=int)), ("2 axes", "argmax")),
    TestCase(
        "NaN target",
        npz(y=np.array([0.0] * 11 + [np.nan])),
        ("the target of example 11",),
        signature=VALUE,
        task="regression",
    ),
    TestCase(
        "target shape",
        npz(y=np.zeros((12, 2))),
        ("targets have the shape [n, 2]", "float32[batch, 1]"),
        signature=VALUE,
        task="regression",
    ),
    TestCase("empty", npz(x=np.zeros((0, 4), "f4"), y=np.zeros(0, int)), ("is empty",)),
    TestCase("lengths differ", npz(y=np.zeros(11, int)), ("'x' 12, 'y' 11",)),
    TestCase(
        "objects inside",
        npz(y=np.array([0, None] * 6, dtype=object)),
        ("'y.npy'", "need unpickling"),
    ),
    TestCase("a single value", npz(y=np.array(3)), ("'y.npy' is a single value",)),
    TestCase("npz is text", file("d.npz", "hello"), ("d.npz", "no zip file")),
    TestCase("npz truncated", truncated(npz(), 0.7), ("d.npz", "truncated")),
    TestCase("npz damaged", damaged_member, ("d.npz", "damaged")),
    TestCase(
        "npz of something else", lambda r: (_zip(r / "d.npz"), r / "d.npz")[1], ("no arrays",)
    ),
    TestCase("npz zip bomb", bomb_npz, ("zip bomb",)),
    TestCase("npy lies about its size", lying_npy, ("'x.npy' is truncated", "192 of 192000")),
    TestCase("npy of nothing", npy_of((10**12, 0)), ("x.npy", "must hold something")),
    TestCase("npy with a negative size", npy_of((-3, 4)), ("x.npy", "must hold something")),
    TestCase("npy larger than numbers go", npy_of((10**30, 4)), ("truncated",)),
    TestCase("npy with text of no width", npy_of((10**12,), "<U0"), ("must hold something",)),
    TestCase("npy with a nested header", npy_header("(" * 5000), ("no array file",)),
    TestCase("npy with a call in its header", npy_header("exit()"), ("no array file",)),
    TestCase("npy with an open header", npy_header('{\'shape\': ("""'), ("no array file",)),
    TestCase("npz with a displaced member", displaced_member, ("'x.npy' is truncated",)),
    TestCase("npy is text", file("x.npy", "hello"), ("x.npy", "no array file")),
    TestCase("npy without answers", lambda r: npy_pair(r), ("test.target", "there is no 'y'")),
    TestCase("skip too much", npz(), ("skip 12 leaves none of the 12",), source={"skip": 12}),
    TestCase("take too much", npz(), ("take 20", "12 examples"), source={"take": 20}),
    TestCase("missing slice column", npz(age=np.zeros(12)), ("'aeg'", "'age'"), columns=("aeg",)),
    TestCase("short slice column", npz(age=np.zeros(5)), ("'age' 5",), columns=("age",)),
    TestCase("no header", file("d.csv", csv(header="1,2,3,4,5")), ("needs a first line",), FOUR),
    TestCase("column twice", file("d.csv", csv(header="a,b,c,d,a")), ("distinct names",), FOUR),
    TestCase("csv is empty", file("d.csv", ""), ("d.csv", "is empty"), FOUR),
    TestCase("csv with a header only", file("d.csv", csv(0)), ("the data set is empty",), FOUR),
    TestCase(
        "missing column",
        file("d.csv", csv()),
        ("test.inputs.x", "no 'aa'", "did you mean 'a'"),
        {"inputs": {"x": "aa,b,c,d"}},
    ),
    TestCase("backward range", file("d.csv", csv()), ("runs backwards",), {"inputs": {"x": "d:a"}}),
    TestCase(
        "too few columns",
        file("d.csv", csv()),
        ("[n, 3]", "float32[batch, 4]"),
        {"inputs": {"x": "a:c"}},
    ),
    TestCase(
        "text in a column",
        file("d.csv", csv(spoil=(3, "1,x,1,2,0"))),
        ("'b'", "'x'", "line 5", "float"),
        FOUR,
    ),
    TestCase(
        "empty value", file("d.csv", csv(spoil=(2, "1,,1,2,0"))), ("'b'", "row 2", "no value"), FOUR
    ),
    TestCase("short row", file("d.csv", csv(spoil=(2, "1,2"))), ("5 columns", "2"), FOUR),
    TestCase(
        "float label in csv",
        file("d.csv", csv(spoil=(4, "1,1,1,2,0.5"))),
        ("the label '0.5' of example 4", "no whole number"),
        FOUR,
    ),
    TestCase("not gzip", file("d.csv.gz", csv()), ("d.csv.gz", "damaged"), FOUR),
    TestCase(
        "gzip truncated",
        truncated(file("d.csv.gz", gzip.compress(csv(5000).encode())), 0.5),
        ("d.csv.gz", "truncated"),
        FOUR,
    ),
    TestCase(
        "gzip bomb",
        bomb_csv(b"0,0,0,0,0\n"),
        ("d.csv.gz", "at most 200 times", "268435456 bytes", "gzip bomb"),
        FOUR,
    ),
    TestCase(
        "gzip with an endless line",
        bomb_csv(b"0"),
        ("d.csv.gz", "a line of more than 16777216 bytes"),
        FOUR,
    ),
    TestCase(
        "other compression",
        file("d.csv.bz2", bz2.compress(csv().encode())),
        ("d.csv.bz2",),
        {**FOUR, "format": "csv"},
    ),
    TestCase("binary csv", file("d.csv", bytes(range(256)) * 9), ("d.csv",), FOUR),
    TestCase("parquet is text", file("d.parquet", "PAR1 hello"), ("no Parquet file",), FOUR),
    TestCase("parquet truncated", truncated(table(), 0.6), ("d.parquet", "truncated"), FOUR),
    TestCase(
        "parquet without a value",
        table(b=pa.array([1.0, None, 2, 3, 4, 5])),
        ("column 'b' has no value in row 1",),
        FOUR,
    ),
    TestCase("parquet bomb of rows", bomb_parquet, ("d.parquet", "Parquet bomb"), FOUR),
    TestCase("parquet bomb of lists", bomb_lists, ("d.parquet", "Parquet bomb")),
    TestCase("parquet with text", table(b=list("abcdef")), ("'b'", "string", "numbers"), FOUR),
    TestCase(
        "parquet with ragged lists",
        table(x=[[1.0] * (1 + i % 2) for i in range(6)]),
        ("'x' has lists of different lengths",),
    ),
    TestCase("images for rows", images(lambda p: None), ("float32[batch, 4]",)),
    TestCase(
        "no images",
        lambda r: (r / "im" / "a").mkdir(parents=True) or r / "im",
        ("there are no images",),
        signature=IMAGES,
    ),
    TestCase(
        "image size",
        images(lambda p: Image.new("L", (7, 6)).save(p)),
        ("b/0.png", "7 x 6", "takes 5 x 6"),
        signature=IMAGES,
    ),
    TestCase("image cut", images(cut_png), ("b/0.png", "truncated"), signature=IMAGES),
    TestCase(
        "image is text",
        images(lambda p: p.write_text("hello") and None),
        ("b/0.png", "no image"),
        signature=IMAGES,
    ),
    TestCase(
        "image of another format",
        images(lambda p: Image.new("L", (5, 6)).save(p, "eps")),
        ("b/0.png", "no image"),
        signature=IMAGES,
    ),
    TestCase(
        "images of two sizes",
        images(lambda p: Image.new("L", (7, 6)).save(p)),
        ("images differ in size", "5 x 6", "7 x 6"),
        signature=ANY_IMAGES,
    ),
    TestCase("image bomb", images(bomb_png), ("b/0.png", "bomb"), signature=IMAGES),
    TestCase("no function", python("def lod(): pass\n"), ("'load'", "'lod'"), function()),
    TestCase("function raises", python("def load():\n    1 / 0\n"), ("data.py:3",), function()),
    TestCase("argument", python("def load(n): pass\n"), ("TypeError", "'m'"), function(m="1")),
    TestCase("returns text", python("def load():\n    return 5\n"), ("a int",), function()),
    TestCase(
        "returns objects",
        python("def load():\n    return {'x': [[{}] * 4] * 6, 'y': [0] * 6}\n"),
        ("'x' holds Python objects",),
        function(),
    ),
    TestCase(
        "ragged arrays",
        python("def load():\n    return {'x': [[1], [1, 2]], 'y': [0, 1]}\n"),
        ("ValueError",),
        function(),
    ),
    TestCase(
        "item is a tuple",
        python(ITEMS.format("return (1, 2)")),
        ("example 0 is a tuple",),
        function(),
    ),
    TestCase(
        "item raises", python(ITEMS.format("raise KeyError('x')")), ("data.py:7", "Key"), function()
    ),
    TestCase(
        "item of another shape",
        python(ITEMS.format("return {'x': np.zeros(3 + i % 2), 'y': 0}")),
        ("shapes (3,), (4,)", "pad"),
        function(),
    ),
    TestCase(
        "item lacks a part",
        python(ITEMS.format("return {'x': np.zeros(4), 'y': 0} if i < 4 else {'x': np.zeros(4)}")),
        ("example 4 has no y",),
        function(),
    ),
    TestCase("integers scaled", npz(x=np.ones((12, 4), int)), ("scale",), {"scale": 0.5}, TOKENS),
]


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused(case: TestCase, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = case.make(tmp_path)
    with pytest.raises(UserError) as caught:
        read_all(case, path, tmp_path / "cache")
    message = str(caught.value)
    for words in (WHERE, *case.words):
        assert words in message
    assert message.count("\n") == 0
    assert len(message) < 1000
    assert caught.value.__cause__ is None
    assert "Traceback" not in message + "".join(capfd.readouterr())


def read_all(case: TestCase, path: Path, cache_dir: Path) -> None:
    """Open the data of a case and read them to the end."""
    source = DataSource(uri=f"file://{path}", **case.source)
    dataset = open_dataset(
        source,
        case.signature,
        case.task,
        where=WHERE,
        cache_dir=cache_dir,
        columns=case.columns,
    )
    for _ in dataset.batches(2, columns=case.columns):
        pass


def open_npz(root: Path, **changes: Any) -> Any:
    """Open a sound `.npz` with other arrays."""
    source = DataSource(uri=f"file://{npz(**changes)(root)}")
    return open_dataset(source, SIGNATURE, "classification", where=WHERE, cache_dir=root / "cache")


def test_too_many_values_for_a_slice(tmp_path: Path) -> None:
    dataset = open_npz(tmp_path, user=np.arange(12))
    assert len(column_values(dataset, "user", limit=12, where="spec.data.slices.0")) == 12
    with pytest.raises(UserError, match="'user' has more than 11 distinct values"):
        column_values(dataset, "user", limit=11, where="spec.data.slices.0")


def test_labels_beyond_take_do_not_matter(tmp_path: Path) -> None:
    path = npz(y=labels(at=7, value=99))(tmp_path)
    source = DataSource(uri=f"file://{path}", take=7)
    dataset = open_dataset(source, SIGNATURE, "classification", where=WHERE, cache_dir=tmp_path)
    assert len(dataset) == 7


def test_undeclared_column_error_suggests_a_name(tmp_path: Path) -> None:
    dataset = open_npz(tmp_path, age=np.arange(12))
    with pytest.raises(UserError, match=r"no column 'aeg' \(did you mean 'age'\?\)"):
        next(dataset.batches(4, columns=["aeg"]))
