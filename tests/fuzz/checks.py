"""Each stage's result on one network, compared with a reference that the stage did not make."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import quantizing
import torch
from small_models import problem
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fulcrum_components.export import export_onnx
from fulcrum_components.finetuning import finetune
from fulcrum_components.graph import open_session, run_session
from fulcrum_components.pruning import PruneResult, prune, replay
from fulcrum_components.ties import tied_names
from fulcrum_pipelines.errors import FulcrumError
from fulcrum_pipelines.resources.compressionjob import Finetune, Prune
from fuzz.networks import Network, make_network
from fuzz.reference import masked_outputs, outputs_of, rounded_outputs

SAME = 2e-4
"""Largest difference of what must compute the same: some hundred float32 sums in another order.
Differences are in units of an output's spread: how much it changes from example to example."""
TRAINED = 1e-3
"""The same after a step of training, as a share of how far that moved the outputs if they moved by
more than their spread. Gradients are such sums too."""
ROUNDING = {"static": 3.5, "dynamic": 2.5, "weightOnly": 1.6}
"""How many times the error of plain rounding to 8 bits (root mean square) that of a method may be.
In the first 300 networks the median was 1.2, 0.9 and 1.0, the largest 2.8, 2.0 and 1.4."""
LOST = 0.6
"""Largest error of 8 bits that is let pass in the same unit; a lost branch has about 1."""
VISIBLE = 1e-3
"""Smallest spread of an output that is compared, in its own unit; one below shows nothing."""
EXPORTED_TOO = 4
"""Every fourth pruned network is exported too, which takes as long as all else."""


@dataclass(frozen=True)
class Outcome:
    """Result of a stage with one network, and its distance from the reference.

    Attributes:
        done: Whether it did its work: removed, trained, exported or quantized something.
        reasons: Why not, or why not all of it, without the names of layers.
        difference: The largest from the reference, in units of the outputs' spread.
        share: Of the channels, weights or multiply-accumulates it was about, what it changed.
    """

    done: bool
    reasons: tuple[str, ...] = ()
    difference: float = 0.0
    share: float = 1.0


class SilentDifferenceError(AssertionError):
    """A stage changed what the network computes and did not say so."""


def pruned(network: Network, options: dict[str, Any]) -> tuple[nn.Module, PruneResult]:
    """Return a pruned copy of the network."""
    module = fresh(network)
    result = prune(
        module,
        Prune.model_validate(options),
        problem(signature=network.signature),
        example_inputs=network.examples,
    )
    return module, result


def fresh(network: Network) -> nn.Module:
    """Return the same network again, untouched."""
    return make_network(network.seed, examples=2).module


def check_structured(network: Network) -> Outcome:
    """Half of the channels go; what is left computes what the masked original does."""
    options = {"structured": {"sparsity": 0.5, "round": 1, "tolerance": 1}}
    module, result = pruned(network, options)
    x = torch.from_numpy(network.data.x)
    answers = outputs_of(module, x)
    difference = same(masked_outputs(fresh(network), module, x), answers, SAME, "prune")
    require_built_again(network, module, result, answers)
    if network.seed % EXPORTED_TOO == 0:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "pruned.onnx")
            export(module, network, path)
            compare_file(path, module, network)
    reasons = tuple(nameless(text.partition("left whole: ")[2]) for text in result.warnings)
    share = 1 - result.figures.parameters_after / result.figures.parameters_before
    return Outcome(share > 0, reasons, difference, share)


def check_unstructured(network: Network) -> Outcome:
    """The smaller half of the weights becomes zero, the others stay, and all is used so."""
    module, result = pruned(network, {"unstructured": {"sparsity": 0.5, "scope": "global"}})
    x = torch.from_numpy(network.data.x)
    answers = outputs_of(module, x)
    require_built_again(network, module, result, answers)
    reference = folded(fresh(network), x)
    before, after = reference.state_dict(), folded(module, x).state_dict()
    largest_gone, smallest_left, zeros = 0.0, math.inf, 0
    for name, value in before.items():
        gone = (after[name] == 0) & (value != 0)
        if not torch.allclose(after[name][~gone], value[~gone], rtol=1e-4, atol=1e-6):
            raise SilentDifferenceError(f"unstructured: it changed values that are left of {name}")
        zeros += int(gone.sum())
        if gone.any():
            largest_gone = max(largest_gone, float(value[gone].abs().max()))
        if gone.any() and not gone.all():
            smallest_left = min(smallest_left, float(value[~gone].abs().min()))
    if largest_gone > smallest_left * 1.001:
        message = f"unstructured: it removed {largest_gone:.3g} and left {smallest_left:.3g}"
        raise SilentDifferenceError(message)
    reference.load_state_dict(after)
    difference = same(outputs_of(reference, x), answers, SAME, "unstructured")
    return Outcome(zeros > 0, (), difference, result.figures.achieved_sparsity)


