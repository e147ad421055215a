"""The classes of a model or a data set: names and colours in index order."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vitseg.colors import farthest_colors

IGNORE_INDEX = -1
"""Label of a pixel that no score counts; what it is in training, the loss says. Negative, so that it collides with no
class however many there are; loaders map a data set's own ignore value (255, CamVid's 11, ...) to it."""

Channel = Annotated[int, Field(ge=0, le=255)]
Color = tuple[Channel, Channel, Channel]


class ClassTable(BaseModel):
    """Names and display colours, both in class-index order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = Field(min_length=1, description="class names, index order")
    palette: tuple[Color, ...] = Field(description="RGB in [0, 255], one per class")

    @model_validator(mode="after")
    def _one_color_per_name(self) -> ClassTable:
        if len(self.names) != len(self.palette):
            raise ValueError(
                f"names has {len(self.names)} entries but palette has {len(self.palette)}: give one colour per class"
            )
        twice = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if twice:
            raise ValueError(
                f"class names must be unique, but these occur twice: {', '.join(twice)}"
            )
        return self

    @classmethod
    def from_names(cls, names: Sequence[str]) -> ClassTable:
        """A table with generated colours, for data sets that name no palette."""
        return cls(names=tuple(names), palette=generated_palette(len(names)))

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.names)


def folded_name(name: str) -> str:
    """The name of a class without what people spell in several ways: case, blanks around it, Unicode form."""
    return unicodedata.normalize("NFC", name).strip().casefold()


def generated_palette(num_classes: int) -> tuple[Color, ...]:
    """Colours that look as different as possible; the first ones are the same for every number of classes."""
    return tuple(farthest_colors(num_classes))
