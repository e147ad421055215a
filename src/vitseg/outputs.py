"""What decoders give: masks and classes that know how their class scores are read. One class per way of reading.

All hold `mask_logits` over the token grid; the score Y_k of a class at a pixel is, with M the mask logits at pixel size
(bilinear, align_corners=False) and p the softmax of the class logits:

- `MixedMasks`: Y_k = sum_q p_qk sigmoid(M_q); the last class logit is "no object" and is dropped (SegViT eq. 3).
- `PresenceMasks`: Y_k = p_k0 sigmoid(M_k): query k is class k, with two logits, present and absent (thesis eq. 4.4).
- `CellPresence`: the same product, taken on the token grid and then resized.
- `ClassLogits`: Y_k = M_k, of any sign.
- `Joined`: the scores of several outputs, one behind the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitseg.layers.resize import HeldRows, resize_at, resize_for_gradients, resize_rows
from vitseg.types import Size, spatial_size

Distribution = Literal["share", "softmax"]
"""What makes the scores of a pixel probabilities: division by their sum, none being negative; or the softmax."""

Rows = tuple[int, int]
"""Half-open range of pixel rows."""

SEMANTIC = "semantic"
"""The extra that is the sum of SeMask's semantic maps."""


@dataclass(frozen=True)
class SegOutput:
    """What every decoder returns, in training and in evaluation; see the subclasses.

    Attributes:
        mask_logits: Over the token grid.
        input_size: Of the images, in pixels.
        padded_size: Pixels that the masks cover; those beyond `input_size` are padding, below and on the right.
        name: What the loss terms of a stage are called by; "" of the final output.
        stages: Earlier outputs of the same classes, for deep supervision.
        extras: Other things that are trained, by name: edges, semantic maps, auxiliary heads.
        held: Which rows of the grid the masks are, where they are not all; see `with_rows`.
        distribution: How the scores of a pixel become probabilities, also when they are averaged or resized.
    """

    distribution: ClassVar[Distribution] = "share"

    mask_logits: Float[Tensor, "b q h w"]
    input_size: Size
    padded_size: Size
    name: str = field(default="", kw_only=True)
    stages: tuple[SegOutput, ...] = field(default=(), kw_only=True)
    extras: Mapping[str, SegOutput] = field(default_factory=dict, kw_only=True)
    held: HeldRows | None = field(default=None, kw_only=True)

    @property
    def num_classes(self) -> int:
        """Classes that have scores."""
        return self.mask_logits.shape[1]

    @property
    def num_bytes(self) -> int:
        """Memory of the output, without stages and extras."""
        own = (value for value in vars(self).values() if isinstance(value, Tensor))
        return sum(value.numel() * value.element_size() for value in own)

    def scores(self, rows: Rows | None = None) -> Float[Tensor, "b k R W"]:
        """Class scores Y at the size of the images, in float32; tensor operations alone, which can be traced.

        Args:
            rows: The pixel rows wanted; all where not given.
        """
        raise NotImplementedError

    def select(self, classes: Sequence[int]) -> Self:
        """The output, and its stages, of some classes alone; the scores of these stay.

        Args:
            classes: Their indices, increasing.
        """
        stages = tuple(stage.select(classes) for stage in self.stages)
        return replace(self, **self._rows(classes), stages=stages)

    def of_image(self, index: int) -> Self:
        """One image's output in float32, without stages and extras."""
        return replace(self, **self._image(index), stages=(), extras={})

    def with_rows(self, mask_logits: Float[Tensor, "b q r w"], first: int) -> Self:
        """The output with some rows of the grid alone: of pixels between these it gives the same scores.

        Args:
            mask_logits: The rows.
            first: The grid's row that comes first.
        """
        height = self.mask_logits.shape[2] if self.held is None else self.held.height
        return replace(self, mask_logits=mask_logits, held=HeldRows(first, height))

    def at(self, rows: Int[Tensor, " r"], columns: Int[Tensor, " c"]) -> Self:
        """The output as if the images had some of their pixels alone, without stages: their scores are the same.

        Args:
            rows: Of the pixels that are kept.
            columns: Of these.
        """
        masks = resize_at(self.mask_logits.float(), self.padded_size, rows, columns)
        size = spatial_size(masks)
        return replace(self, mask_logits=masks, input_size=size, padded_size=size, stages=())

    def _rows(self, classes: Sequence[int]) -> dict[str, Any]:
        """The fields of some queries."""
        return {"mask_logits": self.mask_logits[:, _index(classes, self.mask_logits)]}

    def _image(self, index: int) -> dict[str, Any]:
        """The fields of one image."""
        masks = self.mask_logits[index : index + 1].float()
        # Channels-last, the rows of a strip are upsampled, mixed and compared without a transposition.
        return {"mask_logits": masks.contiguous(memory_format=torch.channels_last)}

    def supervised(self) -> Iterator[tuple[str, SegOutput]]:
        """The output and its stages, each with what the names of its loss terms end with."""
        for output in (self, *self.stages):
            yield f"_{output.name}" if output.name else "", output

    def at_pixels(
        self, maps: Float[Tensor, "b q h w"], rows: Rows | None = None
    ) -> Float[Tensor, "b q R W"]:
        """Maps that cover what the masks cover, bilinearly at pixel size, in float32, padding cut off.

        Args:
            maps: Such as some of the masks.
            rows: The pixel rows wanted; all where not given.
        """
        height, width = self.input_size
        if rows is not None:
            return resize_rows(maps.float(), self.padded_size, *rows, self.held)[..., :width]
        pixels = resize_for_gradients(maps.float(), self.padded_size)
        if self.input_size != self.padded_size:  # a slice of everything has a gradient to fill, too
            pixels = pixels[..., :height, :width]
        return pixels


