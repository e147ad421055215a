"""The facts of all samples added up. Of each sample only its fingerprint and its size stay in memory."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Int64

from vitseg.checks.band_facts import BandTally
from vitseg.checks.duplicates import Fingerprints
from vitseg.checks.facts import UNKNOWN, Fault, Place, SampleFacts
from vitseg.checks.mask_turns import FAULTY, TurnTally
from vitseg.checks.palettes import PaletteTally
from vitseg.checks.pixel_facts import PixelTally
from vitseg.checks.sharing import Sharing
from vitseg.checks.smear import SMEARED
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import MAX_FILES
from vitseg.data.labels import LabelTable
from vitseg.images.orientation import TURNS_IN_WORDS

MAX_EXAMPLES = 3
"""Samples that are remembered of a fault, for previews."""

NARROWEST = 32
"""Values from the darkest to the brightest of an image below which its range is narrow."""

SOFT = 0.1
"""Share of the pixels of a binary mask, between its two ends, up to which they are its soft borders."""

_MAX_IDS = 65536  # distinct ids that are remembered of a split


@dataclass
class FaultTally:
    """One kind of fault: how many files have it, and the first of them."""

    count: int = 0
    files: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)

    def add(self, place: Place, fault: Fault) -> None:
        """Count one file."""
        self.count += 1
        if len(self.files) < MAX_FILES:
            self.files.append(fault.file)
            self.details.append(fault.detail)
        if len(self.places) < MAX_EXAMPLES:
            self.places.append(place)


class SplitTally:
    """Counts of one split, by class index or by raw id."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.dataset = dataset
        count = dataset.classes.num_classes
        self.num_masks = 0
        self.pixels = np.zeros(count, np.int64)
        self.images = np.zeros(count, np.int64)
        self.objects = np.zeros(count, np.int64)
        self.tiny = np.zeros(count, np.int64)
        self.id_pixels: Counter[int] = Counter()
        self.id_images: Counter[int] = Counter()
        self._sides = array("I")

    def add(self, facts: SampleFacts, count_size: bool = True) -> None:
        """Count one sample, whose image may be counted already with another mask."""
        if facts.size is not None and count_size:
            self._sides.extend(facts.size)
        if facts.ids is None:
            return
        self.num_masks += 1
        for raw, pixels in zip(facts.ids.ids.tolist(), facts.ids.pixels.tolist(), strict=True):
            if raw in self.id_pixels or len(self.id_pixels) < _MAX_IDS:
                self.id_pixels[raw] += pixels
                self.id_images[raw] += 1
        for label, pixels in facts.class_pixels.items():
            self.pixels[label] += pixels
            self.images[label] += 1
        for label, (objects, tiny) in facts.objects.items():
            self.objects[label] += objects
            self.tiny[label] += tiny

    @property
    def unknown_ids(self) -> dict[int, int]:
        """Raw ids outside the table -> pixels."""
        mapping = self.dataset.labels.mapping
        return {raw: pixels for raw, pixels in self.id_pixels.items() if raw not in mapping}

    def sizes(self) -> Int64[np.ndarray, "n 2"]:
        """(height, width) of each readable image."""
        return np.array(self._sides, np.int64).reshape(-1, 2)


