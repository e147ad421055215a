"""The edge head of the edge-aware Shrunk structure: which tokens hold a boundary between classes.

Source: thesis section 4.2.2 (EQD). No reference code exists. What the text leaves open, and what we chose:

- Activation between the three layers: GELU, as in the backbone's own MLPs.
- Input: the embedded patches as block 0 receives them, position embeddings included; nothing else has to be computed.
- The decision (probability above the threshold) carries no gradient: the head learns from its own loss alone, and its
  gradient reaches the patch embedding through that loss.
- In training, too, the head's own prediction chooses the tokens, so that the blocks see what they will see later.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class EdgeHeadConfig(BaseModel):
    """Configuration of `EdgeHead`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="edge probability above which a token is kept; at 1 none is kept for its edge",
    )


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
