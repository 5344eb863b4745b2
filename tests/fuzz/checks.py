"""Each stage's result on one network, compared with a reference that the stage did not make."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import quantizing
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fulcrum_components.export import export_onnx
from fulcrum_components.finetuning import finetune
from fulcrum_components.graph import open_session, run_session
from fulcrum_components.pruning import PruneResult, prune, replay
from fulcrum_pipelines.errors import FulcrumError
from fulcrum_pipelines.resources.compressionjob import Finetune, Prune
from fuzz.networks import Network, make_network
from fuzz.reference import masked_outputs, outputs_of

SAME = 2e-4
"""Largest difference, in standard deviations of the output, of what must compute the same: some
hundred float32 sums in another order."""
EIGHT_BITS = 0.35
"""Largest root mean square error of 8-bit weights and activations in the same unit. Of 300 networks
the worst that was quantized right had 0.2; a lost branch or a clipped mask has about 1."""
MOVED = 0.5
"""How far one epoch at a tiny learning rate may move an output: batch norm's statistics follow."""


class SilentDifferenceError(AssertionError):
    """A stage changed what the network computes and did not say so."""


def pruned(network: Network, options: dict[str, Any]) -> tuple[nn.Module, PruneResult]:
    """Return a pruned copy of the network."""
    module = fresh(network)
    result = prune(
        module,
        Prune.model_validate(options),
        signature=network.signature,
        example_inputs=network.examples,
        train=None,
        meaning="logits",
        seed=0,
    )
    return module, result


def fresh(network: Network) -> nn.Module:
    """Return the same network again, untouched."""
    return make_network(network.seed, examples=2).module


def check_structured(network: Network) -> str:
    """Half of the channels go; what is left computes what the masked original does."""
    options = {"structured": {"sparsity": 0.5, "round": 1, "tolerance": 1}}
    module, result = pruned(network, options)
    x = torch.from_numpy(network.data.x)
    same(masked_outputs(fresh(network), module, x), outputs_of(module, x), SAME, "prune")
    assert result.history is not None
    again = fresh(network)
    replay(again, type(result.history).from_json(result.history.to_json()), network.examples)
    again.load_state_dict(module.state_dict())
    same(outputs_of(module, x), outputs_of(again, x), SAME, "prune, built again")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "pruned.onnx")
        export(module, network, path)
        compare_file(path, module, network)
    return f"{result.achieved_sparsity:.2f}"


def check_unstructured(network: Network) -> str:
    """Half of the weights become zero, the others stay as they were, and all is used so."""
    module, result = pruned(network, {"unstructured": {"sparsity": 0.5, "scope": "global"}})
    x = torch.from_numpy(network.data.x)
    answers = outputs_of(module, x)
    reference = folded(fresh(network), x)
    before, after = reference.state_dict(), folded(module, x).state_dict()
    zeros = 0
    for name, value in before.items():
        gone = (after[name] == 0) & (value != 0)
        if not torch.allclose(after[name][~gone], value[~gone], rtol=1e-4, atol=1e-6):
            raise SilentDifferenceError(f"unstructured: it changed values that are left of {name}")
        zeros += int(gone.sum())
    if zeros == 0:
        raise SilentDifferenceError("unstructured: nothing was removed")
    reference.load_state_dict(after)
    same(outputs_of(reference, x), answers, SAME, "unstructured")
    return f"{result.achieved_sparsity:.2f}"


def check_finetune(network: Network) -> str:
    """An epoch of distillation at a small rate leaves all outputs close to where they were."""
    module = fresh(network)
    options = {"epochs": 1, "learningRate": 1e-6, "batchSize": 16, "distillation": {}}
    finetune(
        module,
        fresh(network),
        network.data,
        None,
        Finetune.model_validate(options),
        task="classification",
        meaning="logits",
        signature=network.signature,
        seed=0,
    )
    x = torch.from_numpy(network.data.x)
    same(outputs_of(fresh(network), x), outputs_of(module, x), MOVED, "finetune")
    return "trained"


def check_quantized(network: Network, method: str) -> str:
    """8 bits cost a little precision and nothing else, on every output."""
    options = {"method": method, **({"bits": 8} if method == "weightOnly" else {})}
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "fp32.onnx")
        source.write_bytes(exported_file(network.seed))
        data, shapes = network.data, {"x": network.data.x[:1]}
        details = quantizing.run(source, data=data, batch=shapes, **options)
        target = source.with_name("int8.onnx")
        close(run_file(source, network), run_file(target, network), EIGHT_BITS, method)
    return details.chosen


@lru_cache(maxsize=1)
def exported_file(seed: int) -> bytes:
    """Return the network as ONNX; the last one is kept for the next check."""
    network = make_network(seed)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.onnx")
        export(network.module, network, path)
        return path.read_bytes()


def check_export(network: Network) -> str:
    """The exported file computes what the module does, for a batch of its own size."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.onnx")
        path.write_bytes(exported_file(network.seed))
        compare_file(path, fresh(network), network)
    return "exported"


def compare_file(path: Path, module: nn.Module, network: Network) -> None:
    """Compare an exported file with its module."""
    expected = outputs_of(module, torch.from_numpy(network.data.x))
    found = [torch.from_numpy(value) for value in run_file(path, network)]
    same(expected, found, SAME, "export")


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


def same(expected: Sequence[Tensor], found: Sequence[Tensor], tolerance: float, what: str) -> None:
    """Compare the largest difference of each output with its spread."""
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        assert one.shape == other.shape, f"{what}: output {number} changed its shape"
        spread = max(float(one.std()), 1e-3)
        difference = float((one - other).abs().max()) / spread
        if not difference <= tolerance:
            message = f"{what}: output {number} differs by {difference:.3g} of its spread"
            raise SilentDifferenceError(message)


def close(
    expected: Sequence[np.ndarray], found: Sequence[np.ndarray], tolerance: float, what: str
) -> None:
    """Compare the root mean square error of each output with its spread."""
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        spread = max(float(one.std()), 1e-3)
        error = float(np.sqrt(np.mean((one - other) ** 2))) / spread
        if not error <= tolerance:
            message = f"{what}: output {number} has an error of {error:.3g} of its spread"
            raise SilentDifferenceError(message)


CHECKS: dict[str, Callable[[Network], str]] = {
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
    "its weights are computed by a parametrization",
    "no MatMul, Gemm or Conv to quantize",
)
"""What stages may say instead of doing their work on such a network."""


def outcome(name: str, network: Network) -> str:
    """Return what check `name` says, or why the stage refused the network.

    Raises:
        SilentDifferenceError: The stage changed what the network computes.
        FulcrumError: The stage refused the network without a reason that is in `REFUSALS`.
    """
    try:
        return CHECKS[name](network)
    except FulcrumError as error:
        if not any(reason in str(error) for reason in REFUSALS):
            raise
        return f"refused: {error}"
