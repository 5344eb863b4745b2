"""The one way in which ONNX Runtime sessions are opened, so that all figures mean the same.

ONNX Runtime sizes its thread pool from the host and not from the CPU limit
(`onnxruntime#29510`), and its optimisation level changes latency by half: both are always set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from fulcrum_pipelines.errors import InfrastructureError, UserError
from fulcrum_pipelines.texts import reason

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
"""Float32 is computed in float32, and convolutions by an algorithm that no timing chooses."""

OPTIMIZATION_LEVEL = "all"
ALLOW_SPINNING = False
"""Whether idle threads of a session's pool busy-wait. Two open sessions would take each other's
cores that way, so they do not; with one thread there is no pool and it makes no difference."""


def session_options(threads: int) -> ort.SessionOptions:
    """Return options with `threads` pinned, full optimisation and no chatter."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(ALLOW_SPINNING)))
    return options


def open_session(
    path: Path, threads: int = 1, provider: str = CPU_PROVIDER
) -> ort.InferenceSession:
    """Return a session of the ONNX file `path`, on the CPU unless `provider` is CUDA's.

    Raises:
        UserError: If ONNX Runtime cannot load it.
        InfrastructureError: ONNX Runtime fell back from `provider` to the CPU.
    """
    if not path.is_file():
        raise UserError("there is no such file; an .onnx file is needed", where=str(path))
    options, providers = session_options(threads), [CPU_PROVIDER]
    settings: list[dict[str, str]] = [{}]
    if provider == CUDA_PROVIDER:
        options.use_deterministic_compute = True
        providers, settings = [CUDA_PROVIDER, CPU_PROVIDER], [CUDA_OPTIONS, {}]
    try:
        session = ort.InferenceSession(
            str(path), options, providers=providers, provider_options=settings
        )
    except Exception as error:  # ONNX Runtime has a class for each status code
        message = f"ONNX Runtime cannot load the model: {reason(error)}"
        raise UserError(message, where=path.name) from error
    if provider not in session.get_providers():
        message = (
            f"onnxruntime cannot use {provider} on this machine, most likely for lack of CUDA's or "
            "cuDNN's libraries; install them, or set recipe.device: cpu"
        )
        raise InfrastructureError(message, where=path.name)
    return session


def run_session(
    session: ort.InferenceSession, inputs: Mapping[str, np.ndarray], *, where: str
) -> np.ndarray:
    """Return the first output of `session` for `inputs`; see `run_outputs`."""
    return run_outputs(session, inputs, [session.get_outputs()[0].name], where=where)[0]


def run_outputs(
    session: ort.InferenceSession,
    inputs: Mapping[str, np.ndarray],
    names: Sequence[str],
    *,
    where: str,
) -> list[np.ndarray]:
    """Return the outputs `names` of `session` for `inputs`.

    Args:
        session: An open session.
        inputs: One array for each input; further arrays are an error of ONNX Runtime's.
        names: Outputs, of which the session has each.
        where: What to name in an error, for instance the model's file.

    Raises:
        UserError: If the model does not take these inputs.
    """
    try:
        outputs: list[Any] = session.run(list(names), dict(inputs))
    except Exception as error:  # as above; wrong name, rank, size or element type
        shapes = ", ".join(f"{name} {a.dtype}{list(a.shape)}" for name, a in inputs.items())
        wanted = ", ".join(f"{i.name} {i.type}{i.shape}" for i in session.get_inputs())
        message = (
            f"the model fails on inputs {shapes}; it declares {wanted}. "
            f"ONNX Runtime says: {reason(error)}"
        )
        raise UserError(message, where=where) from error
    return [np.asarray(output) for output in outputs]


def output_names(path: Path) -> tuple[str, ...]:
    """Return the names of all outputs of the ONNX file `path`, in order."""
    return tuple(node.name for node in open_session(path).get_outputs())


def fixed_batch(session: ort.InferenceSession) -> int | None:
    """Return the number of examples that the model is fixed to, or None if it takes any."""
    shapes = [node.shape for node in session.get_inputs()]
    sizes = {shape[0] for shape in shapes if shape and isinstance(shape[0], int)}
    return min(sizes) if sizes else None
