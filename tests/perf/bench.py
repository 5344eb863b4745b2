"""Time the whole job and each stage, and our int8 against ONNX Runtime's own defaults.

Absolute times are indicative; what is compared with the committed limits (`thresholds.yaml`) are
ratios within one run. All models of one comparison are timed in one interleaved run: their sessions
are open together, and each round calls each once, in a new random order.

    python tests/perf/bench.py [--output FILE] [--job examples/mnist/job.yaml]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fulcrum_components.data import from_arrays, open_dataset, sample
from fulcrum_components.data.dataset import Dataset
from fulcrum_components.environment import describe_environment
from fulcrum_components.evaluation import metric_value, run_onnx
from fulcrum_components.export import export_onnx
from fulcrum_components.latency import compare_quickly, geometric_mean
from fulcrum_components.latency.interleaving import Timings
from fulcrum_components.latency.intervals import median_ratio
from fulcrum_components.models.loading import LoadedModel, load_model
from fulcrum_components.quantization import quantize
from fulcrum_components.quantization.choosing import EQUAL_SPEED, Quality, Speed, Wanted
from fulcrum_components.quantization.methods import Measuring
from fulcrum_components.sessions import open_session
from fulcrum_components.tasks import find_task
from fulcrum_pipelines.resources.compressionjob import DataSource, Measure, Quantize
from fulcrum_pipelines.storage.store import Store

ROOT = Path(__file__).resolve().parents[2]
THRESHOLDS = Path(__file__).with_name("thresholds.yaml")
ROUNDS = 5
CALLS = 60  # of each model a round
WARMUP = 10
Inputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Subject:
    """One fp32 model, its data, and how good an int8 of it is."""

    name: str
    model: LoadedModel
    path: Path
    calibration: Dataset
    validation: Dataset | None


def main() -> int:
    """Run the benchmark; the exit code is 1 where a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, default=ROOT / "examples/mnist/job.yaml")
    parser.add_argument("--output", type=Path, default=ROOT / ".fulcrum/bench.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures: dict[str, Any] = {"job": time_job(options.job, Path(scratch))}
        for subject in subjects(Path(scratch)):
            figures[subject.name] = compare_int8(subject, Path(scratch))
    figures["environment"] = describe_environment().model_dump(mode="json")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(figures, indent=1) + "\n")
    return report(figures, yaml.safe_load(THRESHOLDS.read_text()), options.output)


def time_job(job: Path, scratch: Path) -> dict[str, Any]:
    """Run the whole job without its cache; return seconds and peak memory, whole and by stage."""
    store = scratch / "store"
    command = [sys.executable, "-m", "fulcrum_operator.cli.main", "run", str(job)]
    command += ["--store", str(store), "--no-cache", "--output", "json", "--quiet"]
    started_s = time.monotonic()
    done = subprocess.run(
        command, cwd=scratch, capture_output=True, text=True, check=False, env=os.environ
    )
    seconds = time.monotonic() - started_s
    if done.returncode not in (0, 3, 4):
        raise SystemExit(f"the job failed:\n{done.stdout}\n{done.stderr}")
    evidence = Store(str(store)).evidence(json.loads(done.stdout)["run"])
    assert evidence is not None
    stages = {
        stage.stage: {"seconds": stage.seconds, "peak_memory_bytes": stage.peak_memory_bytes}
        for stage in evidence.stages
    }
    in_stages = sum(stage.seconds for stage in evidence.stages)
    return {"seconds": seconds, "outside_stages": 1 - in_stages / seconds, "stages": stages}


def subjects(scratch: Path) -> list[Subject]:
    """Return the models to quantize: the main example's baseline, and ResNet-18 at 224."""
    folder = ROOT / "examples/mnist"
    model = load_model(str(folder / "model"), cache_dir=scratch)
    sources = {
        name: DataSource(
            uri=str(folder / "data.py"),
            format="python",
            function="load",
            arguments={"split": name},
        )
        for name in ("train", "validation")
    }
    opened = {
        name: open_dataset(source, model.signature, "classification", where=name, cache_dir=scratch)
        for name, source in sources.items()
    }
    mnist = _subject("mnist", model, sample(opened["train"], 256, 0), opened["validation"], scratch)
    return [mnist, _resnet18(scratch)]


def _resnet18(scratch: Path) -> Subject:
    folder = shutil.copytree(ROOT / "examples/resnet18", scratch / "resnet18")
    subprocess.run([sys.executable, "make_weights.py"], cwd=folder, check=True)
    model = load_model(str(folder / "model"), cache_dir=scratch)
    images = np.random.default_rng(0).standard_normal((16, 3, 224, 224), dtype=np.float32)
    name = model.signature.inputs[0].name
    data = from_arrays({name: images}, None, model.signature, "classification")
    return _subject("resnet18", model, data, None, scratch)


