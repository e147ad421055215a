"""What a plan knows of the data: a survey of headers and of some masks, bounded in number and in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.picked import picked, spread_indices
from vitseg.errors import DataError
from vitseg.images.decoded import MAX_PIXELS
from vitseg.images.depth import may_be_deep
from vitseg.images.header import header_of
from vitseg.plan.thickness import measure_outlines, width
from vitseg.types import Size

MOST_HEADERS = 1000
"""Images whose headers are read; of more, evenly spread ones."""

MOST_MASKS = 300
"""Masks that are decoded; of more, evenly spread ones."""

FEW_PIXELS = 100
"""Pixels per image that shows it below which nothing can be learnt of a class."""


@dataclass(frozen=True)
class ClassFacts:
    """One class in the masks that were counted.

    Attributes:
        name: Its name.
        share: Of the labelled pixels, in [0, 1].
        pixels: Pixels in the masks that were counted.
        images: Images of these that show it.
        width: Mean width of its things in pixels of the images; None: it has no outline.
    """

    name: str
    share: float
    pixels: int
    images: int
    width: float | None

    @property
    def is_hopeless(self) -> bool:
        """Whether there is nearly nothing of it."""
        return self.pixels < FEW_PIXELS


@dataclass(frozen=True)
class DataFacts:
    """The survey.

    Attributes:
        num_train: Pairs to train on.
        num_val: Pairs to validate on.
        num_unpaired: Images without a mask.
        sizes: (height, width) of the images whose headers were read, ascending by area.
        num_deep: Images of these of more than 8 bits.
        classes: All classes, in the order of the data set.
        num_counted: Masks that were counted.
        ignored: Share of the pixels of these that have no class, in [0, 1].
    """

    num_train: int
    num_val: int
    num_unpaired: int
    sizes: tuple[Size, ...]
    num_deep: int
    classes: tuple[ClassFacts, ...]
    num_counted: int
    ignored: float

    @property
    def median(self) -> Size:
        """(height, width): the median of each."""
        heights, widths = zip(*self.sizes, strict=True)
        return int(np.median(heights)), int(np.median(widths))

    @property
    def short(self) -> int:
        """Median short side in pixels."""
        return int(np.median([min(size) for size in self.sizes]))

    @property
    def largest(self) -> Size:
        """(height, width) of the image of most pixels."""
        return self.sizes[-1]

    @property
    def distinct(self) -> int:
        """Different sizes."""
        return len(set(self.sizes))

    @property
    def shown(self) -> tuple[ClassFacts, ...]:
        """The classes that occur."""
        return tuple(each for each in self.classes if each.pixels)

    @property
    def learnable(self) -> tuple[ClassFacts, ...]:
        """The classes of which there is more than a few pixels."""
        return tuple(each for each in self.shown if not each.is_hopeless)

    @property
    def thinnest(self) -> ClassFacts | None:
        """The class of the narrowest things."""
        known = [each for each in self.learnable if each.width is not None]
        return min(known, key=lambda each: each.width or 0, default=None)

    @property
    def imbalance(self) -> float:
        """Share of the commonest class over that of the rarest that can be learnt."""
        shares = [each.share for each in self.learnable]
        return max(shares) / min(shares) if shares else 1.0


def survey(
    train_set: SegmentationDataset,
    val_set: SegmentationDataset | None,
    num_unpaired: int = 0,
    seconds: float = 30.0,
    on_mask: Callable[[], object] = lambda: None,
) -> DataFacts:
    """Look at the data.

    Args:
        train_set: What is trained on.
        val_set: What is validated on; None: not known yet.
        num_unpaired: Images without a mask, which are in neither.
        seconds: Masks are counted for so long at most, but one at least.
        on_mask: Called after each mask.

    Raises:
        DataError: A file cannot be read, an image is larger than what is decoded, or the masks have no class at all.
    """
    looked_at = picked(train_set, spread_indices(len(train_set), MOST_HEADERS))
    sizes = _sizes(looked_at)
    deep = sum(may_be_deep(looked_at.image_source(index)) for index in range(len(looked_at)))
    classes, counted, ignored = _classes(train_set, seconds, on_mask)
    return DataFacts(
        num_train=len(train_set),
        num_val=0 if val_set is None else len(val_set),
        num_unpaired=num_unpaired,
        sizes=tuple(sorted(sizes, key=lambda size: size[0] * size[1])),
        num_deep=deep,
        classes=classes,
        num_counted=counted,
        ignored=ignored,
    )


def _sizes(dataset: SegmentationDataset) -> list[Size]:
    """Sizes of the images by their headers.

    Raises:
        DataError: One is larger than what is decoded.
    """
    sizes = []
    for index in range(len(dataset)):
        height, width = header_of(dataset.image_source(index)).size
        if height * width > MAX_PIXELS:
            raise DataError(
                f"{dataset.image_name(index)} is {width:,} x {height:,} pixels, but training decodes whole images, of "
                f"at most {MAX_PIXELS:,} pixels. Cut image and mask into tiles of, say, 1024 x 1024 pixels of the same "
                "names, and give their folder; the trained model takes the whole scene with `vitseg predict --tiles`."
            )
        sizes.append((height, width))
    return sizes


def _classes(
    dataset: SegmentationDataset, seconds: float, on_mask: Callable[[], object]
) -> tuple[tuple[ClassFacts, ...], int, float]:
    """Facts of every class, masks that were counted, and the share of pixels without a class."""
    names = dataset.classes.names
    area, edges = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    images = np.zeros(len(names), np.int64)
    counted, total, began = 0, 0, time.monotonic()
    for index in _scattered(spread_indices(len(dataset), MOST_MASKS)):
        label_map = dataset.label_map(index)
        outlines = measure_outlines(label_map, len(names))
        area += outlines.area
        edges += outlines.edges
        images += outlines.area > 0
        total += label_map.size
        counted += 1
        on_mask()
        if time.monotonic() - began > seconds:
            break
    labelled = int(area.sum())
    if not labelled:
        raise DataError(
            f"none of the {counted} masks that were looked at has a labelled pixel: all have the value that is "
            "ignored. `vitseg data check` shows which values they have."
        )
    facts = tuple(
        ClassFacts(
            name, int(area[k]) / labelled, int(area[k]), int(images[k]), width(area[k], edges[k])
        )
        for k, name in enumerate(names)
    )
    return facts, counted, 1 - labelled / total


def _scattered(indices: Sequence[int]) -> list[int]:
    """The same, so ordered that any beginning is spread over all of them."""
    order = np.random.default_rng(0).permutation(len(indices))
    return [indices[place] for place in order]
