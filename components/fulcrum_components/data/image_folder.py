"""Images in one directory a class; decoded when they are asked for.

The size is read from a file's header first and compared with what the model takes, so an image
that claims billions of pixels is refused before any of them is decoded.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fulcrum_components.data.label_values import Array
from fulcrum_components.data.pixels import MODES, is_grey, pixels_of
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_components.notes import Notes
from fulcrum_components.sources.naming import listed
from fulcrum_components.tasks.values import Indices
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import DataSource

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Formats of these endings. Pillow detects by content, and passes some formats to programs."""

STORED_GREY, STORED_COLOUR = 1, 2
"""How an image is stored, once that was seen; 0 before."""

LEFT_OUT = 3
"""How many files that are no images a note names."""


class ImageTable:
    """The images below `directory`, labelled by the name of their class folder.

    Args:
        directory: Holds one folder a class.
        source: The data source; its target is the name of the label.
        signature: Its only input has the size and number of channels, as [batch, channels, height,
            width].
        where: Field path and directory, for messages.
        notes: Takes what was converted or left out.

    Raises:
        UserError: There are no class folders or no images, or the model takes no images.
    """

    flat = False
    targets_are_cheap = True

    def __init__(
        self,
        directory: Path,
        source: DataSource,
        signature: Signature,
        *,
        where: str,
        notes: Notes,
    ) -> None:
        self._spec = _image_input(signature, where)
        self._where = where
        self._directory = directory
        self._scale = source.scale
        self._notes = notes
        classes = sorted(
            item for item in directory.iterdir() if item.is_dir() and not _is_foreign(item)
        )
        found = [
            (file, folder.name)
            for folder in classes
            for file in sorted(folder.rglob("*"))
            if not file.is_dir() and not _is_foreign(file)
        ]
        self._files = [(file, name) for file, name in found if file.suffix.lower() in ENDINGS]
        if not self._files:
            message = f"there are no images ({listed(ENDINGS)}) in directories of classes"
            raise UserError(message, where=where)
        self._stored = np.zeros(len(self._files), np.uint8)
        others = [file.name for file, _ in found if file.suffix.lower() not in ENDINGS]
        if others:
            text = (
                f"files that are no images by their ending are left out: {listed(others, LEFT_OUT)}"
            )
            notes.add("left out", text)
        self.folders = tuple(folder.name for folder in classes)
        self.parts: tuple[int, ...] = (len(self._files),)
        self.origin = directory.name
        self.names: tuple[str, ...] = (self._spec.name, source.target, "file", "class")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._files)

    def restrict(self, names: Sequence[str]) -> ImageTable:
        """Return the table itself: each image has a label."""
        return self

    def read(self, names: Sequence[str], indices: Indices, dtype: str) -> Array:
        """Return images [n, channels, height, width], or names of files or class folders."""
        files = [self._files[index] for index in indices]
        if names[0] == self._spec.name:
            images = self._stacked([self._decode(index) for index in indices])
            self._note_mix()
            return images
        if names[0] == "file":
            return np.array([file.relative_to(self._directory).as_posix() for file, _ in files])
        return np.array([folder for _, folder in files])

    def _stacked(self, images: Sequence[Array]) -> Array:
        """Return images as one array; if the model takes any size, they may still differ."""
        sizes = sorted({f"{image.shape[2]} x {image.shape[1]}" for image in images})
        if len(sizes) > 1:
            message = f"images differ in size: {listed(sizes)} pixels; scale them to one size"
            raise UserError(message, where=self._where)
        return np.stack(images)

    def _note_mix(self) -> None:
        """Note how many images are stored in grey and in colour, if there are both."""
        grey = np.count_nonzero(self._stored == STORED_GREY)
        colour = np.count_nonzero(self._stored == STORED_COLOUR)
        if grey and colour:
            made = "grey ones get three equal channels"
            if self._spec.shape[1] == 1:
                made = "those in colour are made grey"
            text = f"of {grey + colour} images {grey} are grey and {colour} in colour; {made}"
            self._notes.set("grey and colour", text)

    def _decode(self, index: int) -> Array:
        file, _ = self._files[index]
        place = f"{self._where}: {file.relative_to(self._directory).as_posix()}"
        channels, height, width = self._spec.shape[1:]
        if not file.is_file():  # a pipe may never have a writer
            raise UserError("is no file that can be read", where=place)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(file, formats=FORMATS) as image:
                    size = image.size
                    if (
                        isinstance(height, int)
                        and isinstance(width, int)
                        and size != (width, height)
                    ):
                        message = (
                            f"the image is {size[0]} x {size[1]} pixels, but the model takes "
                            f"{width} x {height}"
                        )
                        raise UserError(message, where=place)
                    self._stored[index] = STORED_GREY if is_grey(image) else STORED_COLOUR
                    return pixels_of(image, int(channels), scale=self._scale, note=self._notes.add)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            message = "the image claims too many pixels; refused as a decompression bomb"
            raise UserError(message, where=place) from None
        except UserError as error:
            raise error if error.where else UserError(error.message, where=place) from None
        except Exception:  # Pillow raises nearly anything on a damaged file
            message = "is damaged, truncated or no image"
            raise UserError(message, where=place) from None


def _is_foreign(path: Path) -> bool:
    """Return whether a file or folder is none of the user's: hidden, or left by an archiver."""
    return path.name[0] == "." or path.name == "__MACOSX"


def _image_input(signature: Signature, where: str) -> TensorSpec:
    spec = signature.inputs[0]
    if len(signature.inputs) != 1 or len(spec.shape) != 4 or spec.shape[1] not in MODES:
        takes = ", ".join(str(spec) for spec in signature.inputs)
        message = (
            "an image folder feeds one input of shape [batch, 1 or 3, height, width], but the "
            f"model takes {takes}"
        )
        raise UserError(message, where=where)
    return spec
