"""Runs on chosen bands: what is measured and kept, and whether the model sees the band that counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.data.band_sets import SIZE, array, geotiff, scene, siblings, write_band_set, write_tiff
from tests.shown import Lines
from vitseg.changes import changed_recipe
from vitseg.checkpoint.model_dir import load_model
from vitseg.data.catalog import open_dataset
from vitseg.data.photometric import brighten
from vitseg.errors import ConfigError, DataError
from vitseg.evaluation.evaluate import evaluate
from vitseg.explain.view import View
from vitseg.inference.predictor import Predictor, load
from vitseg.inference.tiles import predict_large
from vitseg.inference.video import segment_video
from vitseg.runs import RECIPE
from vitseg.training.bands import with_bands
from vitseg.training.loop import train
from vitseg.training.preview import preview
from vitseg.training.recipe import Recipe, parse_recipe
from vitseg.training.task import task_of

pytest.importorskip("rasterio")


def recipe_of(source: str, iterations: int = 2, **data) -> Recipe:
    return parse_recipe(
        {
            "method": "linear",
            "backbone": {
                "name": "test_vit",
                "pretrained": False,
                "patch_size": 16,
                "taps": [3],
                "tap_norm": True,
            },
            "data": {
                "source": source,
                "num_workers": 0,
                "augment": {"crop_size": [64, 64], "max_class_share": 1.0},
                **data,
            },
            "optimizer": {"lr": 0.006, "head_lr_ratio": 1},
            "schedule": {"warmup_iterations": 1},
            "training": {"iterations": iterations, "batch_size": 2, "val_interval": 100},
        }
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_band_set(tmp_path_factory.mktemp("bands") / "data", geotiff)


@pytest.fixture(scope="module")
def run(root, tmp_path_factory) -> Path:
    """A run on all four bands, of which only the fourth tells the classes apart."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(recipe_of(f"folder:{root}?bands=1,2,3,4", 30), out)
    return out


@pytest.fixture(scope="module")
def predictor(run) -> Predictor:
    return load(run, "cpu")


def miou(run: Path) -> float:
    return json.loads((run / "result.json").read_text())["final"]["miou"]


@pytest.mark.slow
def test_the_fourth_band_makes_the_difference(run, root, tmp_path):
    train(recipe_of(f"folder:{root}?bands=1,2,3", 30), tmp_path / "without")
    assert miou(run) > 0.9
    assert miou(tmp_path / "without") < 0.6


def test_recipe_and_model_keep_all_that_was_measured(run, predictor):
    kept = yaml.safe_load((run / RECIPE).read_text())
    red, *_, fourth = kept["data"]["bands"]["chosen"]
    assert (red["number"], red["name"], red["color"]) == (1, "red", "red")
    assert (red["mean"], red["std"]) == (0.5, 0.5)  # of the pretrained weights
    assert (fourth["number"], fourth["name"], fourth["color"]) == (4, "nir", None)
    assert fourth["value_range"] == [0, 2599]
    assert kept["backbone"]["channels"] == ["red", "green", "blue", "other"]
    preprocessing = predictor.preprocessing
    assert preprocessing.num_channels == 4
    assert preprocessing.mean[3] == fourth["mean"]
    assert preprocessing.bands is not None
    assert preprocessing.bands.chosen[3].value_range == (0, 2599)
    assert predictor.model.state_dict()["backbone.patch_embed.proj.weight"].shape[1] == 4


def test_mean_and_std_by_hand(root):
    recipe = recipe_of(f"folder:{root}?bands=4")
    display = Lines()
    recipe, task = with_bands(recipe, task_of(recipe), display)
    assert recipe.data.bands is not None
    (band,) = recipe.data.bands.chosen
    values = np.stack([_band(root, name, 4) for name in task.train_set.ids]) / 2599
    assert (band.mean, band.std) == pytest.approx((values.mean(), values.std()), abs=2e-3)
    (line,) = [line for line in display.lines if line.startswith("warning")]
    assert "band 4 (nir): uint16 values from 400 to 2,599, of which 0 to 2,599" in line


