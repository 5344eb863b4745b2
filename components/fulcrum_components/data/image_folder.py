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

from fulcrum_components.data.dataset import TEXT, Array, Indices
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_components.sources.naming import listed
from fulcrum_pipelines.errors import UserError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What these endings stand for. Pillow goes by content, and hands some others to programs."""

MODES = {1: "L", 3: "RGB"}


class ImageTable:
    """The images below `directory`, labelled by the position of their class directory.

    Args:
        directory: Holds one directory a class; they count from 0 in the order of their names.
        target: Name that the label goes by.
        signature: Its only input tells size and number of channels, as [batch, channels, height,
            width].
        where: Field path and directory, for messages.

    Raises:
        UserError: There are no class directories or no images, or the model takes no images.
    """

    flat = False
    targets_are_cheap = True

    def __init__(self, directory: Path, *, target: str, signature: Signature, where: str) -> None:
        self._spec = _image_input(signature, where)
        self._where = where
        self._directory = directory
        self._target = target
        classes = sorted(
            item for item in directory.iterdir() if item.is_dir() and item.name[0] != "."
        )
        self._files = [
            (file, label)
            for label, folder in enumerate(classes)
            for file in sorted(folder.rglob("*"))
            if file.suffix.lower() in ENDINGS
        ]
        if not self._files:
            message = f"there are no images ({listed(ENDINGS)}) in directories of classes"
            raise UserError(message, where=where)
        empty = [
            folder.name
            for label, folder in enumerate(classes)
            if label not in {label for _, label in self._files}
        ]
        if empty:
            raise UserError(f"no images of class {listed(empty)}", where=where)
        self.origin = directory.name
        self.names: tuple[str, ...] = (self._spec.name, target, "file", "class")
        self._classes = [folder.name for folder in classes]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._files)

    def restrict(self, names: Sequence[str]) -> ImageTable:
        """Return the table itself: each image has a label."""
        return self

    def read(self, names: Sequence[str], indices: Indices, dtype: str) -> Array:
        """Return images as uint8 [n, channels, height, width], labels, or names of files."""
        files = [self._files[index] for index in indices]
        if names[0] == self._spec.name:
            return self._stacked([self._decode(file) for file, _ in files])
        if names[0] == "file":
            return np.array([file.relative_to(self._directory).as_posix() for file, _ in files])
        if names[0] == "class":
            return np.array([self._classes[label] for _, label in files])
        labels = np.array([label for _, label in files], np.int64)
        return labels.astype(str) if dtype == TEXT else labels

    def _stacked(self, images: Sequence[Array]) -> Array:
        """Return images as one array; where the model takes any size, they may still differ."""
        sizes = sorted({f"{image.shape[2]} x {image.shape[1]}" for image in images})
        if len(sizes) > 1:
            message = f"images differ in size: {listed(sizes)} pixels; scale them to one size"
            raise UserError(message, where=self._where)
        return np.stack(images)

    def _decode(self, file: Path) -> Array:
        place = f"{self._where}: {file.relative_to(self._directory).as_posix()}"
        channels, height, width = self._spec.shape[1:]
        if not file.is_file():  # nobody may ever write to a pipe
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
                    pixels = np.asarray(image.convert(MODES[int(channels)]))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            message = "the image claims too many pixels; refused as a decompression bomb"
            raise UserError(message, where=place) from None
        except UserError:
            raise
        except Exception:  # Pillow raises nearly anything on a damaged file
            message = "is damaged, truncated or no image"
            raise UserError(message, where=place) from None
        return pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


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
