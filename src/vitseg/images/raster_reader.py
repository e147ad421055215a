"""TIFF and JPEG 2000 through rasterio (the extra `geo`): whole, or in windows that are all that is held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from vitseg.errors import DataError
from vitseg.images.decoded import over_white
from vitseg.images.georeference import georeference_of
from vitseg.images.orientation import stored_window, upright, upright_size
from vitseg.images.pixel_source import (
    BANDS_LEFT_OUT,
    Notice,
    pages_notice,
    range_needed,
    range_notice,
)
from vitseg.images.stated_range import of_bits
from vitseg.images.tiff_tags import MAX_PAGES, MIN_IS_WHITE, TiffTags
from vitseg.images.value_range import (
    FULL,
    Declared,
    Histogram,
    PictureValues,
    Unstated,
    ValueRange,
    common_range,
    of_scale,
    to_bytes,
)
from vitseg.images.window import Window

CACHE_BYTES = 32_000_000
"""GDAL's cache of decoded tiles; its own default is 5 % of the machine's memory."""

LARGEST_BLOCK = 64_000_000
"""Bytes of a decoded tile or strip: GDAL holds a whole one to read any part of it."""

LARGEST_WHOLE_BLOCK = 512_000_000
"""The same where the whole image is decoded anyway."""

SURVEYED_PIXELS = 64_000_000
"""Pixels that are looked at for a range that nothing states; of a larger image, evenly spread ones."""

READ_BYTES = 20
"""Bytes per pixel at most while a window is read: 16-bit colour, its 8-bit copies and the mask."""

_STRIP_PIXELS = 4_000_000  # read at a time


class RasterImage:
    """A TIFF or JPEG 2000 file of which windows are read, by the rules of all readers.

    The bands that the file names red, green and blue are these, else the first three; one band is grey; a palette is
    resolved. Alpha is what the file says is alpha; it is laid over white. An alpha band or a nodata value says which
    pixels hold data. The orientation tag is applied, unless the raster lies on a map.

    Args:
        dataset: Open in rasterio.
        name: What errors call it.
        tags: Of a TIFF.
        declared: Black and white of more than 8 bits, if they are stated.
        largest_block: Bytes of a decoded tile or strip.
    """

    num_channels = 3

    def __init__(
        self,
        dataset: Any,
        name: str,
        tags: TiffTags | None = None,
        declared: Declared = None,
        largest_block: int = LARGEST_BLOCK,
    ):
        self._dataset = dataset
        self._tags = tags
        self._whole = largest_block > LARGEST_BLOCK
        self.name = name
        self._require_small_blocks(largest_block)
        self.georeference = georeference_of(dataset)
        placed = self.georeference is not None
        self._orientation = 1 if tags is None or placed else tags.orientation
        self.size = upright_size((dataset.height, dataset.width), self._orientation)
        self._palette = palette_of(dataset)
        self._alpha = self._alpha_band()
        notices = [] if tags is None or tags.pages < 2 else [pages_notice(tags.pages, MAX_PAGES)]
        self._bands = self._color_bands(notices)
        self._inverted = (
            tags is not None and tags.photometric == MIN_IS_WHITE and self._palette is None
        )
        self._masked = any(
            not _flags(flags) & {"all_valid", "alpha"} for flags in self._mask_flags()
        )
        self.has_gaps = self._alpha is not None or self._masked
        self.has_alpha = self._alpha is not None
        self._limits = self._decide_limits(declared, notices)
        self.notices: tuple[Notice, ...] = tuple(notices)

    def read(self, window: Window) -> UInt8[np.ndarray, "h w c"]:
        stored = stored_window(
            window, (self._dataset.height, self._dataset.width), self._orientation
        )
        indices = self._bands if self._alpha is None else [*self._bands, self._alpha]
        with self._reading(stored):
            bands = self._dataset.read(indices, window=rasterio_window(stored))
        return upright(self._rgb(bands), self._orientation)

    def valid(self, window: Window) -> Bool[np.ndarray, "h w"] | None:
        if not self.has_gaps:
            return None
        stored = stored_window(
            window, (self._dataset.height, self._dataset.width), self._orientation
        )
        with self._reading(stored):
            return upright(self._valid_as_stored(stored), self._orientation)

    def whole(self) -> UInt8[np.ndarray, "H W c"]:
        """All pixels, read strip by strip."""
        height, width = self.size
        pixels = np.empty((height, width, self.num_channels), np.uint8)
        block = self._dataset.block_shapes[0]
        rows = block[1] if self.size != (self._dataset.height, self._dataset.width) else block[0]
        step = max(1, _STRIP_PIXELS // width) // rows * rows or max(1, min(rows, height))
        for top in range(0, height, step):
            window = Window(top, 0, min(step, height - top), width)
            pixels[top : top + window.height] = self.read(window)
        return pixels

    def _rgb(self, bands: np.ndarray) -> UInt8[np.ndarray, "h w c"]:
        """The bands that were read, colours and then alpha, as RGB."""
        colors = bands if self._alpha is None else bands[:-1]
        if self._palette is not None:
            rgb = self._palette[colors[0]]
        else:
            channels = [to_bytes(band, self._limits) for band in colors]
            if self._inverted:
                channels = [255 - channel for channel in channels]
            rgb = np.stack(channels * (3 if len(channels) == 1 else 1), axis=-1)  # (h, w, 3)
        if self._alpha is None:
            return rgb
        largest = np.iinfo(bands.dtype).max if bands.dtype.kind in "iu" else 1.0
        premultiplied = self._tags is not None and 1 in self._tags.extra
        return over_white(rgb, to_bytes(bands[-1], ValueRange(0, largest)), premultiplied)

    def _require_small_blocks(self, largest: int) -> None:
        height, width = self._dataset.block_shapes[0]
        samples = 1 if self._tags is not None and self._tags.planar else self._dataset.count
        num_bytes = height * width * samples * np.dtype(self._dataset.dtypes[0]).itemsize
        if num_bytes > largest:
            raise DataError(
                f"{self.name} is stored in strips or tiles of {width}x{height} pixels, {num_bytes:,} bytes "
                f"each, but at most {largest:,} are read at a time. Store it in tiles: {tiling_command(self.name)}"
            )
        self.held_bytes = CACHE_BYTES + 2 * num_bytes

    def _alpha_band(self) -> int | None:
        """The band that the file says is alpha. GDAL also guesses a fourth band of no stated meaning to be alpha."""
        from rasterio.enums import ColorInterp

        meanings = self._dataset.colorinterp
        named = [
            number for number, meaning in enumerate(meanings, 1) if meaning == ColorInterp.alpha
        ]
        guessed = self._tags is not None and not self._tags.extra
        return named[-1] if named and not guessed and self._dataset.count > 1 else None

    def _color_bands(self, notices: list[Notice]) -> list[int]:
        from rasterio.enums import ColorInterp

        dataset = self._dataset
        colors = [number for number in range(1, dataset.count + 1) if number != self._alpha]
        if self._palette is not None or len(colors) == 1:
            return colors[:1]
        if len(colors) == 2:
            raise DataError(
                f"{self.name} has 2 bands, but one (grey), one with alpha, or three and more (the first three are red, "
                f"green and blue) are allowed. Choose a band: gdal_translate -b 1 {self.name} grey.tif; or train on "
                "both: bands=1,2 of a data set."
            )
        meanings = dict(enumerate(dataset.colorinterp, 1))
        wanted = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        named = [next((b for b in colors if meanings[b] == color), None) for color in wanted]
        chosen = [band for band in named if band is not None]
        if len(chosen) < 3:
            chosen = colors[:3]
        if rest := [band for band in colors if band not in chosen]:
            left = f"band {rest[0]}" if len(rest) == 1 else f"the other {len(rest)}"
            which = (
                "the first three"
                if chosen == [1, 2, 3]
                else f"{chosen[0]}, {chosen[1]} and {chosen[2]}"
            )
            untagged = (
                ", which is not tagged as alpha," if len(rest) == 1 and self._alpha is None else ""
            )
            notices.append(
                Notice(
                    BANDS_LEFT_OUT,
                    f"of {dataset.count} bands {which} are taken for red, green and blue; {left}{untagged} "
                    f"{'is' if len(rest) == 1 else 'are'} left out",
                )
            )
        return chosen

    def _mask_flags(self) -> list[Any]:
        return [self._dataset.mask_flag_enums[band - 1] for band in self._bands]

    def _decide_limits(self, declared: Declared, notices: list[Notice]) -> ValueRange:
        """Black and white, by the rule of `value_range`."""
        self.values: PictureValues | None = None
        dtype, words, bits = self._type()
        if self._palette is not None or (dtype == np.uint8 and bits == 8):
            return ValueRange(0, 255)
        if dtype == np.uint8:
            return ValueRange(0, 2**bits - 1)
        if dtype.kind not in "iuf":
            raise DataError(
                f"{self.name} has {words} pixels, which have no brightness. Convert them to real numbers first: "
                f"gdal_translate -ot Float32 {self.name} real.tif"
            )
        self.values = self._values(declared, dtype, words, bits)
        if self.values.origin == "own":
            notices.append(range_notice(self.values))
        return self.values.limits

    def _values(self, declared: Declared, dtype: np.dtype, words: str, bits: int) -> PictureValues:
        """Values of more than 8 bits, and black and white among them."""
        if isinstance(declared, ValueRange):
            return PictureValues(words, declared, "declared")
        counted = None
        if declared is Unstated.OWN_VALUES:
            counted = self._survey(of_any_size=True)
        if self._tags is not None and self._tags.sample_range is not None:
            return PictureValues(words, ValueRange(*self._tags.sample_range), "noted", counted)
        stated = of_bits(bits) if dtype == np.uint16 else None
        if stated is not None:
            return PictureValues(words, stated, "bits", counted)
        known = self._statistics()
        if known is None:
            if counted is None and dtype.kind == "f":
                raise DataError(range_needed(self.name, words))
            counted = counted or self._survey()
            guess = counted.limits()
        else:
            guess = known
        scaled = self._by_scale(guess.high)
        if scaled is not None:
            return PictureValues(words, scaled, "bits", counted)
        if known is None:
            return PictureValues(words, guess, "own", counted)
        low = 0 if 0 <= known.low <= known.high / 4 else known.low
        return PictureValues(words, ValueRange(low, known.high), "noted", counted)

    def _type(self) -> tuple[np.dtype, str, int]:
        """NumPy's type of the colour bands, the file's own word for it, and its bits."""
        kinds = sorted({str(self._dataset.dtypes[band - 1]) for band in self._bands})
        if len(kinds) > 1:
            raise DataError(
                f"{self.name} has bands of {' and '.join(kinds)} pixels, but one type for all is allowed. "
                f"Convert them: gdal_translate -ot {kinds[-1]} {self.name} same.tif"
            )
        name = "complex64" if kinds[0].startswith("complex") else kinds[0]
        dtype = np.dtype(name)
        bits = self._dataset.tags(self._bands[0], ns="IMAGE_STRUCTURE").get("NBITS")
        number = int(bits) if bits is not None and bits.isdigit() else 8 * dtype.itemsize
        words = kinds[0].rstrip("0123456789") + str(number) if bits is not None else kinds[0]
        return dtype, words, number

    def _statistics(self) -> ValueRange | None:
        """The least and largest value that GDAL has noted in the file or beside it."""
        ranges = []
        for band in self._bands:
            tags = self._dataset.tags(band)
            try:
                low, high = (float(tags[f"STATISTICS_{key}"]) for key in ("MINIMUM", "MAXIMUM"))
                ranges.append(ValueRange.valid(low, high))
            except (KeyError, ValueError):
                return None
        return common_range(ranges)

    def _by_scale(self, largest: float) -> ValueRange | None:
        band = self._bands[0] - 1
        scale, offset = self._dataset.scales[band], self._dataset.offsets[band]
        return of_scale(float(scale), float(offset), largest)

    def _survey(self, of_any_size: bool = False) -> Histogram:
        """The values of the image, or of evenly spread parts of a large one.

        Args:
            of_any_size: Whether values may be floating-point or beyond 16 bits.

        Raises:
            DataError: 32-bit values beyond 16 bits.
        """
        dataset = self._dataset
        height = dataset.block_shapes[0][0]
        rows = max(height, _STRIP_PIXELS // max(1, dataset.width) // height * height)
        tops = range(0, dataset.height, rows)
        wanted = max(1, SURVEYED_PIXELS // (rows * dataset.width))
        if len(tops) > wanted:
            tops = [
                tops[place] for place in np.linspace(0, len(tops) - 1, wanted).round().astype(int)
            ]
        histogram = Histogram()
        for top in tops:
            window = Window(top, 0, min(rows, dataset.height - top), dataset.width)
            place = rasterio_window(window)
            with self._reading(window):
                bands = dataset.read(self._bands, window=place)
                gaps = self._alpha is not None or self._masked
                valid = self._valid_as_stored(window) if gaps else None
            values = bands if valid is None else bands[:, valid]
            if values.dtype.itemsize > 2 and values.size and not of_any_size:
                low, high = int(values.min()), int(values.max())
                if low < -FULL // 2 or high > FULL:
                    raise DataError(
                        f"{self.name} has {self._type()[1]} pixels from {low} to {high}, but 0-65535 are allowed "
                        "unless the model or the file states their range. Make it 8 bits: "
                        f"gdal_translate -ot Byte -scale LOW HIGH 0 255 {self.name} scaled.tif"
                    )
            histogram.add(values)
        return histogram

    def _valid_as_stored(self, window: Window) -> Bool[np.ndarray, "h w"]:
        """Which pixels of a window of the raster as it is stored hold data."""
        valid = np.ones((window.height, window.width), bool)
        place = rasterio_window(window)
        if self._alpha is not None:
            valid &= self._dataset.read(self._alpha, window=place) > 0
        if self._masked:
            valid &= (self._dataset.read_masks(self._bands, window=place) > 0).any(0)
        return valid

    @contextmanager
    def _reading(self, window: Window) -> Iterator[None]:
        from rasterio.errors import RasterioError

        try:
            yield
        except RasterioError as error:
            top, left, height, width = self._damaged_block(window)
            reason = " ".join(str(error.__cause__ or error).split())
            place = f"rows {top}-{top + height - 1}, columns {left}-{left + width - 1}"
            raise DataError(
                f"{self.name} is damaged or incomplete: {place} cannot be read ({reason}). "
                "Copy or export the file again."
                if self._whole
                else f"{self.name}: {place} are damaged ({reason}). Copy or export the file again."
            ) from error

    def _damaged_block(self, window: Window) -> Window:
        """The first tile or strip within a window that cannot be read; the window where each can."""
        from rasterio.errors import RasterioError

        height, width = self._dataset.block_shapes[0]
        rows, columns = self._dataset.height, self._dataset.width
        for top in range(window.top // height * height, window.top + window.height, height):
            for left in range(window.left // width * width, window.left + window.width, width):
                block = Window(top, left, min(height, rows - top), min(width, columns - left))
                try:
                    self._dataset.read(self._bands, window=rasterio_window(block))
                except RasterioError:
                    return block
        return window


def tiling_command(name: str) -> str:
    """The command that stores a raster in tiles."""
    return (
        f"gdal_translate -co TILED=YES -co COMPRESS=DEFLATE -co BIGTIFF=IF_SAFER {name} tiled.tif"
    )


def palette_of(dataset: Any) -> np.ndarray | None:
    """Colours of the indices, (256 or 65536, 3) uint8, of a raster with a palette."""
    from rasterio.enums import ColorInterp

    if dataset.colorinterp[0] != ColorInterp.palette:
        return None
    colors = np.zeros((2 ** (8 * np.dtype(dataset.dtypes[0]).itemsize), 3), dtype=np.uint8)
    for index, color in dataset.colormap(1).items():
        colors[index] = color[:3]
    return colors


def _flags(flags: Any) -> set[str]:
    return {flag.name for flag in flags}


def rasterio_window(window: Window) -> Any:
    """The window in rasterio's terms."""
    from rasterio.windows import Window as RasterioWindow

    return RasterioWindow(window.left, window.top, window.width, window.height)  # pyright: ignore[reportCallIssue]
