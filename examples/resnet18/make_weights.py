"""Write random weights (47 MB): what is counted and timed on this model does not depend on them."""

from __future__ import annotations

from pathlib import Path

import torch
from model.model import build
from safetensors.torch import save_file

WEIGHTS = Path(__file__).parent / "model" / "model.safetensors"


def main() -> None:
    """Write the weights that seed 0 gives."""
    torch.manual_seed(0)
    save_file(build().state_dict(), WEIGHTS)


if __name__ == "__main__":
    main()
