"""`python -m fuzz [--networks N] [--first SEED] [CHECK...]`: random networks through each stage.

Prints a line for each network that a stage changed without a word or crashed on, and a table of
what was checked and refused at the end. Exit code 1 if there was any.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from collections import Counter

import torch

from fuzz.checks import CHECKS, SilentDifferenceError, outcome
from fuzz.networks import make_network


def main() -> int:
    """Check networks; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("checks", nargs="*", choices=[*CHECKS, []], help="default: all of them")
    parser.add_argument("--networks", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="seed of the first network")
    parser.add_argument("--refusals", action="store_true", help="print why stages refused networks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    counts: Counter[tuple[str, str]] = Counter()
    bad = 0
    start_s = time.monotonic()
    for seed in range(options.first, options.first + options.networks):
        for check in options.checks or CHECKS:
            network = make_network(seed)
            try:
                said = outcome(check, network)
            except SilentDifferenceError as error:
                said, bad = "DIFFERENT", bad + 1
                print(f"{check}: {error}; {network.story}", flush=True)
            except Exception as error:
                said, bad = "CRASHED", bad + 1
                place = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
                text = str(error).splitlines()[0][:200] if str(error) else ""
                print(f"{check}: {type(error).__name__} at {where}: {text}; {network.story}")
            if options.refusals and said.startswith("refused"):
                print(f"{check}: {said[:300]}; {network.story}", flush=True)
            known = said in ("DIFFERENT", "CRASHED")
            counts[check, said if known else "refused" if said.startswith("ref") else "right"] += 1
    print(f"{options.networks} networks in {time.monotonic() - start_s:.0f} s")
    for (check, said), count in sorted(counts.items()):
        print(f"{check:14} {said:10} {count:5}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
