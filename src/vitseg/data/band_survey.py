"""Range, mean and standard deviation of every chosen band, measured once over the images that are trained on."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.parallel import CHUNK, map_in_order
from vitseg.data.value_survey import MOST_MEASURED, readable_range, spread
from vitseg.errors import DataError
from vitseg.images.band_reader import open_bands, picture_bands
from vitseg.images.bands import Band, Bands
from vitseg.images.sources import Source
from vitseg.images.value_range import Histogram, ValueRange
from vitseg.images.window import Window

_STRIP_PIXELS = 4_000_000  # read at a time
_LEAST_STD = 1e-3
"""Standard deviation that is taken for a band that hardly changes: a quarter of one of the 256 levels."""


class BandValues(NamedTuple):
    """The values of one band of an image, or of many.

    Attributes:
        words: Their type: `uint16`.
        histogram: All of them.
    """

    words: str
    histogram: Histogram


class MeasuredBands(NamedTuple):
    """What was measured.

    Attributes:
        bands: The choice, with range, mean and standard deviation of each band.
        lines: What was found of each band whose values were counted, in words.
        num_images: Images that were read.
    """

    bands: Bands
    lines: tuple[str, ...]
    num_images: int


def image_values(source: Source, bands: Bands) -> list[BandValues]:
    """The values of every chosen band of an image; pixels without data are left out.

    Raises:
        DataError: The image cannot be read, or lacks a band.
    """
    whole = _with_ranges(bands)  # which are not what is asked for
    with open_bands(source, whole) as image:
        height, width = image.size
        rows = max(1, _STRIP_PIXELS // max(1, width))
        found: list[BandValues] = []
        for top in range(0, height, rows):
            window = Window(top, 0, min(rows, height - top), width)
            valid = image.valid(window)
            planes = image.read_planes(window)
            found = found or [BandValues(str(plane.dtype), Histogram()) for plane in planes]
            for plane, values in zip(planes, found, strict=True):
                values.histogram.add(plane if valid is None else plane[valid])
        return found


def measured_bands(
    dataset: SegmentationDataset,
    known: dict[str, tuple[float, float]],
    num_workers: int = 0,
    on_start: Callable[[int], object] = lambda count: None,
) -> MeasuredBands:
    """What is open about the chosen bands of a set, measured on its images, or on evenly spread ones of many.

    Black and white are found as for pictures of three colours; red, green and blue share one range, so that white
    stays white. Mean and standard deviation are those of the values once they are in their range.

    Args:
        dataset: The split that is trained on, with chosen bands.
        known: Mean and standard deviation of red, green and blue that the pretrained weights want.
        num_workers: Processes that read images; 0: this one.
        on_start: Called with the number of images to read.

    Raises:
        DataError: No image can be read.
    """
    assert dataset.bands is not None
    chosen = spread(range(len(dataset)), MOST_MEASURED)
    on_start(len(chosen))
    workers = num_workers if len(chosen) > CHUNK * max(1, num_workers) else 0
    bands = dataset.bands.read_by(dataset.value_range)
    merged: list[dict[str, Histogram]] = [defaultdict(Histogram) for _ in bands.chosen]
    count, fault = 0, None
    for values in map_in_order(_Examiner(dataset), chosen, workers):
        if isinstance(values, Exception):
            fault = fault or values
            continue
        count += 1
        for of_band, one in zip(merged, values, strict=True):
            of_band[one.words].merge(one.histogram)
    if not count:
        raise DataError(f"no image of {dataset.split} could be read: {fault}")
    colored = [n for n, band in enumerate(bands.chosen) if band.color is not None]
    together: Histogram = Histogram()
    for number in colored:
        for words, histogram in merged[number].items():
            if words != "uint8":
                together.merge(histogram)
    lines: list[str] = []
    filled: list[Band] = []
    for number, (band, of_band) in enumerate(zip(bands.chosen, merged, strict=True)):
        deep = {words: histogram for words, histogram in of_band.items() if words != "uint8"}
        limits = band.limits
        if limits is None and deep:
            whole = together
            if number not in colored:
                whole = Histogram()
                for histogram in deep.values():
                    whole.merge(histogram)
            limits = ValueRange.valid(*readable_range(whole.limits()))
            extremes = whole.extremes() or limits
            if extremes[0] == extremes[1]:
                lines.append(f"band {band.words} is {extremes[0]:g} everywhere: it says nothing")
            kinds = " and ".join(sorted(deep))
            lines.append(
                f"band {band.words}: {kinds} values from {ValueRange(*extremes).words()}, of which {limits.words()} is "
                "black to white"
            )
        mean, std = band.mean, band.std
        if mean is None or std is None:
            own = known.get(band.color or "") or _mean_std(of_band, limits)
            mean, std = (mean if mean is not None else own[0]), (std if std is not None else own[1])
        pair = None if limits is None else (limits.low, limits.high)
        filled.append(band.model_copy(update={"value_range": pair, "mean": mean, "std": std}))
    return MeasuredBands(bands.model_copy(update={"chosen": tuple(filled)}), tuple(lines), count)


def _mean_std(of_band: dict[str, Histogram], limits: ValueRange | None) -> tuple[float, float]:
    """Mean and standard deviation in [0, 1] of a band once its values are in their range."""
    count = total = squares = 0.0
    for words, histogram in of_band.items():
        full = ValueRange(0, 255)
        taken = full if limits is None or (words == "uint8" and limits.high > 255) else limits
        number, one, two = histogram.moments(taken)
        count, total, squares = count + number, total + one, squares + two
    if not count:
        return 0.5, 0.25
    mean = total / count
    std = math.sqrt(max(0.0, squares / count - mean**2))
    return round(mean, 4), max(_LEAST_STD, round(std, 4))


def _with_ranges(bands: Bands) -> Bands:
    """The bands with some range for each, so that none is asked of the file."""
    return bands.read_by(ValueRange(0, 1))


class _Examiner:
    """The values of one image; picklable."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self._dataset = dataset

    def __call__(self, index: int) -> list[BandValues] | Exception:
        assert self._dataset.bands is not None
        try:
            return image_values(self._dataset.image_source(index), self._dataset.bands)
        except (DataError, OSError) as error:  # training will tell when it comes to it
            return error


def needs_measuring(dataset: SegmentationDataset) -> bool:
    """Whether the mean of a chosen band is open, or its range, where its first image has more than 8 bits there."""
    bands = dataset.bands
    assert bands is not None
    if any(band.mean is None or band.std is None for band in bands.chosen):
        return True
    if dataset.value_range is not None or all(band.value_range for band in bands.chosen):
        return False
    types = picture_bands(dataset.image_source(0), bands).types
    return any(
        band.value_range is None and types[(band.number or 1) - 1] != "uint8"
        for band in bands.chosen
    )
