"""A sample as it goes into a shard: its files as they are, a mask that is no file as a picture of ids."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from PIL import Image

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.labels import MAX_ID
from vitseg.data.mask_pose import MaskPose
from vitseg.data.shards.rows import IMAGE, MASK, extra_column
from vitseg.errors import DataError
from vitseg.images.decode import decode_color_mask, decode_mask, read_header
from vitseg.types import Size

_SUFFIXES = {
    "JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif", "GIF": ".gif", "PPM": ".ppm",
    "AVIF": ".avif", "HEIF": ".heic", "JPEG2000": ".jp2", "NPY": ".npy",
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One file of a sample.

    Attributes:
        content: Its bytes.
        suffix: Its suffix, by its content.
    """

    content: bytes
    suffix: str


@dataclass(frozen=True)
class EncodedSample:
    """A sample, ready to be written.

    Attributes:
        id: Its id.
        parts: Column -> content.
        size: (height, width) of the upright image, in pixels.
    """

    id: str
    parts: Mapping[str, Part]
    size: Size

    @property
    def num_bytes(self) -> int:
        return sum(len(part.content) for part in self.parts.values())


class Encoder:
    """Encodes the samples of a split. Masks that are pictures are copied, and seen to be read as before.

    Args:
        dataset: The split.
    """

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.dataset = dataset

    @property
    def pose(self) -> MaskPose:
        """How the masks will lie: copied ones as they do, those that are drawn here on the upright images."""
        return self.dataset.mask_pose if self.dataset.masks.are_pictures else "upright"

    def __call__(self, index: int) -> EncodedSample:
        """One sample.

        Raises:
            DataError: A file is missing or damaged, image and mask differ in size, or the mask has an id without class.
        """
        dataset = self.dataset
        source = dataset.image_source(index)
        try:
            header = read_header(source)
            image = Part(_content(source), _SUFFIXES[header.format])
        except (DataError, OSError) as error:
            name = dataset.image_name(index)
            raise DataError(str(error) if name in str(error) else f"{name}: {error}") from error
        raw_ids = dataset.raw_ids(index)
        dataset.require_labels(index, raw_ids, header.size)
        parts = {IMAGE: image, MASK: self._mask(index, raw_ids)}
        folders = () if dataset.bands is None else dataset.bands.extra_images
        for folder, extra in zip(folders, dataset.extra_files(index), strict=False):
            parts[extra_column(folder)] = Part(
                _content(extra), _SUFFIXES[read_header(extra).format]
            )
        return EncodedSample(dataset.ids[index], parts, header.size)

    def _mask(self, index: int, raw_ids: Integer[np.ndarray, "H W"]) -> Part:
        path = self.dataset.mask_picture(index)
        colors = self.dataset.labels.colors
        if path is None:
            return Part(_drawn(raw_ids, colors), ".png")
        part = Part(_content(path), _SUFFIXES[read_header(path).format])
        again = decode_color_mask(part.content) if colors else decode_mask(part.content)
        same = self.dataset.placed(index, lambda size: again)
        assert np.array_equal(same, raw_ids), f"{path} is read in another way than by its pixels"
        return part


def _content(source: Path | bytes) -> bytes:
    return bytes(source) if isinstance(source, bytes) else source.read_bytes()


def _drawn(raw_ids: Integer[np.ndarray, "H W"], colors: bool) -> bytes:
    """A PNG of ids of 8 or 16 bits, or of colours."""
    if colors:
        channels = [raw_ids >> 16, raw_ids >> 8 & 255, raw_ids & 255]
        picture = Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))
    else:
        assert raw_ids.min() >= 0 and raw_ids.max() <= MAX_ID, "the label table has seen them"
        wide = raw_ids.max() > 255
        picture = Image.fromarray(raw_ids.astype(np.uint16 if wide else np.uint8))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
