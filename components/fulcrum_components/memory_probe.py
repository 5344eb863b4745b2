"""The process that `memory` starts: `python -m fulcrum_components.memory_probe MODEL INPUTS N`.

It is a separate process because a peak includes all earlier work of a process, and it imports
nothing but ONNX Runtime, as a serving process would. It prints the most bytes that opening the
model and answering took, beyond the memory used before.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fulcrum_components.process_status import status_bytes
from fulcrum_components.sessions import open_session, run_session

CALLS = 3
_RESET_PEAK = "5"
"""Value that resets the peak in clear_refs (proc(5))."""


def probe(model: Path, inputs_path: Path, threads: int) -> int:
    """Return the peak of resident bytes above those before the session was opened."""
    with np.load(inputs_path, allow_pickle=False) as file:
        inputs = {name: file[name] for name in file.files}
    before = _reset_peak()
    session = open_session(model, threads)
    for _ in range(CALLS):
        run_session(session, inputs, where=model.name)
    return max(0, (status_bytes("VmHWM") or 0) - before)


def _reset_peak() -> int:
    """Forget the peak of the imports, and return the resident bytes now."""
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    return status_bytes("VmRSS") or 0


if __name__ == "__main__":
    print(probe(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
