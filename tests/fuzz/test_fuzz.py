"""A few random networks through each stage; `make fuzz` tries hundreds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fuzz.checks import CHECKS, SilentDifferenceError, fresh, outcome, pruned, same
from fuzz.networks import Network, make_network
from fuzz.reference import masked_outputs, outputs_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]

SEEDS = range(1000, 1006)


@pytest.mark.parametrize("seed", SEEDS)
def test_stages_keep_what_a_random_network_computes(seed: int) -> None:
    network = make_network(seed)
    said = {name: outcome(name, network) for name in CHECKS}
    assert len([text for text in said.values() if text.startswith("refused")]) <= 2, said


def test_channels_that_torch_pruning_multiplies_without_end_are_left_whole() -> None:
    """Memory ended here: a permuted flatten between layers that depend on each other."""
    assert "is not understood" in outcome("structured", make_network(29))


def a_network(*steps: str) -> Network:
    """Return the first network that has all of `steps` and that structured pruning can shrink."""
    for seed in range(500):
        network = make_network(seed)
        if all(any(step in name for name in network.module.steps) for step in steps):
            return network
    raise AssertionError(f"no network has {steps}")


def test_reference_notices_channels_that_were_mixed_up() -> None:
    network = a_network("conv", "mean")
    module, _ = pruned(network, {"structured": {"sparsity": 0.5, "round": 1, "tolerance": 1}})
    x = torch.from_numpy(network.data.x)
    expected = masked_outputs(fresh(network), module, x)
    same(expected, outputs_of(module, x), 1e-3, "as pruned")
    head = module.layers[f"l{len(module.layers) - 1}"]  # type: ignore[arg-type,index]
    assert isinstance(head, nn.Linear)
    head.weight.data = head.weight.data.flip(1)
    with pytest.raises(SilentDifferenceError, match="output 0 differs"):
        same(expected, outputs_of(module, x), 1e-3, "mixed up")


def test_networks_of_a_seed_are_the_same() -> None:
    for seed in (3, 1002):
        one, other = make_network(seed), make_network(seed)
        same(
            outputs_of(one.module, torch.from_numpy(one.data.x)),
            outputs_of(other.module, torch.from_numpy(other.data.x)),
            0.0,
            "built twice",
        )
