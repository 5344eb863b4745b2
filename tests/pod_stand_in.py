"""Replaces a pod's container: the real entry point, over the stand-in pipeline."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fulcrum_pipelines.runner.pod import main

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))

if __name__ == "__main__":
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # PYTHONSAFEPATH takes the script's away
    sys.exit(main(sys.argv[2:], STAND_IN, Path(sys.argv[1])))
