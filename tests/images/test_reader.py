"""The rules of the one reader, alike in plain and windowed reading: range, alpha, bands, orientation, pages."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.tiny import photo
from vitseg.errors import DataError
from vitseg.images import decode_process, pixel_source, reader
from vitseg.images.bands import Bands
from vitseg.images.decode import decode_image, image_size
from vitseg.images.orientation import upright
from vitseg.images.reader import decode, open_windows
from vitseg.images.value_range import ValueRange
from vitseg.images.window import Window

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

ROOM = 100_000_000


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    picture = photo(60, 90)
    picture[0, 0] = 255  # it uses all of its range
    return picture


def write(path, pixels: np.ndarray, tags=None, interp=None, scale=None, **profile):
    """A TIFF of (H, W, bands) pixels."""
    bands = np.atleast_3d(pixels).transpose(2, 0, 1)
    profile = {"driver": "GTiff", "count": len(bands), "dtype": bands.dtype, **profile}
    with rasterio.open(path, "w", height=bands.shape[1], width=bands.shape[2], **profile) as file:
        if interp:
            file.colorinterp = interp
        if scale:
            file.scales = [scale] * len(bands)
        for band in range(1, len(bands) + 1):
            file.update_tags(band, **(tags or {}))
        file.write(bands)
    return path


def in_windows(path, declared=None) -> np.ndarray:
    """The picture put together from windows."""
    with open_windows(path, ROOM, declared) as source:
        height, width = source.size
        whole = np.zeros((height, width, 3), np.uint8)
        for top in range(0, height, 32):
            for left in range(0, width, 32):
                window = Window(top, left, min(32, height - top), min(32, width - left))
                part = whole[top : top + window.height, left : left + window.width]
                part[:] = source.read(window)
    return whole


def both(path, declared=None) -> np.ndarray:
    """What plain reading gives; windowed reading must give the same, and the header the same size."""
    pixels = decode(path, declared=declared).pixels
    np.testing.assert_array_equal(in_windows(path, declared), pixels)
    assert image_size(path) == pixels.shape[:2]
    return pixels


def kinds(path) -> list[str]:
    return [notice.kind for notice in decode(path).notices]


@pytest.mark.parametrize("factor", [257, 16, 12, 10])
def test_a_multiple_of_an_8_bit_picture_reads_as_that(tmp_path, image, factor):
    path = write(tmp_path / "a.tif", image.astype(np.uint16) * factor)
    np.testing.assert_array_equal(both(path), image)
    assert kinds(path) == ["range-from-values"]


def test_the_range_of_gdal_statistics(tmp_path, image):
    tags = {"STATISTICS_MINIMUM": "0", "STATISTICS_MAXIMUM": "3060"}
    dark = (image // 2).astype(np.uint16) * 12 + 3
    path = write(tmp_path / "a.tif", dark, tags)
    assert np.abs(both(path).astype(int) - image // 2).max() <= 1
    assert kinds(path) == []


@pytest.mark.parametrize("scale", [1 / 3060, 1 / 12])
def test_the_range_of_gdal_scale(tmp_path, image, scale):
    path = write(tmp_path / "a.tif", image.astype(np.uint16) * 12, scale=scale)
    np.testing.assert_array_equal(both(path), image)
    assert kinds(path) == []


def test_the_range_of_12_bit_samples(tmp_path, image):
    values = (image[..., 0] // 2).astype(np.uint16) * 16
    path = write(tmp_path / "a.tif", values, nbits=12)
    assert np.abs(both(path)[..., 0].astype(int) - image[..., 0] // 2).max() <= 1
    assert kinds(path) == []


def test_the_range_of_sample_values_in_a_tiff(tmp_path, image):
    path = tmp_path / "a.tif"
    values = (image[..., 0] // 2).astype(np.uint16) * 12 + 1
    Image.fromarray(values).save(path, tiffinfo={280: 0, 281: 3060})
    assert np.abs(both(path)[..., 0].astype(int) - image[..., 0] // 2).max() <= 1
    assert kinds(path) == []


def test_a_declared_range_counts_more_than_the_file(tmp_path, image):
    for dtype in (np.uint16, np.int16, np.float32, np.int32):
        tags = {"STATISTICS_MINIMUM": "0", "STATISTICS_MAXIMUM": "9000"}
        path = write(tmp_path / f"{np.dtype(dtype)}.tif", image.astype(dtype) * 12, tags)
        np.testing.assert_array_equal(both(path, ValueRange(0, 3060)), image)


def test_nodata_is_not_among_the_values(tmp_path, image):
    values = image.astype(np.uint16) * 12
    values[:20] = 65535
    path = write(tmp_path / "a.tif", values, nodata=65535)
    np.testing.assert_array_equal(both(path)[20:], image[20:])


@pytest.mark.parametrize("photometric", ["RGB", "MINISBLACK"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_fourth_band_that_is_not_tagged_as_alpha_is_left_out(
    tmp_path, image, photometric, dtype, monkeypatch
):
    infrared = 255 - image[..., :1]
    values = np.concatenate([image, infrared], axis=2).astype(dtype)
    path = write(tmp_path / "a.tif", values, photometric=photometric, alpha="NO")
    np.testing.assert_array_equal(both(path), image)
    assert "bands-left-out" in kinds(path)
    with open_windows(path, ROOM) as source:
        assert not source.has_gaps
    monkeypatch.setattr(reader, "has_rasterio", lambda: False)
    if (dtype, photometric) == ("uint8", "RGB"):
        np.testing.assert_array_equal(both(path), image)
    else:
        with pytest.raises(DataError, match=rf"4 bands of {dtype} pixels, which is read with rast"):
            decode_image(path)


def test_eight_bands_and_bands_named_by_the_file(tmp_path, image):
    values = np.concatenate([image, image // 2, image[..., :2]], axis=2)
    path = write(tmp_path / "a.tif", values)
    np.testing.assert_array_equal(both(path), image)
    assert "of 8 bands the first three" in decode(path).notices[0].text
    from rasterio.enums import ColorInterp as Color

    swapped = np.concatenate([image[..., ::-1], image[..., :1]], axis=2)
    named = [Color.blue, Color.green, Color.red, Color.undefined]
    path = write(tmp_path / "b.tif", swapped, interp=named, alpha="NO", photometric="MINISBLACK")
    np.testing.assert_array_equal(both(path), image)


def test_min_is_white(tmp_path, image):
    grey = image[..., 0]
    black = both(write(tmp_path / "b.tif", grey))
    for values in (255 - grey, (255 - grey).astype(np.uint16) * 257):
        path = write(tmp_path / "w.tif", values, photometric="MINISWHITE")
        np.testing.assert_array_equal(both(path), black)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_the_orientation_of_a_tiff(tmp_path, image, orientation, deep):
    path = tmp_path / "a.tif"
    values = image[..., 0].astype(np.uint16) * 257 if deep else image[..., 0]
    Image.fromarray(values).save(path, tiffinfo={274: orientation})
    np.testing.assert_array_equal(both(path)[..., 0], upright(image[..., 0], orientation))


def test_pages_are_counted_and_overviews_are_none(tmp_path, image):
    pages = [Image.fromarray(image), Image.fromarray(255 - image), Image.fromarray(image)]
    path = tmp_path / "stack.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(both(path), image)
    assert decode(path).notices[0].text.startswith("page 1 of 3")
    path = write(tmp_path / "overviews.tif", image)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    assert kinds(path) == []


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "1", "P", "L", "RGBA"])
def test_colour_spaces_are_read_alike(tmp_path, image, mode):
    path = tmp_path / "a.tif"
    Image.fromarray(image).convert("RGB").convert(mode).save(path)
    expected = np.array(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(both(path), expected)


@pytest.mark.parametrize("profile", [{"compress": "LERC"}, {"compress": "ZSTD"}])
def test_compressions_that_pillow_lacks(tmp_path, image, profile):
    np.testing.assert_array_equal(both(write(tmp_path / "a.tif", image, **profile)), image)


def test_two_bands_are_refused_alike(tmp_path, image):
    path = write(tmp_path / "a.tif", image[..., :2])
    for read in (decode_image, in_windows):
        with pytest.raises(DataError, match="has 2 bands"):
            read(path)


def deep_png(values: np.ndarray, color_type: int, bits: int | None = None) -> bytes:
    height, width, channels = values.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    significant = b"" if bits is None else chunk(b"sBIT", bytes([bits] * channels))
    parts = (chunk(b"IHDR", header), significant, chunk(b"IDAT", zlib.compress(rows)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize("factor", [257, 16, 12])
def test_16_bit_colour_of_a_png(image, factor):
    values = image.astype(np.uint16) * factor
    np.testing.assert_array_equal(decode_image(deep_png(values, 2)), image)
    opaque = np.concatenate([values, np.full_like(values[..., :1], 65535)], axis=2)
    np.testing.assert_array_equal(decode_image(deep_png(opaque, 6)), image)
    grey = decode_image(deep_png(opaque[..., 2:], 4))
    np.testing.assert_array_equal(grey, np.repeat(image[..., 2:], 3, axis=2))


def test_significant_bits_of_a_png(image):
    dark = image // 2
    low = np.round(dark / 255 * 4095).astype(np.uint16)
    for color_type, channels in ((0, 1), (2, 3)):
        data = deep_png(low[..., :channels], color_type, 12)
        for read in (data, deep_png(low[..., :channels] << 4, color_type, 12)):
            decoded = decode(read)
            assert np.abs(decoded.pixels[..., 0].astype(int) - dark[..., 0]).max() <= 1
            assert decoded.notices == ()


def test_the_largest_value_of_a_ppm(image):
    values = np.round(image / 255 * 4095).astype(">u2")
    head = f"P6 {image.shape[1]} {image.shape[0]} 4095\n".encode()
    np.testing.assert_array_equal(decode_image(head + values.tobytes()), image)


@pytest.mark.parametrize("suffix", ["avif", "jp2"])
def test_further_formats(tmp_path, image, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(image).save(path)
    assert np.abs(decode_image(path).astype(int) - image).mean() < 12


def test_a_jpeg_of_thousands_of_passes_is_refused():
    buffer = io.BytesIO()
    Image.fromarray(photo(16, 16)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * 1500 + data[-2:]
    with pytest.raises(DataError, match="JPEG in more than 1,000 passes"):
        decode_image(bomb)


def test_a_file_far_too_small_for_its_size_is_refused_before_it_takes_memory():
    buffer = io.BytesIO()
    Image.new("L", (16, 16)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 12_000, 12_000)
    with pytest.raises(DataError, match=r"declares 12000x12000 pixels, but its [\d,]+ bytes"):
        decode_image(bytes(data))


def test_a_file_system_that_fails():
    with pytest.raises(DataError, match=r"/proc/self/mem cannot be read"):
        decode_image("/proc/self/mem")


@pytest.mark.parametrize("bands", [None, Bands.model_validate([3, 1])])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_whole_raster_says_where_it_lies_and_which_pixels_hold_data(
    tmp_path, monkeypatch, bands, elsewhere
):
    """Also where another process decodes it, and only where that is asked for."""
    pixels = photo(600, 40).clip(1)
    pixels[100:400, 5:9] = 0
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.1, 0, 5e5, 0, -0.1, 5e6)}
    path = write(tmp_path / "a.tif", pixels, nodata=0, **place)
    whole = write(tmp_path / "whole.tif", pixels.clip(1), nodata=0)
    if elsewhere:
        for module in ("reader", "band_reader"):
            name = f"vitseg.images.{module}.is_costly"
            monkeypatch.setattr(name, lambda *_, **__: True)
    monkeypatch.setattr(pixel_source, "_PIXELS_AT_ONCE", 40 * 300)
    found = decode(path, declared=bands, placed=True)
    plain = decode(path, declared=bands)
    np.testing.assert_array_equal(found.valid, (pixels > 0).any(2))
    assert found.georeference is not None
    assert found.georeference.crs.to_epsg() == 32632
    assert found.georeference.transform == place["transform"]
    np.testing.assert_array_equal(found.pixels, plain.pixels)
    assert found.pixels.shape == (600, 40, 2 if bands else 3)
    assert (plain.valid, plain.georeference) == (None, None)
    assert decode(whole, declared=bands, placed=True)[-2:] == (None, None)
    decode_process._common.close()