def _subject(
    name: str, model: LoadedModel, calibration: Dataset, validation: Dataset | None, scratch: Path
) -> Subject:
    path = scratch / f"{name}.onnx"
    assert model.module is not None
    example = next(iter(calibration.batches(2))).inputs
    export_onnx(model.module, model.signature, path, example_inputs=example)
    return Subject(name, model, path, calibration, validation)


def compare_int8(subject: Subject, scratch: Path) -> dict[str, Any]:
    """Return each int8's speed-up over fp32, all timed in one interleaved run."""
    inputs = next(iter(subject.calibration.batches(1))).inputs
    files = {"fp32": subject.path, **_defaults(subject, scratch)}
    files["fulcrum"] = scratch / f"{subject.name}-fulcrum.onnx"
    details = quantize(
        subject.path,
        files["fulcrum"],
        Quantize(method="auto"),
        Measuring(
            "accuracy",
            higher_is_better=True,
            quality=lambda path: _quality(subject, path),
            speed=lambda first, second: _speed(first, second, inputs),
            wanted=Wanted(),
        ),
        calibration=subject.calibration,
        work_dir=scratch / f"{subject.name}-work",
        batch_for_shapes=inputs,
    )
    times = interleave_all(files, inputs)
    speedups = {
        name: median_ratio(Timings(times["fp32"], values), 0.95, 0).model_dump(mode="json")
        for name, values in times.items()
        if name != "fp32"
    }
    sizes = {name: path.stat().st_size for name, path in files.items()}
    best_default = max(speedups[name]["ratio"] for name in ("ort-static", "ort-dynamic"))
    return {
        "chosen": details.chosen,
        "int8_coverage": details.int8_coverage,
        "median_ms": {name: float(np.median(values) / 1e6) for name, values in times.items()},
        "speedup": speedups,
        "against_best_default": speedups["fulcrum"]["ratio"] / best_default,
        "bytes": sizes,
    }


def _quality(subject: Subject, path: Path) -> Quality:
    if subject.validation is None:  # random weights have no quality to lose
        return Quality(1.0, np.zeros(1))
    outcomes = run_onnx(path, subject.validation, "classification", subject.model.signature.meaning)
    value = metric_value(outcomes, "accuracy")
    losses = find_task("classification").example_losses(outcomes)
    return Quality(float("nan") if value is None else value, losses)


def _speed(baseline: Path, candidate: Path, inputs: dict[str, np.ndarray]) -> Speed:
    timings = compare_quickly(baseline, candidate, {1: inputs}, Measure(), 0, precision=EQUAL_SPEED)
    return Speed(geometric_mean([each.speedup for each in timings]), timings)


def _defaults(subject: Subject, scratch: Path) -> dict[str, Path]:
    """Build what ONNX Runtime's quantizers make when nothing is chosen."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime publishes no types
        def __init__(self) -> None:
            self._batches = iter(subject.calibration.batches(8))

        def get_next(self) -> Inputs | None:
            batch = next(self._batches, None)
            return None if batch is None else batch.inputs

    static = scratch / f"{subject.name}-ort-static.onnx"
    dynamic = scratch / f"{subject.name}-ort-dynamic.onnx"
    quantize_static(subject.path, static, Reader())
    quantize_dynamic(subject.path, dynamic)
    return {"ort-static": static, "ort-dynamic": dynamic}


def interleave_all(files: Mapping[str, Path], inputs: Inputs) -> dict[str, np.ndarray]:
    """Return nanoseconds of each call, (rounds, calls) for each model, taken in turns."""
    order = np.random.default_rng(0)
    times = {name: np.zeros((ROUNDS, CALLS)) for name in files}
    for round_number in range(ROUNDS):
        sessions = {name: open_session(path, 1) for name, path in files.items()}
        for session in sessions.values():
            for _ in range(WARMUP):
                session.run(None, dict(inputs))
        for call in range(CALLS):
            for name in order.permutation(sorted(files)):
                started_ns = time.perf_counter_ns()
                sessions[name].run(None, dict(inputs))
                times[name][round_number, call] = time.perf_counter_ns() - started_ns
    return times


def report(figures: dict[str, Any], thresholds: dict[str, Any], output: Path) -> int:
    """Print each limit beside what was measured; return 1 where one is broken."""
    print(f"written: {output}")
    job = figures["job"]
    print(f"job {job['seconds']:.1f} s, {job['outside_stages']:.0%} of it outside the stages")
    for name, stage in job["stages"].items():
        print(f"  {name:9} {stage['seconds']:6.1f} s {stage['peak_memory_bytes'] / 2**20:6.0f} MiB")
    broken = 0
    for path, limit in thresholds["limits"].items():
        value: Any = figures
        for key in path.split("."):
            value = value[key]
        low, high = limit.get("min", float("-inf")), limit.get("max", float("inf"))
        fine = low <= value <= high
        broken += not fine
        bounds = f"{low:g} to {high:g}"
        print(f"{'ok    ' if fine else 'BROKEN'} {path} = {value:.3g} (limit {bounds})")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
