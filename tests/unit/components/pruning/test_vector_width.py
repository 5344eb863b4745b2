"""What `round: auto` means on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from fulcrum_components.pruning.vector_width import channel_multiple, resolve_round


@pytest.mark.parametrize(
    ("text", "multiple"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", 16),
        ("flags\t\t: fpu sse4_2 avx2\n", 8),
        ("Features\t: asimd\n", 8),
        ("", 8),
    ],
    ids=["avx512", "avx2", "arm", "empty"],
)
def test_multiple_from_the_cpu(tmp_path: Path, text: str, multiple: int) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)

    assert channel_multiple(file) == multiple


def test_without_cpu_information_it_is_eight(tmp_path: Path) -> None:
    assert channel_multiple(tmp_path / "absent") == 8


def test_a_given_number_is_used() -> None:
    assert resolve_round(12) == 12
    assert resolve_round("auto") in (8, 16)
