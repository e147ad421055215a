"""What cannot be trained on is refused; what can be, though not well, is said."""

from __future__ import annotations

import json
import re
import shutil
import time

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.plan.test_split import unsplit
from tests.tiny import write_dataset
from vitseg.errors import ConfigError, DataError
from vitseg.plan import bench
from vitseg.plan.choose import Times
from vitseg.plan.plan import make_plan
from vitseg.plan.request import Request

BACKBONE = ("backbone.pretrained=false", "training.batch_size=2", "training.precision=32-true")
FOUR = "training.iterations=4"


@pytest.fixture(autouse=True)
def _one_machine(monkeypatch):
    """The same times on every machine; those of this one are measured in the tests of the command."""
    monkeypatch.setattr(bench, "measure", lambda recipe, task: Times(0.5, 0.05, 0.05))


def planned(root, tmp_path, *overrides, minutes=None):
    given = [*BACKBONE, *([FOUR] if minutes is None else []), *overrides]
    request = Request.of(f"folder:{root}", minutes, "linear", "test_vit", None, given)
    return make_plan(request, tmp_path / "run", time.monotonic())


def rewrite(root, paint):
    """The masks anew, by a function of their number."""
    for number, path in enumerate(sorted((root / "masks").rglob("*.png"))):
        Image.fromarray(paint(number).astype(np.uint8)).save(path)


