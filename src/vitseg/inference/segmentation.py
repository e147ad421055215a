"""The segmentation of an image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, Integer, UInt8
from PIL import Image

from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.errors import ConfigError
from vitseg.files import is_same_file
from vitseg.images.georeference import Georeference, has_rasterio
from vitseg.types import Size

JPEG_SIDE = 65_500
"""Longest side of a JPEG file that its library writes, in pixels."""

PREVIEW_PIXELS = 40_000_000
"""Pixels of an overlay beyond which it is written smaller: it is there to be looked at."""

COUNTED_AT_ONCE = 2**22


@dataclass(frozen=True)
class Segmentation:
    """The segmentation of one image at the image's own size.

    Attributes:
        label_map: Class index of every pixel, (H, W); uint8, or uint16 of more than 256 classes.
        classes: Names and colours of the classes.
        image: The image itself, (H, W, 3) uint8 RGB, upright (EXIF orientation applied).
        path: Where the image came from, if it came from a file.
        valid: Which pixels hold data, (H, W), by the file's nodata value, mask or alpha; None: all. Labels of the
            others mean nothing: they are left out of areas, overlays and files.
        georeference: Where the image lies, if its file says so.
    """

    label_map: np.ndarray
    classes: ClassTable
    image: np.ndarray
    path: Path | None = None
    valid: Bool[np.ndarray, "H W"] | None = None
    georeference: Georeference | None = None

    @property
    def size(self) -> Size:
        """(height, width) in pixels."""
        height, width = self.label_map.shape
        return height, width

    @property
    def known_labels(self) -> Integer[np.ndarray, "H W"]:
        """Class index of every pixel with data, IGNORE_INDEX of the others."""
        if self.valid is None:
            return self.label_map
        return np.where(self.valid, self.label_map, np.array(IGNORE_INDEX, np.int32))

    @property
    def class_areas(self) -> dict[str, float]:
        """Share of the pixels with data that each class covers, in [0, 1], largest first; absent ones are left out."""
        weights = None if self.valid is None else self.valid.view(np.uint8)
        counts = class_counts(self.label_map, self.classes.num_classes, weights)
        order = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
        total = int(counts.sum())
        return {self.classes.names[index]: float(counts[index]) / total for index in order}

    def overlay(self, opacity: float = 0.55, legend: bool = True) -> Image.Image:
        """The image with the classes painted over it; pixels without data are painted as ignored ones.

        Args:
            opacity: Weight of the class colour over the image, in [0, 1].
            legend: Whether to add a legend of the classes that occur, below the image.
        """
        from vitseg.render.overlay import draw_overlay

        return draw_overlay(
            self.image, self.known_labels, self.classes, opacity=opacity, legend=legend
        )

    def preview(self, legend: bool = True) -> tuple[Image.Image, float]:
        """An overlay that any viewer opens, and its scale.

        It is smaller than the image where that has more than `PREVIEW_PIXELS`, or where a side would be longer than a
        JPEG can have. The scale is that of its picture, in (0, 1].

        Args:
            legend: Whether to add a legend of the classes that occur, below the image.
        """
        height, width = self.size
        longest = max(height, width)
        scale = min(1.0, (PREVIEW_PIXELS / (height * width)) ** 0.5, JPEG_SIDE / longest)
        sheet = self.scaled(scale).overlay(legend=legend)
        while max(sheet.size) > JPEG_SIDE:  # the legend lies below the picture
            scale *= JPEG_SIDE / max(sheet.size) * 0.999
            sheet = self.scaled(scale).overlay(legend=legend)
        return sheet, scale

    def scaled(self, scale: float) -> Segmentation:
        """The same, smaller.

        Args:
            scale: In (0, 1].
        """
        if scale == 1:
            return self
        height, width = (max(1, int(side * scale)) for side in self.size)
        # Rows and columns are picked, since Pillow would not resize labels of 16 bits.
        rows = np.arange(height) * self.size[0] // height
        columns = np.arange(width) * self.size[1] // width
        small = Image.fromarray(self.image).resize((width, height), Image.Resampling.BOX)
        labels = self.label_map[rows][:, columns]
        valid = None if self.valid is None else self.valid[rows][:, columns]
        return replace(self, label_map=labels, image=np.asarray(small), valid=valid)

    @property
    def suffix(self) -> str:
        """That of the file that holds all of it: .tif where it lies on a map, else .png."""
        return ".png" if self.georeference is None else ".tif"

    def save(self, path: str | Path) -> None:
        """Write the label map as an indexed PNG with the palette (16-bit grey above 256 classes), or as a TIFF.

        Pixels without data are 255, or 65535 where there are more than 255 classes. A TIFF (needs the extra `geo`) is
        as `predict_large` writes it, with its place; a PNG has none.

        Raises:
            ConfigError: The name ends in neither .png nor .tif, since other formats would change the indices; it is
                that of the image itself; or rasterio is missing.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in (".png", ".tif", ".tiff"):
            raise ConfigError(
                f"{path}: label maps are saved as .png or .tif, since other formats would change the indices."
            )
        if self.path is not None and is_same_file(path, self.path):
            raise ConfigError(f"{path} is the image itself: give the label map another name.")
        if suffix != ".png" and not has_rasterio():
            raise ConfigError(f"{path} needs rasterio: pip install 'vitseg[geo]', or save a .png.")
        self.write(path, suffix)

    def write(self, path: Path, suffix: str) -> None:
        """Write what `save` does, under any name.

        Args:
            path: Where to write.
            suffix: What says the format.

        Raises:
            OSError: It cannot be written.
        """
        if suffix == ".png":
            from vitseg.render.palette import save_label_png

            save_label_png(path, self.label_map, self.classes, self.valid)
            return
        from vitseg.images.label_raster import write_label_tiff
        from vitseg.images.label_store import LabelArray
        from vitseg.render.palette import label_dtype, without_data

        nodata, labels = None, self.label_map.astype(label_dtype(self.classes.num_classes))
        if self.valid is not None:
            nodata = without_data(self.classes.num_classes)
            labels[~self.valid] = nodata
        write_label_tiff(path, LabelArray(labels), self.classes, nodata, self.georeference)


def class_counts(
    label_map: Integer[np.ndarray, "H W"],
    num_classes: int,
    weights: UInt8[np.ndarray, "H W"] | None = None,
) -> Int64[np.ndarray, " k"]:
    """How many pixels each class has, or the sum of their weights.

    Args:
        label_map: Class index of every pixel.
        num_classes: Classes; labels are below.
        weights: Of the pixels.
    """
    labels = label_map.reshape(-1)
    flat = None if weights is None else weights.reshape(-1)
    counts = np.zeros(num_classes, dtype=np.int64)
    for start in range(0, labels.size, COUNTED_AT_ONCE):  # counting takes 8 bytes a pixel
        part = slice(start, start + COUNTED_AT_ONCE)
        own = None if flat is None else flat[part]
        counts += np.bincount(labels[part], own, num_classes).astype(np.int64)
    return counts
