"""Let `auto` choose again and again, alone and beside busy processes; the choice must not change.

Runs the main example and an LSTM once, then stage quantize alone, without its cache. A run that
chose without timing, since the clock could not be relied on, says so and is counted apart.

    python tests/perf/choices.py [--runs 10] [--busy 2] [--only mnist]

The exit code is 1 where runs that timed chose differently. On a shared machine, start it in a
session that goes before others' (as root); its busy processes belong to that session, too:

    setsid bash -c 'echo -10 > /proc/self/autogroup; exec python tests/perf/choices.py'
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from fulcrum_components.stages.component import EVIDENCE_FILE
from fulcrum_pipelines.evidence import QuantizeDetails, StageEvidence
from fulcrum_pipelines.storage.store import Store

ROOT = Path(__file__).resolve().parents[2]
LENGTH, WIDTH, CLASSES = 24, 16, 6
MODEL = f"""
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM({WIDTH}, 96, 2, batch_first=True)
        self.head = nn.Linear(96, {CLASSES})
    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])
def build():
    return Net()
"""
BUNDLE = {
    "entryPoint": "model.py:build",
    "weights": "model.safetensors",
    "inputs": [{"name": "x", "shape": ["batch", LENGTH, WIDTH], "dtype": "float32"}],
    "outputs": [{"name": "scores", "shape": ["batch", CLASSES], "dtype": "float32"}],
    "meaning": "logits",
}


def main() -> int:
    """Measure, print a table, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--busy", type=int, default=2, help="busy processes beside the second half")
    parser.add_argument("--only", choices=("mnist", "lstm"))
    options = parser.parse_args()
    steady = True
    print("job    busy  timed: chosen         without timing: chosen   CPU share")
    with tempfile.TemporaryDirectory() as scratch:
        for name in [options.only] if options.only else ["mnist", "lstm"]:
            job = ROOT / "examples/mnist/job.yaml" if name == "mnist" else lstm(Path(scratch))
            store = Store(str(Path(scratch) / name))
            plan = run_once(job, store, Path(scratch))
            timed: Counter[str] = Counter()
            for busy in (0, options.busy):
                with busy_processes(busy):
                    found = [choose(store, plan) for _ in range(options.runs)]
                these = Counter(each.chosen for each in found if each.timing_reliable)
                others = Counter(each.chosen for each in found if not each.timing_reliable)
                shares = [share for each in found for share in shares_of(each)]
                print(
                    f"{name:6} {busy:4}  {dict(these)!s:22} {dict(others)!s:24} "
                    f"{min(shares, default=1):.2f} to {max(shares, default=1):.2f}",
                    flush=True,
                )
                timed += these
            steady &= len(timed) <= 1
    return int(not steady)


def run_once(job: Path, store: Store, scratch: Path) -> str:
    """Run the whole job; return the digest of its plan."""
    command = [sys.executable, "-m", "fulcrum_operator.cli.main", "run", str(job)]
    command += ["--store", store.locate(""), "--output", "json", "--quiet"]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3, 4):
        raise SystemExit(f"the job failed:\n{done.stdout}\n{done.stderr}")
    found = store.stage_evidence(json.loads(done.stdout)["run"], "quantize")
    assert found is not None
    return found.plan


def choose(store: Store, plan: str) -> QuantizeDetails:
    """Run stage quantize again and return what it recorded."""
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "fulcrum_components.stages.worker"]
        command += ["--stage", "quantize", "--store", store.locate(""), "--plan", plan]
        command += ["--work-dir", work, "--no-cache"]
        subprocess.run(command, check=True, capture_output=True)
        found = StageEvidence.model_validate_json((Path(work) / EVIDENCE_FILE).read_bytes())
    assert isinstance(found.details, QuantizeDetails)
    return found.details


def shares_of(details: QuantizeDetails) -> list[float]:
    """Return the share of the CPU of each timing."""
    timings = [timing for each in details.candidates for timing in each.timings]
    return [timing.cpu_share for timing in timings if timing.cpu_share is not None]


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Let `count` processes compute all the while."""
    command = [sys.executable, "-c", "while True: sum(range(10000))"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def lstm(scratch: Path) -> Path:
    """Write a job on a two-layer LSTM that was trained to find which feature was largest early."""
    folder = scratch / "lstm-job"
    bundle = folder / "model"
    bundle.mkdir(parents=True)
    (bundle / "model.py").write_text(MODEL)
    (bundle / "fulcrum.yaml").write_text(yaml.safe_dump(BUNDLE))
    random = np.random.default_rng(0)
    data = {}
    for split, count in (("train", 4000), ("validation", 1000), ("test", 1500)):
        x = random.normal(size=(count, LENGTH, WIDTH)).astype(np.float32)
        data[split] = (x, x[:, :8, :CLASSES].sum(axis=1).argmax(axis=1))
        np.savez(folder / f"{split}.npz", x=x, y=data[split][1])
    torch.manual_seed(0)
    scope: dict[str, object] = {}
    exec(MODEL, scope)
    module = scope["build"]()  # type: ignore[operator]
    train(module, *data["train"])
    save_file(module.state_dict(), bundle / "model.safetensors")
    sources = {split: {"uri": f"{split}.npz"} for split in data}
    spec = {
        "model": {"uri": "model"},
        "data": {"task": "classification", **sources},
        "recipe": {"quantize": {"method": "auto"}},
        "gates": [{"name": "speed", "kind": "speedup", "min": 1.2}],
        "measure": {"batchSizes": [1, 8], "pairs": 200},
    }
    job = {
        "apiVersion": "fulcrum.dev/v1alpha1",
        "kind": "CompressionJob",
        "metadata": {"name": "lstm"},
        "spec": spec,
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def train(module: nn.Module, x: np.ndarray, y: np.ndarray) -> None:
    """Train for a few epochs."""
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    for _ in range(6):
        for rows in np.array_split(np.random.default_rng(1).permutation(len(x)), len(x) // 64):
            optimizer.zero_grad()
            scores = module(torch.from_numpy(x[rows]))
            nn.functional.cross_entropy(scores, torch.from_numpy(y[rows])).backward()
            optimizer.step()


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    sys.exit(main())
