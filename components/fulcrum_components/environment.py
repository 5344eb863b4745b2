"""The environment of a measurement: a verdict holds for this hardware and these versions only."""

from __future__ import annotations

import os
import platform
import re
import resource
from importlib import metadata
from pathlib import Path

from fulcrum_components.process_status import status_bytes
from fulcrum_pipelines.evidence import Environment

LIBRARIES = (
    "fulcrum-components",
    "fulcrum-pipelines",
    "kfp",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnxslim",
    "torch",
    "torch-pruning",
)
"""Distributions whose version can change a result. They are asked for by name, not imported."""

_FLAGS = re.compile(r"avx|amx|fma|f16c|sse4|asimd|sve|sme(?!p)|i8mm|bf16")
"""Instruction sets that decide which kernels run, on x86 and ARM."""

_CPU_INFO = Path("/proc/cpuinfo")
_DEVICES = Path("/dev")
_NVIDIA = Path("/proc/driver/nvidia/gpus")


def describe_environment() -> Environment:
    """Return the machine and the versions of this process."""
    info = _cpu_info(_CPU_INFO.read_text() if _CPU_INFO.exists() else "")
    flags = (info.get("flags") or info.get("Features") or "").split()
    return Environment(
        cpu_model=info.get("model name") or platform.processor() or platform.machine(),
        cpu_flags=tuple(sorted(flag for flag in flags if _FLAGS.match(flag))),
        logical_cpus=os.cpu_count() or 1,
        accelerators=_accelerators(),
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        libraries=_versions(),
    )


def peak_memory_bytes() -> int:
    """Return the largest resident size that this process has had."""
    found = status_bytes("VmHWM")
    return found if found is not None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _cpu_info(text: str) -> dict[str, str]:
    """Return the fields of the first processor in the text of /proc/cpuinfo."""
    first = text.split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _accelerators() -> tuple[str, ...]:
    """Return the models of NVIDIA GPUs that the driver lists, without loading CUDA."""
    found = []
    for file in sorted(_NVIDIA.glob("*/information")):
        lines = file.read_text().splitlines()
        found += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    return tuple(found)


def has_gpu() -> bool:
    """Return whether this process may use an NVIDIA GPU; pods see the driver's list without one."""
    return any(_DEVICES.glob("nvidia[0-9]*"))


def _versions() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