def require_built_again(
    network: Network, module: nn.Module, result: PruneResult, answers: Sequence[Tensor]
) -> None:
    """Compare a pruned module with what later stages build of its history and its weights."""
    again = fresh(network)
    if result.history is not None:
        replay(again, type(result.history).from_json(result.history.to_json()), network.examples)
    again.load_state_dict(module.state_dict())
    same(answers, outputs_of(again, torch.from_numpy(network.data.x)), SAME, "prune, built again")
    require_tied(network, module, "prune")
    require_tied(network, again, "prune, built again")


def require_tied(network: Network, module: nn.Module, what: str) -> None:
    """Require that the layers that shared weights do so still."""
    before, after = (sharing_layers(each) for each in (fresh(network), module))
    if before != after:
        raise SilentDifferenceError(f"{what}: layers {before} shared weights, now {after}")


def sharing_layers(module: nn.Module) -> set[tuple[str, ...]]:
    """Return the names of layers that share weights, whether these are plain or computed."""
    return {
        tuple(re.sub(r"(\.parametrizations)?\.weight.*", "", name) for name in names)
        for names in tied_names(module)
    }


def check_finetune(network: Network) -> Outcome:
    """A step of distillation on all outputs does what a few lines of torch do."""
    rate = 1e-2
    module, reference = (nudged(without_dropout(fresh(network))) for _ in range(2))
    options = {
        "epochs": 1,
        "optimizer": "sgd",
        "momentum": 0,
        "weightDecay": 0,
        "schedule": "constant",
        "learningRate": rate,
        "batchSize": len(network.data),
        "distillation": {"weight": 0.5, "temperature": 1},
    }
    finetune(
        module,
        fresh(network),
        problem(
            network.data,
            signature=network.signature,
            kept=tuple(range(1, len(network.signature.outputs))),
        ),
        Finetune.model_validate(options),
    )
    x, labels = torch.from_numpy(network.data.x), torch.from_numpy(network.data.targets)
    taught = outputs_of(fresh(network), x)
    untrained = outputs_of(reference, x)
    train_one_step(reference, x, labels, taught, rate)
    answers = outputs_of(module, x)
    moved = max(distances(untrained, answers))
    tolerance = TRAINED * max(moved, 1.0)
    difference = same(outputs_of(reference, x), answers, tolerance, "finetune")
    require_tied(network, module, "finetune")
    return Outcome(moved > TRAINED, (), difference / max(moved, 1.0), moved)


def without_dropout(module: nn.Module) -> nn.Module:
    """Take what is random out of training."""
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
        elif isinstance(layer, nn.MultiheadAttention):
            layer.dropout = 0.0
    return module


def nudged(module: nn.Module) -> nn.Module:
    """Move weights a little, as pruning does: what equals its teacher has nothing to learn."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += (
                0.1
                * parameter.std(correction=0)
                * torch.randn(parameter.shape, generator=generator)
            )
    return module


def train_one_step(
    module: nn.Module, x: Tensor, labels: Tensor, taught: Sequence[Tensor], rate: float
) -> None:
    """Take the step of gradient descent that fine-tuning is documented to take."""
    found = module.train()(x)
    logits, *taps = found if isinstance(found, tuple) else (found,)
    soft = torch.sum(taught[0].softmax(1) * (taught[0].log_softmax(1) - logits.log_softmax(1)))
    loss = nn.functional.cross_entropy(logits, labels) / 2 + soft / len(x) / 2
    for tap, wanted in zip(taps, taught[1:], strict=True):
        loss = loss + (tap - wanted).square().mean() / wanted.var(correction=0) / 2
    torch.autograd.backward(loss)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter -= rate * parameter.grad


def check_quantized(network: Network, method: str) -> Outcome:
    """8 bits cost a little precision and nothing else, on every output."""
    options = {"method": method, **({"bits": 8} if method == "weightOnly" else {})}
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "fp32.onnx")
        source.write_bytes(exported_file(network.seed))
        data, shapes = network.data, {"x": network.data.x[:1]}
        details = quantizing.run(source, data=data, batch=shapes, **options)
        target = source.with_name("int8.onnx")
        before, after = run_file(source, network), run_file(target, network)
    plain = rounding_errors(network, activations=method != "weightOnly")
    bounds = [min(ROUNDING[method] * error + SAME, LOST) for error in plain]
    error = close(before, after, bounds, method)
    reasons = tuple(sorted({node.reason for node in details.unquantized}))
    share = details.weight_share if method == "weightOnly" else details.int8_coverage
    return Outcome(details.quantized_nodes > 0, reasons, error, share or 0.0)


def rounding_errors(network: Network, *, activations: bool) -> list[float]:
    """Return what plain rounding to 8 bits costs each output."""
    x = torch.from_numpy(network.data.x)
    rounded = rounded_outputs(folded(fresh(network), x), x, activations=activations)
    return errors(outputs_of(fresh(network), x), rounded)


@lru_cache(maxsize=1)
def exported_file(seed: int) -> bytes:
    """Return the network as ONNX; the last one is kept for the next check."""
    network = make_network(seed)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.onnx")
        export(network.module, network, path)
        return path.read_bytes()


def check_export(network: Network) -> Outcome:
    """Check that the exported file computes what the module does, at another batch size."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.onnx")
        path.write_bytes(exported_file(network.seed))
        return Outcome(done=True, difference=compare_file(path, fresh(network), network))


