"""What the check looks at in one sample: an image and its mask, each decoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer

from vitseg.checks.fingerprint import Fingerprint, hash_array, hash_source, perceptual_hash
from vitseg.checks.objects import find_objects
from vitseg.checks.smear import Smear, measure_smear
from vitseg.classes import IGNORE_INDEX
from vitseg.data.dataset import SegmentationDataset
from vitseg.errors import DataError
from vitseg.images.decode import (
    Header,
    decode_color_mask,
    image_size,
    read_header,
    read_image,
)
from vitseg.types import Size

UNKNOWN = IGNORE_INDEX - 1
"""Label of a raw id that the table lacks."""

TINY_SHARE = 0.0005
"""Share of its image below which an object is tiny: 131 pixels of 512 x 512."""

LOSSY_FORMATS = ("JPEG", "WEBP")
COLOR_MODES = ("RGB", "RGBA")

_HASH_SIZE = (64, 64)
_MAX_UNKNOWN = (
    256  # distinct ids that are remembered of one mask; a smeared colour mask has thousands
)


class Place(NamedTuple):
    """The place of a sample: number of its split, and index in that split."""

    split: int
    index: int


class Fault(NamedTuple):
    """One thing that is wrong with one file; `detail` is what the message may quote."""

    code: str
    file: str
    detail: str


class IdCounts(NamedTuple):
    """The raw ids of one mask.

    Attributes:
        ids: The distinct ids, ascending. Of those outside the table, only the commonest are kept.
        pixels: Number of pixels of each of these ids.
        unknown: Number of pixels with an id outside the table, whether that id is kept or not.
    """

    ids: Int64[np.ndarray, " n"]
    pixels: Int64[np.ndarray, " n"]
    unknown: int


@dataclass
class SampleFacts:
    """Facts of one sample; what could not be read is None.

    Attributes:
        place: The place of the sample.
        faults: What is wrong with its files.
        size: (height, width) of the image.
        ids: Raw ids of the mask.
        class_pixels: Class index -> number of pixels.
        objects: Class index -> (number of objects, number of tiny ones among them).
        smear: How smeared the borders in the mask are.
        fingerprint: Fingerprint of the image and its mask.
    """

    place: Place
    faults: list[Fault] = field(default_factory=list)
    size: Size | None = None
    ids: IdCounts | None = None
    class_pixels: dict[int, int] = field(default_factory=dict)
    objects: dict[int, tuple[int, int]] = field(default_factory=dict)
    smear: Smear | None = None
    fingerprint: Fingerprint | None = None


class Examiner:
    """Collects the facts of samples; picklable, so that worker processes can have one.

    Args:
        datasets: The splits.
        quick: Whether to leave out what takes long: the pixels of images, objects and fingerprints.
    """

    def __init__(self, datasets: Sequence[SegmentationDataset], quick: bool = False) -> None:
        self._datasets = tuple(datasets)
        self._quick = quick

    def __call__(self, place: Place) -> SampleFacts:
        """All facts of a sample."""
        dataset, facts = self._datasets[place.split], SampleFacts(place)
        self._read_image(dataset, place.index, facts)
        raw_ids = self._read_mask(dataset, place.index, facts)
        if raw_ids is not None and not self._quick and facts.fingerprint is not None:
            facts.fingerprint = facts.fingerprint._replace(mask=hash_array(raw_ids))
        return facts

    def headers(self, place: Place) -> SampleFacts:
        """The facts that the headers of the two files give."""
        dataset, facts = self._datasets[place.split], SampleFacts(place)
        try:
            facts.size = image_size(dataset.image_source(place.index))
        except DataError as error:
            self._fault(facts, "unreadable-image", dataset.image_name(place.index), str(error))
        header = self._mask_header(dataset, place.index, facts)
        if header is not None and facts.size is not None:
            self._compare_sizes(dataset, place.index, facts, header.size)
        return facts

    def _read_image(self, dataset: SegmentationDataset, index: int, facts: SampleFacts) -> None:
        source = dataset.image_source(index)
        try:
            if self._quick:
                facts.size = image_size(source)
                return
            image, facts.size = read_image(source, _HASH_SIZE)
            value, thumbnail = perceptual_hash(image)
            facts.fingerprint = Fingerprint(hash_source(source), 0, value, thumbnail)
        except (DataError, OSError) as error:
            self._fault(facts, "unreadable-image", dataset.image_name(index), str(error))

    def _read_mask(
        self, dataset: SegmentationDataset, index: int, facts: SampleFacts
    ) -> Integer[np.ndarray, "H W"] | None:
        one_file = dataset.mask_picture(index) is not None
        if one_file and self._mask_header(dataset, index, facts) is None:
            return None
        try:
            raw_ids = dataset.raw_ids(index)
        except (DataError, OSError) as error:
            # other masks need the image's size: where it is missing, the image's fault is noted already
            if one_file or facts.size is not None:
                self._fault(facts, "unreadable-mask", dataset.mask_name(index), str(error))
            return None
        if facts.size is not None and raw_ids.shape != facts.size:
            self._compare_sizes(dataset, index, facts, (raw_ids.shape[0], raw_ids.shape[1]))
        label_map = self._count_ids(dataset, raw_ids, facts)
        facts.smear = measure_smear(raw_ids, dataset.labels.colors)
        if not self._quick:
            found = find_objects(label_map)
            tiny = found.areas < TINY_SHARE * label_map.size
            for label in np.unique(found.labels).tolist():
                of_class = found.labels == label
                facts.objects[label] = (int(of_class.sum()), int((of_class & tiny).sum()))
        if (label_map == IGNORE_INDEX).all():
            self._fault(facts, "all-ignored", dataset.mask_name(index), "")
        return raw_ids

    def _mask_header(
        self, dataset: SegmentationDataset, index: int, facts: SampleFacts
    ) -> Header | None:
        """The header of a mask that is one picture; None if it is not one picture, or if the header shows a fault."""
        path = dataset.mask_picture(index)
        if path is None:
            return None
        try:
            header = read_header(path)
        except DataError as error:
            self._fault(facts, "unreadable-mask", str(path), str(error))
            return None
        if header.format in LOSSY_FORMATS:
            self._fault(facts, "lossy-mask", str(path), header.format)
            return None
        if header.mode in COLOR_MODES and not dataset.labels.colors:
            code = "rgb-mask-grey" if _is_grey(path) else "rgb-mask-colors"
            self._fault(facts, code, str(path), header.mode)
            return None
        return header

    def _compare_sizes(
        self, dataset: SegmentationDataset, index: int, facts: SampleFacts, size: Size
    ) -> None:
        assert facts.size is not None
        if size != facts.size:
            (height, width), (image_height, image_width) = size, facts.size
            detail = f"{width}x{height} pixels, but its image {image_width}x{image_height}"
            self._fault(facts, "size-mismatch", dataset.mask_name(index), detail)

    def _count_ids(
        self,
        dataset: SegmentationDataset,
        raw_ids: Integer[np.ndarray, "H W"],
        facts: SampleFacts,
    ) -> Integer[np.ndarray, "H W"]:
        """The label map, with `UNKNOWN` where the table has no entry."""
        mapping = dataset.labels.mapping
        ids, pixels, where = count_values(raw_ids)
        labels = np.array([mapping.get(raw, UNKNOWN) for raw in ids.tolist()], np.int32)
        for label, count in zip(labels.tolist(), pixels.tolist(), strict=True):
            if label >= 0:
                facts.class_pixels[label] = facts.class_pixels.get(label, 0) + count
        unknown = labels == UNKNOWN
        kept = ~unknown | commonest(pixels, unknown)
        facts.ids = IdCounts(ids[kept], pixels[kept], int(pixels[unknown].sum()))
        return labels[where]

    def _fault(self, facts: SampleFacts, code: str, file: str, detail: str) -> None:
        facts.faults.append(Fault(code, file, detail))


def count_values(
    raw_ids: Integer[np.ndarray, "H W"],
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"], Integer[np.ndarray, "H W"]]:
    """The distinct values, ascending, their pixels, and for each pixel the position of its value."""
    if raw_ids.dtype in (np.uint8, np.uint16):
        counts = np.bincount(raw_ids.ravel())
        values = np.flatnonzero(counts)
        position = np.zeros(len(counts), np.int32)
        position[values] = np.arange(len(values))
        return values, counts[values], position[raw_ids]
    values, where, counts = np.unique(raw_ids, return_inverse=True, return_counts=True)
    return values.astype(np.int64), counts, where.reshape(raw_ids.shape)


def commonest(
    pixels: Int64[np.ndarray, " n"], among: Bool[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Marks, of the values that `among` marks, the `_MAX_UNKNOWN` with the most pixels."""
    chosen = np.zeros(len(pixels), bool)
    order = np.argsort(-np.where(among, pixels, -1), kind="stable")[:_MAX_UNKNOWN]
    chosen[order] = among[order]
    return chosen


def _is_grey(path: Path) -> bool:
    """Whether red, green and blue are equal in every pixel."""
    try:
        colors = decode_color_mask(path)
    except DataError:
        return False
    return bool((colors == (colors & 255) * 0x010101).all())