def _band(root: Path, name: str, number: int) -> np.ndarray:
    import rasterio

    with rasterio.open(root / "images" / f"{name}.tif") as file:
        return file.read(number)


def test_what_is_given_is_not_measured(root):
    given = {"number": 4, "value_range": [0, 5000], "mean": 0.25, "std": 0.125}
    recipe = recipe_of(f"folder:{root}", bands=[given])
    display = Lines()
    recipe, task = with_bands(recipe, task_of(recipe), display)
    assert display.lines == []
    seen = recipe.preprocessing()
    assert (seen.mean, seen.std) == ((0.25,), (0.125,))
    image = task.train_set[0].image
    expected = _band(root, task.train_set.ids[0], 4) * (255 / 5000)
    np.testing.assert_allclose(image[..., 0], expected, atol=0.51)
    raw = recipe_of(f"folder:{root}", bands=[4]).to_mapping()
    raw["backbone"] |= {"mean": [0, 0, 0], "std": [1, 1, 1]}
    stated = parse_recipe(raw)
    with pytest.raises(ConfigError, match=r"backbone\.mean"):
        with_bands(stated, task_of(stated), display)


def test_a_run_is_repeated_by_its_own_recipe_and_resumed(run, root, tmp_path):
    kept = yaml.safe_load((run / RECIPE).read_text())
    again = parse_recipe(kept)
    display = Lines()
    same, _ = with_bands(again, task_of(again), display)
    assert same == again
    assert display.lines == []
    source = f"folder:{root.parent / 'data'}?bands=1,2,3,4"
    same_choice = recipe_of(source, 30, bands=[1, 2, 3, 4])
    assert changed_recipe(run, same_choice.to_mapping()) == []
    others = recipe_of(source, 30, bands=[1, 2, 3]).to_mapping()
    assert "data.bands.chosen" in changed_recipe(run, others)
    out = tmp_path / "run"
    train(recipe_of(f"folder:{root}?bands=4", 2), out)
    train(recipe_of(f"folder:{root}?bands=4", 2), out, resume=True)


@pytest.mark.parametrize("place", ["spec", "class file", "recipe"])
def test_where_bands_are_chosen(root, tmp_path, place):
    folder = tmp_path / "data"
    write_band_set(folder, array, 2, 1)
    content = json.loads((folder / "classes.json").read_text())
    if place == "class file":
        (folder / "classes.json").write_text(json.dumps({**content, "bands": [4, 1]}))
    source = f"folder:{folder}?bands=4,1" if place == "spec" else f"folder:{folder}"
    recipe = recipe_of(source, bands="4,1" if place == "recipe" else None)
    dataset = task_of(recipe).val_set
    assert dataset is not None
    assert dataset.bands is not None
    assert [band.number for band in dataset.bands.chosen] == [4, 1]
    assert dataset.with_value_range(None)[0].image.shape == (*SIZE, 2)


def test_channels_without_bands_are_refused(root):
    raw = recipe_of(f"folder:{root}").to_mapping()
    raw["backbone"]["channels"] = ["other"]
    with pytest.raises(ConfigError, match=r"follows from data\.bands"):
        parse_recipe(raw)


def test_evaluation_reads_the_bands_of_the_model(predictor, root):
    for spec in ("", "?bands=1", "?bands=all"):
        result = evaluate(predictor, open_dataset(f"folder:{root}{spec}", "val"))
        assert result.scores.mean_iou > 0.9
    assert [band["number"] for band in result.to_json()["bands"]["chosen"]] == [1, 2, 3, 4]


def test_tiles_equal_the_whole(predictor, root, tmp_path):
    path = root / "images" / "val_0.tif"
    whole = predictor(path)
    assert whole.image.shape == (*SIZE, 3)
    predict_large(predictor, path, tmp_path / "labels.png")
    labels = np.array(Image.open(tmp_path / "labels.png"))
    np.testing.assert_array_equal(labels, whole.label_map)


