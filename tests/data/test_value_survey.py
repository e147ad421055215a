"""The one range of a data set whose images have more than 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.data.deep_sets import noted_tiff, png8, png16, some, write_deep_set
from vitseg.data import value_survey
from vitseg.data.catalog import open_dataset
from vitseg.data.picked import picked
from vitseg.data.value_survey import MOST_MEASURED, measured_range
from vitseg.errors import DataError
from vitseg.images.value_range import ValueRange

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning"
)  # of rasterio: the files have no place


def measure(root, split="train"):
    return measured_range(open_dataset(f"folder:{root}", split))


def float_tiff(largest, spoilt=False):
    rasterio = pytest.importorskip("rasterio")

    def write(path, number, scene):
        values = (scene / 0.95 * largest).astype(np.float32)
        if spoilt:
            values[0, :6] = (np.nan, np.inf, -np.inf, -3.4028235e38, np.nan, 1e35)
        height, width = values.shape
        profile = {"driver": "GTiff", "height": height, "width": width, "count": 1}
        with rasterio.open(path.with_suffix(".tif"), "w", dtype="float32", **profile) as file:
            file.write(values[None])

    return write


def int_tiff(path, number, scene):
    rasterio = pytest.importorskip("rasterio")
    values = (scene * 3000).astype(np.int16)
    values[:5] = -9999
    height, width = values.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "nodata": -9999}
    with rasterio.open(path.with_suffix(".tif"), "w", dtype="int16", **profile) as file:
        file.write(values[None])


def test_twelve_bits_of_any_exposure_have_one_range(tmp_path):
    found = measure(write_deep_set(tmp_path / "data", png16(4000)))
    assert found is not None
    assert found.limits == (0, 4095)  # nearly reached by the brightest image alone
    assert (found.num_measured, found.num_deep, found.num_others) == (4, 4, 0)
    assert found.extremes is not None
    assert 0 < found.extremes[0] < 200
    assert 3900 < found.extremes[1] <= 4000
    assert "[0,4095]" in found.sentence("training")


def test_the_others_are_brighter_or_darker_by_it(tmp_path):
    root = write_deep_set(tmp_path / "data", png16(4000))
    dataset = open_dataset(f"folder:{root}", "train")
    own = [dataset[index].image.max() for index in range(4)]
    assert min(own) > 240  # all look alike
    found = measured_range(dataset)
    assert found is not None
    alike = dataset.with_value_range(found.limits)
    brightest = [int(alike[index].image.max()) for index in range(4)]
    np.testing.assert_allclose(brightest, [62, 125, 187, 249], atol=2)


def test_eight_bits_are_not_even_decoded(tmp_path, monkeypatch):
    root = write_deep_set(tmp_path / "data", png8)
    monkeypatch.setattr(value_survey, "decode", None)
    assert measure(root) is None


def test_a_declared_range_is_not_measured(tmp_path, monkeypatch):
    root = write_deep_set(tmp_path / "data", png16(4000))
    monkeypatch.setattr(value_survey, "decode", None)
    dataset = open_dataset(f"folder:{root}", "train").with_value_range(ValueRange(0, 3000))
    assert measured_range(dataset) is None


def test_images_of_8_bits_among_them_are_counted_and_do_not_count(tmp_path):
    found = measure(write_deep_set(tmp_path / "data", some(png16(4000), png8, [0, 1])))
    assert found is not None
    assert found.limits == (0, 4095)
    assert (found.num_deep, found.num_others) == (2, 2)
    assert "other 2 have 8 bits" in found.sentence("training")


def test_files_that_note_one_range_speak_for_themselves(tmp_path):
    assert measure(write_deep_set(tmp_path / "data", noted_tiff(lambda number: 3060))) is None


def test_files_that_note_different_ranges_get_the_one_that_encloses_all(tmp_path):
    write = noted_tiff(lambda number: 1000 * (number + 1))
    found = measure(write_deep_set(tmp_path / "data", write))
    assert found is not None
    assert found.limits == (0, 4000)
    assert found.differ
    assert "note different ranges" in found.sentence("training")


def test_files_that_note_theirs_count_beside_others(tmp_path):
    write = some(png16(2000), noted_tiff(lambda number: 5000), [1])
    found = measure(write_deep_set(tmp_path / "data", write))
    assert found is not None
    assert found.limits == (0, 5000)


@pytest.mark.parametrize(
    ("largest", "limits"), [(0.8, (0, 0.8)), (0.97, (0, 1)), (3000, (0, 3000)), (2.5e6, (0, 2.5e6))]
)
def test_floating_point_values(tmp_path, largest, limits):
    found = measure(write_deep_set(tmp_path / "data", float_tiff(largest)))
    assert found is not None
    assert found.words == ("float32",)
    np.testing.assert_allclose(found.limits, limits, rtol=0.02)
    assert found.limits.low == 0
    assert len(f"{found.limits.high:.10g}") <= 7  # a number to be written down


def test_what_is_no_number_or_no_data_does_not_count(tmp_path):
    plain = measure(write_deep_set(tmp_path / "plain", float_tiff(0.8)))
    spoilt = measure(write_deep_set(tmp_path / "spoilt", float_tiff(0.8, spoilt=True)))
    assert plain is not None
    assert spoilt is not None
    assert spoilt.limits == pytest.approx(plain.limits, abs=0.002)


def test_nodata_does_not_count(tmp_path):
    found = measure(write_deep_set(tmp_path / "data", int_tiff))
    assert found is not None
    assert found.limits.low == 0
    assert 2700 < found.limits.high < 3000
    assert found.extremes is not None
    assert found.extremes[0] > 0


def test_types_of_values_that_mean_different_things_are_told(tmp_path):
    found = measure(write_deep_set(tmp_path / "data", some(png16(4000), float_tiff(0.8), [0, 1])))
    assert found is not None
    assert found.limits == (0, 4095)
    assert "far apart" in found.sentence("training")


def test_one_constant_image_changes_nothing(tmp_path):
    def write(path, number, scene):
        png16(4000)(path, number, np.full_like(scene, 0.2) if number == 0 else scene)

    found = measure(write_deep_set(tmp_path / "data", write))
    assert found is not None
    assert found.limits == (0, 4095)


def test_images_that_cannot_be_read_are_left_to_the_training(tmp_path):
    root = write_deep_set(tmp_path / "data", png16(4000))
    path = root / "images" / "i2.png"
    path.write_bytes(path.read_bytes()[:300])
    found = measure(root)
    assert found is not None
    assert found.num_measured == 3
    assert found.limits == (0, 4095)


def test_no_more_than_some_images_are_counted(tmp_path, monkeypatch):
    root = write_deep_set(tmp_path / "data", png16(4000))
    whole = open_dataset(f"folder:{root}", "train")
    many = picked(whole, [index % 4 for index in range(3 * MOST_MEASURED)])
    read = []
    decode = value_survey.decode
    monkeypatch.setattr(
        value_survey, "decode", lambda path, **given: read.append(path) or decode(path, **given)
    )
    found = measured_range(many)
    assert found is not None
    assert len(read) == found.num_measured == MOST_MEASURED
    assert found.num_deep == 3 * MOST_MEASURED
    assert f"in {MOST_MEASURED} of them" in found.sentence("training")


def test_some_images_of_a_set_keep_its_range(tmp_path):
    root = write_deep_set(tmp_path / "data", png16(4000))
    dataset = open_dataset(f"folder:{root}", "train").with_value_range(ValueRange(0, 3000))
    assert picked(dataset, [2]).value_range == (0, 3000)


def test_masks_are_never_scaled(tmp_path):
    root = write_deep_set(tmp_path / "data", png16(4000))
    for path in (root / "masks").iterdir():
        ids = np.array(Image.open(path)).astype(np.uint16) * 300
        Image.fromarray(ids).save(path)
    (root / "classes.json").write_text('{"classes": {"0": "sky", "300": "road", "600": "tree"}}')
    plain = open_dataset(f"folder:{root}", "train")
    labels = plain[3].label_map
    assert np.unique(labels).tolist() == [0, 1, 2]
    scaled = plain.with_value_range(ValueRange(0, 500))
    np.testing.assert_array_equal(scaled[3].label_map, labels)
    assert np.unique(scaled.raw_ids(3)).tolist() == [0, 300, 600]


def test_a_class_file_declares_the_range(tmp_path):
    root = write_deep_set(tmp_path / "data", png16(4000))
    (root / "classes.json").unlink()
    (root / "classes.yaml").write_text("classes: [sky, road, tree]\nvalue_range: [0, 2000]\n")
    for split in ("train", "val"):
        assert open_dataset(f"folder:{root}", split).value_range == (0, 2000)
    assert open_dataset(f"folder:{root}", "train")[1].image.max() == 255  # half of the light
    assert measure(root) is None


@pytest.mark.parametrize(
    "value_range", ["[5, 5]", "[1]", "[0, .nan]", "12", "[a, b]", "[0, 1, 2]", "{low: 1}"]
)
def test_a_class_file_that_declares_none_is_refused(tmp_path, value_range):
    root = write_deep_set(tmp_path / "data", png16(4000))
    (root / "classes.json").unlink()
    (root / "classes.yaml").write_text(f"classes: [sky, road, tree]\nvalue_range: {value_range}\n")
    with pytest.raises(DataError, match="value_range"):
        open_dataset(f"folder:{root}", "train")


def test_a_class_file_may_leave_it_open(tmp_path):
    root = write_deep_set(tmp_path / "data", png16(4000))
    (root / "classes.json").write_text('{"classes": ["sky", "road", "tree"], "value_range": null}')
    assert open_dataset(f"folder:{root}", "train").value_range is None