class Tally:
    """Counts of all splits."""

    def __init__(self, datasets: Sequence[SegmentationDataset]) -> None:
        self.splits = tuple(SplitTally(dataset) for dataset in datasets)
        self.whole = SplitTally(datasets[0])  # of all splits; what several share counts once
        self._unread: list[set[int]] = []  # the splits of images that could not be read
        self.num_images = 0
        self.num_images_read = 0
        self.faults: dict[str, FaultTally] = {}
        self.fingerprints = Fingerprints()
        self.smear_values = 0
        self.insides: dict[int, FaultTally] = {}  # of binary masks, by the value that is inside
        self.palettes = PaletteTally(datasets[0].labels)
        self.turns = TurnTally()
        self.storage = PixelTally(len(datasets))
        self.bands = BandTally(datasets[0].bands)

    def add_image(self, samples: Sequence[SampleFacts]) -> None:
        """Count one image file, with every mask that it has."""
        if samples[0].image is None:
            self._unread.append({place.split for facts in samples for place in facts.places})
        elif samples[0].image.bands is not None:
            first = samples[0].place
            name = self.splits[first.split].dataset.image_name(first.index)
            self.bands.add(name, samples[0].image.bands)
        elif samples[0].image.pixels is not None:
            first = samples[0].place
            name = self.splits[first.split].dataset.image_name(first.index)
            splits = {place.split for facts in samples for place in facts.places}
            self.storage.add(name, splits, samples[0].image.pixels)
        for facts in samples:
            self.add(facts)

    def add(self, facts: SampleFacts) -> None:
        """Count one sample."""
        if facts.image_first:
            self.num_images += 1
            self.num_images_read += facts.image is not None
        for place in facts.places:
            self.splits[place.split].add(facts)
        self.whole.add(facts, count_size=facts.image_first)
        split = self.splits[facts.place.split]
        for fault in facts.faults:
            self.fault(facts.place, fault)
        mask = split.dataset.mask_name(facts.place.index)
        if facts.ids is not None and facts.ids.unknown:
            detail = _named_ids(facts, split.dataset)
            self.fault(facts.place, Fault("id-outside-table", mask, detail))
        if facts.smear is not None and facts.smear.share >= SMEARED:
            self.fault(facts.place, Fault("smeared-mask", mask, f"{facts.smear.share:.0%}"))
            self.smear_values = max(self.smear_values, facts.smear.values)
        image = facts.image
        if image is not None and image.fingerprint is not None:
            others = {place.split for place in facts.places[1:]}
            fingerprint = image.fingerprint._replace(mask=facts.mask_hash)
            self.fingerprints.add(*facts.place, fingerprint, others)
        if image is not None and image.values is not None and facts.image_first:
            low, high = image.values
            if high - low < NARROWEST:
                name = split.dataset.image_name(facts.place.index)
                self.fault(facts.place, Fault("narrow-range", name, f"{low} to {high}"))
        if image is not None and facts.image_first:
            self.turns.tags[image.orientation] += 1
        if facts.turn is not None:
            verdict = self.turns.add(facts.turn)
            if verdict in FAULTY:
                words = TURNS_IN_WORDS.get(facts.turn.best, "")
                self.fault(facts.place, Fault(FAULTY[verdict], mask, words))
        if (found := self.palettes.add(mask, facts.colors)) is not None:
            code, detail = found
            self.fault(facts.place, Fault(code, mask, detail))
        for file, value in facts.insides:
            self.insides.setdefault(value, FaultTally()).add(facts.place, Fault("", file, ""))
        if facts.between is not None and facts.between.share > 0:
            file, share = facts.between
            code = "not-binary" if share > SOFT else "soft-border"
            self.fault(facts.place, Fault(code, file, f"{share:.1%}"))

    def fault(self, place: Place, fault: Fault) -> None:
        """Count one fault."""
        self.faults.setdefault(fault.code, FaultTally()).add(place, fault)

    @cached_property
    def sharing(self) -> Sharing:
        """Which splits hold the images of which others, be it as copies; to be asked for when all are counted."""
        sharing = Sharing([split.dataset.split for split in self.splits])
        for splits in [*self.fingerprints.splits_by_content(), *self._unread]:
            sharing.add(splits)
        return sharing

    @property
    def labels(self) -> LabelTable:
        """What raw ids mean; classes are the same in all splits."""
        return self.splits[0].dataset.labels

    @property
    def pixels(self) -> Int64[np.ndarray, " k"]:
        """Pixels of each class in all splits, those of each sample once."""
        return self.whole.pixels

    @property
    def id_pixels(self) -> Counter[int]:
        """Raw id -> pixels in all splits, those of each sample once."""
        return self.whole.id_pixels

    def name(self, number: int) -> str:
        """The image behind a fingerprint, for messages."""
        fingerprints = self.fingerprints
        dataset = self.splits[fingerprints.splits[number]].dataset
        return dataset.image_name(fingerprints.indices[number])


def _named_ids(facts: SampleFacts, dataset: SegmentationDataset) -> str:
    """The ids of a mask that the table lacks, as `150 (2 pixels), 151 (1 pixel)`."""
    assert facts.ids is not None
    table, named = dataset.labels, []
    for raw, pixels in zip(facts.ids.ids.tolist(), facts.ids.pixels.tolist(), strict=True):
        if table.mapping.get(raw, UNKNOWN) == UNKNOWN:
            named.append(f"{table.raw_text(raw)} ({pixels} pixel{'s' if pixels > 1 else ''})")
    return ", ".join(named[:3]) + (", ..." if len(named) > 3 else "")
