"""Reading rectangles of an image that need not fit in memory.

TIFF and JPEG 2000 are read window by window through rasterio (the extra `geo`). Every other image, and every image
without that extra, is decoded whole where the memory allows it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from vitseg.errors import DataError
from vitseg.images.decode import decode_image, read_header
from vitseg.images.geometry import Window
from vitseg.images.georeference import Georeference, georeference_of

DRIVERS = ("GTiff", "JP2OpenJPEG")
"""What GDAL may open. Its other formats can refer to further files or to servers."""

CACHE_BYTES = 32_000_000
"""GDAL's cache of decoded tiles; its own default is 5 % of the machine's memory."""

LARGEST_BLOCK = 64_000_000
"""Bytes of a decoded tile or strip: GDAL holds a whole one to read any part of it."""

READ_BYTES = 20
"""Bytes per pixel at most while a window is read: 16-bit colour, its 8-bit copies and the mask."""

_DECODED_BYTES = {"RGB": 12, "L": 12, "P": 12, "CMYK": 16}
"""Bytes per pixel of decoding a whole image by Pillow's mode, its copies included; of other modes 24."""


@runtime_checkable
class PixelSource(Protocol):
    """An image that hands out rectangles.

    Attributes:
        name: What errors call it.
        size: (height, width) in pixels.
        held_bytes: Memory that it takes as long as it is open.
        has_gaps: Whether there may be pixels without data.
        georeference: Where it lies, if it is a map.
    """

    name: str
    size: tuple[int, int]
    held_bytes: int
    has_gaps: bool
    georeference: Georeference | None

    def read(self, window: Window) -> UInt8[np.ndarray, "h w 3"]:
        """The RGB pixels of a window within the image."""
        ...

    def valid(self, window: Window) -> Bool[np.ndarray, "h w"] | None:
        """Which pixels of a window hold data; None: all of any window (no `has_gaps`)."""
        ...


class DecodedImage:
    """A whole image in memory."""

    def __init__(self, pixels: UInt8[np.ndarray, "H W 3"], name: str):
        self.pixels = pixels
        self.name = name
        self.size = (pixels.shape[0], pixels.shape[1])
        self.held_bytes = pixels.nbytes
        self.has_gaps = False  # transparent pixels were laid over white
        self.georeference: Georeference | None = None

    def read(self, window: Window) -> UInt8[np.ndarray, "h w 3"]:
        top, left, height, width = window
        return self.pixels[top : top + height, left : left + width]

    def valid(self, window: Window) -> None:
        """All pixels hold data."""


