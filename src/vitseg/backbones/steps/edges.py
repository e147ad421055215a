"""Edges: a head says which tokens hold a boundary between classes, so that a later step keeps these (EQD).

Source: thesis section 4.2.2 (EQD). No reference code exists. What the text leaves open, and what we chose:

- Activation between the three layers: GELU, as in the backbone's own MLPs.
- Input: the embedded patches as block 0 receives them, position embeddings included; nothing else has to be computed.
- The decision (probability above the threshold) carries no gradient: the head learns from its own loss alone, and its
  gradient reaches the patch embedding through that loss.
- In training, too, the head's own prediction chooses the tokens, so that the blocks see what they will see later.
"""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.backbones.stream import TokenStream
from vitseg.backbones.vit import PlainViT
from vitseg.outputs import ClassLogits


class EdgeHeadConfig(BaseModel):
    """Configuration of `EdgeHead`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="edge probability above which a token is kept; at 1 none is kept for its edge",
    )


EDGES = "edges"
"""What the head's output is called among an output's extras."""

EDGE_HEAD = "edge_head"
"""What the head is called in a backbone."""


class EdgeHead(nn.Module):
    """Three-layer MLP (widths C, C/2, 2) on every token; logit 1 is "edge".

    Args:
        embed_dim: C, the width of the tokens.
        config: See `EdgeHeadConfig`.
    """

    def __init__(self, embed_dim: int, config: EdgeHeadConfig):
        super().__init__()
        self.threshold = config.threshold
        self.fc1 = nn.Linear(embed_dim, embed_dim)
        self.fc2 = nn.Linear(embed_dim, embed_dim // 2)
        self.fc3 = nn.Linear(embed_dim // 2, 2)
        for layer in (self.fc1, self.fc2, self.fc3):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b n 2"]:
        """Logits (no edge, edge) of every token."""
        return self.fc3(F.gelu(self.fc2(F.gelu(self.fc1(tokens)))))

    def is_edge(self, logits: Float[Tensor, "b n 2"]) -> Bool[Tensor, "b n"]:
        """Whether a token's edge probability exceeds the threshold."""
        return logits.detach().float().softmax(-1)[..., 1] > self.threshold


class FindEdges:
    """The step in front of the first block: asks the head, whose logits (no edge, edge) become the extra "edges"."""

    def __init__(self, head: EdgeHead):
        self.head = head

    def __call__(self, stream: TokenStream) -> TokenStream:
        """The stream, with the cells that the head takes for edges."""
        logits = self.head(stream.x[:, stream.positions.num_prefix_tokens :])  # (b, h*w, 2)
        grid = logits.transpose(1, 2).unflatten(-1, stream.positions.grid)  # (b, 2, h, w)
        edges = ClassLogits(grid, stream.input_size, stream.padded_size)
        extras = {**stream.extras, EDGES: edges}
        return replace(stream, is_edge=self.head.is_edge(logits), extras=extras)


def add_edges(vit: PlainViT, head: EdgeHead) -> None:
    """Let a head look at the embedded patches of a ViT."""
    vit.own(EDGE_HEAD, head)
    vit.step_before(0, FindEdges(head))
