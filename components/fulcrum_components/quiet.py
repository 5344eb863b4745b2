"""Keeps third-party chatter off the user's terminal.

The exporter, its optimisers and ONNX Runtime's quantizer print progress, log advice and warn about
their own internals. The author of a job can act on none of it, and a stage's log should hold only
Fulcrum's messages; failures arrive as exceptions anyway.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop prints, warnings and log records of what runs inside; exceptions pass."""
    disabled_before = logging.root.manager.disable
    sink = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(sink),
        contextlib.redirect_stderr(sink),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled_before)
