"""One range of values for a whole data set, where its pictures have more than 8 bits and nothing states theirs.

Read each by its own values, a dark picture would look like a bright one. So the values of the set are counted once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.parallel import CHUNK, map_in_order
from vitseg.errors import DataError
from vitseg.images.depth import may_be_deep
from vitseg.images.reader import decode
from vitseg.images.value_range import (
    Histogram,
    PictureValues,
    Unstated,
    ValueRange,
    common_range,
)

MOST_MEASURED = 200
"""Images whose values are counted; of more, evenly spread ones."""

MOST_HEADERS = 20_000
"""Images whose headers are looked at; of more, evenly spread ones."""

_APART = 2.0
"""Times that white is higher in one type of values than in another, from which they mean different things."""

_MOST_LOADED = 200  # the same where images are in no files, and each is loaded for it


@dataclass(frozen=True)
class MeasuredRange:
    """The range of a set, and what it was measured on.

    Attributes:
        limits: Black and white for all its images of more than 8 bits.
        words: The types of their values: `uint16`.
        extremes: Least and largest value that occurs; None: nothing was counted.
        num_measured: Images whose values were counted.
        num_deep: Images of more than 8 bits.
        num_others: Images of 8 bits.
        differ: Whether their files note ranges, but different ones.
        kinds: The range of each of several types of values by itself, where these are far apart.
    """

    limits: ValueRange
    words: tuple[str, ...]
    extremes: tuple[float, float] | None
    num_measured: int
    num_deep: int
    num_others: int
    differ: bool
    kinds: tuple[tuple[str, ValueRange], ...] = ()

    def sentence(self, role: str) -> str:
        """What was measured, what follows from it, and how to declare another range.

        Args:
            role: What the images are for: "training".
        """
        kind = f"{' and '.join(self.words)} pixels"
        few = self.num_measured < self.num_deep
        on = f" in {self.num_measured} of them" if few else ""
        values = "" if self.extremes is None else f", with values from {_pair(self.extremes)}{on}"
        why = "whose files note different ranges" if self.differ else "whose range nothing states"
        others = f" (the other {self.num_others:,} have 8 bits and stay as they are)"
        ranges = " and ".join(f"{words} of {limits.words()}" for words, limits in self.kinds)
        apart = f" They are far apart, {ranges}: save them alike." if ranges else ""
        return (
            f"{self.num_deep:,} {role} image{'' if self.num_deep == 1 else 's'} "
            f"{'has' if self.num_deep == 1 else 'have'} {kind} {why}{values}: {self.limits.words()} is black to white "
            f"in all of them{others if self.num_others else ''}. To choose it yourself: "
            f"data.value_range=[{self.limits.low:.10g},{self.limits.high:.10g}].{apart}"
        )


def measured_range(
    dataset: SegmentationDataset,
    num_workers: int = 0,
    on_start: Callable[[int], object] = lambda count: None,
    on_image: Callable[[], object] = lambda: None,
) -> MeasuredRange | None:
    """The one range of a set, measured on its images; None where there is nothing to measure.

    That is where the set has a range already, where no image has more than 8 bits, and where each file gives the depth
    of its values, or all note the same range. Images that cannot be read are left out.

    Args:
        dataset: The split that is trained on.
        num_workers: Processes that read images; 0: this one. Few are read by this one anyway.
        on_start: Called with the number of images to read, where any has to be.
        on_image: Called once per image.
    """
    if dataset.value_range is not None:
        return None
    looked_at, deep = deep_images(dataset)
    if not deep:
        return None
    chosen = spread(deep, MOST_MEASURED)
    on_start(len(chosen))
    workers = num_workers if len(chosen) > CHUNK * max(1, num_workers) else 0
    found: list[PictureValues] = []
    histograms: defaultdict[str, Histogram] = defaultdict(Histogram)
    for values in map_in_order(_Examiner(dataset), chosen, workers):
        on_image()
        if values is not None:
            if values.origin == "own" and values.histogram is not None:
                histograms[values.words].merge(values.histogram)
            found.append(values._replace(histogram=None))
    own = [values for values in found if values.origin == "own"]
    noted = {values.limits for values in found if values.origin == "noted"}
    stated = {values.limits for values in found if values.origin != "own"}
    if not found or (not own and (not noted or len(stated) == 1)):
        return None
    histogram = Histogram()
    for each in histograms.values():
        histogram.merge(each)
    kinds = {words: readable_range(each.limits()) for words, each in histograms.items()}
    limits = common_range([*stated, *kinds.values()])
    assert limits is not None
    whites = [each.high for each in kinds.values()]
    apart = len(kinds) > 1 and max(whites) > _APART * min(whites)
    share = len(dataset) / looked_at
    num_deep = round(len(deep) * share)
    return MeasuredRange(
        ValueRange.valid(*limits),
        tuple(sorted({values.words for values in own or found})),
        histogram.extremes(),
        len(own),
        num_deep,
        len(dataset) - num_deep,
        differ=not own,
        kinds=tuple(sorted(kinds.items())) if apart else (),
    )


def deep_images(dataset: SegmentationDataset) -> tuple[int, list[int]]:
    """How many headers were looked at, and the images among these that declare more than 8 bits."""
    most = _MOST_LOADED if dataset.in_memory else MOST_HEADERS
    indices = spread(range(len(dataset)), most)
    return len(indices), [index for index in indices if may_be_deep(dataset.image_source(index))]


class _Examiner:
    """The values of one image; picklable."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self._dataset = dataset

    def __call__(self, index: int) -> PictureValues | None:
        try:
            source = self._dataset.image_source(index)
            return decode(source, declared=Unstated.OWN_VALUES).values
        except (DataError, OSError):  # training will tell when it comes to it
            return None


def spread(indices: Sequence[int], at_most: int) -> list[int]:
    """Evenly spread ones of some indices, or all."""
    if len(indices) <= at_most:
        return list(indices)
    places = np.linspace(0, len(indices) - 1, at_most).round().astype(int)
    return [indices[place] for place in places]


def readable_range(limits: ValueRange) -> ValueRange:
    """The range itself where it is of whole numbers, else the next larger one of three digits."""
    low, high = map(float, limits)
    if low.is_integer() and high.is_integer():
        return ValueRange(low, high)
    unit = 10.0 ** (math.floor(math.log10(max(abs(low), abs(high)))) - 2)
    # in numbers that are written as short as they are
    return ValueRange(
        float(f"{math.floor(low / unit) * unit:.6g}"), float(f"{math.ceil(high / unit) * unit:.6g}")
    )


def _pair(extremes: tuple[float, float]) -> str:
    return ValueRange(*extremes).words()
