"""One split of a data set: images, the raw ids of their masks, and the table that says what these mean."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, SupportsIndex

import numpy as np
from jaxtyping import Int64, Integer

from vitseg.classes import ClassTable
from vitseg.data.finding import Finding
from vitseg.data.labels import IdLookup, LabelTable
from vitseg.data.mask_pose import EXCHANGED, MaskPose, drawn_size
from vitseg.data.sample import Sample
from vitseg.data.stored import StoredImages
from vitseg.errors import DataError
from vitseg.images.band_reader import extra_files, file_bands
from vitseg.images.bands import Bands
from vitseg.images.decode import IMAGE_SUFFIXES, read_header
from vitseg.images.decoded import Decoded
from vitseg.images.orientation import upright
from vitseg.images.reader import decode
from vitseg.images.value_range import ValueRange
from vitseg.types import Size

_AS_STORED = "; masks as the images are stored, turned by their orientation tags"


class Masks(Protocol):
    """The raw ids of the images of one split, whatever file format they come from.

    Attributes:
        are_pictures: Whether each mask is one picture whose pixels are the raw ids.
    """

    are_pictures: bool

    def read(self, index: int, size: Callable[[], Size]) -> Integer[np.ndarray, "H W"]:
        """Raw ids of image `index`; for a colour table, 0xRRGGBB.

        Args:
            index: Position in the split, from 0.
            size: Reads the (height, width) of the image, for formats that do not store it.

        Raises:
            DataError: A file is missing or damaged.
        """
        ...

    def files(self, index: int) -> tuple[Path, ...]:
        """The files that hold the raw ids of image `index`; empty if no file does."""
        ...

    def own_turn(self, index: int) -> int:
        """The orientation tag of the pictures that the mask of image `index` is made of; 1: none, or no pictures.

        By this, `read` has turned them.

        Raises:
            DataError: A file is missing or damaged.
        """
        ...


@dataclass(frozen=True, eq=False, repr=False)  # too large to compare or to print
class SegmentationDataset:
    """One split of a data set: a sequence of samples, each decoded when it is asked for.

    As in any sequence, -1 is the last sample, and an index beyond the end is an IndexError. There are no slices, which
    would decode many images at once.

    Attributes:
        name: Name of the data set, as in `NAME:ROOT`.
        split: Name of the split.
        labels: The table that says which raw id is which class.
        ids: Names of the samples, without suffix.
        images: Image files, or their content, in the order of `ids`.
        masks: The raw ids, in the order of `ids`.
        source: Which format was found where, in words for people.
        findings: What is wrong with the listing: files without partner, broken annotations, ...
        value_range: Black and white of images of more than 8 bits; None: as each file states, else by its own values.
        mask_pose: How masks lie where an image has an orientation tag, see `mask_pose`.
        bands: The bands of the images that are read; None: red, green and blue.
    """

    name: str
    split: str
    labels: LabelTable
    ids: Sequence[str]
    images: Sequence[Path | bytes]
    masks: Masks
    source: str
    findings: tuple[Finding, ...] = ()
    value_range: ValueRange | None = None
    mask_pose: MaskPose = "upright"
    bands: Bands | None = None

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.images), f"{len(self.ids)} ids, {len(self.images)} images"

    @property
    def classes(self) -> ClassTable:
        return self.labels.classes

    def with_value_range(self, value_range: ValueRange | None) -> SegmentationDataset:
        """The data set whose images of more than 8 bits are read with this range; itself where it has it."""
        if value_range == self.value_range:
            return self
        return replace(self, value_range=value_range)

    def with_bands(self, bands: Bands | None) -> SegmentationDataset:
        """The data set of whose images these bands are read; itself where they are."""
        return self if bands == self.bands else replace(self, bands=bands)

    def read_as(self, bands: Bands | None, limits: ValueRange | None) -> SegmentationDataset:
        """The data set, its images read as a model reads them: its bands, and its range where it has one."""
        dataset = self.with_bands(bands)
        return dataset if limits is None else dataset.with_value_range(limits)

    @property
    def reading(self) -> ValueRange | Bands | None:
        """How the readers are to read an image."""
        return self.value_range if self.bands is None else self.bands.read_by(self.value_range)

    def extra_files(self, index: int) -> tuple[Path | bytes, ...]:
        """Further pictures whose bands belong to an image: files, or the content of these.

        Raises:
            DataError: One is missing.
        """
        if self.bands is None or not self.bands.extra_images:
            return ()
        source = self.image_source(index)
        return tuple(extra_files(source, self.bands, file_bands(source)))

    def with_mask_pose(self, pose: MaskPose) -> SegmentationDataset:
        """The data set whose masks lie so, and whose `source` says it; itself where they do."""
        if pose == self.mask_pose:
            return self
        source = self.source.removesuffix(_AS_STORED)
        if pose == "stored":
            source += _AS_STORED
        return replace(self, mask_pose=pose, source=source)

    @property
    def label_mapping(self) -> Mapping[int, int]:
        return self.labels.mapping

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: Any) -> Sample:
        """Decode one sample; errors as for `sample`, and TypeError for what is no index, such as a slice."""
        return self.sample(index)

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(index) for index in range(len(self)))

    def _at(self, index: SupportsIndex | slice) -> int:
        """The position from 0 that an index means.

        Raises:
            IndexError: It is beyond the end.
            TypeError: It is no index.
        """
        if isinstance(index, slice):
            raise TypeError(
                f"a data set is read sample by sample: instead of dataset[{index.start}:{index.stop}], write "
                "[dataset[index] for index in range(start, stop)]."
            )
        try:
            position = operator.index(index)
        except TypeError:
            raise TypeError(
                f"the index of a sample is a whole number, but {index!r} came."
            ) from None
        count = len(self.ids)
        if not -count <= position < count:
            raise IndexError(f"{self.name} {self.split} has {count} samples, but {position} came.")
        return position % count

    def sample(self, index: int, at_least: Callable[[Size], Size] | None = None) -> Sample:
        """Decode one sample.

        Args:
            index: Position in the split; a negative one counts from the end.
            at_least: Takes the (height, width) of the image and gives the smallest size that will do; a large JPEG may
                then be decoded at a half, a quarter or an eighth of its size. None: the whole image.

        Raises:
            DataError: A file is damaged, the two sizes differ, or the mask has an id that `label_mapping` lacks.
            IndexError: There is no such sample.
        """
        index = self._at(index)
        label_map = self.label_map(index)
        wanted = None if at_least is None else at_least((label_map.shape[0], label_map.shape[1]))
        image = self._read_image(index, wanted)
        size = image.size
        if size != label_map.shape:
            raise DataError(self._wrong_size(index, label_map.shape, size))
        return Sample(self.ids[index], image.pixels, label_map, image.notices)

    def _read_image(self, index: int, at_least: Size | None) -> Decoded:
        source = self.images[index]
        try:
            return decode(source, at_least, declared=self.reading)
        except DataError as error:
            name = self.image_name(index)
            if isinstance(source, bytes) and name not in str(error):
                raise DataError(f"{name}: {error}") from error
            raise

    def label_map(self, index: int) -> Int64[np.ndarray, "H W"]:
        """The class index of every pixel, without decoding the image; errors as for `sample`."""
        return self._lookup.label_map(self.raw_ids(index), self.mask_name(index))

    def require_labels(
        self, index: int, raw_ids: Integer[np.ndarray, "H W"], image_size: Size
    ) -> None:
        """See that a mask fits its image and has classes for all of its ids, without decoding the image.

        Args:
            index: Position in the split.
            raw_ids: What `raw_ids` gives.
            image_size: (height, width) of the upright image, in pixels.

        Raises:
            DataError: It does not.
        """
        self._lookup.label_map(raw_ids, self.mask_name(index))
        if raw_ids.shape != image_size:
            raise DataError(self._wrong_size(self._at(index), raw_ids.shape, image_size))

    def raw_ids(self, index: int) -> Integer[np.ndarray, "H W"]:
        """What the mask holds, before the table is applied; placed on the upright image."""
        index = self._at(index)
        return self.placed(index, lambda size: self.masks.read(index, size))

    def placed(
        self, index: int, read: Callable[[Callable[[], Size]], Integer[np.ndarray, "H W"]]
    ) -> Integer[np.ndarray, "H W"]:
        """A mask as it lies on its upright image: here image and mask come together, whatever the mask's format.

        Args:
            index: Position in the split.
            read: Reads the mask, see `Masks.read`.
        """
        index = self._at(index)
        pose: MaskPose = "upright" if (turn := self.mask_turn(index)) == 1 else "stored"
        return upright(read(lambda: drawn_size(self.images[index], pose)), turn)

    def mask_turn(self, index: int) -> int:
        """The orientation, 1 to 8, by which a mask is turned to lie on its image, beyond what `Masks.read` does.

        A mask that has a tag of its own is turned by that alone.
        """
        index = self._at(index)
        if self.mask_pose == "upright":
            return 1
        turn = read_header(self.images[index]).orientation
        return turn if turn == 1 or self.masks.own_turn(index) == 1 else 1

    def _wrong_size(self, index: int, mask: tuple[int, ...], image: Size) -> str:
        """The error about a mask of another size; where the tag explains it, with the cure."""
        text = (
            f"{self.mask_name(index)} is {mask[1]}x{mask[0]} pixels, but its image {self.image_name(index)} is "
            f"{image[1]}x{image[0]}: a mask must have the size of its image."
        )
        turned = mask == image[::-1] and read_header(self.images[index]).orientation != 1
        return f"{text} {EXCHANGED}" if turned else text

    @property
    def in_memory(self) -> bool:
        """Whether its images are the content of files, each of which would be loaded to look at it."""
        if isinstance(self.images, StoredImages):
            return True
        return len(self) > 0 and isinstance(self.images[0], bytes)

    def image_source(self, index: int) -> Path | bytes:
        """The image file, or its content where it is not a file."""
        return self.images[self._at(index)]

    def image_name(self, index: int) -> str:
        """The image for messages."""
        index = self._at(index)
        if isinstance(self.images, StoredImages):
            return self.images.name(index)
        source = self.images[index]
        return self.ids[index] if isinstance(source, bytes) else str(source)

    def mask_files(self, index: int) -> tuple[Path, ...]:
        """The files that hold the mask; several images may share one. Empty if no file does."""
        return self.masks.files(self._at(index))

    def mask_picture(self, index: int) -> Path | None:
        """The file of a mask that is one picture of raw ids; None where masks come in another form."""
        if not self.masks.are_pictures:
            return None
        files = self.mask_files(index)
        return files[0] if len(files) == 1 else None

    def mask_name(self, index: int) -> str:
        """The mask for messages: its file, or the image that it belongs to where one file is not one mask."""
        files = self.mask_files(index)
        if len(files) == 1 and files[0].suffix.lower() in IMAGE_SUFFIXES:
            return str(files[0])
        return f"the mask of {self.image_name(index)}"

    def with_labels(self, labels: LabelTable) -> SegmentationDataset:
        """The same images under another label table."""
        return replace(self, labels=labels)

    def with_findings(self, findings: Sequence[Finding]) -> SegmentationDataset:
        """The same images with further findings."""
        return replace(self, findings=(*self.findings, *findings)) if findings else self

    def with_name(self, name: str, source: str) -> SegmentationDataset:
        """The same images as a data set of another name, and with other words for where it was found."""
        return replace(self, name=name, source=source)

    @cached_property
    def _lookup(self) -> IdLookup:
        return IdLookup(self.labels, self.name)

    def __getstate__(self) -> dict[str, object]:
        """Everything but the look-up table: each loader process builds its own."""
        return {key: value for key, value in self.__dict__.items() if key != "_lookup"}
