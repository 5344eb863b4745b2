"""Each kind of image is read as trainers' loaders read it, or refused; what was done is said."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import SIGNATURE
from PIL import Image

from fulcrum_components.data import example_hashes, open_dataset
from fulcrum_components.data.dataset import TableDataset
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import DataSource

HEIGHT, WIDTH = 6, 5
GREY = (np.arange(30, dtype=np.uint8) * 8).reshape(HEIGHT, WIDTH)
COLOUR = np.stack([GREY, GREY // 2, 255 - GREY], axis=2)
DEEP = GREY.astype(np.uint16) * 257


def image(pixels: Any, mode: str | None = None, **options: Any) -> Callable[[Path], None]:
    """Return a writer of an image, in another mode if given."""

    def write(path: Path) -> None:
        made = Image.fromarray(pixels)
        (made if mode is None else made.convert(mode)).save(path, **options)

    return write


def frames(kind: str) -> Callable[[Path], None]:
    """Return a writer of an image with a second frame."""
    more = [Image.fromarray(255 - GREY)]
    return image(GREY, format=kind, save_all=True, append_images=more, lossless=True)


def transparent(path: Path) -> None:
    """Write an image that is half transparent."""
    made = Image.fromarray(COLOUR).convert("RGBA")
    made.putalpha(Image.fromarray(GREY))
    made.save(path)


def turned(path: Path) -> None:
    """Write an image with an orientation."""
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(GREY).save(path, exif=exif)


def deep_colour(path: Path) -> None:
    """Write a PNG with 16 bits a colour, which Pillow cannot."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in COLOUR)
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def tiff(values: Any, *, kind: int = 1, photometric: int = 1) -> Callable[[Path], None]:
    """Return a writer of a TIFF of any depth: `kind` 1 unsigned, 2 signed, 3 floating."""

    def write(path: Path) -> None:
        content = values.tobytes()
        bits = values.dtype.itemsize * 8
        tags = [(256, WIDTH), (257, HEIGHT), (258, bits), (259, 1), (262, photometric)]
        tags += [(273, 8), (277, 1), (278, HEIGHT), (279, len(content)), (339, kind)]
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        start = b"II*\0" + struct.pack("<I", 8 + len(content))
        path.write_bytes(start + content + struct.pack("<H", len(tags)) + entries + bytes(4))

    return write


def netpbm(kind: str, most: int, values: Any) -> Callable[[Path], None]:
    """Return a writer of a PGM or PPM file."""
    header = f"{kind}\n{WIDTH} {HEIGHT}\n{most}\n".encode()
    return lambda path: path.write_bytes(header + values.tobytes()) and None


@dataclass(frozen=True)
class TestCase:
    """One image file.

    Attributes:
        name: Its file name.
        write: Writes it.
        pixels: What the model gets, [channels, height, width], or None where it is refused.
        words: Of the note, or of the error.
        channels: Of the model.
        near: How far pixels may be off: lossy files, and Pillow's own rounding.
    """

    __test__ = False

    name: str
    write: Callable[[Path], None]
    pixels: Any = None
    words: str = ""
    channels: int = 1
    near: float = 0


