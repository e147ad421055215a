from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

from tests.images.test_windows import planes, write_tiff
from tests.tiny import photo
from vitseg.images.read_files import files_read, state_of

rasterio = pytest.importorskip("rasterio")

WORLD = "0.5\n0\n0\n-0.5\n700000\n6000000\n"


@pytest.fixture
def image(tmp_path) -> Path:
    (tmp_path / "images").mkdir()
    return write_tiff(tmp_path / "images/a.tif", planes(photo(20, 30)))


def names(image: Path, *extra: str) -> set[str]:
    return {path.name for path in files_read(image, extra)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tfw", WORLD),
        ("a.TFW", WORLD),
        ("a.tifw", WORLD),
        ("a.wld", WORLD),
        ("a.tif.aux.xml", "<PAMDataset><SRS>EPSG:32632</SRS></PAMDataset>"),
        ("a_RPC.TXT", "LINE_OFF: 10"),
        ("a.RPB", ""),
    ],
)
def test_what_gdal_reads_beside_a_raster_belongs_to_it(image, name, text):
    before = state_of(image)
    image.with_name(name).write_text(text)
    image.with_name(f"b{name}").write_text("of another image")
    image.with_name("a.txt").write_text("read by nobody")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(image) as raster:
            read_by_gdal = {Path(file).name for file in raster.files}
    assert read_by_gdal <= names(image) == {"a.tif", name}
    after = state_of(image)
    assert after != before
    os.utime(image.with_name(name), ns=(1, 1))
    assert state_of(image) != after


def test_a_mask_file_belongs_to_its_raster(image):
    write_tiff(image.with_name("a.tif.msk"), planes(photo(20, 30))[:1])
    assert names(image) == {"a.tif", "a.tif.msk"}


def test_extra_images_and_their_sidecars_belong_to_a_picture(image, tmp_path):
    assert names(image, "nir") == {"a.tif"}
    (tmp_path / "nir").mkdir()
    write_tiff(tmp_path / "nir/a.tiff", planes(photo(20, 30))[:1])
    (tmp_path / "nir/a.tfw").write_text(WORLD)
    assert names(image) == {"a.tif"}
    assert names(image, "nir") == {"a.tif", "a.tiff", "a.tfw"}


def test_of_a_link_what_lies_beside_its_file_is_read(image, tmp_path):
    image.with_name("a.tfw").write_text(WORLD)
    (tmp_path / "link.tif").symlink_to(image)
    assert names(tmp_path / "link.tif") == {"link.tif", "a.tfw"}


def test_a_picture_alone_is_its_size_and_time(image):
    stat = image.stat()
    assert state_of(image) == (stat.st_size, stat.st_mtime_ns)
    with pytest.raises(OSError, match="none"):
        state_of(image.with_name("none.tif"))
