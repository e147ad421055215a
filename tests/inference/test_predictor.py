from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vitseg
from tests.tiny import make_model, make_predictor, photo, write_model
from vitseg.classes import ClassTable
from vitseg.errors import CheckpointError, ConfigError, DataError, VitsegError
from vitseg.inference import view_image
from vitseg.inference.predictor import Predictor, choose_device
from vitseg.inference.scores import full_scores
from vitseg.inference.segmentation import Segmentation

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return make_predictor()


def test_path_picture_and_array_give_the_same(tmp_path, predictor):
    pixels = photo(70, 90)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    by_path = predictor(path)
    assert len(np.unique(by_path.label_map)) > 1
    for source in (str(path), Image.open(path), pixels):
        found = predictor(source)
        np.testing.assert_array_equal(found.label_map, by_path.label_map)
        np.testing.assert_array_equal(found.image, pixels)
    assert by_path.path == path
    assert predictor(pixels).path is None


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photo_is_segmented_upright(tmp_path, predictor, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / "photo.png"
    Image.fromarray(photo(50, 80)).save(path, exif=exif)
    upright = np.rot90(photo(50, 80), {1: 0, 3: 2, 6: 3, 8: 1}[orientation])
    for source in (path, Image.open(path)):
        found = predictor(source)
        assert found.size == upright.shape[:2]
        np.testing.assert_array_equal(found.image, upright)
        np.testing.assert_array_equal(found.label_map, predictor(upright).label_map)


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_pictures_of_every_mode_run(tmp_path, predictor, mode):
    picture = Image.fromarray(photo(40, 60))
    if mode == "I;16":
        grey = np.asarray(picture.convert("L")).astype(np.uint16)
        picture = Image.fromarray(grey * 257)
    else:
        picture = picture.convert(mode)
    assert picture.mode == mode
    path = tmp_path / ("photo.tif" if mode == "CMYK" else "photo.png")
    picture.save(path)
    assert predictor(path).size == (40, 60)
    assert predictor(picture).size == (40, 60)


def test_16_bit_grey_is_the_same_as_its_8_bit_version(tmp_path, predictor):
    grey = np.asarray(Image.fromarray(photo(40, 60)).convert("L"))
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    labels = [predictor(tmp_path / name).label_map for name in ("8.png", "16.png")]
    np.testing.assert_array_equal(*labels)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((4, 5, 3), np.float32),
        np.zeros((0, 5, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(predictor, array):
    with pytest.raises(DataError, match=r"allowed is \(height, width, 3\) uint8 RGB"):
        predictor(array)


def test_a_file_that_is_no_image_is_refused(tmp_path, predictor):
    path = tmp_path / "photo.png"
    path.write_text("no picture")
    with pytest.raises(DataError, match=r"photo\.png is not an image in a known format"):
        predictor(path)
    with pytest.raises(DataError, match="does not exist"):
        predictor(tmp_path / "none.png")


def test_resize_brings_large_photos_to_its_limits():
    """The model sees 64 x 96 of a photo of 200 x 300; the label map has the photo's size."""
    predictor = make_predictor(resize=(120, 64))
    sizes = []
    predictor.model.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape)))
    assert predictor(photo(200, 300)).size == (200, 300)
    assert sizes == [(1, 3, 64, 96)]


def test_the_model_runs_in_evaluation_mode_without_gradients(predictor):
    before = predictor(photo(64, 64)).label_map
    predictor.model.train()
    scores = predictor.scores(photo(64, 64))
    assert not predictor.model.training
    assert not scores.rows(0, 1).requires_grad
    np.testing.assert_array_equal(predictor(photo(64, 64)).label_map, before)


def test_load_reads_model_directories(tmp_path):
    write_model(tmp_path / "model", inference={"flip": True})
    predictor = vitseg.load(tmp_path / "model")
    assert predictor.inference.flip
    assert predictor(photo(40, 50)).size == (40, 50)
    with pytest.raises(CheckpointError, match="does not exist"):
        vitseg.load(str(tmp_path / "none"))


def test_a_wrong_protocol_in_the_model_is_named(tmp_path):
    write_model(tmp_path / "model", inference={"mode": "slide"})
    with pytest.raises(ConfigError, match='inference: mode "slide" needs crop_size'):
        vitseg.load(tmp_path / "model", "cpu")


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "tpu", ""])
def test_devices_that_are_not_here_are_refused(name):
    with pytest.raises(ConfigError, match="Allowed: auto, cpu, cuda, cuda:N, mps"):
        choose_device(name)


def test_auto_is_a_device():
    assert choose_device("auto").type in {"cpu", "cuda", "mps"}
    assert choose_device("cpu") == torch.device("cpu")


