"""An output as plain tensors, which is all that an exported graph can give, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from vitseg.outputs import (
    CellPresence,
    ClassLogits,
    Joined,
    MixedMasks,
    PresenceMasks,
    QueryMasks,
    SegOutput,
)
from vitseg.types import Size

READINGS: dict[str, type[SegOutput]] = {
    reading.__name__: reading for reading in (ClassLogits, MixedMasks, PresenceMasks, CellPresence)
}
MASKS, CLASSES = "mask_logits", "class_logits"


class OutputLayout(BaseModel):
    """Which output some tensors make up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reading: Literal["ClassLogits", "MixedMasks", "PresenceMasks", "CellPresence", "Joined"] = (
        Field(description="the class of vitseg.outputs that says how scores are read")
    )
    parts: tuple[OutputLayout, ...] = Field(
        default=(), description="of Joined: its outputs, in the order of their classes"
    )

    @classmethod
    def of(cls, output: SegOutput) -> OutputLayout:
        """The layout of an output; its stages and extras are for training and have none."""
        parts = tuple(map(cls.of, output.parts)) if isinstance(output, Joined) else ()
        return cls.model_validate({"reading": type(output).__name__, "parts": parts})

    def names(self, tail: str = "") -> list[str]:
        """What the tensors are called, in the order of `tensors`.

        Args:
            tail: End of every name.
        """
        if self.parts:
            return [
                name for index, part in enumerate(self.parts) for name in part.names(f"_{index}")
            ]
        has_classes = issubclass(READINGS[self.reading], QueryMasks)
        return [MASKS + tail, CLASSES + tail] if has_classes else [MASKS + tail]

    def output(
        self, tensors: Mapping[str, Tensor], input_size: Size, padded_size: Size, tail: str = ""
    ) -> SegOutput:
        """The output that such tensors make up.

        Args:
            tensors: By `names`.
            input_size: Of the images, in pixels.
            padded_size: Pixels that the masks cover.
            tail: End of every name.
        """
        if self.parts:
            return Joined.of(
                [
                    part.output(tensors, input_size, padded_size, f"_{index}")
                    for index, part in enumerate(self.parts)
                ]
            )
        reading = READINGS[self.reading]
        masks = tensors[MASKS + tail]
        if issubclass(reading, QueryMasks):
            classes = tensors[CLASSES + tail]
            return reading(masks, input_size, padded_size, class_logits=classes)
        return reading(masks, input_size, padded_size)


def tensors(output: SegOutput) -> list[Tensor]:
    """The tensors of an output, in the order of `OutputLayout.names`."""
    if isinstance(output, Joined):
        return [tensor for part in output.parts for tensor in tensors(part)]
    if isinstance(output, QueryMasks):
        return [output.mask_logits, output.class_logits]
    return [output.mask_logits]
