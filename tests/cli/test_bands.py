"""Chosen bands from end to end: training, evaluation, prediction with and without tiles, the check, pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.data.band_sets import SIZE, array, geotiff, write_band_set, write_tiff
from tests.tiny import tiny_recipe
from vitseg.checkpoint.card import model_card
from vitseg.checkpoint.model_dir import read_record
from vitseg.checkpoint.places import find_model_dir

pytest.importorskip("rasterio")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    backbone = {"name": "test_vit", "pretrained": False, "patch_size": 16, "taps": [3]}
    content = {
        "method": "linear",
        "backbone": {**backbone, "tap_norm": True},
        "data": {"num_workers": 0, "augment": {"crop_size": [64, 64], "max_class_share": 1.0}},
        "optimizer": {"lr": 0.003, "head_lr_ratio": 1},
        "schedule": {"warmup_iterations": 1},
        "training": {"iterations": 40, "batch_size": 4, "val_interval": 40},
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_band_set(tmp_path_factory.mktemp("bands") / "data", geotiff)


def findings(vitseg, tmp_path, data) -> dict[str, dict]:
    assert vitseg("data", "check", data, "--json", tmp_path / "check.json").code in (0, 1)
    report = json.loads((tmp_path / "check.json").read_text())
    return {each["code"]: each for each in report["findings"]}


@pytest.mark.slow
def test_from_training_to_tiles(vitseg, recipe, root, tmp_path):
    run, data = tmp_path / "run", f"folder:{root}?bands=1,2,3,4"
    result = vitseg("train", recipe, "--data", data, "--out", run)
    assert result.code == 0
    (line,) = [line for line in result.messages if line.startswith("warning")]
    assert "band 4 (nir): uint16 values from 400 to 2,599" in line

    scores = tmp_path / "scores.json"
    pages = tmp_path / "pages"
    command = ["evaluate", run, "--data", f"folder:{root}", "--json", scores, "--report", pages]
    assert vitseg(*command).code == 0
    assert json.loads(scores.read_text())["miou"] > 0.9
    assert (pages / "report.html").is_file()

    images = root / "images"
    assert vitseg("predict", run, images, "--out", tmp_path / "plain").code == 0
    assert vitseg("predict", run, images, "--tiles", "--out", tmp_path / "tiles").code == 0
    for path in sorted((tmp_path / "plain" / "masks").iterdir()):
        (tiled,) = (tmp_path / "tiles" / "masks").glob(f"{path.stem}.*")
        np.testing.assert_array_equal(np.array(Image.open(tiled)), np.array(Image.open(path)))

    (tmp_path / "odd").mkdir()
    write_tiff(tmp_path / "odd" / "three.tif", np.zeros((3, *SIZE), np.uint16))
    refused = vitseg("predict", run, tmp_path / "odd", "--out", tmp_path / "refused")
    assert refused.code != 0
    assert "three.tif has 3 bands" in refused.messages[0]
    assert "band 4 (nir) is needed" in refused.messages[0]

    card = model_card(read_record(find_model_dir(run)), "mine", "mit")
    assert "`bands`: 1 (red), 2 (green), 3 (blue) and 4 (nir)" in card
    assert "4 (nir): 0 to 2,599" in card


@pytest.mark.slow
def test_new_classes_are_learnt_on_the_bands_of_the_model(vitseg, root, tmp_path):
    content = tiny_recipe(iterations=2, val_interval=2)
    (tmp_path / "segvit.yaml").write_text(yaml.safe_dump(content))
    run, data = tmp_path / "run", f"folder:{root}?bands=4,1"
    assert vitseg("train", tmp_path / "segvit.yaml", "--data", data, "--out", run).code == 0
    explained = vitseg("explain", run, root / "images" / "val_0.tif", "--out", tmp_path / "pages")
    assert explained.code == 0
    new = write_band_set(tmp_path / "new", array, 2, 1)
    (new / "classes.json").write_text(json.dumps({"classes": ["water", "ice"]}))
    command = ["extend", run, "training.iterations=2", "--data", f"folder:{new}", "--out"]
    result = vitseg(*command, tmp_path / "ext", "--classes", "water")
    assert result.code == 0, result.err
    record = read_record(find_model_dir(tmp_path / "ext"))
    before = read_record(find_model_dir(run))
    assert record.preprocessing == before.preprocessing
    assert record.preprocessing.num_channels == 2


def test_the_check_says_what_the_model_would_see(vitseg, root, tmp_path):
    found = findings(vitseg, tmp_path, f"folder:{root}?bands=4,1")
    assert "band 4 (nir): uint16 values from 400 to 2,599" in found["band-values"]["message"]
    assert not {"bands-left-out", "unstated-range", "constant-band", "mixed-bands"} & set(found)
    left_out = findings(vitseg, tmp_path, f"folder:{root}")["bands-left-out"]
    assert "?bands=" in left_out["fix"]


def test_constant_bands_and_sets_of_several_kinds(vitseg, tmp_path):
    def write(root, stem, values):
        values[2] = 7
        array(root, stem, values[:3] if stem == "val_0" else values)

    root = write_band_set(tmp_path / "data", write)
    found = findings(vitseg, tmp_path, f"folder:{root}?bands=1,3")
    assert found["constant-band"]["message"].startswith("Band 3 has one value everywhere")
    assert found["constant-band"]["count"] == 9
    assert "1 of 3 bands and 8 of 4 bands" in found["mixed-bands"]["message"]
    assert found["mixed-bands"]["files"] == [str(root / "images" / "val_0.npy")]
    without = findings(vitseg, tmp_path, f"folder:{root}")
    assert "8 of 9 have more than three" in without["mixed-bands"]["message"]


def test_a_choice_that_the_data_do_not_have(refused, root, tmp_path, recipe):
    for choice, words in {
        "5": "band 5 is needed",
        "swir": "'swir' is needed",
        "0": "from 1",
    }.items():
        data = f"folder:{root}?bands={choice}"
        line = refused("train", recipe, "--data", data, "--out", tmp_path / "no")
        assert words in line
    line = refused("data", "show", f"folder:{root}?extra=nir")
    assert "no extra image in a folder nir" in line


def test_previews_are_in_three_colours(vitseg, root, tmp_path):
    out = tmp_path / "preview.png"
    command = ["data", "preview", f"folder:{root}?bands=4,2", "--out", out, "--num", 2]
    assert vitseg(*command, "--set", "data.augment.crop_size=[32,32]").code == 0
    assert Image.open(out).mode == "RGB"
