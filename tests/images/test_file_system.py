"""What the file system does not give becomes one line that names the file, whenever it happens."""

from __future__ import annotations

import errno
import io
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import photo
from vitseg import parsing
from vitseg.cli.inputs import find_inputs
from vitseg.errors import DataError
from vitseg.files import whole_file, write_whole
from vitseg.images import decode_process, sources
from vitseg.images.decode import decode_color_mask, decode_layers, decode_mask, read_header
from vitseg.images.reader import decode, open_windows

ERRORS = {errno.EIO: "Input/output error", errno.ESTALE: "Stale file handle"}
CALLS = (decode, read_header, decode_mask, decode_color_mask, decode_layers)


class Failing(io.RawIOBase):
    """A file that fails from a certain reading on."""

    def __init__(self, data: bytes, good: int, number: int):
        self._file, self._good, self._number = io.BytesIO(data), good, number

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer) -> int:
        self._good -= 1
        if self._good < 0:
            raise OSError(self._number, os.strerror(self._number))
        return self._file.readinto(buffer)


def refusal(call, path: Path) -> str:
    try:
        call(path)
    except DataError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("number", ERRORS)
@pytest.mark.parametrize(
    "suffix", ["jpg", "png", "webp", "gif", "bmp", "ppm", "tif", "avif", "jp2"]
)
def test_reading_fails_at_any_time(tmp_path, monkeypatch, number, suffix):
    monkeypatch.setattr(decode_process, "inside", True)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo(150, 200)).save(path)
    data = path.read_bytes()
    failed = 0
    for good in range(12):
        monkeypatch.setattr(
            sources, "_opened",
            lambda _, good=good: io.BufferedReader(Failing(data, good, number), 1024),  # type: ignore[arg-type]
        )  # fmt: skip
        for call in CALLS:
            said = refusal(call, path)
            if ERRORS[number] in said:
                assert said == f"{path} cannot be read: {ERRORS[number]}."
                failed += 1
        with suppress(DataError), open_windows(path, 10**9):
            pass
    # rasterio opens the file by itself
    assert failed >= (1 if suffix == "jp2" else 4)


def test_errors_of_who_reads_windows_are_not_about_the_picture(tmp_path):
    Image.fromarray(photo(40, 50)).save(tmp_path / "a.png")
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(OSError, match="No space left") as error,
        open_windows(tmp_path / "a.png", 10**9),
    ):
        raise full
    assert error.value is full


def test_what_is_no_ordinary_file(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", Path("/dev/zero"), Path("/dev/null")):
        for call in CALLS:
            with pytest.raises(DataError, match=f"{path} is no ordinary file"):
                call(path)
        with pytest.raises(parsing.UnreadableError, match="it is no ordinary file"):
            parsing.read_json(path)
        with pytest.raises(DataError, match=f"{path} is no ordinary file"):
            find_inputs([str(path)])
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    for name in ("loop.png", "gone.png", "x" * 300, "a.png/b.png", "nul\0.png"):
        for call in CALLS:
            with pytest.raises(DataError):
                call(tmp_path / name)


def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    for number in (errno.ENOSPC, errno.EIO):
        with pytest.raises(OSError, match=r"error|space") as error, whole_file(tmp_path / "a.txt"):
            raise OSError(number, os.strerror(number))
        assert error.value.filename == str(tmp_path / "a.txt")

    def fails(source, target):
        raise OSError(errno.EIO, "Input/output error", str(source), None, str(target))

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="error") as error:
        write_whole(tmp_path / "a.txt", "x")
    assert (error.value.filename, error.value.filename2) == (str(tmp_path / "a.txt"), None)
    assert not list(tmp_path.iterdir())
    other = FileNotFoundError(errno.ENOENT, "No such file", "other")
    with pytest.raises(FileNotFoundError) as error, whole_file(tmp_path / "a.txt"):
        raise other
    assert error.value.filename == "other"


DEEP = [np.uint8, np.uint16, np.int16, np.int8, np.uint32, np.int32, np.int64, np.uint64]


LERC = ("lerc", "lerc_deflate")  # without integers of 64 bits


