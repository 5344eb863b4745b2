"""Errors while an image is built."""


class ImageError(Exception):
    """An image could not be built; the message says what to do or which log to read."""