def compare_file(path: Path, module: nn.Module, network: Network) -> float:
    """Compare an exported file with its module; return the largest difference."""
    expected = outputs_of(module, torch.from_numpy(network.data.x))
    found = [torch.from_numpy(value) for value in run_file(path, network)]
    return same(expected, found, SAME, "export")


def export(module: nn.Module, network: Network, path: Path) -> None:
    """Export with the first examples."""
    export_onnx(module, network.signature, path, example_inputs={"x": network.data.x[:4]})


def run_file(path: Path, network: Network) -> list[np.ndarray]:
    """Return all outputs of an ONNX file for all examples."""
    return run_session(open_session(path), {"x": network.data.x})


def folded(module: nn.Module, x: Tensor) -> nn.Module:
    """Replace each parametrization by the weight that it gives in evaluation mode, in place."""
    outputs_of(module, x)  # hooks of the older kind set it
    for layer in module.modules():
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight")
        if "weight_g" in dict(layer.named_parameters(recurse=False)):
            torch.nn.utils.remove_weight_norm(layer)
    return module


def spread(values: Tensor) -> float:
    """Return the mean over an output's elements of their deviation from example to example."""
    return max(float(values.flatten(1).std(0).mean()), VISIBLE)


def distances(expected: Sequence[Tensor], found: Sequence[Tensor]) -> list[float]:
    """Return for each output the largest difference in units of its spread."""
    pairs = zip(expected, found, strict=True)
    return [float((one - other).abs().max()) / spread(one) for one, other in pairs]


def same(expected: Sequence[Tensor], found: Sequence[Tensor], tolerance: float, what: str) -> float:
    """Require that no output differs by more; return the largest difference."""
    assert [one.shape for one in expected] == [one.shape for one in found], f"{what}: shapes"
    apart = distances(expected, found)
    for number, difference in enumerate(apart):
        if not difference <= tolerance:
            message = f"{what}: output {number} differs by {difference:.3g} of its spread"
            raise SilentDifferenceError(message)
    return max(apart)


def errors(expected: Sequence[Tensor], found: Sequence[Tensor]) -> list[float]:
    """Return the root mean square error of each output in units of its spread."""
    pairs = zip(expected, found, strict=True)
    return [float((one - other).square().mean().sqrt()) / spread(one) for one, other in pairs]


def close(
    expected: Sequence[np.ndarray], found: Sequence[np.ndarray], bounds: Sequence[float], what: str
) -> float:
    """Require a root mean square error within the bound of each output; return the largest."""
    before, after = ([torch.from_numpy(each) for each in side] for side in (expected, found))
    apart = errors(before, after)
    for number, (error, bound) in enumerate(zip(apart, bounds, strict=True)):
        if not error <= bound:
            message = f"{what}: output {number} has an error of {error:.3g}, not {bound:.3g}"
            raise SilentDifferenceError(message)
    return max(apart)


CHECKS: dict[str, Callable[[Network], Outcome]] = {
    "export": check_export,
    "structured": check_structured,
    "unstructured": check_unstructured,
    "finetune": check_finetune,
    "static": lambda network: check_quantized(network, "static"),
    "dynamic": lambda network: check_quantized(network, "dynamic"),
    "weightOnly": lambda network: check_quantized(network, "weightOnly"),
}


REFUSALS = (
    "has no channels that can be removed",
    "has no weights to prune",
    "no MatMul, Gemm or Conv to quantize",
)
"""Messages with which stages may refuse such a network."""


def outcome(name: str, network: Network) -> Outcome:
    """Return what check `name` found; a stage that refuses the network has done nothing.

    Raises:
        SilentDifferenceError: The stage changed what the network computes.
        FulcrumError: The stage refused the network without a reason that is in `REFUSALS`.
    """
    try:
        return CHECKS[name](network)
    except FulcrumError as error:
        reason = next((text for text in REFUSALS if text in str(error)), None)
        if reason is None:
            raise
        return Outcome(done=False, reasons=(reason, *kept_whole(str(error))), share=0.0)


def kept_whole(message: str) -> tuple[str, ...]:
    """Return the reasons, without layers' names, that a refusal of structured pruning lists."""
    listed = re.search(r"removed \((.*); recurrent layers stay whole\)", message)
    found = re.findall(r"layers\.\S+: ([^;]*)", listed[1]) if listed else ()
    return tuple(nameless(reason) for reason in found)


def nameless(reason: str) -> str:
    """Return a reason without layers' names, so that those of all networks can be counted."""
    return re.sub(r"'layers\.\S+'", "a layer", reason)