@dataclass(frozen=True)
class ClassLogits(SegOutput):
    """Class logits of every cell: Y_k = M_k."""

    distribution: ClassVar[Distribution] = "softmax"

    def scores(self, rows: Rows | None = None) -> Float[Tensor, "b k R W"]:
        return self.at_pixels(self.mask_logits, rows)


@dataclass(frozen=True)
class QueryMasks(SegOutput):
    """Masks of queries that have class logits, too.

    Attributes:
        class_logits: Of every query.
    """

    class_logits: Float[Tensor, "b q k1"] = field(kw_only=True)

    def _rows(self, classes: Sequence[int]) -> dict[str, Any]:
        logits = self.class_logits[:, _index(classes, self.class_logits)]
        return {**super()._rows(classes), "class_logits": logits}

    def _image(self, index: int) -> dict[str, Any]:
        logits = self.class_logits[index : index + 1].float()
        return {**super()._image(index), "class_logits": logits}

    def presence(self) -> Float[Tensor, "b k"]:
        """Probability that each class is in the image, of queries of which number k is class k."""
        raise NotImplementedError

    def class_targets(self, present: Bool[Tensor, "b k"]) -> Int[Tensor, "b k"]:
        """Index of the class logit that each query should have, where query k is class k.

        Args:
            present: Which classes occur in which image.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class MixedMasks(QueryMasks):
    """Every query speaks of every class: Y_k = sum_q p_qk sigmoid(M_q)."""

    @property
    def num_classes(self) -> int:
        return self.class_logits.shape[2] - 1

    def scores(self, rows: Rows | None = None) -> Float[Tensor, "b k R W"]:
        masks = self.at_pixels(self.mask_logits, rows).sigmoid()
        probs = self.class_logits.float().softmax(-1)[..., :-1]  # (b, q, k)
        size = masks.shape[-2:]
        if masks.is_contiguous(memory_format=torch.channels_last):
            pixels = masks.permute(0, 2, 3, 1).flatten(1, 2)  # (b, R*W, q), a view
            return (pixels @ probs).unflatten(1, size).permute(0, 3, 1, 2)
        return (probs.mT @ masks.flatten(2)).unflatten(2, size)

    def select(self, classes: Sequence[int]) -> Self:
        """Columns of the class logits go, and what they had becomes "no object"; all queries stay."""
        chosen = self.class_logits.softmax(-1)[..., _index(classes, self.class_logits)]
        rest = (1 - chosen.sum(-1, keepdim=True)).clamp(min=0)
        stages = tuple(stage.select(classes) for stage in self.stages)
        return replace(self, class_logits=torch.cat([chosen, rest], dim=-1).log(), stages=stages)

    def presence(self) -> Float[Tensor, "b k"]:
        return self.class_logits.float().softmax(-1).diagonal(dim1=1, dim2=2)

    def class_targets(self, present: Bool[Tensor, "b k"]) -> Int[Tensor, "b k"]:
        own = torch.arange(present.shape[1], device=present.device)
        return torch.where(present, own, present.shape[1])


@dataclass(frozen=True)
class PresenceMasks(QueryMasks):
    """Query k is class k, present or absent: Y_k = p_k0 sigmoid(M_k)."""

    def scores(self, rows: Rows | None = None) -> Float[Tensor, "b k R W"]:
        masks = self.at_pixels(self.mask_logits, rows).sigmoid()
        return masks * self.presence()[..., None, None]

    def presence(self) -> Float[Tensor, "b k"]:
        return self.class_logits.float().softmax(-1)[..., 0]

    def class_targets(self, present: Bool[Tensor, "b k"]) -> Int[Tensor, "b k"]:
        return (~present).long()


@dataclass(frozen=True)
class CellPresence(PresenceMasks):
    """As `PresenceMasks`, but the products of the cells are resized, not the masks."""

    def cell_scores(self) -> Float[Tensor, "b k h w"]:
        """The scores on the token grid."""
        return self.mask_logits.float().sigmoid() * self.presence()[..., None, None]

    def scores(self, rows: Rows | None = None) -> Float[Tensor, "b k R W"]:
        return self.at_pixels(self.cell_scores(), rows)


@dataclass(frozen=True)
class Joined(SegOutput):
    """Outputs one behind the other along the class axis; `mask_logits` are those of all.

    A part's scores are computed by themselves, so that no bit of them depends on the others.

    Attributes:
        parts: The outputs, each with its own stages.
    """

    parts: tuple[SegOutput, ...] = field(kw_only=True)

    @classmethod
    def of(cls, parts: Sequence[SegOutput]) -> Joined:
        """The joint output of some outputs over the same pixels."""
        masks = torch.cat([part.mask_logits for part in parts], dim=1)
        return cls(masks, parts[0].input_size, parts[0].padded_size, parts=tuple(parts))

    @property
    def num_classes(self) -> int:
        return sum(part.num_classes for part in self.parts)

    @property
    def num_bytes(self) -> int:
        return super().num_bytes + sum(part.num_bytes for part in self.parts)

    def scores(self, rows: Rows | None = None) -> Float[Tensor, "b k R W"]:
        return torch.cat([part.scores(rows) for part in self.parts], dim=1)

    def select(self, classes: Sequence[int]) -> Joined:
        kept, first = [], 0
        for part in self.parts:
            own = [index - first for index in classes if first <= index < first + part.num_classes]
            if own:
                kept.append(part.select(own))
            first += part.num_classes
        return Joined.of(kept)

    def with_rows(self, mask_logits: Float[Tensor, "b q r w"], first: int) -> Joined:
        counts = [part.mask_logits.shape[1] for part in self.parts]
        rows = mask_logits.split(counts, dim=1)
        parts = tuple(
            part.with_rows(own.contiguous(memory_format=torch.channels_last), first)
            for part, own in zip(self.parts, rows, strict=True)
        )
        return replace(super().with_rows(mask_logits, first), parts=parts)

    def _image(self, index: int) -> dict[str, Any]:
        parts = tuple(part.of_image(index) for part in self.parts)
        return {**super()._image(index), "parts": parts}


def _index(classes: Sequence[int], like: Tensor) -> Int[Tensor, " k"]:
    assert list(classes) == sorted(set(classes))
    return torch.tensor(list(classes), device=like.device)
