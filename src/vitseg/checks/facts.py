"""What the check looks at in one sample: an image and its mask, each decoded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer

from vitseg.checks.fingerprint import hash_array
from vitseg.checks.image_facts import ImageFacts, examine_image
from vitseg.checks.mask_turns import ON_ITS_SIDE, MaskTurn, measure_turn
from vitseg.checks.objects import find_objects
from vitseg.checks.smear import Smear, measure_smear
from vitseg.classes import IGNORE_INDEX
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.formats.binary import BinaryMasks
from vitseg.data.formats.binary_files import between_share
from vitseg.errors import DataError
from vitseg.images.decode import Header, decode_color_mask, read_header
from vitseg.images.orientation import on_its_side, upright_size
from vitseg.images.palette import read_palette
from vitseg.types import Size

UNKNOWN = IGNORE_INDEX - 1
"""Label of a raw id that the table lacks."""

TINY_SHARE = 0.0005
"""Share of its image below which an object is tiny: 131 pixels of 512 x 512."""

LOSSY_FORMATS = ("JPEG", "WEBP")
COLOR_MODES = ("RGB", "RGBA")

_NUMBERS = ("L", "I", "I;16")  # Pillow's modes of one channel of more than one bit

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


class Between(NamedTuple):
    """A binary mask, and the share of its pixels that are neither of its two ends."""

    file: str
    share: float


class Inside(NamedTuple):
    """A binary mask of one channel, and the one value beside 0 that it has."""

    file: str
    value: int


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
        places: The places of the sample: all splits that have this image with this mask.
        faults: What is wrong with its files.
        image: Facts of the image by itself.
        ids: Raw ids of the mask.
        class_pixels: Class index -> number of pixels.
        objects: Class index -> (number of objects, number of tiny ones among them).
        smear: How smeared the borders in the mask are.
        between: Of binary masks, the one that is farthest from binary.
        insides: Of binary masks, those in which what is inside is 1 or 255.
        colors: Raw id -> the colour, 0xRRGGBB, that the palette of the mask shows it in; None: it is grey, without one.
        turn: How the mask lies on an image with an orientation tag; None: there is no tag, or nothing to tell by.
        mask_hash: Hash of the mask's raw ids; 0 if it is unreadable.
        image_first: Whether this is the first sample of its image, which then counts as looked at.
    """

    places: tuple[Place, ...]
    faults: list[Fault] = field(default_factory=list)
    image: ImageFacts | None = None
    ids: IdCounts | None = None
    class_pixels: dict[int, int] = field(default_factory=dict)
    objects: dict[int, tuple[int, int]] = field(default_factory=dict)
    smear: Smear | None = None
    between: Between | None = None
    insides: tuple[Inside, ...] = ()
    colors: Mapping[int, int] | None = field(default_factory=dict)
    turn: MaskTurn | None = None
    mask_hash: int = 0
    image_first: bool = True

    @property
    def place(self) -> Place:
        """The first of its places."""
        return self.places[0]

    @property
    def size(self) -> Size | None:
        """(height, width) of the image."""
        return None if self.image is None else self.image.size