@pytest.mark.parametrize(
    ("compression", "dtype"),
    [
        (compression, dtype)
        for compression in ("none", "lzw", "deflate", "zstd", "packbits", *LERC)
        for dtype in DEEP
        if compression not in LERC or np.dtype(dtype).itemsize <= 4
    ],
)
def test_masks_in_tiff_files(tmp_path, dtype, compression):
    rasterio = pytest.importorskip("rasterio")
    high = min(np.iinfo(dtype).max, 40_000)
    ids = np.random.default_rng(0).integers(0, high, (40, 30)).astype(dtype)
    options = {} if compression == "none" else {"compress": compression}
    variants = [
        {},
        {"tiled": True, "blockxsize": 16, "blockysize": 16},
        {"count": 2},
        {"transform": 1},
    ]
    for variant in variants:
        profile = {
            "count": 1,
            "width": 30,
            "height": 40,
            "dtype": ids.dtype.name,
            **options,
            **variant,
        }
        if "transform" in variant:
            profile |= {"transform": rasterio.Affine(2, 0, 5e5, 0, -2, 5e6), "crs": "EPSG:32632"}
        path = tmp_path / "a.tif"
        rasterio.open(path, "w", "GTiff", **profile).close()
        with rasterio.open(path, "w", "GTiff", **profile) as file:
            for band in range(1, profile["count"] + 1):
                file.write(ids, band)
        if profile["count"] == 2:
            with pytest.raises(
                DataError, match=r"a\.tif has 2 channels .*one channel, the class id"
            ):
                decode_mask(path)
            continue
        found = decode_mask(path)
        np.testing.assert_array_equal(found, ids)
        assert found.dtype in (np.uint8, np.uint16, np.int32)


def test_masks_in_tiff_files_that_are_no_ids(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "a.tif"
    for dtype, words in (
        ("float32", "floating-point"),
        ("float64", "floating-point"),
        ("complex64", "complex"),
    ):
        for compression in ("none", "lzw"):
            with rasterio.open(
                path, "w", "GTiff", width=8, height=9, count=1, dtype=dtype, compress=compression
            ) as file:
                file.write(np.ones((9, 8), dtype), 1)
            with pytest.raises(DataError, match=f"{words}.* pixels, but a mask holds integer ids"):
                decode_mask(path)
            with pytest.raises(DataError, match="8-bit RGB"):
                decode_color_mask(path)
    with rasterio.open(path, "w", "GTiff", width=8, height=9, count=1, dtype="int64") as file:
        file.write(np.full((9, 8), 2**40), 1)
    with pytest.raises(
        DataError, match=r"has ids from 1099511627776 to 1099511627776, but at most 32 bits"
    ):
        decode_mask(path)


@pytest.mark.parametrize("compression", ["none", "lzw", "zstd", "lerc"])
def test_colour_masks_in_tiff_files(tmp_path, compression):
    rasterio = pytest.importorskip("rasterio")
    colors = np.random.default_rng(0).integers(0, 256, (3, 40, 30)).astype(np.uint8)
    path = tmp_path / "a.tif"
    options = {} if compression == "none" else {"compress": compression}
    with rasterio.open(
        path,
        "w",
        "GTiff",
        width=30,
        height=40,
        count=3,
        dtype="uint8",
        photometric="RGB",
        **options,
    ) as file:
        file.write(colors)
    red, green, blue = colors.astype(np.int32)
    np.testing.assert_array_equal(decode_color_mask(path), red << 16 | green << 8 | blue)
    assert read_header(path).mode == "RGB"
    with rasterio.open(
        path,
        "w",
        "GTiff",
        width=30,
        height=40,
        count=1,
        dtype="uint8",
        photometric="PALETTE",
        **options,
    ) as file:
        file.write(colors[:1] % 3)
        file.write_colormap(1, {0: (1, 2, 3), 1: (255, 0, 0), 2: (0, 0, 255)})
    shown = np.array([0x010203, 0xFF0000, 0x0000FF])[colors[0] % 3]
    np.testing.assert_array_equal(decode_color_mask(path), shown)
    np.testing.assert_array_equal(decode_mask(path), colors[0] % 3)
    assert read_header(path).mode == "P"


def test_the_orientation_of_a_mask_is_that_of_its_image(tmp_path):
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for orientation in range(1, 9):
        Image.fromarray(ids).save(
            tmp_path / "a.tif", tiffinfo={274: orientation}, compression="tiff_lzw"
        )
        image = decode(tmp_path / "a.tif").pixels[..., 0]
        np.testing.assert_array_equal(decode_mask(tmp_path / "a.tif"), image)
