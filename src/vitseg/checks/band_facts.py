"""What the check knows of the chosen bands of images, and what it finds in them: ranges, constant and missing bands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from vitseg.checks.pixel_facts import Group
from vitseg.data.band_survey import image_values
from vitseg.data.finding import Finding
from vitseg.images.band_reader import picture_bands
from vitseg.images.bands import Band, Bands
from vitseg.images.sources import Source
from vitseg.images.value_range import ValueRange


class BandFact(NamedTuple):
    """One chosen band of an image.

    Attributes:
        words: The type of its values: `uint16`.
        low: The least one; of a band without data infinity.
        high: The largest one.
    """

    words: str
    low: float
    high: float


class BandsOfImage(NamedTuple):
    """The bands of an image.

    Attributes:
        num_bands: That the picture has, with its extra images.
        chosen: Those that are read, in the order of the choice.
    """

    num_bands: int
    chosen: tuple[BandFact, ...]


def bands_of_image(source: Source, bands: Bands) -> BandsOfImage:
    """The facts of an image.

    Raises:
        DataError: It cannot be read, or lacks a band.
    """
    facts = []
    for words, histogram in image_values(source, bands):
        low, high = histogram.extremes() or (float("inf"), float("-inf"))
        facts.append(BandFact(words, low, high))
    return BandsOfImage(len(picture_bands(source, bands).names), tuple(facts))


@dataclass
class BandGroup:
    """A chosen band in all images."""

    words: set[str] = field(default_factory=set)
    low: float = float("inf")
    high: float = float("-inf")
    constant: Group = field(default_factory=Group)


class BandTally:
    """The facts of all images added up.

    Attributes:
        bands: The choice; None: there is none.
        groups: By its place in the choice.
        counts: Images by the number of their bands.
        num_images: Images whose bands were read.
    """

    def __init__(self, bands: Bands | None) -> None:
        self.bands = bands
        self.groups = [BandGroup() for _ in (bands.chosen if bands else ())]
        self.counts: dict[int, Group] = {}
        self.num_images = 0

    def add(self, name: str, facts: BandsOfImage) -> None:
        """Count one image; `name` is what findings call it."""
        self.num_images += 1
        self.counts.setdefault(facts.num_bands, Group()).add(name)
        for group, band in zip(self.groups, facts.chosen, strict=True):
            group.words.add(band.words)
            group.low, group.high = min(group.low, band.low), max(group.high, band.high)
            if band.low >= band.high:
                group.constant.add(name)

    def findings(self) -> Iterator[Finding]:
        """What is notable about the chosen bands."""
        if self.bands is None or not self.num_images:
            return
        if len(self.counts) > 1:
            yield _mixed(self.counts)
        for band, group in zip(self.bands.chosen, self.groups, strict=True):
            constant = group.constant
            if constant.count:
                some = f"{constant.count:,} of {self.num_images:,}"
                of = "all" if constant.count == self.num_images else some
                yield Finding(
                    "constant-band",
                    "warning",
                    f"Band {band.words} has one value everywhere, or none, in {of} images.",
                    "It says nothing there: leave it out of the choice, or export these images again.",
                    tuple(constant.files),
                    constant.count,
                )
        yield Finding(
            "band-values",
            "info",
            f"The model sees {'; '.join(map(_values, self.bands.chosen, self.groups))}.",
            "Bands of more than 8 bits are read by their ranges, which training measures; data.bands in the recipe "
            "states others.",
            (),
            self.num_images,
        )


def _mixed(counts: dict[int, Group]) -> Finding:
    rare = min(counts.values(), key=lambda group: group.count)
    listed = " and ".join(
        f"{group.count:,} of {number} band{'' if number == 1 else 's'}"
        for number, group in sorted(counts.items())
    )
    return Finding(
        "mixed-bands",
        "warning",
        f"Images have different numbers of bands: {listed}.",
        "Bands are found by their numbers, or names where files give them: make sure that one number is the same band "
        "in all images.",
        tuple(rare.files),
        rare.count,
    )


def _values(band: Band, group: BandGroup) -> str:
    if group.low > group.high:
        return f"band {band.words} (no values)"
    words = " and ".join(sorted(group.words))
    return f"band {band.words}: {words} values from {ValueRange(group.low, group.high).words()}"