class Examiner:
    """Collects the facts of samples; picklable, so that worker processes can have one.

    Args:
        datasets: The splits.
        quick: Whether to leave out what takes long: the pixels of images, objects and fingerprints.
    """

    def __init__(self, datasets: Sequence[SegmentationDataset], quick: bool = False) -> None:
        self._datasets = tuple(datasets)
        self._quick = quick

    def __call__(self, places: tuple[Place, ...], turns: bool = True) -> list[SampleFacts]:
        """All facts of one image file, one for each mask that it has; every file is read once.

        An image with an orientation tag is decoded a second time, small, for how its masks lie on it.

        Args:
            places: Where the image is: one place, or several that all have the same file.
            turns: Whether to look at that.
        """
        found: dict[object, SampleFacts] = {}
        for place in places:
            # without files, nobody knows whether two masks are the same
            masks = self._datasets[place.split].mask_files(place.index) or place
            if masks in found:
                found[masks].places += (place,)
            else:
                found[masks] = SampleFacts((place,), image_first=not found)
        first, *others = found.values()
        dataset, index = self._datasets[first.place.split], first.place.index
        try:
            source = dataset.image_source(index)
            first.image = examine_image(source, self._quick, dataset.bands)
        except (DataError, OSError) as error:
            self._fault(first, "unreadable-image", dataset.image_name(index), str(error))
        for facts in (first, *others):
            facts.image = first.image
            self._read_mask(self._datasets[facts.place.split], facts.place.index, facts, turns)
        return [first, *others]

    def headers(self, place: Place) -> SampleFacts:
        """The facts that the headers of the two files give."""
        dataset, facts = self._datasets[place.split], SampleFacts((place,))
        try:
            facts.image = examine_image(dataset.image_source(place.index), quick=True)
        except DataError as error:
            self._fault(facts, "unreadable-image", dataset.image_name(place.index), str(error))
        header = self._mask_header(dataset, place.index, facts)
        if header is not None and facts.size is not None:
            turn = dataset.mask_turn(place.index)
            self._compare_sizes(dataset, place.index, facts, upright_size(header.size, turn))
        return facts

    def _read_mask(
        self, dataset: SegmentationDataset, index: int, facts: SampleFacts, turns: bool
    ) -> None:
        one_file = dataset.mask_picture(index) is not None
        header = self._mask_header(dataset, index, facts) if one_file else None
        if one_file and header is None:
            return
        try:
            raw_ids = self._raw_ids(dataset, index, facts)
        except (DataError, OSError) as error:
            # other masks need the image's size: where it is missing, the image's fault is noted already
            if one_file or facts.size is not None:
                self._fault(facts, "unreadable-mask", dataset.mask_name(index), str(error))
            return
        if facts.size is not None and raw_ids.shape != facts.size:
            self._compare_sizes(dataset, index, facts, (raw_ids.shape[0], raw_ids.shape[1]))
        elif turns and facts.image is not None:
            own_tag = dataset.masks.own_turn(index) if header is None else header.orientation
            facts.turn = measure_turn(dataset, index, raw_ids, facts.image.orientation, own_tag)
        label_map = self._count_ids(dataset, raw_ids, facts)
        if header is not None and facts.ids is not None and not dataset.labels.colors:
            facts.colors = _shown_colors(header, dataset.mask_picture(index), facts.ids)
        facts.smear = measure_smear(raw_ids, dataset.labels.colors)
        if not self._quick:
            facts.mask_hash = hash_array(raw_ids)
            found = find_objects(label_map)
            tiny = found.areas < TINY_SHARE * label_map.size
            for label in np.unique(found.labels).tolist():
                of_class = found.labels == label
                facts.objects[label] = (int(of_class.sum()), int((of_class & tiny).sum()))
        if (label_map == IGNORE_INDEX).all():
            self._fault(facts, "all-ignored", dataset.mask_name(index), "")

    def _raw_ids(
        self, dataset: SegmentationDataset, index: int, facts: SampleFacts
    ) -> Integer[np.ndarray, "H W"]:
        """The raw ids; of binary masks, also how far they are from binary."""
        if not isinstance(dataset.masks, BinaryMasks):
            return dataset.raw_ids(index)
        soft: list[Between] = []
        insides: list[Inside] = []
        masks = dataset.masks

        def seen(path: Path, values: Integer[np.ndarray, "H W"]) -> None:
            soft.append(Between(str(path), between_share(values)))
            value = int(values.max())
            if (
                value in (1, 255)
                and read_header(path).mode in _NUMBERS
                and ((values == 0) | (values == value)).all()
            ):
                insides.append(Inside(str(path), value))

        def read(size: Callable[[], Size]) -> Integer[np.ndarray, "H W"]:
            return masks.read(index, size, seen)

        raw_ids = dataset.placed(index, read)
        facts.between = max(soft, key=lambda between: between.share, default=None)
        facts.insides = tuple(insides)
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
            tag = 1 if facts.image is None else facts.image.orientation
            turned = on_its_side(tag) and size == facts.size[::-1]
            code = ON_ITS_SIDE if turned else "size-mismatch"
            self._fault(facts, code, dataset.mask_name(index), detail)

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


def _shown_colors(header: Header, mask: Path | None, ids: IdCounts) -> dict[int, int] | None:
    """The colour of each id of an index mask with a palette; None: it is grey. Of other masks nothing."""
    if header.mode in _NUMBERS:
        return None
    colors = read_palette(mask) if header.mode == "P" and mask is not None else None
    return {raw: colors[raw] for raw in ids.ids.tolist() if raw < len(colors)} if colors else {}
