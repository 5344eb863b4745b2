"""How many channels fill the vector unit, which is what rounding of channel counts is for."""

from __future__ import annotations

from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


def channel_multiple(cpu_info: Path = CPU_INFO) -> int:
    """Return 16 where the CPU has AVX-512 (16 fp32 lanes), else 8, read from `cpu_info`.

    ONNX Runtime's blocked convolutions (NCHWc) work on that many channels at a time, so others are
    computed and thrown away.
    """
    try:
        text = cpu_info.read_text()
    except OSError:
        return 8
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return 16 if "avx512f" in flags.split() else 8


def resolve_round(value: int | str) -> int:
    """Return the multiple that the spec's `round` means: `auto` asks the CPU."""
    return channel_multiple() if value == "auto" else int(value)
