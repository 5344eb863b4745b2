"""Data sets as they come in: formats, streaming, checks, and comparing them with each other."""

from fulcrum_components.data.comparing import (
    check_classes,
    column_values,
    example_hashes,
    find_overlap,
    fingerprint,
    sample,
)
from fulcrum_components.data.dataset import Batch, Dataset
from fulcrum_components.data.opening import from_arrays, open_dataset

__all__ = [
    "Batch",
    "Dataset",
    "check_classes",
    "column_values",
    "example_hashes",
    "find_overlap",
    "fingerprint",
    "from_arrays",
    "open_dataset",
    "sample",
]
