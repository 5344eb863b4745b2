"""Attention written out by hand: which layers make queries, keys and values of how many heads.

A traced graph does not show that channels belong to heads, and removing any others mixes heads
without an error. So the layers are known by the names that the field uses for them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

HEAD_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")
PROJECTIONS = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("to_q", "to_k", "to_v"),
    ("q_lin", "k_lin", "v_lin"),
    ("wq", "wk", "wv"),
    ("q", "k", "v"),
)
WIDTHS = ("all_head_size", "inner_dim", "hidden_dim", "embed_dim", "dim", "d_model")
"""Attributes that follow the number of heads if they equal heads * head size."""


@dataclass(frozen=True)
class Attention:
    """Multi-head attention with separate projections.

    Attributes:
        owner: Module that holds the number of heads.
        heads_attribute: Its attribute that does.
        projections: The query, key and value layers.
    """

    owner: nn.Module
    heads_attribute: str
    projections: tuple[nn.Linear, ...]

    @property
    def heads(self) -> int:
        """The present number of heads."""
        return int(getattr(self.owner, self.heads_attribute))

    def set_heads(self, heads: int) -> None:
        """Set the owner's number of heads to `heads`, and the matching width."""
        width_before = self.projections[0].out_features
        for name in WIDTHS:
            if vars(self.owner).get(name) == width_before:
                setattr(self.owner, name, width_before // self.heads * heads)
        setattr(self.owner, self.heads_attribute, heads)


def find_attentions(module: nn.Module) -> list[Attention]:
    """Return the attentions in `module` whose parts are recognised."""
    found = (_attention(owner) for owner in module.modules())
    return [attention for attention in found if attention is not None]


def _attention(owner: nn.Module) -> Attention | None:
    counts = [name for name in HEAD_COUNTS if type(vars(owner).get(name)) is int]
    for names in PROJECTIONS:
        layers = tuple(
            layer
            for layer in (getattr(owner, name, None) for name in names)
            if isinstance(layer, nn.Linear)
        )
        if not counts or len(layers) != 3:
            continue
        attention = Attention(owner, counts[0], layers)
        if all(layer.out_features % attention.heads == 0 for layer in layers):
            return attention
    return None