def test_a_file_with_other_places_is_read_by_names(predictor, root, tmp_path):
    values, labels = scene(np.random.default_rng(7))
    turned = write_tiff(tmp_path / "turned.tif", values[::-1], ("nir", "blue", "green", "red"))
    straight = write_tiff(tmp_path / "straight.tif", values)
    found = predictor(turned).label_map
    np.testing.assert_array_equal(found, predictor(straight).label_map)
    assert (found == labels).mean() > 0.8


def test_arrays_tensors_and_pictures(predictor, root):
    path = root / "images" / "val_0.tif"
    expected = predictor(path).label_map
    values = np.stack([_band(root, "val_0", number) for number in (1, 2, 3, 4)], axis=-1)
    pixels = predictor.pixels_of(path)
    tensor = torch.from_numpy(pixels.copy())
    for source in (values, pixels, tensor, tensor.permute(2, 0, 1), values.astype(np.float32)):
        np.testing.assert_array_equal(predictor(source).label_map, expected)
    for wrong in (pixels[..., :3], pixels[..., 0], tensor[..., :2]):
        with pytest.raises(DataError, match=r"sees 4 bands .*\(height, width, 4\)"):
            predictor(wrong)
    with pytest.raises(DataError, match=r"has 3 bands.*band 4 .nir. is needed"):
        predictor(Image.fromarray(pixels[..., :3]))


def test_views_previews_and_videos(predictor, root, tmp_path):
    view = View.of(predictor, root / "images" / "val_0.tif")
    assert view.image.shape == (*SIZE, 3)
    assert view.images.shape[1] == 4
    recipe = recipe_of(f"folder:{root}?bands=4,1")
    (shown,) = preview(recipe, open_dataset(f"folder:{root}?bands=4,1", "train"), 1)
    assert shown.sample.image.shape == (*SIZE, 3)
    assert shown.crop.shape == (64, 64, 3)
    assert (shown.crop == shown.crop[..., :1]).all()  # of two bands the first, in grey
    with pytest.raises(ConfigError, match="frames of a video"):
        segment_video(predictor, tmp_path / "in.mp4", tmp_path / "out.mp4")


def test_one_range_for_all_does_not_replace_those_of_the_bands(run):
    with pytest.raises(ConfigError, match="for each of its bands"):
        load(run, "cpu", value_range=(0, 10))


def test_a_model_of_extra_images(tmp_path):
    root = write_band_set(tmp_path / "data", siblings)
    train(recipe_of(f"folder:{root}?extra=nir"), tmp_path / "run")
    predictor = load(tmp_path / "run", "cpu")
    bands = predictor.preprocessing.bands
    assert bands is not None
    assert bands.extra_images == ("nir",)
    assert [band.value_range for band in bands.chosen] == [None, None, None, (0, 2599)]
    path = root / "images" / "val_0.png"
    assert predictor(path).label_map.shape == SIZE
    (root / "nir" / "val_0.png").unlink()
    with pytest.raises(DataError, match="no extra image in a folder nir"):
        predictor(path)


def test_a_model_whose_backbone_has_other_channels_is_refused(run, tmp_path):
    from vitseg.checkpoint.model_dir import save_model
    from vitseg.errors import CheckpointError

    model, record = load_model(run)
    config = {**record.architecture, "backbone": {**record.architecture["backbone"], "channels": None}}  # fmt: skip
    save_model(tmp_path / "m", model, record.model_copy(update={"architecture": config}))
    with pytest.raises(CheckpointError, match="backbone of 3 channels, but pictures of 4"):
        load_model(tmp_path / "m")


def test_brightness_and_contrast_are_alike_in_all_bands():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8).repeat(4, 2)
    changed = [brighten(image, np.random.default_rng(seed)) for seed in range(8)]
    assert any((each != image).any() for each in changed)
    assert all((each == each[..., :1]).all() for each in changed)
