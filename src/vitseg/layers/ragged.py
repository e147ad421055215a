"""Ragged batches: images that keep different numbers of tokens, packed one after the other.

Layers that treat every token alike run once on the packed tokens; attention stays within an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class RaggedTokens:
    """Tokens of a batch of images, packed.

    Attributes:
        tokens: All images' tokens, one image after the other.
        cells: Cell of the image's token grid, row by row, that each token stands on.
        lengths: Tokens of each image.
    """

    tokens: Float[Tensor, "n c"]
    cells: Int[Tensor, " n"]
    lengths: tuple[int, ...]

    def rows(self, num_cells: int) -> Int[Tensor, " n"]:
        """Where the tokens stand among all cells of all images, of which each has `num_cells`."""
        return images_of(self.lengths, self.cells.device) * num_cells + self.cells


def packed_map(x: Float[Tensor, "b c h w"]) -> RaggedTokens:
    """The cells of a map as packed tokens, none of which is missing."""
    batch, num_cells = len(x), x.shape[2] * x.shape[3]
    cells = torch.arange(num_cells, device=x.device).repeat(batch)
    return RaggedTokens(x.flatten(2).transpose(1, 2).flatten(0, 1), cells, (num_cells,) * batch)


def ragged_attention(
    q: Float[Tensor, "1 heads m d"],
    k: Float[Tensor, "1 heads n d"],
    v: Float[Tensor, "1 heads n d"],
    query_lengths: tuple[int, ...],
    key_lengths: tuple[int, ...],
    biases: Sequence[Float[Tensor, "heads _ _"] | None] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "1 heads m d"]:
    """Scaled dot-product attention of packed heads in which no query sees another image's keys.

    Args:
        q: Queries of all images, packed.
        k: Keys, packed alike.
        v: Values, packed alike.
        query_lengths: Queries of each image.
        key_lengths: Keys of each image.
        biases: What is added to each image's scores.
        dropout: Rate on the attention weights.
    """
    if biases is None and are_alike(query_lengths) and are_alike(key_lengths):
        batch = (_unpack(x, len(query_lengths)) for x in (q, k, v))
        return _pack(F.scaled_dot_product_attention(*batch, dropout_p=dropout))
    if biases is None and q.is_cuda:
        return _nested_attention(q, k, v, query_lengths, key_lengths, dropout)
    # On a CPU, one call per image is no slower than one padded call, and computes no padding.
    images = zip(
        q.split(query_lengths, 2),
        k.split(key_lengths, 2),
        v.split(key_lengths, 2),
        biases or [None] * len(query_lengths),
        strict=True,
    )
    parts = [
        F.scaled_dot_product_attention(*qkv, attn_mask=bias, dropout_p=dropout)
        for *qkv, bias in images
    ]
    return torch.cat(parts, dim=2)


def _unpack(x: Float[Tensor, "1 heads m d"], batch: int) -> Float[Tensor, "b heads n d"]:
    return x[0].unflatten(1, (batch, -1)).transpose(0, 1)


def _pack(x: Float[Tensor, "b heads n d"]) -> Float[Tensor, "1 heads m d"]:
    return x.transpose(0, 1).flatten(1, 2)[None]


def _nested_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    query_lengths: tuple[int, ...],
    key_lengths: tuple[int, ...],
    dropout: float,
) -> Float[Tensor, "1 heads m d"]:
    """One variable-length kernel for all images."""
    nested = [
        torch.nested.nested_tensor_from_jagged(
            x[0].transpose(0, 1).contiguous(), offsets(lengths, x.device), max_seqlen=max(lengths)
        ).transpose(1, 2)
        for x, lengths in ((q, query_lengths), (k, key_lengths), (v, key_lengths))
    ]
    out = F.scaled_dot_product_attention(*nested, dropout_p=dropout)
    return out.transpose(1, 2).values().transpose(0, 1)[None]  # (1, heads, m, d)


def offsets(lengths: Sequence[int], device: torch.device) -> Int[Tensor, " b1"]:
    """Where each image's tokens begin in the packed ones, and where the last ones end."""
    return F.pad(torch.tensor(lengths, device=device).cumsum(0), (1, 0))


def images_of(lengths: Sequence[int], device: torch.device) -> Int[Tensor, " n"]:
    """Number of the image that each packed token belongs to."""
    if len(lengths) == 1:  # known without a look at the device, and so when a graph is traced
        return torch.zeros(lengths[0], dtype=torch.long, device=device)
    counts = torch.tensor(lengths, device=device)
    return torch.arange(len(lengths), device=device).repeat_interleave(counts)


def lengths_of(images: Int[Tensor, " n"], batch: int) -> tuple[int, ...]:
    """Tokens of each image, from the numbers of the images that packed tokens belong to."""
    if batch == 1:
        return (images.shape[0],)
    return tuple(images.bincount(minlength=batch).tolist())


def are_alike(lengths: Sequence[int]) -> bool:
    """Whether all images have as many tokens."""
    return all(length == lengths[0] for length in lengths[1:])