def halves(height=32, width=32):
    mask = np.zeros((height, width))
    mask[height // 2 :] = 1
    return mask


def test_too_short_a_time_is_refused(tmp_path):
    root = write_dataset(tmp_path / "data")
    message = r"^0\.01 minutes leave time for 0 iterations of .*: give --minutes \d+ or more"
    with pytest.raises(ConfigError, match=message):
        planned(root, tmp_path, minutes=0.01)


def test_less_than_one_pass_is_said(tmp_path):
    root = write_dataset(tmp_path / "data", num_train=10)
    text = " ".join(planned(root, tmp_path).lines)
    assert "too short for one pass over the images: 80 % of them are seen" in text


def test_two_images_are_enough_but_warned_of(tmp_path):
    root = unsplit(tmp_path / "data", ["a", "b"])
    plan = planned(root, tmp_path)
    assert any(
        "note: only 1 image to validate on: the score says little" in each for each in plan.lines
    )


def test_one_class_is_refused(tmp_path):
    root = unsplit(tmp_path / "data", ["a", "b", "c"], ("cell",))
    rewrite(root, lambda number: np.zeros((32, 32)))
    with pytest.raises(DataError, match="'cell' is the only class"):
        planned(root, tmp_path)


def test_masks_of_one_class_are_refused(tmp_path):
    root = unsplit(tmp_path / "data", ["a", "b", "c"])
    rewrite(root, lambda number: np.ones((32, 32)))
    with pytest.raises(DataError, match="labelled pixels of the 2 training masks are road"):
        planned(root, tmp_path)


def test_no_masks_are_refused(tmp_path):
    root = unsplit(tmp_path / "data", ["a", "b", "c"])
    shutil.rmtree(root / "masks")
    with pytest.raises(DataError, match="masks is not a folder"):
        planned(root, tmp_path)


def test_a_class_of_three_pixels_and_few_masks_are_said(tmp_path):
    root = unsplit(tmp_path / "data", [f"p{n}" for n in range(30)], ("sky", "road", "bird", "cat"))
    for number in range(3, 30):
        (root / "masks" / f"p{number}.png").unlink()

    def paint(number):
        mask = halves()
        mask[0, :3] = 2
        return mask

    rewrite(root, paint)
    text = "\n".join(planned(root, tmp_path).lines)
    assert "note: 27 of 30 images have no mask and are left out" in text
    assert "note: too few pixels to learn bird (6) from" in text
    assert "'data.ignore=[bird]'" in text
    assert "note: no pixel of cat: the model will not know it." in text


def test_masks_with_few_labels_get_a_loss_for_them(tmp_path):
    root = unsplit(tmp_path / "data", [f"p{n}" for n in range(6)])
    table = {"classes": ["sky", "road"], "ignore_index": 255}
    (root / "classes.json").write_text(json.dumps(table))

    def paint(number):
        mask = np.full((32, 32), 255)
        mask[2:4, 2:20], mask[20:22, 2:20] = 0, 1
        return mask

    rewrite(root, paint)
    request = Request.of(f"folder:{root}", None, None, "test_vit", None, (*BACKBONE, FOUR))
    plan = make_plan(request, tmp_path / "run", time.monotonic())
    assert plan.recipe.to_mapping()["loss"]["ignored"] == "left_out"
    assert any("93 % of the pixels of the masks have no label" in each for each in plan.lines)


def test_mixed_sizes_and_depths(tmp_path):
    root = unsplit(tmp_path / "data", [f"p{n}" for n in range(6)])
    for number, path in enumerate(sorted((root / "images").glob("*.png"))):
        side = 32 + 32 * (number % 3)
        deep = np.random.default_rng(number).integers(0, 4000, (side, 48)).astype(np.uint16)
        Image.fromarray(deep if number % 2 else (deep >> 4).astype(np.uint8)).save(path)
        Image.fromarray(halves(side, 48).astype(np.uint8)).save(root / "masks" / path.name)
    plan = planned(root, tmp_path)
    text = "\n".join(plan.lines)
    assert re.search(r"note: \d of \d images have more than 8 bits", text)
    assert "sizes from" in text
    assert plan.recipe.data.value_range == (0, 4095)
    kept = (tmp_path / "run" / "recipe.yaml").read_text()
    assert yaml.safe_load(kept) == plan.recipe.to_mapping()


def test_folders_of_splits_are_taken(tmp_path):
    root, nested = write_dataset(tmp_path / "data"), tmp_path / "nested"
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (nested / split / kind).mkdir(parents=True)
            for path in (root / kind).glob(f"{split}_*.png"):
                shutil.copy(path, nested / split / kind / path.name)
    shutil.copy(root / "classes.json", nested)
    plan = planned(nested, tmp_path)
    assert "the splits train and val of the data set" in plan.lines[0]
    assert not (tmp_path / "run" / "plan" / "train.txt").exists()


def test_overrides_rule(tmp_path):
    root = write_dataset(tmp_path / "data")
    crop = ("data.augment.crop_size=[32,48]", "optimizer.lr=0.003", "training.seed=7")
    plan = planned(root, tmp_path, *crop, "schedule.warmup_iterations=2")
    recipe = plan.recipe
    assert recipe.data.augment.crop_size == (32, 48)
    assert (recipe.optimizer.lr, recipe.training.seed) == (0.003, 7)
    assert recipe.schedule.warmup_iterations == 2
    assert "crops of 48 x 32 pixels" in plan.lines[2]
    assert "as the overrides say" in plan.lines[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "data.train_split=2024",
            r"data\.train_split is 2024: a text is expected; a number .* quotes",
        ),
        ("data.merge=abc", r"data\.merge is 'abc': a section is expected"),
        ("data.ignore=5", r"data\.ignore is 5: a list is expected"),
        (
            "data.augment.crop=[64, 64]",
            r"data\.augment\.crop is not a field of AugmentConfig\. Did you",
        ),
        ("data=5", r"data is 5: a section is expected"),
        ("training.seed=abc", r"training\.seed is 'abc': a whole number is expected"),
        ("training.seed=-1", r"training\.seed is -1: input should be greater"),
        ("training.seed=yes", r"training\.seed is true: a"),
        ("training.devices=null", r"training\.devices is null: a whole number is expected"),
        ("schedule=5", r"schedule is 5: a section is expected"),
    ],
)
def test_overrides_of_another_kind_are_refused_as_in_a_recipe(override, told):
    with pytest.raises(ConfigError, match=told):
        Request.of("folder:none", overrides=[override])


def test_what_is_given_of_a_section_may_be_part_of_it():
    """Nor is it compared with what other fields are where nobody says so."""
    given = ["data.merge={all: [a, b]}", "training.accumulate=3", "schedule.min_lr=1"]
    assert Request.of("folder:none", overrides=given).given["training"] == {"accumulate": 3}


def test_a_folder_named_as_a_number_is_a_split(tmp_path):
    root = write_dataset(tmp_path / "data")
    (root / "train.txt").rename(root / "2024.txt")
    plan = planned(root, tmp_path, "data.train_split='2024'")
    assert plan.recipe.data.train_split == "2024"


@pytest.mark.slow
def test_two_scales_are_tried(tmp_path):
    root = write_dataset(tmp_path / "data")
    plan = planned(root, tmp_path, minutes=5)
    figures = r"a trial of 71 iterations each gave .* mIoU at their own size and .* mIoU brought"
    assert re.search(figures, plan.lines[2])
    kept = json.loads((tmp_path / "run" / "plan" / "plan.json").read_text())
    assert set(kept["trial"]["miou"]) == {"own", "resized"}
    assert not (tmp_path / "run" / "plan" / "trial").exists()
