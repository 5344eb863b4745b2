"""Data sets as they come in: formats, streaming, checks, and comparing them with each other."""

from fulcrum_components.data.dataset import Batch, Dataset, TableDataset
from fulcrum_components.data.labels import Labels, class_labels, find_labels, from_record
from fulcrum_components.data.opening import from_arrays, open_dataset, open_unlabelled
from fulcrum_components.data.overlap import (
    check_columns,
    column_values,
    example_hashes,
    find_copies,
    find_overlap,
    find_time_splits,
    fingerprint,
    sample,
)

__all__ = [
    "Batch",
    "Dataset",
    "Labels",
    "TableDataset",
    "check_columns",
    "class_labels",
    "column_values",
    "example_hashes",
    "find_copies",
    "find_labels",
    "find_overlap",
    "find_time_splits",
    "fingerprint",
    "from_arrays",
    "from_record",
    "open_dataset",
    "open_unlabelled",
    "sample",
]