PLANES = COLOUR.transpose(2, 0, 1)
ONE, THREE = GREY[None], np.repeat(GREY[None], 3, axis=0)
LUMA = np.asarray(Image.fromarray(COLOUR).convert("L"))[None]
BITS = (GREY > 127).astype(np.uint8)[None] * 255
CASES = (
    TestCase("grey.png", image(GREY), ONE),
    TestCase("grey-3.png", image(GREY), THREE, channels=3),
    TestCase("colour.png", image(COLOUR), PLANES, channels=3),
    TestCase("colour-1.png", image(COLOUR), LUMA, "made grey (ITU-R 601)"),
    TestCase("colour.bmp", image(COLOUR), PLANES, channels=3),
    TestCase("colour.jpg", image(COLOUR, quality=95), PLANES, channels=3, near=60),
    TestCase("UPPER.JPEG", image(GREY, quality=95), ONE, near=6),
    TestCase("named-as-jpg.jpg", image(GREY, format="PNG"), ONE),
    TestCase("colour.webp", image(COLOUR, lossless=True), PLANES, channels=3),
    TestCase("one-bit.png", image(GREY > 127), BITS),
    TestCase("one-bit.tif", image(GREY > 127), BITS),
    TestCase("palette.png", image(COLOUR, "P"), PLANES, channels=3, near=60),
    TestCase("grey-palette.gif", image(GREY), ONE),
    TestCase("opaque.png", image(COLOUR, "RGBA"), PLANES, channels=3),
    TestCase("opaque-grey.png", image(GREY, "LA"), ONE),
    TestCase("transparent.png", transparent, PLANES, "transparency is dropped", channels=3),
    TestCase("cmyk.jpg", image(COLOUR, "CMYK", quality=95), PLANES, "CMYK", channels=3, near=60),
    TestCase("turned.jpg", turned, ONE, "EXIF orientation (6) of images is not applied", near=6),
    TestCase("frames.gif", frames("GIF"), ONE, "only the first frame or page of GIF"),
    TestCase("frames.webp", frames("WEBP"), ONE, "only the first frame", near=1),
    TestCase("frames.png", frames("PNG"), ONE, "only the first frame"),
    TestCase("pages.tif", frames("TIFF"), ONE, "only the first frame or page of TIFF"),
    TestCase("deep.png", image(DEEP), ONE, "scaled from 0 to 65535"),
    TestCase("deep-3.png", image(DEEP), THREE, "scaled from 0 to 65535", channels=3),
    TestCase("deep.tif", image(DEEP), ONE, "scaled from 0 to 65535"),
    TestCase("deep.pgm", netpbm("P5", 65535, DEEP.astype(">u2")), ONE, "scaled from 0"),
    TestCase("steps.png", image(DEEP + 100), (DEEP[None] + 100) / 257, "scaled", near=1e-4),
    TestCase("deep-colour.png", deep_colour, PLANES, "colours of 16 bits", channels=3),
    TestCase("plain.pgm", netpbm("P5", 255, GREY), ONE),
    TestCase("plain.ppm", netpbm("P6", 255, COLOUR), PLANES, channels=3),
    TestCase("white-is-0.tif", tiff(255 - GREY, photometric=0), ONE),
    TestCase("deep-white-is-0.tif", tiff(DEEP, photometric=0), words="0 for white"),
    TestCase("float.tif", image(GREY / np.float32(255)), words="holds fractions"),
    TestCase("whole.tif", image(GREY.astype(np.int32)), words="holds 32-bit whole numbers"),
    TestCase("unsigned.tif", tiff(GREY.astype("<u4")), words="holds 32-bit whole numbers"),
    TestCase("signed.tif", tiff(GREY.astype("<i2"), kind=2), words="save it with 8 or 16 bits"),
    TestCase("double.tif", tiff(GREY.astype("<f8"), kind=3), words="no image"),
    TestCase("lab.tif", lambda p: Image.new("LAB", (WIDTH, HEIGHT)).save(p), words="L*a*b*"),
    TestCase("empty.png", lambda p: p.write_bytes(b"") and None, words="no image"),
    TestCase("text.png", lambda p: p.write_text("hello") and None, words="no image"),
)


