"""What the check knows of how the pixels of images are stored: facts of each image, and all of them added up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from vitseg.data.finding import MAX_FILES
from vitseg.images.decoded import Decoded
from vitseg.images.pixel_source import RANGE_FROM_VALUES, Notice

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and sensors give."""


class DeepValues(NamedTuple):
    """Values of an image of more than 8 bits.

    Attributes:
        words: Their type: `uint16`.
        low: The least one.
        high: The largest one.
        origin: Who states which are black and white, see `PictureValues`.
    """

    words: str
    low: float
    high: float
    origin: str


class PixelFacts(NamedTuple):
    """How the pixels of one image are stored.

    Attributes:
        deep: Its values, if they have more than 8 bits.
        has_alpha: Whether it has transparency, which is laid over white.
        notices: What was decided about its bands and pages.
    """

    deep: DeepValues | None = None
    has_alpha: bool = False
    notices: tuple[Notice, ...] = ()

    @classmethod
    def of(cls, image: Decoded) -> PixelFacts:
        """The facts of an image that was read with its values counted."""
        deep, values = None, image.values
        if values is not None and values.histogram is not None:
            low, high = values.histogram.extremes() or values.limits
            deep = DeepValues(values.words, low, high, values.origin)
        notices = tuple(each for each in image.notices if each.kind != RANGE_FROM_VALUES)
        return cls(deep, image.has_alpha, notices)


@dataclass
class Group:
    """Images of which the same is to be said."""

    count: int = 0
    files: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one image."""
        self.count += 1
        if len(self.files) < MAX_FILES:
            self.files.append(name)


@dataclass
class DeepGroup(Group):
    """Images of more than 8 bits and of one type."""

    low: float = float("inf")
    high: float = float("-inf")
    unstated: Group = field(default_factory=Group)

    def add_values(self, name: str, values: DeepValues) -> None:
        """Count one image."""
        self.add(name)
        self.low, self.high = min(self.low, values.low), max(self.high, values.high)
        if values.origin == "own":
            self.unstated.add(name)


class PixelTally:
    """The facts of all images added up.

    Attributes:
        depths: For each split, its images by the type of their values, `8 bits` among them.
        notices: Images by what was decided about them.
        with_alpha: Images with transparency.
    """

    def __init__(self, num_splits: int) -> None:
        self.depths: list[dict[str, DeepGroup]] = [{} for _ in range(num_splits)]
        self.whole: dict[str, DeepGroup] = {}
        self.notices: dict[tuple[str, str], Group] = {}
        self.texts: dict[tuple[str, str], str] = {}
        self.with_alpha = Group()

    def add(self, name: str, splits: Iterable[int], facts: PixelFacts) -> None:
        """Count one image.

        Args:
            name: What findings call it.
            splits: Numbers of the splits that it is in.
            facts: Its facts.
        """
        deep = facts.deep or DeepValues(EIGHT_BITS, 0, 255, "bits")
        for groups in (self.whole, *(self.depths[split] for split in set(splits))):
            groups.setdefault(deep.words, DeepGroup()).add_values(name, deep)
        if facts.has_alpha:
            self.with_alpha.add(name)
        for notice in facts.notices:
            key = (notice.kind, notice.of_many or notice.text)
            self.texts.setdefault(key, notice.text)
            self.notices.setdefault(key, Group()).add(name)


EIGHT_BITS = "8 bits"
"""What stands for the type of all values that have no more than 8 bits."""
