"""Pixels of one image file in the channels and the range that models are trained on: 0 to 255.

Files hold more kinds of pixels than that. Kinds that every trainer's loader reads alike (palettes,
one bit, grey for colour) are read so. If loaders differ, or something is left out, a note reports
the conversion; if the range of the values is not known, the file is refused.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import ExifTags, Image, ImageFile

from fulcrum_components.data.label_values import Array
from fulcrum_pipelines.errors import UserError

MODES = {1: "L", 3: "RGB"}
GREY_MODES = ("1", "L", "LA", "La")
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
WHITE_IS_ZERO = 0
PHOTOMETRIC = 262
"""TIFF's tag for the meaning of 0; Pillow reads it for 8 bits only."""

Note = Callable[[str, str], None]
"""Takes a kind and a sentence."""


def is_grey(image: Image.Image) -> bool:
    """Return whether an image is stored as grey, a palette of nothing but grey included."""
    if image.mode == "P":
        palette = np.array(image.getpalette()).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in (*GREY_MODES, *DEEP_MODES, "I")


def pixels_of(
    image: ImageFile.ImageFile, channels: int, *, scale: float | None, note: Note
) -> Array:
    """Return an open image as [channels, height, width], uint8, or float32 for deeper grey.

    Raises:
        UserError: The range of its values is not known.
    """
    raw_mode = str(image.tile[0].args) if image.tile else ""
    if image.mode in DEEP_MODES or (image.mode == "I" and image.format == "PPM"):
        pixels = _deep_grey(image, channels, raw_mode, scale, note)
    else:
        pixels = _bytes(image, channels, raw_mode, note)
    _note_orientation(image, note)
    if image.format in ("GIF", "WEBP", "PNG", "TIFF") and _has_more(image):
        note("frames", f"only the first frame or page of {image.format} images is read")
    return pixels


def _deep_grey(
    image: Image.Image, channels: int, raw_mode: str, scale: float | None, note: Note
) -> Array:
    most = 4095 if "I;12" in raw_mode else 65535
    if image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # type: ignore[attr-defined]
        raise UserError("holds deep grey with 0 for white; save it with 0 for black")
    if scale is not None and abs(scale) * 255 < 0.1:
        message = (
            f"scale {scale:g} is meant for values up to {most}, but pixels of any depth are read "
            f"as 0 to 255; write {scale * most / 255:.10g}"
        )
        raise UserError(message)
    note("deep grey", f"grey of more than 8 bits is scaled from 0 to {most} to 0 to 255")
    grey = np.asarray(image).astype(np.float32) * np.float32(255 / most)
    return np.repeat(grey[np.newaxis], channels, axis=0)


def _bytes(image: Image.Image, channels: int, raw_mode: str, note: Note) -> Array:
    mode = image.mode
    if mode in ("I", "F"):
        kind = "32-bit whole numbers" if mode == "I" else "fractions"
        message = (
            f"holds {kind}, and which of them is white is not known; save it with 8 or 16 bits, or "
            "store the values in an .npz file"
        )
        raise UserError(message)
    if mode == "LAB":
        raise UserError("holds colours as CIE L*a*b*; save it as RGB")
    if ";16" in raw_mode or "65535" in raw_mode:
        note("deep colour", "colours of 16 bits are read with 8, as Pillow and torchvision do")
    if mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        alpha = image.convert("RGBA").getchannel("A").getextrema()
        if alpha != (255, 255):
            note("alpha", "transparency is dropped, as torchvision and Keras do")
    if mode == "CMYK":
        note("CMYK", "CMYK images are made RGB without their colour profile")
    if channels == 1 and mode not in GREY_MODES:
        colours = np.asarray(image.convert("RGB"))
        if (colours.max(axis=2) != colours.min(axis=2)).any():
            note("grey", "colours are made grey (ITU-R 601), since the model takes one channel")
    pixels: Array = np.asarray(image.convert(MODES[channels]))
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _note_orientation(image: Image.Image, note: Note) -> None:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation not in (0, 1):
        note(
            "orientation",
            f"the EXIF orientation ({orientation}) of images is not applied, as torchvision and "
            "Keras do not; turn the files if the model was trained on upright ones",
        )


def _has_more(image: Image.Image) -> bool:
    try:
        image.seek(1)
    except Exception:  # Pillow raises nearly anything if there is no sound second frame
        return False
    return True
