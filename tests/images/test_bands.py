"""Chosen bands: which are found where, and what is read of files of every kind."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.data.band_sets import write_tiff
from vitseg.errors import ConfigError, DataError
from vitseg.images.band_reader import decode_bands, file_bands, open_bands, picture_bands
from vitseg.images.bands import Band, Bands, FileBands, parse_bands, resolved, to_rgb
from vitseg.images.decode import decode_image, decode_mask, image_size
from vitseg.images.depth import may_be_deep
from vitseg.images.reader import decode, open_windows
from vitseg.images.value_range import ValueRange
from vitseg.images.window import Window

SIZE = (20, 30)
LIMITS = ValueRange(0, 4000)


@pytest.fixture
def values() -> np.ndarray:
    """(4, H, W) uint16 up to 4,000."""
    return np.random.default_rng(0).integers(0, 4001, (4, *SIZE)).astype(np.uint16)


def scaled(values: np.ndarray) -> np.ndarray:
    """What a range of 0 to 4,000 makes of values."""
    return np.floor(values * (255 / 4000) + 0.5 + 1e-9).astype(np.uint8)


def chosen(*numbers: int) -> Bands:
    return Bands.model_validate(list(numbers)).read_by(LIMITS)


@pytest.mark.parametrize(
    ("written", "numbers", "names"),
    [
        ([4, 3], [4, 3], [None, None]),
        ("4,3", [4, 3], [None, None]),
        (2, [2], [None]),
        ("nir, 1", [None, 1], ["nir", None]),
        ([{"number": 2, "value_range": [0, 5]}, "red"], [2, None], [None, "red"]),
        ({"chosen": "1", "extra_images": "nir"}, [1], [None]),
        ("all", [], []),
    ],
)
def test_ways_to_write_a_choice(written, numbers, names):
    bands = parse_bands(written, "here")
    assert [band.number for band in bands.chosen] == numbers
    assert [band.name for band in bands.chosen] == names


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ([1, 1], "twice"),
        ([0], "greater than or equal to 1"),
        ([True], "numbers from 1"),
        ([], "at least one"),
        ([{"value_range": [0, 1]}], "a number or a name"),
        ([{"number": 1, "value_range": [3, 3]}], "first below the second"),
        ([{"number": 1, "std": 0}], "positive"),
        ({"extra_images": "../nir"}, "beside the folder"),
    ],
)
def test_what_is_no_choice_is_refused(written, words):
    with pytest.raises(ConfigError, match=words):
        parse_bands(written, "here")


def test_a_band_is_found_by_its_name_else_by_its_number():
    found = FileBands(("B2", "B8", None), (None, None, "alpha"), ("uint16",) * 3)
    bands = Bands(chosen=(Band(number=5, name="b8"), Band(number=1, name="B9")))
    assert [band.number for band in resolved(bands, found, "a").chosen] == [2, 1]
    with pytest.raises(DataError, match=r"has 3 bands.*'NIR'"):
        resolved(Bands.model_validate(["NIR"]), found, "a")
    with pytest.raises(DataError, match=r"has 3 bands.*band 4 is needed"):
        resolved(Bands.model_validate([4]), found, "a")
    with pytest.raises(DataError, match="alpha"):
        resolved(Bands.model_validate([3]), found, "a")
    assert [band.number for band in resolved(Bands(), found, "a").chosen] == [1, 2]


def test_colours_by_names_else_by_the_file_and_what_is_shown():
    named = FileBands(("Blue", "Green", "Red", "NIR"), (None,) * 4, ("uint8",) * 4)
    bands = resolved(Bands(), named, "a")
    assert [band.color for band in bands.chosen] == ["blue", "green", "red", None]
    pixels = np.arange(4, dtype=np.uint8)[None, None]
    assert to_rgb(pixels, bands).tolist() == [[[2, 1, 0]]]
    told = FileBands((None,) * 4, ("red", "green", "blue", None), ("uint8",) * 4)
    assert [b.color for b in resolved(Bands(), told, "a").chosen] == ["red", "green", "blue", None]
    two = resolved(parse_bands("4,1", ""), told, "a")
    assert [band.color for band in two.chosen] == [None, None]
    assert to_rgb(pixels[..., :2], two).tolist() == [[[0, 0, 0]]]
    false = resolved(parse_bands("4,1,2", ""), told, "a")
    assert to_rgb(pixels[..., :3], false).tolist() == [[[0, 1, 2]]]


@pytest.mark.parametrize("kind", ["tif", "zstd", "npy", "npy-last", "fortran", "big-endian"])
def test_one_rule_for_all_files(tmp_path, values, kind):
    path = tmp_path / "a.npy"
    if kind in ("tif", "zstd"):
        pytest.importorskip("rasterio")
        way = "zstd" if kind == "zstd" else "deflate"
        path = write_tiff(tmp_path / "a.tif", values, compress=way)
    elif kind == "fortran":
        np.save(path, np.asfortranarray(values))
    elif kind == "big-endian":
        np.save(path, values.astype(">u2"))
    else:
        np.save(path, values if kind == "npy" else values.transpose(1, 2, 0))
    bands = chosen(4, 2)
    expected = scaled(values[[3, 1]]).transpose(1, 2, 0)
    decoded = decode(path, declared=bands)
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert decoded.notices == ()
    np.testing.assert_array_equal(decode(path.read_bytes(), declared=bands).pixels, expected)
    with open_windows(path, 10**8, bands) as image:
        np.testing.assert_array_equal(image.read(Window(3, 5, 7, 9)), expected[3:10, 5:14])
    with open_bands(path, bands) as image:
        planes = image.read_planes(Window(0, 0, *SIZE))
        np.testing.assert_array_equal(np.stack(planes), values[[3, 1]])
    assert file_bands(path).types == ("uint16",) * 4
    assert image_size(path) == SIZE


def test_pictures_that_pillow_reads(tmp_path, values):
    colors = (values[:3] >> 4).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(colors).save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(
        decode(tmp_path / "rgb.png", declared=chosen(3, 1)).pixels, colors[..., [2, 0]]
    )
    Image.fromarray(values[0]).save(tmp_path / "grey.png")
    grey = decode(tmp_path / "grey.png", declared=chosen(1)).pixels
    np.testing.assert_array_equal(grey[..., 0], scaled(values[0]))
    Image.fromarray(colors).convert("LA").save(tmp_path / "la.png")
    assert file_bands(tmp_path / "la.png").names == (None,)
    assert file_bands(tmp_path / "rgb.png").colors == ("red", "green", "blue")


def test_two_and_four_bands_and_floats(tmp_path):
    pytest.importorskip("rasterio")
    radar = np.random.default_rng(1).normal(-12, 4, (2, *SIZE)).astype(np.float32)
    radar[0, 0, 0] = np.nan
    path = write_tiff(tmp_path / "radar.tif", radar, nodata=float("nan"))
    bands = Bands(
        chosen=(Band(number=1, value_range=(-25, 0)), Band(number=2, value_range=(-30, 5)))
    )
    pixels = decode(path, declared=bands).pixels
    assert pixels.shape == (*SIZE, 2)
    assert pixels[0, 0, 0] == 0
    assert pixels[1, 1, 1] == np.floor((np.clip(radar[1, 1, 1], -30, 5) + 30) * 255 / 35 + 0.5)
    with open_windows(path, 10**8, bands) as image:
        valid = image.valid(Window(0, 0, *SIZE))
        assert valid is not None
        assert valid.dtype == bool
    with pytest.raises(DataError, match="nothing says which values are black"):
        decode(path, declared=Bands.model_validate([1, 2]))


def test_a_range_of_16_bits_leaves_8_bit_bands_alone(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(200, dtype=np.uint8).reshape(10, 20, 1))
    band = chosen(1)
    assert decode(tmp_path / "a.npy", declared=band).pixels.max() == 199
    narrow = Bands(chosen=(Band(number=1, value_range=(0, 100)),))
    assert decode(tmp_path / "a.npy", declared=narrow).pixels[4, 19, 0] == 252


def test_arrays_without_a_choice_are_pictures_too(tmp_path, values):
    path = tmp_path / "a.npy"
    np.save(path, values)
    decoded = decode(path, declared=LIMITS)
    np.testing.assert_array_equal(decoded.pixels, scaled(values[:3]).transpose(1, 2, 0))
    (notice,) = decoded.notices
    assert "4 bands" in notice.text
    assert may_be_deep(path)
    np.save(path, values[0])
    assert decode_image(path).shape == (*SIZE, 3)
    np.save(path, values[:2])
    with pytest.raises(DataError, match="2 bands"):
        decode_image(path)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[None]], dtype=object), "not loaded"),
        (np.zeros((4, 5), complex), "complex128"),
        (np.zeros((4, 5, 4), np.uint8), "equally long"),
        (np.zeros((2, 3, 4, 5), np.uint8), "array of"),
        (np.zeros((0, 5), np.uint8), "array of"),
        (np.zeros((100, 9, 99), np.uint8), "at most 64"),
        (np.zeros((4, 5), np.uint64), "uint64"),
    ],
)
def test_arrays_that_are_no_pictures(tmp_path, array, words):
    path = tmp_path / "a.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(DataError, match=words):
        decode_image(path)
    with pytest.raises(DataError, match=words):
        decode_bands(path, Bands.model_validate([1]))


def test_damaged_arrays(tmp_path):
    whole = io.BytesIO()
    np.save(whole, np.zeros((40, 50), np.uint16))
    for content in (whole.getvalue()[:-10], whole.getvalue()[:20]):
        with pytest.raises(DataError, match="damaged"):
            decode_image(content)


def test_masks_are_pictures(tmp_path):
    np.save(tmp_path / "m.npy", np.zeros((2, 3), np.uint8))
    with pytest.raises(DataError, match="is an array, but masks are pictures"):
        decode_mask(tmp_path / "m.npy")


@pytest.fixture
def pair(tmp_path, values):
    """images/train/a.png and, in the folder nir beside images, its fourth band."""
    for folder in ("images/train", "nir/train"):
        (tmp_path / folder).mkdir(parents=True)
    path = tmp_path / "images/train/a.png"
    colors = (values[:3] >> 4).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(colors).save(path)
    np.save(tmp_path / "nir/train/a.npy", values[3])
    return path, colors


def test_extra_images_follow(pair, values):
    path, colors = pair
    every = Bands(extra_images=("nir",))
    bands = resolved(every, picture_bands(path, every), "a").read_by(LIMITS)
    assert [band.color for band in bands.chosen] == ["red", "green", "blue", None]
    expected = np.concatenate([colors, scaled(values[3])[..., None]], axis=2)
    np.testing.assert_array_equal(decode(path, declared=bands).pixels, expected)
    turned = bands.model_copy(update={"chosen": bands.chosen[::-1]})
    np.testing.assert_array_equal(decode(path, declared=turned).pixels, expected[..., ::-1])
    with open_windows(path, 10**8, bands) as image:
        np.testing.assert_array_equal(image.read(Window(1, 2, 5, 6)), expected[1:6, 2:8])


def test_an_extra_image_that_is_missing_or_of_another_size(pair, tmp_path, values):
    path, _ = pair
    bands = Bands(chosen=Bands.model_validate([1, 2, 3, 4]).chosen, extra_images=("nir",))
    np.save(tmp_path / "nir/train/a.npy", values[3][:10])
    with pytest.raises(DataError, match="must have one size"):
        decode(path, declared=bands.read_by(LIMITS))
    (tmp_path / "nir/train/a.npy").unlink()
    with pytest.raises(DataError, match=r"no extra image in a folder nir.*nir/a"):
        decode(path, declared=bands)
    stacked = tmp_path / "images/train/b.npy"  # one file that has all bands will do
    np.save(stacked, values)
    assert decode(stacked, declared=bands.read_by(LIMITS)).pixels.shape == (*SIZE, 4)
