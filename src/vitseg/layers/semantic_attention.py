"""SeMask's semantic layer: tokens exchange what they are by how alike their class scores are.

Source: SeMask (ICCV workshops 2023), in the form of its published models: one head, no scaling of the scores, no
positions, and a skip connection that starts behind the normalisation.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitseg.layers import products

SCORE_ELEMENTS = 2**22
"""Attention scores that are held at once, of one image: 16 MiB of float32. More takes memory, and
measured no clear gain in time; less is slower (benchmarks/semask_time.py)."""


class SemanticAttention(nn.Module):
    """Semantic map of the tokens, and the tokens with what their like bring.

    Args:
        dim: Width of a token.
        num_classes: Classes: the width of queries and keys.
        dropout: Rate in training, of what is added.
    """

    def __init__(self, dim: int, num_classes: int, dropout: float = 0.1):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, num_classes)
        self.key = nn.Linear(dim, num_classes)
        self.value = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        # With a `proj` of 0, too, as in the published Mask2Former form, no gradient would ever reach the branch.
        self.gamma = nn.Parameter(torch.zeros(1))
        for layer in (self.query, self.key, self.value, self.proj):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def attend(
        self, normed: Float[Tensor, "b n c"]
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b n k"]]:
        """What normalised tokens get from their like, and their queries, which are the semantic map."""
        q = self.query(normed)
        attended = attend_alike(q, self.key(normed), self.value(normed))
        return self.dropout(self.proj(attended)), q

    def add(
        self, x: Float[Tensor, "b *hw c"], change: Float[Tensor, "b *hw c"]
    ) -> Float[Tensor, "b *hw c"]:
        """The tokens, and gamma times what they got. Published models take the normalised ones."""
        return torch.addcmul(x, self.gamma, change)


def attend_alike(
    q: Float[Tensor, "b n k"], k: Float[Tensor, "b m k"], v: Float[Tensor, "b m c"]
) -> Float[Tensor, "b n c"]:
    """softmax(q k^T) v, unscaled, by as many queries at once as `SCORE_ELEMENTS` allows; in a graph by all."""
    if products.are_asked():
        return (q @ k.mT).softmax(-1) @ v
    step = max(1, SCORE_ELEMENTS // k.shape[1])
    parts = [(part @ k.mT).softmax(-1) @ v for part in q.split(step, dim=1)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
