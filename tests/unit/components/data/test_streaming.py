"""Data sets several times larger than the memory that the reading process may allocate."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

WIDTH = 256
BLOCK_ROWS = 4096
BLOCK_MIB = BLOCK_ROWS * WIDTH * 4 >> 20

FRUGAL = {
    "ARROW_IO_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
"""Stacks of idle threads and arenas that are only reserved count as private memory too."""

READER = """
import resource
import sys
from pathlib import Path

from fulcrum_components.data import example_hashes, open_dataset
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_pipelines.resources.compressionjob import DataSource

uri, cache, inputs, allowance_mib, width = sys.argv[1:]
signature = Signature(
    (TensorSpec("x", ("batch", int(width)), "float32"),),
    (TensorSpec("o", ("batch", 2), "float32"),),
    "logits",
)
source = DataSource(uri=uri, inputs={"x": inputs})

# private memory that the process has by now, and the allowance; mapped files do not count
status = Path("/proc/self/status").read_text()
used = 1024 * int(status.partition("VmData:")[2].split()[0])
limit = used + (int(allowance_mib) << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

dataset = open_dataset(source, signature, "classification", where="", cache_dir=Path(cache))
assert len(example_hashes(dataset)) == len(dataset)
total = sum(float(b.inputs["x"].sum()) for b in dataset.batches(1024, shuffle_seed=1))
try:
    bytearray(int(allowance_mib) << 20)
except MemoryError:
    print(len(dataset), round(total))
"""


def block(start: int, rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return rows of small numbers, no two alike."""
    values = np.arange(start * WIDTH, (start + rows) * WIDTH, dtype=np.int64) % 8191
    return values.astype(np.float32).reshape(rows, WIDTH)


def write_npy_in_npz(root: Path, rows: int) -> tuple[str, str]:
    """Write an uncompressed `.npz` from a mapped array."""
    x = np.lib.format.open_memmap(root / "x.npy", "w+", np.float32, (rows, WIDTH))
    for start in range(0, rows, BLOCK_ROWS):
        x[start : start + BLOCK_ROWS] = block(start, BLOCK_ROWS)
    np.savez(root / "d.npz", x=x, y=np.arange(rows) % 2)
    (root / "x.npy").unlink()
    return "d.npz", "x"


def write_compressed(root: Path, rows: int) -> tuple[str, str]:
    """Write a compressed `.npz`."""
    with zipfile.ZipFile(root / "d.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in (("x", block(0, rows)), ("y", np.arange(rows) % 2)):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.save(stream, array)
    return "d.npz", "x"


def write_parquet(root: Path, rows: int) -> tuple[str, str]:
    """Write a Parquet file in row groups of 4 MiB."""
    schema = pa.schema([("x", pa.list_(pa.float32(), WIDTH)), ("y", pa.int64())])
    with parquet.ParquetWriter(root / "d.parquet", schema) as writer:
        for start in range(0, rows, BLOCK_ROWS):
            x = pa.FixedSizeListArray.from_arrays(pa.array(block(start, BLOCK_ROWS).ravel()), WIDTH)
            writer.write_table(pa.table({"x": x, "y": np.arange(BLOCK_ROWS) % 2}, schema=schema))
    return "d.parquet", "x"


def write_csv(root: Path, rows: int) -> tuple[str, str]:
    """Write a CSV file; its text is larger than the numbers in it."""
    header = ",".join([*(f"p{i}" for i in range(WIDTH)), "y"])
    with (root / "d.csv").open("w") as stream:
        stream.write(header + "\n")
        texts = [",".join(map(str, range(i, i + WIDTH))) for i in range(64)]
        for row in range(rows):
            stream.write(f"{texts[row % 64]},{row % 2}\n")
    return "d.csv", f"p0:p{WIDTH - 1}"


@dataclass(frozen=True)
class TestCase:
    """A format that must stream.

    Attributes:
        name: Its name.
        allowance_mib: Private memory that opening and reading may take, at every file size.
        size_mib: Size of the inputs as float32.
        write: Writes that many rows and returns the file's name and the names of the inputs.
    """

    __test__ = False

    name: str
    allowance_mib: int
    size_mib: int
    write: Callable[[Path, int], tuple[str, str]]


# Half of each size is still more than the allowance, so that reading it whole fails.
FULL = [
    TestCase("npz", 32, 128, write_npy_in_npz),
    TestCase("npz compressed", 32, 128, write_compressed),
    TestCase("parquet", 96, 320, write_parquet),
    TestCase("csv", 96, 320, write_csv),
]
CASES = [
    *(pytest.param(replace(case, size_mib=case.size_mib // 2), id=case.name) for case in FULL),
    *(pytest.param(case, id=f"{case.name}, full", marks=pytest.mark.long) for case in FULL),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_larger_than_memory(case: TestCase, tmp_path: Path) -> None:
    rows = case.size_mib // BLOCK_MIB * BLOCK_ROWS
    name, inputs = case.write(tmp_path, rows)
    arguments = [f"file://{tmp_path / name}", str(tmp_path / "cache"), inputs]
    run = subprocess.run(
        [sys.executable, "-c", READER, *arguments, str(case.allowance_mib), str(WIDTH)],
        capture_output=True,
        text=True,
        env=os.environ | FRUGAL,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[0] == str(rows)