@pytest.fixture
def segmentation() -> Segmentation:
    """4 x 5 pixels: 12 of class 2, 8 of class 0, none of class 1."""
    labels = np.full((4, 5), 2, np.uint8)
    labels[:2, :4] = 0
    classes = ClassTable(names=("sky", "road", "tree"), palette=((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    return Segmentation(labels, classes, np.full((4, 5, 3), 100, np.uint8))


def test_class_areas_are_shares_largest_first(segmentation):
    assert list(segmentation.class_areas.items()) == [("tree", 0.6), ("sky", 0.4)]
    assert segmentation.size == (4, 5)


def test_overlay_paints_the_classes(segmentation):
    plain = segmentation.overlay(legend=False)
    assert plain.size == (5, 4)
    assert np.array_equal(segmentation.overlay(opacity=0.0, legend=False), segmentation.image)
    assert plain.getpixel((0, 0)) == pytest.approx(
        (45.55, 46.1, 46.65), abs=1
    )  # 45 + 0.55 * (1, 2, 3)
    legend = segmentation.overlay()
    assert legend.height > plain.height


def test_save_writes_indices_and_palette(tmp_path, segmentation):
    path = tmp_path / "new" / "mask.png"
    segmentation.save(str(path))
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.getpalette()[:9] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
        np.testing.assert_array_equal(np.array(image), segmentation.label_map)


def test_save_keeps_the_indices_of_many_classes(tmp_path):
    classes = ClassTable.from_names([f"class {index}" for index in range(300)])
    labels = np.array([[0, 299], [256, 1]], np.uint16)
    found = Segmentation(labels, classes, np.zeros((2, 2, 3), np.uint8), Path("photo.jpg"))
    found.save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as image:
        np.testing.assert_array_equal(np.array(image), labels)
    assert found.class_areas["class 299"] == 0.25


@pytest.mark.parametrize(("num_classes", "stored"), [(255, 255), (256, 65_535), (300, 65_535)])
def test_pixels_without_data_are_no_class_in_a_png(tmp_path, num_classes, stored):
    classes = ClassTable.from_names([f"class {index}" for index in range(num_classes)])
    labels = np.array([[0, num_classes - 1], [1, 1]], np.uint16)
    valid = np.array([[True, True], [False, True]])
    image = np.zeros((2, 2, 3), np.uint8)
    Segmentation(labels, classes, image, valid=valid).save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as mask:
        assert np.array(mask).tolist() == [[0, num_classes - 1], [stored, 1]]


def test_pixels_without_data_have_no_label(tmp_path, segmentation):
    rasterio = pytest.importorskip("rasterio")
    valid = np.ones(segmentation.label_map.shape, bool)
    valid[:, :2] = False
    found = replace(segmentation, valid=valid)
    counts = np.bincount(segmentation.label_map[valid], minlength=3)
    assert sum(found.class_areas.values()) == pytest.approx(1)
    first = max(range(3), key=lambda index: counts[index])
    assert next(iter(found.class_areas.values())) == pytest.approx(counts[first] / valid.sum())
    assert replace(found, valid=np.zeros_like(valid)).class_areas == {}
    found.save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), np.where(valid, segmentation.label_map, 255))
    found.save(tmp_path / "mask.tif")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(tmp_path / "mask.tif") as raster:
            stored = raster.read(1)
            assert raster.nodata == 255
    np.testing.assert_array_equal(stored, np.where(valid, segmentation.label_map, 255))
    painted = np.asarray(found.overlay(opacity=1.0, legend=False))
    assert not painted[:, 0].any()  # as ignored ones
    assert found.scaled(0.5).valid is not None


def test_a_format_that_would_change_the_labels_is_refused(tmp_path, segmentation):
    with pytest.raises(ConfigError, match=r"saved as \.png or \.tif"):
        segmentation.save(tmp_path / "mask.jpg")


def test_labels_are_not_saved_over_the_image(tmp_path):
    Image.fromarray(photo(20, 30)).save(tmp_path / "photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    with pytest.raises(ConfigError, match="is the image itself"):
        make_predictor()(tmp_path / "photo.png").save(tmp_path / "photo.png")
    assert (tmp_path / "photo.png").read_bytes() == before


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
@pytest.mark.parametrize(
    "inference",
    [
        {"resize": (256, 64)},
        {"mode": "slide", "crop_size": (512, 512), "stride": (512, 512), "blend": "cosine"},
    ],
)
def test_very_long_images(size, inference):
    labels = make_predictor(**inference)(np.zeros((*size, 3), np.uint8)).label_map
    assert labels.shape == size


def test_an_image_too_long_for_the_least_short_side():
    predictor = make_predictor(resize=(512, 64), min_short=64)
    assert predictor(np.zeros((20, 60, 3), np.uint8)).label_map.shape == (20, 60)
    with pytest.raises(DataError, match="would be run at 2560000x128"):
        make_predictor(resize=(512, 128), min_short=64)(np.zeros((1, 20_000, 3), np.uint8))


def test_scores_that_are_no_numbers_name_the_image(tmp_path):
    model = make_model()
    with torch.no_grad():
        next(iter(model.decoder.parameters())).fill_(float("nan"))
    path = tmp_path / "photo.png"
    Image.fromarray(photo(40, 60)).save(path)
    with pytest.raises(VitsegError, match=r"photo\.png: the model's scores are NaN or infinite"):
        make_predictor(model)(path)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    "inference", [{}, {"mode": "slide", "crop_size": (64, 64), "stride": (40, 30)}]
)
def test_large_views_are_normalised_window_by_window(monkeypatch, inference, flip):
    """The numbers are the same, whether a view is there as a whole or not."""
    predictor = make_predictor(**inference, flip=flip, scales=(0.7, 1.3))
    expected = full_scores(predictor.scores(photo(90, 120)))
    monkeypatch.setattr(view_image, "NORMALISED_AT_ONCE", 0)
    found = full_scores(predictor.scores(photo(90, 120)))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
