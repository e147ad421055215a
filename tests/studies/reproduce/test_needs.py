"""What a row needs: its data set, its weights, and estimates of hours and memory."""

from __future__ import annotations

import pytest

from tests.tiny import write_dataset
from tests.training.test_recipe_runs import write_scenes
from vitseg.backbones.config import BackboneConfig, PyramidConfig
from vitseg.data.official.tables import read_table
from vitseg.errors import CheckpointError, DataError
from vitseg.studies.reproduce import weights as weights_of
from vitseg.studies.reproduce.costs import count_costs, kept_bytes
from vitseg.studies.reproduce.data_set import find_data_set, require_data_set
from vitseg.studies.reproduce.needs import PACE, needs, published_lines
from vitseg.studies.reproduce.weights import require_weights, weights_line
from vitseg.training.published import read_published
from vitseg.training.recipe import load_recipe
from vitseg.training.recipe_shelf import find_shipped

SPLITS = {
    "ade20k": (("training", 20_210), ("validation", 2_000)),
    "cityscapes": (("train", 2_975), ("val", 500)),
    "coco_stuff_10k": (("train2014", 9_000), ("test2014", 1_000)),
    "pascal_context_60": (("train", 4_998), ("val", 5_105)),
    "camvid": (("train", 367), ("val", 101)),
}


@pytest.mark.parametrize("name", SPLITS)
def test_every_published_data_set_is_known(name):
    found = find_data_set(name, [split for split, _ in SPLITS[name]])
    assert found is not None
    assert found.images == dict(SPLITS[name])
    assert found.licence
    assert f"vitseg data prepare {name}" in found.source


def test_ones_own_data_are_not():
    assert find_data_set("folder", ("train",)) is None
    assert require_data_set("folder", "folder:nowhere", ("train",)) == ()


def test_data_of_other_classes_are_refused(tmp_path):
    data = write_dataset(tmp_path / "data")
    with pytest.raises(DataError, match=r"sky, road, tree, but the recipe is for camvid with 11"):
        require_data_set("camvid", f"folder:{data}", ("train", "val"))


def test_data_that_are_not_whole_are_told(shared, tmp_path):
    whole = f"camvid:{shared / 'data' / 'camvid'}"
    assert require_data_set("camvid", whole, ("train", "val")) == ()
    part = write_scenes(tmp_path / "part", read_table("camvid", "").classes.names)
    train, val = require_data_set("camvid", f"folder:{part}", ("train", "val"))
    assert train.startswith("train has 2 images, but 367 are official")
    assert val.startswith("val has 1 images, but 101 are official")


VIT = BackboneConfig(name="vit_tiny_patch16_224.augreg_in21k_ft_in1k", taps=(11,))


def test_weights_are_named_with_their_place_and_licence():
    line = weights_line(VIT)
    assert "model.safetensors of timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k" in line
    assert "apache-2.0, as timm states" in line
    mit = PyramidConfig(name="mit_b0", levels=(0,))
    assert "nvidia/mit-b0" in weights_line(mit)
    random = VIT.model_copy(update={"pretrained": False})
    assert "random" in weights_line(random)
    require_weights(random)
    require_weights(VIT.model_copy(update={"weights": "there.safetensors"}))


def test_weights_that_cannot_be_had_are_told_at_once(monkeypatch):
    monkeypatch.setattr(weights_of, "is_reachable", lambda: False)
    monkeypatch.setattr(
        weights_of.huggingface_hub, "try_to_load_from_cache", lambda repo, file: None
    )
    with pytest.raises(CheckpointError, match=r"fetch model\.safetensors of timm/vit_tiny_patch16"):
        require_weights(VIT)
    with pytest.raises(CheckpointError, match=r"resnet18c cannot be downloaded: pass a file"):
        require_weights(PyramidConfig(name="resnet18c", levels=(0,)))
    monkeypatch.setattr(weights_of, "is_reachable", lambda: True)
    require_weights(VIT)


@pytest.mark.slow
def test_hours_follow_from_multiply_adds_and_iterations():
    shown, _ = find_shipped("camvid/segvit-vit_tiny")
    recipe = load_recipe(shown.name, ["training.iterations=1000000"])
    lines = dict(line.split(": ", 1) for line in needs(shown, recipe))
    costs = count_costs(recipe, 11, (256, 256))
    assert costs.gmacs == pytest.approx(shown.figures.gmacs, abs=0.006)
    hours = 6 * costs.gmacs * 1e9 * 1_000_000 * 4 / PACE / 3600
    assert hours < 2
    assert f"an estimate is {60 * hours:.0f} minutes on an A100" in lines["time"]
    assert lines["memory"].startswith(f"{16 * costs.parameters / 1e6:.0f} MB for weights")
    assert "train (367 images) and val (101 images)" in lines["data"]


def test_what_is_published_is_said_with_its_source():
    row = read_published()["ade20k/segvit-vit_base_patch16_384-jx"]
    first, second = published_lines(row, None)
    assert first.startswith(
        "published: 51.3 mIoU at one scale, 53 at several scales with flips, 120.9"
    )
    assert first.endswith("(SegViT (NeurIPS 2022), table 1; thesis, table 4.5)")
    assert second.startswith("not said there: the pretrained weights")
    assert list(published_lines(None, None)) == ["published: nothing."]


def test_features_of_a_crop_are_what_a_forward_pass_keeps():
    """A ViT-Ti at 256 x 256 keeps at least its blocks' inputs, normalised inputs, qkv and hidden layers."""
    recipe = load_recipe("camvid/linear-vit_tiny", ["training.freeze_backbone=false"])
    kept = kept_bytes(recipe, 11)
    tokens, width, blocks = 16 * 16, 192, 12
    least = 4 * tokens * width * blocks * (1 + 3 + 4)
    assert kept is not None
    assert least < kept < 5 * least


def test_what_looks_at_the_image_has_no_estimate():
    shown, _ = find_shipped("camvid/shrunk-vit_tiny-edges")
    recipe = load_recipe(shown.name)
    assert count_costs(recipe, 11, (256, 256)).gmacs is None
    lines = dict(line.split(": ", 1) for line in needs(shown, recipe))
    assert "depends on the images" in lines["time"]
    assert lines["published"].startswith("nothing. Recorded here by the short protocol: 19.3 mIoU")
