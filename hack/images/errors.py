"""What can go wrong while an image is built."""


class ImageError(Exception):
    """An image could not be built; the message says what to do or where to look."""
