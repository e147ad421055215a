from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import photo
from vitseg.errors import DataError
from vitseg.images import reader
from vitseg.images.decode import decode_image
from vitseg.images.pixel_source import DecodedImage
from vitseg.images.raster_reader import RasterImage
from vitseg.images.reader import open_windows
from vitseg.images.window import Window

ROOM = 10**8
WINDOW = Window(30, 100, 50, 40)

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")


def write_tiff(path: Path, bands: np.ndarray, **profile) -> Path:
    """A tiled, deflated TIFF of (bands, H, W)."""
    count, height, width = bands.shape
    values = {
        "driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype,
        "tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate",
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", **values | profile) as raster:
            raster.write(bands)
    return path


def planes(image: np.ndarray) -> np.ndarray:
    return np.moveaxis(image, 2, 0)


def cut(image: np.ndarray, window: Window = WINDOW) -> np.ndarray:
    return image[window.top : window.top + window.height, window.left : window.left + window.width]


def read(path: Path, window: Window = WINDOW) -> np.ndarray:
    with open_windows(path, ROOM) as source:
        return source.read(window)


def refusal(path: Path, room: int = ROOM) -> str:
    with pytest.raises(DataError) as caught, open_windows(path, room) as source:
        source.read(Window(0, 0, *source.size))
    return str(caught.value)


@pytest.fixture
def image() -> np.ndarray:
    return photo(150, 200)


@pytest.mark.parametrize("tiled", [True, False], ids=["tiles", "strips"])
def test_a_tiff_is_read_in_windows(tmp_path, image, tiled):
    profile = {} if tiled else {"tiled": False, "blockysize": 8}
    path = write_tiff(tmp_path / "a.tif", planes(image), **profile)
    with open_windows(path, 1) as source:  # 1 byte: decoding it whole would be refused
        assert isinstance(source, RasterImage)
        assert source.size == (150, 200)
        assert source.valid(WINDOW) is None
        assert source.georeference is None
        np.testing.assert_array_equal(source.read(WINDOW), cut(image))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_windows_hold_the_pixels_that_decoding_gives(tmp_path, image, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(image).save(path)
    np.testing.assert_array_equal(read(path), cut(decode_image(path)))


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_grey_palette_and_16_bits_are_as_decoding_gives_them(tmp_path, image, mode):
    path = tmp_path / "a.tif"
    if mode == "I;16":
        Image.fromarray(image[..., 0].astype(np.uint16) * 200).save(path)
    else:
        Image.fromarray(image).convert(mode).save(path)
    with open_windows(path, ROOM) as source:
        assert isinstance(source, RasterImage)
        np.testing.assert_array_equal(source.read(WINDOW), cut(decode_image(path)))


def test_16_bit_colour_is_scaled_and_further_bands_are_left_out(tmp_path, image):
    bands = planes(image).astype(np.uint16) * 256 + 255
    path = write_tiff(tmp_path / "a.tif", np.concatenate([bands, bands[:2]]))
    scaled = np.floor(bands[:3].transpose(1, 2, 0) / 257 + 0.5)
    np.testing.assert_array_equal(read(path), cut(scaled))


def test_alpha_and_nodata_say_where_data_is(tmp_path, image):
    alpha = np.full((1, 150, 200), 255, np.uint8)
    alpha[:, :50] = 0
    bands = np.concatenate([planes(image).clip(1), alpha])
    with open_windows(write_tiff(tmp_path / "a.tif", bands, alpha="YES"), ROOM) as source:
        np.testing.assert_array_equal(source.valid(WINDOW), cut(alpha[0] > 0))
        over_white = np.where(
            alpha[0][..., None] > 0, image.clip(1), 255
        )  # as plain prediction has it
        np.testing.assert_array_equal(source.read(WINDOW), cut(over_white))
    blank = bands[:3] * (alpha > 0)
    with open_windows(write_tiff(tmp_path / "b.tif", blank, nodata=0), ROOM) as source:
        np.testing.assert_array_equal(source.valid(WINDOW), cut(alpha[0] > 0))


def test_the_place_on_earth_is_kept(tmp_path, image):
    from affine import Affine

    place = Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
    path = write_tiff(tmp_path / "a.tif", planes(image), crs="EPSG:32632", transform=place)
    with open_windows(path, ROOM) as source:
        assert source.georeference is not None
        assert source.georeference.crs.to_epsg() == 32632
        assert source.georeference.transform == place


def test_a_damaged_tile_is_named(tmp_path, image):
    path = write_tiff(tmp_path / "a.tif", planes(image))
    with rasterio.open(path) as raster:
        offset = int(raster.get_tag_item("BLOCK_OFFSET_2_1", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[offset : offset + 400] = b"\xa5" * 400
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path}: rows 64-127, columns 128-191 are damaged (")
    np.testing.assert_array_equal(read(path, Window(0, 0, 64, 200)), image[:64])


def test_a_cut_off_tiff_is_damaged(tmp_path, image):
    path = write_tiff(tmp_path / "a.tif", planes(image))
    path.write_bytes(path.read_bytes()[:-3000])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("dtype", ["int16", "uint32", "int32"])
def test_whole_numbers_of_other_types_are_read(tmp_path, image, dtype):
    path = write_tiff(tmp_path / "a.tif", planes(image).astype(dtype))
    np.testing.assert_array_equal(read(path), cut(image))


@pytest.mark.parametrize(("dtype", "factor"), [("float32", 1), ("float64", 1), ("uint32", 10**5)])
def test_pixels_of_unknown_range_are_refused_with_the_way_out(tmp_path, image, dtype, factor):
    message = refusal(write_tiff(tmp_path / "a.tif", planes(image).astype(dtype) * factor))
    assert f"has {dtype} pixels" in message
    assert "range" in message
    assert "gdal_translate -ot Byte -scale" in message


def test_two_bands_are_refused(tmp_path, image):
    assert "has 2 bands" in refusal(write_tiff(tmp_path / "a.tif", planes(image)[:2]))


def test_one_strip_for_the_whole_image_is_refused_where_it_is_large(tmp_path, image, monkeypatch):
    monkeypatch.setattr(reader, "LARGEST_BLOCK", 60_000)
    path = write_tiff(tmp_path / "a.tif", planes(image), tiled=False, blockysize=150)
    message = refusal(path)
    assert "strips or tiles of 200x150 pixels, 90,000 bytes each" in message
    assert "-co TILED=YES" in message


def test_what_can_only_be_decoded_whole_has_to_fit(tmp_path, image):
    path = tmp_path / "a.png"
    Image.fromarray(image).save(path)
    with open_windows(path, 150 * 200 * 12) as source:
        assert isinstance(source, DecodedImage)
        assert source.held_bytes == image.nbytes
    message = refusal(path, 150 * 200 * 12 - 1)
    assert "(PNG, 200x150) can only be decoded whole here, which takes 360,000 bytes" in message
    assert "convert it to a tiled TIFF: gdal_translate" in message


def test_without_the_extra_a_tiff_is_decoded_whole(tmp_path, image, monkeypatch):
    monkeypatch.setattr(reader, "has_rasterio", lambda: False)
    path = write_tiff(tmp_path / "a.tif", planes(image))
    np.testing.assert_array_equal(read(path), cut(image))
    assert "pip install 'vitseg[geo]'" in refusal(path, 1000)


def test_gdal_opens_no_list_of_other_files(tmp_path, image):
    """A VRT may name any file or server."""
    path = tmp_path / "a.tif"
    write_tiff(tmp_path / "b.tif", planes(image))
    path.write_text(
        '<VRTDataset rasterXSize="200" rasterYSize="150"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{tmp_path}/b.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    assert "is not an image in a known format" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"no image"])
def test_no_image(tmp_path, content):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    assert refusal(path).startswith(str(path))
    assert "does not exist" in refusal(tmp_path / "b.tif")