class RasterImage:
    """A TIFF or JPEG 2000 file of which only windows are read.

    The first three bands are red, green and blue; one band is grey; a palette is resolved. An alpha band or a nodata
    value says which pixels hold data. 16-bit values become 8 bits as in `decode_image`: grey is divided by 257 and
    rounded, colour keeps its high byte. An orientation tag is not applied, since labels lie over the stored pixels.
    """

    def __init__(self, dataset: Any, name: str):
        self._dataset = dataset
        self.name = name
        self.size = (dataset.height, dataset.width)
        _require_readable(dataset, name)
        block_height, block_width = dataset.block_shapes[0]
        block_bytes = block_height * block_width * dataset.count * _item_bytes(dataset)
        if block_bytes > LARGEST_BLOCK:
            raise DataError(
                f"{name} is stored in strips or tiles of {block_width}x{block_height} pixels, {block_bytes:,} bytes "
                f"each, but at most {LARGEST_BLOCK:,} are read at a time. Store it in tiles: {_translate(name)}"
            )
        self.held_bytes = CACHE_BYTES + 2 * block_bytes
        self.georeference = georeference_of(dataset)
        self._indices = [1, 2, 3] if dataset.count >= 3 else [1]
        self._palette = _palette(dataset)
        self.has_gaps = any("all_valid" not in _flags(flags) for flags in dataset.mask_flag_enums)

    def read(self, window: Window) -> UInt8[np.ndarray, "h w 3"]:
        with self._reading(window):
            bands = self._dataset.read(self._indices, window=rasterio_window(window))
        if self._palette is not None:
            return self._palette[bands[0]]
        if bands.dtype == np.uint16:
            if len(bands) == 1:
                bands = ((bands.astype(np.uint32) + 128) // 257).astype(np.uint8)
            else:
                bands = (bands >> 8).astype(np.uint8)
        channels = bands if len(bands) == 3 else [bands[0]] * 3
        return np.stack([*channels], axis=-1)  # (h, w, 3)

    def valid(self, window: Window) -> Bool[np.ndarray, "h w"] | None:
        if not self.has_gaps:
            return None
        with self._reading(window):
            return self._dataset.dataset_mask(window=rasterio_window(window)) > 0

    @contextmanager
    def _reading(self, window: Window) -> Iterator[None]:
        from rasterio.errors import RasterioError

        try:
            yield
        except RasterioError as error:
            top, left, height, width = self._damaged_block(window)
            reason = " ".join(str(error.__cause__ or error).split())
            raise DataError(
                f"{self.name}: rows {top}-{top + height - 1}, columns {left}-{left + width - 1} are damaged "
                f"({reason}). Copy or export the file again."
            ) from error

    def _damaged_block(self, window: Window) -> Window:
        """The first tile or strip within a window that cannot be read; the window where each can."""
        from rasterio.errors import RasterioError

        height, width = self._dataset.block_shapes[0]
        for top in range(window.top // height * height, window.top + window.height, height):
            for left in range(window.left // width * width, window.left + window.width, width):
                block = Window(
                    top, left, min(height, self.size[0] - top), min(width, self.size[1] - left)
                )
                try:
                    self._dataset.read(self._indices, window=rasterio_window(block))
                except RasterioError:
                    return block
        return window


@contextmanager
def open_windows(path: str | Path, max_bytes: int) -> Iterator[PixelSource]:
    """An image of any size, open for reading windows.

    Args:
        path: The file.
        max_bytes: Memory that decoding it whole may take, where that is the only way.

    Raises:
        DataError: No image that can be read; pixels that are not 8 or 16 bits; tiles or strips too large to be held;
            or an image that has to be decoded whole and does not fit.
    """
    path = Path(path)
    if not has_rasterio() or not path.is_file():
        yield _decoded(path, max_bytes)
        return
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = _raster(path)
        if dataset is None:  # another format, or damaged, which decoding reports
            yield _decoded(path, max_bytes)
            return
        with dataset:
            yield RasterImage(dataset, str(path))


def _raster(path: Path) -> Any | None:
    """An open rasterio data set, if one of the drivers takes the file."""
    import rasterio
    from rasterio.errors import RasterioIOError

    for driver in DRIVERS:
        try:
            return rasterio.open(path.resolve(), driver=driver)
        except RasterioIOError:
            continue
    return None


def has_rasterio() -> bool:
    """Whether the extra `geo` is installed."""
    return find_spec("rasterio") is not None


def _decoded(path: Path, max_bytes: int) -> DecodedImage:
    header = read_header(path)
    height, width = header.size
    needed = height * width * _DECODED_BYTES.get(header.mode, 24)
    if needed > max_bytes:
        way = (
            "pip install 'vitseg[geo]' to read it in windows"
            if header.format == "TIFF" and not has_rasterio()
            else f"convert it to a tiled TIFF: {_translate(str(path))}"
        )
        raise DataError(
            f"{path} ({header.format}, {width}x{height}) can only be decoded whole here, which takes {needed:,} bytes, "
            f"but {max_bytes:,} are allowed. Raise the memory, or {way}"
        )
    return DecodedImage(decode_image(path, max_pixels=height * width), str(path))


def _translate(name: str) -> str:
    return (
        f"gdal_translate -co TILED=YES -co COMPRESS=DEFLATE -co BIGTIFF=IF_SAFER {name} tiled.tif"
    )


def _require_readable(dataset: Any, name: str) -> None:
    from rasterio.enums import ColorInterp

    kinds = sorted({str(dtype) for dtype in dataset.dtypes[:3]})
    bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
    if len(kinds) > 1 or kinds[0] not in ("uint8", "uint16") or bits is not None:
        came = f"{bits}-bit" if bits is not None else " and ".join(kinds)
        raise DataError(
            f"{name} has {came} pixels, but uint8 and uint16 are allowed. Scale its values first: "
            f"gdal_translate -ot Byte -scale LOW HIGH 0 255 {name} scaled.tif"
        )
    meanings = dataset.colorinterp
    if meanings[0] == ColorInterp.cyan:
        raise DataError(f"{name} has CMYK pixels, but RGB and grey are allowed. Convert it to RGB.")
    if dataset.count == 2 and meanings[1] != ColorInterp.alpha:
        raise DataError(
            f"{name} has 2 bands, but one (grey), one with alpha, or three and more (the first three are red, green "
            "and blue) are allowed. Choose bands: gdal_translate -b 1 ..."
        )


def _palette(dataset: Any) -> np.ndarray | None:
    """Colours of the indices, (256 or 65536, 3) uint8, of a raster with a palette."""
    from rasterio.enums import ColorInterp

    if dataset.colorinterp[0] != ColorInterp.palette:
        return None
    colors = np.zeros((2 ** (8 * _item_bytes(dataset)), 3), dtype=np.uint8)
    for index, color in dataset.colormap(1).items():
        colors[index] = color[:3]
    return colors


def _item_bytes(dataset: Any) -> int:
    return np.dtype(dataset.dtypes[0]).itemsize


def _flags(flags: Any) -> set[str]:
    return {flag.name for flag in flags}


def rasterio_window(window: Window) -> Any:
    """The window in rasterio's terms."""
    from rasterio.windows import Window as RasterioWindow

    return RasterioWindow(window.left, window.top, window.width, window.height)  # pyright: ignore[reportCallIssue]
