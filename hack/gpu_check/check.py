"""Run the steps of a job on the CPU and on CUDA, and print devices, times and differences."""

from __future__ import annotations

import copy
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(os.environ.get("FULCRUM_CHECK_LIB", ""))  # last: the machine's own come first

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from fulcrum_components.device import CPU, choose_device
from fulcrum_components.export import export_onnx
from fulcrum_components.finetuning import finetune
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_components.objective import Problem
from fulcrum_components.pruning import prune
from fulcrum_components.sessions import CPU_PROVIDER, CUDA_PROVIDER, open_session, run_session
from fulcrum_pipelines.resources.compressionjob import Finetune, Prune

NO_CUDA, DIFFERS = 3, 1
SIZE, CLASSES, WIDTH = 32, 10, 64
TOLERANCES = {"evaluate": 1e-3, "prune": 0.0, "finetune": 0.05, "outcomes": 1e-3}
"""Largest difference: of a logit for evaluate and outcomes, of accuracy for fine-tuning, and for
pruning of the sets of channels (0 if they are the same). Candidates differ after bf16, so the
outcomes of each are compared with those that the CPU has for the same file."""


@dataclass(frozen=True)
class Batch:
    inputs: dict[str, NDArray[Any]]
    targets: NDArray[Any]


class Images:
    """Noise with a brighter spot; the class says where."""

    def __init__(self, count: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.targets = generator.integers(CLASSES, size=count)
        self.x = generator.normal(size=(count, 3, SIZE, SIZE)).astype(np.float32)
        for image, label in zip(self.x, self.targets, strict=True):
            row, column = divmod(int(label), 5)
            image[:, row * 16 : row * 16 + 6, column * 6 : column * 6 + 6] += 0.5

    def __len__(self) -> int:
        return len(self.x)

    def batches(
        self, batch_size: int, *, shuffle_seed: int | None = None, columns: Sequence[str] = ()
    ) -> Iterator[Batch]:
        order = np.arange(len(self))
        if shuffle_seed is not None:
            order = np.random.default_rng(shuffle_seed).permutation(len(self))
        for start in range(0, len(self), batch_size):
            part = order[start : start + batch_size]
            yield Batch({"x": self.x[part]}, self.targets[part])


SIGNATURE = Signature(
    (TensorSpec("x", ("batch", 3, SIZE, SIZE), "float32"),),
    (TensorSpec("y", ("batch", CLASSES), "float32"),),
    "logits",
)


def network() -> nn.Sequential:
    """Return a small convolutional network."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, WIDTH), (WIDTH, 2 * WIDTH), (2 * WIDTH, 2 * WIDTH)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * WIDTH * 16, CLASSES))


@dataclass(frozen=True)
class Result:
    """What a step gave: where it ran, how long it took, and what is compared."""

    where: str
    seconds: float
    value: Any


class Job:
    """The steps of one job on one device; each takes what the former left."""

    def __init__(self, device: torch.device, provider: str, folder: Path) -> None:
        self.provider, self.folder = provider, folder
        self.train, self.test = Images(512, 0), Images(512, 1)
        self.problem = Problem(SIGNATURE, "classification", "logits", self.train, 0, device=device)
        self.original = network()
        start = Finetune.model_validate({"epochs": 1, "batchSize": 64, "learningRate": 1e-3})
        reference = Problem(SIGNATURE, "classification", "logits", self.train, 0)
        finetune(self.original, None, reference, start)  # the same baseline for both
        self.module = copy.deepcopy(self.original)

    def evaluate(self) -> tuple[str, Any]:
        return self._answers(self.original, "baseline.onnx")

    def prune(self) -> tuple[str, Any]:
        options = {"structured": {"sparsity": 0.5, "importance": "taylor"}}
        example = torch.from_numpy(self.train.x[:4])
        result = prune(
            self.module, Prune.model_validate(options), self.problem, example_inputs=(example,)
        )
        assert result.history is not None
        return result.figures.device, result.history.removals

    def finetune(self) -> tuple[str, Any]:
        options = {"epochs": 2, "batchSize": 64, "learningRate": 1e-3, "distillation": {}}
        details = finetune(
            self.module,
            self.original,
            self.problem,
            Finetune.model_validate({**options, "precision": "bf16"}),
        ).details
        with torch.no_grad():
            answers = self.module(torch.from_numpy(self.test.x)).argmax(1).numpy()
        return f"{details.device}, {details.precision}", float(
            np.mean(answers == self.test.targets)
        )

    def outcomes(self) -> tuple[str, Any]:
        return self._answers(self.module, "candidate.onnx")

    def by_the_cpu(self) -> NDArray[Any]:
        """Return what the CPU answers with the file that `outcomes` ran."""
        return self._run("candidate.onnx", CPU_PROVIDER)[1]

    def _answers(self, module: nn.Module, name: str) -> tuple[str, Any]:
        path = self.folder / name
        export_onnx(module, SIGNATURE, path, example_inputs={"x": self.test.x[:4]})
        return self._run(name, self.provider)

    def _run(self, name: str, provider: str) -> tuple[str, NDArray[Any]]:
        session = open_session(self.folder / name, provider=provider)
        answers = [
            run_session(session, batch.inputs, where=name) for batch in self.test.batches(64)
        ]
        return session.get_providers()[0], np.concatenate(answers)


def timed(step: Callable[[], tuple[str, Any]]) -> Result:
    started = time.perf_counter()
    where, value = step()
    return Result(where, time.perf_counter() - started, value)


def difference(step: str, first: Any, second: Any) -> float:
    """Return how far two results of a step are from each other, in the unit of its tolerance."""
    if step == "prune":
        return 0.0 if first == second else 1.0
    return float(np.abs(np.asarray(first) - np.asarray(second)).max())


def main() -> int:
    """Run all steps; return the exit code."""
    cuda = torch.cuda.is_available()
    providers = ort.get_available_providers()
    print(f"torch {torch.__version__}, onnxruntime {ort.__version__}, providers {providers}")
    if cuda:
        print(f"device: {torch.cuda.get_device_name()}")
    jobs: dict[str, dict[str, Result]] = {}
    devices = {"cpu": CPU, **({"cuda": choose_device("cuda")} if cuda else {})}
    with tempfile.TemporaryDirectory() as folder:
        for name, device in devices.items():
            has = name == "cuda" and CUDA_PROVIDER in providers
            job = Job(device, CUDA_PROVIDER if has else CPU_PROVIDER, Path(folder))
            jobs[name] = {step: timed(getattr(job, step)) for step in TOLERANCES}
            jobs[name]["outcomes"].value[:] -= job.by_the_cpu()
    return report(jobs)


def report(jobs: dict[str, dict[str, Result]]) -> int:
    """Print the table; return the exit code."""
    row = "{:<10} {:>8} {:<28} {:>8} {:>8} {:>11} {:<6}"
    print(row.format("step", "cpu s", "on the device", "s", "speedup", "difference", ""))
    wrong = False
    for step, tolerance in TOLERANCES.items():
        first, second = jobs["cpu"][step], jobs.get("cuda", {}).get(step)
        if second is None:
            print(row.format(step, f"{first.seconds:.2f}", "", "", "", "", "").rstrip())
            continue
        found = difference(step, first.value, second.value)
        wrong |= found > tolerance
        speedup = f"{first.seconds / second.seconds:.1f}"
        verdict = "ok" if found <= tolerance else "WRONG"
        seconds = f"{first.seconds:.2f}", f"{second.seconds:.2f}"
        print(
            row.format(step, seconds[0], second.where, seconds[1], speedup, f"{found:.2g}", verdict)
        )
    if "cuda" not in jobs:
        print("no CUDA device: the columns for it are empty")
        return NO_CUDA
    return DIFFERS if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
