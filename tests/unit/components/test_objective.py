"""Read the outputs of a forward from every kind of container."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fulcrum_components.objective import call, call_all, output_tensors
from fulcrum_pipelines.errors import UserError

Pair = namedtuple("Pair", "first second")
A, B, C = (torch.full((2, 3), float(value)) for value in range(3))


class Returns(nn.Module):
    """Returns what it is made with."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self._make = make

    def forward(self, x: Tensor) -> Any:
        return self._make(x)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        pytest.param(A, (A,), id="tensor"),
        pytest.param((A, B), (A, B), id="tuple"),
        pytest.param([A, B], (A, B), id="list"),
        pytest.param(Pair(A, B), (A, B), id="named-tuple"),
        pytest.param({"z": A, "a": B}, (A, B), id="dict-in-its-own-order"),
        pytest.param(OrderedDict(z=A, a=B), (A, B), id="ordered-dict"),
        pytest.param((A, (B, C)), (A, B, C), id="nested-hidden-states"),
        pytest.param({"logits": A, "states": [B, C]}, (A, B, C), id="nested-in-dict"),
        pytest.param((A, None, B), (A, B), id="none-left-out"),
    ],
)
def test_outputs_are_in_the_exporters_order(result: Any, expected: tuple[Tensor, ...]) -> None:
    found = output_tensors(result)

    assert [id(tensor) for tensor in found] == [id(tensor) for tensor in expected]


@pytest.mark.parametrize(
    ("result", "place", "kind"),
    [
        pytest.param("text", "output", "str", id="string"),
        pytest.param((A, 3), "output[1]", "int", id="number"),
        pytest.param({"loss": 0.5}, "output['loss']", "float", id="in-dict"),
        pytest.param((A, [B, {1}]), "output[1][1]", "set", id="nested"),
    ],
)
def test_other_output_is_named_with_its_place(result: Any, place: str, kind: str) -> None:
    with pytest.raises(UserError) as caught:
        output_tensors(result)

    assert f"its {place} is a {kind}" in str(caught.value)


@pytest.mark.parametrize("result", [None, (), (None, None), {}])
def test_no_output_is_refused(result: Any) -> None:
    with pytest.raises(UserError, match="returns no tensor"):
        output_tensors(result)


def test_call_returns_the_first_of_all_outputs() -> None:
    module = Returns(lambda x: {"logits": x + 1, "state": (x + 2,)})

    assert torch.equal(call(module, (A,)), A + 1)
    assert [float(tensor[0, 0]) for tensor in call_all(module, (A,))] == [1, 2]