def opened(root: Path, channels: int = 1, dtype: str = "float32", **fields: Any) -> TableDataset:
    """Open the images below `root`."""
    inputs = (TensorSpec("image", ("batch", channels, HEIGHT, WIDTH), dtype),)
    signature = Signature(inputs, SIGNATURE.outputs, "logits")
    source = DataSource(uri=f"file://{root}", **fields)
    return open_dataset(
        source,
        signature,
        "classification",
        where="spec.data.test",
        cache_dir=root,
        classes=("a", "b", "c"),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_image_files(case: TestCase, tmp_path: Path) -> None:
    (tmp_path / "im" / "b").mkdir(parents=True)
    case.write(tmp_path / "im" / "b" / case.name)
    if case.pixels is None:
        with pytest.raises(UserError) as caught:
            opened(tmp_path / "im", case.channels)
        assert case.words in str(caught.value)
        assert f"b/{case.name}" in str(caught.value)
        return
    dataset = opened(tmp_path / "im", case.channels)
    (batch,) = dataset.batches(2)
    np.testing.assert_allclose(batch.inputs["image"][0], case.pixels, atol=case.near)
    notes = list(dataset.notes)
    assert len(notes) == (1 if case.words else 0), notes
    assert case.words in "".join(notes)


@pytest.mark.parametrize(
    ("fields", "dtype", "words"),
    [
        ({"scale": 1 / 65535}, "float32", "scale 1.5259e-05 is meant for values up to 65535"),
        ({}, "uint8", "is float32[n, 1, 6, 5], but the model takes uint8"),
    ],
)
def test_deep_grey_that_does_not_fit(
    fields: dict[str, Any], dtype: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "im" / "b").mkdir(parents=True)
    image(DEEP)(tmp_path / "im" / "b" / "0.png")
    with pytest.raises(UserError) as caught:
        opened(tmp_path / "im", dtype=dtype, **fields)
    assert words in str(caught.value)


def test_equal_pixels_of_any_depth_have_equal_hashes(tmp_path: Path) -> None:
    for number, pixels in enumerate((GREY, DEEP, DEEP + 1)):
        (tmp_path / str(number) / "b").mkdir(parents=True)
        image(pixels)(tmp_path / str(number) / "b" / "0.png")
    eight, sixteen, other = (example_hashes(opened(tmp_path / str(n))) for n in range(3))
    assert eight.tolist() == sixteen.tolist() != other.tolist()


@dataclass(frozen=True)
class Mix:
    """Two images of a folder, the channels that a model takes, and words of the only note."""

    name: str
    first: Callable[[Path], None]
    second: Callable[[Path], None]
    channels: int
    words: str = ""


PLAIN_GREY, PLAIN_COLOUR = image(GREY), image(COLOUR)
GREY_AS_COLOUR = image(np.repeat(GREY[..., None], 3, axis=2))
MIXES = (
    Mix("grey for colour", PLAIN_GREY, PLAIN_GREY, 3),
    Mix("one bit and grey", image(GREY > 127), PLAIN_GREY, 3),
    Mix("colour and palette", PLAIN_COLOUR, image(COLOUR, "P"), 3),
    Mix("grey stored as colour", GREY_AS_COLOUR, GREY_AS_COLOUR, 1),
    Mix("both for colour", PLAIN_GREY, PLAIN_COLOUR, 3, "1 are grey and 1 in colour; grey ones"),
    Mix("opaque", image(GREY, "LA"), image(COLOUR, "RGBA"), 3, "1 are grey and 1 in colour"),
    Mix("grey palette", image(GREY, "P"), PLAIN_COLOUR, 3, "1 are grey and 1 in colour"),
    Mix("both stored", PLAIN_GREY, GREY_AS_COLOUR, 1, "1 in colour; those in colour are made"),
)


@pytest.mark.parametrize("case", MIXES, ids=lambda case: case.name)
def test_grey_and_colour_in_one_set_are_counted(case: Mix, tmp_path: Path) -> None:
    (tmp_path / "im" / "b").mkdir(parents=True)
    case.first(tmp_path / "im" / "b" / "0.png")
    case.second(tmp_path / "im" / "b" / "1.png")
    dataset = opened(tmp_path / "im", case.channels)
    for _ in range(2):  # reading again counts no image twice
        list(dataset.batches(1))
    notes = list(dataset.notes)
    assert len(notes) == (1 if case.words else 0), notes
    assert case.words in "".join(notes)


def test_files_that_are_no_images_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "im" / "b"
    folder.mkdir(parents=True)
    image(GREY)(folder / "0.png")
    for name in ("1.heic", "list.txt", ".DS_Store", "._0.png"):
        (folder / name).write_bytes(b"x")
    (note,) = opened(tmp_path / "im").notes
    assert note.endswith("left out: 1.heic, list.txt")
