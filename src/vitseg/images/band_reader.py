"""Opening pictures for chosen bands: of one file, or of several pictures that belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Bool, UInt8

from vitseg.errors import DataError
from vitseg.images import decode_process
from vitseg.images.band_array import ArrayBands, Planes, array_bands, array_planes
from vitseg.images.band_raster import RasterBands, raster_bands
from vitseg.images.bands import Bands, FileBands, numbers_in
from vitseg.images.budget import is_costly
from vitseg.images.decoded import MAX_PIXELS, Decoded, require_pixels
from vitseg.images.georeference import Georeference
from vitseg.images.pixel_source import Notice, PixelSource, valid_of
from vitseg.images.place_beside import place_beside
from vitseg.images.raster_reader import LARGEST_BLOCK, LARGEST_WHOLE_BLOCK
from vitseg.images.read_files import extra_file
from vitseg.images.sources import Source, StoredPicture, name_of, open_file, start_of
from vitseg.images.tiff_tags import read_tags
from vitseg.images.window import Window

_BYTES = 4
"""Bytes of a value while a picture is decoded whole: its own, and a copy."""

_ENOUGH = 4_000_000_000  # bytes, where no limit is asked for


class BandSource(PixelSource, Protocol):
    """An open picture of chosen bands."""

    def read_planes(self, window: Window) -> list[np.ndarray]:
        """The values of each band as they are, (h, w), of their own type."""
        ...


def file_bands(source: Source) -> FileBands:
    """The bands of a file, by its header.

    Raises:
        DataError: It cannot be read.
    """
    from vitseg.images.reader import open_raster

    name = name_of(source)
    with open_file(source) as file:
        file_format = start_of(file, name)
        tags = read_tags(file) if file_format == "TIFF" else None
        if is_costly(file, file_format, tags, header=True):
            return decode_process.file_bands(source)
        with open_raster(source, file, file_format, tags) as dataset:
            if dataset is not None:
                return raster_bands(dataset, tags)
        return array_bands(file, name, file_format, tags)


def picture_bands(source: Source, bands: Bands) -> FileBands:
    """All bands of a picture, with those of its extra images.

    Raises:
        DataError: A file is missing or cannot be read.
    """
    found = file_bands(source)
    extra = [file_bands(path) for path in extra_files(source, bands, found)]
    return found.joined(extra)


def extra_files(source: Source, bands: Bands, found: FileBands | None = None) -> list[Path | bytes]:
    """The extra images of a picture, in the order of the choice.

    None are needed for a picture that has all chosen bands by itself, in one file, where no such folder is there.

    Args:
        source: The picture.
        bands: The choice.
        found: The bands of the picture itself; None: they are not known yet.

    Raises:
        DataError: One is missing.
    """
    if not bands.extra_images:
        return []
    files: list[Path | bytes | None] = [None] * len(bands.extra_images)
    if isinstance(source, StoredPicture):
        files = [source.extra(folder) for folder in bands.extra_images]
    elif not isinstance(source, bytes):
        files = [extra_file(Path(source), folder) for folder in bands.extra_images]
    there = [file for file in files if file is not None]
    if len(there) == len(files):
        return there
    most = max((band.number or 1 for band in bands.chosen), default=0)
    if not there and found is not None and 0 < most <= len(found.names):
        return []
    folder = bands.extra_images[files.index(None)]
    raise DataError(
        f"{name_of(source)} has no extra image in a folder {folder} beside its own, whose bands are needed, too: add "
        f"{folder}/{Path(name_of(source)).stem} in any format that is read, or give one file that has all bands."
    )


def decode_bands(
    source: Source, bands: Bands, max_pixels: int = MAX_PIXELS, placed: bool = False
) -> Decoded:
    """A whole picture; one channel for each chosen band.

    Args:
        source: The picture.
        bands: The choice.
        max_pixels: Largest height * width of a file.
        placed: As for `reader.decode`.

    Raises:
        DataError: It cannot be read, has too few bands, or its extra images are missing or of another size.
    """
    with open_bands(source, bands, max_pixels=max_pixels, placed=placed) as image:
        height, width = image.size
        whole = getattr(image, "whole", None)
        pixels = whole() if whole is not None else image.read(Window(0, 0, height, width))
        found = Decoded(pixels, image.size, image.notices)
        if not placed:
            return found
        return found._replace(georeference=image.georeference, valid=valid_of(image))


@contextmanager
def open_bands(
    source: Source,
    bands: Bands,
    max_bytes: int | None = None,
    max_pixels: int | None = None,
    placed: bool = False,
) -> Iterator[BandSource]:
    """A picture, open for reading windows of its chosen bands.

    Args:
        source: The picture.
        bands: The choice.
        max_bytes: Memory that decoding a file whole may take, where it is read in windows; None: any.
        max_pixels: Largest height * width of a file that is read whole; None: it is read in windows, of any size.
        placed: Whether of a file that is read whole its place and which pixels hold data are needed, too.

    Raises:
        DataError: As for `decode_bands`; or a file has to be decoded whole and does not fit.
    """
    with ExitStack() as stack:
        if not bands.extra_images:
            yield stack.enter_context(
                _open_file(source, bands, None, max_bytes, max_pixels, placed)
            )
            return
        first = file_bands(source)
        files = [source, *extra_files(source, bands, first)]
        others = [file_bands(file) for file in files[1:]]
        places = numbers_in(bands, first.joined(others), name_of(source))
        starts = np.cumsum([0, *(len(each.names) for each in (first, *others))])
        parts, order = [], []
        for number, file in enumerate(files):
            mine = [
                i for i, place in enumerate(places) if starts[number] <= place < starts[number + 1]
            ]
            if mine:
                own = [int(places[i] - starts[number]) for i in mine]
                chosen = bands.model_copy(
                    update={"chosen": tuple(bands.chosen[i] for i in mine), "extra_images": ()}
                )
                opened = _open_file(file, chosen, own, max_bytes, max_pixels, placed)
                parts.append(stack.enter_context(opened))
                order += mine
        yield _Together(name_of(source), parts, order)


@contextmanager
def _open_file(
    source: Source,
    bands: Bands,
    places: list[int] | None,
    max_bytes: int | None,
    max_pixels: int | None,
    placed: bool,
) -> Iterator[BandSource]:
    """Chosen bands of one file.

    Args:
        source: The file.
        bands: The choice, without extra images.
        places: Where the bands are in the file, from 0; None: they are looked for.
        max_bytes: As for `open_bands`.
        max_pixels: As for `open_bands`.
        placed: As for `open_bands`.
    """
    from vitseg.images.reader import open_raster

    name = name_of(source)
    with ExitStack() as stack:
        file = stack.enter_context(open_file(source))
        file_format = start_of(file, name)
        tags = read_tags(file) if file_format == "TIFF" else None
        in_windows = max_pixels is None
        if is_costly(file, file_format, tags, in_windows=in_windows):
            bands = _by_number(bands, places)
            if in_windows and not isinstance(source, bytes):
                distant = decode_process.DistantImage(Path(source), max_bytes or _ENOUGH, bands)
                yield stack.enter_context(closing(distant))
                return
            values, notices, place, valid = decode_process.bands(
                source, bands, max_pixels or MAX_PIXELS, placed
            )
            every = list(range(values.shape[2]))
            yield ArrayBands(Planes(values, notices), every, bands.chosen, name, place, valid)
            return
        dataset = stack.enter_context(open_raster(source, file, file_format, tags))
        if dataset is not None:
            size = (dataset.height, dataset.width)
            if max_pixels is not None:
                require_pixels(name, size, max_pixels)
            places = places or numbers_in(bands, raster_bands(dataset, tags), name)
            block = LARGEST_BLOCK if in_windows else LARGEST_WHOLE_BLOCK
            yield RasterBands(dataset, name, places, bands.chosen, tags, block)
            return
        places = places or numbers_in(bands, array_bands(file, name, file_format, tags), name)
        if file_format != "NPY" and max_bytes is not None:
            _require_room(source, len(places), max_bytes)
        planes = array_planes(source, file, file_format, tags, max_pixels or _any_size(source))
        place = None
        if (placed or in_windows) and not isinstance(source, bytes):
            place, notices = place_beside(Path(source), file_format)
            planes = planes._replace(notices=(*planes.notices, *notices))
        yield ArrayBands(planes, places, bands.chosen, name, place)


def _any_size(source: Source) -> int:
    from vitseg.images.header import header_of

    height, width = header_of(source).size
    return max(MAX_PIXELS, height * width)


def _require_room(source: Source, num_bands: int, max_bytes: int) -> None:
    from vitseg.images.header import header_of

    height, width = header_of(source).size
    needed = height * width * max(3, num_bands) * _BYTES
    if needed > max_bytes:
        raise DataError(
            f"{name_of(source)} ({width}x{height}) can only be decoded whole here, which takes {needed:,} bytes, but "
            f"{max_bytes:,} are allowed. Raise the memory, or convert it to a tiled TIFF."
        )


def _by_number(bands: Bands, places: list[int] | None) -> Bands:
    """The choice for another process, which does not know of other files."""
    if places is None:
        return bands
    chosen = [
        band.model_copy(update={"number": place + 1, "name": None})
        for band, place in zip(bands.chosen, places, strict=True)
    ]
    return bands.model_copy(update={"chosen": tuple(chosen)})


class _Together:
    """Pictures of one size as one, their channels in the order of the choice.

    Args:
        name: What errors call them.
        parts: The pictures.
        order: For each channel of these, one after the other, which one of the whole it is.
    """

    def __init__(self, name: str, parts: Sequence[BandSource], order: Sequence[int]):
        self.name, self._parts = name, parts
        self._back = np.argsort(order)
        self.size = parts[0].size
        for part in parts[1:]:
            if part.size != self.size:
                (height, width), (first_height, first_width) = part.size, self.size
                raise DataError(
                    f"{part.name} is {width}x{height} pixels, but {parts[0].name} is {first_width}x{first_height}: "
                    "pictures of one sample must have one size."
                )
        self.held_bytes = sum(part.held_bytes for part in parts)
        self.has_gaps = any(part.has_gaps for part in parts)
        places = (part.georeference for part in parts)
        self.georeference: Georeference | None = next((p for p in places if p is not None), None)
        self.notices: tuple[Notice, ...] = tuple(n for part in parts for n in part.notices)

    def read(self, window: Window) -> UInt8[np.ndarray, "h w c"]:
        pixels = np.concatenate([part.read(window) for part in self._parts], axis=-1)
        return np.ascontiguousarray(pixels[..., self._back])

    def read_planes(self, window: Window) -> list[np.ndarray]:
        planes = [plane for part in self._parts for plane in part.read_planes(window)]
        return [planes[place] for place in self._back]

    def valid(self, window: Window) -> Bool[np.ndarray, "h w"] | None:
        masks = [mask for part in self._parts if (mask := part.valid(window)) is not None]
        return np.logical_and.reduce(masks) if masks else None
