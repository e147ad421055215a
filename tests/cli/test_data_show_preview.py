"""`vitseg data show` and `vitseg data preview`."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.tiny import write_recipe
from vitseg.data.catalog import open_dataset
from vitseg.training.preview import preview
from vitseg.training.recipe import load_recipe
from vitseg.training.sampler import StreamSampler


def test_show_says_what_was_found(vitseg, data):
    shown = vitseg("data", "show", f"folder:{data}")
    assert shown.code == 0
    assert "index masks in" in shown.out.replace("\n", " ")
    for word in ("train", "val", "ignored", "255"):
        assert word in shown.out
    for name in open_dataset(f"folder:{data}", "train").classes.names:
        assert name in shown.out


def test_show_applies_merging(vitseg, data):
    first, second, *_ = open_dataset(f"folder:{data}", "train").classes.names
    shown = vitseg("data", "show", f"folder:{data}", "--merge", f"both={first},{second}")
    assert shown.out.count("0 both") == 2


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--merge", "both"], "is not written NAME=CLASS,CLASS"),
        (["--merge", "both=a,"], "is not written NAME=CLASS,CLASS"),
        (["--merge", "both=nothing"], "merge.both: 'nothing' is not a known class"),
        (["--ignore", "nothing"], "ignore: 'nothing' is not a known class"),
    ],
)
def test_wrong_classes_are_refused(refused, data, option, words):
    assert words in refused("data", "show", f"folder:{data}", *option)


def test_preview_draws_a_sheet(vitseg, data, tmp_path):
    recipe = write_recipe(tmp_path / "tiny.yaml")
    out = tmp_path / "sheet.png"
    arguments = ("--recipe", recipe, "--out", out, "--num", 2)
    shown = vitseg("data", "preview", f"folder:{data}", *arguments)
    assert shown.code == 0, shown.err
    assert "2 of" in shown.out
    with Image.open(out) as sheet:
        assert min(sheet.size) > 220


def test_preview_shows_what_training_sees(data, tmp_path):
    """The crop is that of the stream: its labels, and its pixels with the normalisation undone."""
    recipe = load_recipe(write_recipe(tmp_path / "tiny.yaml"), ["data.augment.flip_probability=0"])
    dataset = open_dataset(f"folder:{data}", "train")
    shown = preview(recipe, dataset, 3)
    (stream,) = StreamSampler(len(dataset), 3, (0, 1), recipe.training.seed)
    assert [each.sample.id for each in shown] == [dataset.ids[index] for index, _ in stream]
    for each in shown:
        assert each.crop.shape[:2] == each.crop_labels.shape == recipe.data.augment.crop_size
        assert set(np.unique(each.crop_labels)) <= {-1, *np.unique(each.sample.label_map)}


def test_preview_refuses_other_files(refused, data, tmp_path):
    line = refused("data", "preview", f"folder:{data}", "--out", tmp_path / "sheet.txt")
    assert "is no PNG or JPEG file" in line
    line = refused("data", "preview", f"folder:{data}", "--out", tmp_path / "no" / "sheet.png")
    assert "does not exist" in line


def test_show_counts_orientation_tags(vitseg, data, tmp_path):
    assert "turned upright" not in vitseg("data", "show", f"folder:{data}").out
    copy = tmp_path / "tagged"
    shutil.copytree(data, copy)
    tags = Image.Exif()
    tags[0x0112] = 3
    path = next((copy / "images").rglob("*.*"))
    Image.open(path).save(path, exif=tags)
    shown = vitseg("data", "show", f"folder:{copy}")
    assert shown.code == 0
    words = " ".join(shown.out.split())
    assert "turned upright by their orientation tag" in words
    assert "1 with 3, of" in words
