"""`python -m fuzz [--networks N] [--first SEED] [CHECK...]`: random networks through each stage.

Prints a line for each network that a stage changed silently or crashed on. At the end it prints
the work done, its distance from the reference, and why stages left networks or layers alone. Exit
code 1 if there was any difference or crash, or if a stage did nothing with too many networks.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from collections import Counter, defaultdict

import torch

from fuzz.checks import CHECKS, Outcome, SilentDifferenceError, outcome
from fuzz.networks import make_network
from fuzz.speed import registry_kept

MOST_IDLE = {"structured": 0.2, "unstructured": 0.05, "finetune": 0.05, "dynamic": 0.02}
"""Largest share of networks in which a stage may do nothing; the others work on every one. Of the
first 300, 38 had no channels that could go, 8 no weights but the outputs', 3 hardly learned, and in
one ONNX Runtime had no kernel for the only product that dynamic quantization takes."""
ENOUGH = 50
"""Networks from which on that share is judged."""

BAD = ("DIFFERENT", "CRASHED")


class Tally:
    """Results of one check over all networks."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.bad: Counter[str] = Counter()

    @property
    def idle(self) -> int:
        """Networks in which nothing was done."""
        return sum(not each.done for each in self.outcomes)

    def line(self, check: str) -> str:
        """Return the figures of all networks."""
        done = [each for each in self.outcomes if each.done]
        share = sum(each.share for each in done) / max(len(done), 1)
        worst = max((each.difference for each in done), default=0.0)
        bad = "  ".join(f"{self.bad[kind]:4} {kind.lower()}" for kind in BAD)
        return (
            f"{check:13} {len(done):5} done  {self.idle:4} not  {bad}   "
            f"mean share {share:.3g}, worst difference {worst:.2g}"
        )

    def reasons(self) -> Counter[str]:
        """Return why networks, or layers of them, were left alone, with how many networks."""
        return Counter(reason for each in self.outcomes for reason in set(each.reasons))


def main() -> int:
    """Check networks; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("checks", nargs="*", choices=[*CHECKS, []], help="default: all of them")
    parser.add_argument("--networks", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="seed of the first network")
    parser.add_argument("--each", action="store_true", help="print what was done with each network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    tallies: dict[str, Tally] = defaultdict(Tally)
    start_s = time.monotonic()
    with registry_kept():
        for seed in range(options.first, options.first + options.networks):
            for check in options.checks or CHECKS:
                try_one(check, seed, tallies[check], aloud=options.each)
    print(f"{options.networks} networks in {time.monotonic() - start_s:.0f} s")
    return report(tallies, options.networks)


def try_one(check: str, seed: int, tally: Tally, *, aloud: bool) -> None:
    """Send one network through one stage, and print what went wrong."""
    network = make_network(seed)
    try:
        found = outcome(check, network)
    except SilentDifferenceError as error:
        tally.bad["DIFFERENT"] += 1
        print(f"DIFFERENT {check}: {error}; {network.story}", flush=True)
    except Exception as error:
        tally.bad["CRASHED"] += 1
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
        text = str(error).splitlines()[0][:300] if str(error) else ""
        message = f"{type(error).__name__} at {where}: {text}"
        print(f"CRASHED {check}: {message}; {network.story}", flush=True)
    else:
        tally.outcomes.append(found)
        if aloud:
            print(f"{check}: {found}; {network.story}", flush=True)


def report(tallies: dict[str, Tally], networks: int) -> int:
    """Print the figures; return the exit code."""
    for check, tally in tallies.items():
        print(tally.line(check))
    print("Networks with something left alone, by reason:")
    for check, tally in tallies.items():
        for reason, count in tally.reasons().most_common():
            print(f"{check:13} {count:5}  {reason}")
    failed = any(tally.bad for tally in tallies.values())
    for check, tally in tallies.items():
        most = MOST_IDLE.get(check, 0.0)
        if networks >= ENOUGH and tally.idle > most * networks:
            failed = True
            print(f"{check} did nothing with {tally.idle} of {networks} networks, not {most:.0%}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
