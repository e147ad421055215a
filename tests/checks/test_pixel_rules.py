"""What `data check` says of depth, range, bands, pages and transparency of images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.checks.trees import bands, picture, save_image, save_mask, write_tree
from tests.data.deep_sets import noted_tiff, png8, png16, some, write_deep_set
from vitseg.checks.run import check_dataset

ABOUT_PIXELS = {
    "unstated-range", "deep-values", "mixed-depths", "range-differs", "further-pages", "further-frames",
    "bands-left-out", "transparency", "unreadable-image",
}  # fmt: skip


def findings(root, workers=0):
    report = check_dataset(f"folder:{root}", num_workers=workers)
    return {finding.code: finding for finding in report.findings if finding.code in ABOUT_PIXELS}


def test_nothing_of_photos(tmp_path):
    assert findings(write_tree(tmp_path / "data")) == {}
    assert findings(write_deep_set(tmp_path / "grey", png8)) == {}


@pytest.mark.parametrize("workers", [0, 1])
def test_values_of_12_bits_without_a_range(tmp_path, workers, monkeypatch):
    monkeypatch.setattr("vitseg.checks.run.CHUNK", 1)  # so that processes are started
    found = findings(write_deep_set(tmp_path / "data", png16(4000)), workers)
    assert set(found) == {"unstated-range"}
    finding = found["unstated-range"]
    assert (finding.severity, finding.count) == ("warning", 6)
    assert "6 images have uint16 pixels" in finding.message
    assert "12-bit values in 16-bit files" in finding.message
    assert "to 3,99" in finding.message or "to 4,000" in finding.message
    assert "0 to 4,095" in finding.fix
    assert "data.value_range: [0, 4095]" in finding.fix


def test_values_whose_files_state_a_range(tmp_path):
    found = findings(write_deep_set(tmp_path / "data", noted_tiff(lambda number: 3060)))
    assert set(found) == {"deep-values"}
    assert found["deep-values"].severity == "info"
    assert "their files state" in found["deep-values"].fix


def test_files_that_note_different_ranges(tmp_path):
    write = noted_tiff(lambda number: 1000 + 500 * number)
    found = findings(write_deep_set(tmp_path / "data", write))
    assert set(found) == {"deep-values"}
    assert "0 to 2,500" in found["deep-values"].fix


def test_two_depths_in_a_split(tmp_path):
    found = findings(write_deep_set(tmp_path / "data", some(png16(4000), png8, [0, 4])))
    assert set(found) == {"unstated-range", "mixed-depths"}
    assert "train: 1 of 8 bits and 3 of uint16; val: 1 of 8 bits and 1 of uint16" in (
        found["mixed-depths"].message
    )
    assert found["mixed-depths"].count == 2
    assert "i0.png" in found["mixed-depths"].files[0]


@pytest.mark.parametrize(("first", "second"), [(png16(4000), png8), (png8, png16(4000))])
def test_training_images_of_another_depth(tmp_path, first, second):
    found = findings(write_deep_set(tmp_path / "data", some(first, second, [4, 5])))
    assert set(found) == {"unstated-range", "mixed-depths"}


def test_validation_images_far_above_the_training_images(tmp_path):
    found = findings(write_deep_set(tmp_path / "data", some(png16(4000), png16(60_000), [4, 5])))
    assert set(found) == {"unstated-range", "range-differs"}
    assert "of val reach 4" in found["range-differs"].message  # 0.8 of 60,000
    reverse = write_deep_set(tmp_path / "reverse", some(png16(60_000), png16(4000), [4, 5]))
    assert set(findings(reverse)) == {"unstated-range"}


def test_floating_point_images_are_read(tmp_path):
    def write(path, number, scene):
        Image.fromarray((0.7 * scene).astype(np.float32)).save(path.with_suffix(".tif"))

    found = findings(write_deep_set(tmp_path / "data", write))
    assert set(found) == {"unstated-range"}
    assert "float" in found["unstated-range"].message
    assert "data.value_range: [0, 0." in found["unstated-range"].fix


def test_bands_pages_frames_and_transparency(tmp_path):
    root = write_tree(tmp_path / "data")
    clear = picture(30).convert("RGBA")
    clear.putpixel((0, 0), (0, 0, 0, 0))
    save_image(root, "train/clear", clear)
    for suffix, key in ((".tif", "train/pages"), (".gif", "train/frames")):
        path = save_image(root, key, picture(31 if suffix == ".tif" else 33), suffix)
        more = [picture(32), picture(34)]
        picture(31 if suffix == ".tif" else 33).save(path, save_all=True, append_images=more)
    for key in ("train/clear", "train/pages", "train/frames"):
        save_mask(root, key, bands(0))
    found = findings(root)
    assert set(found) == {"transparency", "further-pages", "further-frames"}
    assert {finding.severity for finding in found.values()} == {"info"}
    assert "page 1 of 3" in found["further-pages"].message
    assert "pages.tif" in found["further-pages"].message
    assert "first frame" in found["further-frames"].message
    assert found["transparency"].files[0].endswith("clear.png")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_fourth_band_is_alpha_or_is_left_out(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    root = write_tree(tmp_path / "data")
    for number, alpha in enumerate(("yes", "unspecified", "unspecified")):
        pixels = np.asarray(picture(40 + number)).transpose(2, 0, 1)
        four = np.concatenate([pixels, np.full_like(pixels[:1], 200)])
        profile = {"height": 48, "width": 64, "count": 4, "dtype": "uint8", "photometric": "RGB"}
        path = root / "images" / "train" / f"b{number}.tif"
        with rasterio.open(path, "w", driver="GTiff", alpha=alpha, **profile) as file:
            file.write(four)
        save_mask(root, f"train/b{number}", bands(0))
    found = findings(root)
    assert set(found) == {"transparency", "bands-left-out"}
    assert found["transparency"].count == 1
    assert found["bands-left-out"].count == 2
    assert "not tagged as alpha" in found["bands-left-out"].message


def test_a_declared_range(tmp_path):
    root = write_deep_set(tmp_path / "data", png16(4000))
    (root / "classes.json").write_text(
        '{"classes": ["sky", "road", "tree"], "value_range": [0, 5000]}'
    )
    found = findings(root)
    assert set(found) == {"deep-values"}
    assert "0 to 5,000 is declared" in found["deep-values"].fix
