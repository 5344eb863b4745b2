"""Detect whether this CPU's integer instructions can saturate."""

from __future__ import annotations

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8"})


def cpu_flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Return the flags of the first processor; empty if the system does not report them."""
    if not cpuinfo.is_file():
        return frozenset()
    for line in cpuinfo.read_text().splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def saturates(machine: str | None = None, flags: frozenset[str] | None = None) -> bool:
    """Return whether products of 8-bit weights and activations can overflow.

    x86 without VNNI multiplies with `vpmaddubsw`, which adds two products into 16 bits:
    2 · 255 · 127 does not fit, 2 · 255 · 64 does, so weights get 7 bits there. VNNI, AMX and ARM
    add up in 32 bits.
    """
    machine = platform.machine() if machine is None else machine
    if machine.lower() not in ("x86_64", "amd64", "i686", "x86"):
        return False
    return not (VNNI_FLAGS & (cpu_flags() if flags is None else flags))
