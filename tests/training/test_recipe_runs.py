"""Two iterations of every shipped recipe whose model is small, through the real loop on a data set of its classes."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import photo
from vitseg.runs import TRAIN_LOG, read_result
from vitseg.training.loop import train
from vitseg.training.recipe import Recipe, load_recipe
from vitseg.training.recipe_shelf import read_shelf

LARGEST = 50
"""Parameters in 10^6: of larger models the states alone take a second each to write."""

CROP = 128
SMALL = [
    shown
    for shown in read_shelf()
    if shown.verb == "train" and (shown.figures.parameters_m or 0) < LARGEST
]
SHORT = (
    "training.iterations=2", "training.batch_size=2", "training.val_interval=2", "training.save_interval=2",
    "schedule.warmup_iterations=1", "data.num_workers=0", "data.train_split=train", "data.val_split=val",
    "backbone.pretrained=false", "inference.mode=whole", "inference.blend=mean", "inference.crop_size=null",
    "inference.stride=null", "inference.resize=null", "inference.min_short=null",
    f"data.augment.crop_size=[{CROP},{CROP}]",
)  # fmt: skip


def write_scenes(root: Path, names: Sequence[str]) -> Path:
    """Three pictures in stripes of all classes, in the folder layout."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    (root / "classes.json").write_text(json.dumps({"classes": list(names)}))
    rows, columns = np.mgrid[0:144, 0:160]
    labels = ((rows // 6 + columns // 16 * 7) % len(names)).astype(np.uint8)
    for split, stems in {"train": ("a", "b"), "val": ("c",)}.items():
        (root / f"{split}.txt").write_text("\n".join(stems) + "\n")
        for seed, stem in enumerate(stems):
            Image.fromarray(photo(*labels.shape, seed)).save(root / "images" / f"{stem}.png")
            Image.fromarray(labels).save(root / "masks" / f"{stem}.png")
    return root


@pytest.fixture
def out(tmp_path):
    """A folder that is gone after the test: all runs together take gigabytes."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


def short(name: str, data: Path) -> Recipe:
    overrides = list(SHORT)
    if load_recipe(name).data.augment.base_size is not None:
        overrides.append(f"data.augment.base_size=[{2 * CROP},{CROP}]")
    return load_recipe(name, overrides, f"folder:{data}")


def test_small_recipes_are_many():
    assert len(SMALL) > 45
    assert {shown.method for shown in SMALL} >= {
        "segvit", "shrunk", "dtop", "setr", "segmenter", "semask", "nrd", "mask2former", "eomt"
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("shown", SMALL, ids=lambda shown: shown.name)
def test_two_iterations(shown, out, tmp_path):
    if shown.backbone.startswith("mit_"):
        pytest.importorskip("transformers")
    names = [f"class_{index}" for index in range(shown.figures.classes)]
    data = write_scenes(tmp_path / "data", names)
    train(short(shown.name, data), out)
    result = read_result(out)
    assert result["final"]["iteration"] == 2
    assert 0 <= result["final"]["miou"] <= 1
    assert len(result["final"]["per_class"]) == shown.figures.classes
    with (out / TRAIN_LOG).open() as file:
        (row,) = csv.DictReader(file)
    assert math.isfinite(float(row["loss"]))
